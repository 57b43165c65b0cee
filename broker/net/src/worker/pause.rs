//! Pausing clients that publish faster than they may, or too much while memory is short.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use broker_core::{CloseReason, ConnectionKey, Context, Metric};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Worker;
use crate::link::{Link, LinkState};

/// The connections that are paused.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Those that were too fast, by the time at which they go on. Each is in here once, until then.
    ends: RefCell<BinaryHeap<Reverse<(Instant, u32, u32)>>>,
    added: Notify,
    /// Those that have published what is kept while memory is short.
    held_up: RefCell<Vec<ConnectionKey>>,
}

impl Worker {
    /// Has a client pay for a message, and says whether it has to pause. Asked only where there are quotas, or while
    /// memory is short.
    pub(super) fn has_to_pause(
        &self,
        link: &Link,
        state: &mut LinkState,
        bytes: usize,
        context: &Context,
    ) -> bool {
        let is_too_fast = self.is_too_fast(link, state, bytes);
        let is_overloaded = self.broker.is_overloaded();
        let is_too_much = is_overloaded && (context.take_stays() | self.broker.take_stays_of_calls());
        if is_too_much && !state.held_up {
            state.held_up = true;
            self.pauses.held_up.borrow_mut().push(link.key);
        }
        if is_too_fast || is_too_much {
            context.count(Metric::PublishPaused, 1);
        }
        is_too_fast || is_too_much
    }

    fn is_too_fast(&self, link: &Link, state: &mut LinkState, bytes: usize) -> bool {
        let Some(throttle) = &mut state.throttle else { return false };
        let Some(until) = throttle.pay(bytes, Instant::now()) else { return false };
        let mut ends = self.pauses.ends.borrow_mut();
        if ends.peek().is_none_or(|Reverse((first, ..))| until < *first) {
            self.pauses.added.notify_one();
        }
        ends.push(Reverse((until, link.key.slot, link.key.generation)));
        true
    }

    /// Wakes clients whose pause is over.
    pub(super) async fn run_waker(self: Rc<Self>) {
        loop {
            let first = self.pauses.ends.borrow().peek().map(|Reverse((until, ..))| *until);
            match first {
                None => self.pauses.added.notified().await,
                Some(until) => {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = self.pauses.added.notified() => {}
                    }
                }
            }
            self.end_pauses(Instant::now());
        }
    }

    fn end_pauses(&self, now: Instant) {
        loop {
            let (slot, generation) = {
                let mut ends = self.pauses.ends.borrow_mut();
                match ends.peek() {
                    Some(Reverse((until, slot, generation))) if *until <= now => {
                        let key = (*slot, *generation);
                        ends.pop();
                        key
                    }
                    _ => return,
                }
            };
            let Some(link) = self.link(ConnectionKey { worker: self.index, slot, generation }) else {
                continue;
            };
            if let Some(throttle) = &mut link.state.borrow_mut().throttle {
                throttle.resume();
            }
            link.wake_reader();
        }
    }

    /// Wakes clients that were paused while memory was short, once it no longer is. For each tick.
    pub(super) fn end_hold_ups(&self) {
        if !self.broker.is_overloaded() {
            self.release(std::mem::take(&mut *self.pauses.held_up.borrow_mut()));
        }
    }

    fn release(&self, held_up: Vec<ConnectionKey>) {
        for link in held_up.into_iter().filter_map(|key| self.link(key)) {
            link.state.borrow_mut().held_up = false;
            link.wake_reader();
        }
    }

    /// While memory is short, says what waits at each connection, gives back what has become free, and lets those publishers go on that have messages of
    /// their own under way or waiting: their acknowledgements make room. For about each second.
    pub(super) fn watch_memory(&self) {
        if !self.broker.is_overloaded() {
            return;
        }
        for (_, link) in self.links.borrow().iter() {
            let state = link.state.borrow();
            state.connection.note_buffered(state.buffered_bytes());
        }
        let has_own = |key: &ConnectionKey| {
            self.link(*key).is_none_or(|link| link.state.borrow().connection.weight().1 > 0)
        };
        let held_up = std::mem::take(&mut *self.pauses.held_up.borrow_mut());
        let (released, held_up): (Vec<_>, Vec<_>) = held_up.into_iter().partition(has_own);
        *self.pauses.held_up.borrow_mut() = held_up;
        self.release(released);
        self.broker.give_back_memory();
    }

    /// Ends the connections for which more is kept than may be, if there is a limit. For about each
    /// second.
    pub(super) fn end_heavy(self: &Rc<Self>) {
        if !self.broker.has_force_shutdown() {
            return;
        }
        let is_heavy = |link: &Rc<Link>| {
            let state = link.state.borrow();
            let Some(limit) = state.connection.force_shutdown() else { return false };
            let (messages, bytes) = state.connection.weight();
            messages > limit.max_messages || bytes + state.buffered_bytes() > limit.max_bytes
        };
        let heavy: Vec<Rc<Link>> =
            self.links.borrow().iter().map(|(_, link)| link).filter(|link| is_heavy(link)).cloned().collect();
        for link in heavy {
            self.close(&link, CloseReason::ForceShutdown);
        }
    }
}
