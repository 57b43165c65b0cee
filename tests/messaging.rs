//! Delayed publish, renamed topics, and subscriptions of the configuration, in a whole server.

mod support;

use std::time::{Duration, Instant};

use broker_codec::{Packet, QoS, ReasonCode};
use support::Server;
use support::mqtt::Client;

const CONFIG: &str = r#"
[mqtt]
exclusive_subscription = true

[delayed]
max_delayed_messages = 1

[[rewrite]]
action = "all"
source_topic = "legacy/+/telemetry"
re = "^legacy/(.+)/telemetry$"
dest_topic = "devices/$1/up"

[[auto_subscribe.topics]]
topic = "commands/${clientid}"
qos = 1
"#;

#[tokio::test]
async fn messages_are_delayed_renamed_and_subscribed_to_as_configured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sluice.toml");
    std::fs::write(&file, CONFIG).expect("written");
    let server = Server::start(&["--config", file.to_str().expect("UTF-8")]).await;
    let port = server.mqtt_port();
    let mut device = Client::connect(port, "dev1").await;
    let mut app = Client::connect(port, "app").await;

    // renamed both ways
    app.subscribe("legacy/+/telemetry", QoS::AtMostOnce).await;
    app.subscribe("devices/+/up", QoS::AtMostOnce).await;
    device.publish("legacy/7/telemetry", b"21", QoS::AtMostOnce, 0).await;
    assert_eq!(app.message().await.topic(), "devices/7/up");

    // subscribed without having asked
    app.publish("commands/dev1", b"on", QoS::AtLeastOnce, 1).await;
    let command = device.message().await;
    assert_eq!((command.topic(), command.qos()), ("commands/dev1", QoS::AtLeastOnce));
    let Packet::PubAck(ack) = app.next().await else { panic!("a PUBACK") };
    assert_eq!(ack.reason, ReasonCode::SUCCESS);

    // later
    let published = Instant::now();
    for (number, want) in [(2, ReasonCode::SUCCESS), (3, ReasonCode::QUOTA_EXCEEDED)] {
        app.publish("$delayed/2/commands/dev1", b"off", QoS::AtLeastOnce, number).await;
        let Packet::PubAck(ack) = app.next().await else { panic!("a PUBACK") };
        assert_eq!(ack.reason, want);
    }
    let (status, listed) = server.api("GET", "/mqtt/delayed/messages", None).await;
    assert_eq!(status, 200);
    let waiting = &listed["data"][0];
    assert_eq!(waiting["topic"], "commands/dev1");
    assert_eq!((&waiting["payload"], &waiting["from_clientid"]), (&"b2Zm".into(), &"app".into()));
    assert_eq!((&waiting["delayed_interval"], &listed["meta"]["count"]), (&2.into(), &1.into()));
    assert_eq!(device.message().await.payload_slice(), b"off");
    assert!(published.elapsed() > Duration::from_millis(1900), "{:?}", published.elapsed());
    let gone = waiting["msgid"].as_str().expect("an id");
    let path = format!("/mqtt/delayed/messages/sluice@127.0.0.1/{gone}");
    assert_eq!(server.api("DELETE", &path, None).await.0, 404);

    // one at a time
    assert_eq!(app.subscribe("$exclusive/meter", QoS::AtMostOnce).await, ReasonCode::GRANTED_QOS_0);
    assert_eq!(device.subscribe("$exclusive/meter", QoS::AtMostOnce).await, ReasonCode::QUOTA_EXCEEDED);
    drop(app);
    let free = async || {
        let code = Client::connect(port, "next").await.subscribe("$exclusive/meter", QoS::AtMostOnce).await;
        (code == ReasonCode::GRANTED_QOS_0).then_some(())
    };
    server.wait_for("the filter to be free", Duration::from_secs(10), free).await;
}
