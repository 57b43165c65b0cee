//! The gate before a connector: shared by all lanes of all its actions.
//!
//! Open while the target answers. After a request that failed as a whole, with no other request answered since it
//! was sent, the gate closes for a pause that grows; then one lane may send one batch as a probe. The probe's answer
//! opens the gate for all, so a revived target meets one request and not a crowd. While the connector is not
//! connected the gate is shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::pause_before;
use crate::object::resource_opts::BackoffOptions;

/// The gate before one connector.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Same as `State::Open`, to be read without the lock.
    open: AtomicBool,
    /// Requests that the target answered.
    answers: AtomicU64,
    in_flight: AtomicUsize,
    /// How often the gate was opened again.
    epoch: AtomicU64,
    changed: Notify,
    idle: Notify,
    /// A request found the target down: the status should be checked.
    suspect: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The connector is not connected.
    Shut {
        /// It was down before: begin with a probe.
        was_down: bool,
    },
    Open,
    Pausing {
        failures: u32,
        until: Instant,
    },
    Probing {
        failures: u32,
    },
}

/// May a lane send?
#[derive(Debug)]
pub(crate) enum Entry {
    /// Yes.
    Go(Permit),
    /// Not before the time, if there is one, or the gate changes.
    Wait(Option<Instant>),
}

/// Leave to send one request. Dropped without a report, it says nothing about the target.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    answers_before: u64,
    probe: bool,
}

impl Gate {
    /// Makes a gate that is shut.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::Shut { was_down: false }),
            open: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            changed: Notify::new(),
            idle: Notify::new(),
            suspect: Notify::new(),
        })
    }

    /// Asks for leave to send one request.
    pub(crate) fn enter(self: &Arc<Self>, now: Instant) -> Entry {
        if self.open.load(Ordering::Acquire) {
            return Entry::Go(self.permit(false));
        }
        let mut state = self.state.lock();
        match *state {
            State::Open => Entry::Go(self.permit(false)),
            State::Pausing { failures, until } if until <= now => {
                *state = State::Probing { failures };
                Entry::Go(self.permit(true))
            }
            State::Pausing { until, .. } => Entry::Wait(Some(until)),
            State::Probing { .. } | State::Shut { .. } => Entry::Wait(None),
        }
    }

    /// The connector is connected: lanes may send, after an outage one probe first.
    pub(crate) fn resume(&self, now: Instant) {
        let mut state = self.state.lock();
        let State::Shut { was_down } = *state else { return };
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.set(&mut state, if was_down { State::Pausing { failures: 1, until: now } } else { State::Open });
    }

    /// The connector is not connected. `down`: the target is at fault, not a change of configuration.
    pub(crate) fn shut(&self, down: bool) {
        let mut state = self.state.lock();
        let was_down = match *state {
            State::Shut { was_down } => was_down || down,
            State::Open => down,
            State::Pausing { .. } | State::Probing { .. } => true,
        };
        self.set(&mut state, State::Shut { was_down });
    }

    /// Ends the pause: the next request is the probe.
    pub(crate) fn hurry(&self, now: Instant) {
        let mut state = self.state.lock();
        if let State::Pausing { failures, .. } = *state {
            self.epoch.fetch_add(1, Ordering::Relaxed);
            self.set(&mut state, State::Pausing { failures, until: now });
        }
    }

    /// How often the gate was opened again: rows that pause on their own account may go when it grows.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Tells whether the connector is connected as far as the gate knows.
    pub(crate) fn is_shut(&self) -> bool {
        !self.open.load(Ordering::Acquire) && matches!(*self.state.lock(), State::Shut { .. })
    }

    /// Number of requests that the target answered so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Resolves when the gate changes; enable it before asking for the state.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Resolves when a request found the target down.
    pub(crate) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// Resolves when no request is under way.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    fn permit(self: &Arc<Self>, probe: bool) -> Permit {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Permit { gate: Arc::clone(self), answers_before: self.answers(), probe }
    }

    fn set(&self, state: &mut State, to: State) {
        *state = to;
        self.open.store(to == State::Open, Ordering::Release);
        self.changed.notify_waiters();
    }
}

impl Permit {
    /// The target answered: it took rows or refused them.
    pub(crate) fn answered(mut self) {
        self.probe = false;
        let gate = &self.gate;
        gate.answers.fetch_add(1, Ordering::Relaxed);
        if gate.open.load(Ordering::Acquire) {
            return;
        }
        let mut state = gate.state.lock();
        match *state {
            State::Probing { .. } => {
                gate.epoch.fetch_add(1, Ordering::Relaxed);
                gate.set(&mut state, State::Open);
            }
            // the target was not away: rows that pause, do so on their own account
            State::Pausing { .. } => gate.set(&mut state, State::Open),
            State::Open | State::Shut { .. } => {}
        }
    }

    /// The request failed as a whole. `after` is the pause that the target asked for.
    pub(crate) fn failed(mut self, backoff: BackoffOptions, after: Option<Duration>, now: Instant) {
        let probe = std::mem::take(&mut self.probe);
        let gate = &self.gate;
        let wait = |failures| now + pause_before(backoff, failures, after, fastrand::u64(..));
        let mut state = gate.state.lock();
        let next = match *state {
            State::Open if gate.answers() == self.answers_before => {
                State::Pausing { failures: 1, until: wait(1) }
            }
            State::Probing { failures } if probe => {
                let failures = failures.saturating_add(1);
                State::Pausing { failures, until: wait(failures) }
            }
            State::Pausing { failures, until } if after.is_some() => {
                State::Pausing { failures, until: until.max(wait(failures)) }
            }
            _ => return,
        };
        gate.set(&mut state, next);
        gate.suspect.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            // nothing was learnt: somebody else may probe at once
            let mut state = self.gate.state.lock();
            if let State::Probing { failures } = *state {
                self.gate.set(&mut state, State::Pausing { failures, until: Instant::now() });
            }
        }
        if self.gate.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.gate.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::resource_opts::Jitter;

    const BACKOFF: BackoffOptions = BackoffOptions {
        initial: Duration::from_millis(200),
        max: Duration::from_secs(30),
        jitter: Jitter::None,
    };

    fn go(gate: &Arc<Gate>, now: Instant) -> Permit {
        match gate.enter(now) {
            Entry::Go(permit) => permit,
            Entry::Wait(until) => panic!("has to wait until {until:?}"),
        }
    }

    fn waits(gate: &Arc<Gate>, now: Instant) -> bool {
        matches!(gate.enter(now), Entry::Wait(_))
    }

    #[test]
    fn a_revived_target_meets_one_probe() {
        let gate = Gate::new();
        let start = Instant::now();
        assert!(waits(&gate, start), "not connected yet");
        gate.resume(start);
        let (first, second) = (go(&gate, start), go(&gate, start));
        first.failed(BACKOFF, None, start);
        second.failed(BACKOFF, None, start);
        assert!(waits(&gate, start + Duration::from_millis(199)));

        let later = start + Duration::from_millis(200);
        let probe = go(&gate, later);
        assert!(waits(&gate, later), "one probe at a time");
        probe.failed(BACKOFF, None, later);
        assert!(waits(&gate, later + Duration::from_millis(399)), "the pause doubles");

        let probe = go(&gate, later + Duration::from_millis(400));
        probe.answered();
        drop((go(&gate, later), go(&gate, later)));
    }

    #[test]
    fn one_failure_among_answers_does_not_close_the_gate() {
        let gate = Gate::new();
        let now = Instant::now();
        gate.resume(now);
        let (bad, good) = (go(&gate, now), go(&gate, now));
        good.answered();
        bad.failed(BACKOFF, None, now);
        drop(go(&gate, now));
    }

    #[test]
    fn the_target_may_ask_for_a_pause() {
        let gate = Gate::new();
        let now = Instant::now();
        gate.resume(now);
        go(&gate, now).failed(BACKOFF, Some(Duration::from_secs(7)), now);
        assert!(waits(&gate, now + Duration::from_secs(6)));
        drop(go(&gate, now + Duration::from_secs(7)));
    }

    #[test]
    fn a_probe_that_says_nothing_is_given_back() {
        let gate = Gate::new();
        let now = Instant::now();
        gate.resume(now);
        go(&gate, now).failed(BACKOFF, None, now);
        let later = now + Duration::from_secs(1);
        drop(go(&gate, later));
        drop(go(&gate, Instant::now() + Duration::from_secs(1)));
    }

    #[test]
    fn after_an_outage_the_connector_begins_with_a_probe() {
        let gate = Gate::new();
        let now = Instant::now();
        gate.resume(now);
        gate.shut(true);
        assert!(waits(&gate, now));
        gate.resume(now);
        let probe = go(&gate, now);
        assert!(waits(&gate, now));
        probe.answered();
        gate.shut(false);
        gate.resume(now);
        drop((go(&gate, now), go(&gate, now)));
    }
}
