//! Client ids and their sessions.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_event::Text;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::session::{MessageQueue, QueueSettings, Session};

/// All sessions by client id.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: Box<[Shard]>,
    hasher: RandomState,
    next_id: AtomicU64,
    /// What the queues of new sessions are made with.
    queue: QueueSettings,
}

type Shard = Mutex<HashMap<Text, Arc<Session>, RandomState>>;

const SHARDS: usize = 64;

impl Registry {
    pub(crate) fn new(queue: QueueSettings) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            next_id: AtomicU64::new(1),
            queue,
        }
    }

    /// Returns what the queues of new sessions are made with.
    pub(crate) fn queue_settings(&self) -> &QueueSettings {
        &self.queue
    }

    fn make(&self, id: u64, client_id: Text, created_at_ms: i64) -> Arc<Session> {
        Arc::new(Session::new(id, client_id, MessageQueue::new(&self.queue), created_at_ms))
    }

    fn shard(&self, client_id: &[u8]) -> &Shard {
        let hash = self.hasher.hash_one(client_id);
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    pub(crate) fn get(&self, client_id: &str) -> Option<Arc<Session>> {
        self.shard(client_id.as_bytes()).lock().get(client_id.as_bytes()).cloned()
    }

    pub(crate) fn get_or_create(&self, client_id: &str, now_ms: i64) -> Arc<Session> {
        let mut shard = self.shard(client_id.as_bytes()).lock();
        if let Some(session) = shard.get(client_id.as_bytes()) {
            return Arc::clone(session);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let client_id = Text::from(client_id);
        let session = self.make(id, client_id.clone(), now_ms);
        shard.insert(client_id, Arc::clone(&session));
        session
    }

    /// Puts a session back, unless its client id has one.
    pub(crate) fn restore(&self, id: u64, client_id: Text, created_at_ms: i64) -> Option<Arc<Session>> {
        let mut shard = self.shard(client_id.as_bytes()).lock();
        if shard.contains_key(client_id.as_bytes()) {
            return None;
        }
        let session = self.make(id, client_id.clone(), created_at_ms);
        shard.insert(client_id, Arc::clone(&session));
        Some(session)
    }

    /// Has new sessions get numbers from `first` on.
    pub(crate) fn start_ids_at(&self, first: u64) {
        self.next_id.fetch_max(first, Ordering::Relaxed);
    }

    /// Takes a session out, if it is still the one of its client id.
    pub(crate) fn remove(&self, session: &Session) {
        let mut shard = self.shard(session.client_id().as_bytes()).lock();
        if shard.get(session.client_id().as_bytes()).is_some_and(|found| found.id() == session.id()) {
            shard.remove(session.client_id().as_bytes());
        }
    }

    /// Returns every session, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
