//! Reason codes of MQTT 5.0 and the return codes of a CONNACK before it.

use std::fmt;

use crate::protocol::{PacketType, QoS};

/// A reason code of MQTT 5.0.
///
/// The numbers 0, 1 and 2 mean different things in different packets, so they have several names here:
/// [`ReasonCode::SUCCESS`], [`ReasonCode::NORMAL_DISCONNECTION`] and [`ReasonCode::GRANTED_QOS_0`] are equal.
/// A value of this type is always one of the standard's codes; whether it may stand in a packet is a question of
/// [`ReasonCode::is_valid_in`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ReasonCode(u8);

/// Makes a constant and a line of [`CODES`] of each code.
macro_rules! reason_codes {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal, [$($packet:ident)*];)*) => {
        impl ReasonCode {
            $($(#[$doc])* pub const $constant: ReasonCode = ReasonCode($number);)*
        }

        const CODES: &[Code] = &[$(Code {
            number: $number,
            name: $name,
            packets: 0 $(| 1 << PacketType::$packet as u16)*,
        },)*];
    };
}

struct Code {
    number: u8,
    name: &'static str,
    /// One bit per packet type, numbered as in the fixed header.
    packets: u16,
}

/// The packets of each code by its number, all meanings together.
const PACKETS_OF_CODE: [u16; 256] = {
    let mut packets = [0; 256];
    let mut index = 0;
    while index < CODES.len() {
        packets[CODES[index].number as usize] |= CODES[index].packets;
        index += 1;
    }
    packets
};

reason_codes! {
    /// Done as asked.
    SUCCESS = 0x00, "success", [ConnAck PubAck PubRec PubRel PubComp UnsubAck Auth];
    /// The client goes without a will.
    NORMAL_DISCONNECTION = 0x00, "normal disconnection", [Disconnect];
    /// Subscribed at QoS 0.
    GRANTED_QOS_0 = 0x00, "granted QoS 0", [SubAck];
    /// Subscribed at QoS 1.
    GRANTED_QOS_1 = 0x01, "granted QoS 1", [SubAck];
    /// Subscribed at QoS 2.
    GRANTED_QOS_2 = 0x02, "granted QoS 2", [SubAck];
    /// The client goes and wants its will to be published.
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message", [Disconnect];
    /// The message was accepted; nobody is subscribed.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers", [PubAck PubRec];
    /// There was no such subscription.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed", [UnsubAck];
    /// The authentication goes on with another step.
    CONTINUE_AUTHENTICATION = 0x18, "continue authentication", [Auth];
    /// The client starts a re-authentication.
    REAUTHENTICATE = 0x19, "re-authenticate", [Auth];
    /// An error that no other code describes, or that is not to be told.
    UNSPECIFIED_ERROR = 0x80, "unspecified error", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The packet could not be parsed.
    MALFORMED_PACKET = 0x81, "malformed packet", [ConnAck Disconnect];
    /// The packet is not allowed here, or contradicts itself.
    PROTOCOL_ERROR = 0x82, "protocol error", [ConnAck Disconnect];
    /// Valid, but refused by this receiver.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation specific error",
        [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The server does not speak this version.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version", [ConnAck];
    /// The client id is not allowed.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid", [ConnAck];
    /// The user name or the password is wrong.
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password", [ConnAck];
    /// The client may not do this.
    NOT_AUTHORIZED = 0x87, "not authorized", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The server cannot serve now.
    SERVER_UNAVAILABLE = 0x88, "server unavailable", [ConnAck];
    /// The server has too much to do.
    SERVER_BUSY = 0x89, "server busy", [ConnAck Disconnect];
    /// The client was banned by an administrator.
    BANNED = 0x8A, "banned", [ConnAck];
    /// The server stops.
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down", [Disconnect];
    /// The authentication method is not supported, or not the one of the CONNECT.
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method", [ConnAck Disconnect];
    /// Nothing came for one and a half times the keep alive.
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout", [Disconnect];
    /// Another connection uses the client id now.
    SESSION_TAKEN_OVER = 0x8E, "session taken over", [Disconnect];
    /// The topic filter is well formed but not accepted.
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid", [SubAck UnsubAck Disconnect];
    /// The topic name is well formed but not accepted.
    TOPIC_NAME_INVALID = 0x90, "topic name invalid", [ConnAck PubAck PubRec Disconnect];
    /// The packet identifier is already in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use", [PubAck PubRec SubAck UnsubAck];
    /// The packet identifier is not known.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found", [PubRel PubComp];
    /// More unacknowledged publications than the receive maximum.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded", [Disconnect];
    /// A topic alias that is 0 or above the maximum.
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid", [Disconnect];
    /// The packet is larger than the receiver allows.
    PACKET_TOO_LARGE = 0x95, "packet too large", [ConnAck Disconnect];
    /// The client sends too fast.
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high", [Disconnect];
    /// A limit of the implementation or of an administrator is reached.
    QUOTA_EXCEEDED = 0x97, "quota exceeded", [ConnAck PubAck PubRec SubAck Disconnect];
    /// Closed by an administrator.
    ADMINISTRATIVE_ACTION = 0x98, "administrative action", [Disconnect];
    /// The payload is not what its format indicator says.
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid", [ConnAck PubAck PubRec Disconnect];
    /// The server has no retained messages.
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported", [ConnAck Disconnect];
    /// The server does not support this QoS.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", [ConnAck Disconnect];
    /// Use another server for the time being.
    USE_ANOTHER_SERVER = 0x9C, "use another server", [ConnAck Disconnect];
    /// Use another server from now on.
    SERVER_MOVED = 0x9D, "server moved", [ConnAck Disconnect];
    /// The server has no shared subscriptions.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported", [SubAck Disconnect];
    /// Connections are opened too fast.
    CONNECTION_RATE_EXCEEDED = 0x9F, "connection rate exceeded", [ConnAck Disconnect];
    /// The longest time allowed for a connection is over.
    MAXIMUM_CONNECT_TIME = 0xA0, "maximum connect time", [Disconnect];
    /// The server has no subscription identifiers.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "subscription identifiers not supported",
        [SubAck Disconnect];
    /// The server has no subscriptions with wildcards.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported", [SubAck Disconnect];
}

impl ReasonCode {
    /// Returns the code with this number, or nothing if the standard has none.
    pub const fn from_u8(number: u8) -> Option<ReasonCode> {
        if PACKETS_OF_CODE[number as usize] == 0 { None } else { Some(ReasonCode(number)) }
    }

    /// Returns the code with this number if the standard lists it for packets of type `packet`.
    pub const fn from_u8_in(number: u8, packet: PacketType) -> Option<ReasonCode> {
        let code = ReasonCode(number);
        if code.is_valid_in(packet) { Some(code) } else { None }
    }

    /// Returns the code of a SUBACK that grants `qos`.
    pub const fn granted(qos: QoS) -> ReasonCode {
        ReasonCode(qos as u8)
    }

    /// Returns the number on the wire.
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// Says whether the code reports a failure: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// Says whether the standard lists the code for packets of type `packet`.
    pub const fn is_valid_in(self, packet: PacketType) -> bool {
        PACKETS_OF_CODE[self.0 as usize] & (1 << packet as u16) != 0
    }

    /// Returns the name in the standard, in lower case; of 0x00, `success`.
    pub fn name(self) -> &'static str {
        CODES.iter().find(|code| code.number == self.0).map_or("unknown", |code| code.name)
    }

    /// Returns the name that the code has in packets of type `packet`.
    pub fn name_in(self, packet: PacketType) -> &'static str {
        let bit = 1 << packet as u16;
        let named = CODES.iter().find(|code| code.number == self.0 && code.packets & bit != 0);
        named.map_or_else(|| self.name(), |code| code.name)
    }

    /// Returns what a CONNACK before MQTT 5.0 says instead, or nothing when no return code fits.
    pub const fn connect_return_code(self) -> Option<ConnectReturnCode> {
        Some(match self {
            ReasonCode::SUCCESS => ConnectReturnCode::Accepted,
            ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => ConnectReturnCode::UnacceptableProtocolVersion,
            ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => ConnectReturnCode::IdentifierRejected,
            ReasonCode::BAD_USER_NAME_OR_PASSWORD => ConnectReturnCode::BadUserNameOrPassword,
            ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED => ConnectReturnCode::NotAuthorized,
            ReasonCode::UNSPECIFIED_ERROR
            | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
            | ReasonCode::SERVER_UNAVAILABLE
            | ReasonCode::SERVER_BUSY
            | ReasonCode::QUOTA_EXCEEDED
            | ReasonCode::USE_ANOTHER_SERVER
            | ReasonCode::SERVER_MOVED
            | ReasonCode::CONNECTION_RATE_EXCEEDED => ConnectReturnCode::ServerUnavailable,
            _ => return None,
        })
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "0x{:02X} {}", self.0, self.name())
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The return code of a CONNACK in MQTT 3.1 and 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// The connection is accepted.
    Accepted = 0,
    /// The server does not speak this version.
    UnacceptableProtocolVersion = 1,
    /// The client id is not allowed.
    IdentifierRejected = 2,
    /// The server cannot serve now.
    ServerUnavailable = 3,
    /// The user name or the password is wrong.
    BadUserNameOrPassword = 4,
    /// The client may not connect.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// Returns the code with this number; 6 and above are reserved.
    pub const fn from_u8(number: u8) -> Option<ConnectReturnCode> {
        Some(match number {
            0 => ConnectReturnCode::Accepted,
            1 => ConnectReturnCode::UnacceptableProtocolVersion,
            2 => ConnectReturnCode::IdentifierRejected,
            3 => ConnectReturnCode::ServerUnavailable,
            4 => ConnectReturnCode::BadUserNameOrPassword,
            5 => ConnectReturnCode::NotAuthorized,
            _ => return None,
        })
    }

    /// Returns the reason code of MQTT 5.0 that says the same.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            ConnectReturnCode::Accepted => ReasonCode::SUCCESS,
            ConnectReturnCode::UnacceptableProtocolVersion => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            ConnectReturnCode::IdentifierRejected => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            ConnectReturnCode::ServerUnavailable => ReasonCode::SERVER_UNAVAILABLE,
            ConnectReturnCode::BadUserNameOrPassword => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            ConnectReturnCode::NotAuthorized => ReasonCode::NOT_AUTHORIZED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of the standard, sections 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3,
    /// 3.14.2.1 and 3.15.2.1.
    #[test]
    fn codes_of_each_packet() {
        use PacketType::*;
        let publish_acks = vec![0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        let cases: Vec<(PacketType, Vec<u8>)> = vec![
            (
                ConnAck,
                vec![
                    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95,
                    0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
                ],
            ),
            (PubAck, publish_acks.clone()),
            (PubRec, publish_acks),
            (PubRel, vec![0x00, 0x92]),
            (PubComp, vec![0x00, 0x92]),
            (SubAck, vec![0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]),
            (UnsubAck, vec![0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
            (
                Disconnect,
                vec![
                    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
                    0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
                ],
            ),
            (Auth, vec![0x00, 0x18, 0x19]),
            (Publish, vec![]),
            (Connect, vec![]),
        ];
        for (packet, want) in cases {
            let codes: Vec<u8> =
                (0..=255).filter(|&number| ReasonCode::from_u8_in(number, packet).is_some()).collect();
            assert_eq!(codes, want, "{packet}");
        }
    }

    #[test]
    fn names_depend_on_the_packet() {
        assert_eq!(ReasonCode::SUCCESS.name(), "success");
        assert_eq!(ReasonCode::SUCCESS.name_in(PacketType::Disconnect), "normal disconnection");
        assert_eq!(ReasonCode::SUCCESS.name_in(PacketType::SubAck), "granted QoS 0");
        assert_eq!(ReasonCode::QUOTA_EXCEEDED.to_string(), "0x97 quota exceeded");
    }

    #[test]
    fn return_codes_map_both_ways() {
        for number in 0..=5 {
            let code = ConnectReturnCode::from_u8(number).expect("0 to 5 are defined");
            assert_eq!(code as u8, number);
            assert_eq!(code.reason_code().connect_return_code(), Some(code));
        }
        assert_eq!(ConnectReturnCode::from_u8(6), None);
        assert_eq!(ReasonCode::MALFORMED_PACKET.connect_return_code(), None);
        assert_eq!(ReasonCode::BANNED.connect_return_code(), Some(ConnectReturnCode::NotAuthorized));
    }
}
