//! `$SYS` topics.

use std::collections::BTreeMap;

use broker_codec::{Connect, Packet, QoS, ReasonCode, Version, Will};
use broker_core::{BrokerConfig, CloseReason, SystemTopics};
use engine_event::{Map, Value, decode_json};

use crate::support::{Bench, Client, connect, resume, will};

const NODE: &str = "$SYS/brokers/sluice@127.0.0.1";

fn everything() -> BrokerConfig {
    let system =
        SystemTopics { client_subscribed: true, client_unsubscribed: true, ..SystemTopics::default() };
    BrokerConfig { system, allow_anonymous: true, ..BrokerConfig::default() }
}

/// What a client has got: payloads by topic, without what all topics begin with.
fn read(bench: &mut Bench, client: &mut Client) -> Vec<(String, String)> {
    let messages = client.read_messages(bench).into_iter();
    messages
        .map(|publish| {
            let topic = publish.topic().replace(NODE, "NODE");
            (topic, String::from_utf8(publish.payload_slice().to_vec()).expect("text"))
        })
        .collect()
}

fn object(json: &str) -> Map {
    match decode_json(json.as_bytes()).expect("JSON") {
        Value::Map(map) => map,
        other => panic!("{other:?} is no object"),
    }
}

#[test]
fn reports_come_at_their_intervals() {
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    client.subscribe(&mut bench, "$SYS/#", QoS::AtMostOnce);
    bench.advance_ms(0);
    let first: BTreeMap<_, _> = read(&mut bench, &mut client).into_iter().collect();
    assert_eq!(first["$SYS/brokers"], "sluice@127.0.0.1");
    assert_eq!(first["NODE/version"], env!("CARGO_PKG_VERSION"));
    assert!(!first["NODE/sysdescr"].is_empty());
    assert_eq!(first["NODE/uptime"], "0");
    assert_eq!(first["NODE/datetime"], "1970-01-01T00:16:40+00:00");
    assert_eq!(first["NODE/stats/live_connections/count"], "1");
    assert_eq!(first["NODE/metrics/packets/connect/received"], "1");
    assert_eq!(first.len(), 5 + bench.broker.stats().0.len() + bench.broker.metrics().all().len());
    bench.advance_ms(29_999);
    assert_eq!(read(&mut bench, &mut client), []);
    bench.advance_ms(1);
    let second: Vec<_> = read(&mut bench, &mut client).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(second, ["NODE/uptime", "NODE/datetime"]);
    bench.advance_ms(30_000);
    assert_eq!(read(&mut bench, &mut client).len(), first.len());
    // who comes later gets what is retained
    let mut late = bench.client("late");
    late.subscribe(&mut bench, "$SYS/brokers/#", QoS::AtMostOnce);
    let mut kept: Vec<_> = read(&mut bench, &mut late).into_iter().map(|(topic, _)| topic).collect();
    kept.sort();
    assert_eq!(kept, ["$SYS/brokers", "NODE/sysdescr", "NODE/version"]);
}

#[test]
fn reports_may_be_off() {
    let system =
        SystemTopics { message_interval_ms: None, heartbeat_interval_ms: None, ..SystemTopics::default() };
    let mut bench = Bench::with(BrokerConfig { system, ..BrokerConfig::default() });
    let mut client = bench.client("c");
    client.subscribe(&mut bench, "$SYS/#", QoS::AtMostOnce);
    bench.advance_ms(100_000);
    assert_eq!(read(&mut bench, &mut client), []);
}

#[test]
fn nobody_gets_them_by_a_wildcard() {
    // [MQTT-4.7.2-1]
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    for filter in ["#", "+/#", "+/brokers", "+/brokers/+/clients/+/connected"] {
        client.subscribe(&mut bench, filter, QoS::AtMostOnce);
    }
    bench.client("d");
    bench.advance_ms(0);
    assert_eq!(read(&mut bench, &mut client), []);
}

#[test]
fn clients_that_come_and_go_are_told_of() {
    let mut bench = Bench::new();
    let mut watcher = bench.client("watcher");
    watcher.subscribe(&mut bench, "$SYS/brokers/+/clients/#", QoS::AtMostOnce);
    let first = Connect { username: Some("u".to_owned()), keep_alive_s: 60, ..resume("a/b") };
    let (mut old, _) = bench.connect_from(first, [127, 0, 0, 2]);
    let (new, _) = bench.connect(Connect { version: Version::V4, ..resume("a/b") });
    bench.deliver_mail(&mut old);
    new.vanish(&mut bench);
    let told = read(&mut bench, &mut watcher);
    let topics: Vec<_> = told.iter().map(|(topic, _)| topic.as_str()).collect();
    let (connected, disconnected) = ("NODE/clients/a%2Fb/connected", "NODE/clients/a%2Fb/disconnected");
    assert_eq!(topics, [connected, disconnected, connected, disconnected]);
    let objects: Vec<Map> = told.iter().map(|(_, json)| object(json)).collect();
    let fields = |map: &Map, names: &[&str]| {
        names.iter().map(|name| map.get(*name).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    let both = [
        "clientid",
        "username",
        "ipaddress",
        "sockport",
        "protocol",
        "proto_name",
        "proto_ver",
        "connected_at",
        "ts",
    ];
    let text = |text: &str| Value::from(text);
    let of_first = [
        text("a/b"),
        text("u"),
        text("127.0.0.2"),
        1883.into(),
        text("mqtt"),
        text("MQTT"),
        5.into(),
        1_000_000.into(),
        1_000_000.into(),
    ];
    assert_eq!(fields(&objects[0], &both), of_first);
    assert_eq!(fields(&objects[1], &both), of_first);
    let only_connected =
        ["keepalive", "clean_start", "expiry_interval", "receive_maximum", "connack", "client_attrs"];
    let want = [60.into(), false.into(), 1000.into(), 65535.into(), 0.into(), Value::Map(Map::new())];
    assert_eq!(fields(&objects[0], &only_connected), want);
    let properties = objects[0].get("conn_props").and_then(Value::as_map).expect("an object");
    assert_eq!(properties.get("Session-Expiry-Interval"), Some(&Value::from(1000)));
    let only_disconnected = ["reason", "disconnected_at"];
    assert_eq!(fields(&objects[1], &only_disconnected), [text("takenover"), 1_000_000.into()]);
    assert_eq!(fields(&objects[3], &only_disconnected), [text("tcp_closed"), 1_000_000.into()]);
    assert_eq!(fields(&objects[2], &["username", "proto_ver"]), [Value::Null, 4.into()]);
    let number = |map: &Map, name: &str| match map.get(name) {
        Some(Value::Int(number)) => *number,
        other => panic!("{name}: {other:?}"),
    };
    assert!(objects.windows(2).all(|two| number(&two[0], "seq") < number(&two[1], "seq")));
    assert_eq!(number(&objects[0], "conn_id"), number(&objects[1], "conn_id"));
    assert!(number(&objects[1], "conn_id") < number(&objects[2], "conn_id"));
}

#[test]
fn subscriptions_are_told_of_when_asked_for() {
    for (config, count) in [(BrokerConfig::default(), 0), (everything(), 2)] {
        let mut bench = Bench::with(config);
        let mut watcher = bench.client("watcher");
        watcher.subscribe(&mut bench, "$SYS/brokers/+/clients/c/+", QoS::AtMostOnce);
        let mut client = bench.client("c");
        read(&mut bench, &mut watcher);
        client.subscribe(&mut bench, "$share/g/t/#", QoS::AtLeastOnce);
        client.unsubscribe(&mut bench, "$share/g/t/#");
        let told = read(&mut bench, &mut watcher);
        assert_eq!(told.len(), count);
        if let [(subscribed, first), (unsubscribed, second)] = &told[..] {
            assert_eq!(
                (subscribed.as_str(), unsubscribed.as_str()),
                ("NODE/clients/c/subscribed", "NODE/clients/c/unsubscribed")
            );
            let (first, second) = (object(first), object(second));
            for map in [&first, &second] {
                assert_eq!(map.get("topic"), Some(&Value::from("$share/g/t/#")));
                assert_eq!(map.get("clientid"), Some(&Value::from("c")));
            }
            let options = first.get("subopts").and_then(Value::as_map).expect("an object");
            for (name, want) in [
                ("qos", Value::from(1)),
                ("nl", 0.into()),
                ("rap", 0.into()),
                ("rh", 0.into()),
                ("is_new", true.into()),
            ] {
                assert_eq!(options.get(name), Some(&want), "{name}");
            }
        }
    }
}

#[test]
fn a_group_gets_each_event_once() {
    let mut bench = Bench::new();
    let mut members: Vec<Client> = ["m0", "m1"].map(|name| bench.client(name)).into();
    for member in &mut members {
        let code =
            member.subscribe(&mut bench, "$share/g/$SYS/brokers/+/clients/+/connected", QoS::AtMostOnce);
        assert_eq!(code, ReasonCode::GRANTED_QOS_0);
    }
    let _clients: Vec<Client> = (0..10).map(|number| bench.client(&format!("c{number}"))).collect();
    let counts: Vec<usize> = members.iter_mut().map(|member| member.read(&mut bench).len()).collect();
    assert_eq!(counts, [5, 5]);
}

#[test]
fn only_clients_of_this_machine_may_subscribe() {
    let mut bench = Bench::with(everything());
    for (from, want) in [
        ([127, 0, 0, 1], ReasonCode::GRANTED_QOS_0),
        ([127, 9, 9, 9], ReasonCode::GRANTED_QOS_0),
        ([10, 0, 0, 1], ReasonCode::NOT_AUTHORIZED),
    ] {
        let (mut client, _) = bench.connect_from(connect("c"), from);
        for filter in ["$SYS/#", "$SYS/brokers", "$share/g/$SYS/brokers/+/uptime", "$queue/$SYS/+"] {
            assert_eq!(client.subscribe(&mut bench, filter, QoS::AtMostOnce), want, "{from:?} {filter}");
        }
        assert_eq!(client.subscribe(&mut bench, "#", QoS::AtMostOnce), ReasonCode::GRANTED_QOS_0);
        assert_eq!(client.subscribe(&mut bench, "$SYSTEM/a", QoS::AtMostOnce), ReasonCode::GRANTED_QOS_0);
    }
}

#[test]
fn no_client_may_publish_there() {
    let mut bench = Bench::new();
    let mut watcher = bench.client("watcher");
    watcher.subscribe(&mut bench, "$SYS/x/#", QoS::AtMostOnce);
    let mut forger = bench.client("forger");
    forger.publish(&mut bench, "t", "x", QoS::AtMostOnce, 0);
    forger.publish(&mut bench, "$SYS/x/y", "x", QoS::AtMostOnce, 0);
    forger.publish(&mut bench, "$SYS/x/y", "x", QoS::AtLeastOnce, 1);
    let Packet::PubAck(ack) = forger.read_one(&mut bench) else { panic!("a PUBACK") };
    assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED);
    let wish = will("$SYS/x/y", 0).map(|will| Will { payload: b"w".to_vec().into(), ..will });
    let (mut dying, _) = bench.connect(Connect { will: wish, ..connect("dying") });
    dying.close(&mut bench, CloseReason::TcpClosed);
    assert_eq!(read(&mut bench, &mut watcher), []);
    forger.publish(&mut bench, "$SYSTEM/y", "x", QoS::AtLeastOnce, 2);
    let Packet::PubAck(ack) = forger.read_one(&mut bench) else { panic!("a PUBACK") };
    assert_eq!(ack.reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
}

#[test]
fn what_nobody_wants_is_neither_built_nor_counted() {
    let mut bench = Bench::new();
    bench.client("c");
    bench.advance_ms(0);
    bench.advance_ms(60_000);
    let metrics = bench.broker.metrics();
    assert_eq!(metrics.get(broker_core::Metric::MessagesPublish), 0);
    assert_eq!(metrics.get(broker_core::Metric::MessagesDropped), 0);
}
