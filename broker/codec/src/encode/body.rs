//! What each packet has after its fixed header.

use super::writer::{Sink, Writer};
use crate::connect::{BRIDGE_LEVEL, Connect, ConnectFlags, Will};
use crate::packet::{Ack, Packet, SubAck, Subscribe, Unsubscribe};
use crate::property::Properties;
use crate::protocol::{QoS, Version};
use crate::publish::Publish;
use crate::reason::ReasonCode;

pub(super) fn write<S: Sink>(packet: &Packet, writer: &mut Writer<S>) {
    match packet {
        Packet::Connect(connect) => write_connect(connect, writer),
        Packet::ConnAck(connack) => {
            let session_present = connack.session_present && writer.version != Version::V3;
            writer.byte(u8::from(session_present));
            write_connack_reason(connack.reason, &connack.properties, writer);
        }
        Packet::Publish(publish) => write_publish(publish, writer),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            write_ack(ack, writer);
        }
        Packet::Subscribe(subscribe) => write_subscribe(subscribe, writer),
        Packet::SubAck(suback) => write_suback(suback, writer),
        Packet::Unsubscribe(unsubscribe) => write_unsubscribe(unsubscribe, writer),
        Packet::UnsubAck(unsuback) => {
            writer.two_bytes(unsuback.packet_id.get());
            writer.properties(&unsuback.properties);
            if writer.version == Version::V5 {
                for reason in &unsuback.reasons {
                    writer.byte(reason.as_u8());
                }
            }
        }
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(disconnect) => write_ending(disconnect.reason, &disconnect.properties, writer),
        Packet::Auth(auth) => {
            if auth.reason != ReasonCode::SUCCESS || writer.properties_len(&auth.properties) > 0 {
                writer.byte(auth.reason.as_u8());
                writer.properties(&auth.properties);
            }
        }
    }
}

/// Writes a CONNECT of the version that it names itself.
fn write_connect<S: Sink>(connect: &Connect, writer: &mut Writer<S>) {
    let version = connect.version;
    writer.version = version;
    writer.field(version.protocol_name().as_bytes());
    let bridge = connect.bridge && version != Version::V5;
    writer.byte(version.level() | if bridge { BRIDGE_LEVEL } else { 0 });
    writer.byte(ConnectFlags::of(connect).0);
    writer.two_bytes(connect.keep_alive_s);
    writer.properties(&connect.properties);
    writer.field(connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        write_will(will, writer);
    }
    if let Some(username) = &connect.username {
        writer.field(username.as_bytes());
    }
    if let Some(password) = &connect.password {
        writer.field(password);
    }
}

fn write_will<S: Sink>(will: &Will, writer: &mut Writer<S>) {
    writer.properties(&will.properties);
    writer.field(will.topic.as_bytes());
    writer.field(&will.payload);
}

fn write_connack_reason<S: Sink>(reason: ReasonCode, properties: &Properties, writer: &mut Writer<S>) {
    if writer.version == Version::V5 {
        writer.byte(reason.as_u8());
        writer.properties(properties);
    } else if let Some(code) = reason.connect_return_code() {
        writer.byte(code as u8); // always there: checked before
    }
}

fn write_publish<S: Sink>(publish: &Publish, writer: &mut Writer<S>) {
    writer.field(publish.topic().as_bytes());
    if publish.qos() != QoS::AtMostOnce
        && let Some(id) = publish.packet_id()
    {
        writer.two_bytes(id.get());
    }
    if writer.version == Version::V5 {
        let properties = publish.properties().as_bytes();
        writer.variable_int(properties.len() as u32);
        writer.bytes(properties);
    }
    writer.bytes(publish.payload_slice());
}

fn write_ack<S: Sink>(ack: &Ack, writer: &mut Writer<S>) {
    writer.two_bytes(ack.packet_id.get());
    write_ending(ack.reason, &ack.properties, writer);
}

/// Writes the reason code and the properties at the end of a packet, in the shortest form; before 5.0, nothing.
fn write_ending<S: Sink>(reason: ReasonCode, properties: &Properties, writer: &mut Writer<S>) {
    if writer.version != Version::V5 {
        return;
    }
    let has_properties = writer.properties_len(properties) > 0;
    if has_properties || reason != ReasonCode::SUCCESS {
        writer.byte(reason.as_u8());
    }
    if has_properties {
        writer.properties(properties);
    }
}

fn write_subscribe<S: Sink>(subscribe: &Subscribe, writer: &mut Writer<S>) {
    writer.two_bytes(subscribe.packet_id.get());
    writer.properties(&subscribe.properties);
    for subscription in &subscribe.subscriptions {
        writer.field(subscription.filter.as_bytes());
        writer.byte(match writer.version {
            Version::V5 => subscription.options.as_u8(),
            Version::V3 | Version::V4 => subscription.options.qos.as_u8(),
        });
    }
}

fn write_suback<S: Sink>(suback: &SubAck, writer: &mut Writer<S>) {
    writer.two_bytes(suback.packet_id.get());
    writer.properties(&suback.properties);
    for &reason in &suback.reasons {
        let reason = match writer.version {
            Version::V3 if reason.is_error() => ReasonCode::GRANTED_QOS_0,
            Version::V4 if reason.is_error() => ReasonCode::UNSPECIFIED_ERROR,
            _ => reason,
        };
        writer.byte(reason.as_u8());
    }
}

fn write_unsubscribe<S: Sink>(unsubscribe: &Unsubscribe, writer: &mut Writer<S>) {
    writer.two_bytes(unsubscribe.packet_id.get());
    writer.properties(&unsubscribe.properties);
    for filter in &unsubscribe.filters {
        writer.field(filter.as_bytes());
    }
}
