//! `$SYS` topics of a whole server.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use broker_codec::{Packet, QoS};
use serde_json::{Value as Json, json};
use support::Server;
use support::mqtt::Client;

#[tokio::test]
async fn devices_that_come_and_go_are_told_of_to_one_and_to_many() {
    const DEVICES: usize = 100;
    let server = Server::start(&[]).await;
    let port = server.mqtt_port();
    let mut alone = Client::connect(port, "alone").await;
    assert_eq!(alone.subscribe("$SYS/brokers/+/clients/+/#", QoS::AtMostOnce).await.as_u8(), 0);
    let mut group = Vec::new();
    for number in 0..2 {
        let mut member = Client::connect(port, &format!("member{number}")).await;
        let filter = "$share/g/$SYS/brokers/+/clients/+/connected";
        assert_eq!(member.subscribe(filter, QoS::AtLeastOnce).await.as_u8(), 1);
        alone.message().await; // of the member itself
        group.push(member);
    }
    group[0].message().await; // of the second member, one way or the other
    for number in 0..DEVICES {
        drop(Client::connect(port, &format!("device{number}")).await);
    }
    let mut told: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for _ in 0..2 * DEVICES {
        let publish = alone.message().await;
        let event: Json = serde_json::from_slice(publish.payload_slice()).expect("JSON");
        let client_id = event["clientid"].as_str().expect("a client id");
        let topic =
            publish.topic().strip_prefix("$SYS/brokers/sluice@127.0.0.1/clients/").expect("its topic");
        assert!(topic.starts_with(client_id), "{topic}");
        told.entry(client_id.to_owned()).or_default().push(event);
    }
    assert_eq!(told.len(), DEVICES);
    for (client_id, events) in &told {
        let [connected, disconnected] = &events[..] else { panic!("{client_id}: {events:?}") };
        assert_eq!(connected["connack"], 0);
        assert_eq!(disconnected["reason"], "tcp_closed");
        assert_eq!(connected["conn_id"], disconnected["conn_id"]);
        assert!(connected["seq"].as_u64() < disconnected["seq"].as_u64());
    }
    let mut shared = Vec::new();
    for member in &mut group {
        while let Some(Packet::Publish(publish)) = member.next_within(Duration::from_millis(500)).await {
            let event: Json = serde_json::from_slice(publish.payload_slice()).expect("JSON");
            shared.push(event["clientid"].as_str().expect("a client id").to_owned());
        }
    }
    shared.sort();
    assert_eq!(shared, told.keys().cloned().collect::<Vec<_>>(), "each once, to one of the two");
}

#[tokio::test]
async fn numbers_come_at_the_interval_that_was_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sluice.toml");
    let text = "[sys_topics]\nsys_msg_interval = '1s'\nsys_heartbeat_interval = 'disabled'\n";
    std::fs::write(&file, text).expect("written");
    let server = Server::start(&["--config", file.to_str().expect("UTF-8")]).await;
    let mut client = Client::connect(server.mqtt_port(), "c").await;
    client.subscribe("$SYS/brokers/+/stats/live_connections/count", QoS::AtMostOnce).await;
    client.subscribe("$SYS/brokers/+/uptime", QoS::AtMostOnce).await;
    for _ in 0..2 {
        let publish = client.message().await;
        assert_eq!(publish.topic(), "$SYS/brokers/sluice@127.0.0.1/stats/live_connections/count");
        assert_eq!(publish.payload_slice(), b"1");
    }
    client.subscribe("$SYS/brokers", QoS::AtMostOnce).await;
    loop {
        let publish = client.message().await;
        if publish.topic() == "$SYS/brokers" {
            assert_eq!((publish.payload_slice(), publish.retain()), (&b"sluice@127.0.0.1"[..], true));
            break;
        }
    }
    let (status, listed) = server.api("GET", "/mqtt/retainer/messages?topic=%24SYS%2F%23", None).await;
    assert_eq!((status, &listed["meta"]["count"]), (200, &json!(3)));
}
