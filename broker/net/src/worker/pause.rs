//! Pausing clients that publish faster than they may: one timer for all of a worker.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use broker_core::{ConnectionKey, Context, Metric};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Worker;
use crate::link::{Link, LinkState};

/// The connections that are paused, by the time at which they go on. Each is in here once, until then.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    ends: RefCell<BinaryHeap<Reverse<(Instant, u32, u32)>>>,
    added: Notify,
}

impl Worker {
    /// Has a client pay for a message, and says whether it has to pause.
    pub(super) fn is_too_fast(
        &self,
        link: &Link,
        state: &mut LinkState,
        bytes: usize,
        context: &Context,
    ) -> bool {
        let Some(throttle) = &mut state.throttle else { return false };
        let Some(until) = throttle.pay(bytes, Instant::now()) else { return false };
        context.count(Metric::PublishPaused, 1);
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
}
