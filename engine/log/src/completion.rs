//! How an appender hears that its record is safe.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::error::CommitError;

type Done = Box<dyn FnOnce(Result<u64, CommitError>) + Send>;

/// What is called when a record is safe or has failed: exactly once, also when the writer dies.
pub(crate) struct Completion {
    sequence: u64,
    done: Option<Done>,
}

impl Completion {
    pub(crate) fn new(sequence: u64, done: Done) -> Self {
        Self { sequence, done: Some(done) }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn complete(mut self, result: Result<(), CommitError>) {
        self.call(result);
    }

    fn call(&mut self, result: Result<(), CommitError>) {
        let Some(done) = self.done.take() else { return };
        let result = result.map(|()| self.sequence);
        // a panic of an owner's closure is the owner's: the others still get their answers
        let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.call(Err(CommitError::Stopped));
    }
}

/// Ends when the record is as durable as was asked for. Await it, or block on [`Ticket::wait`].
///
/// Dropping it gives up hearing of the record; the record is written all the same.
#[must_use = "the record is not durable before the ticket says so"]
pub struct Ticket {
    sequence: u64,
    slot: Arc<Slot>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<u64, CommitError>>,
    waker: Option<Waker>,
}

impl Ticket {
    /// A ticket and what ends it. The sequence is filled in when it is known.
    pub(crate) fn new() -> (Self, Done) {
        let slot = Arc::new(Slot::default());
        let ticket = Self { sequence: 0, slot: Arc::clone(&slot) };
        (ticket, Box::new(move |result| slot.set(result)))
    }

    pub(crate) fn with_sequence(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// The sequence of the record.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The result, once it is there.
    pub fn result(&self) -> Option<Result<u64, CommitError>> {
        self.slot.state.lock().result.clone()
    }

    /// Blocks the thread until the record is durable, and gives its sequence. Not for async code.
    pub fn wait(self) -> Result<u64, CommitError> {
        let mut state = self.slot.state.lock();
        loop {
            if let Some(result) = state.result.clone() {
                return result;
            }
            self.slot.changed.wait(&mut state);
        }
    }
}

impl Slot {
    fn set(&self, result: Result<u64, CommitError>) {
        let mut state = self.state.lock();
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Ticket {
    type Output = Result<u64, CommitError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state.lock();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}
