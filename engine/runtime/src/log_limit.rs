//! Log lines that do not grow with the message rate: the first of a kind whole, the rest as a count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Pause between two lines of one kind.
const PAUSE_MS: i64 = 10_000;

/// Limits the lines of one kind.
#[derive(Debug)]
pub(crate) struct LogLimit {
    last_ms: AtomicI64,
    held_back: AtomicU64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self { last_ms: AtomicI64::new(i64::MIN), held_back: AtomicU64::new(0) }
    }
}

impl LogLimit {
    /// Tells whether a line may be written now; counts it when not.
    pub(crate) fn allows(&self, now_ms: i64) -> bool {
        let last = self.last_ms.load(Ordering::Relaxed);
        let due = now_ms.saturating_sub(last) >= PAUSE_MS;
        if due && self.last_ms.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return true;
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// The number of lines held back, when the pause is over and there were some.
    pub(crate) fn take_held_back(&self, now_ms: i64) -> Option<u64> {
        if now_ms.saturating_sub(self.last_ms.load(Ordering::Relaxed)) < PAUSE_MS {
            return None;
        }
        match self.held_back.swap(0, Ordering::Relaxed) {
            0 => None,
            held_back => Some(held_back),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_and_the_rest_counted() {
        let limit = LogLimit::default();
        assert!(limit.allows(0));
        assert!(!limit.allows(1));
        assert!(!limit.allows(9_999));
        assert_eq!(limit.take_held_back(9_999), None);
        assert_eq!(limit.take_held_back(10_000), Some(2));
        assert_eq!(limit.take_held_back(10_000), None);
        assert!(limit.allows(10_001));
    }
}
