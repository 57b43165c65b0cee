//! Slow subscriptions, through the whole server.

mod support;

use std::time::Duration;

use broker_codec::{Ack, Packet, PacketId, QoS, ReasonCode};
use serde_json::json;
use support::Server;
use support::mqtt::Client;

/// Publishes, and has the subscriber wait before it acknowledges.
async fn slowly(publisher: &mut Client, subscriber: &mut Client, topic: &str, wait_ms: u64) {
    publisher.publish(topic, b"x", QoS::AtLeastOnce, 1).await;
    publisher.next().await;
    let Packet::Publish(publish) = subscriber.next().await else { panic!("no message") };
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    let packet_id: PacketId = publish.packet_id().expect("QoS 1");
    subscriber.send(&Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS))).await;
    // what is answered behind the acknowledgement has it before
    subscriber.send(&Packet::PingReq).await;
    assert!(matches!(subscriber.next().await, Packet::PingResp));
}

#[tokio::test]
async fn a_subscriber_that_takes_its_time_is_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let mut subscriber = Client::connect(server.mqtt_port(), "hmi-2").await;
    subscriber.subscribe("state/#", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(server.mqtt_port(), "p").await;
    slowly(&mut publisher, &mut subscriber, "state/off", 150).await;
    assert_eq!(server.ctl(&["slow-subs", "list"]).1, "No slow subscriptions.\n", "it is off");

    assert_eq!(server.ctl(&["slow-subs", "enable", "--threshold", "100ms"]).1, "ok\n");
    slowly(&mut publisher, &mut subscriber, "state/a", 150).await;
    slowly(&mut publisher, &mut subscriber, "state/b", 600).await;
    let (status, slow) = server.api("GET", "/slow_subscriptions", None).await;
    assert_eq!((status, &slow["meta"]["count"]), (200, &json!(2)), "{slow}");
    let took = |at: usize| slow["data"][at]["timespan"].as_i64().expect("a number");
    assert!(took(0) >= 600 && took(0) >= took(1) && took(1) >= 150, "{slow}");
    for entry in slow["data"].as_array().expect("a list") {
        assert_eq!(
            (&entry["clientid"], &entry["node"]),
            (&json!("hmi-2"), &json!("sluice@127.0.0.1")),
            "{slow}"
        );
        assert!(["state/a", "state/b"].contains(&entry["topic"].as_str().expect("a topic")), "{slow}");
        assert!(entry["last_update_time"].is_i64(), "{slow}");
    }
    let (_, text) = server.ctl(&["slow-subs", "list"]);
    assert!(text.starts_with("hmi-2 -> topic:state/") && text.lines().count() == 2, "{text}");
    assert_eq!(server.ctl(&["slow-subs", "clear"]).1, "ok\n");
    assert_eq!(server.ctl(&["slow-subs", "list"]).1, "No slow subscriptions.\n");

    server.terminate().await;
    let server = Server::start_in(folder.path(), &[]).await;
    let (_, settings) = server.api("GET", "/slow_subscriptions/settings", None).await;
    assert_eq!((&settings["enable"], &settings["threshold"]), (&json!(true), &json!("100ms")), "{settings}");
    let wrong = server.ctl(&["slow-subs", "enable", "--type", "half"]);
    assert!(!wrong.0.success());
    assert_eq!(server.ctl(&["slow-subs", "disable"]).1, "ok\n");
}

#[tokio::test]
async fn what_stands_in_the_file_is_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sluice.toml");
    std::fs::write(&config, "[slow_subs]\nenable = true\nthreshold = '100ms'\nstats_type = 'response'\n")
        .expect("written");
    let server = Server::start(&["--config", config.to_str().expect("UTF-8")]).await;
    let settings = json!({"enable": true, "threshold": "100ms", "expire_interval": "300s", "top_k_num": 10,
        "stats_type": "response"});
    assert_eq!(server.api("GET", "/slow_subscriptions/settings", None).await, (200, settings.clone()));
    let (status, answer) = server.api("PUT", "/slow_subscriptions/settings", Some(&settings)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("CONFLICT")), "{answer}");
    let mut subscriber = Client::connect(server.mqtt_port(), "s").await;
    subscriber.subscribe("t", QoS::AtLeastOnce).await;
    let mut publisher = Client::connect(server.mqtt_port(), "p").await;
    slowly(&mut publisher, &mut subscriber, "t", 150).await;
    let (_, slow) = server.api("GET", "/slow_subscriptions", None).await;
    assert_eq!(slow["meta"]["count"], 1, "{slow}");
}
