//! Zones: listeners for whose clients something else holds.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use broker_codec::{Connect, Packet, Properties, Property, QoS, Version};
use serde_json::{Value as Json, json};
use support::Server;
use support::mqtt::{Client, connect};

const CONFIG: &str = "[listeners.tcp.lab]\nbind = '127.0.0.1:0'\nzone = 'lab'\nmountpoint = '${zone}/'\n\
                      [zones.lab.mqtt]\nmax_mqueue_len = 2\nreceive_maximum = 9\nidle_timeout = '1s'\n\
                      [zones.memory.durable_sessions]\nenable = false\n\
                      [zones.slow.mqtt]\nreceive_maximum = 200\n[zones.slow.mqtt.limiter]\nmessages_rate = '50/s'\n";

async fn start_in(data: &Path) -> Server {
    let path = data.join("sluice.toml");
    std::fs::write(&path, CONFIG).expect("written");
    Server::start_in(data, &["--config", path.to_str().expect("UTF-8")]).await
}

async fn port_of(server: &Server, id: &str) -> u16 {
    let listener = server.api("GET", &format!("/listeners/{id}"), None).await.1;
    let address = listener["listen_on"].as_str().expect("it runs");
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn lasting(client_id: &str) -> Connect {
    let properties = Properties::from_list(&[Property::SessionExpiryInterval(3600)]).expect("valid");
    Connect { clean_start: false, properties, ..connect(Version::V5, client_id) }
}

async fn client(server: &Server, client_id: &str) -> Json {
    server.api("GET", &format!("/clients/{client_id}"), None).await.1
}

/// Publishes to a topic with QoS 1 and waits for the acknowledgements.
async fn publish(publisher: &mut Client, topic: &str, count: u16) {
    for number in 1..=count {
        publisher.publish(topic, b"x", QoS::AtLeastOnce, number).await;
    }
    for _ in 0..count {
        let packet = publisher.next().await;
        assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}");
    }
}

#[tokio::test]
async fn clients_of_a_listener_live_by_the_rules_of_its_zone_also_after_a_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = start_in(data.path()).await;
    let lab = port_of(&server, "tcp:lab").await;
    let mut inside = Client::connect_with(lab, lasting("inside")).await;
    inside.subscribe("t", QoS::AtLeastOnce).await;
    drop(inside);
    let info = client(&server, "inside").await;
    assert_eq!(
        (&info["zone"], &info["mqueue_max"], &info["mountpoint"]),
        (&json!("lab"), &json!(2), &json!("lab/"))
    );
    assert_eq!(info["awaiting_rel_max"], 9);
    // a connection that says nothing is given less time there
    let mut silent = tokio::net::TcpStream::connect(("127.0.0.1", lab)).await.expect("a connection");
    let mut nothing = [0];
    let end = tokio::io::AsyncReadExt::read(&mut silent, &mut nothing).await;
    assert!(matches!(end, Ok(0) | Err(_)), "it was closed");

    server.terminate().await;
    let server = start_in(data.path()).await;
    assert_eq!(client(&server, "inside").await["zone"], "lab");
    let mut outside = Client::connect(server.mqtt_port(), "outside").await;
    publish(&mut outside, "lab/t", 5).await;
    let info = client(&server, "inside").await;
    assert_eq!((&info["mqueue_len"], &info["mqueue_dropped"]), (&json!(2), &json!(3)), "{info}");
    assert_eq!(client(&server, "outside").await["zone"], "default");
}

#[tokio::test]
async fn a_listener_is_put_into_a_zone_while_it_runs() {
    let data = tempfile::tempdir().expect("a folder");
    let server = start_in(data.path()).await;
    let (status, why) =
        server.api("POST", "/listeners/tcp:x", Some(&json!({"bind": "127.0.0.1:0", "zone": "no"}))).await;
    assert_eq!(status, 400, "{why}");
    let message = why["message"].as_str().expect("text");
    assert!(message.contains("there are default, lab, memory, slow, got `no`"), "{message}");
    let (_, made) = server.api("POST", "/listeners/tcp:x", Some(&json!({"bind": "127.0.0.1:0"}))).await;
    assert_eq!(made["zone"], "default");
    let port = port_of(&server, "tcp:x").await;
    let mut before = Client::connect(port, "before").await;
    let (status, _) = server.api("PUT", "/listeners/tcp:x", Some(&json!({"zone": "slow"}))).await;
    assert_eq!(status, 200);
    let mut after = Client::connect(port, "after").await;
    let start = Instant::now();
    publish(&mut after, "t", 120).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1200), "120 messages at 50 in a second took {took:?}");
    publish(&mut before, "t", 50).await;
    for (client_id, zone) in [("before", "default"), ("after", "slow")] {
        assert_eq!(client(&server, client_id).await["zone"], zone, "{client_id}");
    }
}

#[tokio::test]
async fn sessions_of_a_zone_may_be_in_memory_only() {
    let data = tempfile::tempdir().expect("a folder");
    let mut server = start_in(data.path()).await;
    let listener = json!({"bind": "127.0.0.1:0", "zone": "memory"});
    assert_eq!(server.api("POST", "/listeners/tcp:memory", Some(&listener)).await.0, 200);
    let port = port_of(&server, "tcp:memory").await;
    drop(Client::connect_with(port, lasting("forgotten")).await);
    // a session that goes on elsewhere stays where it began
    drop(Client::connect_with(server.mqtt_port(), lasting("forgotten")).await);
    drop(Client::connect_with(server.mqtt_port(), lasting("moved")).await);
    drop(Client::connect_with(port, lasting("moved")).await);
    drop(Client::connect_with(server.mqtt_port(), lasting("kept")).await);
    server.terminate().await;
    let server = start_in(data.path()).await;
    assert_eq!(server.api("GET", "/clients/kept", None).await.0, 200);
    assert_eq!(server.api("GET", "/clients/moved", None).await.0, 200);
    assert_eq!(server.api("GET", "/clients/forgotten", None).await.0, 404);
}
