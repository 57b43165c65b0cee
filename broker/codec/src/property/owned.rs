//! Building properties.

use std::fmt;

use bytes::BufMut;

use super::id::PropertyId;
use super::view::{PropertiesRef, Property, PropertyIter};
use crate::protocol::{MAX_REMAINING_LENGTH, QoS};
use crate::topic::validate_topic_name;
use crate::variable_int;

/// An owned list of properties, kept encoded. Empty ones do not allocate.
///
/// Every property in it is valid by itself; whether it may stand in a packet is decided by the packet.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Properties {
    encoded: Vec<u8>,
}

/// Why a property cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// A text or binary value is longer than its two-byte length can say.
    #[error("{id} has {len} bytes, at most 65535 are possible")]
    TooLong {
        /// The property.
        id: PropertyId,
        /// The length of the value.
        len: usize,
    },
    /// A text contains U+0000.
    #[error("{id} contains U+0000 at byte {at}")]
    NulInText {
        /// The property.
        id: PropertyId,
        /// The offset in the text.
        at: usize,
    },
    /// A property that may stand once is already there.
    #[error("{id} is already there")]
    Duplicate {
        /// The property.
        id: PropertyId,
    },
    /// The standard forbids the value.
    #[error("{id} is {found}, expected {expected}")]
    Value {
        /// The property.
        id: PropertyId,
        /// The value.
        found: u32,
        /// The values allowed.
        expected: &'static str,
    },
    /// A response topic is empty or contains wildcards.
    #[error("response topic is not a topic name")]
    ResponseTopicInvalid,
    /// All properties together are longer than their length field can say.
    #[error("properties of {len} bytes, at most 268435455 are possible")]
    SectionTooLong {
        /// The length of all properties.
        len: usize,
    },
}

impl Properties {
    /// Makes an empty list.
    pub const fn new() -> Properties {
        Properties { encoded: Vec::new() }
    }

    /// Makes a list of these properties.
    pub fn from_list(properties: &[Property<'_>]) -> Result<Properties, PropertyError> {
        let mut list = Properties::new();
        for property in properties {
            list.push(*property)?;
        }
        Ok(list)
    }

    /// Makes a list with a reason string.
    ///
    /// As the text is only a diagnosis, what cannot be sent is left out: U+0000, and what is beyond 65,535 bytes.
    pub fn with_reason_string(text: &str) -> Properties {
        let clean: String;
        let mut text = text;
        if text.contains('\0') {
            clean = text.replace('\0', "");
            text = &clean;
        }
        let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
        let mut encoded = Vec::with_capacity(3 + text.len());
        encoded.put_u8(PropertyId::ReasonString.as_u8());
        put_field(text.as_bytes(), &mut encoded);
        Properties { encoded }
    }

    /// Takes encoded properties that have been checked.
    pub(crate) fn trusted(encoded: &[u8]) -> Properties {
        Properties { encoded: encoded.to_vec() }
    }

    /// Adds a property at the end.
    ///
    /// On an error the list is as it was.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), PropertyError> {
        let id = property.id();
        check_value(id, property)?;
        let repeatable = matches!(id, PropertyId::UserProperty | PropertyId::SubscriptionIdentifier);
        if !repeatable && self.as_ref().contains(id) {
            return Err(PropertyError::Duplicate { id });
        }
        let len_before = self.encoded.len();
        property.write(&mut self.encoded);
        let len = self.encoded.len();
        if len > MAX_REMAINING_LENGTH as usize {
            self.encoded.truncate(len_before);
            return Err(PropertyError::SectionTooLong { len });
        }
        Ok(())
    }

    /// Removes all properties with this identifier.
    pub fn remove(&mut self, id: PropertyId) {
        if !self.as_ref().contains(id) {
            return;
        }
        let mut kept = Vec::with_capacity(self.encoded.len());
        let mut properties = self.as_ref().iter();
        while let Some((found, encoded)) = properties.next_encoded() {
            if found != id {
                kept.extend_from_slice(encoded);
            }
        }
        self.encoded = kept;
    }

    /// Views the properties.
    #[allow(clippy::should_implement_trait)] // a view, not a reference
    pub fn as_ref(&self) -> PropertiesRef<'_> {
        PropertiesRef::trusted(&self.encoded)
    }

    /// Goes through all properties in their order.
    pub fn iter(&self) -> PropertyIter<'_> {
        self.as_ref().iter()
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_ref(), formatter)
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> PropertyIter<'a> {
        self.iter()
    }
}

/// A value as it goes to the wire.
enum Value<'a> {
    Byte(u8),
    TwoBytes(u16),
    FourBytes(u32),
    VariableInt(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    TextPair(&'a str, &'a str),
}

impl<'a> Property<'a> {
    /// Returns the identifier.
    pub const fn id(&self) -> PropertyId {
        self.parts().0
    }

    const fn parts(&self) -> (PropertyId, Value<'a>) {
        use PropertyId as Id;
        match *self {
            Property::PayloadFormatIndicator(flag) => (Id::PayloadFormatIndicator, Value::Byte(flag as u8)),
            Property::MessageExpiryInterval(number) => (Id::MessageExpiryInterval, Value::FourBytes(number)),
            Property::ContentType(text) => (Id::ContentType, Value::Text(text)),
            Property::ResponseTopic(text) => (Id::ResponseTopic, Value::Text(text)),
            Property::CorrelationData(data) => (Id::CorrelationData, Value::Binary(data)),
            Property::SubscriptionIdentifier(number) => {
                (Id::SubscriptionIdentifier, Value::VariableInt(number))
            }
            Property::SessionExpiryInterval(number) => (Id::SessionExpiryInterval, Value::FourBytes(number)),
            Property::AssignedClientIdentifier(text) => (Id::AssignedClientIdentifier, Value::Text(text)),
            Property::ServerKeepAlive(number) => (Id::ServerKeepAlive, Value::TwoBytes(number)),
            Property::AuthenticationMethod(text) => (Id::AuthenticationMethod, Value::Text(text)),
            Property::AuthenticationData(data) => (Id::AuthenticationData, Value::Binary(data)),
            Property::RequestProblemInformation(flag) => {
                (Id::RequestProblemInformation, Value::Byte(flag as u8))
            }
            Property::WillDelayInterval(number) => (Id::WillDelayInterval, Value::FourBytes(number)),
            Property::RequestResponseInformation(flag) => {
                (Id::RequestResponseInformation, Value::Byte(flag as u8))
            }
            Property::ResponseInformation(text) => (Id::ResponseInformation, Value::Text(text)),
            Property::ServerReference(text) => (Id::ServerReference, Value::Text(text)),
            Property::ReasonString(text) => (Id::ReasonString, Value::Text(text)),
            Property::ReceiveMaximum(number) => (Id::ReceiveMaximum, Value::TwoBytes(number)),
            Property::TopicAliasMaximum(number) => (Id::TopicAliasMaximum, Value::TwoBytes(number)),
            Property::TopicAlias(number) => (Id::TopicAlias, Value::TwoBytes(number)),
            Property::MaximumQoS(qos) => (Id::MaximumQoS, Value::Byte(qos as u8)),
            Property::RetainAvailable(flag) => (Id::RetainAvailable, Value::Byte(flag as u8)),
            Property::UserProperty(name, value) => (Id::UserProperty, Value::TextPair(name, value)),
            Property::MaximumPacketSize(number) => (Id::MaximumPacketSize, Value::FourBytes(number)),
            Property::WildcardSubscriptionAvailable(flag) => {
                (Id::WildcardSubscriptionAvailable, Value::Byte(flag as u8))
            }
            Property::SubscriptionIdentifiersAvailable(flag) => {
                (Id::SubscriptionIdentifiersAvailable, Value::Byte(flag as u8))
            }
            Property::SharedSubscriptionAvailable(flag) => {
                (Id::SharedSubscriptionAvailable, Value::Byte(flag as u8))
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (id, value) = self.parts();
        out.put_u8(id.as_u8());
        match value {
            Value::Byte(number) => out.put_u8(number),
            Value::TwoBytes(number) => out.put_u16(number),
            Value::FourBytes(number) => out.put_u32(number),
            Value::VariableInt(number) => variable_int::write(number, out),
            Value::Text(text) => put_field(text.as_bytes(), out),
            Value::Binary(data) => put_field(data, out),
            Value::TextPair(name, value) => {
                put_field(name.as_bytes(), out);
                put_field(value.as_bytes(), out);
            }
        }
    }
}

fn put_field(bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u16(bytes.len() as u16); // fits: checked in `check_value`
    out.put_slice(bytes);
}

fn check_value(id: PropertyId, property: Property<'_>) -> Result<(), PropertyError> {
    let check_len = |len| {
        if len > usize::from(u16::MAX) { Err(PropertyError::TooLong { id, len }) } else { Ok(()) }
    };
    let check_text = |text: &str| {
        check_len(text.len())?;
        memchr::memchr(0, text.as_bytes()).map_or(Ok(()), |at| Err(PropertyError::NulInText { id, at }))
    };
    let check_number = |found: u32| {
        let fault = id.value_fault(found);
        fault.map_or(Ok(()), |expected| Err(PropertyError::Value { id, found, expected }))
    };
    if let Property::ResponseTopic(topic) = property {
        check_text(topic)?;
        return validate_topic_name(topic).map_err(|_| PropertyError::ResponseTopicInvalid);
    }
    match property.parts().1 {
        Value::Byte(number) => check_number(u32::from(number)),
        Value::TwoBytes(number) => check_number(u32::from(number)),
        Value::FourBytes(number) | Value::VariableInt(number) => check_number(number),
        Value::Text(text) => check_text(text),
        Value::Binary(data) => check_len(data.len()),
        Value::TextPair(name, value) => check_text(name).and_then(|()| check_text(value)),
    }
}

impl Property<'_> {
    /// Returns the maximum QoS property, unless `qos` is 2, which is said by leaving it out.
    pub const fn maximum_qos(qos: QoS) -> Option<Property<'static>> {
        match qos {
            QoS::ExactlyOnce => None,
            lower => Some(Property::MaximumQoS(lower)),
        }
    }
}
