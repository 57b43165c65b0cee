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

#[tokio::test]
async fn rules_see_the_id_that_the_api_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "[connectors.sqlite.db]\npath = 'ids.db'\n[actions.sqlite.save]\nconnector = 'db'\n\
                 parameters = { table = 't', create_table = true, columns = { id = '${id}' } }\n\
                 [rules.ids]\nsql = 'SELECT id FROM \"ids\"'\nactions = ['sqlite:save']\n";
    std::fs::write(folder.path().join("rules.toml"), rules).expect("written");
    let server = Server::start(&["--rules", folder.path().to_str().expect("UTF-8")]).await;
    // the API tells an id when somebody has subscribed; rules do not count
    let mut subscriber = support::sluice()
        .args(["sub", "-p", &server.mqtt_port().to_string(), "-t", "ids", "-C", "1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("sub starts");
    let subscribed = || async {
        let (_, found) = server.api("GET", "/subscriptions", None).await;
        found["data"].as_array().is_some_and(|list| !list.is_empty()).then_some(())
    };
    server.wait_for("the subscription", Duration::from_secs(20), subscribed).await;
    let message = json!({"topic": "ids", "payload": "x"});
    let (_, told) = server.api("POST", "/publish", Some(&message)).await;
    assert!(told["id"].is_string(), "{told}");
    let file = server.data_dir().join("ids.db");
    let row = || async { sqlite_rows(&file, "SELECT id FROM t").await.into_iter().next() };
    let row = server.wait_for("the row", Duration::from_secs(20), row).await;
    assert_eq!(row[0], told["id"]);
    assert!(subscriber.wait().expect("sub ends").success());
}
