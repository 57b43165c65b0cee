//! Slow subscriptions.

use broker_codec::{Ack, Packet, QoS, ReasonCode};
use broker_core::{BrokerConfig, SlowStats, SlowSubsConfig};

use crate::support::{Bench, Client, connect, id, message, resume};

fn taking(stats: SlowStats, top_k: usize) -> SlowSubsConfig {
    SlowSubsConfig { enable: true, threshold_ms: 100, expire_interval_ms: 10_000, top_k, stats }
}

fn bench_with(stats: SlowStats) -> Bench {
    Bench::with(BrokerConfig { slow_subs: taking(stats, 10), ..BrokerConfig::default() })
}

/// The list, as client, topic and time.
fn list(bench: &Bench) -> Vec<(String, String, u64)> {
    let slow = bench.broker.slow_subscriptions().into_iter();
    slow.map(|one| (one.client_id.to_str_lossy().into_owned(), one.topic.into(), one.took_ms)).collect()
}

/// A message with QoS 1 that is published at 0 ms, sent at `sent_ms` and acknowledged at `acked_ms`.
fn deliver(bench: &mut Bench, subscriber: &mut Client, topic: &str, sent_ms: i64, acked_ms: i64) {
    let mut publisher = bench.client("p");
    publisher.publish(bench, topic, "x", QoS::AtLeastOnce, 1);
    bench.advance_ms(sent_ms);
    let Packet::Publish(publish) = subscriber.read_one(bench) else { panic!("no message") };
    bench.advance_ms(acked_ms - sent_ms);
    subscriber.acknowledge(bench, publish.packet_id().expect("QoS 1").get());
    publisher.vanish(bench);
}

#[track_caller]
fn check(stats: SlowStats, took_ms: Option<u64>) {
    let mut bench = bench_with(stats);
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::AtLeastOnce);
    deliver(&mut bench, &mut subscriber, "t", 150, 400);
    let want: Vec<_> = took_ms.into_iter().map(|took_ms| ("s".to_owned(), "t".to_owned(), took_ms)).collect();
    assert_eq!(list(&bench), want, "{stats:?}");
}

#[test]
fn each_kind_takes_its_time() {
    check(SlowStats::Whole, Some(400));
    check(SlowStats::Internal, Some(150));
    check(SlowStats::Response, Some(250));
}

#[test]
fn of_qos_0_only_the_way_to_the_socket_counts() {
    for (stats, slow) in [(SlowStats::Whole, 1), (SlowStats::Internal, 1), (SlowStats::Response, 0)] {
        let mut bench = bench_with(stats);
        let mut subscriber = bench.client("s");
        subscriber.subscribe(&mut bench, "#", QoS::AtMostOnce);
        let mut publisher = bench.client("p");
        publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
        bench.advance_ms(100);
        assert_eq!(subscriber.read(&mut bench).len(), 1);
        assert_eq!(bench.broker.slow_subscriptions().len(), slow, "{stats:?}");
    }
}

#[test]
fn of_qos_2_pubrec_is_the_end() {
    let mut bench = bench_with(SlowStats::Response);
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert_eq!(subscriber.read(&mut bench).len(), 1);
    bench.advance_ms(300);
    subscriber.send(&mut bench, &Packet::PubRec(Ack::new(id(1), ReasonCode::SUCCESS)));
    assert_eq!(list(&bench), [("s".to_owned(), "t".to_owned(), 300)]);
    bench.advance_ms(500);
    subscriber.send(&mut bench, &Packet::PubComp(Ack::new(id(1), ReasonCode::SUCCESS)));
    assert_eq!(list(&bench), [("s".to_owned(), "t".to_owned(), 300)]);
}

#[test]
fn the_slowest_are_kept_the_worst_first() {
    let mut bench =
        Bench::with(BrokerConfig { slow_subs: taking(SlowStats::Whole, 2), ..BrokerConfig::default() });
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::AtLeastOnce);
    for (topic, took_ms) in [("a", 200), ("b", 99), ("c", 400), ("d", 150), ("a", 120), ("e", 300)] {
        deliver(&mut bench, &mut subscriber, topic, 0, took_ms);
    }
    let times = |bench: &Bench| -> Vec<(String, u64)> {
        list(bench).into_iter().map(|(_, topic, took_ms)| (topic, took_ms)).collect()
    };
    assert_eq!(times(&bench), [("c".to_owned(), 400), ("e".to_owned(), 300)]);
    deliver(&mut bench, &mut subscriber, "e", 0, 500);
    assert_eq!(times(&bench), [("e".to_owned(), 500), ("c".to_owned(), 400)]);
    let slow = bench.broker.slow_subscriptions();
    assert_eq!(slow[0].at_ms, bench.broker.now_ms());

    bench.broker.set_slow_subs(taking(SlowStats::Whole, 1));
    assert_eq!(times(&bench), [("e".to_owned(), 500)]);
    bench.advance_ms(9_999);
    assert_eq!(bench.broker.slow_subscriptions().len(), 1);
    bench.advance_ms(1);
    assert!(bench.broker.slow_subscriptions().is_empty(), "it got no slower for so long");
    deliver(&mut bench, &mut subscriber, "f", 0, 110);
    assert_eq!(times(&bench), [("f".to_owned(), 110)], "the old limit of the full list is gone");
    bench.broker.clear_slow_subscriptions();
    assert!(bench.broker.slow_subscriptions().is_empty());
}

#[test]
fn it_can_be_switched_while_messages_are_under_way() {
    let mut bench = Bench::new();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
    assert_eq!(subscriber.read(&mut bench).len(), 1);
    bench.broker.set_slow_subs(taking(SlowStats::Whole, 10));
    bench.advance_ms(500);
    subscriber.acknowledge(&mut bench, 1);
    assert!(bench.broker.slow_subscriptions().is_empty(), "when it came nobody knows");
    deliver(&mut bench, &mut subscriber, "t", 0, 500);
    assert_eq!(list(&bench).len(), 1);
    publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 2);
    assert_eq!(subscriber.read(&mut bench).len(), 1);
    bench.broker.set_slow_subs(SlowSubsConfig::default());
    assert!(bench.broker.slow_subscriptions().is_empty(), "off is empty");
    subscriber.acknowledge(&mut bench, 1);
    bench.advance_ms(500);
    assert!(bench.broker.slow_subscriptions().is_empty());
    assert!(!bench.broker.slow_subs_config().enable);
}

#[test]
fn what_waited_for_its_client_is_slow_and_what_is_retained_is_not() {
    let mut bench = bench_with(SlowStats::Whole);
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("kept", "x", QoS::AtLeastOnce, 1, true));
    let (mut subscriber, _) = bench.connect(resume("s"));
    subscriber.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    subscriber.vanish(&mut bench);
    publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 2);
    bench.advance_ms(2_000);
    let (mut subscriber, _) = bench.connect(resume("s"));
    assert_eq!(subscriber.read(&mut bench).len(), 1);
    subscriber.acknowledge(&mut bench, 1);
    assert_eq!(list(&bench), [("s".to_owned(), "t".to_owned(), 2_000)]);
    let (mut late, _) = bench.connect(connect("late"));
    late.subscribe(&mut bench, "kept", QoS::AtLeastOnce);
    assert_eq!(late.read(&mut bench).len(), 1);
    late.acknowledge(&mut bench, 1);
    assert_eq!(list(&bench).len(), 1);
}
