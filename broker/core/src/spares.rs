//! Contexts of calls from outside of a worker's own batch: kept for the next call of the same thread.

use std::cell::{Cell, RefCell};

use thread_local::ThreadLocal;

use crate::broker::Broker;
use crate::context::{Context, Counting};

/// One context for each thread that calls.
///
/// A call comes from within the work of a worker too: a rule republishes while the worker's own context is in use.
#[derive(Debug, Default)]
pub(crate) struct Spares(ThreadLocal<Spare>);

#[derive(Debug, Default)]
struct Spare {
    context: RefCell<Option<Box<Context>>>,
    /// The thread forgets old routes regularly, so it may remember some.
    is_tended: Cell<bool>,
    /// A call has published what has to wait, or is kept, since somebody asked.
    stays: Cell<bool>,
}

impl Spares {
    /// Notes that this thread calls [`Spares::forget_stale_routes`] regularly.
    pub(crate) fn tend(&self) {
        self.0.get_or_default().is_tended.set(true);
    }

    /// Forgets routes that are out of date, of this thread.
    pub(crate) fn forget_stale_routes(&self, broker: &Broker) {
        if let Some(context) = &mut *self.0.get_or_default().context.borrow_mut() {
            context.forget_stale_routes(broker);
        }
    }

    fn take_stays(&self) -> bool {
        self.0.get_or_default().stays.take()
    }

    fn take(&self) -> Option<Box<Context>> {
        self.0.get_or_default().context.take()
    }

    fn put(&self, mut context: Box<Context>) {
        let spare = self.0.get_or_default();
        if context.take_stays() {
            spare.stays.set(true);
        }
        context.reset(spare.is_tended.get());
        spare.context.replace(Some(context));
    }
}

impl Broker {
    /// Forgets routes that calls of this thread have left behind and that are out of date, so that they keep no ended
    /// session in memory. For the slow, regular tick of a worker.
    pub fn forget_stale_routes(&self) {
        self.spares.forget_stale_routes(self);
    }

    /// Takes the note that a call of this thread has published what has to wait, or is kept: a rule that republishes, for
    /// one. As [`Context::take_stays`].
    pub fn take_stays_of_calls(&self) -> bool {
        self.spares.take_stays()
    }

    /// Returns a context for one call on any thread; [`Broker::flush`] must follow.
    pub(crate) fn call_context(&self) -> Box<Context> {
        match self.spares.take() {
            Some(mut context) => {
                context.set_now_ms(self.clock().now_ms());
                context
            }
            None => Box::new(self.context(Counting::Shared(self.shared_counters()))),
        }
    }

    /// Has the connections flushed that a call has given something to send.
    pub(crate) fn flush(&self, mut context: Box<Context>) {
        self.write_done(&context);
        if context.has_scheduled() {
            let scheduled = context.take_scheduled();
            if let Some(outlets) = self.outlets() {
                outlets.flush(&scheduled);
            }
            context.reuse_scheduled(scheduled);
        }
        self.spares.put(context);
    }
}
