//! How rows get into the lanes of an action.

use std::sync::Arc;

use connectors_api::Delivery;
use engine_event::{Completion, Missing, Row, Text};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::ActionRuntime;
use crate::lane::{LaneSet, PushLimits, Pushed, run_worker};
use crate::metrics::RuleCounters;
use crate::object::resource_opts::{ActionOptions, DispatchStrategy, Overflow};
use crate::queue::{Obligation, QueuedRow, RowTag};

/// What the rows of one event have in common.
pub(crate) struct RowOrigin<'a> {
    pub(crate) rule_id: &'a Arc<str>,
    /// Counters of the rule; none for a fallback.
    pub(crate) credit: Option<&'a Arc<RuleCounters>>,
    /// The client.
    pub(crate) key: Option<&'a Text>,
    /// Hash of the key, 0 without one.
    pub(crate) key_hash: u64,
    /// The message id, or a hash of the event.
    pub(crate) origin: u128,
    /// Number of the first row.
    pub(crate) first_index: u32,
    /// See [`id_seed`].
    pub(crate) id_seed: u64,
    pub(crate) hops: u8,
    pub(crate) completion: Option<&'a Completion>,
}

/// A hash of the ids of a rule and an action, for a fallback also of the action that failed before it. The same in
/// every process and version (FNV-1a, the ids with a zero between them).
pub(crate) fn id_seed<const IDS: usize>(ids: [&str; IDS]) -> u64 {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for (index, id) in ids.into_iter().enumerate() {
        for byte in (index > 0).then_some(0).into_iter().chain(id.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    hash
}

impl ActionRuntime {
    /// Takes the rows of one event into the lanes, without waiting. Every row is accounted for.
    pub(crate) fn offer(self: &Arc<Self>, rows: &[Row], origin: &RowOrigin<'_>, now: Instant) {
        let options = self.peek_options();
        if let (None, DispatchStrategy::PerClientid) = (&options.order_by, options.dispatch) {
            let queued = rows.iter().zip(origin.first_index..);
            let mut queued: SmallVec<[QueuedRow; 1]> = queued
                .map(|(row, index)| {
                    queued_row(row, index, origin, origin.key.cloned(), origin.key_hash, &options, now)
                })
                .collect();
            return self.push(&mut queued, origin.key_hash, &options, now);
        }
        for (row, index) in rows.iter().zip(origin.first_index..) {
            let key =
                options.order_by.as_ref().map(|order_by| Text::from(order_by.render(row, Missing::Empty)));
            let key = key.filter(|key| !key.is_empty());
            let key_hash = key.as_ref().map_or(0, |key| self.services().key_hash(key));
            let mut queued =
                SmallVec::from_iter([queued_row(row, index, origin, key, key_hash, &options, now)]);
            self.push(&mut queued, key_hash, &options, now);
        }
    }

    fn push(
        self: &Arc<Self>,
        rows: &mut SmallVec<[QueuedRow; 1]>,
        key_hash: u64,
        options: &ActionOptions,
        now: Instant,
    ) {
        let turn = if key_hash == 0 { self.next_turn() } else { 0 };
        loop {
            let set = self.peek_lanes();
            let index = if key_hash == 0 { turn % set.len() } else { set.index_for(key_hash) };
            if let Some(reason) = self.stop_reason() {
                match set.lane(index).refuse(rows, reason) {
                    Some(ended) => return self.finish(ended, now),
                    None => {
                        wait_for_new_lanes();
                        continue;
                    }
                }
            }
            // a fallback makes no room for itself: what gives way would come back as more fallback rows
            let is_fallback = rows.first().is_some_and(|row| row.tag.credit.is_none());
            let limits = PushLimits {
                lane_bytes: options.lane_bytes_limit,
                overflow: if is_fallback { Overflow::DropNewest } else { options.overflow },
                room: self.memory().room().min(self.services().memory.room()),
            };
            let most: u64 = rows.iter().map(|row| row.tag.bytes).sum();
            self.take_memory(most);
            match set.lane(index).push(rows, limits) {
                Pushed::Closed => {
                    self.give_back_memory(most);
                    wait_for_new_lanes();
                }
                Pushed::Taken { ended, bytes, start_worker } => {
                    self.give_back_memory(most - bytes);
                    if start_worker {
                        self.start_worker(&set, index);
                    }
                    self.finish(ended, now);
                    if !is_fallback {
                        self.relieve(now);
                    }
                    return;
                }
            }
        }
    }

    /// Starts the task of a lane that was claimed.
    pub(super) fn start_worker(self: &Arc<Self>, set: &Arc<LaneSet>, index: usize) {
        self.services().spawn(run_worker(Arc::clone(self), Arc::clone(set), index));
    }

    /// Drops the oldest rows while the action or the server is over its limit.
    pub(super) fn relieve(self: &Arc<Self>, now: Instant) {
        loop {
            let excess = self.memory().excess();
            if excess == 0 || !self.drop_oldest(excess, now) {
                break;
            }
        }
        self.services().relieve(now);
    }

    /// Drops rows of the lane with the oldest one; false when no row waits.
    pub(crate) fn drop_oldest(self: &Arc<Self>, bytes: u64, now: Instant) -> bool {
        let set = self.peek_lanes();
        let oldest = set.lanes().iter().filter_map(|lane| Some((lane.oldest_waiting()?, lane)));
        let Some((_, lane)) = oldest.min_by_key(|(since, _)| *since) else { return false };
        let ended = lane.give_way(bytes);
        let some = !ended.is_empty();
        self.finish(ended, now);
        some
    }

    /// When the oldest waiting row came.
    pub(crate) fn oldest_waiting(&self) -> Option<Instant> {
        self.peek_lanes().lanes().iter().filter_map(crate::lane::Lane::oldest_waiting).min()
    }
}

/// The lanes are being replaced, which takes the thread that does it only moments: lets it go on.
fn wait_for_new_lanes() {
    std::thread::yield_now();
}

fn queued_row(
    row: &Row,
    index: u32,
    origin: &RowOrigin<'_>,
    key: Option<Text>,
    key_hash: u64,
    options: &ActionOptions,
    now: Instant,
) -> QueuedRow {
    let key_bytes = key.as_ref().map_or(0, Text::len);
    QueuedRow {
        tag: RowTag {
            key_hash,
            bytes: (size_of::<QueuedRow>() + key_bytes + row.size_bytes()) as u64,
            enqueued: now,
            deadline: options.request_ttl.and_then(|ttl| now.checked_add(ttl)),
            origin: origin.origin,
            index,
            id_seed: origin.id_seed,
            hops: origin.hops,
            alone: false,
            credit: origin.credit.map(Arc::clone),
            obligation: Obligation::new(origin.completion.cloned()),
            error: None,
        },
        delivery: Delivery {
            row: row.clone(),
            delivery_id: Text::default(),
            rule_id: Arc::clone(origin.rule_id),
            key,
            attempts: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_the_same_for_ever_and_tell_ids_apart() {
        assert_eq!(id_seed(["r", "http:a"]), 0x25E7_39DC_732B_F9DA);
        assert_ne!(id_seed(["r", "a"]), id_seed(["ra", ""]));
        assert_ne!(id_seed(["r", "a", "b"]), id_seed(["r", "b", "a"]));
        assert_ne!(id_seed(["r", "a", "b"]), id_seed(["r", "b"]));
    }
}
