//! How long to wait before the next attempt.

use std::time::Duration;

use crate::object::resource_opts::{BackoffOptions, Jitter};

/// Longest pause, whoever asks for it. Rows live for ever if people wish, pauses do not.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The pause before attempt `attempts + 1`, at least as long as the target asked for.
pub(super) fn pause_before(
    options: BackoffOptions,
    attempts: u32,
    after: Option<Duration>,
    dice: u64,
) -> Duration {
    pause(options, attempts, dice).max(after.unwrap_or_default()).min(PAUSE_MAX)
}

/// The pause before attempt `attempts + 1`: doubles with each attempt up to the maximum, then drawn by lot.
///
/// `dice` is a random number. The pause is at least a millisecond.
fn pause(options: BackoffOptions, attempts: u32, dice: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let whole = options.initial.saturating_mul(1 << doublings).min(options.max);
    let pause = match options.jitter {
        Jitter::None => whole,
        Jitter::Full => {
            let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
            Duration::from_nanos(dice % nanos.saturating_add(1).max(1))
        }
    };
    pause.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let options = BackoffOptions {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(30),
            jitter: Jitter::None,
        };
        for (attempts, millis) in
            [(0, 200), (1, 200), (2, 400), (3, 800), (8, 25_600), (9, 30_000), (1000, 30_000)]
        {
            assert_eq!(pause(options, attempts, 7), Duration::from_millis(millis), "{attempts}");
        }
    }

    #[test]
    fn no_pause_is_without_an_end() {
        let none = BackoffOptions { initial: Duration::MAX, max: Duration::MAX, jitter: Jitter::None };
        assert_eq!(pause_before(none, 1, None, 7), PAUSE_MAX);
        let short = BackoffOptions { initial: Duration::from_millis(1), ..none };
        assert_eq!(pause_before(short, 1, Some(Duration::MAX), 7), PAUSE_MAX);
        assert_eq!(pause_before(short, 1, Some(Duration::from_secs(7)), 7), Duration::from_secs(7));
        assert_eq!(pause_before(short, 1000, None, 7), PAUSE_MAX);
    }

    #[test]
    fn full_jitter_draws_from_nothing_to_the_whole_pause() {
        let options = BackoffOptions {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(30),
            jitter: Jitter::Full,
        };
        for dice in [0, 1, u64::MAX, 123_456_789_012_345] {
            let pause = pause(options, 2, dice);
            assert!((Duration::from_millis(1)..=Duration::from_millis(400)).contains(&pause), "{pause:?}");
        }
    }
}
