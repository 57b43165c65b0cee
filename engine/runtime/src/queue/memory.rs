//! The queue in memory.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{Queue, QueuedRow, Sequence};

/// Slots that are gone are cut out when there are more of them than this and than half of all.
const GONE_MAX: usize = 64;

/// A queue in memory. Rows move in and out without a copy; slots between live rows are cut out in bulk, so one row
/// that stays for long does not keep the memory of those behind it.
#[derive(Debug, Default)]
pub(crate) struct MemoryQueue {
    /// Sorted by sequence.
    slots: VecDeque<Slot>,
    next: Sequence,
    /// No row before this one waits.
    waiting_from: Sequence,
    waiting: usize,
    waiting_bytes: u64,
    leased: usize,
}

#[derive(Debug)]
struct Slot {
    sequence: Sequence,
    state: State,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every slot holds a row; a box would cost an allocation for each"
)]
enum State {
    Waiting(QueuedRow),
    /// The row came at that time.
    Leased(Instant),
    Gone,
}

impl MemoryQueue {
    /// Index of the first slot at or behind `sequence`.
    fn index_from(&self, sequence: Sequence) -> usize {
        let Some(first) = self.slots.front() else { return 0 };
        let guess = sequence.0.saturating_sub(first.sequence.0) as usize;
        // exact while nothing was cut out
        match self.slots.get(guess) {
            Some(slot) if slot.sequence == sequence => guess,
            _ => self.slots.partition_point(|slot| slot.sequence < sequence),
        }
    }

    fn slot_at(&mut self, sequence: Sequence) -> Option<&mut Slot> {
        let index = self.index_from(sequence);
        self.slots.get_mut(index).filter(|slot| slot.sequence == sequence)
    }

    fn cut(&mut self) {
        while self.slots.front().is_some_and(|slot| matches!(slot.state, State::Gone)) {
            self.slots.pop_front();
        }
        let gone = self.slots.len() - self.waiting - self.leased;
        if gone > GONE_MAX && gone > self.slots.len() / 2 {
            self.slots.retain(|slot| !matches!(slot.state, State::Gone));
        }
        if self.slots.is_empty() && self.slots.capacity() > 4096 {
            self.slots = VecDeque::new();
        }
    }
}

impl Queue for MemoryQueue {
    fn push(&mut self, row: QueuedRow) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        self.waiting += 1;
        self.waiting_bytes += row.tag.bytes;
        self.slots.push_back(Slot { sequence, state: State::Waiting(row) });
        sequence
    }

    fn peek(&mut self, from: Sequence) -> Option<(Sequence, &QueuedRow)> {
        if self.waiting == 0 {
            return None;
        }
        let start = from.max(self.waiting_from);
        let index = self.index_from(start);
        let offset = self.slots.range(index..).position(|slot| matches!(slot.state, State::Waiting(_)))?;
        let slot = &self.slots[index + offset];
        if from <= self.waiting_from {
            self.waiting_from = slot.sequence;
        }
        match &slot.state {
            State::Waiting(row) => Some((slot.sequence, row)),
            State::Leased(_) | State::Gone => None,
        }
    }

    fn lease(&mut self, at: Sequence) -> Option<QueuedRow> {
        let slot = self.slot_at(at).filter(|slot| matches!(slot.state, State::Waiting(_)))?;
        let State::Waiting(row) = std::mem::replace(&mut slot.state, State::Gone) else { return None };
        slot.state = State::Leased(row.tag.enqueued);
        self.waiting -= 1;
        self.waiting_bytes -= row.tag.bytes;
        self.leased += 1;
        Some(row)
    }

    fn restore(&mut self, at: Sequence, row: QueuedRow) {
        let bytes = row.tag.bytes;
        let slot = self.slot_at(at).expect("a leased row keeps its slot until it is settled");
        debug_assert!(matches!(slot.state, State::Leased(_)));
        slot.state = State::Waiting(row);
        self.leased -= 1;
        self.waiting += 1;
        self.waiting_bytes += bytes;
        self.waiting_from = self.waiting_from.min(at);
    }

    fn settle(&mut self, at: Sequence) {
        let slot = self.slot_at(at).expect("a leased row keeps its slot until it is settled");
        debug_assert!(matches!(slot.state, State::Leased(_)));
        slot.state = State::Gone;
        self.leased -= 1;
        self.cut();
    }

    fn waiting(&self) -> usize {
        self.waiting
    }

    fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    fn leased(&self) -> usize {
        self.leased
    }

    fn oldest(&self) -> Option<Instant> {
        // the first slot is never gone: settling cuts those
        self.slots.front().and_then(|slot| match &slot.state {
            State::Waiting(row) => Some(row.tag.enqueued),
            State::Leased(since) => Some(*since),
            State::Gone => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use connectors_api::Delivery;
    use engine_event::{Row, Text};
    use proptest::prelude::*;

    use super::super::{Obligation, RowTag};
    use super::*;

    fn row(number: u32, bytes: u64) -> QueuedRow {
        QueuedRow {
            delivery: Delivery {
                row: Row::new(),
                delivery_id: Text::default(),
                rule_id: Arc::from("r"),
                key: None,
                attempts: 0,
            },
            tag: RowTag {
                key_hash: 0,
                bytes,
                enqueued: Instant::now(),
                deadline: None,
                origin: 0,
                index: number,
                id_seed: 0,
                hops: 0,
                alone: false,
                credit: None,
                obligation: Obligation::default(),
                error: None,
            },
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        LeaseFirst,
        LeaseNth(usize),
        Restore(usize),
        Settle(usize),
        Peek(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1_u64..100).prop_map(Step::Push),
            2 => Just(Step::LeaseFirst),
            2 => (0_usize..200).prop_map(Step::LeaseNth),
            1 => (0_usize..200).prop_map(Step::Restore),
            3 => (0_usize..200).prop_map(Step::Settle),
            1 => (0_usize..400).prop_map(Step::Peek),
        ]
    }

    /// What the queue should be: rows by sequence, each waiting or leased.
    #[derive(Default)]
    struct Model {
        waiting: BTreeMap<Sequence, (u32, u64)>,
        leased: BTreeMap<Sequence, QueuedRow>,
        pushed: u32,
    }

    fn nth<T>(map: &BTreeMap<Sequence, T>, n: usize) -> Option<Sequence> {
        (!map.is_empty()).then(|| *map.keys().nth(n % map.len()).unwrap())
    }

    fn apply(queue: &mut dyn Queue, model: &mut Model, step: &Step) {
        let lease = |queue: &mut dyn Queue, model: &mut Model, at: Sequence| {
            let row = queue.lease(at).expect("waiting in the model");
            let (number, _) = model.waiting.remove(&at).unwrap();
            assert_eq!(row.tag.index, number);
            model.leased.insert(at, row);
        };
        match step {
            Step::Push(bytes) => {
                let at = queue.push(row(model.pushed, *bytes));
                model.waiting.insert(at, (model.pushed, *bytes));
                model.pushed += 1;
            }
            Step::LeaseFirst => {
                let first = queue.peek(Sequence::default()).map(|(at, _)| at);
                assert_eq!(first, model.waiting.keys().next().copied());
                if let Some(at) = first {
                    lease(queue, model, at);
                }
            }
            Step::LeaseNth(n) => {
                if let Some(at) = nth(&model.waiting, *n) {
                    lease(queue, model, at);
                }
            }
            Step::Restore(n) => {
                if let Some(at) = nth(&model.leased, *n) {
                    let row = model.leased.remove(&at).unwrap();
                    model.waiting.insert(at, (row.tag.index, row.tag.bytes));
                    queue.restore(at, row);
                }
            }
            Step::Settle(n) => {
                if let Some(at) = nth(&model.leased, *n) {
                    model.leased.remove(&at);
                    queue.settle(at);
                    assert!(queue.lease(at).is_none());
                }
            }
            Step::Peek(n) => {
                let from = Sequence(*n as u64);
                let found = queue.peek(from).map(|(at, row)| (at, row.tag.index));
                let want = model.waiting.range(from..).next().map(|(at, (number, _))| (*at, *number));
                assert_eq!(found, want);
            }
        }
    }

    fn check_against_model(queue: &mut dyn Queue, steps: &[Step]) {
        let mut model = Model::default();
        for step in steps {
            apply(queue, &mut model, step);
            assert_eq!(queue.waiting(), model.waiting.len());
            assert_eq!(queue.leased(), model.leased.len());
            assert_eq!(queue.oldest().is_some(), queue.waiting() + queue.leased() > 0);
            assert_eq!(queue.waiting_bytes(), model.waiting.values().map(|(_, bytes)| bytes).sum::<u64>());
        }
    }

    proptest! {
        #[test]
        fn memory_queue_behaves_like_the_model(steps in prop::collection::vec(any_step(), 0..400)) {
            check_against_model(&mut MemoryQueue::default(), &steps);
        }
    }

    #[test]
    fn one_row_that_stays_does_not_keep_the_slots_behind_it() {
        let mut queue = MemoryQueue::default();
        queue.push(row(0, 1));
        for number in 1..10_000 {
            let at = queue.push(row(number, 1));
            queue.lease(at);
            queue.settle(at);
        }
        assert!(queue.slots.len() < 200, "{}", queue.slots.len());
        assert_eq!(queue.peek(Sequence::default()).unwrap().0, Sequence(0));
    }
}
