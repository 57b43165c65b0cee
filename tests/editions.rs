//! The edition is one flag: a connector of another edition is refused by the API, kept from a file, and stops nothing else.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Server, sqlite_rows};

const POSTGRES: &str = "server = '127.0.0.1:1'\ndatabase = 'd'\nusername = 'u'\npassword = 'p'\n";

#[tokio::test]
async fn the_api_refuses_a_connector_of_another_edition() {
    let server = Server::start(&["--edition", "community"]).await;
    let connector = json!({
        "type": "pgsql", "name": "warehouse",
        "server": "127.0.0.1:1", "database": "d", "username": "u", "password": "p",
    });
    let (status, body) = server.api("POST", "/connectors", Some(&connector)).await;
    assert_eq!((status, &body["code"]), (403, &json!("EDITION_REQUIRED")), "{body}");
    let message = body["message"].as_str().expect("a message");
    assert!(message.contains("pgsql") && message.contains("enterprise"), "{message}");
    let (_, list) = server.api("GET", "/connectors", None).await;
    assert_eq!(list, json!([]));
}

#[tokio::test]
async fn a_file_with_a_connector_of_another_edition_is_shown_with_the_reason_and_the_rest_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = format!(
        "[connectors.pgsql.warehouse]\n{POSTGRES}\
         [actions.pgsql.store]\nconnector = 'warehouse'\nparameters = {{ table = 't', columns = {{ v = '${{v}}' }} }}\n\
         [connectors.sqlite.local]\npath = 'local.db'\n\
         [actions.sqlite.store]\nconnector = 'local'\n\
         parameters = {{ table = 't', create_table = true, columns = {{ v = '${{v}}' }} }}\n\
         [rules.both]\nsql = 'SELECT payload.v AS v FROM \"t/#\"'\nactions = ['pgsql:store', 'sqlite:store']\n"
    );
    std::fs::write(folder.path().join("rules.toml"), rules).expect("written");
    let server =
        Server::start(&["--edition", "community", "--rules", folder.path().to_str().expect("UTF-8")]).await;

    let (_, connector) = server.api("GET", "/connectors/pgsql:warehouse", None).await;
    assert_eq!(connector["status"], "disconnected", "{connector}");
    assert!(connector["status_reason"].as_str().expect("a reason").contains("enterprise"), "{connector}");
    assert_eq!(connector["password"], "******");

    server.publish(&["-t", "t/1", "-q", "1", "-m", "{\"v\": 5}"]);
    let file = server.data_dir().join("local.db");
    let stored = || async { (!sqlite_rows(&file, "SELECT v FROM t").await.is_empty()).then_some(()) };
    server.wait_for("the row in SQLite", Duration::from_secs(20), stored).await;
    let metrics = server.action_metrics("pgsql:store").await;
    assert_eq!(
        (&metrics["matched"], &metrics["dropped.resource_stopped"]),
        (&json!(1), &json!(1)),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_enterprise_edition_takes_it() {
    let server = Server::start(&["--edition", "enterprise"]).await;
    let connector = json!({
        "type": "pgsql", "name": "warehouse",
        "server": "127.0.0.1:1", "database": "d", "username": "u", "password": "p",
    });
    let (status, body) = server.api("POST", "/connectors", Some(&connector)).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["password"], "******");
    assert_ne!(body["status"], "connected");
}
