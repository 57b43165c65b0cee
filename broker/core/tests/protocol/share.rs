//! Shared subscriptions.

use std::collections::BTreeMap;

use broker_codec::{
    Ack, Connect, Packet, Properties, Property, QoS, ReasonCode, SubscriptionOptions, Version,
};
use broker_core::{BrokerConfig, QueueOverflow, ShareStrategy, StickyPick};
use proptest::prelude::*;

use crate::support::{Bench, Client, connect, id, message, resume, with_expiry};

fn strategy(shared_strategy: ShareStrategy) -> BrokerConfig {
    BrokerConfig { shared_strategy, ..BrokerConfig::default() }
}

/// Makes members that have subscribed to `$share/g/#`.
fn members<const COUNT: usize>(bench: &mut Bench, qos: QoS) -> [Client; COUNT] {
    std::array::from_fn(|number| {
        let mut member = bench.client(&format!("member{number}"));
        assert!(!member.subscribe(bench, "$share/g/#", qos).is_error());
        member
    })
}

/// Reads what each member has got, by `publisher` or topic as the payload says.
fn received(bench: &mut Bench, members: &mut [Client]) -> Vec<BTreeMap<String, usize>> {
    let count = |member: &mut Client| {
        let mut counts = BTreeMap::new();
        member.read_payloads(bench).into_iter().for_each(|payload| *counts.entry(payload).or_default() += 1);
        counts
    };
    members.iter_mut().map(count).collect()
}

#[test]
fn every_strategy_gives_each_message_to_one_member() {
    use ShareStrategy::*;
    // of four members: whether they share evenly, keep to one for each publisher, or for each topic
    for (shared_strategy, even, per_publisher, per_topic) in [
        (Random, true, false, false),
        (RoundRobin, true, false, false),
        (RoundRobinPerGroup, true, false, false),
        (Local, true, false, false),
        (LeastInflight, true, false, false),
        (Sticky, false, true, false),
        (HashClientId, false, true, false),
        (HashTopic, false, false, true),
    ] {
        let mut bench = Bench::with(strategy(shared_strategy));
        let mut members: [Client; 4] = members(&mut bench, QoS::AtMostOnce);
        let mut publishers: Vec<_> = (0..10).map(|number| bench.client(&format!("p{number}"))).collect();
        let mut by_key = vec![BTreeMap::new(); members.len()];
        for number in 0..10_000 {
            let (publisher, topic) = (number % 10, number / 10 % 7);
            let key = if per_topic { format!("t{topic}") } else { format!("p{publisher}") };
            publishers[publisher].publish(&mut bench, &format!("t{topic}"), &key, QoS::AtMostOnce, 0);
            if number % 100 == 99 {
                for (sum, got) in by_key.iter_mut().zip(received(&mut bench, &mut members)) {
                    got.into_iter().for_each(|(key, count)| *sum.entry(key).or_insert(0) += count);
                }
            }
        }
        let totals: Vec<usize> = by_key.iter().map(|counts| counts.values().sum()).collect();
        assert_eq!(totals.iter().sum::<usize>(), 10_000, "{shared_strategy:?}: {totals:?}");
        if even {
            assert!(
                totals.iter().all(|total| (2200..=2800).contains(total)),
                "{shared_strategy:?}: {totals:?}"
            );
        }
        if per_publisher || per_topic {
            let owners: usize = by_key.iter().map(BTreeMap::len).sum();
            assert_eq!(owners, if per_topic { 7 } else { 10 }, "{shared_strategy:?}: {by_key:?}");
        }
    }
}

#[test]
fn groups_may_have_strategies_of_their_own() {
    let shared_groups = BTreeMap::from([("h".to_owned(), ShareStrategy::HashTopic)]);
    let mut bench = Bench::with(BrokerConfig { shared_groups, ..BrokerConfig::default() });
    let mut two: Vec<_> = (0..2).map(|number| bench.client(&format!("m{number}"))).collect();
    for member in &mut two {
        member.subscribe(&mut bench, "$share/h/t", QoS::AtMostOnce);
        member.subscribe(&mut bench, "$share/turns/u", QoS::AtMostOnce);
    }
    let mut publisher = bench.client("p");
    for (topic, want) in [("t", [0, 10]), ("u", [5, 5])] {
        for _ in 0..10 {
            publisher.publish(&mut bench, topic, "x", QoS::AtMostOnce, 0);
        }
        let mut got = two.iter_mut().map(|member| member.read(&mut bench).len()).collect::<Vec<_>>();
        got.sort_unstable();
        assert_eq!(got, want, "{topic}");
    }
}

#[test]
fn a_publisher_keeps_to_its_member_while_that_one_is_connected() {
    for (shared_strategy, comes_back) in [(ShareStrategy::Sticky, false), (ShareStrategy::HashClientId, true)]
    {
        // a window of one: the member is busy with the first message, and still gets the others
        let mut bench = Bench::with(BrokerConfig { max_inflight: 1, ..strategy(shared_strategy) });
        let mut two: Vec<_> = ["m0", "m1"].map(|name| bench.connect(resume(name)).0).into();
        two.iter_mut().for_each(|member| {
            member.subscribe(&mut bench, "$share/g/t", QoS::AtLeastOnce);
        });
        let mut publisher = bench.client("p");
        for number in 1..=20 {
            publisher.publish(&mut bench, "t", &number.to_string(), QoS::AtLeastOnce, number);
        }
        let stuck =
            two.iter_mut().position(|member| !member.read(&mut bench).is_empty()).expect("one got it");
        let name = format!("m{stuck}");
        assert_eq!(bench.broker.client(&name).expect("there").queue_len, 19, "{shared_strategy:?}");
        two.remove(stuck).vanish(&mut bench);
        publisher.publish(&mut bench, "t", "away", QoS::AtLeastOnce, 21);
        assert_eq!(two[0].read_payloads(&mut bench), ["away"], "{shared_strategy:?}");
        two[0].acknowledge(&mut bench, 1);
        let (mut back, _) = bench.connect(resume(&name));
        publisher.publish(&mut bench, "t", "back", QoS::AtLeastOnce, 22);
        assert_eq!(two[0].read(&mut bench).is_empty(), comes_back, "{shared_strategy:?}");
        back.read(&mut bench);
    }
}

#[test]
fn sticky_publishers_start_where_they_are_told_to() {
    for (shared_sticky_pick, owners) in
        [(StickyPick::HashTopic, 1), (StickyPick::Random, 4), (StickyPick::Local, 4)]
    {
        let config = BrokerConfig { shared_sticky_pick, ..strategy(ShareStrategy::Sticky) };
        let mut bench = Bench::with(config);
        let mut members: [Client; 4] = members(&mut bench, QoS::AtMostOnce);
        for number in 0..200 {
            let mut publisher = bench.client(&format!("p{number}"));
            publisher.publish(&mut bench, "t", "x", QoS::AtMostOnce, 0);
        }
        let got = received(&mut bench, &mut members);
        assert_eq!(got.iter().filter(|counts| !counts.is_empty()).count(), owners, "{shared_sticky_pick:?}");
    }
}

#[test]
fn the_member_with_the_fewest_unacknowledged_messages_is_next() {
    let mut bench = Bench::with(strategy(ShareStrategy::LeastInflight));
    let [mut slow, mut quick] = members(&mut bench, QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    let mut got = [0, 0];
    for number in 1..=20 {
        publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, number);
        got[0] += slow.read(&mut bench).len();
        for packet in quick.read(&mut bench) {
            let Packet::Publish(publish) = packet else { panic!("a message") };
            quick.acknowledge(&mut bench, publish.packet_id().expect("QoS 1").get());
            got[1] += 1;
        }
    }
    assert!(got[0] <= 2 && got[0] + got[1] == 20, "{got:?}");
}

#[test]
fn what_no_member_has_room_for_waits_with_the_group() {
    let config =
        BrokerConfig { max_inflight: 1, max_queue_len: 2, shared_backlog: 10, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let [mut one, two] = members(&mut bench, QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    for number in 1..=20 {
        publisher.publish(&mut bench, "t", &number.to_string(), QoS::AtLeastOnce, number);
    }
    let dropped = bench.broker.metrics().get(broker_core::Metric::DeliveryDropped);
    let mut got: Vec<u32> = Vec::new();
    let mut take_all = |bench: &mut Bench, member: &mut Client| {
        loop {
            let messages = member.read_messages(bench);
            if messages.is_empty() {
                break;
            }
            for publish in messages {
                got.push(
                    String::from_utf8(publish.payload_slice().to_vec())
                        .expect("digits")
                        .parse()
                        .expect("digits"),
                );
                member.acknowledge(bench, publish.packet_id().expect("QoS 1").get());
            }
        }
    };
    take_all(&mut bench, &mut one);
    // what the other one holds comes when its session ends, and a new member gets nothing twice
    two.vanish(&mut bench);
    take_all(&mut bench, &mut one);
    let mut late = bench.client("late");
    late.subscribe(&mut bench, "$share/g/#", QoS::AtLeastOnce);
    take_all(&mut bench, &mut late);
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len() as u64 + dropped, 20);
    assert!(dropped <= 6, "two queues of two, two in flight, and ten with the group: {dropped}");
}

#[test]
fn a_member_that_joins_gets_what_waits_with_the_group() {
    let config = BrokerConfig { max_inflight: 1, max_queue_len: 1, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let [mut stuck] = members(&mut bench, QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    for number in 1..=5 {
        publisher.publish(&mut bench, "t", &number.to_string(), QoS::AtLeastOnce, number);
        stuck.read(&mut bench);
    }
    let mut helper = bench.client("helper");
    helper.subscribe(&mut bench, "$share/g/#", QoS::AtMostOnce);
    assert_eq!(helper.read_payloads(&mut bench), ["3", "4", "5"]);
}

#[test]
fn what_a_client_refuses_goes_to_nobody_else() {
    // [MQTT-4.8.2-6]
    let mut bench = Bench::new();
    let [mut one, mut two] = members(&mut bench, QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "a", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "t", "b", QoS::ExactlyOnce, 2);
    assert_eq!((one.read(&mut bench).len(), two.read(&mut bench).len()), (1, 1));
    one.send(&mut bench, &Packet::PubAck(Ack::new(id(1), ReasonCode::UNSPECIFIED_ERROR)));
    two.send(&mut bench, &Packet::PubRec(Ack::new(id(1), ReasonCode::UNSPECIFIED_ERROR)));
    one.vanish(&mut bench);
    assert_eq!(two.read(&mut bench).len(), 0);
    two.vanish(&mut bench);
    let mut late = bench.client("late");
    late.subscribe(&mut bench, "$share/g/#", QoS::ExactlyOnce);
    assert_eq!(late.read(&mut bench).len(), 0);
}

#[test]
fn what_has_become_too_large_for_a_member_goes_to_another() {
    let mut bench = Bench::new();
    let (mut small, _) = bench.connect(resume("small"));
    small.subscribe(&mut bench, "$share/g/t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", &"1".repeat(200), QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "t", &"2".repeat(200), QoS::ExactlyOnce, 2);
    small.read(&mut bench);
    publisher.publish(&mut bench, "t", "short", QoS::AtLeastOnce, 3);
    small.vanish(&mut bench);
    publisher.publish(&mut bench, "t", &"4".repeat(200), QoS::ExactlyOnce, 4);
    let mut large = bench.client("large");
    large.subscribe(&mut bench, "$share/g/t", QoS::ExactlyOnce);
    let limits = [Property::SessionExpiryInterval(1000), Property::MaximumPacketSize(100)];
    let properties = Properties::from_list(&limits).expect("valid");
    let (mut small, _) = bench.connect(Connect { properties, ..resume("small") });
    assert_eq!(small.read_payloads(&mut bench), ["short"]);
    // [MQTT-4.8.2-5]: the QoS 2 message that was begun goes to nobody else
    assert_eq!(large.read_payloads(&mut bench), ["1".repeat(200), "4".repeat(200)]);
}

#[test]
fn what_goes_on_to_another_has_the_quality_of_that_member() {
    let mut bench = Bench::new();
    let (mut first, _) = bench.connect(with_expiry("first", 100));
    first.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, 1);
    let mut second = bench.client("second");
    second.subscribe(&mut bench, "$share/g/t", QoS::AtLeastOnce);
    assert!(bench.broker.kick("first"));
    let messages = second.read_messages(&mut bench);
    assert_eq!(messages.iter().map(|publish| publish.qos()).collect::<Vec<_>>(), [QoS::AtLeastOnce]);
}

#[test]
fn what_the_last_member_leaves_is_counted() {
    let mut bench =
        Bench::with(BrokerConfig { max_inflight: 1, max_queue_len: 1, ..BrokerConfig::default() });
    let [mut only] = members(&mut bench, QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    for number in 1..=5 {
        publisher.publish(&mut bench, "t", "x", QoS::AtLeastOnce, number);
        only.read(&mut bench);
    }
    only.vanish(&mut bench);
    assert_eq!(bench.broker.metrics().get(broker_core::Metric::DeliveryDropped), 5);
    assert_eq!(bench.broker.stats().get("subscriptions.shared.count"), Some(0));
    assert_eq!(bench.broker.stats().get("subscriptions.shared.max"), Some(1));
}

#[test]
fn shared_filters_as_clients_write_them() {
    let check = |shared_subscription: bool, filter: &str, want: ReasonCode| {
        let mut bench = Bench::with(BrokerConfig { shared_subscription, ..BrokerConfig::default() });
        for version in [Version::V4, Version::V5] {
            let (mut client, _) = bench.connect(Connect { version, ..connect("c") });
            let got = client.subscribe(&mut bench, filter, QoS::AtLeastOnce);
            let want =
                if want.is_error() && version == Version::V4 { ReasonCode::UNSPECIFIED_ERROR } else { want };
            assert_eq!(got, want, "{filter} {version:?}");
        }
    };
    for filter in ["$share/g1/t/+", "$queue/t/+", "$share/g/$SYS/brokers/+/clients/+/connected"] {
        check(true, filter, ReasonCode::GRANTED_QOS_1);
        check(false, filter, ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
    for filter in
        ["$share//t", "$share/g", "$share/g/", "$share/a+/t", "$share/g/$share/h/t", "$share/g/$queue/t"]
    {
        check(true, filter, ReasonCode::TOPIC_FILTER_INVALID);
    }
}

#[test]
fn groups_are_by_name_and_filter_and_beside_plain_subscriptions() {
    let mut bench = Bench::new();
    let mut member = bench.client("m");
    for filter in ["$share/g/a/#", "$share/g/a/b", "$share/h/a/b", "$queue/a/b", "$share/$queue/a/b", "a/b"] {
        assert_eq!(
            member.subscribe(&mut bench, filter, QoS::AtMostOnce),
            ReasonCode::GRANTED_QOS_0,
            "{filter}"
        );
    }
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "a/b", "x", QoS::AtMostOnce, 0);
    // `$queue/` is another spelling of the group `$queue`
    assert_eq!(member.read(&mut bench).len(), 5);
    publisher.publish(&mut bench, "$share/g/a/b", "x", QoS::AtMostOnce, 0);
    assert_eq!(member.read(&mut bench).len(), 0, "an ordinary topic name that matches no group");
}

#[test]
fn retained_messages_are_not_for_groups() {
    let mut bench = Bench::new();
    let mut publisher = bench.client("p");
    publisher.send(&mut bench, &message("t", "old", QoS::AtMostOnce, 0, true));
    let mut member = bench.client("m");
    let options =
        SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::with_qos(QoS::AtMostOnce) };
    member.subscribe_with(&mut bench, "$share/g/t", options, Some(9));
    assert!(member.read(&mut bench).is_empty());
    publisher.send(&mut bench, &message("t", "new", QoS::AtMostOnce, 0, true));
    let messages = member.read_messages(&mut bench);
    assert!(messages[0].retain(), "as published");
    assert_eq!(messages[0].properties().subscription_identifiers().collect::<Vec<_>>(), [9]);
}

#[test]
fn a_member_whose_bytes_are_used_up_is_passed_over() {
    // (b.3): a member whose queue would overflow is skipped
    for queue_overflow in [QueueOverflow::DropOldest, QueueOverflow::DropNewest] {
        let config = BrokerConfig {
            max_queue_bytes: 2_200,
            max_inflight: 1,
            queue_overflow,
            ..BrokerConfig::default()
        };
        let mut bench = Bench::with(config);
        let (mut full, _) = bench.connect(resume("full"));
        full.subscribe(&mut bench, "own", QoS::AtLeastOnce);
        full.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
        let mut publisher = bench.client("p");
        for number in 1..=3 {
            publisher.publish(&mut bench, "own", &"x".repeat(900), QoS::AtLeastOnce, number);
            publisher.read(&mut bench);
            full.read(&mut bench);
        }
        let mut other = bench.client("other");
        other.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
        for _ in 0..4 {
            publisher.publish(&mut bench, "t", &"y".repeat(900), QoS::AtMostOnce, 0);
        }
        assert_eq!(other.read(&mut bench).len(), 2, "two fill its bytes");
        for _ in 0..2 {
            publisher.publish(&mut bench, "t", &"y".repeat(900), QoS::AtMostOnce, 0);
        }
        assert_eq!(other.read(&mut bench).len(), 2);
        assert_eq!(bench.broker.client("full").expect("there").dropped, 0, "{queue_overflow:?}");
    }
}

#[test]
fn what_a_member_leaves_behind_goes_to_another() {
    // [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    let mut bench = Bench::new();
    let (mut first, _) = bench.connect(resume("first"));
    first.subscribe(&mut bench, "$share/g/t", QoS::ExactlyOnce);
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t", "once", QoS::ExactlyOnce, 1);
    publisher.publish(&mut bench, "t", "least", QoS::AtLeastOnce, 2);
    assert_eq!(first.read_payloads(&mut bench), ["once", "least"]);
    let mut second = bench.client("second");
    second.subscribe(&mut bench, "$share/g/t", QoS::ExactlyOnce);
    first.vanish(&mut bench);
    assert!(second.read(&mut bench).is_empty(), "the session lives on");
    assert!(bench.broker.kick("first"));
    assert_eq!(second.read_payloads(&mut bench), ["least"]);
}

#[test]
fn a_member_that_takes_only_small_packets_is_passed_over() {
    let mut bench = Bench::new();
    let properties = Properties::from_list(&[Property::MaximumPacketSize(100)]).expect("valid");
    let (mut small, _) = bench.connect(Connect { properties, ..connect("small") });
    small.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    let mut large = bench.client("large");
    large.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    let mut publisher = bench.client("p");
    for _ in 0..4 {
        publisher.publish(&mut bench, "t", &"x".repeat(200), QoS::AtMostOnce, 0);
    }
    assert_eq!(large.read(&mut bench).len(), 4);
}

#[test]
fn what_a_member_was_not_sent_before_it_unsubscribes_goes_to_others() {
    let mut bench = Bench::with(BrokerConfig { max_inflight: 1, ..BrokerConfig::default() });
    let mut leaver = bench.client("leaver");
    leaver.subscribe(&mut bench, "$share/g/t", QoS::AtLeastOnce);
    leaver.subscribe(&mut bench, "own", QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    for number in 1..=3 {
        publisher.publish(&mut bench, "t", &number.to_string(), QoS::AtLeastOnce, number);
        publisher.publish(&mut bench, "own", "own", QoS::AtLeastOnce, 10 + number);
    }
    assert_eq!(leaver.read_payloads(&mut bench), ["1"]);
    let mut stays = bench.client("stays");
    stays.subscribe(&mut bench, "$share/g/t", QoS::AtMostOnce);
    assert_eq!(leaver.unsubscribe(&mut bench, "$share/g/t"), ReasonCode::SUCCESS);
    assert_eq!(stays.read_payloads(&mut bench), ["2", "3"]);
    for number in 1..=4 {
        leaver.acknowledge(&mut bench, if number % 2 == 1 { 1 } else { 2 });
        leaver.read(&mut bench);
        leaver.acknowledge(&mut bench, 1);
    }
    assert_eq!(bench.broker.client("leaver").expect("there").queue_len, 0);
}

#[test]
fn what_cannot_wait_goes_to_whoever_has_room() {
    let config = BrokerConfig { max_inflight: 1, max_queue_len: 2, ..BrokerConfig::default() };
    let mut bench = Bench::with(config);
    let [mut member] = members(&mut bench, QoS::AtLeastOnce);
    let mut publisher = bench.client("p");
    for number in 1..=4 {
        publisher.publish(&mut bench, "t", &number.to_string(), QoS::AtLeastOnce, number);
        member.read(&mut bench);
    }
    member.acknowledge(&mut bench, 1);
    assert_eq!(member.read_payloads(&mut bench), ["2"]);
    publisher.publish(&mut bench, "t", "now", QoS::AtMostOnce, 0);
    let mut got = Vec::new();
    for turn in 0..4 {
        got.extend(member.read_payloads(&mut bench));
        member.acknowledge(&mut bench, 1 + turn % 2);
        member.acknowledge(&mut bench, 1);
    }
    assert_eq!(got, ["3", "now", "4"]);
}

/// What may happen to a group of four.
#[derive(Debug, Clone)]
enum Step {
    Publish,
    /// A member takes what it gets, and acknowledges it or not.
    Read(usize, bool),
    Subscribe(usize),
    Unsubscribe(usize),
    Vanish(usize),
    Connect(usize),
    Kick(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..4_usize;
    prop_oneof![
        8 => Just(Step::Publish),
        4 => (who.clone(), any::<bool>()).prop_map(|(who, acks)| Step::Read(who, acks)),
        2 => who.clone().prop_map(Step::Subscribe),
        1 => who.clone().prop_map(Step::Unsubscribe),
        1 => who.clone().prop_map(Step::Vanish),
        2 => who.clone().prop_map(Step::Connect),
        1 => who.prop_map(Step::Kick),
    ]
}

/// Takes what a client gets now, acknowledges it if it does so, and notes what it has acknowledged.
fn take(bench: &mut Bench, client: &mut Client, acks: bool, done: &mut Vec<u16>) {
    loop {
        let messages = client.read_messages(bench);
        if messages.is_empty() {
            return;
        }
        for publish in messages.iter().filter(|_| acks) {
            let payload = String::from_utf8(publish.payload_slice().to_vec()).expect("digits");
            done.push(payload.parse().expect("digits"));
            client.acknowledge(bench, publish.packet_id().expect("QoS 1").get());
        }
        if !acks {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_message_is_acknowledged_or_counted(
        steps in proptest::collection::vec(step(), 0..80),
        strategy in 0..8_usize,
        shared_offline_always in any::<bool>(),
    ) {
        use ShareStrategy::*;
        let all = [Random, RoundRobin, RoundRobinPerGroup, Sticky, Local, HashClientId, HashTopic, LeastInflight];
        let mut bench = Bench::with(BrokerConfig {
            shared_strategy: all[strategy],
            shared_offline_always,
            shared_backlog: 5,
            max_inflight: 2,
            max_queue_len: 3,
            ..BrokerConfig::default()
        });
        let mut publisher = bench.client("p");
        let mut members: [Option<Client>; 4] = [None, None, None, None];
        let mut published: u16 = 0;
        let mut done = Vec::new();
        for step in steps {
            match step {
                Step::Publish => {
                    published += 1;
                    publisher.publish(&mut bench, "t", &published.to_string(), QoS::AtLeastOnce, published);
                    publisher.read(&mut bench);
                }
                Step::Read(who, acks) => {
                    if let Some(member) = &mut members[who] {
                        take(&mut bench, member, acks, &mut done);
                    }
                }
                Step::Subscribe(who) => {
                    if let Some(member) = &mut members[who] {
                        member.subscribe(&mut bench, "$share/g/t", QoS::AtLeastOnce);
                    }
                }
                Step::Unsubscribe(who) => {
                    if let Some(member) = &mut members[who] {
                        member.unsubscribe(&mut bench, "$share/g/t");
                    }
                }
                Step::Vanish(who) => {
                    if let Some(member) = members[who].take() {
                        member.vanish(&mut bench);
                    }
                }
                Step::Connect(who) if members[who].is_none() => {
                    members[who] = Some(bench.connect(resume(&format!("m{who}"))).0);
                }
                Step::Connect(_) => {}
                Step::Kick(who) => {
                    bench.broker.kick(&format!("m{who}"));
                    members[who] = None;
                }
            }
        }
        // somebody takes all that is left
        let mut last = bench.client("last");
        last.subscribe(&mut bench, "$share/g/t", QoS::AtLeastOnce);
        take(&mut bench, &mut last, true, &mut done);
        for who in 0..4 {
            bench.broker.kick(&format!("m{who}"));
            take(&mut bench, &mut last, true, &mut done);
        }
        let count = done.len();
        done.sort_unstable();
        done.dedup();
        prop_assert_eq!(done.len(), count, "a message was acknowledged twice");
        let metrics = bench.broker.metrics();
        let dropped = metrics.get(broker_core::Metric::DeliveryDropped)
            + metrics.get(broker_core::Metric::MessagesDroppedNoSubscribers);
        prop_assert_eq!(count as u64 + dropped, u64::from(published));
        bench.check_drops();
    }
}
