//! Banned clients stay out, over restarts too, until their ban ends.

mod support;

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::ConnectReturnCode;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions};
use serde_json::Value as Json;
use support::Server;

const LIMIT: Duration = Duration::from_secs(20);

/// Connects, and returns the connection or why there is none.
async fn connect(server: &Server, client_id: &str) -> Result<(AsyncClient, EventLoop), ConnectReturnCode> {
    let mut options = MqttOptions::new(client_id, "127.0.0.1", server.mqtt_port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 10);
    match tokio::time::timeout(LIMIT, events.poll()).await.expect("an answer") {
        Ok(Event::Incoming(Incoming::ConnAck(_))) => Ok((client, events)),
        Err(ConnectionError::ConnectionRefused(code)) => Err(code),
        other => panic!("{other:?} instead of CONNACK"),
    }
}

/// Waits until the server ends a connection.
async fn ended(mut events: EventLoop) {
    let end = async { while events.poll().await.is_ok() {} };
    tokio::time::timeout(LIMIT, end).await.expect("the connection ends");
}

#[tokio::test]
async fn a_ban_disconnects_keeps_out_and_survives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let (_client, events) = connect(&server, "dev7").await.expect("welcome");
    let (status, text) =
        server.ctl(&["banned", "add", "clientid", "dev7", "--reason", "flood", "--for", "12h"]);
    assert_eq!((status.success(), text.as_str()), (true, "ok\n"));
    ended(events).await;
    assert_eq!(connect(&server, "dev7").await.err(), Some(ConnectReturnCode::Banned));
    assert!(connect(&server, "dev8").await.is_ok());
    assert!(!server.ctl(&["banned", "add", "clientid", "dev7"]).0.success(), "it is banned already");

    server.terminate().await;
    let server = Server::start_in(folder.path(), &[]).await;
    assert_eq!(connect(&server, "dev7").await.err(), Some(ConnectReturnCode::Banned));
    let (_, text) = server.ctl(&["banned", "list"]);
    assert!(text.starts_with("Banned(clientid=dev7, by=ctl, reason=flood, at="), "{text}");
    assert_eq!(server.ctl(&["banned", "delete", "clientid", "dev7"]).1, "ok\n");
    assert_eq!(server.ctl(&["banned", "list"]).1, "No bans.\n");
    assert_eq!(server.ctl(&["banned", "delete", "clientid", "dev7"]).1, "Not Found.\n");
    assert!(connect(&server, "dev7").await.is_ok());
}

#[tokio::test]
async fn a_client_that_flaps_is_banned_until_its_time_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sluice.toml");
    std::fs::write(&config, "[flapping_detect]\nenable = true\nmax_count = 3\nban_time = '3s'\n")
        .expect("written");
    let server = Server::start(&["--config", config.to_str().expect("UTF-8")]).await;
    for _ in 0..3 {
        assert!(connect(&server, "dev1").await.is_ok());
        let gone = || async { (server.api("GET", "/clients/dev1", None).await.0 == 404).then_some(()) };
        server.wait_for("the end of dev1", LIMIT, gone).await;
    }
    assert_eq!(connect(&server, "dev1").await.err(), Some(ConnectReturnCode::Banned));
    let shown = || async {
        let bans = server.api("GET", "/banned", None).await.1;
        (bans["data"][0]["by"] == "flapping detector").then_some(())
    };
    server.wait_for("the ban", LIMIT, shown).await;
    let welcome = || async { connect(&server, "dev1").await.ok() };
    server.wait_for("the end of the ban", LIMIT, welcome).await;
    let bans: Json = server.api("GET", "/banned", None).await.1;
    assert_eq!(bans["meta"]["count"], 0);
}
