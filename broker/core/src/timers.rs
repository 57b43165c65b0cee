//! What happens to sessions after their connection: wills that wait, and the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::session::Session;

/// Things to look at when their time has come. An entry that is out of date is simply not acted upon.
#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<BinaryHeap<Reverse<Entry>>>);

#[derive(Debug)]
struct Entry {
    due_ms: i64,
    session: Weak<Session>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due_ms == other.due_ms
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due_ms.cmp(&other.due_ms)
    }
}

impl Timers {
    /// Has a session looked at when `due_ms` has come.
    pub(crate) fn add(&self, due_ms: i64, session: &Arc<Session>) {
        self.0.lock().push(Reverse(Entry { due_ms, session: Arc::downgrade(session) }));
    }

    /// Takes the sessions whose time has come.
    pub(crate) fn due(&self, now_ms: i64) -> Vec<Arc<Session>> {
        let mut entries = self.0.lock();
        let mut due = Vec::new();
        while let Some(Reverse(entry)) = entries.peek()
            && entry.due_ms <= now_ms
        {
            due.extend(entries.pop().and_then(|Reverse(entry)| entry.session.upgrade()));
        }
        due
    }
}
