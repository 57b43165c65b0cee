//! The main job: what devices publish is in a database, and a stop loses nothing that was acknowledged.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Server, sqlite_rows};

const EXAMPLE: &str = "rules-examples/persist-telemetry";

#[tokio::test]
async fn ten_thousand_messages_are_ten_thousand_rows() {
    let server = Server::start(&["--rules", EXAMPLE]).await;
    server.publish(&["-t", "sensors/s%i", "-q", "1", "-n", "10000", "-m", "{\"value\": %i}"]);

    let file = server.data_dir().join("telemetry.db");
    let count = || async {
        let rows =
            sqlite_rows(&file, "SELECT count(*), count(DISTINCT sensor), sum(value) FROM readings").await;
        rows.into_iter().next().filter(|row| row[0].as_i64() >= Some(10_000))
    };
    let row = server.wait_for("10,000 rows", Duration::from_secs(20), count).await;
    assert_eq!(row, [json!(10_000), json!(10_000), json!(50_005_000)]);

    let metrics = server.action_metrics("sqlite:save_reading").await;
    assert_eq!(metrics["matched"], 10_000);
    assert_eq!(metrics["success"], 10_000);
    assert_eq!(metrics["queuing"], 0);
}

#[tokio::test]
async fn a_stop_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start(&["--rules", EXAMPLE]).await;
    server.publish(&["-t", "sensors/s%i", "-q", "1", "-n", "5000", "-m", "{\"value\": %i}"]);
    let status = server.terminate().await;
    assert!(status.success(), "{status}\n{}", server.log());

    let rows = sqlite_rows(&server.data_dir().join("telemetry.db"), "SELECT count(*) FROM readings").await;
    assert_eq!(rows, [[json!(5000)]], "{}", server.log());
}
