//! Rates from a counter that somebody reads every few seconds.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

/// Pause between two readings.
pub(crate) const TICK: Duration = Duration::from_secs(5);

/// Readings in five minutes.
const TICKS_KEPT: usize = 60;

/// Turns a counter into rates.
#[derive(Debug, Default)]
pub(crate) struct RateMeter(Mutex<Readings>);

#[derive(Debug, Default)]
struct Readings {
    last_total: u64,
    per_tick: VecDeque<u64>,
    rate_max: f64,
}

/// `rate`, `rate_max` and `rate_last5m`, for each second.
pub(crate) struct Rates {
    pub(crate) current: f64,
    pub(crate) max: f64,
    pub(crate) last_5m: f64,
}

impl RateMeter {
    /// Reads the counter; to be called every [`TICK`].
    pub(crate) fn tick(&self, total: u64) {
        let mut readings = self.0.lock();
        // a reset made the total smaller
        let new = total.checked_sub(readings.last_total).unwrap_or(total);
        readings.last_total = total;
        if readings.per_tick.len() == TICKS_KEPT {
            readings.per_tick.pop_front();
        }
        readings.per_tick.push_back(new);
        readings.rate_max = readings.rate_max.max(new as f64 / TICK.as_secs_f64());
    }

    /// The rates as of the last tick.
    pub(crate) fn rates(&self) -> Rates {
        let readings = self.0.lock();
        let seconds = TICK.as_secs_f64();
        let sum: u64 = readings.per_tick.iter().sum();
        let ticks = readings.per_tick.len().max(1) as f64;
        Rates {
            current: readings.per_tick.back().map_or(0.0, |last| *last as f64 / seconds),
            max: readings.rate_max,
            last_5m: sum as f64 / (ticks * seconds),
        }
    }

    /// Forgets every reading; the counter stands at `total`.
    pub(crate) fn reset(&self, total: u64) {
        *self.0.lock() = Readings { last_total: total, ..Readings::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_counter() {
        let meter = RateMeter::default();
        meter.tick(50);
        meter.tick(60);
        let rates = meter.rates();
        assert_eq!((rates.current, rates.max, rates.last_5m), (2.0, 10.0, 6.0));
        meter.tick(5);
        assert_eq!(meter.rates().current, 1.0, "a reset is not a negative rate");
        meter.reset(3);
        meter.tick(3);
        assert_eq!(meter.rates().max, 0.0, "what was counted before is not counted anew");
    }
}
