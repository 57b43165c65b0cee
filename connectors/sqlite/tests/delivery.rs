//! What `deliver` answers, on real files.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_api::{Channel, ChannelError, Connector, Delivery, Health, Outcome, StartError};
use connectors_sqlite::DEFINITION;
use connectors_testkit::direct::{add_channel, deliver, deliver_within, delivery, row, start};
use engine_event::{Row, Text};
use serde_json::{Value as Json, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _, Row as _};

struct Fixture {
    dir: tempfile::TempDir,
    connector: Arc<dyn Connector>,
    other: SqliteConnection,
}

/// A started connector on a new file, with another connection that made `schema`.
async fn fixture(schema: &'static str) -> Fixture {
    let dir = tempfile::tempdir().expect("a directory");
    let config = json!({"path": "t.db", "busy_timeout": "50ms", "synchronous": "normal"});
    let connector = start(DEFINITION, &config, dir.path()).await.expect("starts");
    let mut other = open(&dir.path().join("t.db")).await;
    if !schema.is_empty() {
        other.execute(schema).await.expect("the schema");
    }
    Fixture { dir, connector, other }
}

async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(5));
    SqliteConnection::connect_with(&options).await.expect("opens")
}

impl Fixture {
    async fn channel(&self, parameters: Json) -> Arc<dyn Channel> {
        add_channel(DEFINITION, self.connector.as_ref(), &parameters).await.expect("a channel")
    }

    async fn texts(&mut self, sql: &'static str) -> Vec<String> {
        let rows = self.other.fetch_all(sql).await.expect("reads");
        rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_else(|| "NULL".to_owned())).collect()
    }
}

fn rows_of(values: impl IntoIterator<Item = Json>) -> Vec<Delivery> {
    values.into_iter().enumerate().map(|(number, value)| delivery(number, None, row(&value))).collect()
}

#[track_caller]
fn assert_rejected(outcome: &Outcome, code: &str, message: &str) {
    let Outcome::Reject(reason) = outcome else { panic!("expected a rejection, got {outcome:?}") };
    assert_eq!(reason.code.as_deref(), Some(code), "{reason}");
    assert!(reason.message.contains(message), "{reason}");
}

#[track_caller]
fn assert_all_retry(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })), "{outcomes:?}");
}

#[tokio::test]
async fn values_arrive_with_their_types() {
    let mut fixture = fixture("").await;
    let channel =
        fixture.channel(json!({"table": "t", "columns": {"v": "${v}"}, "create_table": true})).await;
    let large = "x".repeat(1 << 20);
    let mut batch = rows_of([
        json!({}),
        json!({"v": null}),
        json!({"v": true}),
        json!({"v": -7}),
        json!({"v": 2.5}),
        json!({"v": "Robert'); DROP TABLE t;--"}),
        json!({"v": "a\u{0}b"}),
        json!({"v": [1, {"a": "ü"}]}),
        json!({"v": large}),
    ]);
    let bytes: Row = [("v", Text::copy_from(b"\xff\x00"))].into_iter().collect();
    batch.push(delivery(99, None, bytes));
    assert_eq!(deliver(channel.as_ref(), &batch).await, vec![Outcome::Ok; batch.len()]);
    assert_eq!(
        fixture.texts("SELECT typeof(v) || ' ' || substr(quote(v), 1, 40) FROM t ORDER BY rowid").await,
        [
            "null NULL".to_owned(),
            "null NULL".to_owned(),
            "integer 1".to_owned(),
            "integer -7".to_owned(),
            "real 2.5".to_owned(),
            "text 'Robert''); DROP TABLE t;--'".to_owned(),
            "text 'a'".to_owned(),
            r#"text '[1,{"a":"ü"}]'"#.to_owned(),
            format!("text '{}", "x".repeat(39)),
            "blob X'FF00'".to_owned(),
        ]
    );
    assert_eq!(
        fixture.texts("SELECT cast(length(cast(v AS BLOB)) AS TEXT) FROM t WHERE rowid IN (7, 9)").await,
        ["3", "1048576"]
    );
}

#[tokio::test]
async fn one_bad_row_of_a_hundred_is_rejected_alone() {
    for parameters in [
        json!({"table": "t", "columns": {"n": "${n}", "v": "${v}"}}),
        json!({"sql": "INSERT INTO t (n, v) VALUES (${n}, ${v})"}),
        json!({"sql": "INSERT INTO t (n, v) SELECT ${n}, ${v}"}),
    ] {
        let mut fixture = fixture("CREATE TABLE t (n INTEGER PRIMARY KEY, v REAL NOT NULL) STRICT").await;
        let channel = fixture.channel(parameters.clone()).await;
        let mut values: Vec<Json> = (0..100).map(|n| json!({"n": n, "v": 0.5})).collect();
        values[37] = json!({"n": 37});
        let outcomes = deliver(channel.as_ref(), &rows_of(values)).await;
        for (index, outcome) in outcomes.iter().enumerate() {
            match index {
                37 => assert_rejected(outcome, "1299", "NOT NULL constraint failed: t.v"),
                _ => assert_eq!(*outcome, Outcome::Ok, "{index} {parameters}"),
            }
        }
        assert_eq!(
            fixture.texts("SELECT count(*) || ' ' || sum(n) FROM t").await,
            [format!("99 {}", 4950 - 37)]
        );
    }
}

#[tokio::test]
async fn every_refusal_of_a_row_names_its_code() {
    let schema = "CREATE TABLE t (n INTEGER PRIMARY KEY, v REAL CHECK (v < 10), j TEXT AS (json(x)) STORED, x TEXT) STRICT;
        INSERT INTO t (n) VALUES (1);
        CREATE TRIGGER stop BEFORE INSERT ON t WHEN new.n = 13 BEGIN SELECT RAISE(ABORT, 'unlucky'); END;";
    let mut fixture = fixture(schema).await;
    let channel = fixture.channel(json!({"sql": "INSERT INTO t (n, v, x) VALUES (${n}, ${v}, ${x})"})).await;
    for (value, code, message) in [
        (json!({"n": 1}), "1555", "UNIQUE constraint failed: t.n"),
        (json!({"n": 2, "v": 11}), "275", "CHECK constraint failed"),
        (json!({"n": "two"}), "20", "datatype mismatch"),
        (json!({"n": 2, "v": "much"}), "3091", "cannot store TEXT value in REAL column t.v"),
        (json!({"n": 13}), "1811", "unlucky"),
        (json!({"n": 2, "x": "{not json"}), "1", "malformed JSON"),
    ] {
        let outcomes =
            deliver(channel.as_ref(), &rows_of([value.clone(), json!({"n": 50}), value.clone()])).await;
        assert_rejected(&outcomes[0], code, message);
        assert_eq!(outcomes[1], Outcome::Ok, "{value}");
        assert_rejected(&outcomes[2], code, message);
        assert_eq!(fixture.texts("DELETE FROM t WHERE n = 50 RETURNING n || ''").await, ["50"]);
    }
}

#[tokio::test]
async fn faults_that_end_the_transaction_or_show_at_the_commit_are_found_too() {
    let schema = "CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (1);
        CREATE TABLE deferred (p INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE whole (p INTEGER UNIQUE ON CONFLICT ROLLBACK);";
    let mut fixture = fixture(schema).await;
    let channel = fixture.channel(json!({"table": "deferred", "columns": {"p": "${p}"}})).await;
    let outcomes =
        deliver(channel.as_ref(), &rows_of([json!({"p": 1}), json!({"p": 2}), json!({"p": 1})])).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Ok, &Outcome::Ok));
    assert_rejected(&outcomes[1], "787", "FOREIGN KEY constraint failed");
    assert_eq!(fixture.texts("SELECT p || '' FROM deferred").await, ["1", "1"]);

    let channel = fixture.channel(json!({"table": "whole", "columns": {"p": "${p}"}})).await;
    let outcomes =
        deliver(channel.as_ref(), &rows_of([json!({"p": 1}), json!({"p": 1}), json!({"p": 2})])).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Ok, &Outcome::Ok));
    assert_rejected(&outcomes[1], "2067", "UNIQUE constraint failed");
    assert_eq!(fixture.texts("SELECT p || '' FROM whole ORDER BY p").await, ["1", "2"]);
}

#[tokio::test]
async fn a_locked_file_is_retried_and_nothing_is_doubled() {
    let mut fixture = fixture("CREATE TABLE t (n INTEGER)").await;
    let channel = fixture.channel(json!({"table": "t", "columns": {"n": "${n}"}})).await;
    let batch = rows_of((0..3).map(|n| json!({"n": n})));
    fixture.other.execute("BEGIN IMMEDIATE").await.unwrap();
    let outcomes = deliver(channel.as_ref(), &batch).await;
    assert_all_retry(&outcomes);
    let Outcome::Retry { reason, .. } = &outcomes[0] else { panic!() };
    assert_eq!(reason.to_string(), "5: database is locked");
    // a check reads, and readers are not held up
    assert_eq!(fixture.connector.check().await, Health::Connected);
    let asked = Instant::now();
    assert_all_retry(&deliver_within(channel.as_ref(), &batch, Duration::from_millis(10)).await);
    assert!(asked.elapsed() < Duration::from_secs(2));
    fixture.other.execute("COMMIT").await.unwrap();
    assert_eq!(deliver(channel.as_ref(), &batch).await, vec![Outcome::Ok; 3]);
    assert_eq!(fixture.texts("SELECT n || '' FROM t").await, ["0", "1", "2"]);
}

#[tokio::test]
async fn the_delivery_id_makes_retries_idempotent() {
    let mut fixture = fixture("").await;
    let channel = fixture
        .channel(json!({"table": "t", "columns": {"id": "${delivery_id}", "n": "${n}"},
            "on_conflict": "ignore", "keys": ["id"], "create_table": {"id": "TEXT NOT NULL"}}))
        .await;
    let batch = rows_of((0..3).map(|n| json!({"n": n})));
    for _ in 0..2 {
        assert_eq!(deliver(channel.as_ref(), &batch).await, vec![Outcome::Ok; 3]);
    }
    assert_eq!(
        fixture.texts("SELECT id || ' ' || n FROM t").await,
        ["delivery-0 0", "delivery-1 1", "delivery-2 2"]
    );
}

#[tokio::test]
async fn an_update_of_the_key_overwrites() {
    let mut fixture = fixture("").await;
    let channel = fixture
        .channel(json!({"table": "t", "columns": {"site": "${site}", "v": "${v}"},
            "on_conflict": "update", "keys": ["site"], "create_table": true}))
        .await;
    let values = [json!({"site": "a", "v": 1}), json!({"site": "b", "v": 2}), json!({"site": "a", "v": 3})];
    assert_eq!(deliver(channel.as_ref(), &rows_of(values)).await, vec![Outcome::Ok; 3]);
    assert_eq!(fixture.texts("SELECT site || v FROM t ORDER BY site").await, ["a3", "b2"]);
}

#[tokio::test]
async fn a_missing_table_is_the_targets_fault() {
    let mut fixture = fixture("").await;
    let parameters = json!({"sql": "INSERT INTO t (n) VALUES (${n})"});
    let error = add_channel(DEFINITION, fixture.connector.as_ref(), &parameters).await.err();
    assert!(
        matches!(&error, Some(ChannelError::Unhealthy(reason)) if reason.message == "no such table: t"),
        "{error:?}"
    );
    fixture.other.execute("CREATE TABLE t (n INTEGER)").await.unwrap();
    let channel = fixture.channel(parameters).await;
    assert_eq!(channel.check().await, Health::Connected);
    fixture.other.execute("DROP TABLE t").await.unwrap();
    let batch = rows_of([json!({"n": 1}), json!({"n": 2})]);
    assert_all_retry(&deliver(channel.as_ref(), &batch).await);
    assert_eq!(channel.check().await, Health::Disconnected("1: no such table: t".to_owned()));
    fixture.other.execute("CREATE TABLE t (n INTEGER)").await.unwrap();
    assert_eq!(channel.check().await, Health::Connected);
    assert_eq!(deliver(channel.as_ref(), &batch).await, vec![Outcome::Ok; 2]);
}

#[tokio::test]
async fn wrong_sql_is_a_configuration_error() {
    let fixture = fixture("CREATE TABLE t (n INTEGER)").await;
    for (parameters, want) in [
        (json!({"sql": "INSERT INTO t (n) VALUE (${n})"}), "sql: near \"VALUE\": syntax error"),
        (
            json!({"table": "u", "columns": {"a": "x"}, "create_table": {"a": "TEXT DEFAULT"}}),
            "create_table: ",
        ),
    ] {
        let error = add_channel(DEFINITION, fixture.connector.as_ref(), &parameters).await.err();
        assert!(
            matches!(&error, Some(ChannelError::Config(found)) if found.to_string().contains(want)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_the_targets_fault() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none/t.db");
    let config = json!({"path": missing.to_str().unwrap()});
    let error = start(DEFINITION, &config, dir.path()).await.err();
    assert!(
        matches!(&error, Some(StartError::Target(reason)) if reason.to_string() == "14: unable to open database file"),
        "{error:?}"
    );
    std::fs::create_dir(dir.path().join("none")).unwrap();
    start(DEFINITION, &config, dir.path()).await.expect("starts when the directory is there");

    std::fs::write(dir.path().join("no.db"), "this is not a database, whatever its name says ".repeat(50))
        .unwrap();
    let error = start(DEFINITION, &json!({"path": "no.db"}), dir.path()).await.err();
    assert!(
        matches!(&error, Some(StartError::Target(reason)) if reason.code.as_deref() == Some("26")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_preview_binds_nothing_into_the_text() {
    let fixture = fixture("CREATE TABLE t (a, b)").await;
    let channel = fixture.channel(json!({"sql": "INSERT INTO t VALUES (${a}, 'x ${b}')"})).await;
    assert_eq!(
        channel.render(&row(&json!({"a": "1); DROP TABLE t", "b": 2}))).unwrap(),
        json!({"sql": "INSERT INTO t VALUES (?, ?)", "values": ["1); DROP TABLE t", "x 2"]})
    );
    assert!(fixture.dir.path().join("t.db").exists());
}
