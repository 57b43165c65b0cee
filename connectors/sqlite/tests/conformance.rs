//! What every connector has to pass, on a real file; away means that another program has locked it.

use std::time::Duration;

use async_trait::async_trait;
use connectors_api::{ConnectorDef, Secret};
use connectors_sqlite::DEFINITION;
use connectors_testkit::conformance::{self, Subject};
use serde_json::{Value as Json, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::sync::Mutex;

struct Sqlite {
    path: std::path::PathBuf,
    other: Mutex<SqliteConnection>,
}

#[async_trait]
impl Subject for Sqlite {
    fn definition(&self) -> ConnectorDef {
        DEFINITION
    }

    fn connector(&self) -> Json {
        json!({"path": self.path, "busy_timeout": "50ms", "synchronous": "normal", "journal_mode": "delete"})
    }

    fn parameters(&self) -> Json {
        json!({"table": "t", "columns": {"client": "${client}", "n": "${n}", "v": "${v}"}})
    }

    async fn set_up(&self, up: bool) {
        let statement = if up { "COMMIT" } else { "BEGIN EXCLUSIVE" };
        self.other.lock().await.execute(statement).await.expect("locks or unlocks");
    }

    async fn written(&self) -> Vec<(String, i64)> {
        let rows = self.other.lock().await.fetch_all("SELECT client, n FROM t ORDER BY rowid").await;
        rows.expect("reads").iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn bad_code(&self) -> &'static str {
        "275"
    }

    fn secret(&self) -> Secret {
        Secret::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_others_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("t.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(10));
    let mut other = SqliteConnection::connect_with(&options).await.expect("opens");
    let schema = "CREATE TABLE t (client TEXT, n INTEGER, v TEXT CHECK (v = 'good'))";
    other.execute(schema).await.expect("the schema");
    let subject = Sqlite { path, other: Mutex::new(other) };
    conformance::run(&subject, dir.path()).await;
}
