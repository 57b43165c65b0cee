//! The system's clock: the only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use engine_event::Clock;

/// Wall time of the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one clock that everything else is given
    fn now_ms(&self) -> i64 {
        // before 1970 counts as 1970
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
