//! Limits and defaults of the protocol, `mqtt` in the configuration.

use broker_core::{BrokerConfig, CertificateField};
use connectors_api::{ByteSize, ConfigProblem, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::messaging::{InitialStickyPick, SharedOffline, SharedStrategy};
use crate::queue_config::{self, Count, MqueueDefaultPriority, MqueueOverflow, MqueuePriorities};
use crate::rate::{ByteRate, MessageRate, Rates};

/// Limits and defaults of the protocol, for every listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mqtt {
    /// Time from the connection to its CONNECT.
    pub(crate) idle_timeout: Period,
    /// Largest packet that is accepted, fixed header included.
    pub(crate) max_packet_size: ByteSize,
    /// The part of a client's certificate that becomes its user name.
    pub(crate) peer_cert_as_username: PeerCertAs,
    /// The part of a client's certificate that becomes its client id.
    pub(crate) peer_cert_as_clientid: PeerCertAs,
    /// Longest client id, in bytes.
    pub(crate) max_clientid_len: u16,
    /// Most levels of a topic or filter.
    pub(crate) max_topic_levels: u16,
    /// Topic Alias Maximum that clients are told.
    pub(crate) max_topic_alias: u16,
    /// Messages of QoS 1 and 2 under way to a client; the client's Receive Maximum may lower it.
    pub(crate) max_inflight: u16,
    /// Receive Maximum that clients are told: messages of QoS 1 and 2 that a client may have under way to us.
    pub(crate) receive_maximum: u16,
    /// Messages of one priority that wait for a client; `infinity` or 0: no limit.
    pub(crate) max_mqueue_len: Count,
    /// Bytes of all messages that wait for a client, with about 100 bytes for each; 0: no limit. A larger message waits
    /// alone.
    pub(crate) max_mqueue_bytes: ByteSize,
    /// What happens when as many wait as may.
    pub(crate) mqueue_overflow: MqueueOverflow,
    /// Priorities 1 to 255 of messages that wait, by topic or filter, or `disabled`. A topic wins over filters, of
    /// filters the highest priority.
    pub(crate) mqueue_priorities: MqueuePriorities,
    /// Where topics stand that `mqueue_priorities` does not name.
    pub(crate) mqueue_default_priority: MqueueDefaultPriority,
    /// Whether messages of QoS 0 wait that cannot be sent at once.
    pub(crate) mqueue_store_qos0: bool,
    /// Whether they wait while the client is away, too.
    pub(crate) offline_qos0: bool,
    /// Subscriptions of one session.
    pub(crate) max_subscriptions: u32,
    /// Session expiry of MQTT 3 clients that do not ask for a clean session.
    pub(crate) session_expiry_interval: Period,
    /// Longest session expiry that an MQTT 5 client gets.
    pub(crate) max_session_expiry_interval: Period,
    /// Keep alive is this many times the client's before the connection is closed.
    pub(crate) keepalive_multiplier: f64,
    /// Keep alive in seconds imposed on MQTT 5 clients; 0: theirs.
    pub(crate) server_keepalive: u16,
    /// Shortest keep alive in seconds that an MQTT 5 client gets, unless it asks for none; 0: theirs.
    pub(crate) min_keepalive: u16,
    /// Longest keep alive in seconds that an MQTT 5 client gets, also one that asks for none; 0: theirs.
    pub(crate) max_keepalive: u16,
    /// Messages that are retained; more are refused.
    pub(crate) max_retained_messages: u32,
    /// Whether `$share/<group>/<filter>` and `$queue/<filter>` can be subscribed to.
    pub(crate) shared_subscription: bool,
    /// Whether `$exclusive/<filter>` can be subscribed to, by one client at a time.
    pub(crate) exclusive_subscription: bool,
    /// How shared groups choose the member that gets the next message.
    pub(crate) shared_subscription_strategy: SharedStrategy,
    /// With the strategy `sticky`: which member a publisher's first message goes to.
    pub(crate) shared_subscription_initial_sticky_pick: InitialStickyPick,
    /// When members that are away get messages.
    pub(crate) shared_subscription_offline: SharedOffline,
    /// Messages of QoS 1 and 2 that wait with a shared group while no member has room for them.
    pub(crate) shared_subscription_backlog: u32,
    /// What all clients of the server may publish together.
    pub(crate) limiter: Limiter,
}

/// What all clients of the server may publish together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limiter {
    /// Messages.
    pub(crate) messages_rate: MessageRate,
    /// Messages on top of that now and then.
    pub(crate) messages_burst: MessageRate,
    /// Bytes of PUBLISH packets.
    pub(crate) bytes_rate: ByteRate,
    /// Bytes on top of that now and then.
    pub(crate) bytes_burst: ByteRate,
    /// What each client may publish.
    pub(crate) client: Rates,
}

impl Limiter {
    /// What all clients may publish together.
    pub(crate) fn all(&self) -> Rates {
        Rates {
            messages_rate: self.messages_rate,
            messages_burst: self.messages_burst,
            bytes_rate: self.bytes_rate,
            bytes_burst: self.bytes_burst,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            idle_timeout: Period::seconds(15),
            max_packet_size: ByteSize::mebibytes(1),
            peer_cert_as_username: PeerCertAs::Disabled,
            peer_cert_as_clientid: PeerCertAs::Disabled,
            max_clientid_len: 256,
            max_topic_levels: 128,
            max_topic_alias: 256,
            max_inflight: 32,
            receive_maximum: 100,
            max_mqueue_len: Count(1000),
            max_mqueue_bytes: ByteSize::mebibytes(64),
            mqueue_overflow: MqueueOverflow::default(),
            mqueue_priorities: MqueuePriorities::default(),
            mqueue_default_priority: MqueueDefaultPriority::default(),
            mqueue_store_qos0: true,
            offline_qos0: true,
            max_subscriptions: 10_000,
            session_expiry_interval: Period::seconds(7200),
            max_session_expiry_interval: Period::seconds(7 * 24 * 3600),
            keepalive_multiplier: 1.5,
            server_keepalive: 0,
            min_keepalive: 0,
            max_keepalive: 0,
            max_retained_messages: 1_000_000,
            limiter: Limiter::default(),
            shared_subscription: true,
            exclusive_subscription: false,
            shared_subscription_strategy: SharedStrategy::default(),
            shared_subscription_initial_sticky_pick: InitialStickyPick::default(),
            shared_subscription_offline: SharedOffline::default(),
            shared_subscription_backlog: 10_000,
        }
    }
}

/// A part of a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PeerCertAs {
    /// None: the client says its name itself.
    Disabled,
    /// The common name.
    Cn,
    /// The whole subject, as RFC 4514 writes it.
    Dn,
    /// The certificate in base64 of its DER form.
    Crt,
    /// The certificate in PEM.
    Pem,
    /// MD5 of the DER form, hexadecimal.
    Md5,
    /// SHA-256 of the DER form, hexadecimal.
    Sha256,
    /// The first URI among the alternative names.
    SanUri,
    /// The first DNS name among the alternative names.
    SanDns,
}

impl PeerCertAs {
    pub(crate) fn field(self) -> Option<CertificateField> {
        Some(match self {
            Self::Disabled => return None,
            Self::Cn => CertificateField::CommonName,
            Self::Dn => CertificateField::Subject,
            Self::Crt => CertificateField::Der,
            Self::Pem => CertificateField::Pem,
            Self::Md5 => CertificateField::Md5,
            Self::Sha256 => CertificateField::Sha256,
            Self::SanUri => CertificateField::SanUri,
            Self::SanDns => CertificateField::SanDns,
        })
    }
}

impl Mqtt {
    /// What the types alone do not rule out; `prefix` is where they stand.
    pub(crate) fn problems(&self, prefix: &str) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut require = |name: &str, holds: bool, expected: &str, found: &dyn std::fmt::Display| {
            if !holds {
                let message = format!("expected {expected}, got `{found}`");
                problems.push(ConfigProblem::new(format!("{prefix}{name}"), message));
            }
        };
        let packet = self.max_packet_size;
        require("max_packet_size", (64..=268_435_460).contains(&packet.get()), "64 bytes to 256 MB", &packet);
        require("max_inflight", self.max_inflight > 0, "1 to 65535", &self.max_inflight);
        require("receive_maximum", self.receive_maximum > 0, "1 to 65535", &self.receive_maximum);
        require("max_clientid_len", self.max_clientid_len >= 23, "at least 23", &self.max_clientid_len);
        require("max_topic_levels", self.max_topic_levels > 0, "at least 1", &self.max_topic_levels);
        let multiplier = self.keepalive_multiplier;
        let (min, max) = (self.min_keepalive, self.max_keepalive);
        require("min_keepalive", max == 0 || min <= max, "at most `max_keepalive`", &min);
        require("keepalive_multiplier", (1.0..=10.0).contains(&multiplier), "1 to 10", &multiplier);
        problems.extend(self.limiter.all().problems(&format!("{prefix}limiter.")));
        problems.extend(self.limiter.client.problems(&format!("{prefix}limiter.client.")));
        problems
    }

    /// Completes the configuration of clients with these settings.
    pub(crate) fn complete(&self, broker: &mut BrokerConfig) {
        broker.max_packet_size = u32::try_from(self.max_packet_size.get()).unwrap_or(u32::MAX);
        broker.peer_cert_as_username = self.peer_cert_as_username.field();
        broker.peer_cert_as_client_id = self.peer_cert_as_clientid.field();
        broker.max_client_id_len = self.max_clientid_len.into();
        broker.max_topic_levels = self.max_topic_levels.into();
        broker.max_topic_alias = self.max_topic_alias;
        broker.server_keep_alive_s = (self.server_keepalive > 0).then_some(self.server_keepalive);
        broker.min_keep_alive_s = self.min_keepalive;
        broker.max_keep_alive_s = (self.max_keepalive > 0).then_some(self.max_keepalive);
        broker.keep_alive_multiplier_permille = (self.keepalive_multiplier * 1000.0) as u32;
        broker.session_expiry_interval_s = seconds(self.session_expiry_interval);
        broker.max_session_expiry_interval_s = seconds(self.max_session_expiry_interval);
        broker.receive_maximum = self.receive_maximum;
        broker.max_inflight = self.max_inflight;
        broker.max_subscriptions = self.max_subscriptions as usize;
        broker.shared_subscription = self.shared_subscription;
        broker.exclusive_subscription = self.exclusive_subscription;
        queue_config::complete(broker, self);
    }
}

fn seconds(period: Period) -> u32 {
    u32::try_from(period.duration().as_secs()).unwrap_or(u32::MAX)
}
