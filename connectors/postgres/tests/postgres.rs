//! Rows into a real PostgreSQL.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_api::{Channel, ChannelContext, ChannelError, Delivery, Health, Outcome, StartContext};
use connectors_postgres::DEFINITION;
use engine_event::{Row, Value};
use serde_json::json;
use support::{assert_all_ok, batch, channel, config, connect, delivery, soon};
use tests_services::{Database, PrivatePostgres};

/// Writes one row `{"v": …}` with `sql` made for a column of `column_type`, and reads it back.
async fn check_type(database: &Database, column_type: &str, json: &str, want: &str) {
    database.sql(&format!("drop table if exists t; create table t (v {column_type})"));
    for rows in [1, 2] {
        database.sql("truncate t");
        let channel = channel(database.url(), json!({"table": "t", "columns": {"v": "${v}"}})).await;
        let row = format!("{{\"v\":{json}}}");
        assert_all_ok(&channel.deliver(&batch(&vec![row.as_str(); rows]), soon()).await);
        let got = database.sql("set timezone to 'UTC'; select coalesce(v::text, 'NULL') from t");
        assert_eq!(got, vec![want; rows].join("\n"), "{json} into {column_type}, {rows} rows");
    }
}

#[tokio::test]
async fn values_take_the_type_of_their_column() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create domain percent as int check (value between 0 and 100); create type mood as enum ('ok', 'bad')");
    for (column_type, json, want) in [
        ("text", "\"it's \\\"${x}\\\"; drop table t\"", "it's \"${x}\"; drop table t"),
        ("text", "1.5", "1.5"),
        ("text", "{\"a\":1}", "{\"a\":1}"),
        ("varchar(10)", "\"ä\"", "ä"),
        ("char(3)", "\"abc\"", "abc"),
        ("int", "7", "7"),
        ("int", "7.0", "7"),
        ("smallint", "-7", "-7"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("numeric", "123456789012345678901234567890", "123456789012345678901234567890"),
        ("numeric(10,2)", "\"1.25\"", "1.25"),
        ("double precision", "0.1", "0.1"),
        ("double precision", "3", "3"),
        ("boolean", "true", "true"),
        ("jsonb", "{\"a\":[1,null]}", "{\"a\": [1, null]}"),
        ("json", "\"{\\\"a\\\":1}\"", "{\"a\":1}"),
        ("uuid", "\"6f1c9a0e-0000-4000-8000-000000000001\"", "6f1c9a0e-0000-4000-8000-000000000001"),
        ("timestamptz", "1790000000123", "2026-09-21 14:13:20.123+00"),
        ("timestamptz", "\"2026-01-01T00:00:00Z\"", "2026-01-01 00:00:00+00"),
        ("timestamp", "0", "1970-01-01 00:00:00"),
        ("date", "0", "1970-01-01"),
        ("bytea", "\"az\"", "\\x617a"),
        ("int[]", "[1,null,3]", "{1,NULL,3}"),
        ("text[]", "[\"a,b\",\"c\\\"d\"]", "{\"a,b\",\"c\\\"d\"}"),
        ("jsonb[]", "[{\"a\":1}]", "{\"{\\\"a\\\": 1}\"}"),
        ("inet", "\"10.0.0.1\"", "10.0.0.1/32"),
        ("interval", "\"1 hour\"", "01:00:00"),
        ("percent", "50", "50"),
        ("mood", "\"bad\"", "bad"),
        ("int", "null", "NULL"),
    ] {
        check_type(&database, column_type, json, want).await;
    }
}

#[tokio::test]
async fn a_statement_keeps_its_expressions() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql(
        "create table t_mqtt_msg (id text primary key, topic text, n bigint, arrived timestamptz, note text)",
    );
    let sql = "INSERT INTO t_mqtt_msg (id, topic, n, arrived, note) VALUES ('${id}', ${topic}, ${n} + 1, \
               TO_TIMESTAMP((${timestamp} :: bigint)/1000), 'from ${topic}') ON CONFLICT (id) DO NOTHING";
    let channel = channel(database.url(), json!({"sql": sql})).await;
    let rows = batch(&[
        r#"{"id":"a","topic":"t/1","n":1,"timestamp":1790000000000}"#,
        r#"{"id":"b","topic":"t/2","timestamp":1790000000000}"#,
        r#"{"id":"a","topic":"t/3","n":3,"timestamp":1790000000000}"#,
    ]);
    assert_all_ok(&channel.deliver(&rows, soon()).await);
    assert_eq!(
        database.sql("set timezone to 'UTC'; select * from t_mqtt_msg order by id"),
        "a|t/1|2|2026-09-21 14:13:20+00|from t/1\nb|t/2||2026-09-21 14:13:20+00|from t/2"
    );
}

#[tokio::test]
async fn statements_of_other_kinds_run_for_each_row() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (k text primary key, n int); insert into t values ('a', 0), ('b', 0)");
    let channel = channel(database.url(), json!({"sql": "UPDATE t SET n = n + ${n} WHERE k = ${k}"})).await;
    let rows =
        batch(&[r#"{"k":"a","n":1}"#, r#"{"k":"b","n":"x"}"#, r#"{"k":"a","n":2}"#, r#"{"k":"b","n":5}"#]);
    let outcomes = channel.deliver(&rows, soon()).await;
    assert!(
        matches!(&outcomes[1], Outcome::Reject(reason) if reason.code.as_deref() == Some("22P02")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Ok).count(), 3);
    assert_eq!(database.sql("select k, n from t order by k"), "a|3\nb|5");
}

#[tokio::test]
async fn one_bad_row_of_a_hundred_stands_alone() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (v int check (v <> 13), at serial)");
    let channel = channel(database.url(), json!({"table": "t", "columns": {"v": "${v}"}})).await;
    for (bad, sqlstate) in [("13", "23514"), ("\"x\"", "22P02"), ("99999999999", "22003")] {
        database.sql("truncate t");
        let rows: Vec<String> = (100..200)
            .map(|number| {
                format!("{{\"v\":{}}}", if number == 162 { bad.to_owned() } else { number.to_string() })
            })
            .collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let outcomes = channel.deliver(&batch(&rows), soon()).await;
        match &outcomes[62] {
            Outcome::Reject(reason) => assert_eq!(reason.code.as_deref(), Some(sqlstate), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Ok).count(), 99);
        let inserted: Vec<String> =
            (100..200).filter(|number| *number != 162).map(|number| number.to_string()).collect();
        assert_eq!(database.sql("select v from t order by at"), inserted.join("\n"), "{bad}");
    }
}

#[tokio::test]
async fn text_that_is_no_text_for_the_server_is_rejected() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (v text)");
    let channel = channel(database.url(), json!({"table": "t", "columns": {"v": "${v}"}})).await;
    let outcomes =
        channel.deliver(&batch(&[r#"{"v":"a"}"#, "{\"v\":\"\\u0000\"}", r#"{"v":"b"}"#]), soon()).await;
    assert!(
        matches!(&outcomes[1], Outcome::Reject(reason) if reason.code.as_deref() == Some("22021")),
        "{outcomes:?}"
    );
    assert_eq!(database.sql("select v from t order by v"), "a\nb");
}

#[tokio::test]
async fn the_last_of_several_updates_wins() {
    let Some(database) = tests_services::postgres() else { return };
    let parameters = json!({
        "table": "state", "create_table": "if_missing", "key": ["id"], "on_conflict": "update",
        "columns": {"id": "${id}", "v": {"value": "${v}", "type": "int"}},
    });
    let channel = channel(database.url(), parameters).await;
    let rows = batch(&[r#"{"id":"a","v":1}"#, r#"{"id":"b","v":2}"#, r#"{"id":"a","v":3}"#]);
    assert_all_ok(&channel.deliver(&rows, soon()).await);
    assert_eq!(database.sql("select id, v from state order by id"), "a|3\nb|2");
}

#[tokio::test]
async fn a_delivery_id_column_makes_a_repeated_row_harmless() {
    let Some(database) = tests_services::postgres() else { return };
    let parameters = json!({
        "table": "t", "create_table": true, "columns": {"v": "${v}"}, "delivery_id_column": "delivery_id",
    });
    let channel = channel(database.url(), parameters).await;
    let rows = batch(&[r#"{"v":1}"#, r#"{"v":2}"#]);
    assert_all_ok(&channel.deliver(&rows, soon()).await);
    assert_all_ok(&channel.deliver(&rows, soon()).await);
    assert_eq!(database.sql("select v, delivery_id from t order by v"), "1|d0\n2|d1");
}

#[tokio::test]
async fn a_missing_table_is_unhealthy_until_it_is_there() {
    let Some(database) = tests_services::postgres() else { return };
    let parameters = json!({"table": "t", "columns": {"v": "${v}"}});
    let connector = connect(database.url()).await;
    let added = connector.add_channel(ChannelContext { id: "pgsql:a".into() }, &parameters).await;
    assert!(
        matches!(&added, Err(ChannelError::Unhealthy(reason)) if reason.code.as_deref() == Some("42P01"))
    );
    database.sql("create table t (v int)");
    let channel =
        connector.add_channel(ChannelContext { id: "pgsql:a".into() }, &parameters).await.expect("there");

    database.sql("drop table t");
    let outcomes = channel.deliver(&batch(&[r#"{"v":1}"#]), soon()).await;
    assert!(
        matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.code.as_deref() == Some("42P01")),
        "{outcomes:?}"
    );
    assert!(matches!(channel.check().await, Health::Disconnected(reason) if reason.contains("42P01")));
    database.sql("create table t (v text)");
    assert_eq!(channel.check().await, Health::Connected);
    assert_all_ok(&channel.deliver(&batch(&[r#"{"v":"one"}"#]), soon()).await);
}

#[tokio::test]
async fn a_table_made_anew_is_looked_at_anew() {
    let Some(database) = tests_services::postgres() else { return };
    let connector = connect(database.url()).await;
    for (column_type, want) in [("text", "{\"a\":1}"), ("jsonb", "{\"a\": 1}")] {
        database.sql(&format!("drop table if exists t; create table t (v {column_type})"));
        let channel = support::add(&connector, json!({"table": "t", "columns": {"v": "${v}"}})).await;
        assert_all_ok(&channel.deliver(&batch(&[r#"{"v":{"a":1}}"#; 2]), soon()).await);
        assert_eq!(database.sql("select v from t limit 1"), want);
    }
}

#[tokio::test]
async fn what_cannot_be_prepared_is_a_configuration_error() {
    let Some(database) = tests_services::postgres() else { return };
    let connector = connect(database.url()).await;
    let added =
        connector.add_channel(ChannelContext { id: "pgsql:a".into() }, &json!({"sql": "INSRT INTO t"})).await;
    assert!(matches!(added, Err(ChannelError::Config(_))));
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let Some(database) = tests_services::postgres() else { return };
    let mut config = config(database.url());
    config["password"] = json!("hunter2");
    let context = StartContext { id: "pgsql:test".into(), data_dir: std::env::temp_dir() };
    let error = (DEFINITION.start)(context, config).await.err().expect("refused").to_string();
    assert!(error.contains("28P01") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn without_prepared_statements_rows_arrive_as_well() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (v int)");
    let mut config = config(database.url());
    config["disable_prepared_statements"] = json!(true);
    let context = StartContext { id: "pgsql:test".into(), data_dir: std::env::temp_dir() };
    let connector = (DEFINITION.start)(context, config).await.expect("a connector");
    let parameters = json!({"table": "t", "columns": {"v": "${v}"}});
    let channel =
        connector.add_channel(ChannelContext { id: "pgsql:a".into() }, &parameters).await.expect("a channel");
    for _ in 0..3 {
        assert_all_ok(&channel.deliver(&batch(&[r#"{"v":1}"#, r#"{"v":2}"#]), soon()).await);
    }
    assert_eq!(database.sql("select count(*) from t"), "6");
    connector.stop().await;
    assert!(matches!(channel.deliver(&batch(&[r#"{"v":1}"#]), soon()).await[0], Outcome::Retry { .. }));
}

#[tokio::test]
async fn a_locked_table_gives_a_retry_at_the_deadline() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (v int)");
    let writer = channel(database.url(), json!({"table": "t", "columns": {"v": "${v}"}})).await;
    let locker = channel(
        database.url(),
        json!({"sql": "WITH l AS (SELECT pg_advisory_xact_lock(1)) SELECT pg_sleep(${s}::float8) FROM l"}),
    )
    .await;
    let blocked = channel(
        database.url(),
        json!({"sql": "INSERT INTO t SELECT ${v}::int FROM (SELECT pg_advisory_xact_lock(1)) l"}),
    )
    .await;
    let hold = tokio::spawn(async move { locker.deliver(&batch(&[r#"{"s":1.5}"#]), soon()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let outcomes =
        blocked.deliver(&batch(&[r#"{"v":1}"#]), Instant::now() + Duration::from_millis(500)).await;
    assert!(matches!(outcomes[0], Outcome::Retry { .. }), "{outcomes:?}");
    assert_all_ok(&hold.await.expect("the lock was held"));
    assert_all_ok(&writer.deliver(&batch(&[r#"{"v":2}"#]), soon()).await);
    assert_eq!(database.sql("select v from t"), "2", "the row that timed out must not arrive later");
}

#[tokio::test]
async fn render_shows_the_statement_and_its_values() {
    let Some(database) = tests_services::postgres() else { return };
    database.sql("create table t (v int, w text)");
    let channel = channel(database.url(), json!({"table": "t", "columns": {"v": "${v}", "w": "${w}"}})).await;
    let row: Row = [("v", Value::Int(1))].into_iter().collect();
    assert_eq!(
        channel.render(&row).expect("a preview"),
        json!({"sql": "INSERT INTO \"t\" (\"v\", \"w\") VALUES (($1::text::integer), ($2::text))", "parameters": ["1", null]})
    );
}

/// PostgreSQL is killed again and again under four writers that repeat what was not confirmed, as the buffer does:
/// nothing is lost, and nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_doubles_nothing() {
    const BATCHES: usize = 60;
    const ROWS: usize = 50;
    let Some(server) = PrivatePostgres::start() else { return };
    server.sql("create table t (v int)");
    let channel = channel(&server.url(), json!({"table": "t", "columns": {"v": "${v}"}})).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let channel = Arc::clone(&channel);
            tokio::spawn(async move {
                for number in 0..BATCHES {
                    let first = (writer * BATCHES + number) * ROWS;
                    let rows: Vec<Delivery> = (first..first + ROWS)
                        .map(|v| delivery(&format!("d{v}"), &format!("{{\"v\":{v}}}")))
                        .collect();
                    write_until_confirmed(channel.as_ref(), rows).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    let server = tokio::task::spawn_blocking(move || {
        for pause_ms in [150, 270, 410] {
            #[allow(clippy::disallowed_methods, reason = "the moment of the kill is meant to be arbitrary")]
            std::thread::sleep(Duration::from_millis(pause_ms));
            server.kill();
            server.restart();
        }
        server
    })
    .await
    .expect("killed and restarted");
    for writer in writers {
        tokio::time::timeout(Duration::from_secs(60), writer).await.expect("in time").expect("a writer");
    }
    let total = 4 * BATCHES * ROWS;
    assert_eq!(server.sql("select count(*), count(distinct v) from t"), format!("{total}|{total}"));
}

async fn write_until_confirmed(channel: &dyn Channel, mut rows: Vec<Delivery>) {
    while !rows.is_empty() {
        let outcomes = channel.deliver(&rows, Instant::now() + Duration::from_secs(5)).await;
        let mut outcomes = outcomes.into_iter();
        rows.retain(|_| match outcomes.next() {
            Some(Outcome::Ok) => false,
            Some(Outcome::Retry { .. }) => true,
            other => panic!("{other:?}"),
        });
        if !rows.is_empty() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}
