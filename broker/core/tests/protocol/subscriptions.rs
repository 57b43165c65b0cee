//! Subscriptions that clients do not ask for, and those that only one may have.

use broker_codec::{Connect, QoS, ReasonCode, RetainHandling, SubscriptionOptions};
use broker_core::{AutoSubscription, BrokerConfig};

use crate::support::{Bench, connect, message, resume};

fn filters(bench: &Bench, client_id: &str) -> Vec<String> {
    let list = bench.broker.subscriptions_of(client_id).expect("there").into_iter();
    list.map(|subscription| subscription.filter.into_string()).collect()
}

#[test]
fn every_client_gets_the_subscriptions_of_the_configuration() {
    let auto = |topic: &str| AutoSubscription {
        topic: topic.to_owned(),
        options: SubscriptionOptions {
            retain_handling: RetainHandling::SendIfNew,
            ..SubscriptionOptions::with_qos(QoS::AtLeastOnce)
        },
    };
    let topics = ["c/${clientid}", "u/${username}", "h/${host}/${port}", "$share/g/t", "bad/#/x"];
    let auto_subscribe = topics.iter().map(|topic| auto(topic)).collect();
    let mut bench = Bench::with(BrokerConfig { auto_subscribe, ..BrokerConfig::default() });
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("c/dev", "kept", QoS::AtMostOnce, 0, true));
    let (mut client, _) = bench.connect(Connect { username: Some("me".to_owned()), ..resume("dev") });
    assert_eq!(filters(&bench, "dev"), ["$share/g/t", "c/dev", "h/127.0.0.1/1000", "u/me"]);
    assert_eq!(client.read_payloads(&mut bench), ["kept"]);
    publisher.publish(&mut bench, "u/me", "hello", QoS::AtLeastOnce, 1);
    let messages = client.read_messages(&mut bench);
    assert_eq!(messages[0].qos(), QoS::AtLeastOnce);
    client.vanish(&mut bench);
    // on another address the next time, without a user name, and not new any more
    let (mut client, _) = bench.connect(resume("dev"));
    assert_eq!(
        client.read_payloads(&mut bench),
        ["hello"],
        "what was not acknowledged, and nothing retained"
    );
    assert_eq!(filters(&bench, "p"), ["$share/g/t", "c/p", "h/127.0.0.1/1000"]);
}

#[test]
fn access_is_asked_for_unless_told_otherwise() {
    for (auto_subscribe_bypass_acl, count) in [(false, 0), (true, 1)] {
        let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
        let auto_subscribe = vec![AutoSubscription { topic: "$SYS/#".to_owned(), options }];
        let config = BrokerConfig {
            auto_subscribe,
            auto_subscribe_bypass_acl,
            allow_anonymous: true,
            ..BrokerConfig::default()
        };
        let mut bench = Bench::with(config);
        let _client = bench.connect_from(connect("c"), [10, 0, 0, 1]);
        assert_eq!(filters(&bench, "c").len(), count);
    }
}

#[test]
fn an_exclusive_filter_has_one_subscriber() {
    let mut bench = Bench::with(BrokerConfig { exclusive_subscription: true, ..BrokerConfig::default() });
    let (mut first, _) = bench.connect(resume("first"));
    let mut second = bench.client("second");
    let granted = ReasonCode::GRANTED_QOS_0;
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("t/1", "kept", QoS::AtMostOnce, 0, true));
    assert_eq!(first.subscribe(&mut bench, "$exclusive/t/+", QoS::AtMostOnce), granted);
    assert_eq!(first.read_payloads(&mut bench), ["kept"]);
    assert_eq!(first.subscribe(&mut bench, "$exclusive/t/+", QoS::AtMostOnce), granted, "its own");
    first.read(&mut bench);
    assert_eq!(filters(&bench, "first"), ["$exclusive/t/+"]);
    for (filter, want) in [
        ("$exclusive/t/+", ReasonCode::QUOTA_EXCEEDED),
        ("$exclusive/t/1", granted), // another filter
        ("t/+", granted),            // not exclusive
        ("$exclusive/", ReasonCode::TOPIC_FILTER_INVALID),
        ("$exclusive/a/#/b", ReasonCode::TOPIC_FILTER_INVALID),
    ] {
        assert_eq!(second.subscribe(&mut bench, filter, QoS::AtMostOnce), want, "{filter}");
    }
    second.read(&mut bench);
    publisher.publish(&mut bench, "t/1", "x", QoS::AtMostOnce, 0);
    assert_eq!((first.read(&mut bench).len(), second.read(&mut bench).len()), (1, 1));
    // it stays with the session, and is free once that ends or gives it up
    first.vanish(&mut bench);
    assert_eq!(second.subscribe(&mut bench, "$exclusive/t/+", QoS::AtMostOnce), ReasonCode::QUOTA_EXCEEDED);
    let (mut first, _) = bench.connect(resume("first"));
    assert_eq!(first.unsubscribe(&mut bench, "$exclusive/t/+"), ReasonCode::SUCCESS);
    assert_eq!(second.subscribe(&mut bench, "$exclusive/t/+", QoS::AtMostOnce), granted);
    assert_eq!(first.subscribe(&mut bench, "$exclusive/t/+", QoS::AtMostOnce), ReasonCode::QUOTA_EXCEEDED);
    second.vanish(&mut bench);
    assert_eq!(first.subscribe(&mut bench, "$exclusive/t/+", QoS::AtMostOnce), granted);
}

#[test]
fn a_filter_that_could_not_be_had_is_not_kept_from_others() {
    let config =
        BrokerConfig { exclusive_subscription: true, max_subscriptions: 1, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let mut first = bench.client("first");
    first.subscribe(&mut bench, "a", QoS::AtMostOnce);
    assert_eq!(first.subscribe(&mut bench, "$exclusive/t", QoS::AtMostOnce), ReasonCode::QUOTA_EXCEEDED);
    let mut second = bench.client("second");
    assert_eq!(second.subscribe(&mut bench, "$exclusive/t", QoS::AtMostOnce), ReasonCode::GRANTED_QOS_0);
}

#[test]
fn exclusive_subscriptions_are_off_unless_asked_for() {
    let mut bench = Bench::new();
    let mut client = bench.client("c");
    let code = client.subscribe(&mut bench, "$exclusive/t", QoS::AtMostOnce);
    assert_eq!(code, ReasonCode::TOPIC_FILTER_INVALID);
}
