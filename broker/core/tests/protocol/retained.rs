//! Retained messages.

use broker_codec::{Connect, Properties, Property, QoS, RetainHandling, SubscriptionOptions, Version};
use broker_core::BrokerConfig;

use crate::support::{Bench, connect, message, message_with};

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

/// Payload and retain flag of what a new subscriber to `filter` gets.
fn kept(bench: &mut Bench, version: Version, filter: &str) -> Vec<(String, bool)> {
    let (mut client, _) = bench.connect(Connect { version, ..connect("late") });
    client.subscribe(bench, filter, QoS::AtLeastOnce);
    let messages = client.read_messages(bench).into_iter();
    messages.map(|m| (String::from_utf8_lossy(m.payload_slice()).into_owned(), m.retain())).collect()
}

#[test]
fn the_last_retained_message_is_kept_until_an_empty_one() {
    // [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-8]; of 3.1.1: [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    // [MQTT-3.3.1-7] [MQTT-3.3.1-8] [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.3.1-12]
    for version in [Version::V3, Version::V4, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut bench = Bench::new();
            let (mut watcher, _) = bench.connect(Connect { version, ..connect("w") });
            watcher.subscribe(&mut bench, "t", QoS::AtMostOnce);
            let (mut publisher, _) = bench.connect(Connect { version, ..connect("p") });
            publisher.send(&mut bench, &message("t", "first", qos, 1, true));
            publisher.send(&mut bench, &message("t", "second", qos, 2, true));
            publisher.send(&mut bench, &message("t", "passing", qos, 3, false));
            publisher.send(&mut bench, &message("t", "", qos, 4, false));
            assert_eq!(kept(&mut bench, version, "t"), [("second".to_owned(), true)], "{version} {qos}");
            publisher.send(&mut bench, &message("t", "", qos, 5, true));
            assert!(kept(&mut bench, version, "t").is_empty());
            assert_eq!(bench.broker.stats().get("retained.count"), Some(0));
            // those who were there get all of them, none with the flag
            let messages = watcher.read_messages(&mut bench);
            assert!(messages.iter().all(|message| !message.retain()));
            let payloads: Vec<_> = messages.iter().map(|m| m.payload_slice().to_vec()).collect();
            assert_eq!(payloads, [&b"first"[..], b"second", b"passing", b"", b""], "{version} {qos}");
        }
    }
}

#[test]
fn a_subscription_to_many_topics_gets_what_each_has() {
    // [MQTT-3.3.1-9]; of 3.1.1: [MQTT-3.3.1-6]
    let mut bench = Bench::new();
    let mut publisher = bench.client("p");
    for topic in ["a", "a/b", "a/c", "b", "$x"] {
        publisher.send(&mut bench, &message(topic, topic, QoS::AtMostOnce, 0, true));
    }
    for (filter, want) in [("a/#", &["a", "a/b", "a/c"][..]), ("+", &["a", "b"]), ("$x", &["$x"]), ("c", &[])]
    {
        let mut got = kept(&mut bench, Version::V4, filter);
        got.sort_unstable();
        let want: Vec<_> = want.iter().map(|topic| ((*topic).to_owned(), true)).collect();
        assert_eq!(got, want, "{filter}");
    }
}

#[test]
fn messages_of_a_subscription_keep_or_lose_their_flag_as_it_says() {
    // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    for (retain_as_published, published, delivered) in
        [(false, true, false), (false, false, false), (true, true, true), (true, false, false)]
    {
        let mut bench = Bench::new();
        let mut client = bench.client("c");
        let options =
            SubscriptionOptions { retain_as_published, ..SubscriptionOptions::with_qos(QoS::AtMostOnce) };
        client.subscribe_with(&mut bench, "t", options, None);
        bench.client("p").send(&mut bench, &message("t", "x", QoS::AtMostOnce, 0, published));
        assert_eq!(
            client.read_messages(&mut bench)[0].retain(),
            delivered,
            "{retain_as_published} {published}"
        );
    }
}
