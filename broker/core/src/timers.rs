//! What happens to sessions after their connection: wills that wait, and the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::session::Session;

/// Sessions to look at when their time has come, at most one entry for each: clients that come and go leave nothing
/// behind.
#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<BTreeMap<(i64, u64), Weak<Session>>>);

/// Sessions looked at in one turn: after an outage of a network very many are due at once.
const DUE_MAX: usize = 4096;

impl Timers {
    /// Has a session looked at when `due_ms` has come, or not at all, in place of the time it `had`.
    ///
    /// Called with the state of the session locked, which is where `had` lives.
    pub(crate) fn set(&self, due_ms: Option<i64>, had: &mut Option<i64>, session: &Arc<Session>) {
        if *had == due_ms {
            return;
        }
        let mut entries = self.0.lock();
        if let Some(had_ms) = had.take() {
            entries.remove(&(had_ms, session.id()));
        }
        if let Some(due_ms) = due_ms {
            entries.insert((due_ms, session.id()), Arc::downgrade(session));
        }
        *had = due_ms;
    }

    /// Takes the sessions whose time has come, at most so many that they do not hold their thread up for long. Who
    /// asked for it sets the next time of each.
    pub(crate) fn due(&self, now_ms: i64) -> Vec<Arc<Session>> {
        let mut entries = self.0.lock();
        let mut due = Vec::new();
        while due.len() < DUE_MAX
            && let Some(entry) = entries.first_entry()
            && entry.key().0 <= now_ms
        {
            due.extend(entry.remove().upgrade());
        }
        due
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;
    use crate::session::{MessageQueue, QueueSettings};

    fn session(id: u64) -> Arc<Session> {
        let queue = MessageQueue::new(&QueueSettings::of(&BrokerConfig::default()));
        Arc::new(Session::new(id, "c".into(), queue, 0))
    }

    #[test]
    fn a_session_has_one_entry() {
        let timers = Timers::default();
        let (one, other) = (session(1), session(2));
        let (mut at_one, mut at_other) = (None, None);
        for due_ms in 0..1000 {
            timers.set(Some(due_ms), &mut at_one, &one);
            timers.set(None, &mut at_one, &one);
            timers.set(Some(due_ms + 1), &mut at_one, &one);
            timers.set(Some(due_ms), &mut at_other, &other);
        }
        assert_eq!(timers.len(), 2);
        let due = timers.due(999);
        assert_eq!(due.iter().map(|session| session.id()).collect::<Vec<_>>(), [2]);
        timers.set(None, &mut at_other, &other);
        timers.set(None, &mut at_one, &one);
        assert_eq!(timers.len(), 0);
    }
}
