//! Reading the fields of a packet, with the place of every fault.

use std::marker::PhantomData;

use crate::error::{Fault, Malformed, Place, Report, Violation};
use crate::property::{self, Section, Seen};
use crate::protocol::{PacketId, PacketType};
use crate::text;
use crate::variable_int::{self, VariableInt};

/// A cursor over the bytes of one packet, or of a part of it that has a length of its own.
///
/// `F` is what becomes of a fault.
pub(crate) struct Reader<'a, F = Fault> {
    packet: PacketType,
    /// The packet from its first byte to the end of what may be read.
    bytes: &'a [u8],
    at: usize,
    fault: PhantomData<F>,
}

impl<'a, F: Report> Reader<'a, F> {
    /// Starts after the first `at` bytes of the packet.
    #[inline]
    pub(crate) fn new(packet: PacketType, bytes: &'a [u8], at: usize) -> Self {
        Reader { packet, bytes, at, fault: PhantomData }
    }

    /// Returns the offset from the start of the packet.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns how many bytes are left.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Returns the bytes that have not been read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, F> {
        match self.bytes.get(self.at) {
            Some(&byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(self.truncated(field, 1)),
        }
    }

    #[inline]
    pub(crate) fn two_bytes(&mut self, field: &'static str) -> Result<u16, F> {
        self.chunk(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn four_bytes(&mut self, field: &'static str) -> Result<u32, F> {
        self.chunk(field).map(u32::from_be_bytes)
    }

    #[inline]
    fn chunk<const LEN: usize>(&mut self, field: &'static str) -> Result<[u8; LEN], F> {
        match self.rest().first_chunk::<LEN>() {
            Some(chunk) => {
                self.at += LEN;
                Ok(*chunk)
            }
            None => Err(self.truncated(field, LEN)),
        }
    }

    #[inline]
    pub(crate) fn variable_int(&mut self, field: &'static str) -> Result<u32, F> {
        match variable_int::read(self.rest()) {
            VariableInt::Value { value, len } if len == variable_int::encoded_len(value) => {
                self.at += len;
                Ok(value)
            }
            VariableInt::Value { value, len } => {
                let expected = variable_int::encoded_len(value) as u8;
                let reason = Malformed::VariableIntNotShortest { found: len as u8, expected };
                Err(self.malformed(field, self.at, reason))
            }
            VariableInt::Incomplete => Err(self.truncated(field, self.left() + 1)),
            VariableInt::TooLong => Err(self.malformed(field, self.at, Malformed::VariableIntTooLong)),
        }
    }

    /// Reads `len` bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], F> {
        match self.rest().get(..len) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.truncated(field, len)),
        }
    }

    /// Reads binary data with its two-byte length.
    #[inline]
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], F> {
        let len = usize::from(self.two_bytes(field)?);
        self.bytes(field, len)
    }

    /// Reads a text with its two-byte length.
    #[inline]
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, F> {
        let bytes = self.text_bytes(field)?;
        Ok(str::from_utf8(bytes).unwrap_or_default()) // it is: checked
    }

    /// Reads a text with its two-byte length and returns its bytes.
    #[inline]
    pub(crate) fn text_bytes(&mut self, field: &'static str) -> Result<&'a [u8], F> {
        let start = self.at;
        let bytes = self.binary(field)?;
        match text::check_text(bytes) {
            Ok(()) => Ok(bytes),
            Err(reason) => Err(self.malformed(field, start, reason)),
        }
    }

    /// Reads the topic of a PUBLISH and says whether it has wildcards.
    #[inline(always)] // used once
    pub(crate) fn topic(&mut self, field: &'static str) -> Result<(&'a [u8], bool), F> {
        let start = self.at;
        let bytes = self.binary(field)?;
        match text::check_topic(bytes) {
            Ok(wildcards) => Ok((bytes, wildcards)),
            Err(reason) => Err(self.malformed(field, start, reason)),
        }
    }

    /// Reads a packet identifier.
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, F> {
        let start = self.at;
        match PacketId::new(self.two_bytes("packet identifier")?) {
            Some(id) => Ok(id),
            None => Err(self.violation("packet identifier", start, Violation::PacketIdZero)),
        }
    }

    /// Reads and checks properties with the length before them; returns them without it.
    #[inline]
    pub(crate) fn properties(&mut self, section: &Section) -> Result<(&'a [u8], Seen), F> {
        let len = self.variable_int("property length")? as usize;
        if len == 0 {
            return Ok((&[], Seen::default()));
        }
        let start = self.at;
        let encoded = self.bytes("properties", len)?;
        let part = Reader::<F>::new(self.packet, &self.bytes[..self.at], start);
        let seen = property::check(part, section)?;
        Ok((encoded, seen))
    }

    /// Checks that everything has been read.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), F> {
        match self.left() {
            0 => Ok(()),
            count => {
                let reason = Malformed::TrailingBytes { count: count as u32 };
                Err(self.malformed("end of packet", self.at, reason))
            }
        }
    }

    #[inline]
    pub(crate) fn malformed(&self, field: &'static str, offset: usize, reason: Malformed) -> F {
        F::malformed(reason, self.place(field, offset))
    }

    #[inline]
    pub(crate) fn violation(&self, field: &'static str, offset: usize, reason: Violation) -> F {
        F::violation(reason, self.place(field, offset))
    }

    #[inline]
    fn truncated(&self, field: &'static str, needed: usize) -> F {
        let reason = Malformed::Truncated { needed: needed as u32, left: self.left() as u32 };
        self.malformed(field, self.at, reason)
    }

    #[inline]
    fn place(&self, field: &'static str, offset: usize) -> Place {
        Place { packet: Some(self.packet), field, offset: offset as u32 }
    }
}
