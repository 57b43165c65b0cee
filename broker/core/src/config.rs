//! What an operator may set, with its defaults.

use std::collections::BTreeMap;

use broker_codec::{QoS, SubscriptionOptions};

use crate::certificate::CertificateField;
use crate::flapping::FlappingConfig;
use crate::rewrite::TopicRewrite;
use crate::routes::{ShareStrategy, StickyPick};
use crate::slow_subs::SlowSubsConfig;
use crate::system::SystemTopics;

/// Limits and capabilities of the broker (`mqtt.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Name of the node in events. Default `sluice@127.0.0.1`.
    pub node: String,
    /// Accept clients without an authenticator from everywhere, not only from loopback. Default off.
    pub allow_anonymous: bool,
    /// Largest packet that a client may send, in bytes, the whole packet. Default 1 MiB.
    pub max_packet_size: u32,
    /// The part of a client's certificate that becomes its user name. Default none.
    pub peer_cert_as_username: Option<CertificateField>,
    /// The part of a client's certificate that becomes its client id. Default none.
    pub peer_cert_as_client_id: Option<CertificateField>,
    /// Longest client id in bytes. Default 256.
    pub max_client_id_len: usize,
    /// Most levels of a topic or filter, 1 to 1024. Default 128.
    pub max_topic_levels: usize,
    /// Highest topic alias that a client may use; 0 is none. Default 256.
    pub max_topic_alias: u16,
    /// Highest QoS of a PUBLISH and of a granted subscription. Default 2.
    pub max_qos: QoS,
    /// Whether messages can be retained. Default on.
    pub retain_available: bool,
    /// Whether filters may have wildcards. Default on.
    pub wildcard_subscription: bool,
    /// Whether `$share/…` works. Default on.
    pub shared_subscription: bool,
    /// What a client of MQTT 3 is spared: its own messages (No Local for every subscription). Default off.
    pub ignore_loop_deliver: bool,
    /// Keep alive in seconds imposed on every client of 5.0. Default none.
    pub server_keep_alive_s: Option<u16>,
    /// Shortest keep alive in seconds of a client of 5.0; a shorter one is raised. Default 0.
    pub min_keep_alive_s: u16,
    /// Longest keep alive in seconds of a client of 5.0; a longer one, and none, is lowered. Default no limit.
    pub max_keep_alive_s: Option<u16>,
    /// A connection ends after this many thousandths of its keep alive without a packet. Default 1500.
    pub keep_alive_multiplier_permille: u32,
    /// Seconds that a session of MQTT 3 with Clean Session 0 outlives its connection. Default 2 hours.
    pub session_expiry_interval_s: u32,
    /// Longest session expiry in seconds that a client of 5.0 gets. Default 7 days.
    pub max_session_expiry_interval_s: u32,
    /// Seconds after which a message without its own expiry is no longer delivered. Default none.
    pub message_expiry_interval_s: Option<u32>,
    /// Unacknowledged QoS 1 and 2 messages that a client may have under way to us. Default 100.
    pub receive_maximum: u16,
    /// Unacknowledged messages that we have under way to a client, at most its Receive Maximum. Default 32.
    pub max_inflight: u16,
    /// Messages of one priority that wait in a session when they cannot be sent; 0 is no limit. Default 1000.
    pub max_queue_len: usize,
    /// Bytes of all messages that wait in a session, with what it takes to keep them; 0 is no limit. A message that is
    /// larger than this waits alone. Default 64 MiB.
    pub max_queue_bytes: usize,
    /// What a full queue does. Default: drop the oldest message.
    pub queue_overflow: QueueOverflow,
    /// Priorities 1 to 255 of messages that wait, by topics and filters; a name wins over filters, the highest filter
    /// over others. Default none.
    pub queue_priorities: BTreeMap<String, u8>,
    /// Where topics stand that `queue_priorities` does not name. Default: lowest.
    pub queue_default_priority: DefaultPriority,
    /// Whether QoS 0 messages wait that cannot be sent at once. Default on.
    pub store_qos0: bool,
    /// Whether they wait while the client is away too. Default on.
    pub offline_qos0: bool,
    /// Subscriptions of one session. Default 10,000.
    pub max_subscriptions: usize,
    /// One copy for each matching subscription of a session instead of one in all. Default off.
    pub overlap_per_subscription: bool,
    /// Deliver with the higher of the published and the granted QoS. Default off.
    pub upgrade_qos: bool,
    /// Retained messages; 0 is no limit. Default none.
    pub max_retained_messages: usize,
    /// Largest payload that is retained, in bytes; a larger one is delivered but not kept. Default 1 MiB.
    pub max_retained_payload_size: usize,
    /// Retained messages that one new subscription is sent at most, and that wait in one session. Default 100,000.
    pub max_retained_per_subscribe: usize,
    /// Whether a session that is away gets messages of its shared subscriptions although others are connected.
    /// Default off.
    pub shared_offline_always: bool,
    /// How shared groups choose a member. Default: one after the other.
    pub shared_strategy: ShareStrategy,
    /// The same, of the groups of these names.
    pub shared_groups: BTreeMap<String, ShareStrategy>,
    /// Whom a publisher's first message goes to where publishers stick to a member. Default: anybody.
    pub shared_sticky_pick: StickyPick,
    /// Messages of QoS 1 and 2 that wait with a shared group while no member has room; their bytes have the limit of a
    /// session's queue. Default 10,000.
    pub shared_backlog: usize,
    /// What is published under `$SYS`.
    pub system: SystemTopics,
    /// Whether `$delayed/<seconds>/<topic>` is published later. Default on; otherwise it is a topic like others.
    pub delayed_publish: bool,
    /// Messages that wait for their time; 0 is no limit. Default 100,000.
    pub max_delayed_messages: usize,
    /// Bytes of messages that wait for their time. Default 256 MiB.
    pub max_delayed_bytes: usize,
    /// Rules that rename topics; of several whose filters match the last one holds. Default none.
    pub rewrite: Vec<TopicRewrite>,
    /// Subscriptions that every client gets when it connects. Default none.
    pub auto_subscribe: Vec<AutoSubscription>,
    /// Whether those are made without asking whether the client may. Default off.
    pub auto_subscribe_bypass_acl: bool,
    /// Whether `$exclusive/<filter>` works. Default off.
    pub exclusive_subscription: bool,
    /// When clients that come and go are banned. Default never.
    pub flapping: Option<FlappingConfig>,
    /// When a connection is ended because of what is kept for it. Default never.
    pub force_shutdown: Option<ForceShutdown>,
    /// Whether sessions that outlive their connection are written down, if the broker has a journal. Default on.
    pub durable: bool,
    /// What holds for the clients of listeners that name a zone, by its name. Of these, what is said of single clients
    /// counts: limits of packets, topics and queues, keep alive, session expiry, capabilities, names from certificates,
    /// `flapping`, `force_shutdown` and `durable`. Default none.
    pub zones: BTreeMap<String, BrokerConfig>,
    /// Which of them listeners name, by their ids, when the broker starts: for sessions that are brought back. Default
    /// none.
    pub listener_zones: BTreeMap<String, String>,
    /// When a subscription counts as slow, at the start. Default never.
    pub slow_subs: SlowSubsConfig,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            node: "sluice@127.0.0.1".to_owned(),
            allow_anonymous: false,
            max_packet_size: 1024 * 1024,
            peer_cert_as_username: None,
            peer_cert_as_client_id: None,
            max_client_id_len: 256,
            max_topic_levels: 128,
            max_topic_alias: 256,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription: true,
            shared_subscription: true,
            ignore_loop_deliver: false,
            server_keep_alive_s: None,
            min_keep_alive_s: 0,
            max_keep_alive_s: None,
            keep_alive_multiplier_permille: 1500,
            session_expiry_interval_s: 2 * 60 * 60,
            max_session_expiry_interval_s: 7 * 24 * 60 * 60,
            message_expiry_interval_s: None,
            receive_maximum: 100,
            max_inflight: 32,
            max_queue_len: 1000,
            max_queue_bytes: 64 * 1024 * 1024,
            queue_overflow: QueueOverflow::DropOldest,
            queue_priorities: BTreeMap::new(),
            queue_default_priority: DefaultPriority::Lowest,
            store_qos0: true,
            offline_qos0: true,
            max_subscriptions: 10_000,
            overlap_per_subscription: false,
            upgrade_qos: false,
            max_retained_messages: 0,
            max_retained_payload_size: 1024 * 1024,
            max_retained_per_subscribe: 100_000,
            shared_offline_always: false,
            shared_strategy: ShareStrategy::default(),
            shared_groups: BTreeMap::new(),
            shared_sticky_pick: StickyPick::default(),
            shared_backlog: 10_000,
            system: SystemTopics::default(),
            delayed_publish: true,
            max_delayed_messages: 100_000,
            max_delayed_bytes: 256 * 1024 * 1024,
            rewrite: Vec::new(),
            auto_subscribe: Vec::new(),
            auto_subscribe_bypass_acl: false,
            exclusive_subscription: false,
            flapping: None,
            force_shutdown: None,
            durable: true,
            zones: BTreeMap::new(),
            listener_zones: BTreeMap::new(),
            slow_subs: SlowSubsConfig::default(),
        }
    }
}

impl BrokerConfig {
    /// Returns the keep alive that a client of 5.0 is told instead of its own.
    pub(crate) fn imposed_keep_alive_s(&self, asked_s: u16) -> Option<u16> {
        if self.server_keep_alive_s.is_some() {
            return self.server_keep_alive_s;
        }
        let raised_s = if asked_s == 0 { 0 } else { asked_s.max(self.min_keep_alive_s) };
        let bounded_s = match self.max_keep_alive_s {
            Some(max_s) if raised_s == 0 || raised_s > max_s => max_s,
            _ => raised_s,
        };
        (bounded_s != asked_s).then_some(bounded_s)
    }

    /// Brings values that would break the protocol into their range.
    #[must_use]
    pub(crate) fn clamped(mut self) -> Self {
        self.max_topic_levels = self.max_topic_levels.clamp(1, 1024);
        self.max_inflight = self.max_inflight.max(1);
        self.receive_maximum = self.receive_maximum.max(1);
        self.max_client_id_len = self.max_client_id_len.clamp(23, usize::from(u16::MAX));
        self.max_packet_size = self.max_packet_size.clamp(64, broker_codec::MAX_PACKET_SIZE);
        self.keep_alive_multiplier_permille = self.keep_alive_multiplier_permille.max(1000);
        self
    }
}

/// A subscription that every client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoSubscription {
    /// The filter, with `${clientid}`, `${username}`, `${host}` and `${port}` of the client.
    pub topic: String,
    /// QoS and the rest.
    pub options: SubscriptionOptions,
}

/// How much may be kept for a connection. Looked at about once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForceShutdown {
    /// Messages that wait.
    pub max_messages: usize,
    /// Bytes of messages that wait or are under way, and of what waits at the connection.
    pub max_bytes: usize,
}

/// What happens to a message for a session whose queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueOverflow {
    /// The oldest message of the same priority gives way; when the bytes are too many, the oldest of the lowest
    /// priority, unless that is higher than the new one's.
    #[default]
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// The new message is dropped, and the client disconnected.
    Disconnect,
}

/// Where messages stand whose topics have no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultPriority {
    /// Behind all that have one.
    #[default]
    Lowest,
    /// Before all that have one.
    Highest,
}
