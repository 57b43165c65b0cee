//! Sessions: beginning, take-over, end.

use broker_codec::{Ack, Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use broker_core::{BrokerConfig, CloseReason};

use crate::support::{Bench, connect, id, message, resume, with_expiry};

#[test]
fn a_session_that_ends_with_its_connection_ends_with_a_takeover_too() {
    // [MQTT-3.1.2-23] [MQTT-4.1.0-2]; of 3.1.1: [MQTT-3.1.2-6]
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let (mut first, _) = bench.connect(Connect { version, ..connect("c") });
        first.subscribe(&mut bench, "t", QoS::AtLeastOnce);
        let (mut second, connack) = bench.connect(Connect { version, clean_start: false, ..connect("c") });
        assert!(!connack.session_present, "{version}");
        let closed = bench.outlets.closed.lock().expect("not poisoned").clone();
        assert_eq!(closed, [(first.key, CloseReason::TakenOver)]);
        bench.client("publisher").publish(&mut bench, "t", "x", QoS::AtMostOnce, 0);
        assert!(second.read(&mut bench).is_empty(), "{version}: it never subscribed");
    }
}

#[test]
fn a_takeover_keeps_a_session_that_outlives_its_connection() {
    // [MQTT-3.1.2-5] [MQTT-3.2.2-3] [MQTT-3.1.4-3]
    let mut bench = Bench::new();
    let (mut first, connack) = bench.connect(resume("c"));
    assert!(!connack.session_present);
    first.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let (mut second, connack) = bench.connect(resume("c"));
    assert!(connack.session_present);
    bench.deliver_mail(&mut first);
    let Packet::Disconnect(goodbye) = first.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::SESSION_TAKEN_OVER);
    bench.client("publisher").publish(&mut bench, "t", "x", QoS::AtMostOnce, 0);
    assert_eq!(second.read_payloads(&mut bench), ["x"]);
}

#[test]
fn a_connection_that_has_lost_its_session_takes_no_exactly_once_message() {
    // its PUBREC would be lost, and the message published again when it comes on the new connection: [MQTT-4.3.3-10]
    let mut bench = Bench::new();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let (mut first, _) = bench.connect(resume("c"));
    let (mut second, _) = bench.connect(resume("c"));
    first.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    first.subscribe_unanswered(&mut bench, "t");
    assert!(first.read(&mut bench).is_empty());
    bench.deliver_mail(&mut first);
    assert!(matches!(first.read_one(&mut bench), Packet::Disconnect(_)), "it is told why");
    second.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert_eq!(subscriber.read_payloads(&mut bench), ["x"]);
}

#[test]
fn a_disconnect_may_not_give_a_session_a_life() {
    // [MQTT-3.1.2-23], 3.14.2.2.2
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    let properties = Properties::from_list(&[Property::SessionExpiryInterval(10)]).expect("valid");
    let disconnect = broker_codec::Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties };
    client.send(&mut bench, &Packet::Disconnect(disconnect));
    let Packet::Disconnect(answer) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(answer.reason, ReasonCode::PROTOCOL_ERROR);
    assert!(bench.broker.client("c").is_none());
}

#[test]
fn a_session_ends_when_its_time_has_passed() {
    // [MQTT-4.1.0-2]
    let mut bench = Bench::new();
    let (client, _) = bench.connect(with_expiry("c", 10));
    client.vanish(&mut bench);
    bench.advance_ms(9_000);
    assert!(bench.broker.client("c").is_some());
    bench.advance_ms(1_000);
    assert!(bench.broker.client("c").is_none());
}

#[test]
fn a_session_that_comes_and_goes_ends_at_the_last_time() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        let (client, _) = bench.connect(resume("c"));
        bench.advance_ms(1_000);
        client.vanish(&mut bench);
        bench.advance_ms(999_000);
        assert!(bench.broker.client("c").is_some());
    }
    bench.advance_ms(1_000);
    assert!(bench.broker.client("c").is_none());
}

#[test]
fn unacknowledged_messages_come_again_in_order_with_their_identifiers() {
    // [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1]
    let mut bench = Bench::with(BrokerConfig { max_inflight: 3, ..BrokerConfig::default() });
    let (mut client, _) = bench.connect(resume("c"));
    client.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    for (payload, qos) in [
        ("a", QoS::AtLeastOnce),
        ("b", QoS::ExactlyOnce),
        ("c", QoS::ExactlyOnce),
        ("d", QoS::AtLeastOnce),
        ("e", QoS::AtMostOnce),
    ] {
        publisher.publish(&mut bench, "t", payload, qos, 1 + u16::from(payload.as_bytes()[0]));
    }
    let first = client.read_messages(&mut bench);
    assert_eq!(first.iter().map(|m| m.packet_id().expect("there").get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(first.iter().all(|message| !message.dup()));
    // the second is half done
    client.send(&mut bench, &Packet::PubRec(Ack::new(id(2), ReasonCode::SUCCESS)));
    assert!(matches!(client.read_one(&mut bench), Packet::PubRel(_)));
    client.vanish(&mut bench);

    let (mut client, _) = bench.connect(resume("c"));
    let again = client.read(&mut bench);
    let [Packet::Publish(a), Packet::PubRel(b), Packet::Publish(c)] = &again[..] else { panic!("{again:?}") };
    assert_eq!((a.packet_id(), a.dup(), a.payload_slice()), (Some(id(1)), true, &b"a"[..]));
    assert_eq!(b.packet_id, id(2));
    assert_eq!((c.packet_id(), c.dup(), c.payload_slice()), (Some(id(3)), true, &b"c"[..]));
    client.acknowledge(&mut bench, 1);
    let rest = client.read_messages(&mut bench);
    assert_eq!(
        rest.iter().map(|m| (m.payload_slice(), m.dup())).collect::<Vec<_>>(),
        [(&b"d"[..], false), (&b"e"[..], false)]
    );
    let ids: Vec<_> = rest.iter().filter_map(|m| m.packet_id()).collect();
    assert!(!ids.contains(&id(2)) && !ids.contains(&id(3)), "still in flight"); // [MQTT-2.2.1-4]
}

#[test]
fn what_is_resent_fits_the_packet_size_of_the_new_connection() {
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    let mut bench = Bench::new();
    let (mut client, _) = bench.connect(resume("c"));
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", &"x".repeat(200), QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "t", "small", QoS::AtLeastOnce, 2);
    assert_eq!(client.read_messages(&mut bench).len(), 2);
    client.vanish(&mut bench);
    let properties =
        Properties::from_list(&[Property::SessionExpiryInterval(1000), Property::MaximumPacketSize(100)]);
    let smaller = Connect { properties: properties.expect("valid"), ..resume("c") };
    let (mut client, connack) = bench.connect(smaller);
    assert!(connack.session_present);
    assert_eq!(client.read_payloads(&mut bench), ["small"]);
    client.acknowledge(&mut bench, 2);
    assert_eq!(bench.broker.client("c").expect("connected").inflight, 0);
}

#[test]
fn a_client_that_cannot_take_our_connack_is_let_go() {
    // [MQTT-3.1.2-24]: it would wait for ever
    let mut bench = Bench::new();
    let properties = Properties::from_list(&[Property::MaximumPacketSize(4)]).expect("valid");
    let mut client = bench.open(Version::V5);
    client.send(&mut bench, &Packet::Connect(Box::new(Connect { properties, ..connect("c") })));
    assert!(client.read(&mut bench).is_empty());
    assert!(client.closed);
    assert!(bench.broker.client("c").is_none());
}

#[test]
fn a_second_connect_ends_the_connection() {
    // [MQTT-3.1.0-2]
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    client.send(&mut bench, &Packet::Connect(Box::new(connect("c"))));
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::PROTOCOL_ERROR);
    assert!(client.closed);
}

#[test]
fn an_unknown_release_is_completed() {
    // [MQTT-4.3.3-11]
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    client.send(&mut bench, &Packet::PubRel(Ack::new(id(9), ReasonCode::SUCCESS)));
    let Packet::PubComp(complete) = client.read_one(&mut bench) else { panic!("no PUBCOMP") };
    assert_eq!((complete.packet_id, complete.reason), (id(9), ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
}

#[test]
fn a_received_message_is_known_until_its_release_over_connections() {
    // [MQTT-4.3.3-10]
    let mut bench = Bench::new();
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "t", QoS::AtMostOnce);
    let (mut client, _) = bench.connect(resume("c"));
    client.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 5);
    client.vanish(&mut bench);
    let (mut client, _) = bench.connect(resume("c"));
    client.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 5);
    let Packet::PubRec(received) = client.read_one(&mut bench) else { panic!("no PUBREC") };
    assert_eq!(received.reason, ReasonCode::SUCCESS);
    client.send(&mut bench, &Packet::PubRel(Ack::new(id(5), ReasonCode::SUCCESS)));
    assert!(matches!(client.read_one(&mut bench), Packet::PubComp(_)));
    client.send(&mut bench, &message("t", "new", QoS::ExactlyOnce, 5, false));
    assert_eq!(subscriber.read_payloads(&mut bench), ["x", "new"]);
}

#[test]
fn a_clean_start_ends_what_was_there() {
    // [MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2]; of 3.1.1: [MQTT-3.1.2-6] [MQTT-3.2.2-1]
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let lasting = match version {
            Version::V5 => resume("c"),
            _ => Connect { version, clean_start: false, ..connect("c") },
        };
        let (mut client, _) = bench.connect(lasting.clone());
        client.subscribe(&mut bench, "t", QoS::ExactlyOnce);
        client.publish(&mut bench, "t", "open", QoS::ExactlyOnce, 1);
        client.vanish(&mut bench);
        bench.client("p").publish(&mut bench, "t", "waits", QoS::AtLeastOnce, 1);
        let (mut client, connack) = bench.connect(Connect { version, ..connect("c") });
        assert!(!connack.session_present);
        bench.client("p").publish(&mut bench, "t", "new", QoS::AtLeastOnce, 1);
        assert!(client.read(&mut bench).is_empty(), "{version}");
        let info = bench.broker.client("c").expect("connected");
        assert_eq!((info.subscriptions, info.queue_len, info.inflight, info.awaiting_release), (0, 0, 0, 0));
    }
}

#[test]
fn a_session_is_there_or_it_is_made() {
    // [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.2-3]; of 3.1.1: [MQTT-3.1.2-4]
    // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
    for (version, tells) in [(Version::V3, false), (Version::V4, true), (Version::V5, true)] {
        let mut bench = Bench::new();
        let lasting = match version {
            Version::V5 => resume("c"),
            _ => Connect { version, clean_start: false, ..connect("c") },
        };
        for round in 0..3 {
            let (mut client, connack) = bench.connect(lasting.clone());
            assert_eq!(connack.reason, ReasonCode::SUCCESS);
            assert_eq!(connack.session_present, tells && round > 0, "{version} {round}");
            if round == 0 {
                client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
            } else {
                // after CONNACK, without a SUBSCRIBE
                assert_eq!(client.read_payloads(&mut bench), ["x"]);
                client.acknowledge(&mut bench, 1);
            }
            client.vanish(&mut bench);
            bench.client("p").publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
        }
    }
}

#[test]
fn a_session_lasts_as_long_as_its_connection() {
    // [MQTT-4.1.0-1]; of 3.1.1: [MQTT-4.1.0-1] [MQTT-4.1.0-2]
    for expiry_s in [0, 10] {
        let mut bench = Bench::new();
        let (mut client, _) = bench.connect(with_expiry("c", expiry_s));
        client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
        bench.advance_ms(1_000_000_000);
        bench.client("p").publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
        assert_eq!(client.read_payloads(&mut bench), ["x"], "{expiry_s}");
    }
}

#[test]
fn a_goodbye_may_change_how_long_the_session_lasts() {
    // 3.14.2.2.2
    for (expiry_s, lasts) in [(0, false), (5, false), (100, true)] {
        let mut bench = Bench::new();
        let (mut client, _) = bench.connect(with_expiry("c", 50));
        let properties = Properties::from_list(&[Property::SessionExpiryInterval(expiry_s)]).expect("valid");
        let disconnect = broker_codec::Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties };
        client.send(&mut bench, &Packet::Disconnect(disconnect));
        bench.advance_ms(60_000);
        assert_eq!(bench.broker.client("c").is_some(), lasts, "{expiry_s}");
    }
}

#[test]
fn who_is_taken_over_is_told_and_let_go() {
    // [MQTT-3.1.4-3]; of 3.1.1: [MQTT-3.1.4-2]: closed without a word
    for (version, told) in [(Version::V3, false), (Version::V4, false), (Version::V5, true)] {
        for clean_start in [false, true] {
            let mut bench = Bench::new();
            let (mut first, _) = bench.connect(Connect { version, ..connect("c") });
            let (second, _) = bench.connect(Connect { version, clean_start, ..connect("c") });
            bench.deliver_mail(&mut first);
            assert!(first.closed && !second.closed);
            match &first.read(&mut bench)[..] {
                [Packet::Disconnect(goodbye)] if told => {
                    assert_eq!(goodbye.reason, ReasonCode::SESSION_TAKEN_OVER);
                }
                [] if !told => {}
                other => panic!("{version}: {other:?}"),
            }
            assert_eq!(bench.broker.clients().len(), 1);
        }
    }
}
