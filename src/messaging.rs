//! Settings of what the broker does with messages beyond the protocol.

use std::collections::BTreeMap;

use broker_core::{BrokerConfig, ShareStrategy, StickyPick, SystemTopics};
use connectors_api::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value as Json;

/// How a shared group chooses the member that gets the next message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SharedStrategy {
    /// Any.
    Random,
    /// One after the other, whoever publishes.
    #[default]
    RoundRobin,
    /// The same as `round_robin`.
    RoundRobinPerGroup,
    /// The member that got the publisher's last message, while it is connected.
    Sticky,
    /// Any of this node, else any.
    Local,
    /// The same member for one publisher, while it is connected.
    HashClientid,
    /// The same member for one topic, while it is connected.
    HashTopic,
    /// The member with the fewest unacknowledged and waiting messages.
    LeastInflight,
}

/// Which member the first message of a publisher goes to where publishers stick to one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InitialStickyPick {
    /// Any.
    #[default]
    Random,
    /// Any of this node, else any.
    Local,
    /// By the topic.
    HashTopic,
    /// By the client id of the publisher.
    HashClientid,
}

/// When members of a shared group that are away get messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SharedOffline {
    /// Only while no member is connected.
    #[default]
    Last,
    /// As if they were connected.
    Always,
}

/// Settings of single groups and topics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Messaging {
    /// Shared groups with a strategy of their own, by name.
    pub(crate) shared_subscription_group: BTreeMap<String, SharedGroup>,
}

/// A shared group with a strategy of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SharedGroup {
    /// How the group chooses.
    pub(crate) strategy: SharedStrategy,
}

/// What is published under `$SYS`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SysTopics {
    /// Time between reports of nodes, version, statistics and counters; `disabled`: none.
    #[serde(deserialize_with = "interval")]
    pub(crate) sys_msg_interval: Period,
    /// Time between reports of uptime and time of day; `disabled`: none.
    #[serde(deserialize_with = "interval")]
    pub(crate) sys_heartbeat_interval: Period,
    /// What is told of each client.
    pub(crate) sys_event_messages: SysEventMessages,
}

/// What is told of each client under `$SYS`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SysEventMessages {
    /// It has connected.
    pub(crate) client_connected: bool,
    /// Its connection has ended.
    pub(crate) client_disconnected: bool,
    /// It has subscribed.
    pub(crate) client_subscribed: bool,
    /// It has given up a subscription.
    pub(crate) client_unsubscribed: bool,
}

impl Default for SysTopics {
    fn default() -> Self {
        Self {
            sys_msg_interval: Period::seconds(60),
            sys_heartbeat_interval: Period::seconds(30),
            sys_event_messages: SysEventMessages::default(),
        }
    }
}

impl Default for SysEventMessages {
    fn default() -> Self {
        Self {
            client_connected: true,
            client_disconnected: true,
            client_subscribed: false,
            client_unsubscribed: false,
        }
    }
}

/// Reads the time between two reports; `disabled` is one that has no end.
fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    let value = Json::deserialize(deserializer)?;
    if value == "disabled" {
        return Ok(Period::INFINITY);
    }
    Period::deserialize(value).map_err(de::Error::custom)
}

fn interval_ms(interval: Period) -> Option<u64> {
    (!interval.is_infinite()).then(|| u64::try_from(interval.duration().as_millis()).unwrap_or(u64::MAX))
}

impl SysTopics {
    fn topics(&self) -> SystemTopics {
        let events = &self.sys_event_messages;
        SystemTopics {
            message_interval_ms: interval_ms(self.sys_msg_interval),
            heartbeat_interval_ms: interval_ms(self.sys_heartbeat_interval),
            client_connected: events.client_connected,
            client_disconnected: events.client_disconnected,
            client_subscribed: events.client_subscribed,
            client_unsubscribed: events.client_unsubscribed,
        }
    }
}

impl From<SharedStrategy> for ShareStrategy {
    fn from(strategy: SharedStrategy) -> Self {
        match strategy {
            SharedStrategy::Random => Self::Random,
            SharedStrategy::RoundRobin => Self::RoundRobin,
            SharedStrategy::RoundRobinPerGroup => Self::RoundRobinPerGroup,
            SharedStrategy::Sticky => Self::Sticky,
            SharedStrategy::Local => Self::Local,
            SharedStrategy::HashClientid => Self::HashClientId,
            SharedStrategy::HashTopic => Self::HashTopic,
            SharedStrategy::LeastInflight => Self::LeastInflight,
        }
    }
}

impl From<InitialStickyPick> for StickyPick {
    fn from(pick: InitialStickyPick) -> Self {
        match pick {
            InitialStickyPick::Random => Self::Random,
            InitialStickyPick::Local => Self::Local,
            InitialStickyPick::HashTopic => Self::HashTopic,
            InitialStickyPick::HashClientid => Self::HashClientId,
        }
    }
}

/// Completes the broker's configuration with these settings.
pub(crate) fn complete(broker: &mut BrokerConfig, config: &crate::config::Config) {
    let mqtt = &config.mqtt;
    broker.shared_subscription = mqtt.shared_subscription;
    broker.shared_strategy = mqtt.shared_subscription_strategy.into();
    broker.shared_sticky_pick = mqtt.shared_subscription_initial_sticky_pick.into();
    broker.shared_offline_always = mqtt.shared_subscription_offline == SharedOffline::Always;
    broker.shared_backlog = mqtt.shared_subscription_backlog as usize;
    broker.system = config.sys_topics.topics();
    let groups = config.broker.shared_subscription_group.iter();
    broker.shared_groups = groups.map(|(name, group)| (name.clone(), group.strategy.into())).collect();
}
