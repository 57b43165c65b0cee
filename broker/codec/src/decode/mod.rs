//! From bytes to packets.

mod connect;
mod control;
mod header;

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{DecodeError, Fault};
use crate::packet::Packet;
use crate::protocol::{PacketType, Role, Version};
use crate::publish::{Publish, decode_layout};
use header::Start;

/// Packets smaller than this are copied out of the read buffer; larger ones are split off it without a copy.
///
/// A copy of a small packet costs less than keeping the whole read buffer alive for it.
pub const COPY_LIMIT_BYTES: usize = 4096;

/// Cuts the bytes of one connection into packets and checks them.
///
/// It keeps no bytes. A server's decoder learns the version from the CONNECT, even from one that is refused after
/// its protocol level, so that [`version`](Decoder::version) says in which form to answer.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_packet_size: u32,
    version: Option<Version>,
    role: Role,
}

/// What the start of some bytes is.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A packet.
    Packet {
        /// The packet.
        packet: Packet,
        /// How many bytes it took.
        consumed: usize,
    },
    /// The start of a packet.
    Incomplete {
        /// How many bytes, those given included, are needed to get on: the size of the whole packet, or less
        /// while its length is not known.
        needed: usize,
    },
}

impl Decoder {
    /// Makes the decoder of a server's connection. The first packet must be a CONNECT.
    pub const fn server(max_packet_size: u32) -> Decoder {
        Decoder { max_packet_size, version: None, role: Role::Server }
    }

    /// Makes the decoder of a client that has sent, or will send, a CONNECT of this version.
    pub const fn client(version: Version, max_packet_size: u32) -> Decoder {
        Decoder { max_packet_size, version: Some(version), role: Role::Client }
    }

    /// Returns the version of the connection, once it is known.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Returns the largest packet that is accepted, in bytes, the fixed header included.
    pub const fn max_packet_size(&self) -> u32 {
        self.max_packet_size
    }

    /// Changes the largest packet that is accepted, for a limit that depends on who has connected.
    pub const fn set_max_packet_size(&mut self, max_packet_size: u32) {
        self.max_packet_size = max_packet_size;
    }

    /// Decodes the first packet of `bytes`, copying what it keeps.
    ///
    /// The fixed header is checked as soon as it is there, so a packet that is too large or out of place is refused
    /// before its content has come.
    pub fn decode_slice(&mut self, bytes: &[u8]) -> Result<Step, DecodeError> {
        let header = match self.start(bytes).map_err(|fault| *fault)? {
            Start::Complete(header) => header,
            Start::Incomplete { needed } => return Ok(Step::Incomplete { needed }),
        };
        let frame = &bytes[..header.packet_len];
        if frame[0] >> 4 != PacketType::Publish as u8 {
            let packet = self.decode_control(header, frame).map_err(|fault| *fault)?;
            return Ok(Step::Packet { packet, consumed: header.packet_len });
        }
        let layout = decode_layout(frame, header.len, self.known_version(), self.role);
        let layout = layout.map_err(|fault| *fault)?;
        let publish = Publish::from_frame(Bytes::copy_from_slice(frame), layout);
        Ok(Step::Packet { packet: Packet::Publish(publish), consumed: header.packet_len })
    }

    /// Takes the first packet out of `buffer`, or nothing if it is not complete yet.
    ///
    /// A PUBLISH of [`COPY_LIMIT_BYTES`] and more shares the memory of the buffer. On an error the buffer is as it
    /// was. No room is reserved for what is still to come: a peer could announce much and send nothing.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        self.take(buffer).map_err(|fault| *fault)
    }

    fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, Fault> {
        let Start::Complete(header) = self.start(buffer)? else {
            return Ok(None);
        };
        let frame = &buffer[..header.packet_len];
        if frame[0] >> 4 != PacketType::Publish as u8 {
            let packet = self.decode_control(header, frame)?;
            buffer.advance(header.packet_len);
            return Ok(Some(packet));
        }
        let layout = decode_layout(frame, header.len, self.known_version(), self.role)?;
        let frame = if header.packet_len < COPY_LIMIT_BYTES {
            let frame = Bytes::copy_from_slice(frame);
            buffer.advance(header.packet_len);
            frame
        } else {
            buffer.split_to(header.packet_len).freeze()
        };
        Ok(Some(Packet::Publish(Publish::from_frame(frame, layout))))
    }

    /// Returns the version for a PUBLISH, which does not get past its first byte before the version is known.
    fn known_version(&self) -> Version {
        self.version.unwrap_or(Version::V4)
    }
}
