//! Counters of an action.
//!
//! Each lane counts under its own lock, in the same step in which it moves a row, so a snapshot of a lane always
//! adds up, and so does the sum over the lanes.

use serde_json::{Value as Json, json};

/// What became of the rows of one lane. Gauges are part of the lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneCounters {
    pub(crate) matched: u64,
    pub(crate) success: u64,
    pub(crate) failed: u64,
    pub(crate) dropped_queue_full: u64,
    pub(crate) dropped_expired: u64,
    pub(crate) dropped_resource_stopped: u64,
    pub(crate) dropped_resource_not_found: u64,
    pub(crate) dropped_other: u64,
    pub(crate) late_reply: u64,
    pub(crate) retried: u64,
    pub(crate) retried_success: u64,
    pub(crate) retried_failed: u64,
}

impl LaneCounters {
    pub(crate) fn add(&mut self, other: &Self) {
        self.matched += other.matched;
        self.success += other.success;
        self.failed += other.failed;
        self.dropped_queue_full += other.dropped_queue_full;
        self.dropped_expired += other.dropped_expired;
        self.dropped_resource_stopped += other.dropped_resource_stopped;
        self.dropped_resource_not_found += other.dropped_resource_not_found;
        self.dropped_other += other.dropped_other;
        self.late_reply += other.late_reply;
        self.retried += other.retried;
        self.retried_success += other.retried_success;
        self.retried_failed += other.retried_failed;
    }
}

/// The counters and gauges of an action at one moment.
///
/// `matched = success + failed + dropped + late_reply + queuing + inflight` at every moment, until a reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionMetrics {
    /// Rows handed to the action, before any drop.
    pub matched: u64,
    /// Rows that the target confirmed.
    pub success: u64,
    /// Rows that the target rejected, or that ran out of attempts.
    pub failed: u64,
    /// Rows that gave way in a full queue.
    pub dropped_queue_full: u64,
    /// Rows whose time to live ran out before they were answered for.
    pub dropped_expired: u64,
    /// Rows that came while the action was stopped or its target unhealthy, or that were queued when it was disabled.
    pub dropped_resource_stopped: u64,
    /// Rows whose connector or action had gone.
    pub dropped_resource_not_found: u64,
    /// Rows dropped for another reason.
    pub dropped_other: u64,
    /// Rows whose answer came after they had expired.
    pub late_reply: u64,
    /// Rows that needed more than one attempt.
    pub retried: u64,
    /// Of these, confirmed.
    pub retried_success: u64,
    /// Of these, failed.
    pub retried_failed: u64,
    /// Rows waiting.
    pub queuing: u64,
    /// Bytes waiting.
    pub queuing_bytes: u64,
    /// Rows sent and not answered.
    pub inflight: u64,
    /// `matched` for each second of the last five.
    pub rate: f64,
    /// The highest `rate`.
    pub rate_max: f64,
    /// `matched` for each second of the last five minutes.
    pub rate_last5m: f64,
    /// Age of the oldest row that is waiting or in flight, in milliseconds.
    pub oldest_row_age_ms: Option<u64>,
    /// The last reason for a retry, a rejection or a drop, without secrets.
    pub last_error: Option<String>,
}

impl ActionMetrics {
    /// Rows dropped for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped_queue_full
            + self.dropped_expired
            + self.dropped_resource_stopped
            + self.dropped_resource_not_found
            + self.dropped_other
    }

    /// What `matched` has to be.
    pub fn accounted_for(&self) -> u64 {
        self.success + self.failed + self.dropped() + self.late_reply + self.queuing + self.inflight
    }

    /// Tells whether every row is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.matched == self.accounted_for()
    }

    /// Tells whether no row is waiting or in flight.
    pub fn is_idle(&self) -> bool {
        self.queuing == 0 && self.inflight == 0
    }

    pub(crate) fn set_counters(&mut self, counters: &LaneCounters) {
        self.matched = counters.matched;
        self.success = counters.success;
        self.failed = counters.failed;
        self.dropped_queue_full = counters.dropped_queue_full;
        self.dropped_expired = counters.dropped_expired;
        self.dropped_resource_stopped = counters.dropped_resource_stopped;
        self.dropped_resource_not_found = counters.dropped_resource_not_found;
        self.dropped_other = counters.dropped_other;
        self.late_reply = counters.late_reply;
        self.retried = counters.retried;
        self.retried_success = counters.retried_success;
        self.retried_failed = counters.retried_failed;
    }

    /// The metrics by the names of the interface.
    pub fn to_json(&self) -> Json {
        json!({
            "matched": self.matched,
            "success": self.success,
            "failed": self.failed,
            "dropped": self.dropped(),
            "dropped.queue_full": self.dropped_queue_full,
            "dropped.expired": self.dropped_expired,
            "dropped.resource_not_found": self.dropped_resource_not_found,
            "dropped.resource_stopped": self.dropped_resource_stopped,
            "dropped.other": self.dropped_other,
            "late_reply": self.late_reply,
            "retried": self.retried,
            "retried.success": self.retried_success,
            "retried.failed": self.retried_failed,
            "queuing": self.queuing,
            "queuing_bytes": self.queuing_bytes,
            "inflight": self.inflight,
            "received": 0,
            "rate": self.rate,
            "rate_max": self.rate_max,
            "rate_last5m": self.rate_last5m,
        })
    }
}
