//! The small types that every packet uses: version, direction, QoS, packet type, packet identifier.

use std::fmt;
use std::num::NonZeroU16;

/// The largest packet the format can express, fixed header included: 5 + 268,435,455 bytes.
pub const MAX_PACKET_SIZE: u32 = 5 + MAX_REMAINING_LENGTH;

/// The largest value of the remaining length field, and of any variable byte integer.
pub(crate) const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// A version of MQTT, named after the protocol level in its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`).
    V3,
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// Returns the protocol level of the CONNECT packet: 3, 4 or 5.
    pub const fn level(self) -> u8 {
        match self {
            Version::V3 => 3,
            Version::V4 => 4,
            Version::V5 => 5,
        }
    }

    /// Returns the protocol name of the CONNECT packet.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Version::V3 => "MQIsdp",
            Version::V4 | Version::V5 => "MQTT",
        }
    }

    /// Returns the version's usual number: `3.1`, `3.1.1` or `5.0`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::V3 => "3.1",
            Version::V4 => "3.1.1",
            Version::V5 => "5.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Which end of the connection decodes: it decides which packets may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We are the server; a client's packets come in.
    Server,
    /// We are the client; a server's packets come in.
    Client,
}

/// Quality of service of a message or the maximum one of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum QoS {
    /// Delivered once or not at all.
    #[default]
    AtMostOnce = 0,
    /// Delivered once or more often.
    AtLeastOnce = 1,
    /// Delivered exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// Returns the QoS with this number, or nothing if it is above 2.
    pub const fn from_u8(number: u8) -> Option<QoS> {
        match number {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }

    /// Returns the number on the wire: 0, 1 or 2.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_u8(), formatter)
    }
}

/// A packet identifier: never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest identifier, 1; also good as a placeholder in a frame that is patched later.
    pub const MIN: PacketId = PacketId(NonZeroU16::MIN);
    /// The largest identifier, 65,535.
    pub const MAX: PacketId = PacketId(NonZeroU16::MAX);

    /// Makes an identifier, or nothing of zero.
    pub const fn new(number: u16) -> Option<PacketId> {
        match NonZeroU16::new(number) {
            Some(number) => Some(PacketId(number)),
            None => None,
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl From<NonZeroU16> for PacketId {
    fn from(number: NonZeroU16) -> Self {
        PacketId(number)
    }
}

impl From<PacketId> for u16 {
    fn from(id: PacketId) -> Self {
        id.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// The type of a control packet, with its number in the fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the standard's own names
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// Returns the type with this number (the upper four bits of the first byte); 0 is none.
    pub const fn from_u8(number: u8) -> Option<PacketType> {
        Some(match number {
            1 => PacketType::Connect,
            2 => PacketType::ConnAck,
            3 => PacketType::Publish,
            4 => PacketType::PubAck,
            5 => PacketType::PubRec,
            6 => PacketType::PubRel,
            7 => PacketType::PubComp,
            8 => PacketType::Subscribe,
            9 => PacketType::SubAck,
            10 => PacketType::Unsubscribe,
            11 => PacketType::UnsubAck,
            12 => PacketType::PingReq,
            13 => PacketType::PingResp,
            14 => PacketType::Disconnect,
            15 => PacketType::Auth,
            _ => return None,
        })
    }

    /// Returns the name as the standard writes it: `CONNECT`, `PUBACK`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            PacketType::Connect => "CONNECT",
            PacketType::ConnAck => "CONNACK",
            PacketType::Publish => "PUBLISH",
            PacketType::PubAck => "PUBACK",
            PacketType::PubRec => "PUBREC",
            PacketType::PubRel => "PUBREL",
            PacketType::PubComp => "PUBCOMP",
            PacketType::Subscribe => "SUBSCRIBE",
            PacketType::SubAck => "SUBACK",
            PacketType::Unsubscribe => "UNSUBSCRIBE",
            PacketType::UnsubAck => "UNSUBACK",
            PacketType::PingReq => "PINGREQ",
            PacketType::PingResp => "PINGRESP",
            PacketType::Disconnect => "DISCONNECT",
            PacketType::Auth => "AUTH",
        }
    }

    /// Returns the first byte of a packet of this type, with the flags that the standard prescribes.
    ///
    /// PUBLISH has flags of its own; here they are all 0.
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
