//! The fixed header: type, flags and remaining length.

use super::Decoder;
use crate::error::{DecodeError, Fault, Malformed, Place, Violation};
use crate::protocol::{PacketType, Role, Version};
use crate::variable_int::{self, VariableInt};

/// The lengths of a packet whose fixed header is in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The length of the fixed header.
    pub(super) len: usize,
    /// The length of the whole packet.
    pub(super) packet_len: usize,
}

/// How far a packet has come.
pub(super) enum Start {
    Complete(Header),
    Incomplete { needed: usize },
}

/// What a CONNECT has up to its protocol level, at most: lengths, name and level.
const CONNECT_START_LEN: usize = 2 + "MQIsdp".len() + 1;

impl Decoder {
    /// Reads and checks the fixed header.
    #[inline]
    pub(super) fn start(&mut self, bytes: &[u8]) -> Result<Start, Fault> {
        let Some(&first) = bytes.first() else {
            return Ok(Start::Incomplete { needed: 2 });
        };
        let packet_type = self.check_first_byte(first)?;
        let (remaining_len, length_len) = match variable_int::read(&bytes[1..]) {
            VariableInt::Value { value, len } => (value, len),
            VariableInt::Incomplete => return Ok(Start::Incomplete { needed: bytes.len() + 1 }),
            VariableInt::TooLong => return Err(length_fault(packet_type, Malformed::VariableIntTooLong)),
        };
        if self.version == Some(Version::V5) {
            check_shortest(packet_type, remaining_len, length_len)?;
        }
        let len = 1 + length_len;
        let packet_len = len + remaining_len as usize;
        if packet_len > self.max_packet_size as usize {
            return self.too_large(bytes, Header { len, packet_len });
        }
        if bytes.len() < packet_len {
            return Ok(Start::Incomplete { needed: packet_len });
        }
        Ok(Start::Complete(Header { len, packet_len }))
    }

    /// Refuses a packet. Of a CONNECT it waits for the protocol level, which says in which form to answer.
    #[cold]
    fn too_large(&mut self, bytes: &[u8], header: Header) -> Result<Start, Fault> {
        if self.version.is_none() {
            let needed = header.packet_len.min(header.len + CONNECT_START_LEN);
            let Some(start) = bytes.get(header.len..needed) else {
                return Ok(Start::Incomplete { needed });
            };
            self.version = match start {
                [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3 | 0x83] => Some(Version::V3),
                [0, 4, b'M', b'Q', b'T', b'T', 4 | 0x84, ..] => Some(Version::V4),
                [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Some(Version::V5),
                _ => None,
            };
        }
        Err(Box::new(DecodeError::TooLarge { size: header.packet_len as u32, limit: self.max_packet_size }))
    }

    /// Checks the type and the flags, and whether such a packet may come now.
    #[inline]
    fn check_first_byte(&self, first: u8) -> Result<PacketType, Fault> {
        let flags = first & 0x0f;
        // The packet that comes most often, and for which all flags mean something.
        if first >> 4 == PacketType::Publish as u8 && self.version.is_some() {
            return match flags & 0b0110 {
                0b0110 => Err(flags_fault(PacketType::Publish, Malformed::QosThree)),
                0 if flags & 0b1000 != 0 => Err(flags_fault(PacketType::Publish, Malformed::DupWithQosZero)),
                _ => Ok(PacketType::Publish),
            };
        }
        self.check_other_first_byte(first)
    }

    fn check_other_first_byte(&self, first: u8) -> Result<PacketType, Fault> {
        let packet_type = PacketType::from_u8(first >> 4);
        let place = Place { packet: packet_type, field: "packet type", offset: 0 };
        let Some(version) = self.version else {
            return match packet_type {
                Some(PacketType::Connect) => check_flags(PacketType::Connect, first, None),
                _ => Err(Box::new(DecodeError::Protocol { reason: Violation::FirstPacketNotConnect, place })),
            };
        };
        let Some(packet) = packet_type else {
            return Err(Box::new(DecodeError::Malformed { reason: Malformed::PacketTypeReserved, place }));
        };
        if packet == PacketType::Auth && version != Version::V5 {
            let reason = Malformed::PacketTypeNotInVersion { packet, version };
            return Err(Box::new(DecodeError::Malformed { reason, place }));
        }
        check_flags(packet, first, Some(version))?;
        match self.direction_fault(packet, version) {
            None => Ok(packet),
            Some(reason) => Err(Box::new(DecodeError::Protocol { reason, place })),
        }
    }

    fn direction_fault(&self, packet: PacketType, version: Version) -> Option<Violation> {
        use PacketType::*;
        match (self.role, packet) {
            (Role::Server, Connect) => Some(Violation::SecondConnect),
            (Role::Server, ConnAck | SubAck | UnsubAck | PingResp) => Some(Violation::WrongDirection),
            (Role::Client, Connect | Subscribe | Unsubscribe | PingReq) => Some(Violation::WrongDirection),
            (Role::Client, Disconnect) if version != Version::V5 => Some(Violation::WrongDirection),
            _ => None,
        }
    }
}

/// Checks that the length of the packet is encoded in its shortest form, which 5.0 demands.
#[inline]
pub(super) fn check_shortest(packet: PacketType, value: u32, len: usize) -> Result<(), Fault> {
    let expected = variable_int::encoded_len(value);
    if len == expected {
        return Ok(());
    }
    let reason = Malformed::VariableIntNotShortest { found: len as u8, expected: expected as u8 };
    Err(length_fault(packet, reason))
}

/// Checks the flags of any packet but PUBLISH.
fn check_flags(packet: PacketType, first: u8, version: Option<Version>) -> Result<PacketType, Fault> {
    let expected = packet.first_byte() & 0x0f;
    let mut found = first & 0x0f;
    // In 3.1 these packets have a DUP flag.
    let may_be_dup = matches!(packet, PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe);
    if version == Some(Version::V3) && may_be_dup {
        found &= 0b0111;
    }
    if found == expected {
        return Ok(packet);
    }
    Err(flags_fault(packet, Malformed::HeaderFlags { found: first & 0x0f, expected }))
}

#[cold]
fn flags_fault(packet: PacketType, reason: Malformed) -> Fault {
    let place = Place { packet: Some(packet), field: "flags", offset: 0 };
    Box::new(DecodeError::Malformed { reason, place })
}

#[cold]
fn length_fault(packet: PacketType, reason: Malformed) -> Fault {
    let place = Place { packet: Some(packet), field: "remaining length", offset: 1 };
    Box::new(DecodeError::Malformed { reason, place })
}
