//! The table of properties: numbers, names, and what their values look like.

use std::fmt;

/// How the value of a property is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Byte,
    TwoBytes,
    FourBytes,
    VariableInt,
    Text,
    Binary,
    TextPair,
}

/// Makes the enum and its tables of one line per property: the number, the name, the kind of value, and for
/// numbers whose range is limited, the values allowed and their description.
macro_rules! property_ids {
    ($($variant:ident = $number:literal, $name:literal, $kind:ident $(, $allowed:pat, $expected:literal)?;)*) => {
        /// The identifier of a property.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // the standard's own names
        pub enum PropertyId {
            $($variant = $number,)*
        }

        impl PropertyId {
            /// All properties, by number.
            pub const ALL: &[PropertyId] = &[$(PropertyId::$variant,)*];

            /// Returns the property with this number.
            #[inline]
            pub const fn from_u8(number: u8) -> Option<PropertyId> {
                match number {
                    $($number => Some(PropertyId::$variant),)*
                    _ => None,
                }
            }

            /// Returns the name as the standard writes it, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(PropertyId::$variant => $name,)*
                }
            }

            #[inline]
            pub(crate) const fn value_kind(self) -> ValueKind {
                match self {
                    $(PropertyId::$variant => ValueKind::$kind,)*
                }
            }

            /// Returns what the value must be, if it is a number and this one is not allowed.
            #[inline]
            pub(crate) const fn value_fault(self, value: u32) -> Option<&'static str> {
                match (self, value) {
                    $($((PropertyId::$variant, $allowed) => None,
                    (PropertyId::$variant, _) => Some($expected),)?)*
                    _ => None,
                }
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 0x01, "payload format indicator", Byte, 0..=1, "0 or 1";
    MessageExpiryInterval = 0x02, "message expiry interval", FourBytes;
    ContentType = 0x03, "content type", Text;
    ResponseTopic = 0x08, "response topic", Text;
    CorrelationData = 0x09, "correlation data", Binary;
    SubscriptionIdentifier = 0x0B, "subscription identifier", VariableInt, 1..=268_435_455, "1 to 268435455";
    SessionExpiryInterval = 0x11, "session expiry interval", FourBytes;
    AssignedClientIdentifier = 0x12, "assigned client identifier", Text;
    ServerKeepAlive = 0x13, "server keep alive", TwoBytes;
    AuthenticationMethod = 0x15, "authentication method", Text;
    AuthenticationData = 0x16, "authentication data", Binary;
    RequestProblemInformation = 0x17, "request problem information", Byte, 0..=1, "0 or 1";
    WillDelayInterval = 0x18, "will delay interval", FourBytes;
    RequestResponseInformation = 0x19, "request response information", Byte, 0..=1, "0 or 1";
    ResponseInformation = 0x1A, "response information", Text;
    ServerReference = 0x1C, "server reference", Text;
    ReasonString = 0x1F, "reason string", Text;
    ReceiveMaximum = 0x21, "receive maximum", TwoBytes, 1..=0xFFFF, "1 to 65535";
    TopicAliasMaximum = 0x22, "topic alias maximum", TwoBytes;
    TopicAlias = 0x23, "topic alias", TwoBytes, 1..=0xFFFF, "1 to 65535";
    MaximumQoS = 0x24, "maximum QoS", Byte, 0..=1, "0 or 1";
    RetainAvailable = 0x25, "retain available", Byte, 0..=1, "0 or 1";
    UserProperty = 0x26, "user property", TextPair;
    MaximumPacketSize = 0x27, "maximum packet size", FourBytes, 1..=0xFFFF_FFFF, "1 to 4294967295";
    WildcardSubscriptionAvailable = 0x28, "wildcard subscription available", Byte, 0..=1, "0 or 1";
    SubscriptionIdentifiersAvailable = 0x29, "subscription identifiers available", Byte, 0..=1, "0 or 1";
    SharedSubscriptionAvailable = 0x2A, "shared subscription available", Byte, 0..=1, "0 or 1";
}

impl PropertyId {
    /// Returns the number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Returns the property's bit in a set of properties.
    #[inline]
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
