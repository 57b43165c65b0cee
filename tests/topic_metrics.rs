//! Counters of single topics, through the whole server.

mod support;

use std::time::Duration;

use broker_codec::{QoS, ReasonCode};
use serde_json::json;
use support::Server;
use support::mqtt::Client;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn topics_are_counted_shown_and_kept_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let mut subscriber = Client::connect(server.mqtt_port(), "s").await;
    assert_eq!(subscriber.subscribe("lines/#", QoS::AtLeastOnce).await, ReasonCode::GRANTED_QOS_1);
    let mut publisher = Client::connect(server.mqtt_port(), "p").await;
    publisher.publish("lines/1", b"before", QoS::AtMostOnce, 0).await;
    subscriber.message().await;
    for topic in ["lines/1", "lines/+", "nobody"] {
        assert_eq!(server.ctl(&["topic-metrics", "add", topic]).1, "ok\n");
    }
    for number in 1..=10 {
        publisher.publish("lines/1", b"x", QoS::AtLeastOnce, number).await;
        publisher.next().await;
        subscriber.message().await;
    }
    publisher.publish("lines/2", b"x", QoS::AtMostOnce, 0).await;
    subscriber.message().await;
    publisher.publish("nobody", b"x", QoS::AtLeastOnce, 1).await;
    publisher.next().await;
    let (_, text) = server.ctl(&["topic-metrics", "list"]);
    assert_eq!(
        text,
        "lines/+ -> in:11 out:11 dropped:0\nlines/1 -> in:10 out:10 dropped:0\nnobody -> in:1 out:0 dropped:1\n"
    );
    let (_, counted) = server.api("GET", "/mqtt/topic_metrics/lines%2F1", None).await;
    let metrics = &counted["metrics"];
    assert_eq!(
        (&metrics["messages.qos1.in.count"], &metrics["messages.qos1.out.count"]),
        (&json!(10), &json!(10))
    );
    let rated = || async { rate_in(&server).await.filter(|rate| *rate > 0.0) };
    server.wait_for("a rate", LIMIT, rated).await;

    assert_eq!(server.ctl(&["topic-metrics", "reset", "lines/1"]).1, "ok\n");
    let (_, text) = server.ctl(&["topic-metrics", "show", "lines/1"]);
    assert!(text.contains("messages.in.count       : 0\n") && !text.contains("undefined"), "{text}");
    assert_eq!(server.ctl(&["topic-metrics", "delete", "nobody"]).1, "ok\n");
    assert_eq!(server.ctl(&["topic-metrics", "delete", "nobody"]).1, "Not Found.\n");
    assert!(!server.ctl(&["topic-metrics", "add", "lines/1"]).0.success(), "it is counted already");

    server.terminate().await;
    let server = Server::start_in(folder.path(), &[]).await;
    let (_, text) = server.ctl(&["topic-metrics", "list"]);
    assert_eq!(text, "lines/+ -> in:0 out:0 dropped:0\nlines/1 -> in:0 out:0 dropped:0\n");
    let mut publisher = Client::connect(server.mqtt_port(), "p").await;
    publisher.publish("lines/1", b"x", QoS::ExactlyOnce, 1).await;
    publisher.next().await;
    let (_, counted) = server.api("GET", "/mqtt/topic_metrics/lines%2F1", None).await;
    assert_eq!(counted["metrics"]["messages.qos2.in.count"], 1, "{counted}");
}

async fn rate_in(server: &Server) -> Option<f64> {
    let (_, counted) = server.api("GET", "/mqtt/topic_metrics/lines%2F1", None).await;
    counted["metrics"]["messages.in.rate"].as_f64()
}
