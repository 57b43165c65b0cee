//! Limits over several queues: those of an action, those of the server.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that rows may hold together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: AtomicU64,
    used: AtomicU64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn take(&self, bytes: u64) {
        if bytes > 0 {
            self.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
            debug_assert!(before >= bytes, "gave back {bytes} of {before} bytes");
        }
    }

    /// Bytes that are free.
    pub(crate) fn room(&self) -> u64 {
        self.limit.load(Ordering::Relaxed).saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Bytes to be freed: what is over the limit and a little more, so that the search for the oldest row is made
    /// once for many rows. 0 when within the limit.
    pub(crate) fn excess(&self) -> u64 {
        let limit = self.limit.load(Ordering::Relaxed);
        match self.used.load(Ordering::Relaxed).saturating_sub(limit) {
            0 => 0,
            over => over + (limit / 256).min(64 << 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_is_what_has_to_give_way() {
        let budget = MemoryBudget::new(1000);
        budget.take(1000);
        assert_eq!((budget.room(), budget.excess()), (0, 0));
        budget.take(10);
        assert_eq!(budget.excess(), 13);
        budget.give_back(13);
        assert_eq!((budget.room(), budget.excess()), (3, 0));
    }
}
