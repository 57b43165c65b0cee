//! The real services that tests talk to: private instances on spare ports, never the system's own.
//!
//! `cargo xtask services up` starts the shared instances and writes their addresses to `services/env` in cargo's
//! target folder, where a plain `cargo test -p …` finds them too. A test asks for what it needs:
//!
//! ```no_run
//! # fn test() {
//! let Some(database) = tests_services::postgres() else { return };
//! database.sql("create table readings (value int)");
//! # }
//! ```
//!
//! A service that is missing fails the test with a line that says how to start it. It is left out only on request,
//! `SLUICE_TEST_WITHOUT=postgres,python`; then the functions here return `None`, and `cargo xtask test` counts it.
//! Tests of an outage start a throw-away instance of their own: [`PrivatePostgres`].

#![forbid(unsafe_code)]

mod account;
mod addresses;
mod error;
mod left_out;
mod packages;
mod place;
mod postgres;
mod process;
mod python;

pub use addresses::{Addresses, POSTGRES, PYTHON};
pub use error::ServiceError;
pub use left_out::{LeftOut, clear_left_out, is_left_out, left_out_services, left_out_tests};
pub use packages::install as install_packages;
pub use place::{services_folder, target_folder};
pub use postgres::{Database, PostgresServer, PrivatePostgres, postgres, remove_abandoned};
pub use python::{ensure_python, python};
