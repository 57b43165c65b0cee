//! What waits for a client: in which order, how much of it, and what becomes of the rest.

use broker_codec::{Packet, QoS, ReasonCode};
use broker_core::{BrokerConfig, CloseReason, DefaultPriority, Metric, QueueOverflow};

use crate::support::{Bench, Client, connect, resume, with_expiry};

/// A client that is away, subscribed to everything, and one that publishes.
fn away(config: BrokerConfig) -> (Bench, Client) {
    let mut bench = Bench::with(config);
    let (mut client, _) = bench.connect(resume("c"));
    client.subscribe(&mut bench, "#", QoS::AtLeastOnce);
    client.vanish(&mut bench);
    let publisher = bench.client("p");
    (bench, publisher)
}

fn publish(bench: &mut Bench, publisher: &mut Client, topic: &str, payloads: &[&str], qos: QoS) {
    for payload in payloads {
        publisher.publish(bench, topic, payload, qos, 1);
        publisher.read(bench);
    }
}

/// Brings the client back and returns what has waited, in the order in which it comes.
fn fetch(bench: &mut Bench) -> Vec<String> {
    let (mut client, _) = bench.connect(resume("c"));
    client.read_payloads(bench)
}

fn priorities(table: &[(&str, u8)]) -> BrokerConfig {
    let table = table.iter().map(|(filter, priority)| ((*filter).to_owned(), *priority));
    BrokerConfig { queue_priorities: table.collect(), ..BrokerConfig::default() }
}

#[test]
fn what_gives_way_in_a_full_queue_is_as_set_and_counted() {
    for (queue_overflow, left) in
        [(QueueOverflow::DropOldest, ["c", "d"]), (QueueOverflow::DropNewest, ["a", "b"])]
    {
        let config = BrokerConfig { max_queue_len: 2, queue_overflow, ..BrokerConfig::default() };
        let (mut bench, mut publisher) = away(config);
        publish(&mut bench, &mut publisher, "t", &["a", "b", "c", "d"], QoS::AtLeastOnce);
        let client = bench.broker.client("c").expect("there");
        assert_eq!((client.queue_len, client.dropped, client.dropped_queue_full), (2, 2, 2));
        assert_eq!(bench.metric(Metric::DeliveryDroppedQueueFull), 2);
        bench.check_drops();
        assert_eq!(fetch(&mut bench), left, "{queue_overflow:?}");
    }
}

#[test]
fn bytes_are_limited_as_messages_are() {
    let config = BrokerConfig { max_queue_bytes: 10_000, ..BrokerConfig::default() };
    let (mut bench, mut publisher) = away(config);
    let payloads: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|letter| letter.repeat(3000)).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    publish(&mut bench, &mut publisher, "t", &payloads, QoS::AtLeastOnce);
    assert!(bench.broker.client("c").expect("there").queue_bytes <= 10_000);
    assert_eq!(bench.metric(Metric::DeliveryDroppedQueueFull), 2);
    assert_eq!(fetch(&mut bench), payloads[2..]);
}

#[test]
fn a_slow_client_is_disconnected_if_that_is_wanted() {
    let config = BrokerConfig {
        max_queue_len: 2,
        queue_overflow: QueueOverflow::Disconnect,
        ..BrokerConfig::default()
    };
    let mut bench = Bench::with(config);
    let (mut client, _) = bench.connect(with_expiry("c", 100));
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    client.connection.block();
    let mut publisher = bench.client("p");
    publish(&mut bench, &mut publisher, "t", &["a", "b", "c", "d", "e"], QoS::AtLeastOnce);
    bench.deliver_mail(&mut client);
    assert!(client.closed);
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(
        goodbye.properties.as_ref().reason_string(),
        Some("too many messages wait; 3 messages were dropped because too many waited")
    );
    assert_eq!(bench.metric(Metric::DeliveryDroppedQueueFull), 3);
    assert_eq!(fetch(&mut bench), ["a", "b"], "its session is whole");
    let closed = bench.outlets.closed.lock().expect("not poisoned").clone();
    assert_eq!(closed, [], "once");
}

#[test]
fn a_client_is_told_once_how_many_messages_were_dropped() {
    let (mut bench, mut publisher) = away(BrokerConfig { max_queue_len: 1, ..BrokerConfig::default() });
    publish(&mut bench, &mut publisher, "t", &["a", "b", "c"], QoS::AtLeastOnce);
    for expected in [
        "another connection uses the client id; 2 messages were dropped because too many waited",
        "another connection uses the client id",
    ] {
        let (mut client, _) = bench.connect(resume("c"));
        client.read(&mut bench);
        client.close(&mut bench, CloseReason::TakenOver);
        let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
        assert_eq!(goodbye.properties.as_ref().reason_string(), Some(expected));
    }
}

#[test]
fn messages_of_a_higher_priority_go_first() {
    let config = BrokerConfig { max_inflight: 100, ..priorities(&[("alarm/#", 9), ("alarm/low", 1)]) };
    let (mut bench, mut publisher) = away(config);
    for number in ["1", "2"] {
        for topic in ["data", "alarm/low", "alarm/a/b"] {
            let payload = format!("{topic} {number}");
            publish(&mut bench, &mut publisher, topic, &[&payload], QoS::AtLeastOnce);
        }
    }
    let expected =
        ["alarm/a/b 1", "alarm/a/b 2", "alarm/low 1", "alarm/low 2", "data 1", "data 2"].map(str::to_owned);
    assert_eq!(fetch(&mut bench), expected);
}

#[test]
fn topics_without_a_priority_may_be_the_highest() {
    let config =
        BrokerConfig { queue_default_priority: DefaultPriority::Highest, ..priorities(&[("bulk", 255)]) };
    let (mut bench, mut publisher) = away(config);
    publish(&mut bench, &mut publisher, "bulk", &["a"], QoS::AtLeastOnce);
    publish(&mut bench, &mut publisher, "data", &["b"], QoS::AtLeastOnce);
    assert_eq!(fetch(&mut bench), ["b", "a"]);
}

#[test]
fn each_priority_has_its_own_number_of_messages() {
    let config = BrokerConfig { max_queue_len: 2, ..priorities(&[("alarm", 1)]) };
    let (mut bench, mut publisher) = away(config);
    publish(&mut bench, &mut publisher, "data", &["1", "2", "3"], QoS::AtLeastOnce);
    publish(&mut bench, &mut publisher, "alarm", &["4", "5", "6"], QoS::AtLeastOnce);
    assert_eq!(bench.metric(Metric::DeliveryDroppedQueueFull), 2);
    assert_eq!(fetch(&mut bench), ["5", "6", "2", "3"]);
}

#[test]
fn messages_of_qos_0_wait_only_if_they_may() {
    // with the window full, and away
    for (store_qos0, offline_qos0, left, dropped) in
        [(true, true, 2, 0), (true, false, 0, 2), (false, true, 0, 2), (false, false, 0, 2)]
    {
        let config = BrokerConfig { max_inflight: 1, store_qos0, offline_qos0, ..BrokerConfig::default() };
        let mut bench = Bench::with(config);
        let (mut client, _) = bench.connect(resume("c"));
        client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
        let mut publisher = bench.client("p");
        publish(&mut bench, &mut publisher, "t", &["at once"], QoS::AtMostOnce);
        assert_eq!(client.read_payloads(&mut bench), ["at once"]);
        publish(&mut bench, &mut publisher, "t", &["window"], QoS::AtLeastOnce);
        assert_eq!(client.read_payloads(&mut bench), ["window"]);
        publish(&mut bench, &mut publisher, "t", &["behind"], QoS::AtMostOnce);
        client.vanish(&mut bench);
        publish(&mut bench, &mut publisher, "t", &["away"], QoS::AtMostOnce);
        let info = bench.broker.client("c").expect("there");
        assert_eq!(info.queue_len, left, "{store_qos0} {offline_qos0}");
        assert_eq!(bench.metric(Metric::DeliveryDroppedQos0), dropped, "{store_qos0} {offline_qos0}");
        bench.check_drops();
    }
}

#[test]
fn a_full_window_does_not_hold_qos_0_back() {
    for store_qos0 in [true, false] {
        let config = BrokerConfig { max_inflight: 1, store_qos0, ..BrokerConfig::default() };
        let mut bench = Bench::with(config);
        let mut client = bench.client("c");
        client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
        let mut publisher = bench.client("p");
        publish(&mut bench, &mut publisher, "t", &["fills it"], QoS::AtLeastOnce);
        assert_eq!(client.read_payloads(&mut bench), ["fills it"]);
        publish(&mut bench, &mut publisher, "t", &["goes out"], QoS::AtMostOnce);
        assert_eq!(client.read_payloads(&mut bench), ["goes out"], "{store_qos0}");
        assert_eq!(bench.metric(Metric::DeliveryDroppedQos0), 0, "{store_qos0}");
    }
}

#[test]
fn what_waits_when_a_session_ends_is_counted() {
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    client.connection.block();
    let mut publisher = bench.client("p");
    publish(&mut bench, &mut publisher, "t", &["1", "2", "3"], QoS::AtLeastOnce);
    client.vanish(&mut bench);
    assert_eq!(bench.metric(Metric::DeliveryDroppedEnded), 3);
    let (mut second, _) = bench.connect(with_expiry("d", 10));
    second.subscribe(&mut bench, "t", QoS::AtMostOnce);
    second.vanish(&mut bench);
    publish(&mut bench, &mut publisher, "t", &["4"], QoS::AtMostOnce);
    bench.connect(connect("d"));
    assert_eq!(bench.metric(Metric::DeliveryDroppedEnded), 4, "it began anew");
    bench.check_drops();
}
