//! What a thread that runs connections keeps at hand.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use broker_codec::Packet;
use engine_event::{EventKind, Interest, Settled, Text, TraceEvent, TraceSet};
use foldhash::fast::RandomState;

use crate::durable::SessionKey;
use crate::message_events::DroppedDelivery;
use crate::metrics::{Counters, Metric};
use crate::reason::CloseReason;
use crate::routes::{RouteTable, Routes};
use crate::session::{Profile, Queued, Session};
use crate::slow_subs::{SlowStats, SlowSubs};
use crate::tap::Tap;
use crate::traces::Traces;

/// Where a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// The worker thread that owns it.
    pub worker: u16,
    /// Its place there.
    pub slot: u32,
    /// Tells it from earlier connections at that place.
    pub generation: u32,
}

/// The way from the broker to connections, wherever they live. Filled in by what owns the sockets.
pub trait Outlets: Send + Sync {
    /// Has these connections send what waits in their sessions; each has been named once since it last did.
    fn flush(&self, connections: &[ConnectionKey]);

    /// Ends a connection whose session is no longer its own.
    fn close(&self, connection: ConnectionKey, reason: CloseReason);

    /// Has the connections of a worker, or of all, that wait for the journal look at it.
    fn committed(&self, worker: Option<u16>);

    /// Tells a connection that the obligation of its acknowledgement number `ack` has settled.
    fn settled(&self, connection: ConnectionKey, ack: u64, settled: Settled);
}

/// The state of one thread: its time, its counters, its routes, and which connections have something to send.
///
/// A worker keeps one for its life; others make one for each call.
#[derive(Debug)]
pub struct Context {
    counters: Arc<Counters>,
    /// Whether no other thread counts in `counters`.
    counts_alone: bool,
    /// How many topics it remembers the routes of.
    routes_max: usize,
    now_ms: i64,
    scheduled: Vec<ConnectionKey>,
    urgent: bool,
    routes: HashSet<ByTopic, RandomState>,
    routes_epoch: u64,
    tap: Arc<Tap>,
    /// The kinds of event that a rule selects, as of the beginning of this batch of work.
    interest: Interest,
    slow_subs: Arc<SlowSubs>,
    /// Which time is taken of deliveries, as of the beginning of this batch of work.
    slow_stats: Option<SlowStats>,
    /// Whether messages take along where they come from.
    keeps_trails: bool,
    traces: Arc<Traces>,
    /// Whether somebody is followed, as of the beginning of this batch of work.
    has_traces: bool,
    /// What has happened to sessions and is to be told once they are unlocked.
    incidents: Vec<Incident>,
    /// Something was written down that somebody waits for.
    wrote: Cell<bool>,
    /// A message was put where it stays for a while.
    stays: Cell<bool>,
    /// Deliveries that are over and were not written down yet.
    done: RefCell<Vec<(SessionKey, u64)>>,
}

/// What happens to a session and is told, or acted on, once it is unlocked.
#[derive(Debug)]
pub(crate) enum Incident {
    /// It does not take a message, and a rule wants to know.
    Dropped(DroppedDelivery),
    /// The queue of that connection is full, which ends it.
    Overflowed(ConnectionKey),
}

/// Those who may want to hear of what happens.
pub(crate) type Listeners = (Arc<Tap>, Arc<SlowSubs>, Arc<Traces>);

/// Where a thread counts.
#[derive(Debug)]
pub(crate) enum Counting {
    /// In a shard of its own.
    Alone(Arc<Counters>),
    /// In the shard of everybody else.
    Shared(Arc<Counters>),
}

/// The events of single deliveries: with one of them wanted, messages remember where they came from.
const DELIVERIES: Interest = Interest::from_bits(0)
    .with(EventKind::MessageDelivered)
    .with(EventKind::MessageAcked)
    .with(EventKind::DeliveryDropped);

/// Topics whose routes a thread remembers.
const ROUTES_MAX: usize = 16 * 1024;

/// As many for calls from outside of its own work.
const CALL_ROUTES_MAX: usize = 256;

impl Context {
    pub(crate) fn new(counting: Counting, now_ms: i64, (tap, slow_subs, traces): Listeners) -> Self {
        let (counters, counts_alone) = match counting {
            Counting::Alone(counters) => (counters, true),
            Counting::Shared(counters) => (counters, false),
        };
        let mut context = Self {
            interest: Interest::default(),
            tap,
            slow_subs,
            slow_stats: None,
            keeps_trails: false,
            traces,
            has_traces: false,
            incidents: Vec::new(),
            counters,
            counts_alone,
            routes_max: if counts_alone { ROUTES_MAX } else { 0 },
            now_ms,
            scheduled: Vec::new(),
            urgent: false,
            routes: HashSet::default(),
            routes_epoch: 0,
            wrote: Cell::new(false),
            stays: Cell::new(false),
            done: RefCell::default(),
        };
        context.set_now_ms(now_ms);
        context
    }

    /// Returns the time of this batch of work, Unix milliseconds.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Sets the time, once for each batch of work.
    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        self.has_traces = self.traces.is_on();
        // what is told to rules is written into traces at the same places
        self.interest = if self.has_traces { Interest::from_bits(u32::MAX) } else { self.tap.interest() };
        self.slow_stats = self.slow_subs.stats();
        self.keeps_trails = self.interest.bits() & DELIVERIES.bits() != 0 || self.slow_stats.is_some();
    }

    /// Says whether a rule selects events of that kind, or somebody is followed.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.interest.contains(kind)
    }

    /// Says whether messages take along where they come from: a rule selects events of single deliveries, or the time
    /// of deliveries is taken.
    #[inline]
    pub(crate) fn keeps_trails(&self) -> bool {
        self.keeps_trails
    }

    /// Says whether somebody is followed.
    #[inline]
    pub(crate) fn has_traces(&self) -> bool {
        self.has_traces
    }

    /// Writes a line into these traces.
    pub(crate) fn trace(&self, to: TraceSet, event: TraceEvent) {
        self.traces.emit(to, event);
    }

    /// Writes that a client is sent a packet.
    #[cold]
    pub(crate) fn trace_sent(&self, session: &Session, profile: &Profile, packet: &Packet) {
        self.traces.packet(session, profile, packet, false, self.now_ms);
    }

    /// Takes note of a message with a trail that goes to a subscriber for the first time.
    pub(crate) fn note_sent(&self, client_id: &Text, queued: &Queued) {
        if let Some(stats) = self.slow_stats {
            self.slow_subs.note_sent(stats, client_id, queued, self.now_ms);
        }
    }

    /// Takes note of a message with a trail that a subscriber has acknowledged.
    pub(crate) fn note_acked(&self, client_id: &Text, queued: &Queued, sent_at_ms: i64) {
        if let Some(stats) = self.slow_stats {
            self.slow_subs.note_acked(stats, client_id, queued, sent_at_ms, self.now_ms);
        }
    }

    /// Notes a message that a session does not take, if somebody wants to hear of it.
    pub(crate) fn note_drop(&mut self, queued: Queued, why: Metric) {
        if self.wants(EventKind::DeliveryDropped) {
            self.incidents.push(Incident::Dropped(DroppedDelivery { queued, why }));
        }
    }

    /// Counts a message for a session that is no more.
    #[cold]
    pub(crate) fn drop_ended(&mut self, queued: Queued) {
        self.count(Metric::DeliveryDropped, 1);
        self.count(Metric::DeliveryDroppedEnded, 1);
        self.note_drop(queued, Metric::DeliveryDroppedEnded);
    }

    /// Notes that a connection is to be ended because its queue is full.
    pub(crate) fn note_overflow(&mut self, connection: ConnectionKey) {
        self.incidents.push(Incident::Overflowed(connection));
    }

    /// Says whether there is something to tell of.
    #[inline]
    pub(crate) fn has_incidents(&self) -> bool {
        !self.incidents.is_empty()
    }

    /// Takes what is to be told of.
    pub(crate) fn take_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.incidents)
    }

    /// Counts.
    #[inline]
    pub fn count(&self, metric: Metric, by: u64) {
        if self.counts_alone {
            self.counters.add(metric, by);
        } else {
            self.counters.add_shared(metric, by);
        }
    }

    /// Notes that something was written down that is to be committed.
    #[inline]
    pub(crate) fn note_wrote(&self) {
        self.wrote.set(true);
    }

    /// Takes the note that something was written down.
    pub(crate) fn take_wrote(&self) -> bool {
        self.wrote.take()
    }

    /// Notes that a message has to wait, or is kept.
    #[inline]
    pub(crate) fn note_stays(&self) {
        self.stays.set(true);
    }

    /// Takes the note that a message has to wait, or is kept: while memory is short, who published it had better pause.
    pub fn take_stays(&self) -> bool {
        self.stays.take()
    }

    /// Notes that a delivery is over.
    pub(crate) fn note_done(&self, session: SessionKey, delivery: u64) {
        self.done.borrow_mut().push((session, delivery));
    }

    /// Returns the deliveries that are over.
    pub(crate) fn done(&self) -> &RefCell<Vec<(SessionKey, u64)>> {
        &self.done
    }

    /// Says whether [`Broker::commit`](crate::Broker::commit) has something to do.
    #[inline]
    pub fn has_records(&self) -> bool {
        self.wrote.get() || !self.done.borrow().is_empty()
    }

    /// Notes that a connection has something to send.
    #[inline]
    pub(crate) fn schedule(&mut self, connection: ConnectionKey) {
        self.scheduled.push(connection);
    }

    /// Notes that a queue has grown so much that it should be sent before more is read.
    #[inline]
    pub(crate) fn set_urgent(&mut self) {
        self.urgent = true;
    }

    /// Says whether queues should be flushed before more is read.
    #[inline]
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Says whether a connection has something to send.
    pub fn has_scheduled(&self) -> bool {
        !self.scheduled.is_empty()
    }

    /// Takes the connections that have something to send, each once. The emptied list comes back through
    /// [`Context::reuse_scheduled`].
    pub fn take_scheduled(&mut self) -> Vec<ConnectionKey> {
        self.urgent = false;
        std::mem::take(&mut self.scheduled)
    }

    /// Gives the list of [`Context::take_scheduled`] back for its memory.
    pub fn reuse_scheduled(&mut self, mut list: Vec<ConnectionKey>) {
        list.clear();
        if self.scheduled.capacity() == 0 {
            self.scheduled = list;
        }
    }

    /// Returns the routes of a topic.
    pub(crate) fn routes(&mut self, table: &RouteTable, topic: &str) -> Arc<Routes> {
        if let Some(ByTopic(found)) = self.routes.get(topic)
            && found.epoch == table.epoch()
        {
            return Arc::clone(found);
        }
        let routes = table.resolve(topic);
        if self.routes_max == 0 {
            return routes;
        }
        if self.routes.len() >= self.routes_max {
            self.routes.clear();
        }
        self.routes.replace(ByTopic(Arc::clone(&routes)));
        routes
    }

    /// Makes ready for another call. Routes are remembered if the thread forgets them again.
    pub(crate) fn reset(&mut self, remembers: bool) {
        self.routes_max = if remembers { CALL_ROUTES_MAX } else { 0 };
        self.scheduled.clear();
        self.urgent = false;
        self.incidents.clear();
        self.wrote.set(false);
        self.done.borrow_mut().clear();
    }

    /// Forgets routes that are out of date, so that they keep no ended session in memory. For a slow, regular tick.
    pub fn forget_stale_routes(&mut self, broker: &crate::Broker) {
        let epoch = broker.routes().epoch();
        if self.routes_epoch != epoch {
            self.routes_epoch = epoch;
            self.routes.retain(|ByTopic(routes)| routes.epoch == epoch);
        }
    }
}

/// Routes, found by their topic.
#[derive(Debug)]
struct ByTopic(Arc<Routes>);

impl Borrow<str> for ByTopic {
    fn borrow(&self) -> &str {
        &self.0.topic
    }
}

impl Hash for ByTopic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.topic.hash(state);
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for ByTopic {}
