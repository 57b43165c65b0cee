//! A store that forgets when it is dropped, for tests.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Change, Snapshot, Store, StoreError};

/// Keeps everything in memory; can be told to fail.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Mutex<Snapshot>,
    failing: AtomicBool,
}

impl MemoryStore {
    /// Makes a store with contents.
    pub fn new(contents: Snapshot) -> Self {
        Self { contents: Mutex::new(contents), failing: AtomicBool::new(false) }
    }

    /// Makes every change from now on fail, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// What is stored now.
    pub fn contents(&self) -> Snapshot {
        self.contents.lock().clone()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(self.contents())
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::new("the disk is full"));
        }
        let mut contents = self.contents.lock();
        for change in changes {
            apply_one(&mut contents, change.clone());
        }
        Ok(())
    }
}

fn apply_one(contents: &mut Snapshot, change: Change) {
    match change {
        Change::PutUser(user) => put(&mut contents.users, user, |a, b| a.username == b.username),
        Change::DeleteUser { username } => contents.users.retain(|user| user.username != username),
        Change::PutApiKey(key) => put(&mut contents.api_keys, key, |a, b| a.name == b.name),
        Change::DeleteApiKey { name } => contents.api_keys.retain(|key| key.name != name),
        Change::PutObject(object) => {
            put(&mut contents.objects, object, |a, b| a.class == b.class && a.id == b.id);
        }
        Change::DeleteObject { class, id } => {
            contents.objects.retain(|object| object.class != class || object.id != id);
        }
        Change::PutBan(ban) => put(&mut contents.bans, ban, |a, b| a.subject == b.subject),
        Change::DeleteBan(subject) => contents.bans.retain(|ban| ban.subject != subject),
        Change::PutTopicMetrics(record) => {
            put(&mut contents.topic_metrics, record, |a, b| a.filter == b.filter);
        }
        Change::DeleteTopicMetrics { filter } => {
            contents.topic_metrics.retain(|record| record.filter != filter);
        }
        Change::PutSetting { name, value } => put(&mut contents.settings, (name, value), |a, b| a.0 == b.0),
    }
}

fn put<T>(records: &mut Vec<T>, record: T, same: impl Fn(&T, &T) -> bool) {
    match records.iter_mut().find(|known| same(known, &record)) {
        Some(known) => *known = record,
        None => records.push(record),
    }
}
