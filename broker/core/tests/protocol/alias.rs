//! Topic aliases, both ways.

use broker_codec::{Connect, Packet, Properties, Property, PublishBuilder, QoS, ReasonCode, Version};
use broker_core::BrokerConfig;

use crate::support::{Bench, Client, connect, resume};

fn client_with(bench: &mut Bench, properties: &[Property<'_>]) -> Client {
    let properties = Properties::from_list(properties).expect("valid");
    let (mut client, _) = bench.connect(Connect { properties, ..connect("c") });
    client.subscribe(bench, "#", QoS::ExactlyOnce);
    client
}

/// Topic and alias of each message that the client gets now.
#[track_caller]
fn topics(client: &mut Client, bench: &mut Bench) -> Vec<(String, Option<u16>)> {
    let messages = client.read_messages(bench).into_iter();
    messages.map(|message| (message.topic().to_owned(), message.topic_alias())).collect()
}

#[track_caller]
fn check(client: &mut Client, bench: &mut Bench, published: &[&str], want: &[(&str, Option<u16>)]) {
    let mut publisher = bench.client("p");
    for (topic, number) in published.iter().zip(1..) {
        publisher.publish(bench, topic, "x", QoS::AtLeastOnce, number);
    }
    let want: Vec<_> = want.iter().map(|(topic, alias)| ((*topic).to_owned(), *alias)).collect();
    assert_eq!(topics(client, bench), want);
}

#[test]
fn a_client_that_offers_aliases_gets_each_topic_once() {
    // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
    let mut bench = Bench::new();
    let mut client = client_with(&mut bench, &[Property::TopicAliasMaximum(2)]);
    check(
        &mut client,
        &mut bench,
        &["a", "a", "b", "c", "b", "a", "c"],
        &[
            ("a", Some(1)),
            ("", Some(1)),
            ("b", Some(2)),
            ("c", None),
            ("", Some(2)),
            ("", Some(1)),
            ("c", None),
        ],
    );
}

#[test]
fn a_client_that_offers_none_gets_none() {
    // [MQTT-3.1.2-27]
    let mut bench = Bench::new();
    for properties in [&[][..], &[Property::TopicAliasMaximum(0)]] {
        let mut client = client_with(&mut bench, properties);
        check(&mut client, &mut bench, &["a", "a"], &[("a", None), ("a", None)]);
    }
}

#[test]
fn an_alias_ends_with_its_connection() {
    // [MQTT-3.3.2-7]
    let mut bench = Bench::new();
    let properties =
        Properties::from_list(&[Property::TopicAliasMaximum(2), Property::SessionExpiryInterval(100)]);
    let returning = Connect { properties: properties.expect("valid"), ..resume("c") };
    let (mut client, _) = bench.connect(returning.clone());
    client.subscribe(&mut bench, "#", QoS::AtLeastOnce);
    check(&mut client, &mut bench, &["a", "a"], &[("a", Some(1)), ("", Some(1))]);
    client.vanish(&mut bench);
    let (mut client, _) = bench.connect(returning);
    assert_eq!(topics(&mut client, &mut bench), [("a".to_owned(), Some(1)), (String::new(), Some(1))]);
}

#[test]
fn an_alias_never_makes_a_packet_too_large() {
    // [MQTT-3.1.2-24]
    let mut bench = Bench::new();
    let mut client =
        client_with(&mut bench, &[Property::TopicAliasMaximum(2), Property::MaximumPacketSize(60)]);
    let mut publisher = bench.client("p");
    // 2 + 2 + 1 + 2 + 1 bytes before the payload, and 3 for an alias
    for (len, number) in [(52, 1), (49, 2), (50, 3)] {
        publisher.publish(&mut bench, "t", &"x".repeat(len), QoS::AtLeastOnce, number);
    }
    assert_eq!(
        topics(&mut client, &mut bench),
        [("t".to_owned(), None), ("t".to_owned(), Some(1)), (String::new(), Some(1))]
    );
}

#[test]
fn aliases_of_a_client_are_held_to_our_maximum() {
    // [MQTT-3.2.2-17] [MQTT-3.3.2-8] [MQTT-3.3.2-9]
    for (alias, topic, want) in [
        (257_u16, "t", ReasonCode::TOPIC_ALIAS_INVALID),
        (0, "t", ReasonCode::TOPIC_ALIAS_INVALID),
        (1, "", ReasonCode::PROTOCOL_ERROR),
    ] {
        let mut bench = Bench::new();
        let mut client = bench.open(Version::V5);
        client.send(&mut bench, &Packet::Connect(Box::new(connect("c"))));
        client.read(&mut bench);
        let mut bytes = vec![0x30, 6 + topic.len() as u8, 0, topic.len() as u8];
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&[3, 0x23]);
        bytes.extend_from_slice(&alias.to_be_bytes());
        client.send_bytes(&mut bench, &bytes);
        let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
        assert_eq!(goodbye.reason, want, "alias {alias}");
    }
}

#[test]
fn every_alias_up_to_our_maximum_is_taken() {
    // [MQTT-3.3.2-12]; in QoS 0, so that nobody stands in the way
    let mut bench = Bench::new();
    let mut watcher = bench.client("watcher");
    watcher.subscribe(&mut bench, "#", QoS::AtMostOnce);
    let (mut client, connack) = bench.connect(connect("c"));
    let maximum = connack.properties.as_ref().topic_alias_maximum().expect("we take some");
    assert_eq!(maximum, 256);
    let alias = |topic: &str, alias: u16| {
        let properties = Properties::from_list(&[Property::TopicAlias(alias)]).expect("valid");
        let builder = PublishBuilder { topic, properties: properties.as_ref(), ..PublishBuilder::default() };
        Packet::Publish(builder.build().expect("a message"))
    };
    for number in 1..=maximum {
        client.send(&mut bench, &alias(&format!("t/{number}"), number));
    }
    for number in 1..=maximum {
        client.send(&mut bench, &alias("", number));
    }
    // a new name takes the place of the old one
    client.send(&mut bench, &alias("new", maximum));
    client.send(&mut bench, &alias("", maximum));
    let first = (1..=maximum).map(|number| format!("t/{number}"));
    let want: Vec<_> = first.clone().chain(first).chain(["new".to_owned(), "new".to_owned()]).collect();
    let got: Vec<_> = topics(&mut watcher, &mut bench).into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(got, want);
    // [MQTT-3.3.2-7]: they end with the connection
    client.vanish(&mut bench);
    let mut client = bench.client("c");
    client.send(&mut bench, &alias("", 1));
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::PROTOCOL_ERROR);
}

#[test]
fn a_broker_that_takes_no_aliases_says_so() {
    // [MQTT-3.2.2-18]
    let mut bench = Bench::with(BrokerConfig { max_topic_alias: 0, ..BrokerConfig::default() });
    let (mut client, connack) = bench.connect(connect("c"));
    assert!(connack.properties.as_ref().topic_alias_maximum().is_none_or(|maximum| maximum == 0));
    client.send_bytes(&mut bench, b"\x30\x07\x00\x01t\x03\x23\x00\x01");
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::TOPIC_ALIAS_INVALID);
}
