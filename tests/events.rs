//! Rules on events of a whole server, under their new and old names.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use broker_codec::{Disconnect, Packet, Properties, QoS, ReasonCode};
use serde_json::Value as Json;
use support::Server;
use support::mqtt::Client;

/// Event topics with the event that each selects.
const TOPICS: [(&str, &str); 15] = [
    ("$events/message/delivered", "message.delivered"),
    ("$events/message_delivered", "message.delivered"),
    ("$events/message/acked", "message.acked"),
    ("$events/message_acked", "message.acked"),
    ("$events/message/dropped", "message.dropped"),
    ("$events/message_dropped", "message.dropped"),
    ("$events/message/delivery_dropped", "delivery.dropped"),
    ("$events/delivery_dropped", "delivery.dropped"),
    ("$events/client/connack", "client.connack"),
    ("$events/client_connack", "client.connack"),
    ("$events/client/ping", "client.ping"),
    ("$events/auth/check_authn_complete", "client.check_authn_complete"),
    ("$events/client_check_authn_complete", "client.check_authn_complete"),
    ("$events/auth/check_authz_complete", "client.check_authz_complete"),
    ("$events/client_check_authz_complete", "client.check_authz_complete"),
];

#[tokio::test]
async fn every_event_runs_the_rules_that_select_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rules = String::new();
    for (number, (topic, _)) in TOPICS.iter().enumerate() {
        // what the rules republish goes to the watcher, and is not looked at again
        write!(
            rules,
            "[rules.r{number}]\nsql = \"\"\"SELECT * FROM \"{topic}\" \
             WHERE clientid <> 'watcher'\"\"\"\n\
             [[rules.r{number}.actions]]\nfunction = \"republish\"\n\
             args = {{ topic = \"out/{number}\", payload = \"${{.}}\", qos = 0, retain = false }}\n\n",
        )
        .expect("written");
    }
    std::fs::write(folder.path().join("rules.toml"), rules).expect("written");
    let server = Server::start(&["--rules", folder.path().to_str().expect("UTF-8")]).await;
    let port = server.mqtt_port();
    let mut watcher = Client::connect(port, "watcher").await;
    watcher.subscribe("out/#", QoS::AtMostOnce).await;

    let mut client = Client::connect(port, "c").await;
    client.subscribe("t/1", QoS::AtLeastOnce).await;
    client.send(&Packet::PingReq).await;
    assert!(matches!(client.next().await, Packet::PingResp));
    let mut publisher = Client::connect(port, "p").await;
    publisher.publish("t/1", b"hello", QoS::AtLeastOnce, 1).await;
    client.message().await;
    publisher.publish("t/none", b"lost", QoS::AtMostOnce, 0).await;
    // a subscription without its own messages
    let mut properties = Properties::new();
    properties.push(broker_codec::Property::SubscriptionIdentifier(1)).expect("valid");
    let options = broker_codec::SubscriptionOptions { no_local: true, ..Default::default() };
    let subscription = broker_codec::Subscription { filter: "own".to_owned(), options };
    let packet_id = support::mqtt::id(5);
    let subscribe = broker_codec::Subscribe { packet_id, properties, subscriptions: vec![subscription] };
    client.send(&Packet::Subscribe(subscribe)).await;
    client.publish("own", b"mine", QoS::AtMostOnce, 0).await;
    let end = Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() };

    let mut seen: BTreeMap<usize, Vec<Json>> = BTreeMap::new();
    while seen.len() < TOPICS.len() {
        let Some(packet) = watcher.next_within(Duration::from_secs(15)).await else {
            panic!("only {:?}\n{}", seen.keys().map(|at| TOPICS[*at].0).collect::<Vec<_>>(), server.log());
        };
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        let number = publish.topic().strip_prefix("out/").expect("a rule").parse().expect("a number");
        let event: Json = serde_json::from_slice(publish.payload_slice()).expect("JSON");
        seen.entry(number).or_default().push(event);
    }
    client.send(&Packet::Disconnect(end)).await;
    for (number, (topic, name)) in TOPICS.iter().enumerate() {
        assert!(seen[&number].iter().all(|event| event["event"] == *name), "{topic}: {:?}", seen[&number]);
    }
    let of = |topic: &str| &seen[&TOPICS.iter().position(|(found, _)| *found == topic).expect("listed")][0];
    let delivered = of("$events/message/delivered");
    assert_eq!((&delivered["from_clientid"], &delivered["clientid"]), (&"p".into(), &"c".into()));
    assert_eq!(delivered["payload"], "hello");
    assert_eq!(of("$events/message_acked")["id"], delivered["id"]);
    assert_eq!(of("$events/message/dropped")["reason"], "no_subscribers");
    assert_eq!(of("$events/delivery_dropped")["reason"], "no_local");
    assert_eq!(of("$events/client/connack")["reason_code"], "success");
    assert_eq!(of("$events/auth/check_authz_complete")["result"], "allow");
}
