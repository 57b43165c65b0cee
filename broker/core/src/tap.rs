//! Who hears of events.

use std::fmt;
use std::sync::{Arc, OnceLock};

use engine_event::{EventTap, Interest};

/// The ear of the rule engine, once there is one.
#[derive(Default)]
pub(crate) struct Tap(OnceLock<Arc<dyn EventTap>>);

impl Tap {
    /// Sets who hears of events. The first call counts.
    pub(crate) fn set(&self, tap: Arc<dyn EventTap>) {
        let _ = self.0.set(tap);
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&dyn EventTap> {
        self.0.get().map(|tap| &**tap)
    }

    /// Returns the kinds that somebody selects now.
    pub(crate) fn interest(&self) -> Interest {
        self.get().map_or_else(Interest::default, |tap| tap.interest())
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Tap").field(&self.interest()).finish()
    }
}
