//! QoS 1 and 2 step by step, in both directions, and the order of messages and answers.

use broker_codec::{
    Ack, Connect, Packet, Properties, Property, PublishBuilder, QoS, ReasonCode, SubscriptionOptions, Version,
};
use broker_core::BrokerConfig;

use crate::support::{Bench, Client, connect, id, message, message_with, resume};

/// A message as a client sends it when it got no answer to it.
fn repeated(payload: &str, qos: QoS, number: u16) -> Packet {
    let builder = PublishBuilder {
        topic: "t",
        payload: payload.as_bytes(),
        qos,
        dup: true,
        packet_id: Some(id(number)),
        ..PublishBuilder::default()
    };
    Packet::Publish(builder.build().expect("a message"))
}

fn ack(number: u16) -> Ack {
    Ack::new(id(number), ReasonCode::SUCCESS)
}

fn refusal(number: u16) -> Ack {
    Ack::new(id(number), ReasonCode::UNSPECIFIED_ERROR)
}

/// A client that gets what is published to `t`, and one that publishes.
fn pair(version: Version) -> (Bench, Client, Client) {
    let mut bench = Bench::new();
    let (mut subscriber, _) = bench.connect(Connect { version, ..connect("s") });
    subscriber.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let (publisher, _) = bench.connect(Connect { version, ..connect("p") });
    (bench, subscriber, publisher)
}

#[test]
fn each_quality_has_its_answer() {
    // [MQTT-3.3.4-1] [MQTT-2.2.1-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]; of 3.1.1: [MQTT-3.3.4-1]
    for version in [Version::V3, Version::V4, Version::V5] {
        let (mut bench, _subscriber, mut publisher) = pair(version);
        publisher.publish(&mut bench, "t", "0", QoS::AtMostOnce, 0);
        assert!(publisher.read(&mut bench).is_empty()); // [MQTT-4.3.1-1]
        publisher.publish(&mut bench, "t", "1", QoS::AtLeastOnce, 65_535);
        assert_eq!(publisher.read_one(&mut bench), Packet::PubAck(ack(65_535)), "{version}");
        publisher.publish(&mut bench, "t", "2", QoS::ExactlyOnce, 300);
        assert_eq!(publisher.read_one(&mut bench), Packet::PubRec(ack(300)), "{version}");
        publisher.send(&mut bench, &Packet::PubRel(ack(300)));
        assert_eq!(publisher.read_one(&mut bench), Packet::PubComp(ack(300)), "{version}");
    }
}

#[test]
fn what_comes_after_an_answer_is_a_new_message_whatever_its_dup_flag() {
    // [MQTT-4.3.2-5] [MQTT-4.3.3-12]; of 3.1.1: [MQTT-4.3.2-2]
    for version in [Version::V4, Version::V5] {
        let (mut bench, mut subscriber, mut publisher) = pair(version);
        publisher.publish(&mut bench, "t", "a", QoS::AtLeastOnce, 1);
        publisher.send(&mut bench, &repeated("b", QoS::AtLeastOnce, 1));
        publisher.publish(&mut bench, "t", "c", QoS::ExactlyOnce, 1);
        publisher.send(&mut bench, &Packet::PubRel(ack(1)));
        publisher.send(&mut bench, &repeated("d", QoS::ExactlyOnce, 1));
        assert_eq!(subscriber.read_payloads(&mut bench), ["a", "b", "c", "d"], "{version}");
    }
}

#[test]
fn what_comes_again_before_its_release_is_answered_and_not_delivered() {
    // [MQTT-4.3.3-10]; of 3.1.1: [MQTT-4.3.3-2]
    for version in [Version::V3, Version::V4, Version::V5] {
        let (mut bench, mut subscriber, mut publisher) = pair(version);
        publisher.publish(&mut bench, "t", "once", QoS::ExactlyOnce, 7);
        publisher.send(&mut bench, &repeated("once", QoS::ExactlyOnce, 7));
        publisher.publish(&mut bench, "t", "once", QoS::ExactlyOnce, 7);
        assert_eq!(publisher.read(&mut bench), [7; 3].map(|number| Packet::PubRec(ack(number))));
        assert_eq!(subscriber.read_payloads(&mut bench), ["once"], "{version}");
    }
}

#[test]
fn the_exchange_goes_on_though_the_message_has_expired() {
    // [MQTT-4.3.3-13] for what we receive, [MQTT-4.3.3-7] for what we send
    let (mut bench, mut subscriber, mut publisher) = pair(Version::V5);
    let life = Properties::from_list(&[Property::MessageExpiryInterval(1)]).expect("valid");
    publisher.send(&mut bench, &message_with("t", "x", QoS::ExactlyOnce, 1, false, &life));
    assert_eq!(publisher.read_one(&mut bench), Packet::PubRec(ack(1)));
    assert_eq!(subscriber.read_payloads(&mut bench), ["x"]);
    bench.advance_ms(10_000);
    publisher.send(&mut bench, &Packet::PubRel(ack(1)));
    assert_eq!(publisher.read_one(&mut bench), Packet::PubComp(ack(1)));
    subscriber.send(&mut bench, &Packet::PubRec(ack(1)));
    assert_eq!(subscriber.read_one(&mut bench), Packet::PubRel(ack(1)));
    subscriber.send(&mut bench, &Packet::PubComp(ack(1)));
    assert_eq!(bench.broker.client("s").expect("connected").inflight, 0);
}

#[test]
fn what_was_sent_once_is_sent_again_though_it_has_expired() {
    // [MQTT-4.3.3-7]
    let mut bench = Bench::new();
    let (mut subscriber, _) = bench.connect(resume("s"));
    subscriber.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let life = Properties::from_list(&[Property::MessageExpiryInterval(1)]).expect("valid");
    bench.client("p").send(&mut bench, &message_with("t", "x", QoS::ExactlyOnce, 1, false, &life));
    assert_eq!(subscriber.read_payloads(&mut bench), ["x"]);
    subscriber.vanish(&mut bench);
    bench.advance_ms(10_000);
    let (mut subscriber, _) = bench.connect(resume("s"));
    let messages = subscriber.read_messages(&mut bench);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].dup());
}

#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    // [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5]
    let (mut bench, mut subscriber, mut publisher) = pair(Version::V5);
    publisher.publish(&mut bench, "t", "a", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "t", "b", QoS::ExactlyOnce, 2);
    publisher.publish(&mut bench, "t", "c", QoS::ExactlyOnce, 3);
    assert_eq!(subscriber.read(&mut bench).len(), 3);
    subscriber.send(&mut bench, &Packet::PubRec(ack(3)));
    assert_eq!(subscriber.read_one(&mut bench), Packet::PubRel(ack(3)));
    for _ in 0..100 {
        bench.advance_ms(60_000);
        assert!(subscriber.read(&mut bench).is_empty());
    }
    assert_eq!(bench.broker.client("s").expect("connected").inflight, 3, "all of them are still open");
}

#[test]
fn first_deliveries_have_no_dup_flag_whatever_came_in() {
    // [MQTT-3.3.1-1] [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
    let (mut bench, mut subscriber, mut publisher) = pair(Version::V5);
    let mut low = bench.client("low");
    low.subscribe(&mut bench, "t", QoS::AtMostOnce);
    publisher.send(&mut bench, &repeated("1", QoS::AtLeastOnce, 1));
    publisher.send(&mut bench, &repeated("2", QoS::ExactlyOnce, 2));
    for client in [&mut subscriber, &mut low] {
        let messages = client.read_messages(&mut bench);
        assert_eq!(messages.len(), 2);
        assert!(messages.iter().all(|message| !message.dup()));
    }
}

#[test]
fn an_identifier_in_flight_is_given_to_no_other_message() {
    // [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]; of 3.1.1: [MQTT-2.3.1-4]
    let mut bench = Bench::with(BrokerConfig { max_inflight: 4, ..BrokerConfig::default() });
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    let mut open: Vec<u16> = Vec::new();
    for number in 0..200_u16 {
        let qos = if number % 3 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        publisher.publish(&mut bench, "t", "x", qos, 1);
        if qos == QoS::ExactlyOnce {
            publisher.send(&mut bench, &Packet::PubRel(ack(1)));
        }
        publisher.read(&mut bench);
        for message in subscriber.read_messages(&mut bench) {
            let packet_id = message.packet_id().expect("there").get();
            assert!(!open.contains(&packet_id), "{packet_id} is in flight");
            if message.qos() == QoS::AtLeastOnce {
                subscriber.acknowledge(&mut bench, packet_id);
            } else {
                open.push(packet_id);
                subscriber.send(&mut bench, &Packet::PubRec(ack(packet_id)));
                assert_eq!(subscriber.read_one(&mut bench), Packet::PubRel(ack(packet_id)));
            }
        }
        // an identifier that waits for its PUBCOMP is in flight as well
        if open.len() == 3 {
            let done = open.remove(usize::from(number % 3));
            subscriber.send(&mut bench, &Packet::PubComp(ack(done)));
        }
    }
}

#[test]
fn a_refusal_ends_the_delivery() {
    // [MQTT-4.3.3-4] [MQTT-4.4.0-2]
    let mut bench = Bench::new();
    let (mut subscriber, _) = bench.connect(resume("s"));
    subscriber.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "a", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "t", "b", QoS::ExactlyOnce, 2);
    assert_eq!(subscriber.read(&mut bench).len(), 2);
    subscriber.send(&mut bench, &Packet::PubAck(refusal(1)));
    subscriber.send(&mut bench, &Packet::PubRec(refusal(2)));
    assert!(subscriber.read(&mut bench).is_empty(), "no PUBREL");
    subscriber.vanish(&mut bench);
    let (mut subscriber, _) = bench.connect(resume("s"));
    assert!(subscriber.read(&mut bench).is_empty());
}

#[test]
fn a_release_is_repeated_and_not_its_message() {
    // [MQTT-4.3.3-4] [MQTT-4.3.3-6]
    let mut bench = Bench::new();
    let (mut subscriber, _) = bench.connect(resume("s"));
    subscriber.subscribe(&mut bench, "t", QoS::ExactlyOnce);
    bench.client("p").publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert_eq!(subscriber.read(&mut bench).len(), 1);
    for _ in 0..3 {
        subscriber.send(&mut bench, &Packet::PubRec(ack(1)));
        assert_eq!(subscriber.read_one(&mut bench), Packet::PubRel(ack(1)));
        subscriber.vanish(&mut bench);
        subscriber = bench.connect(resume("s")).0;
        assert_eq!(subscriber.read_one(&mut bench), Packet::PubRel(ack(1)));
    }
    subscriber.send(&mut bench, &Packet::PubComp(ack(1)));
    subscriber.vanish(&mut bench);
    let (mut subscriber, _) = bench.connect(resume("s"));
    assert!(subscriber.read(&mut bench).is_empty());
}

#[test]
fn an_answer_to_nothing_does_no_harm() {
    // an unknown PUBREC is told so; others are passed over
    let (mut bench, mut subscriber, mut publisher) = pair(Version::V5);
    publisher.publish(&mut bench, "t", "x", QoS::ExactlyOnce, 1);
    assert_eq!(subscriber.read(&mut bench).len(), 1);
    subscriber.send(&mut bench, &Packet::PubAck(ack(1))); // it was QoS 2
    subscriber.send(&mut bench, &Packet::PubComp(ack(1))); // not released yet
    subscriber.send(&mut bench, &Packet::PubAck(ack(9)));
    subscriber.send(&mut bench, &Packet::PubComp(ack(9)));
    assert!(subscriber.read(&mut bench).is_empty());
    subscriber.send(&mut bench, &Packet::PubRec(ack(9)));
    let unknown = Ack::new(id(9), ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    assert_eq!(subscriber.read_one(&mut bench), Packet::PubRel(unknown));
    assert_eq!(bench.broker.client("s").expect("connected").inflight, 1);
}

#[test]
fn answers_keep_the_order_of_what_they_answer() {
    // [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4]
    let (mut bench, mut subscriber, mut publisher) = pair(Version::V5);
    let numbers = [5_u16, 1, 9, 3, 65_535, 2];
    for number in numbers {
        publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, number);
    }
    assert_eq!(publisher.read(&mut bench), numbers.map(|number| Packet::PubAck(ack(number))));
    for number in numbers {
        publisher.publish(&mut bench, "t", "x", QoS::ExactlyOnce, number);
    }
    assert_eq!(publisher.read(&mut bench), numbers.map(|number| Packet::PubRec(ack(number))));
    let sent = subscriber.read_messages(&mut bench);
    let mut received: Vec<u16> = sent
        .iter()
        .filter(|message| message.qos() == QoS::ExactlyOnce)
        .map(|message| message.packet_id().expect("there").get())
        .collect();
    received.reverse();
    for &number in &received {
        subscriber.send(&mut bench, &Packet::PubRec(ack(number)));
    }
    let releases: Vec<_> = received.iter().map(|&number| Packet::PubRel(ack(number))).collect();
    assert_eq!(subscriber.read(&mut bench), releases, "in the order of PUBREC");
}

#[test]
fn messages_of_one_publisher_keep_their_order() {
    // [MQTT-4.6.0-5] [MQTT-4.6.0-6]; of 3.1.1: [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    let mut bench = Bench::with(BrokerConfig { max_inflight: 3, ..BrokerConfig::default() });
    let (mut subscriber, _) = bench.connect(resume("s"));
    let mut other = bench.client("other");
    subscriber.subscribe(&mut bench, "t/#", QoS::ExactlyOnce);
    other.subscribe(&mut bench, "+", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    let qualities = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let mut got: Vec<(QoS, usize)> = Vec::new();
    for number in 0..90 {
        let qos = qualities[number % 3];
        publisher.publish(&mut bench, "t", &number.to_string(), qos, 1);
        if qos == QoS::ExactlyOnce {
            publisher.send(&mut bench, &Packet::PubRel(ack(1)));
        }
        publisher.read(&mut bench);
        if number % 20 == 19 {
            subscriber.vanish(&mut bench); // what it did not answer comes again
            subscriber = bench.connect(resume("s")).0;
        }
        take(&mut bench, &mut subscriber, &mut got, number % 7 != 0);
    }
    take(&mut bench, &mut subscriber, &mut got, true);
    for qos in qualities {
        let of_quality: Vec<_> = got.iter().filter(|(found, _)| *found == qos).collect();
        let want: Vec<_> = (0..90).filter(|number| qualities[number % 3] == qos).map(|n| (qos, n)).collect();
        assert_eq!(of_quality, want.iter().collect::<Vec<_>>(), "{qos}");
    }
    let all: Vec<_> = (0..90).map(|number| number.to_string()).collect();
    assert_eq!(other.read_payloads(&mut bench), all);
}

/// Takes what comes and notes what comes for the first time; a client that `answers` gets all there is.
fn take(bench: &mut Bench, client: &mut Client, got: &mut Vec<(QoS, usize)>, answers: bool) {
    loop {
        let packets = client.read(bench);
        if packets.is_empty() {
            return;
        }
        for packet in packets {
            match packet {
                Packet::Publish(publish) => {
                    let payload = std::str::from_utf8(publish.payload_slice()).expect("digits");
                    if !publish.dup() {
                        got.push((publish.qos(), payload.parse().expect("digits")));
                    }
                    match (publish.packet_id(), publish.qos()) {
                        (Some(packet_id), QoS::AtLeastOnce) if answers => {
                            client.acknowledge(bench, packet_id.get());
                        }
                        (Some(packet_id), _) if answers => {
                            client.send(bench, &Packet::PubRec(ack(packet_id.get())));
                        }
                        _ => {}
                    }
                }
                Packet::PubRel(release) if answers => {
                    client.send(bench, &Packet::PubComp(ack(release.packet_id.get())));
                }
                Packet::PubRel(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if !answers {
            return;
        }
    }
}

#[test]
fn what_is_accepted_belongs_to_every_session_that_subscribed() {
    // [MQTT-4.5.0-1]; of 3.1.1: [MQTT-3.1.2-5] [MQTT-4.5.0-1]
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let lasting = |client_id: &str| match version {
            Version::V5 => resume(client_id),
            _ => Connect { version, clean_start: false, ..connect(client_id) },
        };
        for client_id in ["here", "away"] {
            let (mut client, _) = bench.connect(lasting(client_id));
            let options = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
            client.subscribe_with(&mut bench, "t", options, None);
            client.vanish(&mut bench);
        }
        let (mut here, _) = bench.connect(lasting("here"));
        let mut publisher = bench.client("p");
        publisher.send(&mut bench, &message("t", "1", QoS::AtLeastOnce, 1, false));
        publisher.send(&mut bench, &message("t", "2", QoS::ExactlyOnce, 2, false));
        assert_eq!(here.read_payloads(&mut bench), ["1", "2"]);
        let (mut away, connack) = bench.connect(lasting("away"));
        assert!(connack.session_present);
        let messages = away.read_messages(&mut bench);
        assert_eq!(
            messages.iter().map(|m| m.qos()).collect::<Vec<_>>(),
            [QoS::AtLeastOnce, QoS::ExactlyOnce]
        );
        assert!(messages.iter().all(|message| !message.dup()));
    }
}
