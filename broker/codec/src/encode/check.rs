//! Checking a packet before it is written.

use crate::connect::Connect;
use crate::error::EncodeError;
use crate::packet::Packet;
use crate::property::{Properties, PropertyId, Section};
use crate::protocol::{PacketType, QoS, Version};
use crate::publish::Publish;
use crate::reason::ReasonCode;

/// Checks everything about the packet but its size.
pub(super) fn check(packet: &Packet, version: Version) -> Result<(), EncodeError> {
    let packet_type = packet.packet_type();
    let acknowledgement = || Section::acknowledgement(packet_type);
    match packet {
        Packet::Connect(connect) => check_connect(connect),
        Packet::ConnAck(connack) => {
            check_connack_reason(connack.reason, version)?;
            check_properties(&connack.properties, packet_type, &Section::CONNACK)
        }
        Packet::Publish(publish) => check_publish(publish, version),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            check_reasons(&[ack.reason], packet_type)?;
            check_properties(&ack.properties, packet_type, &acknowledgement())
        }
        Packet::Subscribe(subscribe) => {
            check_not_empty(subscribe.subscriptions.len(), packet_type, "topic filter")?;
            for subscription in &subscribe.subscriptions {
                check_text(&subscription.filter, packet_type, "topic filter")?;
            }
            check_properties(&subscribe.properties, packet_type, &Section::SUBSCRIBE)
        }
        Packet::SubAck(suback) => {
            check_not_empty(suback.reasons.len(), packet_type, "reason code")?;
            check_reasons(&suback.reasons, packet_type)?;
            check_properties(&suback.properties, packet_type, &acknowledgement())
        }
        Packet::Unsubscribe(unsubscribe) => {
            check_not_empty(unsubscribe.filters.len(), packet_type, "topic filter")?;
            for filter in &unsubscribe.filters {
                check_text(filter, packet_type, "topic filter")?;
            }
            check_properties(&unsubscribe.properties, packet_type, &Section::UNSUBSCRIBE)
        }
        Packet::UnsubAck(unsuback) => {
            if version == Version::V5 {
                check_not_empty(unsuback.reasons.len(), packet_type, "reason code")?;
            }
            check_reasons(&unsuback.reasons, packet_type)?;
            check_properties(&unsuback.properties, packet_type, &acknowledgement())
        }
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(disconnect) => {
            check_reasons(&[disconnect.reason], packet_type)?;
            check_properties(&disconnect.properties, packet_type, &Section::DISCONNECT)
        }
        Packet::Auth(auth) => {
            if version != Version::V5 {
                return Err(EncodeError::NotInVersion { packet: packet_type, version });
            }
            check_reasons(&[auth.reason], packet_type)?;
            let has_method = auth.properties.as_ref().contains(PropertyId::AuthenticationMethod);
            if !has_method && (auth.reason != ReasonCode::SUCCESS || !auth.properties.is_empty()) {
                return Err(EncodeError::AuthenticationMethodMissing { packet: packet_type });
            }
            check_properties(&auth.properties, packet_type, &Section::AUTH)
        }
    }
}

fn check_connect(connect: &Connect) -> Result<(), EncodeError> {
    let packet = PacketType::Connect;
    check_text(&connect.client_id, packet, "client identifier")?;
    if let Some(username) = &connect.username {
        check_text(username, packet, "user name")?;
    }
    if let Some(password) = &connect.password {
        check_len(password, packet, "password")?;
        if connect.version != Version::V5 && connect.username.is_none() {
            return Err(EncodeError::PasswordWithoutUserName { version: connect.version });
        }
    }
    if let Some(will) = &connect.will {
        check_text(&will.topic, packet, "will topic")?;
        check_len(&will.payload, packet, "will payload")?;
        check_properties(&will.properties, packet, &Section::WILL)?;
    }
    let properties = connect.properties.as_ref();
    if properties.contains(PropertyId::AuthenticationData)
        && !properties.contains(PropertyId::AuthenticationMethod)
    {
        return Err(EncodeError::AuthenticationMethodMissing { packet });
    }
    check_properties(&connect.properties, packet, &Section::CONNECT)
}

fn check_publish(publish: &Publish, version: Version) -> Result<(), EncodeError> {
    if publish.qos() != QoS::AtMostOnce && publish.packet_id().is_none() {
        return Err(EncodeError::PacketIdMissing);
    }
    if publish.topic().is_empty() && version != Version::V5 {
        return Err(EncodeError::Empty { packet: PacketType::Publish, field: "topic name" });
    }
    Ok(())
}

fn check_connack_reason(reason: ReasonCode, version: Version) -> Result<(), EncodeError> {
    if version == Version::V5 {
        return check_reasons(&[reason], PacketType::ConnAck);
    }
    match reason.connect_return_code() {
        Some(_) => Ok(()),
        None => Err(EncodeError::NoReturnCode { reason, version }),
    }
}

fn check_reasons(reasons: &[ReasonCode], packet: PacketType) -> Result<(), EncodeError> {
    match reasons.iter().find(|reason| !reason.is_valid_in(packet)) {
        None => Ok(()),
        Some(&reason) => Err(EncodeError::ReasonCode { reason, packet }),
    }
}

fn check_properties(
    properties: &Properties,
    packet: PacketType,
    section: &Section,
) -> Result<(), EncodeError> {
    match properties.iter().find(|property| !section.allows(property.id())) {
        None => Ok(()),
        Some(property) => Err(EncodeError::PropertyNotAllowed { id: property.id(), packet }),
    }
}

fn check_not_empty(count: usize, packet: PacketType, field: &'static str) -> Result<(), EncodeError> {
    if count == 0 { Err(EncodeError::Empty { packet, field }) } else { Ok(()) }
}

fn check_text(text: &str, packet: PacketType, field: &'static str) -> Result<(), EncodeError> {
    check_len(text.as_bytes(), packet, field)?;
    match memchr::memchr(0, text.as_bytes()) {
        None => Ok(()),
        Some(at) => Err(EncodeError::NulInText { packet, field, at }),
    }
}

fn check_len(bytes: &[u8], packet: PacketType, field: &'static str) -> Result<(), EncodeError> {
    match bytes.len() {
        0..=0xFFFF => Ok(()),
        len => Err(EncodeError::FieldTooLong { packet, field, len }),
    }
}
