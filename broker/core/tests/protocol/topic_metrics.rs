//! Counters of single topics.

use std::sync::Arc;

use broker_codec::QoS;
use broker_core::{
    Action, AnonymousOnly, Authorizer, Broker, BrokerConfig, Requester, TopicCounter, TopicMetricsError,
    Verdict,
};
use engine_event::ManualClock;

use crate::support::{Bench, message};

/// Counters of a topic in the order in, out, dropped.
#[track_caller]
fn counted(bench: &Bench, filter: &str) -> [u64; 3] {
    let metrics = bench.broker.topic_metrics_of(filter).expect("it is counted");
    [TopicCounter::In, TopicCounter::Out, TopicCounter::Dropped].map(|counter| metrics.count(counter))
}

#[test]
fn messages_of_a_named_topic_are_counted_by_qos() {
    let mut bench = Bench::new();
    bench.broker.add_topic_metrics("a/b", 5).expect("room");
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::AtLeastOnce);
    let mut other = bench.client("o");
    other.subscribe(&mut bench, "a/+", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    for (topic, qos, number) in [
        ("a/b", QoS::AtMostOnce, 0),
        ("a/b", QoS::AtLeastOnce, 1),
        ("a/b", QoS::ExactlyOnce, 2),
        ("a/c", QoS::AtLeastOnce, 3),
    ] {
        publisher.publish(&mut bench, topic, "x", qos, number);
    }
    assert_eq!((subscriber.read(&mut bench).len(), other.read(&mut bench).len()), (4, 4));
    let metrics = bench.broker.topic_metrics();
    assert_eq!(metrics.len(), 1);
    assert_eq!((&*metrics[0].filter, metrics[0].created_at_ms, metrics[0].reset_at_ms), ("a/b", 5, None));
    let counts = TopicCounter::ALL.map(|counter| metrics[0].count(counter));
    // in: all, QoS 0, 1, 2; out: all, QoS 0, 1, 2, as granted; dropped
    assert_eq!(counts, [3, 1, 1, 1, 6, 4, 2, 0, 0]);
    bench.advance_ms(1000);
    let metrics = bench.broker.topic_metrics_of("a/b").expect("it is counted");
    assert_eq!((metrics.rate(TopicCounter::In), metrics.rate(TopicCounter::Out)), (3.0, 6.0));

    assert!(bench.broker.reset_topic_metrics(Some("a/b")) && !bench.broker.reset_topic_metrics(Some("x")));
    assert_eq!(counted(&bench, "a/b"), [0, 0, 0]);
    let metrics = bench.broker.topic_metrics_of("a/b").expect("it is counted");
    assert_eq!((metrics.reset_at_ms, metrics.rate(TopicCounter::In)), (Some(1_001_000), 0.0));
}

#[test]
fn a_filter_counts_what_it_matches_beside_others() {
    let mut bench = Bench::new();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "a/1", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "a/1", "before", QoS::AtMostOnce, 0);
    for filter in ["a/+", "a/1", "#"] {
        bench.broker.add_topic_metrics(filter, 0).expect("room");
    }
    for topic in ["a/1", "a/2", "b"] {
        publisher.publish(&mut bench, topic, "x", QoS::AtMostOnce, 0);
    }
    assert_eq!(subscriber.read_payloads(&mut bench), ["before", "x"]);
    assert_eq!(counted(&bench, "a/1"), [1, 1, 0]);
    assert_eq!(counted(&bench, "a/+"), [2, 1, 1]);
    assert_eq!(counted(&bench, "#"), [3, 1, 2]);
    assert!(bench.broker.remove_topic_metrics("a/1") && !bench.broker.remove_topic_metrics("a/1"));
    publisher.publish(&mut bench, "a/1", "x", QoS::AtMostOnce, 0);
    assert_eq!(counted(&bench, "a/+"), [3, 1, 1]);
    assert!(bench.broker.topic_metrics_of("a/1").is_none());
    assert_eq!(bench.broker.topics().len(), 1, "who counts has not subscribed");
}

#[test]
fn what_comes_by_other_ways_is_counted_too() {
    let mut bench = Bench::new();
    bench.broker.add_topic_metrics("kept", 0).expect("room");
    bench.broker.add_topic_metrics("later", 0).expect("room");
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("kept", "x", QoS::AtMostOnce, 0, true));
    assert_eq!(counted(&bench, "kept"), [1, 0, 1], "nobody had subscribed");
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "kept", QoS::AtMostOnce);
    subscriber.subscribe(&mut bench, "$share/g/later", QoS::AtMostOnce);
    publisher.publish(&mut bench, "$delayed/1/later", "y", QoS::AtMostOnce, 0);
    assert_eq!(counted(&bench, "later"), [0, 0, 0]);
    bench.advance_ms(1000);
    assert_eq!(subscriber.read_payloads(&mut bench), ["x", "y"]);
    assert_eq!(counted(&bench, "kept"), [1, 1, 1]);
    assert_eq!(counted(&bench, "later"), [1, 1, 0]);
}

/// Nobody may publish.
struct Nobody;

impl Authorizer for Nobody {
    fn authorize(&self, _: &Requester<'_>, action: Action<'_>) -> Verdict {
        if matches!(action, Action::Publish { .. }) { Verdict::Deny } else { Verdict::Allow }
    }
}

#[test]
fn refused_messages_are_dropped_and_not_in() {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let authenticator = Arc::new(AnonymousOnly { from_everywhere: true });
    let config = BrokerConfig::default();
    let broker = Broker::with_access(config, Arc::clone(&clock) as _, authenticator, Arc::new(Nobody));
    let mut bench = Bench::of(broker, clock);
    bench.broker.add_topic_metrics("a", 0).expect("room");
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "a", "x", QoS::AtLeastOnce, 1);
    assert_eq!(counted(&bench, "a"), [0, 0, 1]);
}

#[test]
fn what_cannot_be_counted_is_said() {
    let bench = Bench::new();
    bench.broker.add_topic_metrics("t", 0).expect("room");
    let check = |filter: &str, said: &str| {
        let error = bench.broker.add_topic_metrics(filter, 0).expect_err("refused");
        assert!(error.to_string().contains(said), "{error}");
    };
    check("t", "counted already");
    check("", "not a topic filter");
    check("a/#/b", "not a topic filter");
    check(&"a/".repeat(200), "more than 128 levels");
    for number in 1..512 {
        bench.broker.add_topic_metrics(&format!("t/{number}"), 0).expect("room");
    }
    assert_eq!(bench.broker.add_topic_metrics("u", 0), Err(TopicMetricsError::Full));
    assert!(bench.broker.reset_topic_metrics(None));
    assert_eq!(bench.broker.topic_metrics().len(), 512);
}
