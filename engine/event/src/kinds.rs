//! Event kinds and their columns (rule language, sections 12 and 13).

use crate::EVENTS;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventKind {
    /// A message was published.
    MessagePublish,
    /// A client connected.
    ClientConnected,
    /// A connection of a client ended.
    ClientDisconnected,
    /// A client subscribed to a filter.
    SessionSubscribed,
    /// A client gave up a subscription.
    SessionUnsubscribed,
    /// A message was handed to the connection of a subscriber.
    MessageDelivered,
    /// A subscriber acknowledged a message.
    MessageAcked,
    /// A message was dropped before it reached any subscriber.
    MessageDropped,
    /// A message was dropped on its way to one subscriber.
    DeliveryDropped,
    /// The server answered a CONNECT.
    ClientConnack,
    /// A client sent PINGREQ.
    ClientPing,
    /// A client was authenticated, or not.
    ClientCheckAuthnComplete,
    /// A publish or subscribe was authorized, or not.
    ClientCheckAuthzComplete,
    /// An alarm was raised.
    AlarmActivated,
    /// An alarm ended.
    AlarmDeactivated,
    /// A message did not pass a schema validation.
    SchemaValidationFailed,
    /// A transformation could not be applied to a message.
    MessageTransformationFailed,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text or bytes.
    Text,
    /// An integer.
    Integer,
    /// A truth value.
    Boolean,
    /// A map.
    Map,
}

/// One column of an event kind.
#[derive(Clone, Copy, Debug)]
pub struct ColumnDef {
    /// Name in SQL.
    pub name: &'static str,
    /// Type when it has a value.
    pub column_type: ColumnType,
    /// A sample value as JSON, used by the rule tester for a column that is not given. Empty: undefined.
    pub sample: &'static str,
    /// Meaning.
    pub summary: &'static str,
}

/// One kind of event.
#[derive(Clone, Copy, Debug)]
pub struct EventDef {
    /// The kind.
    pub kind: EventKind,
    /// Value of the column `event`, `client.connected`.
    pub name: &'static str,
    /// What may stand in FROM, `$events/client/connected`; empty for messages, which are selected by topic filters.
    pub topic: &'static str,
    /// The older name, `$events/client_connected`; empty when there is none.
    pub old_topic: &'static str,
    /// What happened, for the reference.
    pub summary: &'static str,
    /// The columns beside `event`, `timestamp` and `node`.
    pub columns: &'static [ColumnDef],
}

/// A column of [`crate::PublishEvent`] that plans read without looking its name up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// `event`
    Event,
    /// `timestamp`
    Timestamp,
    /// `node`
    Node,
    /// `id`
    Id,
    /// `clientid`
    ClientId,
    /// `username`
    Username,
    /// `payload`
    Payload,
    /// `peerhost`
    PeerHost,
    /// `peername`
    PeerName,
    /// `topic`
    Topic,
    /// `qos`
    Qos,
    /// `flags`
    Flags,
    /// `pub_props`
    PubProps,
    /// `publish_received_at`
    PublishReceivedAt,
    /// `client_attrs`
    ClientAttrs,
}

impl Column {
    /// Every column of a published message, in the order of `SELECT *`.
    pub const ALL: [Self; 15] = [
        Self::Id,
        Self::ClientId,
        Self::Username,
        Self::Payload,
        Self::PeerHost,
        Self::PeerName,
        Self::Topic,
        Self::Qos,
        Self::Flags,
        Self::PubProps,
        Self::PublishReceivedAt,
        Self::ClientAttrs,
        Self::Event,
        Self::Timestamp,
        Self::Node,
    ];

    /// Name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Timestamp => "timestamp",
            Self::Node => "node",
            Self::Id => "id",
            Self::ClientId => "clientid",
            Self::Username => "username",
            Self::Payload => "payload",
            Self::PeerHost => "peerhost",
            Self::PeerName => "peername",
            Self::Topic => "topic",
            Self::Qos => "qos",
            Self::Flags => "flags",
            Self::PubProps => "pub_props",
            Self::PublishReceivedAt => "publish_received_at",
            Self::ClientAttrs => "client_attrs",
        }
    }

    /// The column of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.name() == name)
    }
}

/// A set of event kinds: what some rule selects. An event that nobody selects is never built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// Adds a kind.
    #[must_use]
    pub const fn with(self, kind: EventKind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether `kind` is in the set.
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// The set as a number, for an atomic.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set of a number from [`Interest::bits`].
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl EventKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        EVENTS.iter().map(|event| event.kind)
    }

    /// The entry of the table.
    pub fn def(self) -> &'static EventDef {
        &EVENTS[self as usize]
    }

    /// Tells whether this server reports the event. The other names are known, so that rules of other servers
    /// can be checked and tried, but nothing triggers them.
    pub const fn is_reported(self) -> bool {
        matches!(
            self,
            Self::MessagePublish
                | Self::ClientConnected
                | Self::ClientDisconnected
                | Self::SessionSubscribed
                | Self::SessionUnsubscribed
                | Self::MessageDelivered
                | Self::MessageAcked
                | Self::MessageDropped
                | Self::DeliveryDropped
                | Self::ClientConnack
                | Self::ClientPing
                | Self::ClientCheckAuthnComplete
                | Self::ClientCheckAuthzComplete
        )
    }

    /// The kind that may stand in FROM under the name `topic`, in either style.
    pub fn by_topic(topic: &str) -> Option<Self> {
        let named = |event: &&EventDef| event.topic == topic || event.old_topic == topic;
        let found = if topic.is_empty() { None } else { EVENTS.iter().find(named) };
        found.map(|event| event.kind)
    }

    /// Value of the column `event`.
    pub fn name(self) -> &'static str {
        self.def().name
    }

    /// The kind with that value of the column `event`.
    pub fn by_name(name: &str) -> Option<Self> {
        EVENTS.iter().find(|event| event.name == name).map(|event| event.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Value, decode_json};

    #[test]
    fn every_kind_has_one_entry_and_readable_samples() {
        for (place, event) in EVENTS.iter().enumerate() {
            assert_eq!(event.kind as usize, place, "{}: out of order", event.name);
            for column in event.columns.iter().filter(|column| !column.sample.is_empty()) {
                decode_json(column.sample.as_bytes()).expect(column.name);
            }
        }
    }

    #[test]
    fn kinds_are_found_by_either_topic() {
        for (topic, want) in [
            ("$events/client/connected", Some(EventKind::ClientConnected)),
            ("$events/client_connected", Some(EventKind::ClientConnected)),
            ("$events/sys/alarm_activated", Some(EventKind::AlarmActivated)),
            ("$events/client/conected", None),
            ("", None),
        ] {
            assert_eq!(EventKind::by_topic(topic), want, "{topic}");
        }
    }

    #[test]
    fn columns_of_a_message_are_those_of_the_table() {
        let event = Event::sample(EventKind::MessagePublish);
        for column in EventKind::MessagePublish.def().columns {
            assert!(Column::by_name(column.name).is_some(), "{}", column.name);
            assert_ne!(event.column_named(column.name), Value::Undefined, "{}", column.name);
        }
    }
}
