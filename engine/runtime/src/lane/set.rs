//! The lanes of an action.

use super::state::{Lane, LaneSnapshot};
use crate::metrics::LaneCounters;

/// The lanes of an action; replaced as a whole when their number changes.
#[derive(Debug)]
pub(crate) struct LaneSet(Box<[Lane]>);

impl LaneSet {
    /// Makes `lanes` empty lanes, without tasks.
    pub(crate) fn new(lanes: u16) -> Self {
        Self((0..lanes.max(1)).map(|_| Lane::default()).collect())
    }

    pub(crate) fn lane(&self, index: usize) -> &Lane {
        &self.0[index]
    }

    pub(crate) fn lanes(&self) -> &[Lane] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Picks the lane for a key. All rows of one key go to the same lane, so a slow target can delay them but not
    /// reorder them.
    pub(crate) fn index_for(&self, key_hash: u64) -> usize {
        // the high bits of the product are as good as the hash
        ((u128::from(key_hash) * self.0.len() as u128) >> 64) as usize
    }

    /// Sum over the lanes; none when the set was replaced meanwhile.
    pub(crate) fn snapshot(&self) -> Option<LaneSnapshot> {
        let mut sum = LaneSnapshot::default();
        let mut counters = LaneCounters::default();
        for lane in &self.0 {
            let part = lane.snapshot()?;
            counters.add(&part.counters);
            sum.queuing += part.queuing;
            sum.queuing_bytes += part.queuing_bytes;
            sum.inflight += part.inflight;
            sum.oldest = match (sum.oldest, part.oldest) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            sum.last_error = part.last_error.or(sum.last_error);
        }
        sum.counters = counters;
        Some(sum)
    }
}
