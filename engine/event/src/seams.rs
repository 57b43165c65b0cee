//! The traits by which the broker and the rule engine know each other.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::{Completion, Event, EventKind, Interest, Map, Text};

/// A rule as the broker knows it: a number that the engine gave it and never gives again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleSlot(pub u32);

/// The engine's ear in the broker.
pub trait EventTap: Send + Sync {
    /// The kinds of event that some rule selects. Asked before an event is built, so it must be cheap.
    fn interest(&self) -> Interest;

    /// Takes a published message that matched the filters of `rules` (each named once, in no order).
    ///
    /// Called on the publisher's thread for every such message: evaluates, hands rows over and returns without
    /// waiting. `completion` is there when one of the rules was registered with `holds_acks_ms`; the engine clones it
    /// into each row and the publisher's acknowledgement waits for it.
    fn published(&self, rules: &[RuleSlot], event: Event, completion: Option<Completion>);

    /// Takes any other event; the engine finds the rules itself. Called where the thing became true, so that events
    /// of one client come in order.
    fn happened(&self, kind: EventKind, event: Event);
}

/// The broker's topic trie, where rules are subscribers.
pub trait RuleTopics: Send + Sync {
    /// Registers a rule's topic filters, in place of those it had. Each filter is valid.
    ///
    /// With `holds_acks_ms`, acknowledgements of the messages wait for the rule, so many milliseconds at most; then
    /// the publisher is told of a failure. Of several rules that hold one message the shortest time counts. Filters that
    /// begin with a wildcard do not match topics that begin with `$`.
    fn set_rule(&self, rule: RuleSlot, filters: &[String], holds_acks_ms: Option<u32>);

    /// Takes a rule out.
    fn remove_rule(&self, rule: RuleSlot);
}

/// A message made inside the server.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// Topic name; checked by the publisher.
    pub topic: Text,
    /// Payload.
    pub payload: Text,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Replace the topic's retained message.
    pub retain: bool,
    /// MQTT 5 properties by their names with hyphens; `User-Property` is a map or an array of pairs. Unknown or
    /// ill-typed ones are an error.
    pub properties: Map,
    /// Column `clientid` of the rules that it triggers: a client id, or the id of the rule that republishes.
    pub client_id: Text,
    /// Column `username`.
    pub username: Option<Text>,
    /// Hops so far, see [`crate::PublishEvent::hops`].
    pub hops: u8,
    /// The rule that republishes it.
    pub republished_by: Option<Text>,
    /// Straight to the subscribers, without running rules.
    pub skip_rules: bool,
}

/// What became of a message made inside the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishReport {
    /// The message id.
    pub id: u128,
    /// Sessions (a shared group counts as one) it was handed to.
    pub subscribers: usize,
}

/// Why a message made inside the server was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic cannot be published to.
    #[error("`{topic}` is not a topic name")]
    Topic {
        /// The topic.
        topic: Text,
    },
    /// A property is unknown or has the wrong type.
    #[error("property `{name}`: expected {expected}")]
    Property {
        /// Name of the property.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The message would be larger than a packet may be.
    #[error("the message has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// Too many messages wait for their time.
    #[error("too many delayed messages")]
    Full,
    /// The message has to be stored, and the store takes nothing at the moment.
    #[error("the message cannot be stored: the disk is full or failing")]
    NotStored,
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}

/// Publishes as if a client had. Does not wait.
pub trait Publisher: Send + Sync {
    /// Publishes `message`.
    ///
    /// # Errors
    /// When the topic or a property is not valid, the message is too large, or the broker is stopping.
    fn publish(&self, message: NewMessage) -> Result<PublishReport, PublishError>;
}

/// The only source of time.
pub trait Clock: Send + Sync {
    /// Wall time, Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// A clock for tests that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Makes a clock that stands at `now_ms`.
    pub fn at(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
