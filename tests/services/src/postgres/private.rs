//! A throw-away instance for tests that kill it.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use super::database::run_sql;
use super::{PostgresServer, SERVICE};
use crate::ServiceError;
use crate::account::Account;
use crate::left_out::note_if_left_out;
use crate::process::is_alive;

const PREFIX: &str = "private-postgres-";

/// A PostgreSQL instance of one test: to be killed, stopped and started again; gone with this value.
#[derive(Debug)]
pub struct PrivatePostgres(PostgresServer);

impl PrivatePostgres {
    /// Starts a new instance; `None` when PostgreSQL was left out on request.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if note_if_left_out(SERVICE) {
            return None;
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let started =
            PostgresServer::named(&format!("{PREFIX}{}-{number}", std::process::id())).and_then(|server| {
                let instance = Self(server);
                instance.0.start()?;
                Ok(instance)
            });
        Some(started.unwrap_or_else(|error| panic!("cannot start a private PostgreSQL: {}", error.chain())))
    }

    /// `postgres://user:password@host:port/postgres`; the same after a restart.
    ///
    /// # Panics
    /// When the files of the instance are gone.
    pub fn url(&self) -> String {
        self.0.url().expect("a started instance has a port and a password")
    }

    /// Runs SQL and returns what it prints: a line a row, columns separated by `|`.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        run_sql(&self.url(), sql)
    }

    /// Kills the instance with signal 9.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Starts the instance again after [`Self::kill`], on the same port, with what it had committed.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&self) {
        if let Err(error) = self.0.start() {
            panic!("cannot start the private PostgreSQL again: {}", error.chain());
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// Stops and removes private instances whose test process is gone.
///
/// # Errors
/// When PostgreSQL's programs are missing.
pub fn remove_abandoned() -> Result<(), ServiceError> {
    let data = Account::choose()?.data_folder()?;
    let entries = fs::read_dir(&data).map_err(ServiceError::file("look into", &data))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| !is_alive(pid)) {
            end(&PostgresServer::named(&name)?);
        }
    }
    Ok(())
}

fn end(server: &PostgresServer) {
    if server.is_running() {
        server.kill();
    }
    server.remove();
}
