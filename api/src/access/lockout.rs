//! Locking a user name after repeated failures.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Failures within [`WINDOW_MS`] that lock.
const FAILURES_MAX: usize = 5;
/// Failures older than this are forgotten: 5 minutes.
const WINDOW_MS: i64 = 5 * 60 * 1000;
/// How long a name stays locked: 10 minutes.
const LOCK_MS: i64 = 10 * 60 * 1000;
/// Names that are remembered; the one that failed longest ago gives way.
const NAMES_MAX: usize = 10_000;

/// Remembers who failed to log in.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    names: Mutex<HashMap<String, Failures>>,
}

#[derive(Debug, Default)]
struct Failures {
    at_ms: Vec<i64>,
    locked_until_ms: i64,
}

impl Lockout {
    /// Returns for how many milliseconds the name is still locked.
    pub(super) fn locked_for_ms(&self, name: &str, now_ms: i64) -> Option<i64> {
        let left_ms = self.names.lock().get(name)?.locked_until_ms.saturating_sub(now_ms);
        (left_ms > 0).then_some(left_ms)
    }

    /// Notes a failure.
    pub(super) fn failed(&self, name: &str, now_ms: i64) {
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX && !names.contains_key(name) {
            make_room(&mut names, now_ms);
        }
        let failures = names.entry(name.to_owned()).or_default();
        failures.at_ms.retain(|at_ms| now_ms.saturating_sub(*at_ms) < WINDOW_MS);
        failures.at_ms.push(now_ms);
        if failures.at_ms.len() >= FAILURES_MAX {
            failures.locked_until_ms = now_ms + LOCK_MS;
            failures.at_ms.clear();
        }
    }

    /// Forgets the failures of a name.
    pub(super) fn succeeded(&self, name: &str) {
        self.names.lock().remove(name);
    }
}

fn make_room(names: &mut HashMap<String, Failures>, now_ms: i64) {
    names.retain(|_, failures| {
        failures.locked_until_ms > now_ms
            || failures.at_ms.last().is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) < WINDOW_MS)
    });
    if names.len() < NAMES_MAX {
        return;
    }
    let oldest = names
        .iter()
        .min_by_key(|(_, failures)| {
            failures.at_ms.last().copied().unwrap_or(failures.locked_until_ms - LOCK_MS)
        })
        .map(|(name, _)| name.clone());
    if let Some(oldest) = oldest {
        names.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_lock_for_ten_minutes() {
        let lockout = Lockout::default();
        for second in 0..4 {
            lockout.failed("admin", second * 1000);
        }
        assert_eq!(lockout.locked_for_ms("admin", 4000), None);
        lockout.failed("admin", 4000);
        assert_eq!(lockout.locked_for_ms("admin", 4000), Some(LOCK_MS));
        assert_eq!(lockout.locked_for_ms("other", 4000), None);
        assert_eq!(lockout.locked_for_ms("admin", 4000 + LOCK_MS), None);
        lockout.failed("admin", 4000 + LOCK_MS);
        assert_eq!(lockout.locked_for_ms("admin", 4001 + LOCK_MS), None, "the count starts anew");
    }

    #[test]
    fn slow_failures_and_successes_do_not_lock() {
        let lockout = Lockout::default();
        for minute in 0..20 {
            lockout.failed("slow", minute * 90_000);
        }
        assert_eq!(lockout.locked_for_ms("slow", 20 * 90_000), None);
        for _ in 0..4 {
            lockout.failed("a", 0);
        }
        lockout.succeeded("a");
        lockout.failed("a", 0);
        assert_eq!(lockout.locked_for_ms("a", 0), None);
    }

    #[test]
    fn remembers_a_bounded_number_of_names() {
        let lockout = Lockout::default();
        for name in 0..NAMES_MAX + 10 {
            lockout.failed(&name.to_string(), name as i64);
        }
        assert_eq!(lockout.names.lock().len(), NAMES_MAX);
        assert!(lockout.names.lock().contains_key(&(NAMES_MAX + 9).to_string()));
        assert!(!lockout.names.lock().contains_key("0"));
    }
}
