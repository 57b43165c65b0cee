//! What every connector has to pass, on a real PostgreSQL behind a proxy.

mod support;

use async_trait::async_trait;
use connectors_api::{ConnectorDef, Secret};
use connectors_postgres::DEFINITION;
use connectors_testkit::conformance::{self, Subject};
use connectors_testkit::{Fault, FaultProxy};
use serde_json::{Value as Json, json};
use support::config;
use tests_services::Database;

struct Postgres {
    database: Database,
    proxy: FaultProxy,
}

#[async_trait]
impl Subject for Postgres {
    fn definition(&self) -> ConnectorDef {
        DEFINITION
    }

    fn connector(&self) -> Json {
        let mut config = config(self.database.url());
        config["server"] = self.proxy.address().to_string().into();
        config
    }

    fn parameters(&self) -> Json {
        json!({"table": "t", "columns": {"client": "${client}", "n": "${n}", "v": "${v}"}})
    }

    async fn set_up(&self, up: bool) {
        self.proxy.set(if up { Fault::Pass } else { Fault::Refuse });
    }

    async fn written(&self) -> Vec<(String, i64)> {
        let lines = self.database.sql("select client, n from t order by id");
        let rows = lines.lines().map(|line| {
            let (client, number) = line.split_once('|').expect("two columns");
            (client.to_owned(), number.parse().expect("a number"))
        });
        rows.collect()
    }

    fn bad_code(&self) -> &'static str {
        "23514"
    }

    fn secret(&self) -> Secret {
        let config = config(self.database.url());
        Secret::new(config["password"].as_str().unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (id bigserial, client text, n bigint, v text check (v = 'good'))");
    let config = config(database.url());
    let server = config["server"].as_str().and_then(|server| server.parse().ok()).expect("an address");
    let proxy = FaultProxy::start(server).await.expect("a proxy");
    conformance::run(&Postgres { database, proxy }, &std::env::temp_dir()).await;
}
