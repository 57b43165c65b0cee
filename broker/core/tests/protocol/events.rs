//! Events of messages, connections and access, with exactly the columns of the table.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use broker_codec::{
    Ack, Connect, Packet, Properties, Property, QoS, ReasonCode, SubscriptionOptions, Version,
};
use broker_core::BrokerConfig;
use engine_event::{
    Completion, Event, EventKind, EventTap, Interest, Map, NewMessage, Publisher as _, RuleSlot, Value,
};

use crate::support::{Bench, connect, id, message, message_with, resume};

/// Hears of the events that it is interested in.
#[derive(Default)]
struct Ear {
    interest: AtomicU32,
    heard: Mutex<Vec<(EventKind, Map, u8)>>,
}

impl EventTap for Ear {
    fn interest(&self) -> Interest {
        Interest::from_bits(self.interest.load(Ordering::Relaxed))
    }

    fn published(&self, _rules: &[RuleSlot], _event: Event, _completion: Option<Completion>) {}

    fn happened(&self, kind: EventKind, event: Event) {
        assert!(self.interest().contains(kind), "{kind:?} was built and nobody wanted it");
        self.heard.lock().expect("not poisoned").push((kind, event.columns(), event.hops()));
    }
}

/// Makes a broker whose rules select these kinds.
fn listening(config: BrokerConfig, kinds: &[EventKind]) -> (Bench, Arc<Ear>) {
    let mut bench = Bench::with(config);
    let ear = Arc::new(Ear::default());
    let interest = kinds.iter().fold(Interest::default(), |interest, kind| interest.with(*kind));
    ear.interest.store(interest.bits(), Ordering::Relaxed);
    bench.broker.set_tap(Arc::clone(&ear) as _);
    bench.advance_ms(0); // from the next batch of work on
    (bench, ear)
}

impl Ear {
    /// Takes what was heard; each event has the columns of the table, and no others.
    #[track_caller]
    fn take(&self) -> Vec<Map> {
        let heard = std::mem::take(&mut *self.heard.lock().expect("not poisoned"));
        heard.into_iter().map(|(kind, columns, _)| checked(kind, columns)).collect()
    }

    #[track_caller]
    fn take_one(&self) -> Map {
        let mut heard = self.take();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    /// Takes what was heard: one column of each event.
    #[track_caller]
    fn take_column(&self, name: &str) -> Vec<String> {
        self.take().iter().map(|columns| text(columns, name)).collect()
    }
}

#[track_caller]
fn checked(kind: EventKind, columns: Map) -> Map {
    let got: BTreeSet<String> = columns.keys().map(ToString::to_string).collect();
    let table = kind.def().columns.iter().map(|column| column.name);
    let want: BTreeSet<String> = table.chain(["event", "timestamp", "node"]).map(str::to_owned).collect();
    assert_eq!(got, want, "{kind:?}");
    assert_eq!(columns.get("event"), Some(&Value::from(kind.name())));
    assert_eq!(columns.get("timestamp"), Some(&Value::from(1_000_000)));
    assert_eq!(columns.get("node"), Some(&Value::from("sluice@127.0.0.1")));
    columns
}

fn text(columns: &Map, name: &str) -> String {
    match columns.get(name) {
        Some(Value::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    }
}

#[track_caller]
fn expect(columns: &Map, want: &[(&str, Value)]) {
    for (name, value) in want {
        assert_eq!(columns.get(*name), Some(value), "{name}");
    }
}

fn user(client_id: &str) -> Connect {
    Connect { username: Some(format!("u_{client_id}")), ..connect(client_id) }
}

fn map(entries: &[(&'static str, Value)]) -> Value {
    Value::Map(entries.iter().cloned().collect())
}

#[test]
fn a_message_that_is_delivered_and_acknowledged() {
    let (mut bench, ear) =
        listening(BrokerConfig::default(), &[EventKind::MessageDelivered, EventKind::MessageAcked]);
    let (mut receiver, _) = bench.connect(user("r"));
    let options =
        SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::with_qos(QoS::ExactlyOnce) };
    receiver.subscribe_with(&mut bench, "t/#", options, None);
    let (mut publisher, _) = bench.connect(user("p"));
    let properties = Properties::from_list(&[Property::ContentType("text/plain")]).expect("valid");
    publisher.send(&mut bench, &message_with("t/a", "hi", QoS::AtLeastOnce, 1, true, &properties));
    assert_eq!(ear.take().len(), 0, "not yet handed to its connection");
    receiver.read(&mut bench);
    let delivered = ear.take_one();
    let common = [
        ("from_clientid", Value::from("p")),
        ("from_username", "u_p".into()),
        ("clientid", "r".into()),
        ("username", "u_r".into()),
        ("peerhost", "127.0.0.1".into()),
        ("peername", "127.0.0.1:1000".into()),
        ("payload", "hi".into()),
        ("topic", "t/a".into()),
        ("qos", 1.into()),
        ("flags", map(&[("retain", true.into()), ("dup", false.into())])),
        ("pub_props", map(&[("Content-Type", "text/plain".into()), ("User-Property", map(&[]))])),
        ("publish_received_at", 1_000_000.into()),
    ];
    expect(&delivered, &common);
    assert_eq!(text(&delivered, "id").len(), 32);
    let properties = Properties::with_reason_string("OK");
    receiver
        .send(&mut bench, &Packet::PubAck(Ack { packet_id: id(1), reason: ReasonCode::SUCCESS, properties }));
    let acked = ear.take_one();
    expect(&acked, &common);
    expect(
        &acked,
        &[
            ("puback_props", map(&[("Reason-String", "OK".into()), ("User-Property", map(&[]))])),
            ("id", delivered.get("id").expect("an id").clone()),
        ],
    );
    // QoS 0 is delivered only, QoS 2 is acknowledged by PUBREC
    publisher.publish(&mut bench, "t/a", "0", QoS::AtMostOnce, 0);
    receiver.read(&mut bench);
    assert_eq!(ear.take_column("event"), ["message.delivered"]);
    publisher.publish(&mut bench, "t/a", "2", QoS::ExactlyOnce, 2);
    receiver.read(&mut bench);
    receiver.send(&mut bench, &Packet::PubRec(Ack::new(id(1), ReasonCode::SUCCESS)));
    receiver.send(&mut bench, &Packet::PubComp(Ack::new(id(1), ReasonCode::SUCCESS)));
    assert_eq!(ear.take_column("event"), ["message.delivered", "message.acked"]);
    // what the client refuses is not acknowledged, and what is sent again was delivered before
    publisher.publish(&mut bench, "t/a", "x", QoS::AtLeastOnce, 3);
    receiver.read(&mut bench);
    receiver.send(&mut bench, &Packet::PubAck(Ack::new(id(1), ReasonCode::UNSPECIFIED_ERROR)));
    assert_eq!(ear.take_column("event"), ["message.delivered"]);
}

#[test]
fn what_is_sent_again_was_delivered_before() {
    let (mut bench, ear) = listening(BrokerConfig::default(), &[EventKind::MessageDelivered]);
    let (mut receiver, _) = bench.connect(resume("r"));
    receiver.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
    receiver.read(&mut bench);
    receiver.vanish(&mut bench);
    let (mut receiver, _) = bench.connect(resume("r"));
    assert_eq!(receiver.read(&mut bench).len(), 1);
    assert_eq!(ear.take_column("payload"), ["x"]);
}

#[test]
fn a_retained_message_says_who_published_it() {
    let (mut bench, ear) = listening(BrokerConfig::default(), &[EventKind::MessageDelivered]);
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("t", "kept", QoS::AtMostOnce, 0, true));
    let mut receiver = bench.client("r");
    receiver.subscribe(&mut bench, "t", QoS::AtMostOnce);
    receiver.read(&mut bench);
    expect(
        &ear.take_one(),
        &[
            ("from_clientid", "p".into()),
            ("clientid", "r".into()),
            ("id", Value::Undefined),
            ("publish_received_at", 1_000_000.into()),
            ("flags", map(&[("retain", true.into()), ("dup", false.into())])),
        ],
    );
}

#[test]
fn a_message_that_reaches_nobody() {
    let config = BrokerConfig { max_retained_messages: 1, ..BrokerConfig::default() };
    let (mut bench, ear) = listening(config, &[EventKind::MessageDropped]);
    let (mut publisher, _) = bench.connect(user("p"));
    publisher.publish(&mut bench, "t/a", "x", QoS::AtLeastOnce, 1);
    expect(
        &ear.take_one(),
        &[
            ("reason", "no_subscribers".into()),
            ("clientid", "p".into()),
            ("username", "u_p".into()),
            ("peerhost", "127.0.0.1".into()),
            ("peername", "127.0.0.1:1000".into()),
            ("payload", "x".into()),
            ("topic", "t/a".into()),
            ("qos", 1.into()),
            ("flags", map(&[("retain", false.into()), ("dup", false.into())])),
            ("pub_props", map(&[])),
            ("publish_received_at", 1_000_000.into()),
        ],
    );
    let mut other = bench.client("s");
    other.subscribe(&mut bench, "t/#", QoS::AtMostOnce);
    publisher.publish(&mut bench, "t/a", "x", QoS::AtLeastOnce, 1);
    assert_eq!(ear.take().len(), 0);
    publisher.publish(&mut bench, "$SYS/x", "x", QoS::AtMostOnce, 0);
    assert_eq!(ear.take_column("reason"), ["not_authorized"]);
    publisher.send(&mut bench, &message("t/b", "x", QoS::AtLeastOnce, 2, true));
    publisher.send(&mut bench, &message("t/c", "x", QoS::AtLeastOnce, 3, true));
    assert_eq!(ear.take_column("reason"), ["quota_exceeded"]);
    for number in 10..=110 {
        publisher.publish(&mut bench, "t/a", "x", QoS::ExactlyOnce, number);
    }
    assert_eq!(ear.take_column("reason"), ["receive_maximum_exceeded"]);
    // from inside: of a rule, whose loops end after some hops
    let inside =
        NewMessage { topic: "nobody".into(), client_id: "rule".into(), hops: 3, ..NewMessage::default() };
    bench.broker.publish(inside).expect("published");
    assert_eq!(ear.heard.lock().expect("not poisoned")[0].2, 3);
    let dropped = ear.take_one();
    assert_eq!(
        (text(&dropped, "clientid"), dropped.get("peername")),
        ("rule".to_owned(), Some(&Value::Undefined))
    );
}

#[test]
fn a_message_that_one_subscriber_does_not_get() {
    let kinds = [EventKind::DeliveryDropped];
    let config = BrokerConfig { max_queue_len: 1, offline_qos0: false, ..BrokerConfig::default() };
    let (mut bench, ear) = listening(config, &kinds);
    let mut publisher = bench.client("p");
    let (mut receiver, _) = bench.connect(Connect { username: Some("u_r".to_owned()), ..resume("r") });
    receiver.subscribe(&mut bench, "t/#", QoS::AtLeastOnce);
    receiver.vanish(&mut bench);
    publisher.publish(&mut bench, "t/a", "q0", QoS::AtMostOnce, 0);
    let dropped = ear.take_one();
    expect(
        &dropped,
        &[
            ("reason", "qos0_msg".into()),
            ("from_clientid", "p".into()),
            ("from_username", Value::Undefined),
            ("clientid", "r".into()),
            ("username", "u_r".into()),
            ("peername", "127.0.0.1:1000".into()),
            ("payload", "q0".into()),
            ("topic", "t/a".into()),
            ("qos", 0.into()),
        ],
    );
    for payload in ["old", "new"] {
        publisher.publish(&mut bench, "t/a", payload, QoS::AtLeastOnce, 1);
    }
    let dropped = ear.take_one();
    assert_eq!(
        (text(&dropped, "reason"), text(&dropped, "payload")),
        ("queue_full".to_owned(), "old".to_owned())
    );
    let properties = Properties::from_list(&[Property::MaximumPacketSize(40)]).expect("valid");
    let (mut receiver, _) = bench.connect(Connect { clean_start: false, properties, ..connect("r") });
    receiver.read(&mut bench);
    publisher.publish(&mut bench, "t/a", &"x".repeat(100), QoS::AtMostOnce, 0);
    receiver.read(&mut bench);
    assert_eq!(ear.take_column("reason"), ["too_large"]);
    publisher.read(&mut bench);
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(QoS::AtMostOnce) };
    publisher.subscribe_with(&mut bench, "own", options, None);
    publisher.publish(&mut bench, "own", "x", QoS::AtMostOnce, 0);
    let dropped = ear.take_one();
    assert_eq!(
        (text(&dropped, "reason"), text(&dropped, "clientid")),
        ("no_local".to_owned(), "p".to_owned())
    );
    // a message that no member of a group has room for: of nobody
    let mut member = bench.client("m");
    member.subscribe(&mut bench, "$share/g/s", QoS::AtMostOnce);
    member.connection.block();
    for _ in 0..2 {
        publisher.publish(&mut bench, "s", "x", QoS::AtMostOnce, 0);
    }
    let dropped = ear.take_one();
    assert_eq!(
        (text(&dropped, "reason"), dropped.get("clientid")),
        ("queue_full".to_owned(), Some(&Value::Undefined))
    );
}

#[test]
fn a_message_that_expires_on_its_way() {
    let (mut bench, ear) = listening(BrokerConfig::default(), &[EventKind::DeliveryDropped]);
    let (mut receiver, _) = bench.connect(resume("r"));
    receiver.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    let properties = Properties::from_list(&[Property::MessageExpiryInterval(1)]).expect("valid");
    publisher.send(&mut bench, &message_with("t", "x", QoS::AtLeastOnce, 1, false, &properties));
    bench.advance_ms(1000);
    assert!(receiver.read(&mut bench).is_empty());
    let heard = ear.heard.lock().expect("not poisoned");
    assert_eq!(heard.iter().map(|(_, columns, _)| text(columns, "reason")).collect::<Vec<_>>(), ["expired"]);
}

#[test]
fn answers_to_connect_and_pings() {
    let (mut bench, ear) =
        listening(BrokerConfig::default(), &[EventKind::ClientConnack, EventKind::ClientPing]);
    let properties = Properties::from_list(&[Property::SessionExpiryInterval(7)]).expect("valid");
    let (mut client, _) = bench.connect(Connect { keep_alive_s: 60, properties, ..user("c") });
    let common = [
        ("clientid", Value::from("c")),
        ("username", "u_c".into()),
        ("peername", "127.0.0.1:1000".into()),
        ("sockname", "127.0.0.1:1883".into()),
        ("proto_name", "MQTT".into()),
        ("proto_ver", 5.into()),
        ("keepalive", 60.into()),
        ("clean_start", true.into()),
        ("expiry_interval", 7.into()),
        ("conn_props", map(&[("Session-Expiry-Interval", 7.into()), ("User-Property", map(&[]))])),
    ];
    let connack = ear.take_one();
    expect(&connack, &common);
    expect(&connack, &[("reason_code", "success".into()), ("connected_at", 1_000_000.into())]);
    client.send(&mut bench, &Packet::PingReq);
    expect(&ear.take_one(), &common);
    for (connect, from, want) in [
        (connect(&"x".repeat(300)), [127, 0, 0, 1], "client_identifier_not_valid"),
        (connect("c"), [10, 0, 0, 1], "not_authorized"),
        (Connect { version: Version::V4, ..connect("c") }, [10, 0, 0, 1], "not_authorized"),
    ] {
        let client_id = connect.client_id.clone();
        bench.connect_from(connect, from);
        let connack = ear.take_one();
        expect(&connack, &[("reason_code", want.into()), ("clientid", Value::from(client_id.as_str()))]);
        expect(&connack, &[("connected_at", Value::Undefined)]);
    }
}

#[test]
fn who_was_let_in_and_what_they_may_do() {
    let config = BrokerConfig { allow_anonymous: true, ..BrokerConfig::default() };
    let (mut bench, ear) =
        listening(config, &[EventKind::ClientCheckAuthnComplete, EventKind::ClientCheckAuthzComplete]);
    let (mut client, _) = bench.connect_from(user("c"), [10, 0, 0, 1]);
    expect(
        &ear.take_one(),
        &[
            ("event", "client.check_authn_complete".into()),
            ("clientid", "c".into()),
            ("username", "u_c".into()),
            ("peername", "10.0.0.1:1000".into()),
            ("reason_code", "success".into()),
            ("is_superuser", false.into()),
            ("is_anonymous", true.into()),
            ("client_attrs", map(&[])),
        ],
    );
    let common = [
        ("event", Value::from("client.check_authz_complete")),
        ("clientid", "c".into()),
        ("username", "u_c".into()),
        ("peerhost", "10.0.0.1".into()),
        ("peername", "10.0.0.1:1000".into()),
        ("authz_source", "default".into()),
        ("client_attrs", map(&[])),
    ];
    let said = |action: &str, topic: &str, result: &str| {
        [("action", Value::from(action)), ("topic", topic.into()), ("result", result.into())]
    };
    client.subscribe(&mut bench, "$share/g/t/#", QoS::AtMostOnce);
    let event = ear.take_one();
    expect(&event, &common);
    expect(&event, &said("subscribe", "t/#", "allow"));
    for _ in 0..2 {
        client.publish(&mut bench, "t/a", "x", QoS::AtMostOnce, 0);
        let event = ear.take_one();
        expect(&event, &common);
        expect(&event, &said("publish", "t/a", "allow"));
    }
    client.subscribe(&mut bench, "$SYS/#", QoS::AtMostOnce);
    expect(&ear.take_one(), &said("subscribe", "$SYS/#", "deny"));
    client.publish(&mut bench, "$SYS/a", "x", QoS::AtMostOnce, 0);
    expect(&ear.take_one(), &said("publish", "$SYS/a", "deny"));

    let (mut bench, ear) = listening(BrokerConfig::default(), &[EventKind::ClientCheckAuthnComplete]);
    bench.connect_from(user("c"), [10, 0, 0, 1]);
    expect(&ear.take_one(), &[("reason_code", "not_authorized".into()), ("is_anonymous", false.into())]);
}

#[test]
fn nothing_is_built_that_nobody_wants() {
    let (mut bench, ear) = listening(BrokerConfig { max_queue_len: 1, ..BrokerConfig::default() }, &[]);
    let (mut receiver, _) = bench.connect(resume("r"));
    receiver.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "nobody", "x", QoS::AtLeastOnce, 2);
    receiver.read(&mut bench);
    receiver.acknowledge(&mut bench, 1);
    receiver.send(&mut bench, &Packet::PingReq);
    receiver.vanish(&mut bench);
    for number in 3..=5 {
        publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, number);
    }
    assert_eq!(ear.take().len(), 0);
    // a rule that comes later hears of what happens from then on
    ear.interest.store(Interest::default().with(EventKind::MessageDelivered).bits(), Ordering::Relaxed);
    bench.advance_ms(0);
    let (mut receiver, _) = bench.connect(resume("r"));
    receiver.read(&mut bench);
    let delivered = ear.take_one();
    expect(
        &delivered,
        &[("from_clientid", Value::Undefined), ("id", Value::Undefined), ("payload", "x".into())],
    );
}
