//! What the tests of this folder share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_api::{Channel, ChannelContext, Connector, Delivery, Outcome, StartContext};
use connectors_postgres::DEFINITION;
use engine_event::{Value, decode_json};
use serde_json::{Value as Json, json};

/// The connector's options for a URL `postgres://user:password@host:port/database`.
pub(crate) fn config(url: &str) -> Json {
    let rest = url.strip_prefix("postgres://").expect("a URL");
    let (credentials, place) = rest.split_once('@').expect("credentials");
    let (username, password) = credentials.split_once(':').expect("a password");
    let (server, database) = place.split_once('/').expect("a database");
    json!({"server": server, "database": database, "username": username, "password": password, "pool_size": 4})
}

pub(crate) async fn start(config: Json) -> Arc<dyn Connector> {
    let context = StartContext { id: "pgsql:test".into(), data_dir: std::env::temp_dir() };
    (DEFINITION.start)(context, config).await.expect("a connector that starts")
}

pub(crate) async fn connect(url: &str) -> Arc<dyn Connector> {
    start(config(url)).await
}

pub(crate) async fn add(connector: &Arc<dyn Connector>, parameters: Json) -> Arc<dyn Channel> {
    let context = ChannelContext { id: "pgsql:action".into() };
    connector.add_channel(context, &parameters).await.unwrap_or_else(|error| panic!("{parameters}: {error}"))
}

pub(crate) async fn channel(url: &str, parameters: Json) -> Arc<dyn Channel> {
    add(&connect(url).await, parameters).await
}

pub(crate) fn delivery(id: &str, row: &str) -> Delivery {
    let Ok(Value::Map(row)) = decode_json(row.as_bytes()) else { panic!("a row: {row}") };
    Delivery { row, delivery_id: id.into(), rule_id: "r".into(), key: None, attempts: 0 }
}

pub(crate) fn batch(rows: &[&str]) -> Vec<Delivery> {
    rows.iter().enumerate().map(|(number, row)| delivery(&format!("d{number}"), row)).collect()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[track_caller]
pub(crate) fn assert_all_ok(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Ok), "{outcomes:?}");
}

#[track_caller]
pub(crate) fn assert_all_retry(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
}
