//! Messages from clients.

use std::sync::{Arc, Mutex};

use broker_codec::{Connect, Packet, QoS, ReasonCode, Version};
use broker_core::{Action, AnonymousOnly, Authorizer, Broker, BrokerConfig, Requester, Verdict};
use engine_event::{Completion, Event, EventKind, EventTap, Interest, ManualClock, RuleSlot, RuleTopics};

use crate::support::{Bench, connect, id, message, resume};

/// A rule engine that takes its time.
#[derive(Default)]
struct Slow(Mutex<Vec<Completion>>);

impl EventTap for Slow {
    fn interest(&self) -> Interest {
        Interest::default()
    }

    fn published(&self, _rules: &[RuleSlot], _event: Event, completion: Option<Completion>) {
        self.0.lock().expect("not poisoned").extend(completion);
    }

    fn happened(&self, _kind: EventKind, _event: Event) {}
}

impl Slow {
    /// Makes a broker with a rule on `t` that holds acknowledgements back.
    fn bench(config: BrokerConfig) -> (Bench, Arc<Self>) {
        let bench = Bench::with(config);
        let slow = Arc::new(Self::default());
        bench.broker.set_tap(Arc::clone(&slow) as _);
        bench.broker.set_rule(RuleSlot(1), &["t".to_owned()], Some(30_000));
        (bench, slow)
    }

    fn settle_all(&self) {
        self.0.lock().expect("not poisoned").clear();
    }
}

#[test]
fn a_takeover_forgets_what_rules_have_not_taken_yet() {
    // a PUBREC for it would say that its rows are safe, and nobody knows that
    let (mut bench, slow) = Slow::bench(BrokerConfig::default());
    let (mut first, _) = bench.connect(resume("c"));
    first.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert!(first.read(&mut bench).is_empty(), "held back");
    let (mut second, connack) = bench.connect(resume("c"));
    assert!(connack.session_present);
    bench.deliver_mail(&mut first);
    second.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert!(second.read(&mut bench).is_empty(), "acknowledged what was not settled");
    slow.settle_all();
    bench.deliver_mail(&mut second);
    assert!(matches!(second.read_one(&mut bench), Packet::PubRec(ack) if ack.reason == ReasonCode::SUCCESS));
}

#[test]
fn a_settled_message_is_known_until_its_release() {
    // [MQTT-4.3.3-10]
    let (mut bench, slow) = Slow::bench(BrokerConfig::default());
    let (mut first, _) = bench.connect(resume("c"));
    first.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    slow.settle_all();
    bench.deliver_mail(&mut first);
    assert!(matches!(first.read_one(&mut bench), Packet::PubRec(_)));
    let (mut second, _) = bench.connect(resume("c"));
    second.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert!(matches!(second.read_one(&mut bench), Packet::PubRec(_)));
    assert!(slow.0.lock().expect("not poisoned").is_empty(), "published twice");
}

#[test]
fn a_rule_may_hold_a_message_as_long_as_it_said_and_no_longer() {
    // rule 1 holds for 30 s, rule 2 for 2 s: the strictest of those that matched counts
    let (mut bench, slow) = Slow::bench(BrokerConfig::default());
    bench.broker.set_rule(RuleSlot(2), &["t/quick".to_owned(), "t".to_owned()], Some(2_000));
    bench.broker.set_rule(RuleSlot(1), &["t/#".to_owned()], Some(30_000));
    for (topic, number, given_up_after_ms) in [("t/quick", 1, 2_000), ("t/other", 2, 30_000)] {
        let (mut client, _) = bench.connect(connect("c"));
        client.publish(&mut bench, topic, "x", QoS::AtLeastOnce, number);
        bench.advance_ms(given_up_after_ms - 1);
        client.expire_acks(&mut bench);
        assert!(client.read(&mut bench).is_empty(), "{topic}: given up early");
        bench.advance_ms(1);
        client.expire_acks(&mut bench);
        let Packet::PubAck(ack) = client.read_one(&mut bench) else { panic!("{topic}: no PUBACK") };
        assert_eq!(ack.reason, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, "{topic}");
    }
    slow.settle_all();
}

#[test]
fn only_who_was_told_our_receive_maximum_is_held_to_it() {
    // [MQTT-3.3.4-7]; 3.1.1 knows no such limit
    let config = BrokerConfig { receive_maximum: 3, ..BrokerConfig::default() };
    for (version, qos, closes) in [
        (Version::V5, QoS::AtLeastOnce, true),
        (Version::V5, QoS::ExactlyOnce, true),
        (Version::V4, QoS::AtLeastOnce, false),
        (Version::V4, QoS::ExactlyOnce, false),
    ] {
        let (mut bench, slow) = Slow::bench(config.clone());
        let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
        for number in 1..=3 {
            assert!(!client.connection.is_saturated());
            client.publish(&mut bench, "t", "x", qos, number);
        }
        // what owns the socket stops to read here
        assert_eq!(client.connection.is_saturated(), !closes, "{version} {qos}");
        client.publish(&mut bench, "t", "x", qos, 4);
        assert_eq!(client.closed, closes, "{version} {qos}");
        if closes {
            let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
            assert_eq!(goodbye.reason, ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
        } else {
            slow.settle_all();
            bench.deliver_mail(&mut client);
            assert!(!client.connection.is_saturated());
            assert_eq!(client.read(&mut bench).len(), 4);
        }
    }
}

#[test]
fn old_clients_may_have_many_exactly_once_messages_under_way() {
    let mut bench = Bench::with(BrokerConfig { receive_maximum: 3, ..BrokerConfig::default() });
    let (mut client, _) = bench.connect(Connect { version: Version::V4, ..connect("c") });
    for number in 1..=500 {
        client.publish(&mut bench, "t", "x", QoS::ExactlyOnce, number);
    }
    assert!(!client.closed);
    assert_eq!(client.read(&mut bench).len(), 500);
}

/// Forbids what is in the list.
#[derive(Default)]
struct Forbids(Mutex<Vec<&'static str>>);

impl Authorizer for Forbids {
    fn authorize(&self, _client: &Requester<'_>, action: Action<'_>) -> Verdict {
        let (Action::Publish { topic: name, .. } | Action::Subscribe { filter: name, .. }) = action;
        let forbidden = self.0.lock().expect("not poisoned").contains(&name);
        if forbidden { Verdict::Deny } else { Verdict::Allow }
    }
}

fn forbidding() -> (Bench, Arc<Forbids>) {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let forbids = Arc::new(Forbids::default());
    let authenticator = Arc::new(AnonymousOnly { from_everywhere: true });
    let broker = Broker::with_access(
        BrokerConfig::default(),
        Arc::clone(&clock) as _,
        authenticator,
        Arc::clone(&forbids) as _,
    );
    (Bench::of(broker, clock), forbids)
}

#[test]
fn an_identifier_is_free_after_a_refusal() {
    // [MQTT-4.3.3-9]: a PUBREC of 0x80 and above ends the exchange
    let (mut bench, forbids) = forbidding();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "#", QoS::AtMostOnce);
    let (mut client, _) = bench.connect(resume("c"));
    client.publish(&mut bench, "t", "first", QoS::ExactlyOnce, 1);
    client.vanish(&mut bench);
    forbids.0.lock().expect("not poisoned").push("t");
    let (mut client, _) = bench.connect(resume("c"));
    client.publish(&mut bench, "t", "first", QoS::ExactlyOnce, 1);
    assert!(
        matches!(client.read_one(&mut bench), Packet::PubRec(ack) if ack.reason == ReasonCode::NOT_AUTHORIZED)
    );
    client.publish(&mut bench, "u", "second", QoS::ExactlyOnce, 1);
    assert_eq!(subscriber.read_payloads(&mut bench), ["first", "second"]);
}

#[test]
fn a_forbidden_message_is_answered_and_goes_nowhere() {
    // 5.0: [MQTT-3.4.2-1] [MQTT-3.5.2-1]; of 3.1.1: [MQTT-3.3.5-2]: no answer can say no, so it is a yes
    for (version, want) in [
        (Version::V3, ReasonCode::SUCCESS),
        (Version::V4, ReasonCode::SUCCESS),
        (Version::V5, ReasonCode::NOT_AUTHORIZED),
    ] {
        let (mut bench, forbids) = forbidding();
        forbids.0.lock().expect("not poisoned").push("t");
        let mut watcher = bench.client("w");
        watcher.subscribe(&mut bench, "#", QoS::ExactlyOnce);
        let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
        client.publish(&mut bench, "t", "x", QoS::AtMostOnce, 0);
        client.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
        client.send(&mut bench, &message("t", "x", QoS::ExactlyOnce, 2, true));
        match &client.read(&mut bench)[..] {
            [Packet::PubAck(one), Packet::PubRec(two)] => assert_eq!([one.reason, two.reason], [want; 2]),
            other => panic!("{version}: {other:?}"),
        }
        assert!(watcher.read(&mut bench).is_empty());
        assert!(bench.broker.retained_message("t").is_none());
        assert!(!client.closed);
    }
}

#[test]
fn a_forbidden_filter_is_answered_in_its_slot() {
    // [MQTT-3.9.3-2]; of 3.1.1: [MQTT-3.9.3-2]
    for (version, want) in [
        (Version::V3, ReasonCode::GRANTED_QOS_0),
        (Version::V4, ReasonCode::UNSPECIFIED_ERROR),
        (Version::V5, ReasonCode::NOT_AUTHORIZED),
    ] {
        let (mut bench, forbids) = forbidding();
        forbids.0.lock().expect("not poisoned").push("test/nosubscribe");
        let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
        assert_eq!(client.subscribe(&mut bench, "test/nosubscribe", QoS::ExactlyOnce), want, "{version}");
        bench.client("p").publish(&mut bench, "test/nosubscribe", "x", QoS::AtMostOnce, 0);
        assert!(client.read(&mut bench).is_empty());
    }
}

#[test]
fn a_topic_with_wildcards_is_refused() {
    // [MQTT-3.3.2-2]
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    // the builder makes no such packet
    client.send_bytes(&mut bench, b"\x32\x08\x00\x03a/+\x00\x09\x00");
    let Packet::PubAck(ack) = client.read_one(&mut bench) else { panic!("no PUBACK") };
    assert_eq!((ack.packet_id, ack.reason), (id(9), ReasonCode::TOPIC_NAME_INVALID));
}

#[test]
fn a_full_store_of_retained_messages_refuses_and_frees_the_identifier() {
    let mut bench = Bench::with(BrokerConfig { max_retained_messages: 1, ..BrokerConfig::default() });
    let mut client = bench.client("c");
    client.send(&mut bench, &message("a", "x", QoS::ExactlyOnce, 1, true));
    client.send(&mut bench, &message("b", "x", QoS::ExactlyOnce, 2, true));
    let packets = client.read(&mut bench);
    let reasons: Vec<_> = packets
        .iter()
        .map(|packet| match packet {
            Packet::PubRec(ack) => ack.reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [ReasonCode::NO_MATCHING_SUBSCRIBERS, ReasonCode::QUOTA_EXCEEDED]);
    assert_eq!(bench.broker.client("c").expect("connected").awaiting_release, 1);
}
