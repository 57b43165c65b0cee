//! Messages to clients.

use broker_codec::{
    Connect, Packet, Properties, Property, QoS, ReasonCode, SubscriptionOptions, Version, Will,
};
use broker_core::BrokerConfig;

use crate::support::{Bench, Client, bytes, connect, message, message_with, resume};

#[test]
fn overlapping_subscriptions_give_one_copy_with_all_identifiers() {
    // [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    let keeps =
        SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::with_qos(QoS::AtMostOnce) };
    client.subscribe_with(&mut bench, "a/+", keeps, Some(2));
    client.subscribe_with(&mut bench, "a/#", SubscriptionOptions::with_qos(QoS::ExactlyOnce), Some(300));
    client.subscribe_with(&mut bench, "a/b", SubscriptionOptions::with_qos(QoS::AtLeastOnce), None);
    bench.client("p").send(&mut bench, &message("a/b", "x", QoS::AtLeastOnce, 1, true));
    let messages = client.read_messages(&mut bench);
    assert_eq!(messages.len(), 1);
    let mut identifiers: Vec<_> = messages[0].properties().subscription_identifiers().collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [2, 300]);
    assert_eq!(messages[0].qos(), QoS::AtLeastOnce);
    assert!(messages[0].retain());
}

#[test]
fn the_window_is_the_smaller_of_both_and_holds_nothing_else_back() {
    // [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2]
    let mut bench = Bench::new();
    let properties = Properties::from_list(&[Property::ReceiveMaximum(2)]).expect("valid");
    let (mut client, _) = bench.connect(Connect { properties, ..connect("c") });
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    for number in 1..=4 {
        publisher.publish(&mut bench, "t", &number.to_string(), QoS::AtLeastOnce, number);
    }
    assert_eq!(client.read_payloads(&mut bench), ["1", "2"]);
    client.send(&mut bench, &broker_codec::Packet::PingReq);
    assert_eq!(client.read_one(&mut bench), broker_codec::Packet::PingResp);
    client.acknowledge(&mut bench, 2);
    assert_eq!(client.read_payloads(&mut bench), ["3"]);
    client.acknowledge(&mut bench, 2);
    client.acknowledge(&mut bench, 1);
    assert_eq!(client.read_payloads(&mut bench), ["4"]);
}

#[test]
fn messages_expire_while_they_wait() {
    // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    let mut bench = Bench::new();
    let (mut client, _) = bench.connect(resume("c"));
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    client.vanish(&mut bench);
    let mut publisher = bench.client("p");
    for life_s in [5, 60] {
        let life = Properties::from_list(&[Property::MessageExpiryInterval(life_s)]).expect("valid");
        publisher.send(&mut bench, &message_with("t", "x", QoS::AtLeastOnce, 1, false, &life));
        publisher.read(&mut bench);
    }
    bench.advance_ms(10_000);
    let (mut client, _) = bench.connect(resume("c"));
    let messages = client.read_messages(&mut bench);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].message_expiry_interval(), Some(50));
}

#[test]
fn what_is_too_large_for_a_client_is_dropped_as_if_delivered() {
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    let mut bench = Bench::new();
    let properties = Properties::from_list(&[Property::MaximumPacketSize(60)]).expect("valid");
    let (mut client, _) = bench.connect(Connect { properties, ..connect("c") });
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    // 2 + 2 + 1 + 2 + 1 bytes before the payload
    for len in [53, 52] {
        publisher.publish(&mut bench, "t", &"x".repeat(len), QoS::AtLeastOnce, 1);
        publisher.read(&mut bench);
    }
    let messages = client.read_messages(&mut bench);
    assert_eq!(messages.iter().map(|m| m.payload_slice().len()).collect::<Vec<_>>(), [52]);
}

#[test]
fn properties_of_a_message_arrive_as_they_were_sent() {
    // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    // [MQTT-3.1.3-10]
    let list = [
        Property::UserProperty("b", "1"),
        Property::PayloadFormatIndicator(true),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("answers/here"),
        Property::UserProperty("b", "1"),
        Property::CorrelationData(&[0, 255]),
        Property::ContentType("text/plain"),
        Property::UserProperty("", ""),
    ];
    let properties = Properties::from_list(&list).expect("valid");
    let check = |bench: &mut Bench, client: &mut Client, what: &str| {
        let messages = client.read_messages(bench);
        assert_eq!(messages.len(), 1, "{what}");
        let got = messages[0].properties();
        assert_eq!(got.payload_format_indicator(), Some(true), "{what}");
        assert_eq!(got.response_topic(), Some("answers/here"), "{what}");
        assert_eq!(got.correlation_data(), Some(&[0, 255][..]), "{what}");
        assert_eq!(got.content_type(), Some("text/plain"), "{what}");
        let user: Vec<_> = got.user_properties().collect();
        assert_eq!(user, [("b", "1"), ("a", "2"), ("b", "1"), ("", "")], "{what}");
    };
    let mut bench = Bench::new();
    let mut live = bench.client("live");
    live.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    let mut member = bench.client("member");
    member.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    let (mut away, _) = bench.connect(resume("away"));
    away.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    away.vanish(&mut bench);
    bench.client("p").send(&mut bench, &message_with("t", "x", QoS::AtLeastOnce, 1, true, &properties));
    check(&mut bench, &mut live, "to who is there");
    check(&mut bench, &mut member, "to a member of a group");
    for time in ["later", "again"] {
        let (mut away, _) = bench.connect(resume("away"));
        check(&mut bench, &mut away, time);
        away.vanish(&mut bench);
    }
    let mut late = bench.client("late");
    late.subscribe(&mut bench, "t", QoS::AtMostOnce);
    check(&mut bench, &mut late, "retained");
    let will = crate::support::will("w", 0).map(|will| Will { properties, ..will });
    let (dying, _) = bench.connect(Connect { will, ..connect("dying") });
    live.subscribe(&mut bench, "w", QoS::AtMostOnce);
    dying.vanish(&mut bench);
    check(&mut bench, &mut live, "of a will");
}

#[test]
fn old_clients_get_messages_without_their_properties() {
    let mut bench = Bench::new();
    let (mut old, _) = bench.connect(Connect { version: Version::V4, ..connect("old") });
    old.subscribe(&mut bench, "t", QoS::AtMostOnce);
    let properties = Properties::from_list(&[Property::UserProperty("a", "b")]).expect("valid");
    bench.client("p").send(&mut bench, &message_with("t", "x", QoS::AtMostOnce, 0, false, &properties));
    assert_eq!(old.read_bytes(&mut bench), bytes(r#"30 04 00 01 "tx""#));
}

#[test]
fn a_copy_for_each_subscription_has_its_identifier_and_quality() {
    // [MQTT-3.3.4-2] [MQTT-3.3.4-5]; of 3.1.1: [MQTT-3.3.5-1]
    let config = BrokerConfig { overlap_per_subscription: true, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let mut client = bench.client("c");
    client.subscribe_with(&mut bench, "a/+", SubscriptionOptions::with_qos(QoS::AtMostOnce), Some(2));
    client.subscribe_with(&mut bench, "a/#", SubscriptionOptions::with_qos(QoS::ExactlyOnce), Some(300));
    client.subscribe_with(&mut bench, "a/b", SubscriptionOptions::with_qos(QoS::AtLeastOnce), None);
    bench.client("p").publish(&mut bench, "a/b", "x", QoS::ExactlyOnce, 1);
    let messages = client.read_messages(&mut bench);
    let mut got: Vec<_> = messages
        .iter()
        .map(|m| (m.qos() as u8, m.properties().subscription_identifiers().collect::<Vec<_>>()))
        .collect();
    got.sort_unstable();
    assert_eq!(got, [(0, vec![2]), (1, vec![]), (2, vec![300])]);
}

#[test]
fn who_wants_no_reasons_gets_none() {
    // [MQTT-3.1.2-29]
    for (wants, has_reason) in [(None, true), (Some(true), true), (Some(false), false)] {
        let mut bench = Bench::new();
        let list: Vec<_> = wants.into_iter().map(Property::RequestProblemInformation).collect();
        let properties = Properties::from_list(&list).expect("valid");
        let (mut client, _) = bench.connect(Connect { properties, ..connect("c") });
        client.send_bytes(&mut bench, &bytes(r#"32 08 00 03 "a/+" 00 09 00"#));
        let Packet::PubAck(ack) = client.read_one(&mut bench) else { panic!("no PUBACK") };
        assert_eq!(ack.reason, ReasonCode::TOPIC_NAME_INVALID);
        assert_eq!(ack.properties.as_ref().reason_string().is_some(), has_reason, "{wants:?}");
        // a message has its user properties, whatever the client wants
        client.subscribe(&mut bench, "t", QoS::AtMostOnce);
        let user = Properties::from_list(&[Property::UserProperty("a", "b")]).expect("valid");
        client.send(&mut bench, &message_with("t", "x", QoS::AtMostOnce, 0, false, &user));
        assert_eq!(client.read_messages(&mut bench)[0].properties().user_properties().count(), 1);
    }
}

#[test]
fn reasons_are_left_out_where_they_do_not_fit() {
    // [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.14.2-3] [MQTT-3.1.2-24]
    let mut bench = Bench::new();
    let properties = Properties::from_list(&[Property::MaximumPacketSize(22)]).expect("valid");
    let (mut client, _) = bench.connect(Connect { properties, ..connect("c") });
    for (packet, answer) in [
        (r#"32 08 00 03 "a/+" 00 09 00"#, "40 03 00 09 90"),
        (r#"34 08 00 03 "a/+" 00 09 00"#, "50 03 00 09 90"),
        (r#"36 05 00 01 "t" 00 00"#, "e0 01 81"),
    ] {
        client.send_bytes(&mut bench, &bytes(packet));
        assert_eq!(client.read_bytes(&mut bench), bytes(answer), "{packet}");
    }
}
