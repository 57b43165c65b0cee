//! Checking the properties of a packet that came in.

use super::id::{PropertyId, ValueKind};
use crate::error::{Malformed, Report, Violation};
use crate::protocol::PacketType;
use crate::reader::Reader;

/// Where properties stand: it decides which may.
pub(crate) struct Section {
    /// The name for messages.
    name: &'static str,
    /// The bits of the properties that may stand here.
    allowed: u64,
    /// The bits of those that may stand here more than once.
    repeatable: u64,
    /// A property of this section that only the other side may send, and how that is called.
    forbidden: Option<(PropertyId, Violation)>,
}

/// Makes a section of its properties; a user property may stand everywhere, any number of times.
macro_rules! section {
    ($name:literal, [$($id:ident)*]) => {
        Section {
            name: $name,
            allowed: PropertyId::UserProperty.bit() $(| PropertyId::$id.bit())*,
            repeatable: PropertyId::UserProperty.bit(),
            forbidden: None,
        }
    };
}

impl Section {
    pub(crate) const CONNECT: Section = section!("CONNECT", [
        SessionExpiryInterval ReceiveMaximum MaximumPacketSize TopicAliasMaximum RequestResponseInformation
        RequestProblemInformation AuthenticationMethod AuthenticationData
    ]);

    pub(crate) const WILL: Section = section!("the will of CONNECT", [
        WillDelayInterval PayloadFormatIndicator MessageExpiryInterval ContentType ResponseTopic
        CorrelationData
    ]);

    pub(crate) const CONNACK: Section = section!("CONNACK", [
        SessionExpiryInterval ReceiveMaximum MaximumQoS RetainAvailable MaximumPacketSize
        AssignedClientIdentifier TopicAliasMaximum ReasonString WildcardSubscriptionAvailable
        SubscriptionIdentifiersAvailable SharedSubscriptionAvailable ServerKeepAlive ResponseInformation
        ServerReference AuthenticationMethod AuthenticationData
    ]);

    /// A PUBLISH from a server or one that we make.
    pub(crate) const PUBLISH: Section = Section {
        repeatable: PropertyId::UserProperty.bit() | PropertyId::SubscriptionIdentifier.bit(),
        ..section!("PUBLISH", [
            PayloadFormatIndicator MessageExpiryInterval TopicAlias ResponseTopic CorrelationData
            SubscriptionIdentifier ContentType
        ])
    };

    pub(crate) const PUBLISH_FROM_CLIENT: Section = Section {
        forbidden: Some((PropertyId::SubscriptionIdentifier, Violation::SubscriptionIdentifierFromClient)),
        ..Section::PUBLISH
    };

    pub(crate) const SUBSCRIBE: Section = section!("SUBSCRIBE", [SubscriptionIdentifier]);

    pub(crate) const UNSUBSCRIBE: Section = section!("UNSUBSCRIBE", []);

    pub(crate) const DISCONNECT: Section =
        section!("DISCONNECT", [SessionExpiryInterval ReasonString ServerReference]);

    pub(crate) const DISCONNECT_FROM_SERVER: Section = Section {
        forbidden: Some((PropertyId::SessionExpiryInterval, Violation::SessionExpiryFromServer)),
        ..Section::DISCONNECT
    };

    pub(crate) const AUTH: Section = section!("AUTH", [AuthenticationMethod AuthenticationData ReasonString]);

    /// Returns the section of an acknowledgement: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK.
    pub(crate) const fn acknowledgement(packet: PacketType) -> Section {
        Section { name: packet.as_str(), ..section!("", [ReasonString]) }
    }

    /// Says whether a property may stand here.
    pub(crate) const fn allows(&self, id: PropertyId) -> bool {
        self.allowed & id.bit() != 0
    }
}

/// Which properties are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    bits: u64,
    /// The offset of the value of the message expiry interval from where the properties are counted, or 0.
    pub(crate) message_expiry_at: usize,
}

impl Seen {
    #[inline]
    pub(crate) const fn contains(self, id: PropertyId) -> bool {
        self.bits & id.bit() != 0
    }

    /// Adds a property whose value is at this offset.
    #[inline]
    pub(crate) fn insert(&mut self, id: PropertyId, value_at: usize) {
        self.bits |= id.bit();
        if id == PropertyId::MessageExpiryInterval {
            self.message_expiry_at = value_at;
        }
    }
}

/// Reads and checks properties to the end of `reader`. Offsets are counted from where it stands.
#[inline]
pub(crate) fn check<F: Report>(mut reader: Reader<'_, F>, section: &Section) -> Result<Seen, F> {
    let mut seen = Seen::default();
    let properties_at = reader.at();
    while reader.left() > 0 {
        let start = reader.at();
        let id = read_id(&mut reader)?;
        if !section.allows(id) {
            let reason = Malformed::PropertyNotAllowed { id, section: section.name };
            return Err(reader.malformed("property identifier", start, reason));
        }
        if let Some((forbidden, violation)) = section.forbidden
            && id == forbidden
        {
            return Err(reader.violation(id.name(), start, violation));
        }
        if seen.contains(id) && section.repeatable & id.bit() == 0 {
            return Err(reader.violation(id.name(), start, Violation::DuplicateProperty { id }));
        }
        seen.insert(id, reader.at() - properties_at);
        check_value(&mut reader, id)?;
    }
    Ok(seen)
}

/// Reads a property identifier, which is a variable byte integer; all of them fit in one byte.
#[inline]
fn read_id<F: Report>(reader: &mut Reader<'_, F>) -> Result<PropertyId, F> {
    const FIELD: &str = "property identifier";
    let start = reader.at();
    let number = reader.variable_int(FIELD)?;
    let id = u8::try_from(number).ok().and_then(PropertyId::from_u8);
    id.ok_or_else(|| reader.malformed(FIELD, start, Malformed::UnknownProperty { id: number }))
}

#[inline]
fn check_value<F: Report>(reader: &mut Reader<'_, F>, id: PropertyId) -> Result<(), F> {
    let start = reader.at();
    let field = id.name();
    let number = match id.value_kind() {
        ValueKind::Byte => u32::from(reader.byte(field)?),
        ValueKind::TwoBytes => u32::from(reader.two_bytes(field)?),
        ValueKind::FourBytes => reader.four_bytes(field)?,
        ValueKind::VariableInt => reader.variable_int(field)?,
        ValueKind::Binary => {
            reader.binary(field)?;
            return Ok(());
        }
        ValueKind::TextPair => {
            reader.text_bytes("name of user property")?;
            reader.text_bytes("value of user property")?;
            return Ok(());
        }
        ValueKind::Text => {
            if id != PropertyId::ResponseTopic {
                reader.text_bytes(field)?;
                return Ok(());
            }
            let topic = reader.text_bytes(field)?;
            if topic.is_empty() || memchr::memchr2(b'+', b'#', topic).is_some() {
                return Err(reader.violation(field, start, Violation::ResponseTopicInvalid));
            }
            return Ok(());
        }
    };
    match id.value_fault(number) {
        None => Ok(()),
        Some(expected) => {
            let reason = Violation::PropertyValue { id, found: number, expected };
            Err(reader.violation(field, start, reason))
        }
    }
}
