//! Settings of what the broker does with messages beyond the protocol.

use std::collections::BTreeMap;

use broker_codec::topic::{QueueAlias, SubscribedFilter, validate_topic_filter};
use broker_codec::{QoS, RetainHandling, SubscriptionOptions};
use broker_core::{
    AutoSubscription, BrokerConfig, RewriteAction, ShareStrategy, StickyPick, SystemTopics, TopicRewrite,
};
use connectors_api::{ConfigProblem, Period};
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

/// Messages that are published later: `$delayed/<seconds>/<topic>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Delayed {
    /// Whether they are; otherwise `$delayed/…` is a topic like others.
    pub(crate) enable: bool,
    /// Messages that wait for their time; 0: no limit.
    pub(crate) max_delayed_messages: u32,
}

impl Default for Delayed {
    fn default() -> Self {
        Self { enable: true, max_delayed_messages: 100_000 }
    }
}

/// A rule that renames topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// What it renames.
    pub(crate) action: Rewrites,
    /// Filter that selects topics.
    pub(crate) source_topic: String,
    /// Regular expression; its groups may stand in `dest_topic`.
    pub(crate) re: String,
    /// The new name, with `$1`, `${clientid}` and `${username}`.
    pub(crate) dest_topic: String,
}

/// What a rule renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rewrites {
    /// Topics of messages.
    Publish,
    /// Filters of subscriptions.
    Subscribe,
    /// Both.
    All,
}

impl Rewrite {
    fn rule(&self) -> TopicRewrite {
        TopicRewrite {
            action: match self.action {
                Rewrites::Publish => RewriteAction::Publish,
                Rewrites::Subscribe => RewriteAction::Subscribe,
                Rewrites::All => RewriteAction::All,
            },
            source_topic: self.source_topic.clone(),
            pattern: self.re.clone(),
            dest_topic: self.dest_topic.clone(),
        }
    }
}

/// Subscriptions that every client gets when it connects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AutoSubscribe {
    /// The subscriptions.
    pub(crate) topics: Vec<AutoTopic>,
    /// Whether they are made without asking whether the client may.
    pub(crate) bypass_acl: bool,
}

/// A subscription that every client gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AutoTopic {
    /// Topic filter, with `${clientid}`, `${username}`, `${host}` and `${port}`.
    pub(crate) topic: String,
    /// 0, 1 or 2.
    #[serde(default)]
    pub(crate) qos: u8,
    /// Retain handling: 0 sends retained messages, 1 only when the subscription is new, 2 never.
    #[serde(default)]
    pub(crate) rh: u8,
    /// Retain as published: 0 or 1.
    #[serde(default)]
    pub(crate) rap: u8,
    /// No local: 0 or 1.
    #[serde(default)]
    pub(crate) nl: u8,
}

impl AutoTopic {
    fn subscription(&self) -> AutoSubscription {
        let options = SubscriptionOptions {
            qos: match self.qos {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            },
            no_local: self.nl == 1,
            retain_as_published: self.rap == 1,
            retain_handling: match self.rh {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        };
        AutoSubscription { topic: self.topic.clone(), options }
    }

    fn problems(&self, at: &str) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        // with something in place of the client
        let filled = ["${clientid}", "${username}", "${host}", "${port}"]
            .iter()
            .fold(self.topic.clone(), |topic, name| topic.replace(name, "x"));
        let filter = filled.strip_prefix("$exclusive/").map_or_else(
            || SubscribedFilter::parse(&filled, QueueAlias::On).map(|_| ()),
            validate_topic_filter,
        );
        if let Err(error) = filter {
            problems.push(ConfigProblem::new(format!("{at}.topic"), error.to_string()));
        }
        for (name, value, max) in
            [("qos", self.qos, 2), ("rh", self.rh, 2), ("rap", self.rap, 1), ("nl", self.nl, 1)]
        {
            if value > max {
                let message = format!("expected 0 to {max}, got `{value}`");
                problems.push(ConfigProblem::new(format!("{at}.{name}"), message));
            }
        }
        problems
    }
}

/// What the types alone do not rule out.
pub(crate) fn problems(config: &crate::config::Config) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for (index, rewrite) in config.rewrite.iter().enumerate() {
        if let Err((field, message)) = rewrite.rule().check() {
            problems.push(ConfigProblem::new(format!("rewrite.{index}.{field}"), message));
        }
    }
    for (index, topic) in config.auto_subscribe.topics.iter().enumerate() {
        problems.extend(topic.problems(&format!("auto_subscribe.topics.{index}")));
    }
    problems
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
    broker.shared_strategy = mqtt.shared_subscription_strategy.into();
    broker.shared_sticky_pick = mqtt.shared_subscription_initial_sticky_pick.into();
    broker.shared_offline_always = mqtt.shared_subscription_offline == SharedOffline::Always;
    broker.shared_backlog = mqtt.shared_subscription_backlog as usize;
    broker.system = config.sys_topics.topics();
    broker.delayed_publish = config.delayed.enable;
    broker.max_delayed_messages = config.delayed.max_delayed_messages as usize;
    broker.rewrite = config.rewrite.iter().map(Rewrite::rule).collect();
    broker.auto_subscribe = config.auto_subscribe.topics.iter().map(AutoTopic::subscription).collect();
    broker.auto_subscribe_bypass_acl = config.auto_subscribe.bypass_acl;
    let groups = config.broker.shared_subscription_group.iter();
    broker.shared_groups = groups.map(|(name, group)| (name.clone(), group.strategy.into())).collect();
}
