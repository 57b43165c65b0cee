//! Packets that break the rules: what the client is told, and that the connection ends.

use broker_codec::{Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use broker_core::BrokerConfig;

use crate::support::{Bench, bytes, connect, message};

/// Checks what a connected client is told of a packet before its connection ends; a client of MQTT 3 is told nothing.
#[track_caller]
fn check(packet: &str, want: ReasonCode) {
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::with(BrokerConfig { max_packet_size: 100, ..BrokerConfig::default() });
        let mut client = bench.open(version);
        client.send(&mut bench, &Packet::Connect(Box::new(Connect { version, ..connect("c") })));
        assert_eq!(client.read(&mut bench).len(), 1, "CONNACK");
        client.send_bytes(&mut bench, &bytes(packet));
        assert!(client.closed, "{version} {packet}");
        match (&client.read(&mut bench)[..], version) {
            ([Packet::Disconnect(goodbye)], Version::V5) => {
                assert_eq!(goodbye.reason, want, "{packet}");
                assert!(goodbye.properties.as_ref().reason_string().is_some(), "{packet}: no word of why");
                assert_eq!(goodbye.properties.as_ref().session_expiry_interval(), None); // [MQTT-3.14.2-2]
            }
            ([], Version::V4) => {}
            (other, _) => panic!("{version} {packet}: {other:?}"),
        }
        assert!(bench.broker.client("c").is_none(), "{version} {packet}: the session is gone");
        // a client that kept to the rules goes on
        let mut healthy = bench.client("healthy");
        healthy.send(&mut bench, &Packet::PingReq);
        assert_eq!(healthy.read_one(&mut bench), Packet::PingResp);
    }
}

#[test]
fn malformed_packets() {
    // [MQTT-4.13.1-1] [MQTT-4.13.2-1]; of 3.1.1: [MQTT-4.8.0-1] [MQTT-4.8.0-2]
    for packet in [
        "00 00",                       // no packet type
        "c1 00",                       // [MQTT-2.1.3-1]
        "60 02 00 01",                 // [MQTT-3.6.1-1]
        r#"80 06 00 01 00 01 "a" 00"#, // [MQTT-3.8.1-1]
        r#"a0 05 00 01 00 01 "a""#,    // [MQTT-3.10.1-1]
        "e1 00",                       // [MQTT-3.14.1-1]
        "f1 00",                       // [MQTT-3.15.1-1]
        r#"36 06 00 01 "a" 00 01 00"#, // [MQTT-3.3.1-4]
        r#"38 04 00 01 "a" 00"#,       // [MQTT-3.3.1-2]
        "30 06 00 03 ed a0 80 00",     // [MQTT-1.5.4-1]
        r#"30 05 00 02 "a" 00 00"#,    // [MQTT-1.5.4-2]
        "c0 80 80 80 80 00",           // [MQTT-1.5.5-1]
        "c0 01 00",
        "40 01 00",
    ] {
        check(packet, ReasonCode::MALFORMED_PACKET);
    }
}

#[test]
fn breaches_of_the_protocol() {
    // [MQTT-4.13.1-1]
    for packet in [
        "20 02 00 00",    // only a server sends CONNACK
        "90 03 00 01 00", // nor SUBACK
        "d0 00",          // nor PINGRESP
        "82 02 00 00",    // [MQTT-2.2.1-3]
        "40 02 00 00",
        r#"32 06 00 01 "a" 00 00 00"#,
    ] {
        check(packet, ReasonCode::PROTOCOL_ERROR);
    }
    check("30 80 02", ReasonCode::PACKET_TOO_LARGE); // [MQTT-3.2.2-15]
}

#[test]
fn a_topic_that_is_no_name_of_a_topic() {
    // [MQTT-3.3.2-2] [MQTT-4.7.0-1]; of 3.1.1: [MQTT-3.3.2-2] [MQTT-4.7.1-1]
    check(r#"30 05 00 02 "a#" 00"#, ReasonCode::TOPIC_NAME_INVALID);
    check(r#"30 05 00 02 "+a" 00"#, ReasonCode::TOPIC_NAME_INVALID);
    let mut bench = Bench::new();
    let (mut old, _) = bench.connect(Connect { version: Version::V4, ..connect("old") });
    old.send_bytes(&mut bench, &bytes(r#"32 07 00 03 "a/+" 00 09"#));
    assert!(old.closed, "no answer of 3.1.1 says it");
    assert!(old.read(&mut bench).is_empty());
}

#[test]
fn the_largest_packet_that_may_come() {
    // [MQTT-3.2.2-15]: the whole packet counts, and one as large as the limit is taken
    let mut bench = Bench::with(BrokerConfig { max_packet_size: 100, ..BrokerConfig::default() });
    let (mut client, connack) = bench.connect(connect("c"));
    assert_eq!(connack.properties.as_ref().maximum_packet_size(), Some(100));
    client.subscribe(&mut bench, "t", QoS::AtMostOnce);
    // 2 + 3 + 1 bytes before the payload
    client.send(&mut bench, &message("t", &"x".repeat(94), QoS::AtMostOnce, 0, false));
    assert_eq!(client.read_messages(&mut bench)[0].payload_slice().len(), 94);
    client.send(&mut bench, &message("t", &"x".repeat(95), QoS::AtMostOnce, 0, false));
    let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::PACKET_TOO_LARGE);
}

#[test]
fn a_connect_that_is_too_large_is_answered_as_such() {
    // [MQTT-3.2.2-15] [MQTT-3.14.0-1]: with CONNACK
    let mut bench = Bench::with(BrokerConfig { max_packet_size: 100, ..BrokerConfig::default() });
    let mut client = bench.open(Version::V5);
    let properties = Properties::from_list(&[Property::UserProperty("x", &"x".repeat(100))]).expect("valid");
    client.send(&mut bench, &Packet::Connect(Box::new(Connect { properties, ..connect("c") })));
    let Packet::ConnAck(connack) = client.read_one(&mut bench) else { panic!("no CONNACK") };
    assert_eq!(connack.reason, ReasonCode::PACKET_TOO_LARGE);
    assert!(client.closed);
}
