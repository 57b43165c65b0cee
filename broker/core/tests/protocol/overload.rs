//! When memory is short.

use broker_codec::{Packet, QoS, ReasonCode, Version};
use broker_core::{BrokerConfig, CloseReason, Holding, Metric};

use crate::support::{Bench, Client, connect, message, resume};

#[test]
fn nobody_new_is_let_in_while_memory_is_short() {
    let mut bench = Bench::new();
    let mut known = bench.client("known");
    let (away, _) = bench.connect(resume("away"));
    away.vanish(&mut bench);
    bench.broker.set_overloaded(true);
    for version in [Version::V3, Version::V4, Version::V5] {
        let new = broker_codec::Connect { version, ..connect("new") };
        // MQTT 3 has one code for both
        let busy =
            if version == Version::V5 { ReasonCode::SERVER_BUSY } else { ReasonCode::SERVER_UNAVAILABLE };
        assert_eq!(bench.connect(new).1.reason, busy, "{version}");
    }
    assert_eq!(bench.connect(connect("")).1.reason, ReasonCode::SERVER_BUSY);
    assert_eq!(bench.metric(Metric::OverloadNewConnection), 4);
    assert_eq!(bench.connect(resume("away")).1.reason, ReasonCode::SUCCESS, "it fetches what waits");
    known.send(&mut bench, &Packet::PingReq);
    assert!(matches!(known.read_one(&mut bench), Packet::PingResp), "who is there stays");
    bench.broker.set_overloaded(false);
    assert_eq!(bench.connect(connect("new")).1.reason, ReasonCode::SUCCESS);
}

#[test]
fn it_is_noted_whose_messages_stay() {
    let mut bench = Bench::with(BrokerConfig { max_queue_len: 1, ..BrokerConfig::default() });
    let mut publisher = bench.client("p");
    let mut check = |bench: &mut Bench, stays: bool, what: &str| {
        bench.context.take_stays();
        publisher.publish(bench, "t", "x", QoS::AtMostOnce, 0);
        assert_eq!(bench.context.take_stays(), stays, "{what}");
    };
    check(&mut bench, false, "nobody wants it");
    let mut ready = bench.client("ready");
    ready.subscribe(&mut bench, "t", QoS::AtMostOnce);
    check(&mut bench, false, "it goes out at once");
    let (mut blocked, _) = bench.connect(resume("c"));
    blocked.subscribe(&mut bench, "t", QoS::AtMostOnce);
    blocked.connection.block();
    check(&mut bench, true, "a socket takes nothing");
    blocked.read(&mut bench);
    check(&mut bench, false, "it does again");
    blocked.read(&mut bench);
    blocked.vanish(&mut bench);
    check(&mut bench, true, "somebody is away");
    check(&mut bench, false, "another message gave way");
    bench.broker.kick("c");
    for (what, packet) in [
        ("retained", message("r", "x", QoS::AtMostOnce, 0, true)),
        ("delayed", message("$delayed/10/t", "x", QoS::AtMostOnce, 0, false)),
    ] {
        bench.context.take_stays();
        publisher.send(&mut bench, &packet);
        assert!(bench.context.take_stays(), "{what}");
    }
}

fn flood(bench: &mut Bench, publisher: &mut Client, topic: &str, count: usize) {
    let payload = "x".repeat(10_000);
    for _ in 0..count {
        publisher.publish(bench, topic, &payload, QoS::AtLeastOnce, 1);
        publisher.read(bench);
    }
}

#[test]
fn the_largest_connections_are_ended_first_as_far_as_that_helps() {
    let mut bench = Bench::with(BrokerConfig { max_queue_len: 0, ..BrokerConfig::default() });
    let mut publisher = bench.client("p");
    let mut clients = Vec::new();
    for (client_id, count) in [("small", 3), ("large", 30), ("middle", 20)] {
        let mut client = bench.client(client_id);
        client.subscribe(&mut bench, client_id, QoS::AtLeastOnce);
        client.connection.block();
        flood(&mut bench, &mut publisher, client_id, count);
        clients.push(client);
    }
    // the end of its connection sets nothing free
    let (mut lasting, _) = bench.connect(resume("lasting"));
    lasting.subscribe(&mut bench, "lasting", QoS::AtLeastOnce);
    lasting.connection.block();
    flood(&mut bench, &mut publisher, "lasting", 50);
    let names = |holdings: &[Holding]| {
        let names = holdings.iter().map(|holding| holding.client_id.to_string());
        names.collect::<Vec<_>>()
    };
    let largest = bench.broker.largest_holdings(3);
    assert_eq!(names(&largest), ["lasting", "large", "middle"]);
    assert!((500_000..520_000).contains(&largest[0].bytes) && largest[0].freed_bytes == 0, "{largest:?}");
    assert_eq!(names(&bench.broker.shed(250_000)), ["large"]);
    let closed = std::mem::take(&mut *bench.outlets.closed.lock().expect("not poisoned"));
    assert_eq!(closed, [(clients[1].key, CloseReason::Overload)]);
    let mut large = clients.remove(1);
    large.close(&mut bench, CloseReason::Overload);
    let Packet::Disconnect(goodbye) = large.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(bench.metric(Metric::DeliveryDroppedEnded), 30);
    assert_eq!(names(&bench.broker.shed(usize::MAX)), ["middle"], "the others are not worth it");
}
