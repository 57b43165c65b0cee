//! The connections to a file: one writes, others look.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::{Mutex, MutexGuard};

use crate::config::ConnectorConfig;
use crate::statement::Statement;

/// Statements that a connection keeps prepared.
const STATEMENTS_KEPT: usize = 256;

/// Longest wait for the connection at a stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A file with its connections, opened when they are needed.
#[derive(Debug)]
pub(crate) struct Database {
    options: SqliteConnectOptions,
    writer: Mutex<Option<SqliteConnection>>,
}

/// A connection that is ours until the guard is dropped.
pub(crate) struct Lease<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    options: &'a SqliteConnectOptions,
}

impl Database {
    /// Names the file; opens nothing.
    pub(crate) fn new(config: &ConnectorConfig, data_dir: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            // joining an absolute path gives that path
            .filename(data_dir.join(&config.path))
            .create_if_missing(true)
            .busy_timeout(config.busy_timeout.duration())
            .journal_mode(config.journal_mode)
            .synchronous(config.synchronous)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .disable_statement_logging();
        Self { options, writer: Mutex::new(None) }
    }

    /// The connection that writes, in the order of asking.
    pub(crate) async fn writer(&self) -> Result<Lease<'_>, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        if slot.is_none() {
            *slot = Some(self.options.connect().await?);
        }
        Ok(Lease { slot, options: &self.options })
    }

    /// A new connection that sees the file and its tables as they are now, for checks. Makes no file.
    ///
    /// A connection that is kept would compile statements against the tables it knows, also when another program
    /// has dropped them.
    pub(crate) async fn observer(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options.clone().create_if_missing(false).connect().await
    }

    /// Closes the connection that writes. One that is busy closes when its work is done.
    pub(crate) async fn close(&self) {
        let close = async {
            if let Some(connection) = self.writer.lock().await.take() {
                let _closed = connection.close().await;
            }
        };
        let _in_time = tokio::time::timeout(CLOSE_LIMIT, close).await;
    }
}

impl Lease<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        self.slot.as_mut().expect("a lease is made of an open connection")
    }

    /// Makes sure that no transaction is open, by opening a new connection if need be: SQLite may have ended a
    /// transaction by itself, and then the client does not know.
    pub(crate) async fn leave_transaction(&mut self) -> Result<(), sqlx::Error> {
        if self.connection().is_in_transaction() {
            let fresh = self.options.connect().await?;
            *self.slot = Some(fresh);
        }
        Ok(())
    }

    /// Gives up the connection: the next lease opens a new one.
    pub(crate) fn discard(mut self) {
        *self.slot = None;
    }
}

/// Compiles a statement without running it, against the tables as the connection knows them.
pub(crate) async fn compile(
    connection: &mut SqliteConnection,
    statement: &Statement,
) -> Result<(), sqlx::Error> {
    let explained = format!("EXPLAIN {}", statement.text(1));
    connection.execute(sqlx::query(checked(explained)).persistent(false)).await.map(drop)
}

/// Reads the schema, which fails when the file cannot be opened or is no database.
pub(crate) async fn look(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute("SELECT count(*) FROM sqlite_schema").await.map(drop)
}

/// Marks the text of a statement as safe: it was checked when it was compiled, comes from the configuration with its
/// names quoted, and holds places for values, never values.
#[allow(clippy::disallowed_methods, reason = "the one place where checked statements are marked")]
pub(crate) fn checked(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}
