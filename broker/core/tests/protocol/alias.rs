//! Topic aliases, both ways.

use broker_codec::{Connect, Packet, Properties, Property, PublishBuilder, QoS, ReasonCode, Version};
use broker_core::BrokerConfig;

use crate::support::{Bench, Client, connect, message_with, resume};

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
        &["t/aa", "t/aa", "t/bb", "t/cc", "t/bb", "t/aa", "t/cc"],
        &[
            ("t/aa", Some(1)),
            ("", Some(1)),
            ("t/bb", Some(2)),
            ("t/cc", None),
            ("", Some(2)),
            ("", Some(1)),
            ("t/cc", None),
        ],
    );
}

#[test]
fn a_client_that_offers_none_gets_none() {
    // [MQTT-3.1.2-27]
    let mut bench = Bench::new();
    for properties in [&[][..], &[Property::TopicAliasMaximum(0)]] {
        let mut client = client_with(&mut bench, properties);
        check(&mut client, &mut bench, &["t/aa", "t/aa"], &[("t/aa", None), ("t/aa", None)]);
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
    check(&mut client, &mut bench, &["t/aa", "t/aa"], &[("t/aa", Some(1)), ("", Some(1))]);
    client.vanish(&mut bench);
    let (mut client, _) = bench.connect(returning);
    assert_eq!(topics(&mut client, &mut bench), [("t/aa".to_owned(), Some(1)), (String::new(), Some(1))]);
}

#[test]
fn an_alias_never_makes_a_packet_too_large() {
    // [MQTT-3.1.2-24]
    let mut bench = Bench::new();
    let mut client =
        client_with(&mut bench, &[Property::TopicAliasMaximum(2), Property::MaximumPacketSize(60)]);
    let mut publisher = bench.client("p");
    // 2 + 6 + 2 + 1 bytes before the payload, and 3 for an alias
    for (len, number) in [(49, 1), (46, 2), (49, 3)] {
        publisher.publish(&mut bench, "long", &"x".repeat(len), QoS::AtLeastOnce, number);
    }
    assert_eq!(
        topics(&mut client, &mut bench),
        [("long".to_owned(), None), ("long".to_owned(), Some(1)), (String::new(), Some(1))]
    );
}

#[test]
fn a_name_that_is_no_longer_than_its_alias_stays() {
    // [MQTT-3.1.2-24]: of a packet that just fits, the alias would be too much
    for (topic, has_alias) in [("t", false), ("t/1", false), ("t/12", true)] {
        for properties_len in [0, 60, 115, 116, 117, 118, 119, 120, 121, 122, 123] {
            let mut bench = Bench::new();
            let name = "n".repeat(properties_len);
            let list = [Property::UserProperty(&name, "")];
            let properties = Properties::from_list(&list[..usize::from(properties_len > 0)]).expect("valid");
            let packet = message_with(topic, "x", QoS::AtMostOnce, 0, false, &properties);
            let size = packet.encoded_len(Version::V5) as u32;
            // the first one tells the alias: it is smaller
            let limits = [Property::TopicAliasMaximum(2), Property::MaximumPacketSize(size.max(20))];
            let mut client = client_with(&mut bench, &limits);
            let mut publisher = bench.client("p");
            publisher.publish(&mut bench, topic, "", QoS::AtMostOnce, 0);
            publisher.send(&mut bench, &packet);
            let first = client.read_bytes(&mut bench);
            let first_len = 2 + usize::from(first[1]);
            assert_eq!(first_len > 5 + topic.len(), has_alias, "{topic}");
            let second = first.len() - first_len;
            assert!(second > 0 && second <= size as usize, "{topic} {properties_len}: {second} of {size}");
        }
    }
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
