//! Topics that are renamed on their way in.

use broker_codec::{Connect, Packet, QoS, ReasonCode};
use broker_core::{BrokerConfig, RewriteAction, TopicRewrite};

use crate::support::{Bench, connect, will};

fn rewriting(rules: &[(RewriteAction, &str, &str, &str)]) -> Bench {
    let rewrite = rules
        .iter()
        .map(|(action, source_topic, pattern, dest_topic)| TopicRewrite {
            action: *action,
            source_topic: (*source_topic).to_owned(),
            pattern: (*pattern).to_owned(),
            dest_topic: (*dest_topic).to_owned(),
        })
        .collect();
    Bench::with(BrokerConfig { rewrite, ..BrokerConfig::default() })
}

#[test]
fn messages_go_to_the_new_topic() {
    let mut bench = rewriting(&[
        (RewriteAction::Publish, "old/#", "^old/(.+)$", "new/${clientid}/$1"),
        (RewriteAction::Subscribe, "old/only", "^(.*)$", "never/$1"),
    ]);
    let mut subscriber = bench.client("s");
    subscriber.subscribe(&mut bench, "new/#", QoS::AtLeastOnce);
    let mut plain = bench.client("plain");
    plain.subscribe(&mut bench, "old/#", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "old/a", "1", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "old/a", "2", QoS::AtLeastOnce, 2);
    publisher.publish(&mut bench, "$delayed/1/old/b", "3", QoS::AtMostOnce, 0);
    publisher.publish(&mut bench, "new/c", "4", QoS::AtMostOnce, 0);
    let topics = |bench: &mut Bench, client: &mut crate::support::Client| {
        let messages = client.read_messages(bench).into_iter();
        messages.map(|publish| publish.topic().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(topics(&mut bench, &mut subscriber), ["new/p/a", "new/p/a", "new/c"]);
    let (dying, _) = bench.connect(Connect { will: will("old/gone", 0), ..connect("dying") });
    dying.vanish(&mut bench);
    assert_eq!(topics(&mut bench, &mut subscriber), ["new/dying/gone"]);
    bench.advance_ms(1000);
    assert_eq!(topics(&mut bench, &mut subscriber), ["new/p/b"]);
    assert!(plain.read(&mut bench).is_empty());
}

#[test]
fn subscriptions_are_made_and_given_up_under_the_new_name() {
    let mut bench = rewriting(&[(RewriteAction::All, "old/#", "^old/(.+)$", "new/$1")]);
    let (mut client, _) = bench.connect(Connect { username: Some("u".to_owned()), ..connect("c") });
    for filter in ["old/+", "$share/g/old/#"] {
        assert!(!client.subscribe(&mut bench, filter, QoS::AtMostOnce).is_error());
    }
    let list = |bench: &Bench| {
        let list = bench.broker.subscriptions_of("c").expect("there").into_iter();
        list.map(|subscription| subscription.filter.into_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(&bench), ["$share/g/new/#", "new/+"]);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "old/a", "x", QoS::AtMostOnce, 0);
    assert_eq!(client.read(&mut bench).len(), 2);
    assert_eq!(client.unsubscribe(&mut bench, "old/+"), ReasonCode::SUCCESS);
    assert_eq!(client.unsubscribe(&mut bench, "$share/g/old/#"), ReasonCode::SUCCESS);
    assert_eq!(client.unsubscribe(&mut bench, "old/#"), ReasonCode::NO_SUBSCRIPTION_EXISTED);
    assert!(list(&bench).is_empty());
    publisher.publish(&mut bench, "old/a", "x", QoS::AtLeastOnce, 1);
    let Packet::PubAck(ack) = publisher.read_one(&mut bench) else { panic!("a PUBACK") };
    assert_eq!(ack.reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
}

#[test]
fn a_client_is_judged_by_the_topic_that_it_named() {
    let mut bench = rewriting(&[(RewriteAction::Publish, "a", "^a$", "$SYS/forged")]);
    let mut client = bench.client("c");
    client.publish(&mut bench, "$SYS/x", "x", QoS::AtLeastOnce, 1);
    let Packet::PubAck(ack) = client.read_one(&mut bench) else { panic!("a PUBACK") };
    assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED);
}
