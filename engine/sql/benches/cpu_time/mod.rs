//! Processor time in place of wall time: what is measured does not depend on what else the machine does.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Nanoseconds that the thread has run.
pub(crate) struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
        let nanoseconds = stat.split_whitespace().next().and_then(|number| number.parse().ok());
        nanoseconds.expect("the first number is the time")
    }

    fn end(&self, start: u64) -> u64 {
        // the kernel counts in steps of some milliseconds; criterion wants more than nothing
        (self.start() - start).max(1)
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
