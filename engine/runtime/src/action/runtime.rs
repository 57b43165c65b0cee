//! The state of an action at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use connectors_api::{Capabilities, Channel, ConnectorDef};
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{Fallback, MemoryBudget, fallback};
use crate::lane::{End, Ended, Gate, Lane, LaneSet, StopReason};
use crate::log_limit::LogLimit;
use crate::metrics::{ActionMetrics, RateMeter, RuleCounter, RuleCounters};
use crate::object::resource_opts::ActionOptions;
use crate::rule::republish::RepublishError;
use crate::services::Services;
use crate::status::StatusCell;
use crate::{Status, StatusReport};

/// The place of an action that rules and fallbacks refer to, whether the action exists or not.
#[derive(Debug)]
pub(crate) struct ActionSlot {
    id: Arc<str>,
    action: ArcSwapOption<ActionRuntime>,
}

impl ActionSlot {
    pub(crate) fn new(id: &str) -> Arc<Self> {
        Arc::new(Self { id: Arc::from(id), action: ArcSwapOption::empty() })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn action(&self) -> Option<Arc<ActionRuntime>> {
        self.action.load_full()
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Option<Arc<ActionRuntime>>> {
        self.action.load()
    }

    pub(crate) fn set(&self, action: Option<Arc<ActionRuntime>>) {
        self.action.store(action);
    }
}

/// An action at work.
pub(crate) struct ActionRuntime {
    id: Arc<str>,
    services: Arc<Services>,
    capabilities: Capabilities,
    options: ArcSwap<ActionOptions>,
    fallbacks: ArcSwap<Vec<Fallback>>,
    lanes: ArcSwap<LaneSet>,
    /// Why rows are given up, for lanes that are made later. Locked, for moments, by whoever touches all the lanes.
    discarding: Mutex<Option<StopReason>>,
    /// One move of rows to other lanes at a time.
    moving: tokio::sync::Mutex<()>,
    gate: RwLock<Arc<Gate>>,
    channel: RwLock<Option<Arc<dyn Channel>>>,
    status: StatusCell,
    enabled: AtomicBool,
    /// `StopReason` as a number, 0 for none.
    stop: AtomicU8,
    turn: AtomicUsize,
    memory: MemoryBudget,
    rate: RateMeter,
    losses: LogLimit,
    fallback_failures: LogLimit,
}

impl ActionRuntime {
    /// Makes an action without a channel: it queues rows and sends nothing.
    pub(crate) fn new(
        id: &str,
        def: &ConnectorDef,
        options: ActionOptions,
        enabled: bool,
        services: Arc<Services>,
    ) -> Arc<Self> {
        let lanes = LaneSet::new(options.lanes);
        let memory = MemoryBudget::new(options.total_bytes_limit);
        let status = if enabled { StatusReport::connecting("") } else { StatusReport::stopped() };
        let action = Arc::new(Self {
            id: Arc::from(id),
            capabilities: def.capabilities,
            options: ArcSwap::from_pointee(options),
            fallbacks: ArcSwap::from_pointee(Vec::new()),
            lanes: ArcSwap::from_pointee(lanes),
            discarding: Mutex::new(None),
            moving: tokio::sync::Mutex::new(()),
            gate: RwLock::new(Gate::new()),
            channel: RwLock::new(None),
            status: StatusCell::new(status),
            enabled: AtomicBool::new(enabled),
            stop: AtomicU8::new(0),
            turn: AtomicUsize::new(0),
            memory,
            rate: RateMeter::default(),
            losses: LogLimit::default(),
            fallback_failures: LogLimit::default(),
            services,
        });
        action.services.enlist(&action);
        action
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    pub(crate) fn options(&self) -> Arc<ActionOptions> {
        self.options.load_full()
    }

    /// The options for a moment, without a count that all threads share.
    pub(super) fn peek_options(&self) -> arc_swap::Guard<Arc<ActionOptions>> {
        self.options.load()
    }

    pub(crate) fn lanes(&self) -> Arc<LaneSet> {
        self.lanes.load_full()
    }

    /// The lanes for a moment, without a count that all threads share.
    pub(super) fn peek_lanes(&self) -> arc_swap::Guard<Arc<LaneSet>> {
        self.lanes.load()
    }

    pub(super) fn memory(&self) -> &MemoryBudget {
        &self.memory
    }

    pub(super) fn take_memory(&self, bytes: u64) {
        self.memory.take(bytes);
        self.services.memory.take(bytes);
    }

    pub(super) fn give_back_memory(&self, bytes: u64) {
        self.memory.give_back(bytes);
        self.services.memory.give_back(bytes);
    }

    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn keeps_order(&self) -> bool {
        self.capabilities.keeps_order
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Disabled actions take no part: rules count their rows as discarded.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.read())
    }

    /// Puts the action behind the gate of another connector.
    pub(crate) fn set_gate(&self, gate: Arc<Gate>) {
        *self.gate.write() = gate;
        self.wake();
    }

    pub(crate) fn channel(&self) -> Option<Arc<dyn Channel>> {
        self.channel.read().clone()
    }

    /// Installs or removes the channel; lanes go on at once.
    pub(crate) fn set_channel(&self, channel: Option<Arc<dyn Channel>>) {
        *self.channel.write() = channel;
        self.wake();
    }

    pub(crate) fn set_fallbacks(&self, fallbacks: Vec<Fallback>) {
        self.fallbacks.store(Arc::new(fallbacks));
    }

    pub(crate) fn status(&self) -> &StatusCell {
        &self.status
    }

    /// Sets the status, and logs the change.
    pub(crate) fn set_status(&self, report: StatusReport) {
        if let Some(before) = self.status.set(report.clone()) {
            log_change("action", &self.id, &before, &report);
        }
    }

    /// As [`ActionRuntime::set_status`], but a disabled action stays stopped.
    pub(crate) fn set_status_if_enabled(&self, report: StatusReport) {
        self.set_status(if self.is_enabled() { report } else { StatusReport::stopped() });
    }

    /// Rows are counted as dropped for that reason from here on; those that wait stay.
    pub(crate) fn set_stop(&self, reason: Option<StopReason>) {
        let number = match reason {
            None => 0,
            Some(StopReason::ResourceStopped) => 1,
            Some(StopReason::ResourceNotFound) => 2,
        };
        self.stop.store(number, Ordering::Release);
    }

    pub(super) fn stop_reason(&self) -> Option<StopReason> {
        match self.stop.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::ResourceStopped),
            _ => Some(StopReason::ResourceNotFound),
        }
    }

    /// Gives up every row that waits, and those in flight unless they are confirmed.
    pub(crate) fn discard(self: &Arc<Self>, reason: StopReason) {
        let ended = {
            let mut discarding = self.discarding.lock();
            *discarding = Some(reason);
            self.lanes().lanes().iter().flat_map(|lane| lane.set_discard(Some(reason))).collect()
        };
        self.finish(ended, Instant::now());
        self.wake();
    }

    /// Takes rows again after [`ActionRuntime::discard`].
    pub(crate) fn keep(&self) {
        let mut discarding = self.discarding.lock();
        *discarding = None;
        for lane in self.lanes().lanes() {
            lane.set_discard(None);
        }
    }

    /// Takes over new options. What is queued stays, but for the oldest rows that a smaller limit has no room for.
    ///
    /// When the number of lanes changes, rows move to others in a task of their own: that waits for the requests
    /// under way, and neither the caller nor what it holds may wait for a target that hangs.
    pub(crate) fn set_options(self: &Arc<Self>, options: ActionOptions) {
        let (lanes, lane_bytes) = (usize::from(options.lanes), options.lane_bytes_limit);
        self.memory.set_limit(options.total_bytes_limit);
        self.options.store(Arc::new(options));
        let set = self.lanes();
        if lanes != set.len() {
            self.services.spawn(Arc::clone(self).adjust_lanes());
        }
        let now = Instant::now();
        self.finish(set.lanes().iter().flat_map(|lane| lane.shrink_to(lane_bytes)).collect(), now);
        self.relieve(now);
        self.wake();
    }

    /// Moves rows until there are as many lanes as the options say, which may change again meanwhile.
    async fn adjust_lanes(self: Arc<Self>) {
        let _alone = self.moving.lock().await;
        while usize::from(self.options().lanes) != self.lanes().len() {
            // all at once: one that hangs must not let the next one take up new work
            join_all(self.lanes().lanes().iter().map(Lane::halt)).await;
            if self.services.cut_off.is_cancelled() {
                return;
            }
            self.replace_lanes();
        }
    }

    /// Moves every row from halted lanes to a new set, keeping the order of each key.
    fn replace_lanes(self: &Arc<Self>) {
        let discarding = self.discarding.lock();
        let old = self.lanes();
        let new = Arc::new(LaneSet::new(self.options().lanes));
        let mut rows = Vec::new();
        let mut counters = crate::metrics::LaneCounters::default();
        for lane in old.lanes() {
            let (waiting, counted) = lane.close();
            rows.extend(waiting);
            counters.add(&counted);
        }
        rows.sort_by_key(|row| row.tag.enqueued);
        let mut rows_of: Vec<Vec<_>> = (0..new.len()).map(|_| Vec::new()).collect();
        for row in rows {
            let key = row.tag.key_hash;
            let index = if key == 0 { self.next_turn() % new.len() } else { new.index_for(key) };
            rows_of[index].push(row);
        }
        new.lane(0).inherit(Vec::new(), Some(&counters));
        let mut ended = Vec::new();
        for (lane, rows) in new.lanes().iter().zip(rows_of) {
            lane.inherit(rows, None);
            ended.extend(lane.set_discard(*discarding));
        }
        self.lanes.store(Arc::clone(&new));
        drop(discarding);
        self.finish(ended, Instant::now());
        self.start_idle_workers();
    }

    /// Starts the tasks of lanes that have rows and no task.
    fn start_idle_workers(self: &Arc<Self>) {
        let set = self.lanes();
        for (index, lane) in set.lanes().iter().enumerate() {
            if lane.claim_worker() {
                self.start_worker(&set, index);
            }
        }
    }

    /// Wakes every lane.
    pub(crate) fn wake(&self) {
        for lane in self.lanes.load().lanes() {
            lane.wake();
        }
    }

    /// Number of rows waiting or in flight.
    pub(crate) fn rows(&self) -> u64 {
        self.lanes.load().lanes().iter().map(|lane| lane.rows() as u64).sum()
    }

    /// Counters and gauges; they add up.
    pub(crate) fn metrics(&self) -> ActionMetrics {
        let snapshot = loop {
            if let Some(snapshot) = self.lanes().snapshot() {
                break snapshot;
            }
            // between the closing of the old lanes and the opening of the new ones
            std::thread::yield_now();
        };
        let rates = self.rate.rates();
        let mut metrics = ActionMetrics {
            queuing: snapshot.queuing,
            queuing_bytes: snapshot.queuing_bytes,
            inflight: snapshot.inflight,
            rate: rates.current,
            rate_max: rates.max,
            rate_last5m: rates.last_5m,
            oldest_row_age_ms: snapshot.oldest.map(|since| since.elapsed().as_millis() as u64),
            last_error: snapshot.last_error.map(|error| error.to_string()),
            ..ActionMetrics::default()
        };
        metrics.set_counters(&snapshot.counters);
        metrics
    }

    pub(crate) fn reset_metrics(&self) {
        // no move to other lanes meanwhile
        let _discarding = self.discarding.lock();
        let set = self.lanes();
        set.lanes().iter().for_each(Lane::reset_counters);
        // rows that are still there count as matched, but not anew
        self.rate.reset(set.snapshot().map_or(0, |snapshot| snapshot.counters.matched));
    }

    /// To be called every few seconds.
    pub(crate) fn tick(&self, now_ms: i64) {
        if let Some(snapshot) = self.lanes().snapshot() {
            self.rate.tick(snapshot.counters.matched);
        }
        if let Some(count) = self.losses.take_held_back(now_ms) {
            tracing::warn!(action = %self.id, count, "more rows failed or were dropped");
        }
        if let Some(count) = self.fallback_failures.take_held_back(now_ms) {
            tracing::warn!(action = %self.id, count, "more rows could not be republished by their fallback");
        }
    }

    /// Does what follows the end of rows: memory, counters of rules, acknowledgements, fallbacks. No lock is held.
    pub(crate) fn finish(&self, ended: Vec<Ended>, now: Instant) {
        if ended.is_empty() {
            return;
        }
        self.give_back_memory(ended.iter().filter(|ended| ended.held).map(|ended| ended.row.tag.bytes).sum());
        if self.services.traces.any() {
            let now_ms = self.services.clock.now_ms();
            self.services.traces.ended(&self.id, &ended, fallback::reason_name, now_ms);
        }
        let mut credits = Credits::default();
        let fallbacks = self.fallbacks.load();
        for mut ended in ended {
            credits.add(ended.row.tag.credit.as_ref(), counter_of(ended.end));
            if ended.end == End::Success {
                ended.row.tag.obligation.confirm();
                continue;
            }
            self.log_loss(&ended);
            if ended.row.tag.credit.is_some() && !fallbacks.is_empty() {
                fallback::run(self, &fallbacks, &ended, now);
            }
        }
        credits.flush();
    }

    /// Logs that a fallback could not republish a row.
    pub(super) fn log_fallback_failure(&self, error: &RepublishError) {
        if self.fallback_failures.allows(self.services.clock.now_ms()) {
            tracing::warn!(action = %self.id, %error, "fallback could not republish");
        }
    }

    fn log_loss(&self, ended: &Ended) {
        if self.losses.allows(self.services.clock.now_ms()) {
            let delivery = &ended.row.delivery;
            let error = ended.row.tag.error.as_deref().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                action = %self.id,
                rule = %delivery.rule_id,
                reason = fallback::reason_name(ended.end),
                attempts = delivery.attempts,
                error,
                "a row failed or was dropped"
            );
        }
    }
}

impl std::fmt::Debug for ActionRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActionRuntime").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Logs a change of status: up is information, down a warning.
pub(crate) fn log_change(class: &'static str, id: &str, before: &StatusReport, after: &StatusReport) {
    match after.status {
        Status::Connected => tracing::info!(class, id, "connected"),
        Status::Disconnected => tracing::warn!(class, id, reason = after.reason, "disconnected"),
        Status::Connecting if before.is_connected() => {
            tracing::warn!(class, id, reason = after.reason, "connecting again");
        }
        Status::Connecting | Status::Stopped => {
            tracing::debug!(class, id, reason = after.reason, status = %after.status, "status changed");
        }
    }
}

fn counter_of(end: End) -> RuleCounter {
    match end {
        End::Success => RuleCounter::ActionsSuccess,
        End::Rejected | End::GaveUp => RuleCounter::ActionsUnknown,
        End::Expired | End::LateReply | End::QueueFull | End::Stopped(_) => RuleCounter::ActionsOutOfService,
    }
}

/// Credits rules: one addition for a run of rows of the same rule with the same end.
#[derive(Default)]
struct Credits(Option<(Arc<RuleCounters>, RuleCounter, u64)>);

impl Credits {
    fn add(&mut self, counters: Option<&Arc<RuleCounters>>, counter: RuleCounter) {
        let Some(counters) = counters else { return };
        match &mut self.0 {
            Some((same, kind, count)) if Arc::ptr_eq(same, counters) && *kind == counter => *count += 1,
            _ => {
                self.flush();
                self.0 = Some((Arc::clone(counters), counter, 1));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((counters, counter, count)) = self.0.take() {
            counters.add(counter, count);
        }
    }
}
