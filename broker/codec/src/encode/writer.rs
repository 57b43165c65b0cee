//! Writing the fields of a packet, or only counting their bytes.

use crate::property::{Properties, PropertyId};
use crate::protocol::Version;
use crate::variable_int;

/// Where bytes go.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// Counts the bytes.
pub(super) struct Length(pub(super) usize);

impl Sink for Length {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Appends the bytes to a buffer.
impl Sink for &mut Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Which of the properties are written that a packet may do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    reason_string: bool,
    user_properties: bool,
}

impl Kept {
    pub(super) const ALL: Kept = Kept { reason_string: true, user_properties: true };
    pub(super) const NEITHER: Kept = Kept { reason_string: false, user_properties: false };
    /// What is tried, one after the other, to make a packet fit.
    pub(super) const CHOICES: [Kept; 4] = [
        Kept::ALL,
        Kept { reason_string: false, user_properties: true },
        Kept { reason_string: true, user_properties: false },
        Kept::NEITHER,
    ];

    fn keeps(self, id: PropertyId) -> bool {
        match id {
            PropertyId::ReasonString => self.reason_string,
            PropertyId::UserProperty => self.user_properties,
            _ => true,
        }
    }
}

/// Writes the fields of one packet.
pub(super) struct Writer<S> {
    pub(super) sink: S,
    pub(super) version: Version,
    pub(super) kept: Kept,
}

impl<S: Sink> Writer<S> {
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.sink.put(bytes);
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.sink.put(&[byte]);
    }

    #[inline]
    pub(super) fn two_bytes(&mut self, number: u16) {
        self.sink.put(&number.to_be_bytes());
    }

    pub(super) fn variable_int(&mut self, value: u32) {
        let mut bytes = [0; 4];
        variable_int::write(value, &mut &mut bytes[..]);
        self.sink.put(&bytes[..variable_int::encoded_len(value)]);
    }

    /// Writes a text or binary field with its two-byte length.
    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.two_bytes(bytes.len() as u16); // fits: checked before
        self.bytes(bytes);
    }

    /// Writes the properties with their length; before 5.0, nothing.
    pub(super) fn properties(&mut self, properties: &Properties) {
        if self.version != Version::V5 {
            return;
        }
        let len = self.properties_len(properties);
        self.variable_int(len as u32);
        if len == properties.as_ref().as_bytes().len() {
            self.bytes(properties.as_ref().as_bytes());
            return;
        }
        let mut all = properties.iter();
        while let Some((id, encoded)) = all.next_encoded() {
            if self.kept.keeps(id) {
                self.bytes(encoded);
            }
        }
    }

    /// Returns the length of the properties that are kept.
    pub(super) fn properties_len(&self, properties: &Properties) -> usize {
        if self.kept == Kept::ALL {
            return properties.as_ref().as_bytes().len();
        }
        let mut len = 0;
        let mut all = properties.iter();
        while let Some((id, encoded)) = all.next_encoded() {
            if self.kept.keeps(id) {
                len += encoded.len();
            }
        }
        len
    }
}
