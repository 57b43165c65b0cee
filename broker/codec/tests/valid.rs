//! Packets that must be accepted, and how they are written.
//!
//! Each row names the statements of the standard that it proves; statements of 3.1.1 are marked with `3.1.1:`.

mod support;

use std::num::NonZeroU16;

use broker_codec::{
    Ack, Auth, ConnAck, Decoder, Delivery, Disconnect, EncodeError, MAX_PACKET_SIZE, Packet, PacketId, Peer,
    Properties, Property, PropertyError, PropertyId, Publish, PublishBuilder, QoS, ReasonCode,
    RetainHandling, Role, SubAck, SubscriptionOptions, TopicAlias, UnsubAck, Version,
    encode_unsupported_version,
};
use support::{VERSIONS, bytes, connected, decode_one};

#[track_caller]
fn accept(role: Role, version: Version, packet: &str) -> Packet {
    decode_one(&mut connected(role, version), &bytes(packet)).expect(packet)
}

#[track_caller]
fn accept_publish(version: Version, packet: &str) -> Publish {
    match accept(Role::Server, version, packet) {
        Packet::Publish(publish) => publish,
        other => panic!("{other:?}"),
    }
}

/// Checks that a packet is written as these bytes and read again.
#[track_caller]
fn written(packet: &Packet, version: Version, want: &str) {
    let mut out = Vec::new();
    let result = packet.encode(version, &mut out);
    assert_eq!((result, out), (Ok(bytes(want).len()), bytes(want)), "{packet:?}");
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

#[test]
fn connect_of_each_version() {
    for (packet, version, bridge) in [
        // [MQTT-3.1.2-1]
        (r#"10 0f 00 06 "MQIsdp" 03 02 00 3c 00 01 "c""#, Version::V3, false),
        (r#"10 0d 00 04 "MQTT" 04 02 00 3c 00 01 "c""#, Version::V4, false),
        (r#"10 0e 00 04 "MQTT" 05 02 00 3c 00 00 01 "c""#, Version::V5, false),
        // a bridge
        (r#"10 0f 00 06 "MQIsdp" 83 02 00 3c 00 01 "c""#, Version::V3, true),
        (r#"10 0d 00 04 "MQTT" 84 02 00 3c 00 01 "c""#, Version::V4, true),
    ] {
        let mut decoder = Decoder::server(MAX_PACKET_SIZE);
        let Ok(Packet::Connect(connect)) = decode_one(&mut decoder, &bytes(packet)) else {
            panic!("{packet}");
        };
        assert_eq!((connect.version, connect.bridge), (version, bridge), "{packet}");
        assert_eq!((connect.client_id.as_str(), connect.keep_alive_s, connect.clean_start), ("c", 60, true));
        assert_eq!(decoder.version(), Some(version));
        written(&Packet::Connect(connect), version, packet);
    }
}

/// [MQTT-3.1.3-1], [MQTT-3.1.2-9], [MQTT-3.1.2-16], [MQTT-3.1.2-18], [MQTT-3.1.3-10]
#[test]
fn connect_with_everything() {
    let packet = r#"10 35 00 04 "MQTT" 05 f6 00 0a 05 11 00 00 00 09 00 01 "c"
        13 18 00 00 00 02 26 00 01 "b" 00 01 "1" 26 00 01 "a" 00 01 "2"
        00 03 "t/w" 00 01 ff 00 01 "u" 00 02 00 ff"#;
    // the property lengths: 5 of the CONNECT, 19 of the will
    let mut packet = bytes(packet);
    packet[1] = (packet.len() - 2) as u8;
    let mut decoder = Decoder::server(MAX_PACKET_SIZE);
    let Ok(Packet::Connect(connect)) = decode_one(&mut decoder, &packet) else { panic!("not accepted") };
    assert_eq!(connect.properties.as_ref().session_expiry_interval(), Some(9));
    assert_eq!(connect.username.as_deref(), Some("u"));
    assert_eq!(connect.password.as_deref(), Some(&[0, 0xff][..]), "a password may be any bytes");
    let will = connect.will.as_ref().expect("there is a will");
    assert_eq!(
        (will.topic.as_str(), &will.payload[..], will.qos, will.retain),
        ("t/w", &[0xff][..], QoS::ExactlyOnce, true)
    );
    assert_eq!(will.properties.as_ref().will_delay_interval(), Some(2));
    let message = will.to_publish().expect("the will is valid");
    assert_eq!(message.properties().user_properties().collect::<Vec<_>>(), [("b", "1"), ("a", "2")]);
    assert!(!message.properties().contains(PropertyId::WillDelayInterval));
}

/// v5 allows a password without a user name; an empty client id is for the session to judge.
#[test]
fn connect_that_only_some_versions_allow() {
    let packet = bytes(r#"10 10 00 04 "MQTT" 05 42 00 00 00 00 00 00 01 "p""#);
    let Ok(Packet::Connect(connect)) = decode_one(&mut Decoder::server(MAX_PACKET_SIZE), &packet) else {
        panic!("not accepted");
    };
    assert_eq!((connect.username.as_ref(), connect.password.as_deref()), (None, Some(&b"p"[..])));
    assert!(connect.client_id.is_empty());
}

#[test]
fn publish_parts() {
    // [MQTT-2.2.1-2]
    let publish = accept_publish(Version::V4, r#"31 08 00 03 "a/b" "xyz""#);
    assert_eq!((publish.topic(), publish.payload_slice(), publish.packet_id()), ("a/b", &b"xyz"[..], None));
    assert!(publish.retain() && !publish.dup() && publish.properties().is_empty());
    // [MQTT-3.3.1-1]
    let publish = accept_publish(Version::V4, r#"3c 05 00 01 "a" 00 0a"#);
    assert_eq!((publish.qos(), publish.dup(), publish.packet_id()), (QoS::ExactlyOnce, true, Some(id(10))));
    // [MQTT-1.5.4-3]
    let publish = accept_publish(Version::V4, r#"30 06 00 04 ef bb bf "a""#);
    assert_eq!(publish.topic(), "\u{feff}a");
    // [MQTT-3.3.2-2] is answered with 0x90, so the packet is read
    assert!(accept_publish(Version::V5, r#"30 06 00 03 "a/+" 00"#).topic_has_wildcards());
    assert!(!accept_publish(Version::V5, r#"30 06 00 03 "a/b" 00"#).topic_has_wildcards());
    // an alias instead of a name
    let publish = accept_publish(Version::V5, r#"30 07 00 00 03 23 00 05 "x""#);
    assert_eq!((publish.topic(), publish.topic_alias()), ("", Some(5)));
    let named = publish.with_topic("a/b").expect("a topic name");
    assert_eq!((named.topic(), named.topic_alias(), named.payload_slice()), ("a/b", None, &b"x"[..]));
    // 3.1.1 does not ask for the shortest length
    assert_eq!(accept_publish(Version::V4, r#"30 84 00 00 01 "a" "x""#).payload_slice(), b"x");
}

#[test]
fn publish_properties() {
    let publish = accept_publish(
        Version::V5,
        r#"30 30 00 01 "a" 2a 01 01 02 00 00 0e 10 03 00 01 "c" 08 00 01 "r" 09 00 02 00 ff
        26 00 01 "k" 00 01 "2" 23 00 07 26 00 01 "k" 00 01 "1" 26 00 00 00 00 "xx""#,
    );
    let properties = publish.properties();
    assert_eq!(properties.payload_format_indicator(), Some(true));
    assert_eq!(properties.message_expiry_interval(), Some(3600));
    assert_eq!(properties.content_type(), Some("c"));
    assert_eq!(properties.response_topic(), Some("r"));
    assert_eq!(properties.correlation_data(), Some(&[0, 0xff][..]));
    assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "2"), ("k", "1"), ("", "")]);
    assert_eq!(publish.properties_bytes(), properties.as_bytes());
}

/// 3.1 has a DUP flag on SUBSCRIBE, UNSUBSCRIBE and PUBREL.
#[test]
fn dup_of_version_3_1() {
    for packet in [r#"8a 06 00 01 00 01 "a" 00"#, r#"aa 05 00 01 00 01 "a""#, "6a 02 00 01"] {
        accept(Role::Server, Version::V3, packet);
        assert!(decode_one(&mut connected(Role::Server, Version::V4), &bytes(packet)).is_err(), "{packet}");
    }
}

/// [MQTT-3.8.4-5]: a bad filter is answered in its own slot, so the packet is read.
#[test]
fn subscribe_with_bad_filters() {
    let packet = accept(Role::Server, Version::V5, r#"82 0f 00 01 00 00 02 "a#" 01 00 00 02 00 01 "b" 2d"#);
    let Packet::Subscribe(subscribe) = packet else { panic!("{packet:?}") };
    let filters: Vec<_> = subscribe.subscriptions.iter().map(|one| one.filter.as_str()).collect();
    assert_eq!(filters, ["a#", "", "b"]);
    assert_eq!(
        subscribe.subscriptions[2].options,
        SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        }
    );
}

/// [MQTT-2.2.2-1] and the short forms of 5.0.
#[test]
fn short_forms() {
    let ack = |reason| Ack::new(id(1), reason);
    let with_text = Properties::from_list(&[Property::ReasonString("r")]).expect("valid");
    for (packet, want) in [
        (Packet::PubAck(ack(ReasonCode::SUCCESS)), "40 02 00 01"),
        (Packet::PubRec(ack(ReasonCode::NO_MATCHING_SUBSCRIBERS)), "50 03 00 01 10"),
        (Packet::PubRel(ack(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND)), "62 03 00 01 92"),
        (
            Packet::PubComp(Ack { properties: with_text.clone(), ..ack(ReasonCode::SUCCESS) }),
            r#"70 08 00 01 00 04 1f 00 01 "r""#,
        ),
        (Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)), "e0 00"),
        (Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER)), "e0 01 8e"),
        (
            Packet::Disconnect(Disconnect { reason: ReasonCode::SUCCESS, properties: with_text }),
            r#"e0 06 00 04 1f 00 01 "r""#,
        ),
        (Packet::PingReq, "c0 00"),
        (Packet::PingResp, "d0 00"),
    ] {
        written(&packet, Version::V5, want);
    }
    for (packet, ack) in
        [("40 03 00 01 00", ReasonCode::SUCCESS), ("40 04 00 01 87 00", ReasonCode::NOT_AUTHORIZED)]
    {
        assert_eq!(
            accept(Role::Server, Version::V5, packet),
            Packet::PubAck(Ack::new(id(1), ack)),
            "{packet}"
        );
    }
}

#[test]
fn what_old_versions_do_not_say() {
    let suback = Packet::SubAck(SubAck {
        packet_id: id(1),
        properties: Properties::with_reason_string("no"),
        reasons: vec![ReasonCode::GRANTED_QOS_2, ReasonCode::NOT_AUTHORIZED],
    });
    // [MQTT-3.8.4-6], 3.1.1: [MQTT-3.9.3-2]; 3.1 has no failure code
    written(&suback, Version::V3, "90 04 00 01 02 00");
    written(&suback, Version::V4, "90 04 00 01 02 80");
    written(&suback, Version::V5, r#"90 0a 00 01 05 1f 00 02 "no" 02 87"#);
    let connack = |reason| {
        Packet::ConnAck(ConnAck {
            session_present: reason == ReasonCode::SUCCESS,
            reason,
            properties: Properties::new(),
        })
    };
    // [MQTT-3.2.2-1], [MQTT-3.2.2-2]
    written(&connack(ReasonCode::SUCCESS), Version::V3, "20 02 00 00");
    written(&connack(ReasonCode::SUCCESS), Version::V4, "20 02 01 00");
    written(&connack(ReasonCode::SUCCESS), Version::V5, "20 03 01 00 00");
    // [MQTT-3.2.2-8], 3.1.1: [MQTT-3.2.2-6]
    written(&connack(ReasonCode::BANNED), Version::V4, "20 02 00 05");
    written(&connack(ReasonCode::QUOTA_EXCEEDED), Version::V4, "20 02 00 03");
    let mut out = Vec::new();
    assert_eq!(
        connack(ReasonCode::MALFORMED_PACKET).encode(Version::V4, &mut out),
        Err(EncodeError::NoReturnCode { reason: ReasonCode::MALFORMED_PACKET, version: Version::V4 })
    );
    assert!(out.is_empty());
    // a server that does not know 5.0 answers in the form of 3.1.1
    let refused = accept(Role::Client, Version::V5, "20 02 00 01");
    assert_eq!(refused, connack(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
}

/// [MQTT-3.1.2-2]
#[test]
fn answer_to_an_unsupported_version() {
    for (level, want) in
        [(3, "20 02 00 01"), (5, "20 02 00 01"), (6, "20 03 00 84 00"), (0x85, "20 03 00 84 00")]
    {
        let mut out = Vec::new();
        encode_unsupported_version(level, &mut out);
        assert_eq!(out, bytes(want), "{level}");
    }
}

/// [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.4.2-2], [MQTT-3.4.2-3], [MQTT-3.14.2-3], [MQTT-3.14.2-4],
/// [MQTT-3.1.2-24], [MQTT-3.1.2-29]
#[test]
fn what_does_not_fit_is_left_out() {
    let properties = [Property::ReasonString("0123456789"), Property::UserProperty("k", "v")];
    let properties = Properties::from_list(&properties).expect("valid");
    let packet = Packet::PubAck(Ack { packet_id: id(1), reason: ReasonCode::QUOTA_EXCEEDED, properties });
    let kept = |maximum_packet_size, problem_information| {
        let peer = Peer { version: Version::V5, maximum_packet_size, problem_information };
        let mut out = Vec::new();
        packet.encode_for(&peer, &mut out)?;
        assert!(out.len() <= maximum_packet_size as usize);
        match decode_one(&mut connected(Role::Client, Version::V5), &out) {
            Ok(Packet::PubAck(ack)) => {
                let ids = ack.properties.iter().map(|property| property.id());
                Ok(ids.collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        }
    };
    use PropertyId::{ReasonString, UserProperty};
    assert_eq!(kept(26, true), Ok(vec![ReasonString, UserProperty]));
    assert_eq!(kept(25, true), Ok(vec![UserProperty]));
    assert_eq!(kept(13, true), Ok(vec![UserProperty]));
    assert_eq!(kept(12, true), Ok(vec![]));
    assert_eq!(kept(5, true), Ok(vec![]));
    assert_eq!(kept(1000, false), Ok(vec![]));
    let packet = packet.packet_type();
    assert_eq!(kept(4, true), Err(EncodeError::TooLarge { packet, size: 5, limit: 4 }));
}

/// [MQTT-3.2.2-19], [MQTT-3.2.2-20], and of each other answer the statements -2 and -3 of its properties:
/// [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.6.2-2], [MQTT-3.7.2-2], [MQTT-3.9.2-1], [MQTT-3.11.2-1],
/// [MQTT-3.14.2-3], [MQTT-3.15.2-2]; [MQTT-3.1.2-29]
#[test]
fn no_answer_is_larger_than_its_receiver_takes() {
    let texts = [Property::UserProperty("k", "v"), Property::ReasonString("why it is so")];
    let properties = Properties::from_list(&texts).expect("valid");
    let method = [Property::AuthenticationMethod("m"), texts[0], texts[1]];
    let of_auth = Properties::from_list(&method).expect("valid");
    let ack = Ack { packet_id: id(1), reason: ReasonCode::SUCCESS, properties: properties.clone() };
    let (packet_id, reason) = (id(1), ReasonCode::SUCCESS);
    let suback = SubAck { packet_id, properties: properties.clone(), reasons: vec![reason; 3] };
    let unsuback = UnsubAck { packet_id, properties: properties.clone(), reasons: vec![reason; 3] };
    for packet in [
        Packet::ConnAck(ConnAck { session_present: false, reason, properties: properties.clone() }),
        Packet::PubAck(ack.clone()),
        Packet::PubRec(ack.clone()),
        Packet::PubRel(ack.clone()),
        Packet::PubComp(ack),
        Packet::SubAck(suback),
        Packet::UnsubAck(unsuback),
        Packet::Disconnect(Disconnect { reason, properties }),
        Packet::Auth(Auth { reason: ReasonCode::CONTINUE_AUTHENTICATION, properties: of_auth }),
    ] {
        let whole = packet.encoded_len(Version::V5);
        for problem_information in [true, false] {
            let told = problem_information || matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(_));
            for maximum_packet_size in 1..=whole as u32 {
                let peer = Peer { version: Version::V5, maximum_packet_size, problem_information };
                let mut out = Vec::new();
                let Ok(len) = packet.encode_for(&peer, &mut out) else {
                    assert!(out.is_empty() && (maximum_packet_size as usize) < whole);
                    continue;
                };
                assert!(len == out.len() && len <= maximum_packet_size as usize, "{packet:?}");
                assert!(len < whole || told, "{packet:?}");
                let short = decode_one(&mut connected(Role::Client, Version::V5), &out).expect("a packet");
                assert_eq!(short.packet_type(), packet.packet_type());
                assert_eq!(short == packet, told && maximum_packet_size as usize == whole);
            }
        }
    }
}

#[test]
fn packets_that_cannot_be_written() {
    let wrong_property = Properties::from_list(&[Property::TopicAlias(1)]).expect("valid");
    for (packet, want) in [
        (
            Packet::Disconnect(Disconnect::new(ReasonCode::BANNED)), // [MQTT-3.14.2-1]
            "reason code 0x8A banned is not defined for DISCONNECT",
        ),
        (
            Packet::PubRel(Ack::new(id(1), ReasonCode::PACKET_IDENTIFIER_IN_USE)),
            "reason code 0x91 packet identifier in use is not defined for PUBREL",
        ),
        (
            Packet::Disconnect(Disconnect { reason: ReasonCode::SUCCESS, properties: wrong_property }),
            "topic alias is not a property of DISCONNECT",
        ),
        (
            Packet::SubAck(SubAck { packet_id: id(1), properties: Properties::new(), reasons: vec![] }),
            "SUBACK has no reason code",
        ),
    ] {
        let mut out = Vec::new();
        let error = packet.encode(Version::V5, &mut out).expect_err("cannot be written");
        assert_eq!((error.to_string().as_str(), out.len()), (want, 0));
    }
}

#[test]
fn properties_that_cannot_be_added() {
    let long = "x".repeat(65_536);
    let mut properties = Properties::from_list(&[Property::ReceiveMaximum(1)]).expect("valid");
    for (property, want) in [
        (Property::ReceiveMaximum(2), PropertyError::Duplicate { id: PropertyId::ReceiveMaximum }),
        (Property::ContentType(&long), PropertyError::TooLong { id: PropertyId::ContentType, len: 65_536 }),
        (Property::ReasonString("a\0"), PropertyError::NulInText { id: PropertyId::ReasonString, at: 1 }),
        (Property::ResponseTopic("a/#"), PropertyError::ResponseTopicInvalid),
        (
            Property::MaximumPacketSize(0),
            PropertyError::Value { id: PropertyId::MaximumPacketSize, found: 0, expected: "1 to 4294967295" },
        ),
    ] {
        assert_eq!(properties.push(property), Err(want));
    }
    assert_eq!(properties.iter().collect::<Vec<_>>(), [Property::ReceiveMaximum(1)]);
    let cleaned = Properties::with_reason_string(&format!("a\0{}ä", "x".repeat(65_533)));
    assert_eq!(cleaned.as_ref().reason_string().map(str::len), Some(65_534));
}

/// [MQTT-3.3.2-6], [MQTT-3.3.4-3], [MQTT-3.1.2-26]: the properties of the receiver.
#[test]
fn delivery_to_one_receiver() {
    let publish =
        accept_publish(Version::V5, r#"32 13 00 01 "t" 00 09 0d 02 00 00 00 64 23 00 01 03 00 02 "js""#);
    let check = |delivery: Delivery<'_>, want: &str| {
        let mut out = Vec::new();
        delivery.encode(&publish, &mut out).expect("the message is valid");
        assert_eq!(out, bytes(want), "{delivery:?}");
    };
    let v5 = Delivery { message_expiry_interval: Some(7), ..Delivery::new(Version::V5) };
    check(v5, r#"30 0e 00 01 "t" 0a 02 00 00 00 07 03 00 02 "js""#);
    check(
        Delivery { subscription_identifiers: &[1, 300], ..v5 },
        r#"30 13 00 01 "t" 0f 02 00 00 00 07 0b 01 0b ac 02 03 00 02 "js""#,
    );
    let alias = NonZeroU16::MIN.saturating_add(8);
    check(
        Delivery { topic_alias: Some(TopicAlias::Set(alias)), ..v5 },
        r#"30 11 00 01 "t" 0d 23 00 09 02 00 00 00 07 03 00 02 "js""#,
    );
    check(
        Delivery { topic_alias: Some(TopicAlias::Use(alias)), ..v5 },
        r#"30 10 00 00 0d 23 00 09 02 00 00 00 07 03 00 02 "js""#,
    );
    check(Delivery { topic: Some("m"), ..Delivery::new(Version::V4) }, r#"30 03 00 01 "m""#);
    check(
        Delivery {
            qos: QoS::AtLeastOnce,
            packet_id: Some(id(3)),
            dup: true,
            retain: true,
            ..Delivery::new(Version::V3)
        },
        r#"3b 05 00 01 "t" 00 03"#,
    );
    let mut out = Vec::new();
    let wrong = Delivery { subscription_identifiers: &[1, 268_435_456], ..v5 };
    let found = 268_435_456;
    assert_eq!(wrong.encode(&publish, &mut out), Err(EncodeError::SubscriptionIdentifier { found }));
    let unnamed = Delivery { qos: QoS::AtLeastOnce, ..Delivery::new(Version::V4) };
    assert_eq!(unnamed.encode(&publish, &mut out), Err(EncodeError::PacketIdMissing));
    assert!(out.is_empty());
}

#[test]
fn messages_that_cannot_be_built() {
    let build = |topic, properties: &Properties| {
        let builder = PublishBuilder { topic, properties: properties.as_ref(), ..PublishBuilder::default() };
        builder.build().map_err(|error| error.to_string())
    };
    let none = Properties::new();
    assert!(build("a/+", &none).is_err() && build("", &none).is_err());
    let alias = Properties::from_list(&[Property::TopicAlias(1)]).expect("valid");
    assert!(build("", &alias).is_ok());
    let wrong = Properties::from_list(&[Property::ReasonString("r")]).expect("valid");
    assert_eq!(build("a", &wrong), Err("reason string is not a property of PUBLISH".to_owned()));
}

/// A small packet is copied out of the buffer, a large one shares its memory.
#[test]
fn large_packets_are_not_copied() {
    for version in VERSIONS {
        for (len, shared) in [(100, false), (100_000, true)] {
            let payload = vec![7; len];
            let publish = PublishBuilder { topic: "t", payload: &payload, ..PublishBuilder::default() };
            let mut out = Vec::new();
            Packet::Publish(publish.build().expect("valid")).encode(version, &mut out).expect("valid");
            let mut buffer = bytes::BytesMut::from(&out[..]);
            let memory = buffer.as_ptr_range();
            match connected(Role::Server, version).decode(&mut buffer) {
                Ok(Some(Packet::Publish(publish))) => {
                    assert_eq!(memory.contains(&publish.payload_slice().as_ptr()), shared);
                    assert_eq!(publish.payload(), payload);
                    assert_eq!(publish.topic_bytes(), "t");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
