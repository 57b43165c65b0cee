//! One lane: queue, schedule and counters under one lock.

use std::sync::Arc;

use connectors_api::{Outcome, Reason};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::pause_before;
use super::gate::{Entry, Gate, Permit};
use super::schedule::{BatchLimits, Picked, Schedule};
use crate::metrics::LaneCounters;
use crate::object::resource_opts::{ActionOptions, Overflow, QueryMode};
use crate::queue::{MemoryQueue, Queue, QueuedRow, Sequence};

/// How a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    /// The target refused the row.
    Rejected,
    /// It was sent as often as allowed.
    GaveUp,
    Expired,
    LateReply,
    QueueFull,
    Stopped(StopReason),
}

/// Why an action takes no rows, or gives up those it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Disabled, stopped, or its target is unhealthy.
    ResourceStopped,
    /// The action or its connector is not there.
    ResourceNotFound,
}

/// A row that left the lane.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) row: QueuedRow,
    pub(crate) end: End,
    /// Place in its last batch.
    pub(crate) batch_index: Option<usize>,
    /// Whether the row was counted against the memory limits.
    pub(crate) held: bool,
}

/// Limits that hold when rows are pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushLimits {
    pub(crate) lane_bytes: u64,
    pub(crate) overflow: Overflow,
    /// Bytes left in the budgets of the action and the server.
    pub(crate) room: u64,
}

/// What became of pushed rows.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The lane was replaced: push to the new one. The rows are untouched.
    Closed,
    /// Taken, but for those in `ended`.
    Taken {
        /// Rows that gave way.
        ended: Vec<Ended>,
        /// Bytes by which the lane grew, before any row gave way.
        bytes: u64,
        /// The lane has no task: start one.
        start_worker: bool,
    },
}

/// What the lane's task does next.
#[derive(Debug)]
pub(super) enum Step {
    Send(Picked, Permit),
    /// Wait to be woken, or for the time.
    Sleep(Option<Instant>),
    /// Nothing is left to do; the lane has no task from here on.
    Exit,
}

/// What the lane's task knows when it asks for the next step.
pub(super) struct StepContext<'a> {
    pub(super) now: Instant,
    pub(super) options: &'a ActionOptions,
    pub(super) gate: &'a Arc<Gate>,
    pub(super) has_channel: bool,
    pub(super) keeps_order: bool,
    pub(super) requests: usize,
    /// Do not wait for a batch to fill.
    pub(super) draining: bool,
    /// The task has waited long enough for rows.
    pub(super) tired: bool,
}

/// A queue with its schedule and counters.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    wake: Notify,
    worker_ended: Notify,
}

#[derive(Debug)]
struct State {
    queue: MemoryQueue,
    schedule: Schedule,
    counters: LaneCounters,
    has_worker: bool,
    /// Wake the task when so many rows wait.
    wake_at: usize,
    /// Rows in flight hold their keys, because requests may overtake each other.
    exclusive: bool,
    /// Send nothing more; the task ends when its requests have.
    halted: bool,
    /// Give up rows instead of keeping them.
    discard: Option<StopReason>,
    /// Rows go to another set of lanes.
    closed: bool,
    gate_epoch: u64,
    last_error: Option<Arc<Reason>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            queue: MemoryQueue::default(),
            schedule: Schedule::default(),
            counters: LaneCounters::default(),
            has_worker: false,
            wake_at: usize::MAX,
            exclusive: false,
            halted: false,
            discard: None,
            closed: false,
            gate_epoch: 0,
            last_error: None,
        }
    }
}

/// Gauges and counters of a lane at one moment.
#[derive(Debug, Default)]
pub(crate) struct LaneSnapshot {
    pub(crate) counters: LaneCounters,
    pub(crate) queuing: u64,
    pub(crate) queuing_bytes: u64,
    pub(crate) inflight: u64,
    pub(crate) oldest: Option<Instant>,
    pub(crate) last_error: Option<Arc<Reason>>,
}

impl Lane {
    /// Appends rows. One lock, and at most one wake.
    pub(crate) fn push(&self, rows: &mut SmallVec<[QueuedRow; 1]>, limits: PushLimits) -> Pushed {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return Pushed::Closed;
        }
        let mut ended = Vec::new();
        let mut bytes = 0;
        for row in rows.drain(..) {
            state.counters.matched += 1;
            let size = row.tag.bytes;
            if let Some(reason) = state.discard {
                ended.push(state.count(row, End::Stopped(reason), None, false));
                continue;
            }
            let full = state.queue.waiting_bytes() + size > limits.lane_bytes || bytes + size > limits.room;
            if full && limits.overflow != Overflow::DropOldest {
                ended.push(state.count(row, End::QueueFull, None, false));
                continue;
            }
            bytes += size;
            state.queue.push(row);
        }
        while state.queue.waiting_bytes() > limits.lane_bytes {
            let Some(dropped) = state.drop_oldest() else { break };
            ended.push(dropped);
        }
        let start_worker = !state.has_worker && state.queue.waiting() > 0 && !state.halted;
        state.has_worker |= start_worker;
        let wake = state.has_worker && state.queue.waiting() >= state.wake_at;
        if wake {
            state.wake_at = usize::MAX;
        }
        drop(guard);
        if wake {
            self.wake.notify_one();
        }
        Pushed::Taken { ended, bytes, start_worker }
    }

    /// Counts rows that the action does not take. Fails when the lane was replaced; the rows are then untouched.
    pub(crate) fn refuse(
        &self,
        rows: &mut SmallVec<[QueuedRow; 1]>,
        reason: StopReason,
    ) -> Option<Vec<Ended>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return None;
        }
        state.counters.matched += rows.len() as u64;
        Some(rows.drain(..).map(|row| state.count(row, End::Stopped(reason), None, false)).collect())
    }

    /// Drops the oldest waiting rows until `bytes` are free or no row waits; returns the rows.
    pub(crate) fn give_way(&self, bytes: u64) -> Vec<Ended> {
        let mut guard = self.state.lock();
        let mut ended = Vec::new();
        let mut freed = 0;
        while freed < bytes {
            let Some(dropped) = guard.drop_oldest() else { break };
            freed += dropped.row.tag.bytes;
            ended.push(dropped);
        }
        ended
    }

    /// Drops the oldest waiting rows until those that stay have at most `bytes`; returns the rows.
    pub(crate) fn shrink_to(&self, bytes: u64) -> Vec<Ended> {
        let mut guard = self.state.lock();
        let mut ended = Vec::new();
        while guard.queue.waiting_bytes() > bytes {
            let Some(dropped) = guard.drop_oldest() else { break };
            ended.push(dropped);
        }
        ended
    }

    /// When the oldest waiting row came.
    pub(crate) fn oldest_waiting(&self) -> Option<Instant> {
        self.state.lock().queue.peek(Sequence::default()).map(|(_, row)| row.tag.enqueued)
    }

    /// Number of rows waiting or in flight.
    pub(crate) fn rows(&self) -> usize {
        let state = self.state.lock();
        state.queue.waiting() + state.queue.leased()
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Tells whether the task was woken since it slept, and lets it sleep again.
    #[cfg(test)]
    pub(super) fn is_woken(&self) -> bool {
        use futures::FutureExt as _;
        self.wake.notified().now_or_never().is_some()
    }

    /// Counters and gauges; none when the lane was replaced.
    pub(crate) fn snapshot(&self) -> Option<LaneSnapshot> {
        let state = self.state.lock();
        if state.closed {
            return None;
        }
        let oldest = state.queue.oldest();
        Some(LaneSnapshot {
            counters: state.counters,
            queuing: state.queue.waiting() as u64,
            queuing_bytes: state.queue.waiting_bytes(),
            inflight: state.queue.leased() as u64,
            oldest,
            last_error: state.last_error.clone(),
        })
    }

    /// Sets the counters to what makes the identity hold with the rows that are there.
    pub(crate) fn reset_counters(&self) {
        let mut state = self.state.lock();
        let present = state.queue.waiting() + state.queue.leased();
        state.counters = LaneCounters { matched: present as u64, ..LaneCounters::default() };
        state.last_error = None;
    }

    /// Gives up all rows that wait, and those in flight unless they are confirmed. None: takes rows again.
    pub(crate) fn set_discard(&self, reason: Option<StopReason>) -> Vec<Ended> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.discard = reason;
        let Some(reason) = reason else { return Vec::new() };
        let mut ended = Vec::new();
        while let Some((at, row)) = state.lease_oldest() {
            state.queue.settle(at);
            ended.push(state.count(row, End::Stopped(reason), None, true));
        }
        ended
    }

    /// Stops sending; resolves when no request of this lane is under way and its task has ended.
    pub(crate) async fn halt(&self) {
        loop {
            let ended = self.worker_ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let mut state = self.state.lock();
                state.halted = true;
                if !state.has_worker {
                    return;
                }
            }
            self.wake.notify_one();
            ended.await;
        }
    }

    /// Closes a halted lane; returns its waiting rows, oldest first, and its counters without them.
    pub(crate) fn close(&self) -> (Vec<QueuedRow>, LaneCounters) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.closed = true;
        let mut rows = Vec::with_capacity(state.queue.waiting());
        while let Some((at, row)) = state.lease_oldest() {
            state.queue.settle(at);
            rows.push(row);
        }
        (rows, state.counters)
    }

    /// Takes over rows and counters of lanes that were closed. The rows are in order and count as matched before.
    pub(crate) fn inherit(&self, rows: Vec<QueuedRow>, counters: Option<&LaneCounters>) {
        let mut state = self.state.lock();
        for row in rows {
            state.queue.push(row);
        }
        if let Some(counters) = counters {
            state.counters.add(counters);
        }
    }

    /// Starts a task if rows wait and there is none.
    pub(crate) fn claim_worker(&self) -> bool {
        let mut state = self.state.lock();
        let start = !state.has_worker && state.queue.waiting() > 0 && !state.halted;
        state.has_worker |= start;
        start
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notes that the task ends although it did not ask for a step: it was cut off.
    pub(super) fn abandon(&self) {
        self.state.lock().has_worker = false;
        self.worker_ended.notify_waiters();
    }

    /// Decides what the task does next; returns the rows that expired meanwhile.
    pub(super) fn next_step(&self, context: &StepContext<'_>) -> (Step, Vec<Ended>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut ended = Vec::new();
        state.drop_expired(context.now, &mut ended);
        let step = state.decide(context, &mut ended);
        if matches!(step, Step::Exit) {
            state.has_worker = false;
            drop(guard);
            self.worker_ended.notify_waiters();
        }
        (step, ended)
    }

    /// Accounts for the answer to a request; returns the rows that ended.
    /// With `fault`, each row that has to be sent again goes in a batch of its own.
    pub(super) fn settle(
        &self,
        rows: Vec<(Sequence, QueuedRow)>,
        outcomes: Vec<Outcome>,
        fault: bool,
        options: &ActionOptions,
        now: Instant,
    ) -> Vec<Ended> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut ended = Vec::with_capacity(rows.len());
        for (index, ((at, mut row), outcome)) in rows.into_iter().zip(outcomes).enumerate() {
            let sent = !outcome.is_not_sent();
            row.delivery.attempts = row.delivery.attempts.saturating_add(sent.into());
            let key = row.tag.key_hash;
            let end = match outcome {
                _ if row.is_expired(now) && !sent => End::Expired,
                _ if row.is_expired(now) => {
                    row.tag.error = error_of(outcome).or(row.tag.error);
                    End::LateReply
                }
                Outcome::Ok => End::Success,
                Outcome::Reject(reason) => {
                    row.tag.error = Some(Arc::new(reason));
                    End::Rejected
                }
                Outcome::Retry { reason, after } => {
                    if sent {
                        row.tag.error = Some(Arc::new(reason));
                    }
                    row.tag.alone = fault;
                    let attempts = row.delivery.attempts;
                    if let Some(reason) = state.discard {
                        End::Stopped(reason)
                    } else if sent && options.max_retries.is_some_and(|most| attempts > most) {
                        End::GaveUp
                    } else {
                        let pause = pause_before(options.backoff, attempts, after, fastrand::u64(..));
                        if sent {
                            state.last_error.clone_from(&row.tag.error);
                        }
                        state.queue.restore(at, row);
                        state.schedule.retry(at, key, now + pause);
                        continue;
                    }
                }
            };
            state.queue.settle(at);
            state.schedule.ended(key);
            ended.push(state.count(row, end, Some(index), true));
        }
        ended
    }
}

impl State {
    fn decide(&mut self, context: &StepContext<'_>, ended: &mut Vec<Ended>) -> Step {
        let StepContext { now, options, gate, requests, .. } = *context;
        let sleep = |state: &mut Self, wake_at, until| {
            state.wake_at = wake_at;
            Step::Sleep(until)
        };
        if self.halted {
            return if requests == 0 { Step::Exit } else { sleep(self, usize::MAX, None) };
        }
        if self.queue.waiting() == 0 {
            let over = requests == 0 && context.tired;
            return if over { Step::Exit } else { sleep(self, 1, None) };
        }
        let expiry = self.next_expiry();
        let window = match options.query_mode {
            QueryMode::Sync => 1,
            QueryMode::Async => options.inflight_window,
        };
        if requests >= window || !context.has_channel || gate.is_shut() {
            return sleep(self, usize::MAX, expiry);
        }
        let exclusive = window > 1 && !context.keeps_order;
        if exclusive != self.exclusive {
            // the action was edited: what is under way was sent by other rules, and its keys would be overtaken
            if requests > 0 {
                return sleep(self, usize::MAX, expiry);
            }
            self.exclusive = exclusive;
        }
        let epoch = gate.epoch();
        if epoch != self.gate_epoch {
            self.gate_epoch = epoch;
            self.schedule.end_all_pauses();
        }
        let Some(first) = self.schedule.first_ready(&mut self.queue, now) else {
            let until = earliest(self.schedule.next_pause_end(), expiry);
            let any_new = self.queue.waiting() + 1;
            return sleep(self, any_new, until);
        };
        let due = first.tag.enqueued + options.batch_time;
        let fresh = first.delivery.attempts == 0;
        let full = self.queue.waiting() >= options.batch_size
            || self.queue.waiting_bytes() >= options.batch_bytes as u64;
        if !full && now < due && fresh && !context.draining {
            return sleep(self, options.batch_size, earliest(Some(due), expiry));
        }
        let permit = match gate.enter(now) {
            Entry::Go(permit) => permit,
            Entry::Wait(until) => return sleep(self, usize::MAX, earliest(until, expiry)),
        };
        let limits = BatchLimits { rows: options.batch_size, bytes: options.batch_bytes };
        let mut picked = self.schedule.pick(&mut self.queue, now, limits, exclusive);
        for (at, row) in std::mem::take(&mut picked.expired) {
            self.queue.settle(at);
            ended.push(self.count(row, End::Expired, None, true));
        }
        for (_, row) in &mut picked.rows {
            row.identify();
            self.counters.retried += u64::from(row.delivery.attempts == 1);
        }
        if picked.rows.is_empty() { sleep(self, 1, Some(now)) } else { Step::Send(picked, permit) }
    }

    fn next_expiry(&mut self) -> Option<Instant> {
        self.queue.peek(Sequence::default()).and_then(|(_, row)| row.tag.deadline)
    }

    fn drop_expired(&mut self, now: Instant, ended: &mut Vec<Ended>) {
        while self.queue.peek(Sequence::default()).is_some_and(|(_, row)| row.is_expired(now)) {
            let Some((at, row)) = self.lease_oldest() else { return };
            self.queue.settle(at);
            ended.push(self.count(row, End::Expired, None, true));
        }
    }

    fn drop_oldest(&mut self) -> Option<Ended> {
        let (at, row) = self.lease_oldest()?;
        self.queue.settle(at);
        Some(self.count(row, End::QueueFull, None, true))
    }

    fn lease_oldest(&mut self) -> Option<(Sequence, QueuedRow)> {
        let (at, _) = self.queue.peek(Sequence::default())?;
        if self.wake_at != usize::MAX {
            // one row fewer waits, so the next new one is reached one earlier
            self.wake_at = self.wake_at.saturating_sub(1);
        }
        self.queue.lease(at).map(|row| (at, row))
    }

    /// Counts how a row ended, in the one place where that is done.
    fn count(&mut self, row: QueuedRow, end: End, batch_index: Option<usize>, held: bool) -> Ended {
        let counters = &mut self.counters;
        let repeated = u64::from(row.delivery.attempts > 1);
        match end {
            End::Success => {
                counters.success += 1;
                counters.retried_success += repeated;
            }
            End::Rejected | End::GaveUp => {
                counters.failed += 1;
                counters.retried_failed += repeated;
            }
            End::Expired => counters.dropped_expired += 1,
            End::LateReply => counters.late_reply += 1,
            End::QueueFull => counters.dropped_queue_full += 1,
            End::Stopped(StopReason::ResourceStopped) => counters.dropped_resource_stopped += 1,
            End::Stopped(StopReason::ResourceNotFound) => counters.dropped_resource_not_found += 1,
        }
        if end != End::Success && row.tag.error.is_some() {
            self.last_error.clone_from(&row.tag.error);
        }
        Ended { row, end, batch_index, held }
    }
}

fn error_of(outcome: Outcome) -> Option<Arc<Reason>> {
    match outcome {
        Outcome::Ok => None,
        Outcome::Retry { reason, .. } | Outcome::Reject(reason) => Some(Arc::new(reason)),
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
