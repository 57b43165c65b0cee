//! CONNECT and CONNACK.

use broker_codec::{Connect, Packet, Properties, Property, QoS, ReasonCode, Version};
use broker_core::BrokerConfig;

use crate::support::{Bench, bytes, connect, message, resume, will};

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

#[test]
fn what_a_first_packet_is_answered_with() {
    for (packet, answer) in [
        // [MQTT-3.1.0-1]: who begins with something else is no client of ours
        ("c0 00", ""),
        (r#"30 03 00 01 "a""#, ""),
        (r#""GET / HTTP/1.1""#, ""),
        // [MQTT-3.1.2-1]
        (r#"10 0c 00 04 "HTTP" 04 02 00 00 00 00"#, ""),
        (r#"10 0d 00 04 "mqtt" 05 02 00 00 00 00 00"#, ""),
        // [MQTT-3.1.2-2]: in the form that such a client may know
        (r#"10 0c 00 04 "MQTT" 03 02 00 00 00 00"#, "20 02 00 01"),
        (r#"10 0c 00 04 "MQTT" 06 02 00 00 00 00"#, "20 03 00 84 00"),
        // of 3.1.1: [MQTT-3.1.4-1] without a CONNACK, as no return code says it: [MQTT-3.2.2-6]
        (r#"10 0c 00 04 "MQTT" 04 03 00 00 00 00"#, ""), // [MQTT-3.1.2-3]
        (r#"10 0c 00 04 "MQTT" 04 06 00 00 00 00"#, ""), // [MQTT-3.1.2-9]
        (r#"10 0c 00 04 "MQTT" 04 0a 00 00 00 00"#, ""), // [MQTT-3.1.2-13]
        (r#"10 0d 00 04 "MQTT" 04 02 00 00 00 01 ff"#, ""), // [MQTT-3.1.3-4]
        // 5.0: [MQTT-3.1.4-1] [MQTT-4.13.1-1]
        (r#"10 0d 00 04 "MQTT" 05 03 00 00 00 00 00"#, r#"20 16 00 81 13 1f 00 10 "malformed packet""#),
        (r#"10 0d 00 04 "MQTT" 05 1e 00 00 00 00 00"#, r#"20 16 00 81 13 1f 00 10 "malformed packet""#),
        (r#"10 0e 00 04 "MQTT" 05 02 00 00 00 00 01 ff"#, r#"20 16 00 81 13 1f 00 10 "malformed packet""#),
        (
            r#"10 10 00 04 "MQTT" 05 02 00 00 03 21 00 00 00 00"#, // Receive Maximum 0
            r#"20 14 00 82 11 1f 00 0e "protocol error""#,
        ),
        (
            r#"10 12 00 04 "MQTT" 05 06 00 00 00 00 00 00 00 01 "+" 00 00"#, // a will topic with a wildcard
            r#"20 14 00 90 11 1f 00 0e "protocol error""#,
        ),
    ] {
        let mut bench = Bench::new();
        let mut client = bench.open(Version::V5);
        client.send_bytes(&mut bench, &bytes(packet));
        assert_eq!(client.read_bytes(&mut bench), bytes(answer), "{packet}");
        assert!(client.closed, "{packet}");
        assert!(bench.broker.clients().is_empty());
    }
}

#[test]
fn every_client_id_that_the_standard_names_is_accepted() {
    // [MQTT-3.1.3-5]; of 3.1.1: [MQTT-3.1.3-5]
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let single = alphabet.chars().map(String::from);
    let longest = (0..=alphabet.len() - 23).map(|at| alphabet[at..at + 23].to_owned());
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut bench = Bench::new();
        for client_id in single.clone().chain(longest.clone()) {
            let (_, connack) = bench.connect(Connect { version, ..connect(&client_id) });
            assert_eq!(connack.reason, ReasonCode::SUCCESS, "{version} {client_id}");
            assert!(bench.broker.client(&client_id).is_some());
        }
    }
}

#[test]
fn a_client_id_that_is_too_long_is_refused() {
    // [MQTT-3.1.3-8]; of 3.1.1: [MQTT-3.1.3-9]
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::with(BrokerConfig { max_client_id_len: 30, ..BrokerConfig::default() });
        let longest = "ä".repeat(15); // counted in bytes
        let (_, connack) = bench.connect(Connect { version, ..connect(&longest) });
        assert_eq!(connack.reason, ReasonCode::SUCCESS);
        let (client, connack) = bench.connect(Connect { version, ..connect(&format!("{longest}x")) });
        assert_eq!(connack.reason, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        assert!(client.closed && !connack.session_present);
    }
}

#[test]
fn client_ids_are_told_apart_byte_by_byte() {
    // [MQTT-3.1.3-2]
    let mut bench = Bench::new();
    for client_id in ["c", "C", "c ", "\u{e9}", "e\u{301}", "\u{feff}c"] {
        let (_, connack) = bench.connect(resume(client_id));
        assert!(!connack.session_present, "{client_id:?}");
    }
    assert_eq!(bench.broker.clients().len(), 6);
    assert!(bench.outlets.closed.lock().expect("not poisoned").is_empty(), "nobody was taken over");
}

#[test]
fn who_is_not_let_in_is_told_and_let_go() {
    // [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-4.13.2-1]; of 3.1.1: [MQTT-3.2.2-4] [MQTT-3.2.2-5]
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let wish = Connect { version, clean_start: false, ..connect("c") };
        let (_known, _) = bench.connect_from(wish.clone(), [127, 0, 0, 1]);
        // nobody vouches for who comes from elsewhere
        let (mut client, connack) = bench.connect_from(wish, [192, 0, 2, 1]);
        assert_eq!(
            (connack.reason, connack.session_present),
            (ReasonCode::NOT_AUTHORIZED, false),
            "{version}"
        );
        assert!(client.closed);
        assert!(client.read(&mut bench).is_empty(), "one CONNACK and nothing else");
    }
}

#[test]
fn there_is_no_enhanced_authentication() {
    // [MQTT-4.12.0-1]: a method that we do not know; nothing is ever asked for with AUTH
    let mut bench = Bench::new();
    let method = [Property::AuthenticationMethod("SCRAM-SHA-256"), Property::AuthenticationData(b"hello")];
    let properties = Properties::from_list(&method).expect("valid");
    let (client, connack) = bench.connect(Connect { properties, ..connect("c") });
    assert_eq!(connack.reason, ReasonCode::BAD_AUTHENTICATION_METHOD);
    assert_eq!(connack.properties.as_ref().authentication_method(), None);
    assert!(client.closed);
    // [MQTT-4.12.0-6] [MQTT-4.12.0-7] [MQTT-4.12.1-2]: without a method, at the beginning and later
    for auth in [r#"f0 09 18 07 15 00 04 "PLAI""#, r#"f0 09 19 07 15 00 04 "PLAI""#] {
        let (mut client, connack) = bench.connect(connect("d"));
        assert_eq!(connack.properties.as_ref().authentication_method(), None);
        client.send_bytes(&mut bench, &bytes(auth));
        let Packet::Disconnect(goodbye) = client.read_one(&mut bench) else { panic!("no DISCONNECT") };
        assert_eq!(goodbye.reason, ReasonCode::PROTOCOL_ERROR);
        assert!(client.closed);
    }
}

#[test]
fn response_information_is_not_sent_to_who_did_not_ask() {
    // [MQTT-3.1.2-28]
    for property in [None, Some(false)] {
        let mut bench = Bench::new();
        let list: Vec<_> = property.into_iter().map(Property::RequestResponseInformation).collect();
        let properties = Properties::from_list(&list).expect("valid");
        let (_, connack) = bench.connect(Connect { properties, ..connect("c") });
        assert_eq!(connack.properties.as_ref().response_information(), None);
    }
}

#[test]
fn an_assigned_client_id_belongs_to_nobody_else() {
    // [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
    let mut bench = Bench::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (mut client, connack) = bench.connect(connect(""));
        let client_id = connack.properties.as_ref().assigned_client_identifier().expect("there").to_owned();
        // as if the client had named it
        client.subscribe(&mut bench, "t", QoS::AtMostOnce);
        assert_eq!(bench.broker.subscriptions_of(&client_id).expect("known").len(), 1);
        assert!(seen.insert(client_id));
    }
}

#[test]
fn retained_messages_outlive_the_session_of_their_publisher() {
    // of 3.1.1: [MQTT-3.1.2-7]
    let mut bench = Bench::new();
    let (mut publisher, _) = bench.connect(Connect { version: Version::V4, ..connect("p") });
    publisher.send(&mut bench, &message("t", "kept", QoS::AtMostOnce, 0, true));
    publisher.vanish(&mut bench);
    assert!(bench.broker.client("p").is_none());
    let mut client = bench.client("c");
    client.subscribe(&mut bench, "t", QoS::AtMostOnce);
    assert_eq!(client.read_payloads(&mut bench), ["kept"]);
}
