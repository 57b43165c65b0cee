//! Reading a PUBLISH.

use super::{Flags, Layout, Parts, Special};
use crate::error::{Fault, Report, Violation, Wrong};
use crate::property::{PropertyId, Section, Seen};
use crate::protocol::{PacketType, QoS, Role, Version};
use crate::reader::Reader;

/// Finds and checks the parts of a PUBLISH whose fixed header, with valid flags, takes `header_len` bytes.
#[inline(always)] // its result is moved once less
pub(crate) fn decode_layout(
    frame: &[u8],
    header_len: usize,
    version: Version,
    role: Role,
) -> Result<Layout, Fault> {
    match find_parts(frame, header_len, version, role) {
        Ok(layout) => Ok(layout),
        Err(Wrong) => explain(frame, header_len, version, role),
    }
}

/// Looks at a wrong PUBLISH again to say what is wrong.
#[cold]
fn explain(frame: &[u8], header_len: usize, version: Version, role: Role) -> Result<Layout, Fault> {
    find_parts(frame, header_len, version, role)
}

#[inline(always)]
fn find_parts<F: Report>(frame: &[u8], header_len: usize, version: Version, role: Role) -> Result<Layout, F> {
    let mut reader = Reader::<F>::new(PacketType::Publish, frame, header_len);
    let (topic, wildcards) = reader.topic("topic name")?;
    let flags = Flags::of_first_byte(frame[0]);
    let packet_id = if flags.qos() == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
    let (properties, seen) = if version == Version::V5 {
        reader.properties(match role {
            Role::Server => &Section::PUBLISH_FROM_CLIENT,
            Role::Client => &Section::PUBLISH,
        })?
    } else {
        (&[][..], Seen::default())
    };
    if topic.is_empty() && !seen.contains(PropertyId::TopicAlias) {
        return Err(reader.violation("topic name", header_len, Violation::TopicMissing));
    }
    Ok(Layout::new(Parts {
        topic_at: header_len + 2,
        topic_len: topic.len(),
        properties_len: properties.len(),
        payload_at: reader.at(),
        packet_id,
        flags: flags.with_wildcards(wildcards).with_form_of_v5(version == Version::V5),
        special: Special::of(seen),
        message_expiry_at: seen.message_expiry_at,
    }))
}
