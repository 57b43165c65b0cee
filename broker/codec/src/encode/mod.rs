//! From packets to bytes.

mod body;
mod check;
mod writer;

use crate::error::EncodeError;
use crate::packet::Packet;
use crate::protocol::{MAX_PACKET_SIZE, Version};
use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::variable_int;
use writer::{Kept, Length, Writer};

/// What is known of the receiver of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The version that it speaks.
    pub version: Version,
    /// The largest packet in bytes that it takes; [`MAX_PACKET_SIZE`] if it has not said.
    pub maximum_packet_size: u32,
    /// Whether it wants reason strings and user properties in other packets than PUBLISH, CONNACK and
    /// DISCONNECT.
    pub problem_information: bool,
}

impl Peer {
    /// Makes a peer that has stated no limits.
    pub const fn new(version: Version) -> Peer {
        Peer { version, maximum_packet_size: MAX_PACKET_SIZE, problem_information: true }
    }
}

impl Packet {
    /// Writes the packet at the end of `out` and returns its length.
    ///
    /// What the version does not have is left out: before 5.0, properties and the reason codes of
    /// acknowledgements.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        self.encode_for(&Peer::new(version), out)
    }

    /// Writes the packet for a peer and leaves out what it must not get.
    ///
    /// If an answer would be larger than the peer takes, first its reason string is left out, or else its user
    /// properties, or else both. A packet that is still too large is not written.
    pub fn encode_for(&self, peer: &Peer, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        check::check(self, peer.version)?;
        let limit = peer.maximum_packet_size.min(MAX_PACKET_SIZE);
        let mut size = 0;
        for &kept in self.choices(peer) {
            let remaining_len = self.remaining_len(peer.version, kept);
            size = packet_len(remaining_len);
            if size <= limit as usize {
                out.reserve(size);
                let mut writer = Writer { sink: &mut *out, version: peer.version, kept };
                writer.byte(self.first_byte());
                writer.variable_int(remaining_len as u32);
                body::write(self, &mut writer);
                return Ok(size);
            }
        }
        Err(EncodeError::TooLarge { packet: self.packet_type(), size, limit })
    }

    /// Returns the size of the whole packet when nothing is left out.
    pub fn encoded_len(&self, version: Version) -> usize {
        packet_len(self.remaining_len(version, Kept::ALL))
    }

    /// Returns which of the optional properties may go out, in the order in which that is tried.
    fn choices(&self, peer: &Peer) -> &'static [Kept] {
        match self {
            Packet::Connect(_) | Packet::Publish(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) => {
                &[Kept::ALL]
            }
            Packet::ConnAck(_) | Packet::Disconnect(_) => &Kept::CHOICES,
            _ if peer.problem_information => &Kept::CHOICES,
            _ => &[Kept::NEITHER],
        }
    }

    fn first_byte(&self) -> u8 {
        match self {
            Packet::Publish(publish) => publish.first_byte(),
            other => other.packet_type().first_byte(),
        }
    }

    fn remaining_len(&self, version: Version, kept: Kept) -> usize {
        let mut writer = Writer { sink: Length(0), version, kept };
        body::write(self, &mut writer);
        writer.sink.0
    }
}

/// Writes the CONNACK that refuses a CONNECT for its protocol level: in the form of 5.0 for a level above 5, else in
/// that of 3.1.1.
pub fn encode_unsupported_version(level: u8, out: &mut Vec<u8>) {
    if level > 5 {
        out.extend_from_slice(&[0x20, 3, 0, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION.as_u8(), 0]);
    } else {
        out.extend_from_slice(&[0x20, 2, 0, ConnectReturnCode::UnacceptableProtocolVersion as u8]);
    }
}

fn packet_len(remaining_len: usize) -> usize {
    let length_len = u32::try_from(remaining_len).map_or(4, variable_int::encoded_len);
    1 + length_len + remaining_len
}
