//! Limits hold, and nothing that is within them, or waits for them, is lost.

mod support;

use std::time::{Duration, Instant};

use broker_codec::{Connect, Packet, QoS, Version};
use serde_json::{Value as Json, json};
use support::Server;
use support::mqtt::{Client, connect};

/// Starts a server with this configuration.
async fn start(config: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, config).expect("written");
    let server = Server::start(&["--config", path.to_str().expect("UTF-8")]).await;
    (server, folder)
}

async fn port_of(server: &Server, id: &str) -> u16 {
    let listener = server.api("GET", &format!("/listeners/{id}"), None).await.1;
    let address = listener["listen_on"].as_str().expect("it runs");
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

async fn metric(server: &Server, name: &str) -> u64 {
    let metrics: Json = server.api("GET", "/metrics?aggregate=true", None).await.1;
    metrics[name].as_u64().unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// Publishes so many messages of QoS 1 at once, and reads their acknowledgements.
async fn publish(client: &mut Client, count: u16) {
    for number in 1..=count {
        client.publish("t", b"x", QoS::AtLeastOnce, number).await;
    }
    for _ in 0..count {
        let packet = client.next().await;
        assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}");
    }
}

#[tokio::test]
async fn who_is_too_fast_waits_and_loses_nothing() {
    for config in [
        "[mqtt.limiter.client]\nmessages_rate = '50/s'\n",
        "[mqtt.limiter]\nmessages_rate = '50/s'\n",
        "[mqtt.limiter]\nbytes_rate = '400B/s'\n", // each PUBLISH has 8 bytes
    ] {
        let (server, _folder) = start(&format!("[mqtt]\nreceive_maximum = 200\n{config}")).await;
        let mut subscriber = Client::connect(server.mqtt_port(), "subscriber").await;
        subscriber.subscribe("t", QoS::AtMostOnce).await;
        let version_4 = connect(Version::V4, "publisher");
        let mut publisher = Client::connect_with(server.mqtt_port(), version_4).await;
        let start = Instant::now();
        publish(&mut publisher, 120).await;
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(1200), "{config}: 120 messages in {took:?}");
        for _ in 0..120 {
            subscriber.message().await;
        }
        assert!(metric(&server, "packets.publish.paused").await > 0);
        assert_eq!(metric(&server, "messages.dropped").await, 0);
    }
}

/// Publishes 120 messages at a port, and says whether it takes as long as it must at fifty in a second.
async fn is_slowed(port: u16, client_id: &str) -> bool {
    let mut publisher = Client::connect(port, client_id).await;
    let start = Instant::now();
    publish(&mut publisher, 120).await;
    start.elapsed() >= Duration::from_millis(1200)
}

#[tokio::test]
async fn a_listener_has_rates_of_its_own_that_change_while_it_runs() {
    let config = "[mqtt]\nreceive_maximum = 200\n[listeners.tcp.fixed]\nbind = '127.0.0.1:0'\nmessages_rate = '50/s'\n";
    let (server, _folder) = start(config).await;
    let fixed = port_of(&server, "tcp:fixed").await;
    assert!(is_slowed(fixed, "a").await, "each client");
    publish(&mut Client::connect(server.mqtt_port(), "b").await, 120).await;
    assert_eq!(server.api("GET", "/listeners/tcp:fixed", None).await.1["messages_rate"], "50/s");
    let paused = metric(&server, "packets.publish.paused").await;
    assert!(paused > 0);

    let lab = json!({"id": "tcp:lab", "bind": "127.0.0.1:0"});
    let (status, made) = server.api("POST", "/listeners/tcp:lab", Some(&lab)).await;
    assert_eq!((status, &made["bytes_rate"]), (200, &json!("infinity")), "{made}");
    let port = port_of(&server, "tcp:lab").await;
    let mut before = Client::connect(port, "before").await;
    // each PUBLISH has 8 bytes, and both clients share the rate
    let change = json!({"limiter": {"bytes_rate": "400B/s"}});
    let (status, changed) = server.api("PUT", "/listeners/tcp:lab", Some(&change)).await;
    assert_eq!((status, &changed["limiter"]["bytes_rate"]), (200, &json!("400/s")), "{changed}");
    let (first, second) = tokio::join!(is_slowed(port, "c"), is_slowed(port, "d"));
    assert!(first && second, "all of its clients");
    publish(&mut before, 120).await;
    let (_, text) = server.ctl(&["listeners"]);
    assert!(text.contains("messages_rate    : 50/s"), "{text}");
    let (status, why) =
        server.api("PUT", "/listeners/tcp:lab", Some(&json!({"messages_rate": "much"}))).await;
    assert_eq!(status, 400, "{why}");
    assert!(why["message"].as_str().expect("text").contains("expected a rate such as"), "{why}");
}

#[tokio::test]
async fn a_client_that_waits_is_not_taken_for_dead() {
    let (server, _folder) = start("[mqtt.limiter.client]\nmessages_rate = '1/3s'\n").await;
    let impatient = Connect { keep_alive_s: 1, ..connect(Version::V4, "c") };
    let mut client = Client::connect_with(server.mqtt_port(), impatient).await;
    publish(&mut client, 2).await; // the second after three seconds, twice the silence that is allowed
    assert_eq!(metric(&server, "packets.publish.received").await, 2);
}

#[tokio::test]
async fn others_are_not_held_up() {
    let (server, _folder) = start("[mqtt.limiter.client]\nmessages_rate = '1/1h'\n").await;
    let mut flooder = Client::connect(server.mqtt_port(), "flooder").await;
    for number in 1..=20 {
        flooder.publish("flood", &[0; 10_000], QoS::AtMostOnce, number).await;
    }
    let mut other = Client::connect(server.mqtt_port(), "other").await;
    other.subscribe("t", QoS::AtMostOnce).await;
    other.publish("t", b"x", QoS::AtMostOnce, 0).await;
    assert_eq!(other.message().await.payload_slice(), b"x");
    let received = || async { (metric(&server, "messages.received").await >= 2).then_some(()) };
    server.wait_for("one message of each", Duration::from_secs(20), received).await;
    assert_eq!(metric(&server, "messages.received").await, 2, "and no more");
}
