//! A fresh database for a test.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{PostgresServer, SERVICE};
use crate::left_out::note_if_left_out;
use crate::process::run;
use crate::{Addresses, POSTGRES, ServiceError};

/// A database of its own in the shared instance, dropped with this value.
#[derive(Debug)]
pub struct Database {
    server_url: String,
    name: String,
    url: String,
}

/// A fresh, empty database; `None` when PostgreSQL was left out on request.
///
/// # Panics
/// When the service does not run, with a line that says how to start it.
pub fn postgres() -> Option<Database> {
    if note_if_left_out(SERVICE) {
        return None;
    }
    let made =
        Addresses::find(POSTGRES).ok_or(ServiceError::NotRunning("PostgreSQL")).and_then(Database::create);
    match made {
        Ok(database) => Some(database),
        Err(error) => panic!(
            "this test needs PostgreSQL: start it with `cargo xtask services up`, \
             or leave it out with SLUICE_TEST_WITHOUT={SERVICE} ({})",
            error.chain()
        ),
    }
}

impl Database {
    fn create(server_url: String) -> Result<Self, ServiceError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        // a process of the same number may have left one behind
        psql(&server_url, &format!("drop database if exists {name} with (force)"))?;
        psql(&server_url, &format!("create database {name}"))?;
        let url = format!(
            "{}/{name}",
            server_url.rsplit_once('/').map_or(server_url.as_str(), |(server, _)| server)
        );
        Ok(Self { server_url, name, url })
    }

    /// `postgres://user:password@host:port/database`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs SQL in the database and returns what it prints: a line a row, columns separated by `|`.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        run_sql(&self.url, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = psql(&self.server_url, &format!("drop database {} with (force)", self.name)) {
            eprintln!("cannot drop database `{}`: {}", self.name, error.chain());
        }
    }
}

#[track_caller]
pub(super) fn run_sql(url: &str, sql: &str) -> String {
    match psql(url, sql) {
        Ok(printed) => printed,
        Err(error) => panic!("{sql}: {}", error.chain()),
    }
}

fn psql(url: &str, sql: &str) -> Result<String, ServiceError> {
    let mut command = Command::new(PostgresServer::psql()?);
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
    let printed = run(command.args(["--dbname", url, "--command", sql]))?;
    Ok(printed.trim_end().to_owned())
}
