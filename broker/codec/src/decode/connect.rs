//! Reading a CONNECT.

use bytes::Bytes;

use super::header::{Header, check_shortest};
use crate::connect::{BRIDGE_LEVEL, Connect, ConnectFlags, Will};
use crate::error::{DecodeError, Fault, Malformed, Violation};
use crate::property::{Properties, PropertyId, Section};
use crate::protocol::{PacketType, Version};
use crate::reader::Reader;
use crate::topic::validate_topic_name;

/// The most characters of a wrong protocol name that an error repeats.
const NAME_SHOWN_MAX: usize = 32;

/// Reads the packet; `version` is set as soon as it is known.
pub(super) fn decode_connect(
    header: Header,
    frame: &[u8],
    version: &mut Option<Version>,
) -> Result<Connect, Fault> {
    let mut reader = Reader::new(PacketType::Connect, frame, header.len);
    let (found, bridge) = decode_version(&mut reader)?;
    *version = Some(found);
    let version = found;
    if version == Version::V5 {
        check_shortest(PacketType::Connect, (header.packet_len - header.len) as u32, header.len - 1)?;
    }
    let flags = decode_flags(&mut reader, version)?;
    let keep_alive_s = reader.two_bytes("keep alive")?;
    let mut properties = Properties::new();
    if version == Version::V5 {
        let start = reader.at();
        let (encoded, seen) = reader.properties(&Section::CONNECT)?;
        if seen.contains(PropertyId::AuthenticationData) && !seen.contains(PropertyId::AuthenticationMethod) {
            let reason = Violation::AuthenticationDataWithoutMethod;
            return Err(reader.violation("properties", start, reason));
        }
        properties = Properties::trusted(encoded);
    }
    let client_id = reader.text("client identifier")?.to_owned();
    let will = match flags.has(ConnectFlags::WILL) {
        true => Some(decode_will(&mut reader, flags, version)?),
        false => None,
    };
    let username = match flags.has(ConnectFlags::USER_NAME) {
        true => Some(reader.text("user name")?.to_owned()),
        false => None,
    };
    let password = match flags.has(ConnectFlags::PASSWORD) {
        true => Some(Bytes::copy_from_slice(reader.binary("password")?)),
        false => None,
    };
    reader.finish()?;
    let clean_start = flags.has(ConnectFlags::CLEAN_START);
    Ok(Connect {
        version,
        bridge,
        clean_start,
        keep_alive_s,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

/// Reads protocol name and level; says also whether the client is a bridge.
fn decode_version(reader: &mut Reader<'_>) -> Result<(Version, bool), Fault> {
    let name = reader.binary("protocol name")?;
    if name != b"MQTT" && name != b"MQIsdp" {
        let found: String = String::from_utf8_lossy(name).chars().take(NAME_SHOWN_MAX).collect();
        return Err(Box::new(DecodeError::BadProtocolName { found: found.into() }));
    }
    let level = reader.byte("protocol level")?;
    let bridge = level & BRIDGE_LEVEL != 0;
    match (name, level & !BRIDGE_LEVEL) {
        (b"MQIsdp", 3) => Ok((Version::V3, bridge)),
        (b"MQTT", 4) => Ok((Version::V4, bridge)),
        (b"MQTT", 5) if !bridge => Ok((Version::V5, false)),
        _ => Err(Box::new(DecodeError::UnsupportedVersion { level })),
    }
}

fn decode_flags(reader: &mut Reader<'_>, version: Version) -> Result<ConnectFlags, Fault> {
    const FIELD: &str = "connect flags";
    let start = reader.at();
    let flags = ConnectFlags(reader.byte(FIELD)?);
    let reason = if flags.has(ConnectFlags::RESERVED) {
        Malformed::ReservedConnectFlag
    } else if !flags.has(ConnectFlags::WILL) && flags.has(ConnectFlags::WILL_QOS_OR_RETAIN) {
        Malformed::WillFlagsWithoutWill { flags: flags.0 }
    } else if flags.will_qos().is_none() {
        Malformed::WillQosThree
    } else if version != Version::V5
        && flags.has(ConnectFlags::PASSWORD)
        && !flags.has(ConnectFlags::USER_NAME)
    {
        Malformed::PasswordWithoutUserName { version }
    } else {
        return Ok(flags);
    };
    Err(reader.malformed(FIELD, start, reason))
}

fn decode_will(reader: &mut Reader<'_>, flags: ConnectFlags, version: Version) -> Result<Will, Fault> {
    let properties = match version {
        Version::V5 => Properties::trusted(reader.properties(&Section::WILL)?.0),
        Version::V3 | Version::V4 => Properties::new(),
    };
    let start = reader.at();
    let topic = reader.text("will topic")?;
    if validate_topic_name(topic).is_err() {
        return Err(reader.violation("will topic", start, Violation::WillTopicInvalid));
    }
    let payload = Bytes::copy_from_slice(reader.binary("will payload")?);
    Ok(Will {
        topic: topic.to_owned(),
        payload,
        qos: flags.will_qos().unwrap_or_default(),
        retain: flags.has(ConnectFlags::WILL_RETAIN),
        properties,
    })
}
