//! Messages to clients.

use broker_codec::{Connect, Properties, Property, QoS, SubscriptionOptions};

use crate::support::{Bench, connect, message, message_with};

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
    let (mut client, _) = bench.connect(crate::support::resume("c"));
    client.subscribe(&mut bench, "t", QoS::AtLeastOnce);
    client.vanish(&mut bench);
    let mut publisher = bench.client("p");
    for life_s in [5, 60] {
        let life = Properties::from_list(&[Property::MessageExpiryInterval(life_s)]).expect("valid");
        publisher.send(&mut bench, &message_with("t", "x", QoS::AtLeastOnce, 1, false, &life));
        publisher.read(&mut bench);
    }
    bench.advance_ms(10_000);
    let (mut client, _) = bench.connect(crate::support::resume("c"));
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
