//! Writing a PUBLISH for one receiver.

use std::num::NonZeroU16;

use super::{Flags, Publish};
use crate::error::EncodeError;
use crate::property::PropertyId;
use crate::protocol::{MAX_PACKET_SIZE, MAX_REMAINING_LENGTH, PacketId, PacketType, QoS, Version};
use crate::variable_int;

/// How a message goes to one receiver, or to all receivers that get the same bytes.
///
/// Topic, properties and payload are copied as they are, with these exceptions: the topic alias and the subscription
/// identifiers are those of the receiver, and the message expiry interval is what is left of it.
///
/// For many receivers of one version and QoS, encode once with any packet identifier and use
/// [`patch_packet_id`] on each copy.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The version that the receiver speaks.
    pub version: Version,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The packet identifier, which QoS 1 and 2 need.
    pub packet_id: Option<PacketId>,
    /// Whether the packet may have been sent before.
    pub dup: bool,
    /// The retain flag for the receiver.
    pub retain: bool,
    /// Another topic name than that of the message, for a receiver with a mount point.
    pub topic: Option<&'a str>,
    /// A topic alias (5.0).
    pub topic_alias: Option<TopicAlias>,
    /// The identifiers of the subscriptions that matched (5.0).
    pub subscription_identifiers: &'a [u32],
    /// What is left of the message expiry interval in seconds, or nothing for a message that does not expire (5.0).
    ///
    /// The interval in the message is never sent; who keeps time decides.
    pub message_expiry_interval: Option<u32>,
}

/// A topic alias in a PUBLISH that goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicAlias {
    /// Tell the receiver that this alias stands for the topic name from now on.
    Set(NonZeroU16),
    /// Send the alias instead of the topic name.
    Use(NonZeroU16),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// How many bytes were written.
    pub len: usize,
    /// The offset of the packet identifier from the first byte written, for [`patch_packet_id`].
    pub packet_id_at: Option<usize>,
}

/// Writes another packet identifier into an encoded PUBLISH, or into a larger buffer that contains it.
///
/// # Panics
///
/// If the two bytes at `packet_id_at` are not within `bytes`.
#[inline]
pub fn patch_packet_id(bytes: &mut [u8], packet_id_at: usize, packet_id: PacketId) {
    bytes[packet_id_at..packet_id_at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
}

impl<'a> Delivery<'a> {
    /// Starts with a delivery of QoS 0 with no flags and nothing added.
    pub const fn new(version: Version) -> Delivery<'a> {
        Delivery {
            version,
            qos: QoS::AtMostOnce,
            packet_id: None,
            dup: false,
            retain: false,
            topic: None,
            topic_alias: None,
            subscription_identifiers: &[],
            message_expiry_interval: None,
        }
    }

    /// Returns the size of the whole packet, for the receiver's Maximum Packet Size.
    pub fn encoded_len(&self, publish: &Publish) -> usize {
        self.plan(publish).packet_len(publish)
    }

    /// Writes the packet at the end of `out`.
    pub fn encode(&self, publish: &Publish, out: &mut Vec<u8>) -> Result<Encoded, EncodeError> {
        self.write(publish, Extent::Whole, out)
    }

    /// Writes the packet up to its payload, which the caller sends after it without a copy.
    ///
    /// [`Encoded::len`] is the length of what is written here.
    pub fn encode_head(&self, publish: &Publish, out: &mut Vec<u8>) -> Result<Encoded, EncodeError> {
        self.write(publish, Extent::Head, out)
    }

    #[inline]
    fn write(&self, publish: &Publish, extent: Extent, out: &mut Vec<u8>) -> Result<Encoded, EncodeError> {
        if let Some(packet_id) = self.same_form(publish) {
            return Ok(self.write_same_form(publish, packet_id, extent, out));
        }
        self.write_parts(publish, extent, out)
    }

    /// Says whether all bytes from the topic on are the same as in the frame, except for the packet identifier, which
    /// is returned, and the value of a message expiry interval, which is as long as the one in the frame.
    #[inline]
    fn same_form(&self, publish: &Publish) -> Option<Option<PacketId>> {
        let flags = publish.layout.flags();
        let v5 = self.version == Version::V5;
        let special = publish.layout.special();
        let same_expiry = match self.message_expiry_interval {
            _ if !v5 => true,
            None => special.is_empty(),
            Some(_) => special.is_message_expiry() && publish.layout.message_expiry_at().is_some(),
        };
        let same = flags.form_of_v5() == v5
            && same_expiry
            && publish.frame.len() + PACKET_ID_LEN <= MAX_REMAINING_LENGTH as usize
            && self.topic.is_none()
            && publish.layout.topic_len() > 0
            && (!v5 || (self.topic_alias.is_none() && self.subscription_identifiers.is_empty()));
        match (same, self.qos, self.packet_id) {
            (true, QoS::AtMostOnce, _) => Some(None),
            (true, _, Some(packet_id)) => Some(Some(packet_id)),
            _ => None,
        }
    }

    /// Copies the frame from the topic on: in one piece, or in two if only one side has a packet identifier.
    #[inline]
    fn write_same_form(
        &self,
        publish: &Publish,
        packet_id: Option<PacketId>,
        extent: Extent,
        out: &mut Vec<u8>,
    ) -> Encoded {
        let body_at = publish.layout.topic_at() - TOPIC_LENGTH_LEN;
        let topic_end = publish.layout.topic_at() + publish.layout.topic_len();
        let id_len_in = if publish.qos() == QoS::AtMostOnce { 0 } else { PACKET_ID_LEN };
        let id_len_out = if packet_id.is_some() { PACKET_ID_LEN } else { 0 };
        let rest_at = topic_end + id_len_in;
        let end = match extent {
            Extent::Whole => publish.frame.len(),
            Extent::Head => publish.layout.payload_at(),
        };
        let remaining_len = publish.frame.len() - body_at - id_len_in + id_len_out;
        let (head, head_len) = fixed_header(self.first_byte(), remaining_len as u32);
        let start = out.len();
        out.reserve(head.len() + end - body_at + PACKET_ID_LEN);
        out.extend_from_slice(&head); // all of it, because a length known to the compiler needs no call
        out.truncate(start + head_len);
        if id_len_in == id_len_out {
            out.extend_from_slice(&publish.frame[body_at..end]);
        } else {
            out.extend_from_slice(&publish.frame[body_at..topic_end]);
            out.extend_from_slice(&[0; PACKET_ID_LEN][..id_len_out]);
            out.extend_from_slice(&publish.frame[rest_at..end]);
        }
        let id_at = head_len + topic_end - body_at;
        if let Some(packet_id) = packet_id {
            patch_packet_id(out, start + id_at, packet_id);
        }
        if self.version == Version::V5
            && let Some(interval) = self.message_expiry_interval
            && let Some(at) = publish.layout.message_expiry_at()
        {
            let at = start + id_at + id_len_out + at - rest_at;
            out[at..at + 4].copy_from_slice(&interval.to_be_bytes());
        }
        Encoded { len: out.len() - start, packet_id_at: packet_id.map(|_| id_at) }
    }

    /// Puts the packet together from its parts.
    fn write_parts(
        &self,
        publish: &Publish,
        extent: Extent,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, EncodeError> {
        let plan = self.plan(publish);
        self.check(&plan, publish)?;
        let start = out.len();
        let payload = publish.payload_slice();
        out.reserve(plan.packet_len(publish) - if extent == Extent::Head { payload.len() } else { 0 });
        let mut head = Head::new();
        head.byte(self.first_byte());
        head.variable_int(plan.remaining_len(publish) as u32);
        head.two_bytes(plan.topic.len() as u16);
        out.extend_from_slice(head.bytes());
        out.extend_from_slice(plan.topic);

        let mut head = Head::new();
        let packet_id_at = plan.packet_id.map(|id| {
            head.two_bytes(id.get());
            out.len() - start
        });
        if self.version == Version::V5 {
            head.variable_int(plan.properties_len as u32);
            if let Some(TopicAlias::Set(alias) | TopicAlias::Use(alias)) = self.topic_alias {
                head.byte(PropertyId::TopicAlias.as_u8());
                head.two_bytes(alias.get());
            }
            if let Some(interval) = self.message_expiry_interval {
                head.byte(PropertyId::MessageExpiryInterval.as_u8());
                head.four_bytes(interval);
            }
        }
        out.extend_from_slice(head.bytes());
        if self.version == Version::V5 {
            for &identifier in self.subscription_identifiers {
                out.push(PropertyId::SubscriptionIdentifier.as_u8());
                variable_int::write(identifier, out);
            }
            put_kept(publish, out);
        }
        if extent == Extent::Whole {
            out.extend_from_slice(payload);
        }
        Ok(Encoded { len: out.len() - start, packet_id_at })
    }

    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Publish.first_byte() | Flags::new(self.qos, self.retain, self.dup).header_bits()
    }

    #[inline]
    fn plan<'p>(&self, publish: &'p Publish) -> Plan<'p>
    where
        'a: 'p,
    {
        let v5 = self.version == Version::V5;
        let sends_topic = !v5 || !matches!(self.topic_alias, Some(TopicAlias::Use(_)));
        let topic = match self.topic {
            _ if !sends_topic => &[],
            Some(topic) => topic.as_bytes(),
            None => publish.topic_slice(),
        };
        let packet_id = if self.qos == QoS::AtMostOnce { None } else { self.packet_id };
        if !v5 {
            return Plan { topic, sends_topic, packet_id, properties_len: 0, properties_field_len: 0 };
        }
        let kept_len = kept_len(publish);
        let identifiers = self.subscription_identifiers.iter();
        let properties_len = kept_len
            + if self.topic_alias.is_some() { 3 } else { 0 }
            + if self.message_expiry_interval.is_some() { 5 } else { 0 }
            + identifiers.map(|&identifier| 1 + variable_int::encoded_len(identifier)).sum::<usize>();
        let properties_field_len = variable_int::encoded_len(properties_len as u32) + properties_len;
        Plan { topic, sends_topic, packet_id, properties_len, properties_field_len }
    }

    #[inline]
    fn check(&self, plan: &Plan<'_>, publish: &Publish) -> Result<(), EncodeError> {
        if self.qos != QoS::AtMostOnce && self.packet_id.is_none() {
            return Err(EncodeError::PacketIdMissing);
        }
        if plan.topic.len() > usize::from(u16::MAX) {
            let len = plan.topic.len();
            return Err(EncodeError::FieldTooLong { packet: PacketType::Publish, field: "topic name", len });
        }
        if plan.topic.is_empty() && plan.sends_topic {
            return Err(EncodeError::Empty { packet: PacketType::Publish, field: "topic name" });
        }
        let mut identifiers = self.subscription_identifiers.iter();
        if let Some(&found) = identifiers.find(|&&identifier| !is_subscription_identifier(identifier)) {
            return Err(EncodeError::SubscriptionIdentifier { found });
        }
        let size = plan.packet_len(publish);
        if size > MAX_PACKET_SIZE as usize {
            return Err(EncodeError::TooLarge { packet: PacketType::Publish, size, limit: MAX_PACKET_SIZE });
        }
        Ok(())
    }
}

/// How much of the packet is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// All but the payload.
    Head,
}

/// The length of the field with the length of the topic.
const TOPIC_LENGTH_LEN: usize = 2;

const PACKET_ID_LEN: usize = 2;

/// The lengths of a packet to be written.
struct Plan<'a> {
    topic: &'a [u8],
    /// Whether the topic name is there, not only an alias.
    sends_topic: bool,
    packet_id: Option<PacketId>,
    properties_len: usize,
    /// The same with the length before them; 0 before 5.0.
    properties_field_len: usize,
}

impl Plan<'_> {
    #[inline]
    fn remaining_len(&self, publish: &Publish) -> usize {
        let packet_id_len = if self.packet_id.is_some() { 2 } else { 0 };
        2 + self.topic.len() + packet_id_len + self.properties_field_len + publish.payload_slice().len()
    }

    #[inline]
    fn packet_len(&self, publish: &Publish) -> usize {
        let remaining_len = self.remaining_len(publish);
        1 + variable_int::encoded_len(remaining_len as u32) + remaining_len
    }
}

fn is_subscription_identifier(identifier: u32) -> bool {
    PropertyId::SubscriptionIdentifier.value_fault(identifier).is_none()
}

/// Says whether a property goes from the sender to the receiver as it is.
#[inline]
fn is_kept(id: PropertyId) -> bool {
    !matches!(
        id,
        PropertyId::TopicAlias | PropertyId::MessageExpiryInterval | PropertyId::SubscriptionIdentifier
    )
}

#[inline]
fn kept_len(publish: &Publish) -> usize {
    if publish.layout.special().is_empty() {
        return publish.layout.properties_len();
    }
    let mut len = 0;
    let mut properties = publish.properties().iter();
    while let Some((id, encoded)) = properties.next_encoded() {
        if is_kept(id) {
            len += encoded.len();
        }
    }
    len
}

#[inline]
fn put_kept(publish: &Publish, out: &mut Vec<u8>) {
    if publish.layout.special().is_empty() {
        out.extend_from_slice(publish.properties_slice());
        return;
    }
    let mut properties = publish.properties().iter();
    while let Some((id, encoded)) = properties.next_encoded() {
        if is_kept(id) {
            out.extend_from_slice(encoded);
        }
    }
}

/// Makes the first byte and the remaining length, in the first bytes of an array, and says how many they are.
///
/// They are put together in a register: an array that is written byte by byte and copied at once makes the
/// processor wait.
#[inline]
fn fixed_header(first: u8, remaining_len: u32) -> ([u8; 8], usize) {
    let len = variable_int::encoded_len(remaining_len);
    let mut word = u64::from(first);
    for index in 0..len {
        let more = if index + 1 < len { 0x80 } else { 0 };
        word |= u64::from(remaining_len >> (7 * index) & 0x7f | more) << (8 * (index + 1));
    }
    (word.to_le_bytes(), 1 + len)
}

/// A few bytes that are put together before they are written at once.
struct Head {
    bytes: [u8; Head::CAPACITY],
    len: usize,
}

impl Head {
    /// Packet identifier, property length, topic alias and message expiry interval.
    const CAPACITY: usize = 2 + 4 + 3 + 5;

    #[inline]
    fn new() -> Head {
        Head { bytes: [0; Head::CAPACITY], len: 0 }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn two_bytes(&mut self, number: u16) {
        self.bytes[self.len..self.len + 2].copy_from_slice(&number.to_be_bytes());
        self.len += 2;
    }

    #[inline]
    fn four_bytes(&mut self, number: u32) {
        self.bytes[self.len..self.len + 4].copy_from_slice(&number.to_be_bytes());
        self.len += 4;
    }

    #[inline]
    fn variable_int(&mut self, mut value: u32) {
        while value > 0x7f {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
