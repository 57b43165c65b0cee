//! The PUBLISH packet: one frame and offsets into it.

mod build;
mod decode;
mod delivery;
mod layout;

use std::fmt;

use bytes::Bytes;

pub use build::{BuildError, PublishBuilder};
pub(crate) use decode::decode_layout;
pub use delivery::{Delivery, Encoded, TopicAlias, patch_packet_id};
pub(crate) use layout::Layout;
use layout::{Flags, Parts, Special};

use crate::property::{PropertiesRef, PropertyId};
use crate::protocol::{PacketId, PacketType, QoS};
use crate::text::trusted_str;

/// A message, as it came in or as the server made it.
///
/// Topic, properties and payload lie in one shared piece of memory, so that a clone costs one reference count.
/// [`Delivery`] writes it for a receiver.
#[derive(Clone)]
pub struct Publish {
    frame: Bytes,
    layout: Layout,
}

/// A PUBLISH is moved about by value, once per message.
const _: () = assert!(size_of::<Publish>() <= 48);

impl Publish {
    #[inline]
    pub(crate) fn from_frame(frame: Bytes, layout: Layout) -> Publish {
        Publish { frame, layout }
    }

    /// Returns the topic name. It is empty if only a topic alias came.
    #[inline]
    #[allow(unsafe_code)]
    pub fn topic(&self) -> &str {
        // SAFETY: the layout of a frame is made where the topic has been checked (`decode_layout`) or was a `str`
        // (`PublishBuilder`), and neither changes afterwards.
        unsafe { trusted_str(self.topic_slice()) }
    }

    /// Returns the topic name as a share of the frame.
    pub fn topic_bytes(&self) -> Bytes {
        self.frame.slice_ref(self.topic_slice())
    }

    #[inline]
    fn topic_slice(&self) -> &[u8] {
        let start = self.layout.topic_at();
        &self.frame[start..start + self.layout.topic_len()]
    }

    /// Says whether the topic name contains `+` or `#`, which is to be refused with 0x90.
    #[inline]
    pub fn topic_has_wildcards(&self) -> bool {
        self.layout.flags().wildcards()
    }

    /// Returns the payload as a share of the frame.
    pub fn payload(&self) -> Bytes {
        self.frame.slice(self.layout.payload_at()..)
    }

    /// Returns the payload.
    #[inline]
    pub fn payload_slice(&self) -> &[u8] {
        &self.frame[self.layout.payload_at()..]
    }

    /// Returns the properties; before 5.0 there are none.
    #[inline]
    pub fn properties(&self) -> PropertiesRef<'_> {
        PropertiesRef::trusted(self.properties_slice())
    }

    /// Returns the encoded properties, without their length, as a share of the frame.
    pub fn properties_bytes(&self) -> Bytes {
        self.frame.slice(self.layout.properties_start()..self.layout.payload_at())
    }

    #[inline]
    fn properties_slice(&self) -> &[u8] {
        &self.frame[self.layout.properties_start()..self.layout.payload_at()]
    }

    /// Returns the topic alias, at once if there is none.
    #[inline]
    pub fn topic_alias(&self) -> Option<u16> {
        if self.layout.special().contains(Special::TOPIC_ALIAS) {
            self.properties().topic_alias()
        } else {
            None
        }
    }

    /// Returns the message expiry interval in seconds, at once if there is none.
    #[inline]
    pub fn message_expiry_interval(&self) -> Option<u32> {
        if self.layout.special().contains(Special::MESSAGE_EXPIRY) {
            self.properties().message_expiry_interval()
        } else {
            None
        }
    }

    /// Returns the QoS.
    #[inline]
    pub fn qos(&self) -> QoS {
        self.layout.flags().qos()
    }

    /// Returns the retain flag.
    #[inline]
    pub fn retain(&self) -> bool {
        self.layout.flags().retain()
    }

    /// Returns the DUP flag: the sender may have sent the packet before.
    #[inline]
    pub fn dup(&self) -> bool {
        self.layout.flags().dup()
    }

    /// Returns the packet identifier, which a PUBLISH of QoS 1 or 2 has.
    #[inline]
    pub fn packet_id(&self) -> Option<PacketId> {
        self.layout.packet_id()
    }

    /// Returns the first byte of the packet that is sent as it is.
    pub(crate) fn first_byte(&self) -> u8 {
        PacketType::Publish.first_byte() | self.layout.flags().header_bits()
    }

    /// Returns how many bytes of memory a clone keeps alive.
    pub fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Returns the same message with another topic name and without a topic alias, in a frame of its own.
    pub fn with_topic(&self, topic: &str) -> Result<Publish, BuildError> {
        let mut properties = Vec::new();
        if self.layout.special().contains(Special::TOPIC_ALIAS) {
            let mut all = self.properties().iter();
            while let Some((id, encoded)) = all.next_encoded() {
                if id != PropertyId::TopicAlias {
                    properties.extend_from_slice(encoded);
                }
            }
        }
        let properties = match self.layout.special().contains(Special::TOPIC_ALIAS) {
            true => PropertiesRef::trusted(&properties),
            false => self.properties(),
        };
        PublishBuilder {
            topic,
            payload: self.payload_slice(),
            properties,
            qos: self.qos(),
            retain: self.retain(),
            dup: self.dup(),
            packet_id: self.packet_id(),
        }
        .build()
    }
}

impl PartialEq for Publish {
    fn eq(&self, other: &Publish) -> bool {
        self.layout.flags().header_bits() == other.layout.flags().header_bits()
            && self.packet_id() == other.packet_id()
            && self.topic_slice() == other.topic_slice()
            && self.properties() == other.properties()
            && self.payload_slice() == other.payload_slice()
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Publish")
            .field("topic", &self.topic())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("dup", &self.dup())
            .field("packet_id", &self.packet_id())
            .field("properties", &self.properties())
            .field("payload_len", &self.payload_slice().len())
            .finish()
    }
}
