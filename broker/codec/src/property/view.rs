//! Reading encoded properties.

use std::fmt;

use super::id::{PropertyId, ValueKind};
use crate::protocol::QoS;
use crate::variable_int::{self, VariableInt};

/// One property and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the standard's own names
pub enum Property<'a> {
    /// Whether the payload is UTF-8.
    PayloadFormatIndicator(bool),
    /// Seconds.
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    /// Seconds; `u32::MAX` is forever.
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    /// Seconds.
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    /// Seconds.
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    /// QoS 0 or 1; a server that supports QoS 2 leaves the property out.
    MaximumQoS(QoS),
    RetainAvailable(bool),
    UserProperty(&'a str, &'a str),
    /// Bytes.
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifiersAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// A view of encoded properties that have been checked.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PropertiesRef<'a> {
    encoded: &'a [u8],
}

/// Makes a method that finds one property.
macro_rules! getter {
    ($(#[$doc:meta])* $method:ident, $variant:ident, $value:ty) => {
        $(#[$doc])*
        pub fn $method(self) -> Option<$value> {
            match self.find(PropertyId::$variant)? {
                Property::$variant(value) => Some(value),
                _ => None,
            }
        }
    };
}

impl<'a> PropertiesRef<'a> {
    /// Views bytes that have been checked.
    #[inline]
    pub(crate) const fn trusted(encoded: &'a [u8]) -> Self {
        PropertiesRef { encoded }
    }

    /// Says whether there are none.
    pub const fn is_empty(self) -> bool {
        self.encoded.is_empty()
    }

    /// Returns the encoded properties, without the length before them.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.encoded
    }

    /// Goes through all properties in their order.
    pub const fn iter(self) -> PropertyIter<'a> {
        PropertyIter { rest: self.encoded }
    }

    /// Says whether there is a property with this identifier.
    pub fn contains(self, id: PropertyId) -> bool {
        self.find(id).is_some()
    }

    /// Returns the first property with this identifier.
    pub fn find(self, id: PropertyId) -> Option<Property<'a>> {
        let mut rest = self.encoded;
        while let Some((found, encoded)) = split_first(rest) {
            if found == id {
                return read_value(id, &encoded[1..]);
            }
            rest = &rest[encoded.len()..];
        }
        None
    }

    /// Goes through the user properties in their order: name and value.
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// Goes through the subscription identifiers in their order.
    pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    getter!(
        /// Returns whether the payload is said to be UTF-8.
        payload_format_indicator, PayloadFormatIndicator, bool);
    getter!(
        /// Returns the life time of the message in seconds.
        message_expiry_interval, MessageExpiryInterval, u32);
    getter!(
        /// Returns the content type of the payload.
        content_type, ContentType, &'a str);
    getter!(
        /// Returns the topic name for an answer.
        response_topic, ResponseTopic, &'a str);
    getter!(
        /// Returns what an answer is to be recognized by.
        correlation_data, CorrelationData, &'a [u8]);
    getter!(
        /// Returns how many seconds the session outlives the connection; `u32::MAX` is forever.
        session_expiry_interval, SessionExpiryInterval, u32);
    getter!(
        /// Returns the client id that the server chose.
        assigned_client_identifier, AssignedClientIdentifier, &'a str);
    getter!(
        /// Returns the keep alive in seconds that the server chose.
        server_keep_alive, ServerKeepAlive, u16);
    getter!(
        /// Returns the authentication method.
        authentication_method, AuthenticationMethod, &'a str);
    getter!(
        /// Returns the authentication data.
        authentication_data, AuthenticationData, &'a [u8]);
    getter!(
        /// Returns whether the client wants reason strings and user properties in all packets; absent is yes.
        request_problem_information, RequestProblemInformation, bool);
    getter!(
        /// Returns how many seconds the will waits.
        will_delay_interval, WillDelayInterval, u32);
    getter!(
        /// Returns whether the client wants response information; absent is no.
        request_response_information, RequestResponseInformation, bool);
    getter!(
        /// Returns what response topics may be built on.
        response_information, ResponseInformation, &'a str);
    getter!(
        /// Returns which server to use instead.
        server_reference, ServerReference, &'a str);
    getter!(
        /// Returns the diagnosis for a person.
        reason_string, ReasonString, &'a str);
    getter!(
        /// Returns how many unacknowledged publications the sender takes; absent is 65,535.
        receive_maximum, ReceiveMaximum, u16);
    getter!(
        /// Returns the highest topic alias that the sender takes; absent is 0, none.
        topic_alias_maximum, TopicAliasMaximum, u16);
    getter!(
        /// Returns the topic alias.
        topic_alias, TopicAlias, u16);
    getter!(
        /// Returns the highest QoS of a server; absent is 2.
        maximum_qos, MaximumQoS, QoS);
    getter!(
        /// Returns whether the server has retained messages; absent is yes.
        retain_available, RetainAvailable, bool);
    getter!(
        /// Returns the largest packet in bytes that the sender takes.
        maximum_packet_size, MaximumPacketSize, u32);
    getter!(
        /// Returns whether the server has subscriptions with wildcards; absent is yes.
        wildcard_subscription_available, WildcardSubscriptionAvailable, bool);
    getter!(
        /// Returns whether the server has subscription identifiers; absent is yes.
        subscription_identifiers_available, SubscriptionIdentifiersAvailable, bool);
    getter!(
        /// Returns whether the server has shared subscriptions; absent is yes.
        shared_subscription_available, SharedSubscriptionAvailable, bool);
}

impl fmt::Debug for PropertiesRef<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for PropertiesRef<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> PropertyIter<'a> {
        self.iter()
    }
}

/// The properties of a [`PropertiesRef`] in their order.
#[derive(Debug, Clone)]
pub struct PropertyIter<'a> {
    rest: &'a [u8],
}

impl<'a> PropertyIter<'a> {
    /// Returns the next property as it is encoded, with its identifier.
    pub(crate) fn next_encoded(&mut self) -> Option<(PropertyId, &'a [u8])> {
        let (id, encoded) = split_first(self.rest)?;
        self.rest = &self.rest[encoded.len()..];
        Some((id, encoded))
    }
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let (id, encoded) = self.next_encoded()?;
        read_value(id, &encoded[1..])
    }
}

/// Cuts the first property, with its identifier, off checked bytes.
#[inline]
fn split_first(encoded: &[u8]) -> Option<(PropertyId, &[u8])> {
    let id = PropertyId::from_u8(*encoded.first()?)?;
    let value = &encoded[1..];
    let len = match id.value_kind() {
        ValueKind::Byte => 1,
        ValueKind::TwoBytes => 2,
        ValueKind::FourBytes => 4,
        ValueKind::VariableInt => match variable_int::read(value) {
            VariableInt::Value { len, .. } => len,
            _ => return None,
        },
        ValueKind::Text | ValueKind::Binary => field_len(value)?,
        ValueKind::TextPair => {
            let name_len = field_len(value)?;
            name_len + field_len(value.get(name_len..)?)?
        }
    };
    Some((id, encoded.get(..1 + len)?))
}

/// Returns the length of a field with its two-byte length.
#[inline]
fn field_len(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|len| 2 + usize::from(u16::from_be_bytes(*len)))
}

/// Reads the value of one property from exactly its bytes.
fn read_value(id: PropertyId, value: &[u8]) -> Option<Property<'_>> {
    let flag = || value.first().map(|&byte| byte != 0);
    let two = || value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let four = || value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let binary = || value.get(2..);
    let text = || str::from_utf8(value.get(2..)?).ok();
    Some(match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag()?),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(four()?),
        PropertyId::ContentType => Property::ContentType(text()?),
        PropertyId::ResponseTopic => Property::ResponseTopic(text()?),
        PropertyId::CorrelationData => Property::CorrelationData(binary()?),
        PropertyId::SubscriptionIdentifier => match variable_int::read(value) {
            VariableInt::Value { value, .. } => Property::SubscriptionIdentifier(value),
            _ => return None,
        },
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(four()?),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(text()?),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(two()?),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(text()?),
        PropertyId::AuthenticationData => Property::AuthenticationData(binary()?),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag()?),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(four()?),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag()?),
        PropertyId::ResponseInformation => Property::ResponseInformation(text()?),
        PropertyId::ServerReference => Property::ServerReference(text()?),
        PropertyId::ReasonString => Property::ReasonString(text()?),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum(two()?),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(two()?),
        PropertyId::TopicAlias => Property::TopicAlias(two()?),
        PropertyId::MaximumQoS => Property::MaximumQoS(QoS::from_u8(*value.first()?)?),
        PropertyId::RetainAvailable => Property::RetainAvailable(flag()?),
        PropertyId::UserProperty => {
            let (name, value) = value.split_at_checked(field_len(value)?)?;
            Property::UserProperty(
                str::from_utf8(name.get(2..)?).ok()?,
                str::from_utf8(value.get(2..)?).ok()?,
            )
        }
        PropertyId::MaximumPacketSize => Property::MaximumPacketSize(four()?),
        PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag()?),
        PropertyId::SubscriptionIdentifiersAvailable => Property::SubscriptionIdentifiersAvailable(flag()?),
        PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag()?),
    })
}
