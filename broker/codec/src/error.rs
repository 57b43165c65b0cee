//! What can be wrong with a packet that came in, and with one that is to go out.

use std::fmt;

use crate::property::PropertyId;
use crate::protocol::{PacketType, Version};
use crate::reason::ReasonCode;

/// Why the bytes that came in are not a packet that may come in here.
///
/// After an error the connection must be closed: where the next packet starts is not known.
/// [`reason_code`](DecodeError::reason_code) is what a 5.0 peer is told first, unless
/// [`closes_silently`](DecodeError::closes_silently).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes cannot be parsed as the packet they claim to be.
    #[error("malformed {place}: {reason}")]
    Malformed {
        /// What is wrong.
        reason: Malformed,
        /// Where it is wrong.
        place: Place,
    },
    /// The packet can be parsed, but the standard forbids its content or that it comes at all.
    #[error("protocol error in {place}: {reason}")]
    Protocol {
        /// What is wrong.
        reason: Violation,
        /// Where it is wrong.
        place: Place,
    },
    /// The packet is larger than the limit of the decoder.
    #[error("packet of {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The size of the whole packet, fixed header included.
        size: u32,
        /// The limit of the decoder.
        limit: u32,
    },
    /// The CONNECT asks for a version that does not exist.
    #[error("protocol level {level} is not supported, expected 3, 4 or 5")]
    UnsupportedVersion {
        /// The protocol level found.
        level: u8,
    },
    /// The CONNECT names another protocol.
    #[error("protocol name is `{}`, expected `MQTT` or `MQIsdp`", found.escape_debug())]
    BadProtocolName {
        /// The first 32 characters of the name found.
        found: Box<str>,
    },
}

impl DecodeError {
    /// Returns the reason code for the CONNACK or DISCONNECT that answers the error.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            DecodeError::Malformed { .. } => ReasonCode::MALFORMED_PACKET,
            DecodeError::Protocol { reason, .. } => reason.reason_code(),
            DecodeError::TooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            DecodeError::UnsupportedVersion { .. } | DecodeError::BadProtocolName { .. } => {
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
            }
        }
    }

    /// Says whether a server closes the connection without any answer, because the peer does not seem to speak
    /// MQTT at all: the first packet is not a CONNECT, or it names another protocol.
    pub const fn closes_silently(&self) -> bool {
        matches!(
            self,
            DecodeError::BadProtocolName { .. }
                | DecodeError::Protocol { reason: Violation::FirstPacketNotConnect, .. }
        )
    }

    /// Returns where in the packet the error is, if it is at one place.
    pub const fn place(&self) -> Option<Place> {
        match self {
            DecodeError::Malformed { place, .. } | DecodeError::Protocol { place, .. } => Some(*place),
            _ => None,
        }
    }
}

/// An error on its way to the caller: one word, so that the results of small functions stay in registers.
pub(crate) type Fault = Box<DecodeError>;

/// What a check that fails makes of its finding.
pub(crate) trait Report {
    fn malformed(reason: Malformed, place: Place) -> Self;
    fn violation(reason: Violation, place: Place) -> Self;
}

impl Report for Fault {
    #[cold]
    fn malformed(reason: Malformed, place: Place) -> Fault {
        Box::new(DecodeError::Malformed { reason, place })
    }

    #[cold]
    fn violation(reason: Violation, place: Place) -> Fault {
        Box::new(DecodeError::Protocol { reason, place })
    }
}

/// Only the fact that something is wrong.
///
/// A check that is run once for this and, if it fails, again for a [`Fault`], is three times as fast on valid
/// packets as one that always has the whole report at hand.
pub(crate) struct Wrong;

impl Report for Wrong {
    #[inline]
    fn malformed(_: Malformed, _: Place) -> Wrong {
        Wrong
    }

    #[inline]
    fn violation(_: Violation, _: Place) -> Wrong {
        Wrong
    }
}

/// Where in a packet something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The type of the packet, if its first byte names one.
    pub packet: Option<PacketType>,
    /// The field, in the words of the standard.
    pub field: &'static str,
    /// The offset in bytes from the start of the packet.
    pub offset: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packet = self.packet.map_or("packet", PacketType::as_str);
        write!(formatter, "{packet}, {} at byte {}", self.field, self.offset)
    }
}

/// A way in which a packet cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Packet type 0 is forbidden.
    #[error("packet type 0 is reserved")]
    PacketTypeReserved,
    /// Packet type 15 is AUTH in 5.0 and forbidden before.
    #[error("{packet} does not exist in MQTT {version}")]
    PacketTypeNotInVersion {
        /// The packet type found.
        packet: PacketType,
        /// The version of the connection.
        version: Version,
    },
    /// The lower four bits of the first byte are not what the packet type prescribes.
    #[error("flags are {found:#06b}, expected {expected:#06b}")]
    HeaderFlags {
        /// The four bits found.
        found: u8,
        /// The four bits of this packet type.
        expected: u8,
    },
    /// A PUBLISH has both QoS bits set.
    #[error("QoS is 3, expected 0, 1 or 2")]
    QosThree,
    /// A PUBLISH has QoS 0 and the DUP flag.
    #[error("DUP flag is set with QoS 0")]
    DupWithQosZero,
    /// A variable byte integer goes on after its fourth byte.
    #[error("variable byte integer is longer than four bytes")]
    VariableIntTooLong,
    /// A variable byte integer has needless bytes.
    #[error("variable byte integer takes {found} bytes where {expected} do")]
    VariableIntNotShortest {
        /// The number of bytes found.
        found: u8,
        /// The number of bytes of the shortest encoding.
        expected: u8,
    },
    /// A field needs more bytes than the packet (or the property section) has left.
    #[error("{needed} bytes needed, {left} left")]
    Truncated {
        /// How many bytes the field needs from its start.
        needed: u32,
        /// How many bytes are left.
        left: u32,
    },
    /// Bytes follow after the last field.
    #[error("{count} bytes follow after the last field")]
    TrailingBytes {
        /// How many bytes.
        count: u32,
    },
    /// A text is not well-formed UTF-8.
    #[error("not UTF-8 from byte {at} of the text on")]
    NotUtf8 {
        /// The offset in the text of the first bad byte.
        at: u16,
    },
    /// A text contains U+0000.
    #[error("U+0000 at byte {at} of the text")]
    NulInText {
        /// The offset in the text.
        at: u16,
    },
    /// A text that must have at least one character is empty.
    #[error("must not be empty")]
    EmptyText,
    /// The reserved bit of the connect flags is set.
    #[error("reserved connect flag is set")]
    ReservedConnectFlag,
    /// The connect flags have a Will QoS or Will Retain without a will.
    #[error("connect flags {flags:#010b} have a will QoS or will retain without a will")]
    WillFlagsWithoutWill {
        /// The connect flags found.
        flags: u8,
    },
    /// The connect flags announce Will QoS 3.
    #[error("will QoS is 3, expected 0, 1 or 2")]
    WillQosThree,
    /// A password without a user name, before 5.0.
    #[error("password flag without user name flag, which MQTT {version} forbids")]
    PasswordWithoutUserName {
        /// The version of the CONNECT.
        version: Version,
    },
    /// A reserved bit of the acknowledge flags of a CONNACK is set.
    #[error("acknowledge flags are {found:#010b}, expected {expected}")]
    ConnAckFlags {
        /// The byte found.
        found: u8,
        /// What this version allows.
        expected: &'static str,
    },
    /// A reserved bit of the subscription options is set (before 5.0: the requested QoS is above 2).
    #[error("subscription options are {found:#010b}, reserved bits must be 0")]
    SubscriptionOptions {
        /// The byte found.
        found: u8,
    },
    /// No property has this number.
    #[error("unknown property 0x{id:02X}")]
    UnknownProperty {
        /// The number found.
        id: u32,
    },
    /// The property is not for this packet.
    #[error("{id} is not a property of {section}")]
    PropertyNotAllowed {
        /// The property found.
        id: PropertyId,
        /// The packet, or the will of a CONNECT.
        section: &'static str,
    },
}

/// A way in which a well-formed packet breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A server got another packet before CONNECT.
    #[error("first packet is not CONNECT")]
    FirstPacketNotConnect,
    /// A server got a second CONNECT.
    #[error("second CONNECT on the same connection")]
    SecondConnect,
    /// The packet goes in the other direction only.
    #[error("only the other side may send this packet")]
    WrongDirection,
    /// A packet identifier is 0.
    #[error("packet identifier is 0")]
    PacketIdZero,
    /// A property that may stand once stands twice.
    #[error("{id} is there twice")]
    DuplicateProperty {
        /// The property.
        id: PropertyId,
    },
    /// A property has a value that the standard forbids.
    #[error("{id} is {found}, expected {expected}")]
    PropertyValue {
        /// The property.
        id: PropertyId,
        /// The value found.
        found: u32,
        /// The values allowed.
        expected: &'static str,
    },
    /// A response topic is empty or contains wildcards.
    #[error("response topic is not a topic name")]
    ResponseTopicInvalid,
    /// A will topic is empty or contains wildcards.
    #[error("will topic is not a topic name")]
    WillTopicInvalid,
    /// A client's PUBLISH has a subscription identifier.
    #[error("a client must not send a subscription identifier")]
    SubscriptionIdentifierFromClient,
    /// A server's DISCONNECT has a session expiry interval.
    #[error("a server must not send a session expiry interval in DISCONNECT")]
    SessionExpiryFromServer,
    /// There is authentication data but no authentication method.
    #[error("authentication data without authentication method")]
    AuthenticationDataWithoutMethod,
    /// An AUTH has no authentication method.
    #[error("no authentication method")]
    AuthenticationMethodMissing,
    /// The reason code is not one of this packet.
    #[error("reason code 0x{found:02X} is not defined for this packet")]
    ReasonCode {
        /// The number found.
        found: u8,
    },
    /// A refusing CONNACK has the session present flag.
    #[error("session present flag in a refusal")]
    SessionPresentInRefusal,
    /// A PUBLISH has neither a topic name nor a topic alias.
    #[error("neither a topic name nor a topic alias")]
    TopicMissing,
    /// A SUBSCRIBE or UNSUBSCRIBE has no filter.
    #[error("no topic filter")]
    NoTopicFilter,
    /// An acknowledgement has no code.
    #[error("no reason code")]
    NoReasonCode,
    /// The maximum QoS of a subscription is 3.
    #[error("maximum QoS is 3, expected 0, 1 or 2")]
    SubscriptionQosThree,
    /// The retain handling of a subscription is 3.
    #[error("retain handling is 3, expected 0, 1 or 2")]
    RetainHandlingThree,
    /// A shared subscription has the No Local option.
    #[error("no local is set for a shared subscription")]
    NoLocalOnSharedSubscription,
}

impl Violation {
    /// Returns the reason code for the CONNACK or DISCONNECT that answers the violation.
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Violation::WillTopicInvalid => ReasonCode::TOPIC_NAME_INVALID,
            Violation::PropertyValue { id: PropertyId::TopicAlias, .. } => ReasonCode::TOPIC_ALIAS_INVALID,
            _ => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

/// Why a packet cannot be written.
///
/// Nothing has been written to the output when an error is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The packet type does not exist in this version.
    #[error("{packet} does not exist in MQTT {version}")]
    NotInVersion {
        /// The packet type.
        packet: PacketType,
        /// The version asked for.
        version: Version,
    },
    /// No return code of the older versions says this.
    #[error("no CONNACK return code of MQTT {version} stands for {reason}")]
    NoReturnCode {
        /// The reason code of the packet.
        reason: ReasonCode,
        /// The version asked for.
        version: Version,
    },
    /// The standard does not list the reason code for this packet.
    #[error("reason code {reason} is not defined for {packet}")]
    ReasonCode {
        /// The reason code of the packet.
        reason: ReasonCode,
        /// The packet type.
        packet: PacketType,
    },
    /// A text or binary field is longer than its two-byte length can say.
    #[error("{field} of {packet} has {len} bytes, at most 65535 are possible")]
    FieldTooLong {
        /// The packet type.
        packet: PacketType,
        /// The field, in the words of the standard.
        field: &'static str,
        /// The length of the field.
        len: usize,
    },
    /// The packet is larger than the peer accepts or the format can express.
    #[error("{packet} of {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The packet type.
        packet: PacketType,
        /// The size of the whole packet.
        size: usize,
        /// The limit given, or [`MAX_PACKET_SIZE`](crate::MAX_PACKET_SIZE).
        limit: u32,
    },
    /// A list that needs an entry is empty.
    #[error("{packet} has no {field}")]
    Empty {
        /// The packet type.
        packet: PacketType,
        /// The field, in the words of the standard.
        field: &'static str,
    },
    /// A PUBLISH with QoS 1 or 2 has no packet identifier.
    #[error("PUBLISH with QoS above 0 has no packet identifier")]
    PacketIdMissing,
    /// A subscription identifier is 0 or above 268,435,455.
    #[error("subscription identifier is {found}, expected 1 to 268435455")]
    SubscriptionIdentifier {
        /// The identifier.
        found: u32,
    },
    /// A text contains U+0000.
    #[error("{field} of {packet} contains U+0000 at byte {at}")]
    NulInText {
        /// The packet type.
        packet: PacketType,
        /// The field, in the words of the standard.
        field: &'static str,
        /// The offset in the text.
        at: usize,
    },
    /// The property is not for this packet.
    #[error("{id} is not a property of {packet}")]
    PropertyNotAllowed {
        /// The property.
        id: PropertyId,
        /// The packet type.
        packet: PacketType,
    },
    /// A CONNECT before 5.0 has a password but no user name.
    #[error("password without user name, which MQTT {version} forbids")]
    PasswordWithoutUserName {
        /// The version of the CONNECT.
        version: Version,
    },
    /// There is no authentication method in an AUTH, or beside authentication data.
    #[error("{packet} has no authentication method")]
    AuthenticationMethodMissing {
        /// The packet type.
        packet: PacketType,
    },
}
