//! The ban list as the interface changes it: stored first, then in force, then felt by who is connected.

use std::sync::Arc;

use broker_core::{Ban, BanError, BanSubject, Broker};
use tokio::sync::Mutex;
use tracing::{error, warn};

use crate::access::store_failed;
use crate::store::{Change, Snapshot, Store};
use crate::web::{Answer, ApiError, Code};

/// The ban list of the broker and its copy in the store.
pub struct Bans {
    broker: Arc<Broker>,
    store: Arc<dyn Store>,
    /// Held while a change is on its way to the store, so that list and store change in the same order. It has the
    /// entries that the store has refused: they hold, and are offered to it again.
    unstored: Mutex<Vec<Ban>>,
}

impl Bans {
    /// Takes over the bans of a snapshot; what has ended is taken out by [`Bans::keep`].
    pub(crate) fn new(broker: Arc<Broker>, store: Arc<dyn Store>, snapshot: &Snapshot) -> Self {
        for ban in &snapshot.bans {
            if let Err(error) = broker.bans().put(ban.clone()) {
                let (kind, who) = (ban.subject.kind(), ban.subject.who());
                error!(r#as = kind, who, %error, "a stored ban is not in force");
            }
        }
        Self { broker, store, unstored: Mutex::default() }
    }

    /// Adds an entry and ends the connections of those it is for.
    pub(crate) async fn create(&self, ban: Ban, now_ms: i64) -> Answer<()> {
        let subject = ban.subject.clone();
        {
            let _turn = self.unstored.lock().await;
            if self.broker.bans().get(&subject, now_ms).is_some() {
                return Err(ApiError::new(Code::AlreadyExists, "there is a ban for that already"));
            }
            // in force first: only the list knows whether there is room, and a ban that is not stored can be taken back
            let broker = Arc::clone(&self.broker);
            let added = ban.clone();
            blocking(move || broker.bans().put(added)).await?.map_err(no_room)?;
            if let Err(error) = self.store.apply(&[Change::PutBan(ban)]).await {
                self.broker.bans().remove(&subject);
                return Err(store_failed(error));
            }
        }
        self.expel(subject).await
    }

    /// Takes an entry out and says whether there was one.
    pub(crate) async fn delete(&self, subject: &BanSubject, now_ms: i64) -> Answer<bool> {
        let mut unstored = self.unstored.lock().await;
        if self.broker.bans().get(subject, now_ms).is_none() {
            return Ok(false);
        }
        self.store.apply(&[Change::DeleteBan(subject.clone())]).await.map_err(store_failed)?;
        unstored.retain(|ban| ban.subject != *subject);
        Ok(self.broker.bans().remove(subject))
    }

    /// Takes all entries out.
    pub(crate) async fn clear(&self, now_ms: i64) -> Answer<()> {
        let mut unstored = self.unstored.lock().await;
        let bans = self.broker.bans().all(now_ms);
        let changes: Vec<_> = bans.iter().map(|ban| Change::DeleteBan(ban.subject.clone())).collect();
        self.store.apply(&changes).await.map_err(store_failed)?;
        unstored.clear();
        for ban in &bans {
            self.broker.bans().remove(&ban.subject);
        }
        Ok(())
    }

    /// Stores what the broker has banned by itself, ends connections of those, and forgets what has ended.
    ///
    /// To be called about every second.
    pub async fn keep(&self, now_ms: i64) {
        let mut unstored = self.unstored.lock().await;
        let fresh = self.broker.bans().take_unstored();
        let expired = self.broker.bans().expired(now_ms);
        if fresh.is_empty() && expired.is_empty() && unstored.is_empty() {
            return;
        }
        let subjects: Vec<_> = fresh.iter().map(|ban| ban.subject.clone()).collect();
        unstored.extend(fresh);
        unstored.retain(|ban| !expired.contains(&ban.subject));
        let puts = unstored.iter().map(|ban| Change::PutBan(ban.clone()));
        let changes: Vec<_> = puts.chain(expired.iter().cloned().map(Change::DeleteBan)).collect();
        match self.store.apply(&changes).await {
            Ok(()) => unstored.clear(),
            Err(error) => warn!(%error, "bans are in force, but could not be stored"),
        }
        for subject in &expired {
            // unless the broker has banned it anew meanwhile
            if self.broker.bans().get(subject, now_ms).is_none() {
                self.broker.bans().remove(subject);
            }
        }
        drop(unstored);
        for subject in subjects {
            let _ = self.expel(subject).await; // logged where it broke off
        }
    }

    async fn expel(&self, subject: BanSubject) -> Answer<()> {
        let broker = Arc::clone(&self.broker);
        blocking(move || broker.expel(&subject)).await.map(|_| ())
    }
}

impl std::fmt::Debug for Bans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bans").finish_non_exhaustive()
    }
}

/// Works away from the threads that answer requests: patterns are compiled, and there may be very many clients.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ApiError::internal("the request broke off inside the server"))
}

fn no_room(error: BanError) -> ApiError {
    match error {
        BanError::Full => ApiError::new(Code::ExceedLimit, error.to_string()),
        error => ApiError::bad_request(format!("who: {error}")),
    }
}
