//! Users and API keys: the store's records in memory, and every operation on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_event::Clock;
use parking_lot::RwLock;

use super::key_cache::KeyCache;
use super::lockout::Lockout;
use super::password::SlowHasher;
use super::tokens::Tokens;
use crate::store::{ApiKeyRecord, Change, Role, Snapshot, Store, StoreError, UserRecord};
use crate::web::{Answer, ApiError};

/// Who may use the interface.
///
/// A change goes to the store first and then to memory, one at a time; looking up costs no I/O.
pub struct Accounts {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hasher: SlowHasher,
    pub(super) lockout: Lockout,
    pub(super) tokens: Tokens,
    pub(super) key_cache: KeyCache,
    store: Arc<dyn Store>,
    records: RwLock<Records>,
    /// Held while a change is on its way to the store, so that memory and store change in the same order.
    changing: tokio::sync::Mutex<()>,
}

/// The records, found by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) users: BTreeMap<String, UserRecord>,
    pub(super) keys: BTreeMap<String, ApiKeyRecord>,
    /// Name of each API key by its public part.
    pub(super) names_by_key: BTreeMap<String, String>,
}

impl Records {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::PutUser(user) => {
                self.users.insert(user.username.clone(), user.clone());
            }
            Change::DeleteUser { username } => {
                self.users.remove(username);
            }
            Change::PutApiKey(key) => {
                if let Some(before) = self.keys.insert(key.name.clone(), key.clone()) {
                    self.names_by_key.remove(&before.api_key);
                }
                self.names_by_key.insert(key.api_key.clone(), key.name.clone());
            }
            Change::DeleteApiKey { name } => {
                if let Some(before) = self.keys.remove(name) {
                    self.names_by_key.remove(&before.api_key);
                }
            }
            _ => {} // nothing of theirs
        }
    }

    /// Tells whether a user is the last who may do everything.
    pub(super) fn is_last_administrator(&self, username: &str) -> bool {
        let is_administrator = |user: &UserRecord| user.role == Role::Administrator;
        self.users.get(username).is_some_and(is_administrator)
            && self.users.values().filter(|user| is_administrator(user)).count() == 1
    }
}

impl Accounts {
    /// Takes over the users and keys of a snapshot. A token lives for `token_lifetime_ms` after each use.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        token_lifetime_ms: i64,
        snapshot: &Snapshot,
    ) -> Self {
        let mut records = Records::default();
        for user in &snapshot.users {
            records.apply(&Change::PutUser(user.clone()));
        }
        for key in &snapshot.api_keys {
            records.apply(&Change::PutApiKey(key.clone()));
        }
        Self {
            clock,
            hasher: SlowHasher::new(),
            lockout: Lockout::default(),
            tokens: Tokens::new(token_lifetime_ms),
            key_cache: KeyCache::new(),
            store,
            records: RwLock::new(records),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Looks at the records.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&self.records.read())
    }

    /// Decides on changes by looking at the records, stores them, and only then shows them.
    pub(super) async fn change<T>(
        &self,
        decide: impl FnOnce(&Records) -> Answer<(Vec<Change>, T)>,
    ) -> Answer<T> {
        let _turn = self.changing.lock().await;
        let (changes, result) = self.read(decide)?;
        self.store.apply(&changes).await.map_err(store_failed)?;
        let mut records = self.records.write();
        for change in &changes {
            records.apply(change);
        }
        Ok(result)
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

/// The answer when the store failed: nothing was changed.
pub(crate) fn store_failed(error: StoreError) -> ApiError {
    tracing::error!(error = %error, "the store refused a change");
    ApiError::internal("the change could not be stored, so nothing was changed")
}
