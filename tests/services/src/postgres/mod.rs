//! PostgreSQL.

mod binaries;
mod database;
mod private;
mod server;

pub use database::{Database, postgres};
pub use private::{PrivatePostgres, remove_abandoned};
pub use server::PostgresServer;

/// Its name in `SLUICE_TEST_WITHOUT`.
const SERVICE: &str = "postgres";
