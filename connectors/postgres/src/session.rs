//! One connection, and the transactions on it.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};
use tokio::time::Instant;

use crate::config::ConnectorConfig;
use crate::plan::safe;

/// One connection to the server.
pub(crate) struct Session {
    connection: PgConnection,
    used_at: Instant,
}

/// What tells a transaction from every other, and whether the server went down since: read when the transaction
/// begins, while the connection is known to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionId {
    /// `txid_current()`.
    pub(crate) number: String,
    /// Process of the server that runs it.
    pub(crate) back_end: String,
    /// The server's latest checkpoint when the transaction began.
    pub(crate) checkpoint: String,
    /// The cluster: another one may have a transaction of the same number.
    pub(crate) system: String,
}

impl Session {
    /// Opens a connection.
    ///
    /// # Errors
    /// What the system or the server says.
    pub(crate) async fn open(config: &ConnectorConfig) -> Result<Self, sqlx::Error> {
        let options = config.connect_options().map_err(sqlx::Error::Io)?.disable_statement_logging();
        let connection = tokio::time::timeout(config.connect_timeout, options.connect()).await;
        let timed_out = |_| sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
        Ok(Self { connection: connection.map_err(timed_out)??, used_at: Instant::now() })
    }

    /// The connection itself.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// How long ago the connection did its last work.
    pub(crate) fn idle_time(&self) -> Duration {
        self.used_at.elapsed()
    }

    /// Notes that the connection has just worked.
    pub(crate) fn touch(&mut self) {
        self.used_at = Instant::now();
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("SELECT 1").await.map(drop)
    }

    /// Begins a transaction whose statements end after `limit`: the server must not work on for somebody who has left.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn begin(
        &mut self,
        limit: Duration,
        tracked: bool,
    ) -> Result<Option<TransactionId>, sqlx::Error> {
        let limit_ms = limit.as_millis().clamp(1, 86_400_000).to_string();
        let begin = ["BEGIN; SET LOCAL statement_timeout = ", &limit_ms].concat();
        if !tracked {
            self.connection.execute(safe(begin)).await?;
            return Ok(None);
        }
        let identify = "; SELECT txid_current()::text, pg_backend_pid()::text, c.checkpoint_lsn::text, \
                        s.system_identifier::text FROM pg_control_checkpoint() c, pg_control_system() s";
        let rows = self.connection.fetch_all(safe(begin + identify)).await?;
        rows.first().map(read_transaction).transpose()
    }

    /// Commits.
    ///
    /// # Errors
    /// What the server says; after an error of the transport nobody knows what became of the transaction.
    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("COMMIT").await.map(drop)
    }

    /// Rolls back.
    ///
    /// # Errors
    /// What the server says; the connection is of no use then.
    pub(crate) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute("ROLLBACK").await.map(drop)
    }

    /// Says good-bye.
    pub(crate) async fn close(self) {
        use sqlx::Connection as _;
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "connection not closed cleanly");
        }
    }
}

fn read_transaction(row: &PgRow) -> Result<TransactionId, sqlx::Error> {
    Ok(TransactionId {
        number: row.try_get(0)?,
        back_end: row.try_get(1)?,
        checkpoint: row.try_get(2)?,
        system: row.try_get(3)?,
    })
}
