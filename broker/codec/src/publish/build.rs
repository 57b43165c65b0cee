//! Making a PUBLISH from its parts.

use bytes::{BufMut, Bytes};

use super::{Flags, Layout, Parts, Publish, Special};
use crate::connect::Will;
use crate::property::{PropertiesRef, PropertyId, Section, Seen};
use crate::protocol::{MAX_REMAINING_LENGTH, PacketId, QoS};
use crate::topic::{TopicError, validate_topic_name};
use crate::variable_int;

/// The parts of a PUBLISH that does not come from a connection: a will, a `$SYS` value, a message of a rule or of
/// the API, or what a client sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishBuilder<'a> {
    /// The topic name. It may be empty if the properties have a topic alias.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The properties.
    pub properties: PropertiesRef<'a>,
    /// The QoS.
    pub qos: QoS,
    /// The retain flag.
    pub retain: bool,
    /// The DUP flag, for what is sent as it is.
    pub dup: bool,
    /// The packet identifier, for what is sent as it is.
    pub packet_id: Option<PacketId>,
}

/// Why parts do not make a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The topic is not a topic name.
    #[error("not a topic name")]
    Topic(#[from] TopicError),
    /// A property that a PUBLISH does not have.
    #[error("{id} is not a property of PUBLISH")]
    PropertyNotAllowed {
        /// The property.
        id: PropertyId,
    },
    /// The message is larger than a packet can be.
    #[error("message of {size} bytes, at most 268435455 are possible")]
    TooLarge {
        /// The size of topic, properties and payload.
        size: usize,
    },
}

/// What a packet needs after its fixed header besides topic, properties and payload: lengths and the packet
/// identifier.
const OVERHEAD_MAX: usize = 2 + 2 + 4;

impl PublishBuilder<'_> {
    /// Copies the parts into one frame.
    pub fn build(&self) -> Result<Publish, BuildError> {
        let seen = seen_in_publish(self.properties)?;
        if !(self.topic.is_empty() && seen.contains(PropertyId::TopicAlias)) {
            validate_topic_name(self.topic)?;
        }
        let properties = self.properties.as_bytes();
        let size = self.topic.len() + properties.len() + self.payload.len();
        if size + OVERHEAD_MAX > MAX_REMAINING_LENGTH as usize {
            return Err(BuildError::TooLarge { size });
        }
        let mut frame = Vec::with_capacity(size + OVERHEAD_MAX);
        frame.put_u16(self.topic.len() as u16);
        frame.put_slice(self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            frame.put_u16(self.packet_id.map_or(0, PacketId::get));
        }
        variable_int::write(properties.len() as u32, &mut frame);
        frame.put_slice(properties);
        let payload_at = frame.len();
        frame.put_slice(self.payload);
        let layout = Layout::new(Parts {
            topic_at: 2,
            topic_len: self.topic.len(),
            properties_len: properties.len(),
            payload_at,
            packet_id: self.packet_id,
            flags: Flags::new(self.qos, self.retain, self.dup).with_form_of_v5(true),
            special: Special::of(seen),
            message_expiry_at: seen.message_expiry_at,
        });
        Ok(Publish { frame: Bytes::from(frame), layout })
    }
}

fn seen_in_publish(properties: PropertiesRef<'_>) -> Result<Seen, BuildError> {
    let mut seen = Seen::default();
    let mut at = 0;
    let mut all = properties.iter();
    while let Some((id, encoded)) = all.next_encoded() {
        if !Section::PUBLISH.allows(id) {
            return Err(BuildError::PropertyNotAllowed { id });
        }
        seen.insert(id, at + 1);
        at += encoded.len();
    }
    Ok(seen)
}

impl Will {
    /// Makes the message that is published for the will. The will delay interval is not part of it.
    pub fn to_publish(&self) -> Result<Publish, BuildError> {
        let mut properties = self.properties.clone();
        properties.remove(PropertyId::WillDelayInterval);
        PublishBuilder {
            topic: &self.topic,
            payload: &self.payload,
            properties: properties.as_ref(),
            qos: self.qos,
            retain: self.retain,
            ..PublishBuilder::default()
        }
        .build()
    }
}
