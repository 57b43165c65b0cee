//! Where the parts of a PUBLISH are in its frame.

use crate::property::{PropertyId, Seen};
use crate::protocol::{PacketId, QoS};

/// Where the parts of a PUBLISH are in its frame, and its small fields.
///
/// The frame has the form of the packet, from the length of the topic at the latest to the end. So the properties
/// end where the payload starts, and the payload ends with the frame.
///
/// The fields are packed into two words. As fields of their own they are written in pieces and then moved as a
/// whole, which makes the processor wait: decoding took half as long again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Start of the payload (lower half) and length of the properties.
    ends: u64,
    /// From the lowest bits: length of the topic (16), packet identifier (16), start of the topic (8), flags (8),
    /// special properties (8), where among the properties the message expiry interval is (8).
    small: u64,
}

/// What a [`Layout`] is made of.
pub(crate) struct Parts {
    pub(crate) topic_at: usize,
    pub(crate) topic_len: usize,
    pub(crate) properties_len: usize,
    pub(crate) payload_at: usize,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) flags: Flags,
    pub(crate) special: Special,
    /// The offset of the value of the message expiry interval among the properties; 0 if there is none.
    pub(crate) message_expiry_at: usize,
}

impl Layout {
    /// Packs the parts, which are those of a packet that is not too large.
    #[inline]
    pub(crate) fn new(parts: Parts) -> Layout {
        let packet_id = parts.packet_id.map_or(0, PacketId::get);
        let message_expiry_at = u8::try_from(parts.message_expiry_at).unwrap_or(0);
        Layout {
            ends: parts.payload_at as u64 | (parts.properties_len as u64) << 32,
            small: parts.topic_len as u64
                | u64::from(packet_id) << 16
                | (parts.topic_at as u64) << 32
                | u64::from(parts.flags.0) << 40
                | u64::from(parts.special.0) << 48
                | u64::from(message_expiry_at) << 56,
        }
    }

    #[inline]
    pub(super) fn topic_at(self) -> usize {
        usize::from((self.small >> 32) as u8)
    }

    #[inline]
    pub(super) fn topic_len(self) -> usize {
        usize::from(self.small as u16)
    }

    /// Returns where the value of the message expiry interval is in the frame, if that is known.
    #[inline]
    pub(super) fn message_expiry_at(self) -> Option<usize> {
        match (self.small >> 56) as usize {
            0 => None,
            offset => Some(self.properties_start() + offset),
        }
    }

    #[inline]
    pub(super) fn properties_start(self) -> usize {
        self.payload_at() - self.properties_len()
    }

    #[inline]
    pub(super) fn properties_len(self) -> usize {
        (self.ends >> 32) as usize
    }

    #[inline]
    pub(super) fn payload_at(self) -> usize {
        self.ends as u32 as usize
    }

    #[inline]
    pub(super) fn packet_id(self) -> Option<PacketId> {
        PacketId::new((self.small >> 16) as u16)
    }

    #[inline]
    pub(super) fn flags(self) -> Flags {
        Flags((self.small >> 40) as u8)
    }

    #[inline]
    pub(super) fn special(self) -> Special {
        Special((self.small >> 48) as u8)
    }
}

/// RETAIN, QoS and DUP as in the fixed header, whether the topic name has wildcards, and whether the frame has the
/// form of 5.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    const RETAIN: u8 = 0b0001;
    const QOS_SHIFT: u8 = 1;
    const DUP: u8 = 0b1000;
    const WILDCARDS: u8 = 0b1_0000;
    const FORM_OF_V5: u8 = 0b10_0000;

    #[inline]
    pub(crate) fn new(qos: QoS, retain: bool, dup: bool) -> Flags {
        Flags(qos.as_u8() << Flags::QOS_SHIFT | u8::from(retain) | u8::from(dup) << 3)
    }

    /// Takes the flags of a first byte that has been checked.
    #[inline]
    pub(crate) fn of_first_byte(first: u8) -> Flags {
        Flags(first & 0x0f)
    }

    #[inline]
    pub(crate) fn with_wildcards(self, wildcards: bool) -> Flags {
        Flags(self.0 | u8::from(wildcards) << 4)
    }

    #[inline]
    pub(crate) fn with_form_of_v5(self, form_of_v5: bool) -> Flags {
        Flags(self.0 | u8::from(form_of_v5) << 5)
    }

    /// Says whether the frame has a property length, as in 5.0.
    #[inline]
    pub(super) fn form_of_v5(self) -> bool {
        self.0 & Flags::FORM_OF_V5 != 0
    }

    /// Returns the lower four bits of the first byte.
    #[inline]
    pub(crate) fn header_bits(self) -> u8 {
        self.0 & 0x0f
    }

    #[inline]
    pub(crate) fn qos(self) -> QoS {
        QoS::from_u8(self.0 >> Flags::QOS_SHIFT & 0b11).unwrap_or_default()
    }

    #[inline]
    pub(super) fn retain(self) -> bool {
        self.0 & Flags::RETAIN != 0
    }

    #[inline]
    pub(super) fn dup(self) -> bool {
        self.0 & Flags::DUP != 0
    }

    #[inline]
    pub(super) fn wildcards(self) -> bool {
        self.0 & Flags::WILDCARDS != 0
    }
}

/// Which of the properties are there that a receiver does not get as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Special(u8);

impl Special {
    pub(super) const TOPIC_ALIAS: Special = Special(1);
    pub(super) const MESSAGE_EXPIRY: Special = Special(2);
    pub(super) const SUBSCRIPTION_IDENTIFIER: Special = Special(4);

    #[inline]
    pub(crate) fn of(seen: Seen) -> Special {
        let bit = |id, special: Special| if seen.contains(id) { special.0 } else { 0 };
        Special(
            bit(PropertyId::TopicAlias, Special::TOPIC_ALIAS)
                | bit(PropertyId::MessageExpiryInterval, Special::MESSAGE_EXPIRY)
                | bit(PropertyId::SubscriptionIdentifier, Special::SUBSCRIPTION_IDENTIFIER),
        )
    }

    #[inline]
    pub(super) fn contains(self, other: Special) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Says whether the message expiry interval is the only one.
    #[inline]
    pub(super) fn is_message_expiry(self) -> bool {
        self == Special::MESSAGE_EXPIRY
    }
}
