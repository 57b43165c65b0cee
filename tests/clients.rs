//! Clients that others wrote: rumqttc and Eclipse Paho talk to the server as they talk to any.

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, v5};
use serde_json::{Value as Json, json};
use support::{Server, repository};

const LIMIT: Duration = Duration::from_secs(20);

/// A client of MQTT 3.1.1 and what it is given.
struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    async fn connect(options: MqttOptions) -> Self {
        let (client, events) = AsyncClient::new(options, 100);
        let mut this = Self { client, events };
        this.until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        this
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).await.expect("a request");
        self.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// Works until a packet comes that `pick` takes.
    async fn until<T>(&mut self, mut pick: impl FnMut(&Packet) -> Option<T>) -> T {
        let work = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.expect("the connection lasts")
                    && let Some(picked) = pick(&packet)
                {
                    return picked;
                }
            }
        };
        tokio::time::timeout(LIMIT, work).await.expect("the packet comes")
    }

    async fn messages(&mut self, count: usize) -> Vec<(String, QoS, String)> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let message = self
                .until(|packet| match packet {
                    Packet::Publish(publish) => Some((
                        publish.topic.clone(),
                        publish.qos,
                        String::from_utf8_lossy(&publish.payload).into_owned(),
                    )),
                    _ => None,
                })
                .await;
            messages.push(message);
        }
        messages
    }
}

fn options(server: &Server, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, "127.0.0.1", server.mqtt_port());
    options.set_keep_alive(Duration::from_secs(30));
    options
}

#[tokio::test]
async fn rumqttc_gets_every_message_in_order_at_each_qos() {
    let server = Server::start(&[]).await;
    let mut receiver = Client::connect(options(&server, "receiver")).await;
    receiver.subscribe("t/#", QoS::ExactlyOnce).await;
    let mut sender = Client::connect(options(&server, "sender")).await;
    let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let mut expected = Vec::new();
    for (number, qos) in levels.into_iter().cycle().take(60).enumerate() {
        sender.client.publish("t/a", qos, false, number.to_string()).await.expect("a request");
        expected.push(("t/a".to_owned(), qos, number.to_string()));
    }
    // 20 of QoS 1 and 20 of QoS 2 are answered in the end
    let mut answered = 0;
    sender
        .until(|packet| {
            answered += usize::from(matches!(packet, Packet::PubAck(_) | Packet::PubComp(_)));
            (answered == 40).then_some(())
        })
        .await;
    let got = receiver.messages(60).await;
    for qos in levels {
        let of = |all: &[(String, QoS, String)]| -> Vec<String> {
            all.iter().filter(|message| message.1 == qos).map(|message| message.2.clone()).collect()
        };
        assert_eq!(of(&got), of(&expected), "{qos:?}");
    }
}

#[tokio::test]
async fn rumqttc_finds_its_session_its_will_and_what_is_retained() {
    let server = Server::start(&[]).await;
    let lasting = |id| {
        let mut options = options(&server, id);
        options.set_clean_session(false);
        options
    };
    let mut away = Client::connect(lasting("away")).await;
    away.subscribe("news/#", QoS::AtLeastOnce).await;
    drop(away); // no DISCONNECT

    let mut mortal = options(&server, "mortal");
    mortal.set_last_will(LastWill::new("news/will", "gone", QoS::AtLeastOnce, true));
    drop(Client::connect(mortal).await);
    let mut watcher = Client::connect(options(&server, "watcher")).await;
    watcher.subscribe("news/will", QoS::AtLeastOnce).await;
    assert_eq!(watcher.messages(1).await[0].2, "gone");

    let mut back = Client::connect(lasting("away")).await;
    assert_eq!(back.messages(1).await, [("news/will".to_owned(), QoS::AtLeastOnce, "gone".to_owned())]);
}

#[tokio::test]
async fn rumqttc_v5_properties_arrive_as_they_were_sent() {
    use v5::mqttbytes::QoS;
    use v5::mqttbytes::v5::{Packet, PublishProperties};

    let server = Server::start(&[]).await;
    let mut options = v5::MqttOptions::new("both", "127.0.0.1", server.mqtt_port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = v5::AsyncClient::new(options, 10);
    client.subscribe("t/#", QoS::ExactlyOnce).await.expect("a request");
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(100),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(vec![0, 255].into()),
        user_properties: vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    client
        .publish_with_properties("t/a", QoS::ExactlyOnce, false, "hello", sent.clone())
        .await
        .expect("a request");
    let got = async {
        loop {
            if let v5::Event::Incoming(Packet::Publish(publish)) = events.poll().await.expect("lasts") {
                return publish;
            }
        }
    };
    let got = tokio::time::timeout(LIMIT, got).await.expect("the message comes");
    let mut properties = got.properties.expect("properties");
    let expiry = properties.message_expiry_interval.take().expect("an expiry");
    assert!((1..=100).contains(&expiry), "{expiry}");
    assert_eq!(properties, PublishProperties { message_expiry_interval: None, ..sent });
    assert_eq!(got.payload, "hello");
}

/// What the script of Paho finds out with one version of the protocol.
async fn paho(protocol: u8) -> Option<BTreeMap<String, Json>> {
    let interpreter = tests_services::python()?;
    let server = Server::start(&[]).await;
    let output = Command::new(interpreter)
        .arg(repository().join("tests/clients/paho_client.py"))
        .args([server.mqtt_port().to_string(), protocol.to_string()])
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}\n{}", server.log());
    let line = |line: &str| {
        let finding: Json = serde_json::from_str(line).expect("a line of JSON");
        (finding["name"].as_str().expect("a name").to_owned(), finding["value"].clone())
    };
    Some(said.lines().map(line).collect())
}

fn check_common(found: &BTreeMap<String, Json>, tells_session_present: bool) {
    let messages: Vec<String> = (0..3).flat_map(|qos| (0..20).map(move |n| format!("{qos}-{n}"))).collect();
    assert_eq!(found["connected"], json!(["Success", false]));
    assert_eq!(found["granted"], json!([[0], [1], [2]]));
    assert_eq!(found["qos"], json!([0, 1, 2]));
    assert_eq!(found["messages"], json!(messages));
    assert_eq!(found["retained"], json!(["kept/a", "one", true]));
    assert_eq!(found["unsubscribed"], "unsubscribed");
    assert_eq!(found["will"], json!(["gone"]));
    assert_eq!(found["session"], json!([tells_session_present, ["0", "1", "2", "3", "4"]]));
}

#[tokio::test]
async fn paho_is_content_with_mqtt_3_1() {
    let Some(found) = paho(3).await else { return };
    check_common(&found, false); // its CONNACK has no such flag
}

#[tokio::test]
async fn paho_is_content_with_mqtt_3_1_1() {
    let Some(found) = paho(4).await else { return };
    check_common(&found, true);
}

#[tokio::test]
async fn paho_is_content_with_mqtt_5() {
    let Some(found) = paho(5).await else { return };
    check_common(&found, true);
    let user = json!([["site", "berlin"], ["site", "hall 7"]]);
    assert_eq!(found["properties"], json!([user, "answers/here", "00ff", "text/plain", 1, true, [7]]));
    assert_eq!(found["alias"], json!(["v5/a", "second"]));
    assert_eq!(found["shared"], json!((0..40).collect::<Vec<_>>()));
    assert_eq!(found["both"], true);
}
