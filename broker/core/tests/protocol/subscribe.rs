//! SUBSCRIBE, UNSUBSCRIBE, and which topics a filter matches.

use broker_codec::{
    Connect, Packet, Properties, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription,
    SubscriptionOptions, UnsubAck, Unsubscribe, Version,
};
use broker_core::BrokerConfig;

use crate::support::{Bench, Client, bytes, connect, id, message, resume};

/// Subscribes to several filters at once.
#[track_caller]
fn subscribe(bench: &mut Bench, client: &mut Client, number: u16, filters: &[(&str, QoS)]) -> SubAck {
    let one = |(filter, qos): &(&str, QoS)| Subscription {
        filter: (*filter).to_owned(),
        options: SubscriptionOptions::with_qos(*qos),
    };
    let subscriptions = filters.iter().map(one).collect();
    let properties = Properties::new();
    client.send(bench, &Packet::Subscribe(Subscribe { packet_id: id(number), properties, subscriptions }));
    match client.read_one(bench) {
        Packet::SubAck(suback) => suback,
        other => panic!("{other:?} instead of SUBACK"),
    }
}

/// Unsubscribes from several filters at once.
#[track_caller]
fn unsubscribe(bench: &mut Bench, client: &mut Client, number: u16, filters: &[&str]) -> UnsubAck {
    let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let properties = Properties::new();
    client.send(bench, &Packet::Unsubscribe(Unsubscribe { packet_id: id(number), properties, filters }));
    match client.read_one(bench) {
        Packet::UnsubAck(unsuback) => unsuback,
        other => panic!("{other:?} instead of UNSUBACK"),
    }
}

const QUALITIES: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn each_filter_is_answered_in_its_place() {
    // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-4.7.1-1]
    // [MQTT-4.7.1-2]; of 3.1.1: [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3]
    let invalid = ReasonCode::TOPIC_FILTER_INVALID;
    for (version, refused) in [(Version::V4, ReasonCode::UNSPECIFIED_ERROR), (Version::V5, invalid)] {
        let mut bench = Bench::new();
        let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
        let filters = [
            ("a", QoS::ExactlyOnce),
            ("a/#/b", QoS::AtMostOnce),
            ("b/+", QoS::AtMostOnce),
            ("b+", QoS::AtLeastOnce),
            ("", QoS::AtLeastOnce),
            ("c/#", QoS::AtLeastOnce),
            ("c#", QoS::AtLeastOnce),
        ];
        let suback = subscribe(&mut bench, &mut client, 300, &filters);
        assert_eq!(suback.packet_id, id(300)); // [MQTT-2.2.1-6]
        let (two, one, none) =
            (ReasonCode::GRANTED_QOS_2, ReasonCode::GRANTED_QOS_1, ReasonCode::GRANTED_QOS_0);
        assert_eq!(suback.reasons, [two, refused, none, refused, refused, one, refused], "{version}");
        assert_eq!(bench.broker.subscriptions_of("c").expect("connected").len(), 3);
    }
}

#[test]
fn a_message_has_the_lower_of_both_qualities() {
    // [MQTT-3.8.4-8]; of 3.1.1: [MQTT-3.8.4-6]
    for published in QUALITIES {
        for granted in QUALITIES {
            let mut bench = Bench::new();
            let mut client = bench.client("c");
            client.subscribe(&mut bench, "t", granted);
            bench.client("p").publish(&mut bench, "t", "x", published, 1);
            let messages = client.read_messages(&mut bench);
            assert_eq!(messages[0].qos(), published.min(granted), "{published} {granted}");
        }
    }
}

#[test]
fn a_filter_that_is_there_is_changed_in_place() {
    // [MQTT-3.8.4-3] [MQTT-3.8.4-4]; of 3.1.1: [MQTT-3.8.4-3]
    let mut bench = Bench::new();
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("t", "kept", QoS::AtLeastOnce, 1, true));
    let mut client = bench.client("c");
    client.subscribe(&mut bench, "t", QoS::AtMostOnce);
    assert_eq!(client.read_payloads(&mut bench), ["kept"]);
    publisher.publish(&mut bench, "t", "before", QoS::AtLeastOnce, 1);
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    publisher.publish(&mut bench, "t", "after", QoS::AtLeastOnce, 1);
    let messages = client.read_messages(&mut bench);
    let mut found: Vec<_> = messages.iter().map(|m| (m.payload_slice(), m.qos(), m.retain())).collect();
    found.sort_unstable_by_key(|(payload, ..)| payload.to_vec());
    assert_eq!(
        found,
        [
            (&b"after"[..], QoS::AtLeastOnce, false),
            (&b"before"[..], QoS::AtMostOnce, false),
            (&b"kept"[..], QoS::AtLeastOnce, true),
        ],
        "nothing is lost, and one subscription is there"
    );
    assert_eq!(bench.broker.subscriptions_of("c").expect("connected").len(), 1);
}

#[test]
fn a_filter_ends_with_its_own_name_only() {
    // [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
    // [MQTT-3.11.3-2]; of 3.1.1: [MQTT-3.10.4-1] to [MQTT-3.10.4-6]
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
        let filters = [("a/+", QoS::AtMostOnce), ("a/b", QoS::AtMostOnce), ("$share/g/a/b", QoS::AtMostOnce)];
        subscribe(&mut bench, &mut client, 1, &filters);
        let unsuback =
            unsubscribe(&mut bench, &mut client, 501, &["a/#", "a/b/", "A/b", "a/b", "a/+/+", "#"]);
        assert_eq!(unsuback.packet_id, id(501)); // [MQTT-2.2.1-6]
        if version == Version::V5 {
            let (done, none) = (ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED);
            assert_eq!(unsuback.reasons, [none, none, none, done, none, none]);
        }
        let left = bench.broker.subscriptions_of("c").expect("connected").into_iter();
        assert_eq!(left.map(|one| one.filter.into_string()).collect::<Vec<_>>(), ["$share/g/a/b", "a/+"]);
        bench.client("p").publish(&mut bench, "a/b", "x", QoS::AtMostOnce, 0);
        assert_eq!(client.read(&mut bench).len(), 2);
        unsubscribe(&mut bench, &mut client, 502, &["a/+", "$share/g/a/b"]);
        bench.client("p").publish(&mut bench, "a/b", "x", QoS::AtMostOnce, 0);
        assert!(client.read(&mut bench).is_empty(), "{version}");
        unsubscribe(&mut bench, &mut client, 503, &["a/+"]); // answered although there is nothing to end
    }
}

#[test]
fn deliveries_that_have_begun_are_finished_without_their_subscription() {
    // [MQTT-3.10.4-3]; of 3.1.1: [MQTT-3.10.4-3]
    let mut bench = Bench::new();
    let (mut client, _) = bench.connect(resume("c"));
    client.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "1", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "t", "2", QoS::ExactlyOnce, 2);
    assert_eq!(client.read(&mut bench).len(), 2);
    unsubscribe(&mut bench, &mut client, 1, &["t"]);
    client.vanish(&mut bench);
    let (mut client, _) = bench.connect(resume("c"));
    assert_eq!(client.read_payloads(&mut bench), ["1", "2"]);
    client.acknowledge(&mut bench, 1);
    client.send(&mut bench, &Packet::PubRec(broker_codec::Ack::new(id(2), ReasonCode::SUCCESS)));
    assert!(matches!(client.read_one(&mut bench), Packet::PubRel(_)));
}

#[test]
fn suback_comes_before_the_messages_of_its_subscription() {
    // 3.8.4 lets them come before; whoever waits for SUBACK is glad of this order
    let mut bench = Bench::new();
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("t", "kept", QoS::AtMostOnce, 0, true));
    let mut client = bench.client("c");
    let subscriptions =
        vec![Subscription { filter: "t".to_owned(), options: SubscriptionOptions::default() }];
    let properties = Properties::new();
    client.send(&mut bench, &Packet::Subscribe(Subscribe { packet_id: id(1), properties, subscriptions }));
    let packets = client.read(&mut bench);
    assert!(matches!(&packets[..], [Packet::SubAck(_), Packet::Publish(_)]), "{packets:?}");
}

#[test]
fn filters_match_topics_level_by_level() {
    // [MQTT-3.3.2-3] [MQTT-4.7.2-1] [MQTT-4.7.3-1] [MQTT-4.7.3-4]; of 3.1.1: the same
    for (filter, matched, passed_over) in [
        ("a/b", &["a/b"][..], &["a", "a/b/", "/a/b", "A/b", "a/b/c", "a//b"][..]),
        ("a/+", &["a/b", "a/", "a/$x"], &["a", "a/b/c", "/a/b"]),
        ("a/#", &["a", "a/", "a/b", "a/b/c"], &["ab", "/a", "A/b"]),
        ("#", &["a", "/", "a/b", "/a"], &["$x", "$SYS2/a"]),
        ("+", &["a", " "], &["/", "a/b", "/a", "$x"]),
        ("+/+", &["/", "a/", "/a", "a/b"], &["a", "$x/y"]),
        ("+/#", &["a", "a/b", "/"], &["$x", "$x/y"]),
        ("/+", &["/a", "/"], &["a", "a/b"]),
        ("$x/#", &["$x", "$x/y"], &["x", "$X/y"]),
        ("$x/+", &["$x/y"], &["$x", "x/y"]),
        ("a//b", &["a//b"], &["a/b", "a/x/b"]),
        // nothing is normalized
        ("caf\u{e9}", &["caf\u{e9}"], &["cafe\u{301}", "CAF\u{c9}", "cafe"]),
        ("\u{feff}a", &["\u{feff}a"], &["a"]), // [MQTT-1.5.4-3]
        (" a ", &[" a "], &["a", " a", "a "]),
        ("\u{1f600}/+", &["\u{1f600}/\u{10ffff}"], &["\u{1f601}/a"]),
    ] {
        for version in [Version::V3, Version::V4, Version::V5] {
            let mut bench = Bench::new();
            let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
            assert_eq!(client.subscribe(&mut bench, filter, QoS::AtMostOnce), ReasonCode::GRANTED_QOS_0);
            let mut publisher = bench.client("p");
            for topic in matched.iter().chain(passed_over) {
                publisher.publish(&mut bench, topic, "x", QoS::AtMostOnce, 0);
            }
            let messages = client.read_messages(&mut bench);
            let got: Vec<_> = messages.iter().map(|message| message.topic()).collect();
            assert_eq!(got, matched, "{filter:?} {version}");
        }
    }
}

#[test]
fn names_as_long_as_they_may_be() {
    // [MQTT-4.7.3-3]
    let config = BrokerConfig { max_packet_size: 1 << 20, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let mut client = bench.client("c");
    let longest = "x".repeat(65_535);
    assert_eq!(client.subscribe(&mut bench, &longest, QoS::AtMostOnce), ReasonCode::GRANTED_QOS_0);
    bench.client("p").publish(&mut bench, &longest, "x", QoS::AtMostOnce, 0);
    assert_eq!(client.read_messages(&mut bench)[0].topic(), longest);
}

#[test]
fn what_a_broker_without_all_qualities_takes() {
    // [MQTT-3.2.2-10] [MQTT-3.2.2-11] [MQTT-3.2.2-14]
    let config = BrokerConfig {
        max_qos: QoS::AtLeastOnce,
        retain_available: false,
        wildcard_subscription: false,
        shared_subscription: false,
        ..BrokerConfig::default()
    };
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::with(config.clone());
        let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
        let filters = [
            ("a", QoS::AtMostOnce),
            ("b", QoS::AtLeastOnce),
            ("c", QoS::ExactlyOnce),
            ("#", QoS::AtMostOnce),
        ];
        let suback = subscribe(&mut bench, &mut client, 1, &filters);
        let no_wildcards = match version {
            Version::V5 => ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
            _ => ReasonCode::UNSPECIFIED_ERROR, // of 3.1.1: [MQTT-3.8.3-2]
        };
        let (one, none) = (ReasonCode::GRANTED_QOS_1, ReasonCode::GRANTED_QOS_0);
        assert_eq!(suback.reasons, [none, one, one, no_wildcards]);
    }
    for (packet, want) in [
        (message("a", "x", QoS::ExactlyOnce, 1, false), ReasonCode::QOS_NOT_SUPPORTED),
        (message("a", "x", QoS::AtMostOnce, 0, true), ReasonCode::RETAIN_NOT_SUPPORTED),
    ] {
        for version in [Version::V4, Version::V5] {
            let mut bench = Bench::with(config.clone());
            let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
            client.send(&mut bench, &packet);
            assert!(client.closed);
            match (&client.read(&mut bench)[..], version) {
                ([Packet::Disconnect(goodbye)], Version::V5) => assert_eq!(goodbye.reason, want),
                ([], Version::V4) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn no_local_is_by_client_id_and_over_connections() {
    // [MQTT-3.8.3-3]
    let mut bench = Bench::new();
    let (mut client, _) = bench.connect(resume("c"));
    let options = SubscriptionOptions {
        no_local: true,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::with_qos(QoS::AtMostOnce)
    };
    client.subscribe_with(&mut bench, "t", options, None);
    client.publish(&mut bench, "t", "mine", QoS::AtMostOnce, 0);
    client.vanish(&mut bench);
    let (mut client, _) = bench.connect(resume("c"));
    client.publish(&mut bench, "t", "mine too", QoS::AtMostOnce, 0);
    bench.client("d").publish(&mut bench, "t", "of another", QoS::AtMostOnce, 0);
    assert_eq!(client.read_payloads(&mut bench), ["of another"]);
}

#[test]
fn no_local_is_not_for_shared_subscriptions() {
    // [MQTT-3.8.3-4]
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    client.send_bytes(&mut bench, &bytes(r#"82 10 00 01 00 00 0a "$share/g/a" 04"#));
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::PROTOCOL_ERROR);
    assert!(client.closed);
}
