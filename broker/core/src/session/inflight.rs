//! QoS 1 and 2 messages that a client has not acknowledged yet.

use std::collections::VecDeque;

use broker_codec::{PacketId, QoS};

use super::Queued;

/// The messages under way to one client, by packet identifier, in the order in which they were first sent.
///
/// An identifier is a place in a table, taken from a free list, so that one in flight is never given twice. The order
/// of sending is a list through that table: identifiers say nothing about it.
#[derive(Debug)]
pub(crate) struct Inflight {
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    first: u16,
    last: u16,
    /// The first message that the present connection has not been sent.
    unsent: u16,
    len: u16,
    sent: u16,
}

#[derive(Debug)]
struct Slot {
    stage: Stage,
    sent: bool,
    /// Some connection has been sent it.
    before: bool,
    /// It goes out once the journal is committed up to here.
    position: u64,
    /// When it was first sent, Unix milliseconds; 0 when that is not known.
    sent_at_ms: i64,
    previous: u16,
    next: u16,
}

/// How far a delivery is.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // most are messages; a box for each would cost an allocation for each
pub(crate) enum Stage {
    /// The identifier is free.
    Free,
    /// PUBLISH goes, PUBACK or PUBREC is to come.
    Publish(Queued),
    /// PUBREC came, PUBREL goes, PUBCOMP is to come.
    Release,
}

/// What goes out next of the messages that an earlier connection left behind.
pub(crate) enum Resend<'a> {
    /// A message, and whether a connection may have been sent it before.
    Publish(PacketId, &'a Queued, bool),
    /// A PUBREL, again.
    Release(PacketId),
}

const NIL: u16 = u16::MAX;

impl Slot {
    const fn free() -> Self {
        Self {
            stage: Stage::Free,
            sent: false,
            before: false,
            position: 0,
            sent_at_ms: 0,
            previous: NIL,
            next: NIL,
        }
    }
}

impl Default for Inflight {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), first: NIL, last: NIL, unsent: NIL, len: 0, sent: 0 }
    }
}

impl Inflight {
    /// Returns how many messages are under way or still to be sent again.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns how many the present connection has been sent.
    pub(crate) const fn sent(&self) -> u16 {
        self.sent
    }

    /// Returns the identifier that the next message will have.
    pub(crate) fn next_id(&self) -> PacketId {
        let index = self.free.front().copied().unwrap_or(self.slots.len() as u16);
        PacketId::new(index + 1).expect("one above an index is not zero")
    }

    /// Adds a message that goes out now, behind all others. There is room: fewer than 65,534 are under way.
    pub(crate) fn push(&mut self, queued: Queued, now_ms: i64) -> PacketId {
        self.sent += 1;
        self.add(Stage::Publish(queued), true, 0, now_ms)
    }

    /// Adds a message that goes out, behind all others, once the journal is committed up to `position`. There is room.
    pub(crate) fn stage_unsent(&mut self, queued: Queued, position: u64) -> PacketId {
        let id = self.add(Stage::Publish(queued), false, position, 0);
        if self.unsent == NIL {
            self.unsent = id.get() - 1;
        }
        id
    }

    /// Puts back what was under way before a crash, behind all others. Gives false when the identifier is in use.
    pub(crate) fn restore(&mut self, id: PacketId, stage: Stage) -> bool {
        let index = id.get() - 1;
        while self.slots.len() <= usize::from(index) {
            let number = self.slots.len() as u16; // fits: up to an index
            self.slots.push(Slot::free());
            self.free.push_back(number);
        }
        let Some(place) = self.free.iter().position(|free| *free == index) else { return false };
        self.free.remove(place);
        self.free.push_front(index);
        let unsent = self.add(stage, false, 0, 0).get() - 1;
        self.slots[usize::from(unsent)].before = true;
        if self.unsent == NIL {
            self.unsent = unsent;
        }
        true
    }

    fn add(&mut self, stage: Stage, sent: bool, position: u64, sent_at_ms: i64) -> PacketId {
        let slot = Slot { stage, sent, before: sent, position, sent_at_ms, previous: self.last, next: NIL };
        let index = match self.free.pop_front() {
            Some(index) => {
                self.slots[usize::from(index)] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u16 // fits: the window is below 65,535
            }
        };
        match self.last {
            NIL => self.first = index,
            last => self.slots[usize::from(last)].next = index,
        }
        self.last = index;
        self.len += 1;
        PacketId::new(index + 1).expect("one above an index is not zero")
    }

    /// Returns the stage of the delivery with that identifier.
    pub(crate) fn stage(&self, id: PacketId) -> &Stage {
        self.slots.get(usize::from(id.get() - 1)).map_or(&Stage::Free, |slot| &slot.stage)
    }

    /// Returns when the delivery with that identifier, or the one that had it until just now, was first sent; 0 when
    /// that is not known.
    pub(crate) fn sent_at_ms(&self, id: PacketId) -> i64 {
        self.slots.get(usize::from(id.get() - 1)).map_or(0, |slot| slot.sent_at_ms)
    }

    /// Ends a delivery and frees its identifier.
    pub(crate) fn remove(&mut self, id: PacketId) -> Stage {
        let index = id.get() - 1;
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return Stage::Free };
        let stage = std::mem::replace(&mut slot.stage, Stage::Free);
        if matches!(stage, Stage::Free) {
            return stage;
        }
        let (previous, next, sent) = (slot.previous, slot.next, slot.sent);
        match previous {
            NIL => self.first = next,
            previous => self.slots[usize::from(previous)].next = next,
        }
        match next {
            NIL => self.last = previous,
            next => self.slots[usize::from(next)].previous = previous,
        }
        if self.unsent == index {
            self.unsent = next;
        }
        self.len -= 1;
        self.sent -= u16::from(sent);
        self.free.push_back(index);
        stage
    }

    /// Notes a PUBREC, and returns what was there: the message itself is no longer needed.
    pub(crate) fn release(&mut self, id: PacketId) -> Stage {
        match self.slots.get_mut(usize::from(id.get() - 1)) {
            Some(slot) => std::mem::replace(&mut slot.stage, Stage::Release),
            None => Stage::Free,
        }
    }

    /// Starts over for a new connection: everything is to be sent again.
    pub(crate) fn restart(&mut self) {
        let mut at = self.first;
        while at != NIL {
            let slot = &mut self.slots[usize::from(at)];
            slot.sent = false;
            at = slot.next;
        }
        self.unsent = self.first;
        self.sent = 0;
    }

    /// Says whether messages of an earlier connection are still to be sent.
    pub(crate) const fn has_unsent(&self) -> bool {
        self.unsent != NIL
    }

    /// Returns the position that the next message to be sent waits for.
    pub(crate) fn waits_for(&self) -> Option<u64> {
        if self.unsent == NIL {
            return None;
        }
        let position = self.slots[usize::from(self.unsent)].position;
        (position > 0).then_some(position)
    }

    /// Returns the stages of all that is under way, in order.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (PacketId, &Stage)> {
        let mut at = self.first;
        std::iter::from_fn(move || {
            let slot = self.slots.get(usize::from(at))?;
            let id = PacketId::new(at + 1)?;
            at = slot.next;
            Some((id, &slot.stage))
        })
    }

    /// Takes the next message that is still to be sent, if it fits the window and the journal is `committed` far
    /// enough.
    pub(crate) fn resend(&mut self, window: u16, committed: u64, now_ms: i64) -> Option<Resend<'_>> {
        let index = self.unsent;
        if index == NIL {
            return None;
        }
        let slot = &mut self.slots[usize::from(index)];
        if slot.position > committed || self.sent >= window && matches!(slot.stage, Stage::Publish(_)) {
            return None;
        }
        slot.position = 0;
        slot.sent = true;
        let before = std::mem::replace(&mut slot.before, true);
        if !before {
            slot.sent_at_ms = now_ms;
        }
        self.sent += 1;
        self.unsent = slot.next;
        let id = PacketId::new(index + 1).expect("one above an index is not zero");
        match &self.slots[usize::from(index)].stage {
            Stage::Publish(queued) => Some(Resend::Publish(id, queued, before)),
            Stage::Release | Stage::Free => Some(Resend::Release(id)),
        }
    }

    /// Gives back the messages that wait for a PUBACK or PUBREC, in order, and forgets all.
    pub(crate) fn drain(&mut self) -> Vec<Queued> {
        let mut drained = Vec::new();
        let mut at = self.first;
        while at != NIL {
            let slot = &mut self.slots[usize::from(at)];
            at = slot.next;
            if let Stage::Publish(queued) = std::mem::replace(&mut slot.stage, Stage::Free) {
                drained.push(queued);
            }
        }
        *self = Self::default();
        drained
    }

    /// Returns how many messages no connection has been sent.
    pub(crate) fn never_sent(&self) -> usize {
        let waits = |slot: &&Slot| !slot.before && matches!(slot.stage, Stage::Publish(_));
        self.slots.iter().filter(waits).count()
    }

    /// Returns the bytes that the messages under way take up.
    pub(crate) fn bytes(&self) -> usize {
        let of = |slot: &Slot| match &slot.stage {
            Stage::Publish(queued) => queued.cost(),
            Stage::Release | Stage::Free => 0,
        };
        self.slots.iter().map(of).sum()
    }

    /// Says whether a delivery waits for the acknowledgement of `qos`.
    pub(crate) fn awaits(&self, id: PacketId, qos: QoS) -> bool {
        matches!(self.stage(id), Stage::Publish(queued) if queued.qos == qos)
    }

    /// Gives unused memory back once nothing is under way.
    pub(crate) fn trim(&mut self) {
        if self.len == 0 && self.slots.capacity() > 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use broker_codec::PublishBuilder;
    use proptest::prelude::*;

    use super::*;

    fn queued(number: u32) -> Queued {
        let payload = number.to_be_bytes();
        let publish = PublishBuilder { topic: "t", payload: &payload, ..PublishBuilder::default() }.build();
        Queued::new(publish.expect("valid"), QoS::AtLeastOnce)
    }

    fn number_of(queued: &Queued) -> u32 {
        u32::from_be_bytes(queued.publish.payload_slice().try_into().expect("four bytes"))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Remove(usize),
        Release(usize),
        Restart,
        Resend,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            3 => any::<usize>().prop_map(Step::Remove),
            2 => any::<usize>().prop_map(Step::Release),
            1 => Just(Step::Restart),
            3 => Just(Step::Resend),
        ]
    }

    /// What is under way, by order of first sending: the identifier, and whether it was released and sent.
    type Model = BTreeMap<u32, (PacketId, bool, bool)>;

    proptest! {
        #[test]
        fn agrees_with_the_model(steps in proptest::collection::vec(step(), 0..120), window in 1_u16..8) {
            let mut inflight = Inflight::default();
            let mut model = Model::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Push if !inflight.has_unsent() && inflight.sent() < window => {
                        let id = inflight.push(queued(next), 1);
                        prop_assert!(model.values().all(|(used, ..)| *used != id), "{} was in use", id);
                        model.insert(next, (id, false, true));
                        next += 1;
                    }
                    Step::Remove(choice) | Step::Release(choice) if !model.is_empty() => {
                        let (&number, &(id, ..)) = model.iter().nth(choice % model.len()).expect("in range");
                        if matches!(step, Step::Remove(_)) {
                            prop_assert!(!matches!(inflight.remove(id), Stage::Free));
                            prop_assert!(matches!(inflight.remove(id), Stage::Free));
                            model.remove(&number);
                        } else {
                            inflight.release(id);
                            model.get_mut(&number).expect("is there").1 = true;
                        }
                    }
                    Step::Restart => {
                        inflight.restart();
                        model.values_mut().for_each(|entry| entry.2 = false);
                    }
                    Step::Resend => {
                        let sent = model.values().filter(|entry| entry.2).count();
                        let want = model
                            .iter_mut()
                            .find(|(_, entry)| !entry.2)
                            .filter(|(_, entry)| entry.1 || sent < usize::from(window));
                        match (inflight.resend(window, 0, 1), want) {
                            (Some(Resend::Publish(id, queued, again)), Some((number, entry))) => {
                                prop_assert!(again);
                                prop_assert_eq!((id, number_of(queued), false), (entry.0, *number, entry.1));
                                entry.2 = true;
                            }
                            (Some(Resend::Release(id)), Some((_, entry))) => {
                                prop_assert_eq!((id, true), (entry.0, entry.1));
                                entry.2 = true;
                            }
                            (None, None) => {}
                            (got, want) => panic!("got {}, want {want:?}", got.is_some()),
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(inflight.len(), model.len());
                prop_assert_eq!(usize::from(inflight.sent()), model.values().filter(|entry| entry.2).count());
            }
            let left: Vec<u32> = inflight.drain().iter().map(number_of).collect();
            let want: Vec<u32> = model.iter().filter(|(_, entry)| !entry.1).map(|(number, _)| *number).collect();
            prop_assert_eq!(left, want);
        }
    }
}
