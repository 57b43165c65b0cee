//! Zones: clients of some listeners for whom something else holds.

use std::collections::BTreeMap;

use broker_codec::{Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use broker_core::{BrokerConfig, FlappingConfig, Metric};

use crate::support::{Bench, connect, message, resume, with_expiry};

/// A broker with a zone `lab` beside what holds for all.
fn bench(lab: BrokerConfig) -> Bench {
    let zones = BTreeMap::from([("lab".to_owned(), lab)]);
    Bench::with(BrokerConfig { zones, ..BrokerConfig::default() })
}

#[test]
fn a_client_is_told_what_holds_in_its_zone() {
    let mut bench = bench(BrokerConfig {
        receive_maximum: 7,
        max_packet_size: 1000,
        max_topic_alias: 3,
        max_qos: QoS::AtLeastOnce,
        server_keep_alive_s: Some(20),
        max_session_expiry_interval_s: 60,
        shared_subscription: false,
        ..BrokerConfig::default()
    });
    let (client, connack) = bench.connect_in("lab", with_expiry("c", 1000));
    let told = connack.properties.as_ref();
    assert_eq!(
        (told.receive_maximum(), told.maximum_packet_size(), told.topic_alias_maximum()),
        (Some(7), Some(1000), Some(3))
    );
    assert_eq!((told.maximum_qos(), told.server_keep_alive()), (Some(QoS::AtLeastOnce), Some(20)));
    assert_eq!(
        (told.session_expiry_interval(), told.shared_subscription_available()),
        (Some(60), Some(false))
    );
    assert_eq!(client.connection.silence_limit_ms(), Some(30_000));
    let info = bench.broker.client("c").expect("there");
    assert_eq!((info.zone.as_ref(), info.receive_maximum, info.expiry_interval_s), ("lab", 7, 60));
    let (_, connack) = bench.connect(with_expiry("d", 1000));
    assert_eq!(connack.properties.as_ref().receive_maximum(), Some(100), "others are not");
    assert_eq!(bench.broker.client("d").expect("there").zone.as_ref(), "default");
    let (_, connack) = bench.connect_in("nowhere", connect("e"));
    assert_eq!(connack.properties.as_ref().receive_maximum(), Some(100), "a zone that is gone");
}

#[test]
fn a_client_is_held_to_what_holds_in_its_zone() {
    let mut bench = bench(BrokerConfig {
        max_topic_levels: 2,
        max_subscriptions: 1,
        max_client_id_len: 23,
        exclusive_subscription: true,
        max_qos: QoS::AtLeastOnce,
        ..BrokerConfig::default()
    });
    let too_long = connect("a client id of more than twenty-three bytes");
    let (_, connack) = bench.connect_in("lab", too_long.clone());
    assert_eq!(connack.reason, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    assert_eq!(bench.connect(too_long).1.reason, ReasonCode::SUCCESS);
    let (mut client, _) = bench.connect_in("lab", connect("c"));
    assert_eq!(client.subscribe(&mut bench, "a/b/c", QoS::AtMostOnce), ReasonCode::TOPIC_FILTER_INVALID);
    assert_eq!(client.subscribe(&mut bench, "$exclusive/a", QoS::AtMostOnce), ReasonCode::SUCCESS);
    assert_eq!(client.subscribe(&mut bench, "b", QoS::AtMostOnce), ReasonCode::QUOTA_EXCEEDED);
    client.publish(&mut bench, "a/b/c", "x", QoS::AtLeastOnce, 1);
    let Packet::PubAck(ack) = client.read_one(&mut bench) else { panic!("no PUBACK") };
    assert_eq!(ack.reason, ReasonCode::TOPIC_NAME_INVALID);
    client.send(&mut bench, &message("a", "x", QoS::ExactlyOnce, 2, false));
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::QOS_NOT_SUPPORTED);
    let mut other = bench.client("other");
    assert_eq!(other.subscribe(&mut bench, "a/b/c", QoS::ExactlyOnce), ReasonCode::GRANTED_QOS_2);
    assert_eq!(
        other.subscribe(&mut bench, "$exclusive/z", QoS::AtMostOnce),
        ReasonCode::TOPIC_FILTER_INVALID
    );
}

#[test]
fn a_session_takes_on_the_zone_of_its_connection() {
    let mut bench = bench(BrokerConfig { max_queue_len: 2, max_inflight: 1, ..BrokerConfig::default() });
    let mut publisher = bench.client("p");
    let mut waiting_after = |bench: &mut Bench, zone: Option<&str>| {
        let (mut client, _) = match zone {
            Some(zone) => bench.connect_in(zone, resume("c")),
            None => bench.connect(resume("c")),
        };
        client.subscribe(bench, "t", QoS::AtMostOnce);
        client.read(bench);
        client.vanish(bench);
        for _ in 0..5 {
            publisher.publish(bench, "t", "x", QoS::AtMostOnce, 0);
        }
        bench.broker.client("c").expect("there").queue_len
    };
    assert_eq!(waiting_after(&mut bench, Some("lab")), 2);
    assert_eq!(waiting_after(&mut bench, None), 5);
    assert_eq!(waiting_after(&mut bench, Some("lab")), 2);
    assert_eq!(bench.metric(Metric::DeliveryDroppedQueueFull), 6);
    let (_, connack) = bench.connect_in("lab", resume("c"));
    assert!(connack.session_present);
    assert_eq!(bench.broker.client("c").expect("there").inflight_max, 1);
}

#[test]
fn sessions_of_version_3_live_as_long_as_their_zone_says() {
    let mut bench = bench(BrokerConfig { session_expiry_interval_s: 5, ..BrokerConfig::default() });
    let older = |client_id: &str| Connect { version: Version::V4, clean_start: false, ..connect(client_id) };
    let (short, _) = bench.connect_in("lab", older("short"));
    let (long, _) = bench.connect(older("long"));
    short.vanish(&mut bench);
    long.vanish(&mut bench);
    bench.advance_ms(6_000);
    assert!(bench.broker.client("short").is_none() && bench.broker.client("long").is_some());
}

#[test]
fn a_disconnect_cannot_lengthen_a_session_beyond_its_zone() {
    let mut bench = bench(BrokerConfig { max_session_expiry_interval_s: 10, ..BrokerConfig::default() });
    let (mut client, _) = bench.connect_in("lab", with_expiry("c", 5));
    let properties = Properties::from_list(&[Property::SessionExpiryInterval(1000)]).expect("valid");
    let disconnect = broker_codec::Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties };
    client.send(&mut bench, &Packet::Disconnect(disconnect));
    assert_eq!(bench.broker.client("c").expect("there").expiry_interval_s, 10);
}

#[test]
fn only_a_zone_that_looks_for_them_bans_clients_that_flap() {
    let flapping = Some(FlappingConfig { max_count: 3, ..FlappingConfig::default() });
    let mut bench = bench(BrokerConfig { flapping, ..BrokerConfig::default() });
    for _ in 0..5 {
        bench.client("outside").vanish(&mut bench);
    }
    assert_eq!(bench.connect(connect("outside")).1.reason, ReasonCode::SUCCESS);
    for _ in 0..3 {
        let (client, connack) = bench.connect_in("lab", connect("inside"));
        assert_eq!(connack.reason, ReasonCode::SUCCESS);
        client.vanish(&mut bench);
    }
    assert_eq!(bench.connect_in("lab", connect("inside")).1.reason, ReasonCode::BANNED);
}
