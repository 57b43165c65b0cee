//! What all connections share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use engine_event::{Clock, EventKind, EventTap, RuleSlot, RuleTopics, Text};

use crate::access::{AllowAll, AnonymousOnly, Authenticator, Authorizer};
use crate::bans::BanList;
use crate::config::BrokerConfig;
use crate::context::{Context, Counting, Outlets};
use crate::delayed::DelayedStore;
use crate::durable::Durable;
use crate::filters::ExclusiveOwners;
use crate::flapping::Flapping;
use crate::metrics::{Counters, Metrics};
use crate::overload::Overload;
use crate::registry::Registry;
use crate::retained::RetainedStore;
use crate::rewrite::Rewriter;
use crate::routes::RouteTable;
use crate::session::QueueSettings;
use crate::slow_subs::SlowSubs;
use crate::spares::Spares;
use crate::system::Reports;
use crate::tap::Tap;
use crate::timers::Timers;
use crate::topic_metrics::TopicMeters;
use crate::traces::Traces;
use crate::zone::Zones;

/// The broker: sessions, routes, retained messages and counters of one node.
pub struct Broker {
    config: BrokerConfig,
    node: Text,
    node_hash: u32,
    clock: Arc<dyn Clock>,
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    tap: Arc<Tap>,
    outlets: OnceLock<Arc<dyn Outlets>>,
    pub(crate) registry: Registry,
    pub(crate) zones: Zones,
    pub(crate) retained: RetainedStore,
    pub(crate) timers: Timers,
    pub(crate) delayed: DelayedStore,
    pub(crate) exclusive: ExclusiveOwners,
    pub(crate) rewriter: Rewriter,
    pub(crate) gauges: Gauges,
    pub(crate) reports: Reports,
    pub(crate) bans: BanList,
    pub(crate) flapping: Flapping,
    pub(crate) overload: Overload,
    pub(crate) durable: Durable,
    pub(crate) topic_meters: TopicMeters,
    pub(crate) slow_subs: Arc<SlowSubs>,
    pub(crate) traces: Arc<Traces>,
    routes: RouteTable,
    metrics: Metrics,
    next_connection: AtomicU64,
    next_message: AtomicU64,
    stopping: AtomicBool,
    pub(crate) spares: Spares,
}

/// Numbers of things that exist now, and the highest they have been.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) connections: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) subscriptions: Gauge,
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    now: AtomicUsize,
    max: AtomicUsize,
}

impl Gauge {
    pub(crate) fn rise(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.max.fetch_max(now, Ordering::Relaxed);
    }

    pub(crate) fn fall(&self, by: usize) {
        self.now.fetch_sub(by, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }
}

impl Broker {
    /// Makes a broker without an authenticator: anonymous clients as the configuration says, everything allowed.
    pub fn new(config: BrokerConfig, clock: Arc<dyn Clock>) -> Arc<Self> {
        let authenticator = Arc::new(AnonymousOnly { from_everywhere: config.allow_anonymous });
        Self::with_access(config, clock, authenticator, Arc::new(AllowAll))
    }

    /// Makes a broker with these judges.
    pub fn with_access(
        config: BrokerConfig,
        clock: Arc<dyn Clock>,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
    ) -> Arc<Self> {
        let config = config.clamped();
        // a thousand numbers for each millisecond: they grow over restarts too
        let first_connection = clock.now_ms().max(0) as u64 * 1000;
        let node = Text::from(config.node.as_str());
        Arc::new(Self {
            node_hash: hash_of(node.as_bytes()),
            node,
            reports: Reports::new(clock.now_ms()),
            clock,
            authenticator,
            authorizer,
            tap: Arc::default(),
            outlets: OnceLock::new(),
            registry: Registry::new(QueueSettings::of(&config)),
            zones: Zones::new(&config),
            retained: RetainedStore::default(),
            timers: Timers::default(),
            delayed: DelayedStore::default(),
            exclusive: ExclusiveOwners::default(),
            rewriter: Rewriter::new(&config.rewrite),
            gauges: Gauges::default(),
            bans: BanList::default(),
            flapping: Flapping::default(),
            overload: Overload::default(),
            durable: Durable::default(),
            topic_meters: TopicMeters::default(),
            slow_subs: Arc::new(SlowSubs::new(config.slow_subs)),
            traces: Arc::default(),
            routes: RouteTable::new(config.overlap_per_subscription),
            metrics: Metrics::new(),
            next_connection: AtomicU64::new(first_connection),
            next_message: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            spares: Spares::default(),
            config,
        })
    }

    /// Sets who hears of events. The first call counts.
    pub fn set_tap(&self, tap: Arc<dyn EventTap>) {
        self.tap.set(tap);
    }

    /// Sets the way to connections. The first call counts.
    pub fn set_outlets(&self, outlets: Arc<dyn Outlets>) {
        let _ = self.outlets.set(outlets);
    }

    /// Makes the context of a worker thread, which counts in a shard of its own.
    ///
    /// The thread is to call [`Context::forget_stale_routes`] and [`Broker::forget_stale_routes`] from time to time.
    pub fn worker_context(&self) -> Context {
        self.spares.tend();
        self.context(Counting::Alone(self.metrics.shard()))
    }

    pub(crate) fn shared_counters(&self) -> Arc<Counters> {
        Arc::clone(self.metrics.shared())
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn context(&self, counting: Counting) -> Context {
        let listeners = (Arc::clone(&self.tap), Arc::clone(&self.slow_subs), Arc::clone(&self.traces));
        Context::new(counting, self.clock.now_ms(), listeners)
    }

    /// Refuses messages from inside the server from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Returns the configuration.
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// Returns the time, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn node(&self) -> &Text {
        &self.node
    }

    pub(crate) fn authenticator(&self) -> &dyn Authenticator {
        &*self.authenticator
    }

    pub(crate) fn authorizer(&self) -> &dyn Authorizer {
        &*self.authorizer
    }

    pub(crate) fn outlets(&self) -> Option<&dyn Outlets> {
        self.outlets.get().map(|outlets| &**outlets)
    }

    /// Returns the way to connections, to keep.
    pub(crate) fn outlets_handle(&self) -> Option<Arc<dyn Outlets>> {
        self.outlets.get().map(Arc::clone)
    }

    #[inline]
    pub(crate) fn tap(&self) -> Option<&dyn EventTap> {
        self.tap.get()
    }

    /// Returns the tap if it wants events of that kind.
    pub(crate) fn tap_for(&self, kind: EventKind) -> Option<&dyn EventTap> {
        self.tap().filter(|tap| tap.interest().contains(kind))
    }

    #[inline]
    pub(crate) fn routes(&self) -> &RouteTable {
        &self.routes
    }

    pub(crate) fn next_connection_number(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a message id: microseconds, node, and a counter.
    pub(crate) fn next_message_id(&self, now_ms: i64) -> u128 {
        let counter = self.next_message.fetch_add(1, Ordering::Relaxed) as u32;
        let time_us = now_ms.max(0) as u128 * 1000;
        time_us << 64 | u128::from(self.node_hash) << 32 | u128::from(counter)
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Broker").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RuleTopics for Broker {
    fn set_rule(&self, rule: RuleSlot, filters: &[String], holds_acks_ms: Option<u32>) {
        self.routes.set_rule(rule, filters, holds_acks_ms);
    }

    fn remove_rule(&self, rule: RuleSlot) {
        self.routes.remove_rule(rule);
    }
}

/// A hash that is the same in every run (FNV-1a).
fn hash_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
