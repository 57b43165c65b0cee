//! Which waiting rows go into the next batch, so that rows of one key stay in order.
//!
//! Pure: knows the queue's rows, the time it is told, and nothing of tasks or targets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use tokio::time::Instant;

use crate::queue::{Queue, QueuedRow, Sequence};

/// How many rows a batch may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchLimits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Rows leased for one request, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) rows: Vec<(Sequence, QueuedRow)>,
    /// Rows found to have expired, leased too.
    pub(super) expired: Vec<(Sequence, QueuedRow)>,
}

/// Order of sending. A key is held while one of its rows is in flight (when several requests of a lane may overtake
/// each other) or pauses before its next attempt; rows of a held key park behind it, other keys go on.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Rows from here on were never looked at.
    fresh: Sequence,
    /// Rows before `fresh` that may go, to be looked at first; each with the rows of its key that follow it. These
    /// move up one by one, so a long backlog of one key costs the same for each row as a short one.
    again: BTreeMap<Sequence, VecDeque<Sequence>>,
    held: HashMap<u64, HeldKey, foldhash::fast::RandomState>,
    /// Ends of pauses: of a key, or of a row without one.
    pauses: BinaryHeap<Reverse<(Instant, Paused)>>,
    batches: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Paused {
    Key(u64),
    Row(Sequence),
}

#[derive(Debug, Default)]
struct HeldKey {
    /// The batch that last took rows of the key.
    batch: u64,
    in_flight: usize,
    paused_until: Option<Instant>,
    /// In order.
    parked: VecDeque<Sequence>,
}

impl Schedule {
    /// Leases the rows of the next batch. With `exclusive`, a key with a row in flight is held.
    pub(super) fn pick(
        &mut self,
        queue: &mut dyn Queue,
        now: Instant,
        limits: BatchLimits,
        exclusive: bool,
    ) -> Picked {
        self.batches += 1;
        self.end_pauses(now);
        let mut picked = Picked::default();
        let mut bytes = 0;
        while picked.rows.len() < limits.rows {
            let Some((at, row)) = self.next_candidate(queue) else { break };
            let (key, size, alone) = (row.tag.key_hash, row.tag.bytes as usize, row.tag.alone);
            if row.is_expired(now) {
                self.pass(at);
                picked.expired.extend(queue.lease(at).map(|row| (at, row)));
                continue;
            }
            if self.park(key, at) {
                self.pass(at);
                continue;
            }
            let full = bytes + size > limits.bytes || alone;
            if full && !picked.rows.is_empty() {
                break;
            }
            self.pass(at);
            if key != 0 && exclusive {
                let held = self.held.entry(key).or_default();
                held.batch = self.batches;
                held.in_flight += 1;
            }
            picked.rows.extend(queue.lease(at).map(|row| (at, row)));
            bytes += size;
            if alone {
                break;
            }
        }
        picked
    }

    /// Notes that a row of the key ended.
    pub(super) fn ended(&mut self, key: u64) {
        if key == 0 || self.held.is_empty() {
            return;
        }
        if let Some(held) = self.held.get_mut(&key) {
            held.in_flight = held.in_flight.saturating_sub(1);
            self.release_if_free(key);
        }
    }

    /// Notes that a row was put back into the queue, to be sent again at `until` at the earliest. Rows of its key
    /// wait behind it.
    pub(super) fn retry(&mut self, at: Sequence, key: u64, until: Instant) {
        if key == 0 {
            self.pauses.push(Reverse((until, Paused::Row(at))));
            return;
        }
        let held = self.held.entry(key).or_default();
        held.in_flight = held.in_flight.saturating_sub(1);
        insert_sorted(&mut held.parked, at);
        if held.paused_until.is_none_or(|before| before < until) {
            held.paused_until = Some(until);
            self.pauses.push(Reverse((until, Paused::Key(key))));
        }
    }

    /// Ends every pause: the target is back.
    pub(super) fn end_all_pauses(&mut self) {
        for Reverse((_, paused)) in std::mem::take(&mut self.pauses) {
            match paused {
                Paused::Row(at) => {
                    self.again.insert(at, VecDeque::new());
                }
                Paused::Key(key) => {
                    if let Some(held) = self.held.get_mut(&key) {
                        held.paused_until = None;
                        self.release_if_free(key);
                    }
                }
            }
        }
    }

    /// When the next pause ends.
    pub(super) fn next_pause_end(&self) -> Option<Instant> {
        self.pauses.peek().map(|Reverse((until, _))| *until)
    }

    /// The first row that may go, whatever batch it fits.
    pub(super) fn first_ready<'q>(
        &mut self,
        queue: &'q mut dyn Queue,
        now: Instant,
    ) -> Option<&'q QueuedRow> {
        self.end_pauses(now);
        // no batch is being picked: rows of the last one hold their keys
        self.batches += 1;
        loop {
            let (at, key) = {
                let (at, row) = self.next_candidate(queue)?;
                (at, row.tag.key_hash)
            };
            if !self.park(key, at) {
                return queue.peek(at).map(|(_, row)| row);
            }
            self.pass(at);
        }
    }

    fn next_candidate<'q>(&mut self, queue: &'q mut dyn Queue) -> Option<(Sequence, &'q QueuedRow)> {
        while let Some(at) = self.again.keys().next().copied() {
            // dropped meanwhile: nothing waits there
            if queue.peek(at).is_some_and(|(found, _)| found == at) {
                return queue.peek(at);
            }
            self.move_up(at);
        }
        queue.peek(self.fresh)
    }

    /// Moves on behind a candidate.
    fn pass(&mut self, at: Sequence) {
        if at >= self.fresh {
            self.fresh = at.next();
        } else {
            self.move_up(at);
        }
    }

    /// Takes a row out of those that may go; the next row of its key takes its place.
    fn move_up(&mut self, at: Sequence) {
        if let Some(mut rest) = self.again.remove(&at)
            && let Some(next) = rest.pop_front()
        {
            self.again.insert(next, rest);
        }
    }

    /// Parks a row behind its key if that is held by another batch or a pause.
    fn park(&mut self, key: u64, at: Sequence) -> bool {
        if key == 0 || self.held.is_empty() {
            return false;
        }
        let Some(held) = self.held.get_mut(&key) else { return false };
        if held.paused_until.is_none() && (held.in_flight == 0 || held.batch == self.batches) {
            return false;
        }
        if let Some(followers) = self.again.get_mut(&at) {
            let mut followers = std::mem::take(followers);
            if held.parked.len() < followers.len() {
                std::mem::swap(&mut held.parked, &mut followers);
            }
            followers.into_iter().for_each(|follower| insert_sorted(&mut held.parked, follower));
        }
        insert_sorted(&mut held.parked, at);
        true
    }

    fn end_pauses(&mut self, now: Instant) {
        while let Some(Reverse((until, paused))) = self.pauses.peek().copied() {
            if until > now {
                return;
            }
            self.pauses.pop();
            match paused {
                Paused::Row(at) => {
                    self.again.insert(at, VecDeque::new());
                }
                Paused::Key(key) => {
                    if let Some(held) = self.held.get_mut(&key)
                        && held.paused_until.is_some_and(|until| until <= now)
                    {
                        held.paused_until = None;
                        self.release_if_free(key);
                    }
                }
            }
        }
    }

    fn release_if_free(&mut self, key: u64) {
        let free = |held: &HeldKey| held.in_flight == 0 && held.paused_until.is_none();
        if self.held.get(&key).is_some_and(free)
            && let Some(mut held) = self.held.remove(&key)
            && let Some(first) = held.parked.pop_front()
        {
            self.again.insert(first, held.parked);
        }
    }
}

/// Inserts near one of the ends, where nearly every row belongs.
fn insert_sorted(rows: &mut VecDeque<Sequence>, at: Sequence) {
    if rows.back().is_none_or(|last| *last < at) {
        rows.push_back(at);
    } else {
        let place = rows.partition_point(|row| *row < at);
        rows.insert(place, at);
    }
}
