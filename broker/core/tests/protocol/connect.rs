//! CONNECT and CONNACK.

use broker_codec::{Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use broker_core::BrokerConfig;

use crate::support::{Bench, connect, will};

#[test]
fn an_empty_client_id() {
    // [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]; of 3.1.1: [MQTT-3.1.3-7] [MQTT-3.1.3-8]
    for (version, clean_start, accepted) in [
        (Version::V3, true, false),
        (Version::V4, true, true),
        (Version::V4, false, false),
        (Version::V5, true, true),
        (Version::V5, false, true),
    ] {
        let mut bench = Bench::new();
        let (client, connack) = bench.connect(Connect { version, clean_start, ..connect("") });
        assert_eq!(connack.reason == ReasonCode::SUCCESS, accepted, "{version} {clean_start}");
        assert_eq!(client.closed, !accepted);
        assert!(!connack.session_present);
        if version == Version::V5 {
            assert!(connack.properties.as_ref().assigned_client_identifier().is_some());
        }
    }
}

#[test]
fn what_the_connack_says() {
    // [MQTT-3.2.2-21], 3.2.2.3
    let config = BrokerConfig {
        server_keep_alive_s: Some(60),
        max_session_expiry_interval_s: 100,
        max_qos: QoS::AtLeastOnce,
        retain_available: false,
        ..BrokerConfig::default()
    };
    let mut bench = Bench::with(config);
    let properties = Properties::from_list(&[Property::SessionExpiryInterval(101)]).expect("valid");
    let (client, connack) = bench.connect(Connect { keep_alive_s: 120, properties, ..connect("c") });
    let properties = connack.properties.as_ref();
    assert_eq!(properties.server_keep_alive(), Some(60));
    assert_eq!(client.connection.silence_limit_ms(), Some(90_000)); // [MQTT-3.1.2-22]
    assert_eq!(properties.session_expiry_interval(), Some(100));
    assert_eq!(properties.maximum_qos(), Some(QoS::AtLeastOnce)); // [MQTT-3.2.2-9]
    assert_eq!(properties.retain_available(), Some(false)); // [MQTT-3.2.2-13]
}

#[test]
fn keep_alive_within_bounds() {
    // [MQTT-3.2.2-21] [MQTT-3.2.2-22] [MQTT-3.1.2-22]
    let bounds = BrokerConfig { min_keep_alive_s: 10, max_keep_alive_s: Some(60), ..BrokerConfig::default() };
    for (version, asked_s, told_s, in_force_s) in [
        (Version::V5, 30, None, 30),
        (Version::V5, 10, None, 10),
        (Version::V5, 5, Some(10), 10),
        (Version::V5, 120, Some(60), 60),
        (Version::V5, 0, Some(60), 60),
        (Version::V4, 5, None, 5), // cannot be told
        (Version::V4, 120, None, 120),
    ] {
        let mut bench = Bench::with(bounds.clone());
        let (client, connack) = bench.connect(Connect { version, keep_alive_s: asked_s, ..connect("c") });
        assert_eq!(connack.properties.as_ref().server_keep_alive(), told_s, "{version} {asked_s}");
        assert_eq!(client.connection.silence_limit_ms(), Some(in_force_s * 1500), "{version} {asked_s}");
    }
    let mut bench = Bench::with(BrokerConfig { max_keep_alive_s: None, ..bounds });
    let (client, connack) = bench.connect(connect("c"));
    assert_eq!(connack.properties.as_ref().server_keep_alive(), None);
    assert_eq!(client.connection.silence_limit_ms(), None, "no keep alive is longer than any");
}

#[test]
fn a_will_that_we_do_not_support() {
    // [MQTT-3.2.2-12] [MQTT-3.2.2-13]
    let config =
        BrokerConfig { max_qos: QoS::AtMostOnce, retain_available: false, ..BrokerConfig::default() };
    for (qos, retain, want) in [
        (QoS::AtLeastOnce, false, ReasonCode::QOS_NOT_SUPPORTED),
        (QoS::AtMostOnce, true, ReasonCode::RETAIN_NOT_SUPPORTED),
    ] {
        for version in [Version::V4, Version::V5] {
            let mut bench = Bench::with(config.clone());
            let mut will = will("w", 0).expect("there");
            (will.qos, will.retain) = (qos, retain);
            let mut client = bench.open(version);
            client.send(
                &mut bench,
                &Packet::Connect(Box::new(Connect { version, will: Some(will), ..connect("c") })),
            );
            assert!(client.closed);
            match (&client.read(&mut bench)[..], version) {
                ([Packet::ConnAck(connack)], Version::V5) => assert_eq!(connack.reason, want),
                ([], Version::V4) => {} // no return code says it: of 3.1.1 [MQTT-3.2.2-6]
                (other, _) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_refusal_fits_the_client() {
    // [MQTT-3.1.2-24] [MQTT-3.2.2-19]: the reason string is left out rather than sent to who cannot take it
    for (maximum_packet_size, with_reason_string, answered) in
        [(100, true, true), (20, false, true), (4, false, false)]
    {
        let mut bench = Bench::new();
        let limit = Property::MaximumPacketSize(maximum_packet_size);
        let method = Property::AuthenticationMethod("SCRAM-SHA-256");
        let properties = Properties::from_list(&[limit, method]).expect("valid");
        let mut client = bench.open(Version::V5);
        client.send(&mut bench, &Packet::Connect(Box::new(Connect { properties, ..connect("c") })));
        assert!(client.closed);
        match &client.read(&mut bench)[..] {
            [Packet::ConnAck(connack)] if answered => {
                assert_eq!(connack.reason, ReasonCode::BAD_AUTHENTICATION_METHOD);
                let reason_string = connack.properties.as_ref().reason_string();
                assert_eq!(reason_string.is_some(), with_reason_string, "{maximum_packet_size}");
            }
            [] if !answered => {}
            other => panic!("{maximum_packet_size}: {other:?}"),
        }
    }
}
