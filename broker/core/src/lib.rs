//! The MQTT broker without its sockets: sessions, subscriptions, routes, shared groups, retained messages, wills,
//! limits and events.
//!
//! Nothing here blocks, waits or knows an async runtime. Whoever owns the sockets (`broker-net`, or a test) makes a
//! [`Connection`] for each, feeds it decoded packets, and writes what it puts into an [`Outgoing`]:
//!
//! * [`Broker`] is what all connections share, and what the management API asks;
//! * [`Connection`] is the protocol of one network connection;
//! * [`Context`] belongs to one thread: its time, counters, remembered routes, and which connections have something to
//!   send after a batch of packets;
//! * [`Outlets`] is how the broker reaches connections that live on other threads;
//! * [`Authenticator`] and [`Authorizer`] decide who may do what.

mod access;
mod bans;
mod broker;
mod certificate;
mod config;
mod connection;
mod context;
mod delayed;
mod durable;
mod events;
mod expel;
mod filters;
mod flapping;
mod lifecycle;
mod management;
mod message_events;
mod metrics;
mod mountpoint;
mod outgoing;
mod overload;
mod properties;
mod publishing;
mod reason;
mod registry;
mod retained;
mod rewrite;
mod routes;
mod session;
mod slow_subs;
mod spares;
mod system;
mod tap;
mod timers;
mod topic_metrics;
mod trace_lines;
mod traces;
mod trail;
mod zone;

pub use access::{
    Action, AllowAll, AnonymousOnly, Authenticator, Authorizer, Decision, Identity, Judgement, Login,
    Refusal, Requester, Verdict,
};
pub use bans::{Ban, BanError, BanList, BanSubject, PeerNet};
pub use broker::Broker;
pub use certificate::{CertificateField, PeerCertificate};
pub use config::{AutoSubscription, BrokerConfig, DefaultPriority, ForceShutdown, QueueOverflow};
pub use connection::{Connection, Endpoints, Flow};
pub use context::{ConnectionKey, Context, Outlets};
pub use delayed::DelayedInfo;
pub use durable::{
    Cause, Commit, Journal, Message, ProfileRecord, Progress, Record, Recovery, RecoveryReport, SessionKey,
    SessionRecord, Target,
};
pub use engine_event::Settled;
pub use flapping::{FlappingConfig, FlappingKey};
pub use management::{ClientInfo, RetainedInfo, Route, Stats, SubscriptionInfo};
pub use metrics::{Counters, Metric, Metrics};
pub use outgoing::{Outgoing, SHARE_LIMIT_BYTES};
pub use overload::Holding;
pub use reason::CloseReason;
pub use rewrite::{RewriteAction, TopicRewrite};
pub use routes::{ShareStrategy, StickyPick};
pub use slow_subs::{SlowStats, SlowSubsConfig, SlowSubscription};
pub use system::SystemTopics;
pub use topic_metrics::{TopicCounter, TopicMetrics, TopicMetricsError};
pub use traces::TraceSubject;
