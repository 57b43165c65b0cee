//! Counters of a rule: one padded set for each of a few groups of threads, summed when somebody looks.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Value as Json, json};

/// What is counted for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum RuleCounter {
    Matched,
    Passed,
    FailedException,
    FailedNoResult,
    ActionsTotal,
    ActionsSuccess,
    ActionsOutOfService,
    ActionsUnknown,
    ActionsDiscarded,
    /// Runs that are among the shared ones and were counted by themselves too.
    RanOfShared,
}

const COUNTERS: usize = 10;

/// Threads share this many sets.
const SHARDS: usize = 8;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; COUNTERS]);

/// The counters of a rule.
#[derive(Debug, Default)]
pub(crate) struct RuleCounters {
    shards: [Shard; SHARDS],
    /// Runs that are counted once for many rules, as for each of them WHERE was false unless it ran by itself; with the
    /// number from which on they count here.
    shared: Mutex<Vec<(Arc<SharedRuns>, u64)>>,
}

/// Runs that are counted once for many rules.
#[derive(Debug, Default)]
pub(crate) struct SharedRuns([SharedShard; SHARDS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct SharedShard(AtomicU64);

impl SharedRuns {
    /// Counts one more.
    pub(crate) fn add(&self) {
        self.0[own_shard()].0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

impl RuleCounters {
    /// Counts `by` more.
    pub(crate) fn add(&self, counter: RuleCounter, by: u64) {
        self.shards[own_shard()].0[counter as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// Sum over all threads.
    pub(crate) fn get(&self, counter: RuleCounter) -> u64 {
        if !matches!(counter, RuleCounter::Matched | RuleCounter::FailedNoResult) {
            return self.own(counter);
        }
        let shared = self.shared.lock();
        let runs =
            shared.iter().fold(0_u64, |sum, (runs, from)| sum.wrapping_add(runs.get().wrapping_sub(*from)));
        self.own(counter).wrapping_add(runs).wrapping_sub(self.own(RuleCounter::RanOfShared))
    }

    fn own(&self, counter: RuleCounter) -> u64 {
        // wraps like the parts do, after a reset that raced with an addition
        self.shards
            .iter()
            .fold(0, |sum, shard| sum.wrapping_add(shard.0[counter as usize].load(Ordering::Relaxed)))
    }

    /// From now on `runs` count for this rule too.
    pub(crate) fn share(&self, runs: &Arc<SharedRuns>) {
        self.shared.lock().push((Arc::clone(runs), runs.get()));
    }

    /// What was counted in `runs` so far becomes the rule's own.
    pub(crate) fn unshare(&self, runs: &Arc<SharedRuns>) {
        let mut shared = self.shared.lock();
        let Some(at) = shared.iter().position(|(other, _)| Arc::ptr_eq(other, runs)) else { return };
        let (runs, from) = shared.swap_remove(at);
        let count = runs.get().wrapping_sub(from);
        self.add(RuleCounter::Matched, count);
        self.add(RuleCounter::FailedNoResult, count);
    }

    /// Sets every counter to zero.
    pub(crate) fn reset(&self) {
        let mut shared = self.shared.lock();
        for (runs, from) in shared.iter_mut() {
            *from = runs.get();
        }
        for shard in &self.shards {
            for counter in &shard.0 {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }
}

fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    }
    OWN.with(Cell::get)
}

/// The counters of a rule at one moment.
///
/// `matched = passed + failed` when the rule does not run; `actions_total = actions_success + actions_failed +
/// actions_discarded` when nothing waits or is in flight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleMetrics {
    /// Runs started.
    pub matched: u64,
    /// Runs with at least one row.
    pub passed: u64,
    /// Runs that ended with an error.
    pub failed_exception: u64,
    /// Runs without a row.
    pub failed_no_result: u64,
    /// Rows times actions.
    pub actions_total: u64,
    /// Of these, confirmed.
    pub actions_success: u64,
    /// Of these, dropped, expired or answered too late.
    pub actions_failed_out_of_service: u64,
    /// Of these, rejected.
    pub actions_failed_unknown: u64,
    /// Of these, not tried because the action is disabled or does not exist.
    pub actions_discarded: u64,
    /// `matched` for each second of the last five.
    pub rate: f64,
    /// The highest `rate`.
    pub rate_max: f64,
    /// `matched` for each second of the last five minutes.
    pub rate_last5m: f64,
}

impl RuleMetrics {
    /// Runs without a row, for whatever reason.
    pub fn failed(&self) -> u64 {
        self.failed_exception + self.failed_no_result
    }

    /// Action executions that failed, for whatever reason.
    pub fn actions_failed(&self) -> u64 {
        self.actions_failed_out_of_service + self.actions_failed_unknown
    }

    /// Tells whether every run and every action execution has ended in exactly one way.
    pub fn is_settled(&self) -> bool {
        self.matched == self.passed + self.failed()
            && self.actions_total == self.actions_success + self.actions_failed() + self.actions_discarded
    }

    pub(crate) fn of(counters: &RuleCounters) -> Self {
        Self {
            matched: counters.get(RuleCounter::Matched),
            passed: counters.get(RuleCounter::Passed),
            failed_exception: counters.get(RuleCounter::FailedException),
            failed_no_result: counters.get(RuleCounter::FailedNoResult),
            actions_total: counters.get(RuleCounter::ActionsTotal),
            actions_success: counters.get(RuleCounter::ActionsSuccess),
            actions_failed_out_of_service: counters.get(RuleCounter::ActionsOutOfService),
            actions_failed_unknown: counters.get(RuleCounter::ActionsUnknown),
            actions_discarded: counters.get(RuleCounter::ActionsDiscarded),
            ..Self::default()
        }
    }

    /// The metrics by the names of the interface.
    pub fn to_json(&self) -> Json {
        json!({
            "matched": self.matched,
            "matched.rate": self.rate,
            "matched.rate.max": self.rate_max,
            "matched.rate.last5m": self.rate_last5m,
            "passed": self.passed,
            "failed": self.failed(),
            "failed.exception": self.failed_exception,
            "failed.no_result": self.failed_no_result,
            "actions.total": self.actions_total,
            "actions.success": self.actions_success,
            "actions.failed": self.actions_failed(),
            "actions.failed.out_of_service": self.actions_failed_out_of_service,
            "actions.failed.unknown": self.actions_failed_unknown,
            "actions.discarded": self.actions_discarded,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed() {
        let counters = Arc::new(RuleCounters::default());
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let counters = Arc::clone(&counters);
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        counters.add(RuleCounter::Matched, 1);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(counters.get(RuleCounter::Matched), 2000);
        counters.reset();
        assert_eq!(RuleMetrics::of(&counters), RuleMetrics::default());
    }
}
