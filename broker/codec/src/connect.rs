//! The CONNECT packet and its will.

use bytes::Bytes;

use crate::property::Properties;
use crate::protocol::{QoS, Version};

/// A client's request to open a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that the client speaks on this connection.
    pub version: Version,
    /// Whether the client says that it is a bridge (bit 0x80 of the level; never in 5.0).
    ///
    /// A bridge gets messages with their retain flag as published and not its own messages back.
    pub bridge: bool,
    /// Clean Start (before 5.0: Clean Session, which also ends the session with the connection).
    pub clean_start: bool,
    /// The keep alive in seconds; 0 is none.
    pub keep_alive_s: u16,
    /// The client id, possibly empty.
    pub client_id: String,
    /// The will, if there is one.
    pub will: Option<Will>,
    /// The user name.
    pub username: Option<String>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
    /// The properties (5.0).
    pub properties: Properties,
}

/// The message that the server publishes when the connection ends without a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The topic name: not empty, no wildcards.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// The QoS of the message.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
    /// The properties (5.0): those of a PUBLISH, and the will delay interval.
    pub properties: Properties,
}

/// The bit of the protocol level that marks a bridge.
pub(crate) const BRIDGE_LEVEL: u8 = 0x80;

/// The connect flags, and bits of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ConnectFlags(pub(crate) u8);

impl ConnectFlags {
    pub(crate) const RESERVED: ConnectFlags = ConnectFlags(0x01);
    pub(crate) const CLEAN_START: ConnectFlags = ConnectFlags(0x02);
    pub(crate) const WILL: ConnectFlags = ConnectFlags(0x04);
    pub(crate) const WILL_QOS_OR_RETAIN: ConnectFlags = ConnectFlags(0x38);
    pub(crate) const WILL_RETAIN: ConnectFlags = ConnectFlags(0x20);
    pub(crate) const PASSWORD: ConnectFlags = ConnectFlags(0x40);
    pub(crate) const USER_NAME: ConnectFlags = ConnectFlags(0x80);
    const WILL_QOS_SHIFT: u8 = 3;

    /// Says whether any bit of `bits` is set.
    pub(crate) const fn has(self, bits: ConnectFlags) -> bool {
        self.0 & bits.0 != 0
    }

    /// Returns the QoS of the will, or nothing if it is 3.
    pub(crate) const fn will_qos(self) -> Option<QoS> {
        QoS::from_u8(self.0 >> ConnectFlags::WILL_QOS_SHIFT & 0b11)
    }

    /// Returns the flags that go with the content of a CONNECT.
    pub(crate) fn of(connect: &Connect) -> ConnectFlags {
        let will = connect.will.as_ref();
        let mut flags = ConnectFlags(will.map_or(0, |will| will.qos.as_u8() << Self::WILL_QOS_SHIFT));
        for (present, bit) in [
            (connect.clean_start, Self::CLEAN_START),
            (will.is_some(), Self::WILL),
            (will.is_some_and(|will| will.retain), Self::WILL_RETAIN),
            (connect.username.is_some(), Self::USER_NAME),
            (connect.password.is_some(), Self::PASSWORD),
        ] {
            if present {
                flags.0 |= bit.0;
            }
        }
        flags
    }
}
