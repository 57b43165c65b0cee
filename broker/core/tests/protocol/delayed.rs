//! `$delayed/<seconds>/<topic>`.

use broker_codec::{Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use broker_core::{BrokerConfig, Metric};
use engine_event::{NewMessage, PublishError, Publisher as _};

use crate::support::{Bench, Client, connect, message, message_with, will};

#[track_caller]
fn puback(bench: &mut Bench, client: &mut Client) -> ReasonCode {
    match client.read_one(bench) {
        Packet::PubAck(ack) => ack.reason,
        Packet::PubRec(ack) => ack.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_comes_when_its_time_has_come() {
    let mut bench = Bench::new();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::ExactlyOnce);
    subscriber.subscribe(&mut bench, "$delayed/#", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "$delayed/10/a", "later", QoS::AtLeastOnce, 1);
    assert_eq!(puback(&mut bench, &mut publisher), ReasonCode::SUCCESS, "although nobody has got it");
    publisher.publish(&mut bench, "$delayed/5/b", "sooner", QoS::ExactlyOnce, 2);
    assert_eq!(puback(&mut bench, &mut publisher), ReasonCode::SUCCESS);
    publisher.publish(&mut bench, "$delayed/5/b", "sooner", QoS::ExactlyOnce, 2);
    assert_eq!(puback(&mut bench, &mut publisher), ReasonCode::SUCCESS, "the same again, and not twice");
    // the clock stands at 1000 s: a Unix time in the past is now
    publisher.publish(&mut bench, "$delayed/42949670/far", "far", QoS::AtMostOnce, 0);
    publisher.publish(&mut bench, "$delayed/0/now", "now", QoS::AtMostOnce, 0);
    let waiting = bench.broker.delayed_messages(10);
    let topics: Vec<_> = waiting.iter().map(|info| (info.publish.topic(), info.due_ms)).collect();
    assert_eq!(topics, [("now", 1_000_000), ("b", 1_005_000), ("a", 1_010_000), ("far", 42_949_670_000)]);
    assert_eq!(waiting[1].client_id, "p");
    bench.advance_ms(0);
    assert_eq!(subscriber.read_payloads(&mut bench), ["now"]);
    bench.advance_ms(4_999);
    assert!(subscriber.read(&mut bench).is_empty());
    bench.advance_ms(1);
    assert_eq!(subscriber.read_payloads(&mut bench), ["sooner"]);
    bench.advance_ms(5_000);
    let messages = subscriber.read_messages(&mut bench);
    assert_eq!((messages[0].topic(), messages[0].qos()), ("a", QoS::AtLeastOnce));
    assert_eq!(bench.broker.stats().get("delayed.count"), Some(1));
    assert_eq!(bench.broker.stats().get("delayed.max"), Some(4));
    assert_eq!(bench.broker.metrics().get(Metric::MessagesDelayed), 4);
    assert!(bench.broker.delete_delayed(waiting[3].id));
    assert!(!bench.broker.delete_delayed(waiting[3].id));
    assert_eq!(bench.broker.delayed_messages(10).len(), 0);
}

#[test]
fn it_is_retained_and_expires_as_others() {
    let mut bench = Bench::new();
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("$delayed/1/kept", "x", QoS::AtMostOnce, 0, true));
    let properties = Properties::from_list(&[Property::MessageExpiryInterval(10)]).expect("valid");
    for topic in ["$delayed/4/t", "$delayed/10/t"] {
        publisher.send(&mut bench, &message_with(topic, "x", QoS::AtMostOnce, 0, false, &properties));
    }
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "t", QoS::AtMostOnce);
    assert!(bench.broker.retained_message("kept").is_none());
    bench.advance_ms(1_000);
    assert!(bench.broker.retained_message("kept").is_some());
    bench.advance_ms(3_000);
    // from when it was accepted on
    let messages = subscriber.read_messages(&mut bench);
    assert_eq!(messages[0].message_expiry_interval(), Some(6));
    bench.advance_ms(6_000);
    assert!(subscriber.read(&mut bench).is_empty());
    assert_eq!(bench.broker.metrics().get(Metric::MessagesDroppedExpired), 1);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let config = BrokerConfig { max_delayed_messages: 2, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let mut publisher = bench.client("p");
    for (topic, qos, want) in [
        ("$delayed/x/t", QoS::AtLeastOnce, ReasonCode::TOPIC_NAME_INVALID),
        ("$delayed/5", QoS::AtLeastOnce, ReasonCode::TOPIC_NAME_INVALID),
        ("$delayed/5/$SYS/t", QoS::AtLeastOnce, ReasonCode::NOT_AUTHORIZED),
        ("$delayed/5/t", QoS::AtLeastOnce, ReasonCode::SUCCESS),
        ("$delayed/5/t", QoS::AtLeastOnce, ReasonCode::SUCCESS),
        ("$delayed/5/t", QoS::AtLeastOnce, ReasonCode::QUOTA_EXCEEDED),
        ("$delayed/5/t", QoS::ExactlyOnce, ReasonCode::QUOTA_EXCEEDED),
        ("$delayed/5/t", QoS::ExactlyOnce, ReasonCode::QUOTA_EXCEEDED), // new again, not repeated
    ] {
        publisher.publish(&mut bench, topic, "x", qos, 1);
        assert_eq!(puback(&mut bench, &mut publisher), want, "{topic}");
    }
    let (mut old, _) = bench.connect(Connect { version: Version::V4, ..connect("old") });
    old.publish(&mut bench, "$delayed/x/t", "x", QoS::AtLeastOnce, 1);
    assert!(!old.closed);
    let inside = |topic: &str| NewMessage { topic: topic.into(), ..NewMessage::default() };
    assert_eq!(bench.broker.publish(inside("$delayed/5/t")), Err(PublishError::Full));
    let wrong = inside("$delayed/x/t");
    assert_eq!(bench.broker.publish(wrong.clone()), Err(PublishError::Topic { topic: wrong.topic }));
}

#[test]
fn messages_from_inside_and_wills_may_be_for_later() {
    let mut bench = Bench::new();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "t/#", QoS::AtMostOnce);
    let inside = NewMessage { topic: "$delayed/5/t/rule".into(), ..NewMessage::default() };
    bench.broker.publish(inside).expect("kept");
    let (dying, _) = bench.connect(Connect { will: will("$delayed/5/t/will", 0), ..connect("dying") });
    dying.vanish(&mut bench);
    assert!(subscriber.read(&mut bench).is_empty());
    bench.advance_ms(5_000);
    let topics: Vec<_> =
        subscriber.read_messages(&mut bench).iter().map(|publish| publish.topic().to_owned()).collect();
    assert_eq!(topics, ["t/rule", "t/will"]);
}

#[test]
fn switched_off_it_is_a_topic_like_others() {
    let mut bench = Bench::with(BrokerConfig { delayed_publish: false, ..BrokerConfig::default() });
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "$delayed/#", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "$delayed/5/t", "x", QoS::AtMostOnce, 0);
    publisher.publish(&mut bench, "$delayed/x", "y", QoS::AtMostOnce, 0);
    assert_eq!(subscriber.read_payloads(&mut bench), ["x", "y"]);
}
