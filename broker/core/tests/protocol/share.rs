//! Shared subscriptions.

use broker_codec::{Connect, Properties, Property, QoS};
use broker_core::{BrokerConfig, QueueOverflow};

use crate::support::{Bench, connect, resume};

#[test]
fn a_member_whose_bytes_are_used_up_is_passed_over() {
    // (b.3): a member whose queue would overflow is skipped
    for queue_overflow in [QueueOverflow::DropOldest, QueueOverflow::DropNewest] {
        let config = BrokerConfig {
            max_queue_bytes: 2_000,
            max_inflight: 1,
            queue_overflow,
            ..BrokerConfig::default()
        };
        let mut bench = Bench::with(config);
        let (mut full, _) = bench.connect(resume("full"));
        full.subscribe(&mut bench, "own", QoS::AtLeastOnce);
        full.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
        let mut publisher = bench.client("p");
        for number in 1..=3 {
            publisher.publish(&mut bench, "own", &"x".repeat(900), QoS::AtLeastOnce, number);
            publisher.read(&mut bench);
            full.read(&mut bench);
        }
        let mut other = bench.client("other");
        other.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
        for _ in 0..4 {
            publisher.publish(&mut bench, "t", &"y".repeat(900), QoS::AtMostOnce, 0);
        }
        assert_eq!(other.read(&mut bench).len(), 2, "two fill its bytes");
        for _ in 0..2 {
            publisher.publish(&mut bench, "t", &"y".repeat(900), QoS::AtMostOnce, 0);
        }
        assert_eq!(other.read(&mut bench).len(), 2);
        assert_eq!(bench.broker.client("full").expect("there").queue_dropped, 0, "{queue_overflow:?}");
    }
}

#[test]
fn what_a_member_leaves_behind_goes_to_another() {
    // [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    let mut bench = Bench::new();
    let (mut first, _) = bench.connect(resume("first"));
    first.subscribe(&mut bench, "$share/g/t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "once", QoS::ExactlyOnce, 1);
    publisher.publish(&mut bench, "t", "least", QoS::AtLeastOnce, 2);
    assert_eq!(first.read_payloads(&mut bench), ["once", "least"]);
    let mut second = bench.client("second");
    second.subscribe(&mut bench, "$share/g/t", QoS::ExactlyOnce);
    first.vanish(&mut bench);
    assert!(second.read(&mut bench).is_empty(), "the session lives on");
    assert!(bench.broker.kick("first"));
    assert_eq!(second.read_payloads(&mut bench), ["least"]);
}

#[test]
fn a_member_that_takes_only_small_packets_is_passed_over() {
    let mut bench = Bench::new();
    let properties = Properties::from_list(&[Property::MaximumPacketSize(100)]).expect("valid");
    let (mut small, _) = bench.connect(Connect { properties, ..connect("small") });
    small.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    let mut large = bench.client("large");
    large.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    for _ in 0..4 {
        publisher.publish(&mut bench, "t", &"x".repeat(200), QoS::AtMostOnce, 0);
    }
    assert_eq!(large.read(&mut bench).len(), 4);
}
