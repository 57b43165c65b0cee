//! The messages that wait in a session: in which order they go out, and which give way when they are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Queued;
use super::priorities::{Priorities, Priority};
use crate::config::{BrokerConfig, QueueOverflow};

/// The messages that wait in a session.
///
/// Without priorities they are one line. With them there is a line for each priority: the highest goes first, and
/// each has a share of messages after which lower ones have their turn, so that none waits for ever.
#[derive(Debug)]
pub(crate) struct MessageQueue {
    /// All of them where there are no priorities, else none.
    plain: VecDeque<Queued>,
    bytes: usize,
    limits: QueueLimits,
    lanes: Option<Box<Lanes>>,
}

/// How many messages may wait, and what happens to others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Messages of one priority.
    pub(crate) max_len: usize,
    /// Bytes of all messages, as [`Queued::cost`] counts them.
    pub(crate) max_bytes: usize,
    pub(crate) overflow: QueueOverflow,
    /// Whether QoS 0 messages wait.
    pub(crate) store_qos0: bool,
    /// Whether they wait while the client is away.
    pub(crate) offline_qos0: bool,
}

/// What a session's queue is made with.
#[derive(Debug, Clone)]
pub(crate) struct QueueSettings {
    limits: QueueLimits,
    priorities: Option<Arc<Priorities>>,
}

impl QueueSettings {
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        let or_none = |limit| if limit == 0 { usize::MAX } else { limit };
        Self {
            limits: QueueLimits {
                max_len: or_none(config.max_queue_len),
                max_bytes: or_none(config.max_queue_bytes),
                overflow: config.queue_overflow,
                store_qos0: config.store_qos0,
                offline_qos0: config.offline_qos0,
            },
            priorities: Priorities::new(&config.queue_priorities, config.queue_default_priority)
                .map(Arc::new),
        }
    }
}

/// So many messages may be between a publisher's thread and the next flush without counting as waiting.
const ON_ITS_WAY_LEN: usize = 16 * 1024;

impl QueueLimits {
    /// Says whether QoS 0 messages wait for a client that is away.
    pub(crate) const fn keeps_qos0_offline(&self) -> bool {
        self.store_qos0 && self.offline_qos0
    }

    /// The most messages of one priority; of a connection that takes what it is sent, some are on their way.
    #[inline]
    const fn max_len(&self, on_its_way: bool) -> usize {
        if on_its_way { self.max_len.saturating_add(ON_ITS_WAY_LEN) } else { self.max_len }
    }
}

impl MessageQueue {
    pub(crate) fn new(settings: &QueueSettings) -> Self {
        Self {
            plain: VecDeque::new(),
            bytes: 0,
            limits: settings.limits,
            lanes: settings.priorities.as_ref().map(|priorities| Box::new(Lanes::new(priorities))),
        }
    }

    /// Has the limits and priorities of `settings` hold from now on. What waits stays, whatever the limits.
    pub(crate) fn set_settings(&mut self, settings: &QueueSettings) {
        let same = match (&self.lanes, &settings.priorities) {
            (None, None) => true,
            (Some(lanes), Some(priorities)) => Arc::ptr_eq(&lanes.priorities, priorities),
            _ => false,
        };
        if same {
            self.limits = settings.limits;
            return;
        }
        let waiting = self.take_all();
        *self = Self::new(settings);
        waiting.into_iter().for_each(|queued| self.force(queued));
    }

    #[inline]
    pub(crate) fn limits(&self) -> &QueueLimits {
        &self.limits
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.lanes {
            None => self.plain.len(),
            Some(lanes) => lanes.len,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what waits, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says whether a message would find room without another giving way.
    pub(crate) fn has_room(&self, queued: &Queued, on_its_way: bool) -> bool {
        let len = match &self.lanes {
            None => self.plain.len(),
            Some(lanes) => lanes.len_beside(queued),
        };
        self.has_room_beside(len, queued, on_its_way)
    }

    #[inline]
    fn has_room_beside(&self, len: usize, queued: &Queued, on_its_way: bool) -> bool {
        let fits = self.bytes + queued.cost() <= self.limits.max_bytes || self.is_empty();
        fits && len < self.limits.max_len(on_its_way)
    }

    /// Puts a message behind those of its priority, or gives it back when there is no room.
    ///
    /// One that is larger than all may be together finds room where nothing waits.
    #[inline]
    pub(crate) fn push(&mut self, queued: Queued, on_its_way: bool) -> Result<(), Queued> {
        if self.lanes.is_some() {
            return self.push_by_priority(queued, on_its_way);
        }
        if !self.has_room_beside(self.plain.len(), &queued, on_its_way) {
            return Err(queued);
        }
        self.bytes += queued.cost();
        self.plain.push_back(queued);
        Ok(())
    }

    #[cold]
    fn push_by_priority(&mut self, queued: Queued, on_its_way: bool) -> Result<(), Queued> {
        if !self.has_room(&queued, on_its_way) {
            return Err(queued);
        }
        self.force(queued);
        Ok(())
    }

    /// Puts a message behind those of its priority, whatever the limits.
    pub(crate) fn force(&mut self, queued: Queued) {
        self.bytes += queued.cost();
        match &mut self.lanes {
            None => self.plain.push_back(queued),
            Some(lanes) => lanes.push(queued),
        }
    }

    /// Returns the message that goes out next.
    #[inline]
    pub(crate) fn front(&self) -> Option<&Queued> {
        match &self.lanes {
            None => self.plain.front(),
            Some(lanes) => lanes.front(),
        }
    }

    /// Takes the message that goes out next.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let queued = match &mut self.lanes {
            None => self.plain.pop_front(),
            Some(lanes) => lanes.pop(),
        }?;
        self.bytes -= queued.cost();
        Some(queued)
    }

    /// Takes a message that gives way to `queued`, if that has no room and gets some by it: the oldest of the same
    /// priority when those are too many, the oldest of the lowest priority when the bytes are too many.
    pub(crate) fn give_way(&mut self, queued: &Queued, on_its_way: bool) -> Option<Queued> {
        if queued.cost() > self.limits.max_bytes || self.has_room(queued, on_its_way) {
            return None;
        }
        let max_len = self.limits.max_len(on_its_way);
        let excess = (self.bytes + queued.cost()).saturating_sub(self.limits.max_bytes);
        let oldest = match &mut self.lanes {
            None => self.plain.pop_front(),
            Some(lanes) => lanes.give_way(queued, max_len, excess),
        }?;
        self.bytes -= oldest.cost();
        Some(oldest)
    }

    /// Takes out the messages for which `is_wanted` holds, in order.
    pub(crate) fn extract(&mut self, is_wanted: impl Fn(&Queued) -> bool) -> Vec<Queued> {
        if !self.iter().any(&is_wanted) {
            return Vec::new();
        }
        let (taken, kept): (Vec<_>, Vec<_>) = self.take_all().into_iter().partition(is_wanted);
        kept.into_iter().for_each(|queued| self.force(queued));
        taken
    }

    /// Takes everything, by falling priority.
    pub(crate) fn take_all(&mut self) -> Vec<Queued> {
        self.bytes = 0;
        match &mut self.lanes {
            None => std::mem::take(&mut self.plain).into(),
            Some(lanes) => lanes.take_all(),
        }
    }

    /// Returns every message, by falling priority.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Queued> {
        let lanes = self.lanes.iter().flat_map(|lanes| &lanes.list);
        self.plain.iter().chain(lanes.flat_map(|lane| &lane.messages))
    }
}

/// The messages of a session by their priority.
#[derive(Debug)]
struct Lanes {
    priorities: Arc<Priorities>,
    /// By falling priority. One that is empty stays: there are no more than there are priorities.
    list: Vec<Lane>,
    len: usize,
}

#[derive(Debug)]
struct Lane {
    priority: Priority,
    /// Messages that it may still send before lower ones have their turn.
    credit: u32,
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl Lane {
    fn new(priority: Priority) -> Self {
        Self { priority, credit: Self::share(priority), messages: VecDeque::new(), bytes: 0 }
    }

    fn put(&mut self, queued: Queued) {
        self.bytes += queued.cost();
        self.messages.push_back(queued);
    }

    fn take(&mut self) -> Option<Queued> {
        let queued = self.messages.pop_front()?;
        self.bytes -= queued.cost();
        Some(queued)
    }

    /// Messages of one priority that go out before lower ones have their turn.
    fn share(priority: Priority) -> u32 {
        10 * (u32::from(priority) + 1)
    }
}

impl Lanes {
    fn new(priorities: &Arc<Priorities>) -> Self {
        Self { priorities: Arc::clone(priorities), list: Vec::new(), len: 0 }
    }

    fn find(&self, queued: &Queued) -> Result<usize, (usize, Priority)> {
        let priority = self.priorities.of(queued.publish.topic());
        let found = self.list.binary_search_by(|lane| priority.cmp(&lane.priority));
        found.map_err(|place| (place, priority))
    }

    /// Returns how many messages have the priority of `queued`.
    fn len_beside(&self, queued: &Queued) -> usize {
        self.find(queued).map_or(0, |index| self.list[index].messages.len())
    }

    fn push(&mut self, queued: Queued) {
        let index = self.find(&queued).unwrap_or_else(|(place, priority)| {
            let lane = Lane::new(priority);
            self.list.insert(place, lane);
            place
        });
        self.list[index].put(queued);
        self.len += 1;
    }

    /// Returns the highest priority with messages that has something of its share left; of all have used it up, the
    /// highest with messages.
    fn turn(&self) -> Option<usize> {
        let waits = |lane: &Lane| !lane.messages.is_empty();
        let in_turn = self.list.iter().position(|lane| waits(lane) && lane.credit > 0);
        in_turn.or_else(|| self.list.iter().position(waits))
    }

    fn front(&self) -> Option<&Queued> {
        self.list[self.turn()?].messages.front()
    }

    fn pop(&mut self) -> Option<Queued> {
        let index = self.turn()?;
        if self.list[index].credit == 0 {
            self.list.iter_mut().for_each(|lane| lane.credit = Lane::share(lane.priority));
        }
        let lane = &mut self.list[index];
        lane.credit -= 1;
        let queued = lane.take()?;
        self.len -= 1;
        Some(queued)
    }

    /// Takes a message that gives way to `queued`, of which `excess` bytes have no room; none when all that may do so would
    /// not be enough.
    fn give_way(&mut self, queued: &Queued, max_len: usize, excess: usize) -> Option<Queued> {
        let (own, priority) = match self.find(queued) {
            Ok(index) => (Some(index), self.list[index].priority),
            Err((_, priority)) => (None, priority),
        };
        let not_higher = self.list.iter().filter(|lane| lane.priority <= priority);
        if not_higher.map(|lane| lane.bytes).sum::<usize>() < excess {
            return None;
        }
        let index = match own.filter(|index| self.list[*index].messages.len() >= max_len) {
            Some(index) => index,
            None => {
                let lowest = self.list.iter().rposition(|lane| !lane.messages.is_empty())?;
                (self.list[lowest].priority <= priority).then_some(lowest)?
            }
        };
        let oldest = self.list[index].take()?;
        self.len -= 1;
        Some(oldest)
    }

    fn take_all(&mut self) -> Vec<Queued> {
        self.len = 0;
        std::mem::take(&mut self.list).into_iter().flat_map(|lane| lane.messages).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use broker_codec::{PublishBuilder, QoS};
    use proptest::prelude::*;

    use super::*;
    use crate::config::DefaultPriority;

    fn settings(max_len: usize, max_bytes: usize, priorities: &[(&str, u8)]) -> QueueSettings {
        let queue_priorities = priorities.iter().map(|(filter, priority)| ((*filter).to_owned(), *priority));
        QueueSettings::of(&BrokerConfig {
            max_queue_len: max_len,
            max_queue_bytes: max_bytes,
            queue_priorities: queue_priorities.collect(),
            queue_default_priority: DefaultPriority::Lowest,
            ..BrokerConfig::default()
        })
    }

    fn queued(topic: &str, number: u32) -> Queued {
        let payload = number.to_be_bytes();
        let publish = PublishBuilder { topic, payload: &payload, ..PublishBuilder::default() }.build();
        Queued::new(publish.expect("valid"), QoS::AtLeastOnce)
    }

    fn number_of(queued: &Queued) -> u32 {
        u32::from_be_bytes(queued.publish.payload_slice().try_into().expect("four bytes"))
    }

    fn drained(queue: &mut MessageQueue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|queued| number_of(&queued)).collect()
    }

    #[test]
    fn higher_priorities_go_first_and_lower_ones_do_not_starve() {
        let mut queue = MessageQueue::new(&settings(0, 0, &[("high", 1)]));
        for number in 0..100 {
            queue.force(queued("low", number));
            queue.force(queued("high", 1000 + number));
        }
        let order = drained(&mut queue);
        let is_high = |number: &u32| *number >= 1000;
        // twenty of priority 1, then ten of priority 0, and so on
        for (turn, numbers) in order[..150].chunks(30).enumerate() {
            assert!(numbers[..20].iter().all(is_high), "turn {turn}: {numbers:?}");
            assert!(!numbers[20..].iter().any(is_high), "turn {turn}: {numbers:?}");
        }
        for expected in [0, 1000] {
            let own: Vec<_> =
                order.iter().copied().filter(|number| is_high(number) == (expected > 0)).collect();
            assert_eq!(own, (expected..expected + 100).collect::<Vec<_>>(), "in order within a priority");
        }
    }

    #[test]
    fn the_lowest_priority_gives_way_for_bytes_and_the_own_for_length() {
        let cost = queued("low", 0).cost();
        let mut queue = MessageQueue::new(&settings(2, 3 * cost + 10, &[("top", 2)]));
        let mut put = |topic: &str, number: u32| {
            let new = queued(topic, number);
            let mut gone: Vec<_> =
                std::iter::from_fn(|| queue.give_way(&new, false)).map(|old| number_of(&old)).collect();
            gone.extend(queue.push(new, false).err().map(|new| number_of(&new)));
            gone
        };
        assert!(put("low", 1).is_empty() && put("low", 2).is_empty());
        assert_eq!(put("low", 3), [1], "two of one priority");
        assert!(put("top", 4).is_empty());
        assert_eq!(put("top", 5), [2], "the bytes are used up");
        assert_eq!(put("top", 6), [4], "two of one priority");
        assert_eq!(put("low", 7), [3]);
        assert_eq!(drained(&mut queue), [5, 6, 7]);
        let mut queue = MessageQueue::new(&settings(0, 2 * cost + 10, &[("top", 2)]));
        queue.force(queued("top", 1));
        queue.force(queued("top", 2));
        let low = queued("low", 3);
        assert!(queue.give_way(&low, false).is_none(), "higher ones do not give way");
        assert!(queue.push(low, false).is_err());
    }

    #[test]
    fn nothing_gives_way_to_a_message_that_would_still_have_no_room() {
        let cost = queued("low", 0).cost();
        let large = PublishBuilder { topic: "low", payload: &vec![0; 2 * cost], ..PublishBuilder::default() };
        let large = Queued::new(large.build().expect("valid"), QoS::AtLeastOnce);
        for (max_len, low) in [(0, 2), (2, 2)] {
            let mut queue = MessageQueue::new(&settings(max_len, 4 * cost + 10, &[("top", 2)]));
            queue.force(queued("top", 1));
            queue.force(queued("top", 2));
            (0..low).for_each(|number| queue.force(queued("low", number)));
            assert!(queue.give_way(&large, false).is_none(), "the higher ones leave too little");
            assert_eq!(queue.len(), 4);
        }
    }

    #[test]
    fn a_message_larger_than_the_limit_needs_an_empty_queue() {
        for priorities in [&[][..], &[("x", 1)][..]] {
            let mut queue = MessageQueue::new(&settings(0, 20, priorities));
            assert!(queue.push(queued("t", 1), false).is_ok());
            let second = queued("t", 2);
            assert!(queue.give_way(&second, false).is_none(), "it would not get room by that");
            assert!(queue.push(second, false).is_err());
            assert_eq!(drained(&mut queue), [1]);
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn changed_priorities_move_what_waits() {
        let mut queue = MessageQueue::new(&settings(0, 0, &[]));
        for (topic, number) in [("a", 1), ("b", 2), ("a", 3)] {
            queue.force(queued(topic, number));
        }
        queue.set_settings(&settings(0, 0, &[("b", 1)]));
        assert_eq!(queue.iter().map(number_of).collect::<Vec<_>>(), [2, 1, 3]);
        queue.set_settings(&settings(1, 0, &[]));
        assert_eq!(queue.len(), 3, "what is there stays");
        assert!(!queue.has_room(&queued("a", 4), false));
        assert_eq!(drained(&mut queue), [2, 1, 3]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8),
        Pop,
        Extract(u32),
        Change(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4_u8).prop_map(Step::Put),
            3 => Just(Step::Pop),
            1 => (2..5_u32).prop_map(Step::Extract),
            1 => any::<bool>().prop_map(Step::Change),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_the_sums_hold(
            steps in proptest::collection::vec(step(), 0..200), max_len in 1_usize..6, max_cost in 1_usize..12,
        ) {
            let cost = queued("t0", 0).cost();
            let with = |has: bool| {
                let priorities = [("t1", 1), ("t2", 7), ("t3", 255)];
                settings(max_len, max_cost * cost, if has { &priorities } else { &[] })
            };
            let (plain, prioritized) = (with(false), with(true));
            let mut queue = MessageQueue::new(&plain);
            // numbers that wait, by topic
            let mut model: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            let mut next = 0;
            let topic_of = |queued: &Queued| queued.publish.topic().as_bytes()[1] - b'0';
            for step in steps {
                match step {
                    Step::Put(topic) => {
                        let new = queued(&format!("t{topic}"), next);
                        while let Some(old) = queue.give_way(&new, false) {
                            let line = model.get_mut(&topic_of(&old)).expect("it waited");
                            prop_assert_eq!(line.remove(0), number_of(&old), "the oldest of its topic");
                        }
                        if queue.push(new, false).is_ok() {
                            model.entry(topic).or_default().push(next);
                        }
                        next += 1;
                    }
                    Step::Pop => {
                        let front = queue.front().map(number_of);
                        let popped = queue.pop();
                        prop_assert_eq!(front, popped.as_ref().map(number_of));
                        if let Some(popped) = popped {
                            let line = model.get_mut(&topic_of(&popped)).expect("it waited");
                            prop_assert_eq!(line.remove(0), number_of(&popped), "in order");
                        }
                    }
                    Step::Extract(modulus) => {
                        let taken = queue.extract(|queued| number_of(queued).is_multiple_of(modulus));
                        prop_assert!(taken.iter().all(|queued| number_of(queued).is_multiple_of(modulus)));
                        let had: usize = model.values().map(Vec::len).sum();
                        model.values_mut().for_each(|line| line.retain(|number| !number.is_multiple_of(modulus)));
                        let has: usize = model.values().map(Vec::len).sum();
                        prop_assert_eq!(had - has, taken.len());
                    }
                    Step::Change(has) => queue.set_settings(if has { &prioritized } else { &plain }),
                }
                let len: usize = model.values().map(Vec::len).sum();
                prop_assert_eq!(queue.len(), len);
                prop_assert_eq!(queue.iter().count(), len);
                prop_assert_eq!(queue.bytes(), len * cost);
                prop_assert!(queue.bytes() <= max_cost * cost);
            }
        }
    }
}
