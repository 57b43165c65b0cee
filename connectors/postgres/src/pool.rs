//! A bounded set of connections.
//!
//! The library's own pool pings at every turn or not at all, and keeps connections that a restart of the server has
//! killed. This one drops all idle connections when one of them turns out to be dead, and pings only after a pause.

use std::sync::Mutex;
use std::time::Duration;

use connectors_api::Reason;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::classify::classify;
use crate::config::ConnectorConfig;
use crate::session::Session;

/// A connection that was idle for longer is asked for a sign of life first.
const PING_AFTER: Duration = Duration::from_secs(30);
/// A sign of life that takes longer is none.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Connections to one server.
pub(crate) struct Pool {
    config: ConnectorConfig,
    permits: Semaphore,
    idle: Mutex<Vec<Session>>,
}

/// A connection in use: given back with [`Lease::give_back`], closed when dropped.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    pub(crate) session: Session,
    /// Opened just now: what it says is news.
    pub(crate) is_fresh: bool,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    /// Makes a pool without a connection.
    pub(crate) fn new(config: ConnectorConfig) -> Self {
        let permits = Semaphore::new(config.pool_size as usize);
        Self { config, permits, idle: Mutex::new(Vec::new()) }
    }

    /// Statements are prepared once per connection.
    pub(crate) fn keeps_prepared(&self) -> bool {
        self.config.keep_prepared
    }

    /// Takes an idle connection, or opens one.
    ///
    /// # Errors
    /// Why there is none before the deadline.
    pub(crate) async fn lease(&self, deadline: Instant) -> Result<Lease<'_>, Reason> {
        let late = || Reason::transport("no connection before the deadline");
        tokio::time::timeout_at(deadline, self.lease_whenever()).await.map_err(|_| late())?
    }

    /// Opens a connection, be there an idle one or not. Statements are prepared on such: the library remembers what
    /// it prepared on a connection, also for a table that has changed since.
    ///
    /// # Errors
    /// Why there is none before the deadline.
    pub(crate) async fn lease_fresh(&self, deadline: Instant) -> Result<Lease<'_>, Reason> {
        let opened = async { self.open(self.permit().await?).await };
        let late = || Reason::transport("no connection before the deadline");
        tokio::time::timeout_at(deadline, opened).await.map_err(|_| late())?
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Reason> {
        self.permits.acquire().await.map_err(|_| Reason::transport("the connector is stopped"))
    }

    async fn open<'a>(&'a self, permit: SemaphorePermit<'a>) -> Result<Lease<'a>, Reason> {
        let session = Session::open(&self.config).await.map_err(|error| classify(&error).1)?;
        Ok(Lease { pool: self, session, is_fresh: true, _permit: permit })
    }

    async fn lease_whenever(&self) -> Result<Lease<'_>, Reason> {
        let permit =
            self.permits.acquire().await.map_err(|_| Reason::transport("the connector is stopped"))?;
        while let Some(mut session) = self.take_idle() {
            if session.idle_time() < PING_AFTER || is_alive(&mut session).await {
                return Ok(Lease { pool: self, session, is_fresh: false, _permit: permit });
            }
            self.drop_idle();
        }
        self.open(permit).await
    }

    fn take_idle(&self) -> Option<Session> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Drops all idle connections: one was dead, so the others are as well.
    pub(crate) fn drop_idle(&self) {
        self.idle().clear();
    }

    /// Refuses new work and closes what is idle.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for session in idle {
            session.close().await;
        }
    }
}

impl Lease<'_> {
    /// Returns the connection for the next one to use.
    pub(crate) fn give_back(mut self) {
        if !self.pool.permits.is_closed() {
            self.session.touch();
            self.pool.idle().push(self.session);
        }
    }
}

async fn is_alive(session: &mut Session) -> bool {
    matches!(tokio::time::timeout(PING_LIMIT, session.ping()).await, Ok(Ok(())))
}
