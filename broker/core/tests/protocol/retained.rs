//! Retained messages.

use broker_codec::{Properties, Property, QoS, RetainHandling, SubscriptionOptions};
use broker_core::BrokerConfig;

use crate::support::{Bench, message, message_with};

fn publish_many(bench: &mut Bench, count: usize) {
    let mut publisher = bench.client("publisher");
    for number in 0..count {
        let topic = format!("r/{number}");
        publisher.send(bench, &message(&topic, "old", QoS::AtLeastOnce, 1, true));
        publisher.read(bench);
    }
}

/// Acknowledges and reads until nothing comes, and returns how many messages were retained and how many live.
fn read_all(client: &mut crate::support::Client, bench: &mut Bench) -> (usize, usize) {
    let mut counts = (0, 0);
    loop {
        let messages = client.read_messages(bench);
        if messages.is_empty() {
            return counts;
        }
        for message in &messages {
            *(if message.retain() { &mut counts.0 } else { &mut counts.1 }) += 1;
            if let Some(id) = message.packet_id() {
                client.acknowledge(bench, id.get());
            }
        }
    }
}

#[test]
fn live_messages_do_not_push_retained_ones_out() {
    // [MQTT-3.3.1-9]
    let mut bench = Bench::with(BrokerConfig { max_queue_len: 10, ..BrokerConfig::default() });
    publish_many(&mut bench, 500);
    let mut client = bench.client("c");
    client.subscribe(&mut bench, "r/#", QoS::AtLeastOnce);
    let mut publisher = bench.client("publisher");
    let mut read = client.read_messages(&mut bench);
    assert_eq!(read.len(), 32, "the window");
    for number in 0..5 {
        publisher.publish(&mut bench, "r/live", "new", QoS::AtLeastOnce, number + 1);
    }
    for message in read.drain(..) {
        client.acknowledge(&mut bench, message.packet_id().expect("there").get());
    }
    assert_eq!(read_all(&mut client, &mut bench), (500 - 32, 5));
    assert_eq!(bench.broker.client("c").expect("connected").dropped, 0);
}

#[test]
fn retained_messages_of_many_subscribes_have_a_limit() {
    let config = BrokerConfig { max_retained_per_subscribe: 100, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    publish_many(&mut bench, 80);
    let mut client = bench.client("c");
    for _ in 0..20 {
        client.subscribe(&mut bench, "r/#", QoS::AtLeastOnce);
    }
    let info = bench.broker.client("c").expect("connected");
    assert_eq!(info.queue_len, 100);
    assert_eq!(info.dropped, 19, "one for each SUBSCRIBE that did not get all");
    assert_eq!(read_all(&mut client, &mut bench), (100, 0));
}

#[test]
fn a_message_that_cannot_be_kept_still_replaces_the_old_one() {
    // [MQTT-3.3.1-5]: who subscribes later must not get what is out of date
    let config = BrokerConfig { max_retained_payload_size: 10, ..BrokerConfig::default() };
    let at_once = Properties::from_list(&[Property::MessageExpiryInterval(0)]).expect("valid");
    for second in [
        message("t", "much too large to be kept", QoS::AtMostOnce, 0, true),
        message_with("t", "now", QoS::AtMostOnce, 0, true, &at_once),
    ] {
        let mut bench = Bench::with(config.clone());
        let mut publisher = bench.client("p");
        publisher.send(&mut bench, &message("t", "old", QoS::AtMostOnce, 0, true));
        publisher.send(&mut bench, &second);
        let mut client = bench.client("c");
        client.subscribe(&mut bench, "t", QoS::AtMostOnce);
        assert!(client.read(&mut bench).is_empty());
    }
}

#[test]
fn no_local_goes_by_client_id() {
    // [MQTT-3.8.3-3]: of an earlier session too
    let mut bench = Bench::new();
    let mut first = bench.client("c");
    first.send(&mut bench, &message("t", "mine", QoS::AtMostOnce, 0, true));
    first.vanish(&mut bench);
    let mut second = bench.client("c");
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::with_qos(QoS::AtMostOnce) };
    second.subscribe_with(&mut bench, "t", options, None);
    assert!(second.read(&mut bench).is_empty());
    let mut other = bench.client("d");
    other.subscribe_with(&mut bench, "t", options, None);
    assert_eq!(other.read_payloads(&mut bench), ["mine"]);
}

#[test]
fn retain_handling_and_remaining_life() {
    // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    let mut bench = Bench::new();
    let life = Properties::from_list(&[Property::MessageExpiryInterval(10)]).expect("valid");
    bench.client("p").send(&mut bench, &message_with("t", "x", QoS::AtMostOnce, 0, true, &life));
    bench.advance_ms(3_500);
    let mut client = bench.client("c");
    let with = |retain_handling| SubscriptionOptions {
        retain_handling,
        ..SubscriptionOptions::with_qos(QoS::AtMostOnce)
    };
    for (handling, want) in [
        (RetainHandling::DoNotSend, 0),
        (RetainHandling::SendIfNew, 0),
        (RetainHandling::Send, 1),
        (RetainHandling::Send, 1),
    ] {
        client.subscribe_with(&mut bench, "t", with(handling), Some(7));
        let messages = client.read_messages(&mut bench);
        assert_eq!(messages.len(), want, "{handling:?}");
        for message in messages {
            assert!(message.retain());
            assert_eq!(message.message_expiry_interval(), Some(7));
            assert_eq!(message.properties().subscription_identifiers().collect::<Vec<_>>(), [7]);
        }
    }
    bench.advance_ms(6_500);
    client.subscribe(&mut bench, "t", QoS::AtMostOnce);
    assert!(client.read(&mut bench).is_empty());
}

#[test]
fn retained_messages_wait_for_a_client_that_is_away() {
    let mut bench = Bench::new();
    publish_many(&mut bench, 50);
    let (mut client, _) = bench.connect(crate::support::resume("c"));
    client.subscribe(&mut bench, "r/#", QoS::AtLeastOnce);
    assert_eq!(client.read_messages(&mut bench).len(), 32);
    client.vanish(&mut bench);
    let (mut client, _) = bench.connect(crate::support::resume("c"));
    assert_eq!(read_all(&mut client, &mut bench), (50, 0));
}
