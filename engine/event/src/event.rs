//! What the broker reports to rules.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Column, EventKind, Map, Text, Value, decode_json};

/// Something that happened, with its columns.
#[derive(Clone, Debug)]
pub struct Event {
    kind: Option<EventKind>,
    /// Of an event about a message that rules republished: how many they were.
    hops: u8,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Publish(Arc<PublishEvent>),
    Columns(Map),
}

/// A published message: the event that comes by the million, so its columns are fields.
#[derive(Clone, Debug)]
pub struct PublishEvent {
    /// Message id, 16 bytes: time, node and a counter.
    pub id: u128,
    /// The publisher; a rule's id for what the rule republished.
    pub client_id: Text,
    /// User name of the publisher.
    pub username: Option<Text>,
    /// Address of the publisher; none for messages made inside.
    pub peer: Option<SocketAddr>,
    /// Topic name.
    pub topic: Text,
    /// Payload.
    pub payload: Text,
    /// 0, 1 or 2.
    pub qos: u8,
    /// RETAIN flag.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
    /// MQTT 5 properties, read only when a rule asks.
    pub properties: Option<Arc<dyn PublishProperties>>,
    /// Time of receipt, Unix milliseconds.
    pub received_at_ms: i64,
    /// Name of the node.
    pub node: Text,
    /// Attributes of the client.
    pub client_attrs: Map,
    /// How many rules republished this message on its way here: ends loops.
    pub hops: u8,
    /// Id of the rule that republished it.
    pub republished_by: Option<Text>,
}

/// MQTT 5 properties that are turned into a map when somebody wants to see them.
pub trait PublishProperties: std::fmt::Debug + Send + Sync {
    /// The properties by their names with hyphens (rule language, section 13.9).
    fn to_map(&self) -> Map;
}

impl From<PublishEvent> for Event {
    fn from(event: PublishEvent) -> Self {
        Self { kind: Some(EventKind::MessagePublish), hops: event.hops, body: Body::Publish(Arc::new(event)) }
    }
}

impl Event {
    /// Makes an event of `kind` from its columns. `event` is set; `timestamp` and `node` are the caller's.
    pub fn new(kind: EventKind, mut columns: Map) -> Self {
        columns.insert("event", Value::text(kind.name()));
        Self { kind: Some(kind), hops: 0, body: Body::Columns(columns) }
    }

    /// Makes an event from all its columns, `event` among them; nothing is filled in. The kind may be unknown.
    pub fn from_columns(columns: Map) -> Self {
        let name = columns.get("event").and_then(Value::as_text).and_then(Text::as_str);
        Self { kind: name.and_then(EventKind::by_name), hops: 0, body: Body::Columns(columns) }
    }

    /// Makes an event with the sample values of the table.
    pub fn sample(kind: EventKind) -> Self {
        let mut columns = Map::new();
        for column in kind.def().columns {
            columns.insert(column.name, decode_json(column.sample.as_bytes()).unwrap_or_default());
        }
        columns.insert("timestamp", 1_712_000_000_001_i64);
        columns.insert("node", "sluice@127.0.0.1");
        Self::new(kind, columns)
    }

    /// Notes how many rules republished the message that the event is about: what rules republish because of it has
    /// one more, which ends loops.
    #[must_use]
    pub fn with_hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// How many rules republished the message that the event is about.
    pub fn hops(&self) -> u8 {
        self.hops
    }

    /// The kind; none for an event name that is not in the table.
    pub fn kind(&self) -> Option<EventKind> {
        self.kind
    }

    /// The message when this is a published one with fields.
    pub fn publish(&self) -> Option<&PublishEvent> {
        match &self.body {
            Body::Publish(event) => Some(event),
            Body::Columns(_) => None,
        }
    }

    /// Value of a column that was resolved before; undefined when the event has none.
    pub fn column(&self, column: Column) -> Value {
        match &self.body {
            Body::Publish(event) => event.column(column),
            Body::Columns(columns) => columns.get(column.name()).cloned().unwrap_or_default(),
        }
    }

    /// Value of a column by name; undefined when the event has none.
    pub fn column_named(&self, name: &str) -> Value {
        match &self.body {
            Body::Publish(event) => {
                Column::by_name(name).map_or(Value::Undefined, |column| event.column(column))
            }
            Body::Columns(columns) => columns.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Every column, in the order of `SELECT *`.
    pub fn columns(&self) -> Map {
        match &self.body {
            Body::Publish(event) => {
                // room for one more: the rule adds which it is
                let mut list = Vec::with_capacity(Column::ALL.len() + 1);
                list.extend(
                    Column::ALL
                        .into_iter()
                        .map(|column| (Text::from_static(column.name()), event.column(column))),
                );
                Map::from_distinct(list)
            }
            Body::Columns(columns) => columns.clone(),
        }
    }

    /// The topic of a message, as bytes; none for other events.
    pub fn topic(&self) -> Option<Text> {
        match &self.body {
            Body::Publish(event) => Some(event.topic.clone()),
            Body::Columns(columns) => columns.get("topic").and_then(Value::as_text).cloned(),
        }
    }

    /// The client that the event is about: rows of one client keep their order.
    pub fn client_id(&self) -> Option<Text> {
        match &self.body {
            Body::Publish(event) => Some(event.client_id.clone()),
            Body::Columns(columns) => columns.get("clientid").and_then(Value::as_text).cloned(),
        }
    }
}

impl PublishEvent {
    /// Value of a column.
    pub fn column(&self, column: Column) -> Value {
        match column {
            Column::Event => Value::text("message.publish"),
            Column::Timestamp | Column::PublishReceivedAt => Value::Int(self.received_at_ms),
            Column::Node => Value::Text(self.node.clone()),
            Column::Id => Value::from(format!("{:032X}", self.id)),
            Column::ClientId => Value::Text(self.client_id.clone()),
            Column::Username => Value::from(self.username.clone()),
            Column::Payload => Value::Text(self.payload.clone()),
            Column::PeerHost => Value::from(self.peer.map(|peer| peer.ip().to_string())),
            Column::PeerName => Value::from(self.peer.map(|peer| peer.to_string())),
            Column::Topic => Value::Text(self.topic.clone()),
            Column::Qos => Value::from(self.qos),
            Column::Flags => {
                let mut flags = Map::with_capacity(3);
                flags.insert("retain", self.retain);
                flags.insert("dup", self.dup);
                if self.topic.as_bytes().starts_with(b"$SYS/") {
                    flags.insert("sys", true); // nobody but the broker publishes there
                }
                Value::Map(flags)
            }
            Column::PubProps => {
                Value::Map(self.properties.as_ref().map(|properties| properties.to_map()).unwrap_or_default())
            }
            Column::ClientAttrs => Value::Map(self.client_attrs.clone()),
        }
    }
}
