//! Property tests: every packet that can be made reads as it was written, wherever the bytes are cut; and no bytes
//! make the decoder panic.

#[path = "support/fuzz.rs"]
mod fuzz;
mod support;

use broker_codec::{
    Ack, Auth, ConnAck, Connect, ConnectReturnCode, Delivery, Disconnect, Packet, PacketId, PacketType,
    Properties, Property, PropertyId, PublishBuilder, QoS, ReasonCode, RetainHandling, Role, Step, SubAck,
    Subscribe, Subscription, SubscriptionOptions, UnsubAck, Unsubscribe, Version, Will, patch_packet_id,
};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use support::{VERSIONS, connected};

fn text() -> impl Strategy<Value = String> {
    "[a-z/$+#äß€\u{feff}🦀 ]{0,20}"
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z/$äß€🦀 ]{1,40}"
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|number| PacketId::new(number).expect("not zero"))
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<_> = (0..=255).filter_map(|number| ReasonCode::from_u8_in(number, packet)).collect();
    select(codes)
}

/// Makes properties of a packet, each with a chance, in any order.
fn properties(version: Version, allowed: &'static [PropertyId]) -> impl Strategy<Value = Properties> {
    let all =
        (vec(any::<bool>(), 40), any::<u32>(), text(), topic(), vec(any::<u8>(), 0..20), any::<usize>());
    all.prop_map(move |(chosen, number, text, topic, data, first)| {
        let mut properties = Properties::new();
        if version != Version::V5 || allowed.is_empty() {
            return properties;
        }
        for (index, chosen) in chosen.iter().enumerate().take(allowed.len()) {
            let id = allowed[first.wrapping_add(index) % allowed.len()];
            if *chosen {
                properties.push(property(id, number, &text, &topic, &data)).expect("the value is valid");
            }
        }
        if allowed.contains(&PropertyId::UserProperty) {
            for _ in 0..number % 3 {
                properties.push(Property::UserProperty(&text, &topic)).expect("the value is valid");
            }
        }
        properties
    })
}

fn property<'a>(id: PropertyId, number: u32, text: &'a str, topic: &'a str, data: &'a [u8]) -> Property<'a> {
    let flag = number % 2 == 1;
    match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(number),
        PropertyId::ContentType => Property::ContentType(text),
        PropertyId::ResponseTopic => Property::ResponseTopic(topic),
        PropertyId::CorrelationData => Property::CorrelationData(data),
        PropertyId::SubscriptionIdentifier => Property::SubscriptionIdentifier(1 + number % 268_435_455),
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(number),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(text),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(number as u16),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(text),
        PropertyId::AuthenticationData => Property::AuthenticationData(data),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(number),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag),
        PropertyId::ResponseInformation => Property::ResponseInformation(text),
        PropertyId::ServerReference => Property::ServerReference(text),
        PropertyId::ReasonString => Property::ReasonString(text),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum((number as u16).max(1)),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(number as u16),
        PropertyId::TopicAlias => Property::TopicAlias((number as u16).max(1)),
        PropertyId::MaximumQoS => Property::MaximumQoS(QoS::from_u8((number % 2) as u8).expect("0 or 1")),
        PropertyId::RetainAvailable => Property::RetainAvailable(flag),
        PropertyId::UserProperty => Property::UserProperty(text, topic),
        PropertyId::MaximumPacketSize => Property::MaximumPacketSize(number.max(1)),
        PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag),
        PropertyId::SubscriptionIdentifiersAvailable => Property::SubscriptionIdentifiersAvailable(flag),
        PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag),
    }
}

const PUBLISH: &[PropertyId] = &[
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::TopicAlias,
    PropertyId::UserProperty,
];
const ANSWER: &[PropertyId] = &[PropertyId::ReasonString, PropertyId::UserProperty];

fn will(version: Version) -> impl Strategy<Value = Will> {
    const WILL: &[PropertyId] = &[
        PropertyId::WillDelayInterval,
        PropertyId::PayloadFormatIndicator,
        PropertyId::MessageExpiryInterval,
        PropertyId::ContentType,
        PropertyId::ResponseTopic,
        PropertyId::CorrelationData,
        PropertyId::UserProperty,
    ];
    (topic(), vec(any::<u8>(), 0..40), qos(), any::<bool>(), properties(version, WILL)).prop_map(
        |(topic, payload, qos, retain, properties)| Will {
            topic,
            payload: Bytes::from(payload),
            qos,
            retain,
            properties,
        },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    const CONNECT: &[PropertyId] = &[
        PropertyId::SessionExpiryInterval,
        PropertyId::ReceiveMaximum,
        PropertyId::MaximumPacketSize,
        PropertyId::TopicAliasMaximum,
        PropertyId::RequestResponseInformation,
        PropertyId::RequestProblemInformation,
        PropertyId::AuthenticationMethod,
        PropertyId::UserProperty,
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<u16>());
    let credentials = (option::of(text()), option::of(vec(any::<u8>(), 0..20)));
    (flags, text(), option::of(will(version)), credentials, properties(version, CONNECT)).prop_map(
        move |((bridge, clean_start, keep_alive_s), client_id, will, (username, password), properties)| {
            let v5 = version == Version::V5;
            Packet::Connect(Box::new(Connect {
                version,
                bridge: bridge && !v5,
                clean_start,
                keep_alive_s,
                client_id,
                will,
                password: password.filter(|_| v5 || username.is_some()).map(Bytes::from),
                username,
                properties,
            }))
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = Packet> {
    let flags = (qos(), any::<bool>(), any::<bool>(), packet_id());
    (flags, topic(), vec(any::<u8>(), 0..6000), properties(version, PUBLISH)).prop_map(
        |((qos, retain, dup, packet_id), topic, payload, properties)| {
            let acknowledged = qos != QoS::AtMostOnce;
            let publish = PublishBuilder {
                topic: &topic,
                payload: &payload,
                properties: properties.as_ref(),
                qos,
                retain,
                dup: dup && acknowledged,
                packet_id: acknowledged.then_some(packet_id),
            };
            Packet::Publish(publish.build().expect("the parts are valid"))
        },
    )
}

fn ack(version: Version, packet: PacketType, make: fn(Ack) -> Packet) -> impl Strategy<Value = Packet> {
    (packet_id(), reason(packet), properties(version, ANSWER)).prop_map(
        move |(packet_id, reason, properties)| match version {
            Version::V5 => make(Ack { packet_id, reason, properties }),
            _ => make(Ack::new(packet_id, ReasonCode::SUCCESS)),
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    (reason(PacketType::Disconnect), properties(version, ANSWER)).prop_map(move |(reason, properties)| {
        Packet::Disconnect(match version {
            Version::V5 => Disconnect { reason, properties },
            _ => Disconnect::new(ReasonCode::NORMAL_DISCONNECTION),
        })
    })
}

fn auth() -> impl Strategy<Value = Packet> {
    (text(), vec(any::<u8>(), 0..20)).prop_map(|(method, data)| {
        let properties = [Property::AuthenticationMethod(&method), Property::AuthenticationData(&data)];
        Packet::Auth(Auth {
            reason: ReasonCode::CONTINUE_AUTHENTICATION,
            properties: Properties::from_list(&properties).expect("the values are valid"),
        })
    })
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
    let subscription = (text(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| {
            let options = SubscriptionOptions {
                qos,
                no_local: no_local && !filter.starts_with('$'),
                retain_as_published,
                retain_handling,
            };
            let options = if version == Version::V5 { options } else { SubscriptionOptions::with_qos(qos) };
            Subscription { filter, options }
        },
    );
    let identifier: &[PropertyId] = &[PropertyId::SubscriptionIdentifier, PropertyId::UserProperty];
    (packet_id(), properties(version, identifier), vec(subscription, 1..4)).prop_map(
        |(packet_id, properties, subscriptions)| {
            Packet::Subscribe(Subscribe { packet_id, properties, subscriptions })
        },
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), properties(version, &[PropertyId::UserProperty]), vec(text(), 1..4)).prop_map(
        |(packet_id, properties, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
        },
    )
}

/// Makes packets that a client sends after CONNECT.
fn from_client(version: Version) -> impl Strategy<Value = Packet> {
    let auth = if version == Version::V5 { auth().boxed() } else { Just(Packet::PingReq).boxed() };
    prop_oneof![
        publish(version),
        ack(version, PacketType::PubAck, Packet::PubAck),
        ack(version, PacketType::PubRec, Packet::PubRec),
        ack(version, PacketType::PubRel, Packet::PubRel),
        ack(version, PacketType::PubComp, Packet::PubComp),
        subscribe(version),
        unsubscribe(version),
        Just(Packet::PingReq),
        disconnect(version),
        auth,
    ]
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    const CONNACK: &[PropertyId] = &[
        PropertyId::SessionExpiryInterval,
        PropertyId::ReceiveMaximum,
        PropertyId::MaximumQoS,
        PropertyId::RetainAvailable,
        PropertyId::MaximumPacketSize,
        PropertyId::AssignedClientIdentifier,
        PropertyId::TopicAliasMaximum,
        PropertyId::ReasonString,
        PropertyId::WildcardSubscriptionAvailable,
        PropertyId::SubscriptionIdentifiersAvailable,
        PropertyId::SharedSubscriptionAvailable,
        PropertyId::ServerKeepAlive,
        PropertyId::ResponseInformation,
        PropertyId::ServerReference,
        PropertyId::AuthenticationMethod,
        PropertyId::AuthenticationData,
        PropertyId::UserProperty,
    ];
    (any::<bool>(), reason(PacketType::ConnAck), 0..=5u8, properties(version, CONNACK)).prop_map(
        move |(session_present, reason, code, properties)| {
            let code = ConnectReturnCode::from_u8(code).expect("0 to 5 are defined");
            let reason = if version == Version::V5 { reason } else { code.reason_code() };
            let session_present = session_present && reason == ReasonCode::SUCCESS && version != Version::V3;
            Packet::ConnAck(ConnAck { session_present, reason, properties })
        },
    )
}

fn suback(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), properties(version, ANSWER), vec(reason(PacketType::SubAck), 1..5)).prop_map(
        move |(packet_id, properties, mut reasons)| {
            for reason in &mut reasons {
                match version {
                    Version::V3 if reason.is_error() => *reason = ReasonCode::GRANTED_QOS_0,
                    Version::V4 if reason.is_error() => *reason = ReasonCode::UNSPECIFIED_ERROR,
                    _ => {}
                }
            }
            Packet::SubAck(SubAck { packet_id, properties, reasons })
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet> {
    (packet_id(), properties(version, ANSWER), vec(reason(PacketType::UnsubAck), 1..5)).prop_map(
        move |(packet_id, properties, reasons)| {
            let reasons = if version == Version::V5 { reasons } else { Vec::new() };
            Packet::UnsubAck(UnsubAck { packet_id, properties, reasons })
        },
    )
}

/// Makes packets that a server sends.
fn from_server(version: Version) -> impl Strategy<Value = Packet> {
    let only_v5 = match version {
        Version::V5 => prop_oneof![auth(), disconnect(version)].boxed(),
        _ => Just(Packet::PingResp).boxed(),
    };
    prop_oneof![
        connack(version),
        publish(version),
        ack(version, PacketType::PubAck, Packet::PubAck),
        ack(version, PacketType::PubRec, Packet::PubRec),
        ack(version, PacketType::PubRel, Packet::PubRel),
        ack(version, PacketType::PubComp, Packet::PubComp),
        suback(version),
        unsuback(version),
        Just(Packet::PingResp),
        only_v5,
    ]
}

/// Makes a role, a version, and packets that come in there.
fn conversation() -> impl Strategy<Value = (Role, Version, Vec<Packet>)> {
    (select(vec![Role::Server, Role::Client]), select(VERSIONS.to_vec())).prop_flat_map(|(role, version)| {
        let packets = match role {
            Role::Server => vec(from_client(version), 1..6).boxed(),
            Role::Client => vec(from_server(version), 1..6).boxed(),
        };
        (Just(role), Just(version), packets)
    })
}

proptest! {
    #[test]
    fn packets_read_as_they_were_written((role, version, packets) in conversation(), cut in any::<usize>()) {
        let mut bytes = Vec::new();
        for packet in &packets {
            let start = bytes.len();
            let len = packet.encode(version, &mut bytes).expect("the packet is valid");
            prop_assert_eq!(len, bytes.len() - start);
            prop_assert_eq!(len, packet.encoded_len(version));
        }
        // in one piece, and cut in two
        let cut = cut % bytes.len();
        let mut decoder = connected(role, version);
        let mut read = Vec::new();
        let mut at = 0;
        for end in [cut, bytes.len()] {
            loop {
                match decoder.decode_slice(&bytes[at..end]).expect("the packets are valid") {
                    Step::Packet { packet, consumed } => {
                        read.push(packet);
                        at += consumed;
                    }
                    Step::Incomplete { needed } => {
                        prop_assert!(needed > end - at);
                        break;
                    }
                }
            }
        }
        prop_assert_eq!(&read, &packets);
        let mut decoder = connected(role, version);
        let mut buffer = BytesMut::new();
        let mut read = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            buffer.extend_from_slice(part);
            while let Some(packet) = decoder.decode(&mut buffer).expect("the packets are valid") {
                read.push(packet);
            }
        }
        prop_assert_eq!(&read, &packets);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn connect_reads_as_it_was_written(packet in select(VERSIONS.to_vec()).prop_flat_map(connect)) {
        let Packet::Connect(connect) = &packet else { unreachable!() };
        let mut bytes = Vec::new();
        packet.encode(connect.version, &mut bytes).expect("the packet is valid");
        let mut decoder = broker_codec::Decoder::server(1 << 20);
        for end in 0..bytes.len() {
            let incomplete = matches!(decoder.decode_slice(&bytes[..end]), Ok(Step::Incomplete { .. }));
            prop_assert!(incomplete, "{} of {} bytes", end, bytes.len());
        }
        let step = decoder.decode_slice(&bytes).expect("the packet is valid");
        prop_assert_eq!(step, Step::Packet { packet: packet.clone(), consumed: bytes.len() });
    }

    /// What a receiver gets is the message: topic, payload, and the properties that are forwarded, in order
    /// ([MQTT-3.3.2-4], -15, -16, -17, -18, -20).
    #[test]
    fn deliveries_carry_the_message(
        packet in select(VERSIONS.to_vec()).prop_flat_map(|version| (publish(version), Just(version))),
        version in select(VERSIONS.to_vec()),
        qos in qos(),
        interval in option::of(any::<u32>()),
        identifiers in vec(1..=268_435_455u32, 0..3),
        from_wire in any::<bool>(),
    ) {
        let (packet, source) = packet;
        let Packet::Publish(mut publish) = packet.clone() else { unreachable!() };
        if from_wire {
            let mut bytes = Vec::new();
            packet.encode(source, &mut bytes).expect("the packet is valid");
            publish = match support::decode_one(&mut connected(Role::Server, source), &bytes) {
                Ok(Packet::Publish(publish)) => publish,
                other => panic!("{other:?}"),
            };
        }
        let delivery = Delivery {
            qos,
            packet_id: PacketId::new(7),
            retain: true,
            subscription_identifiers: &identifiers,
            message_expiry_interval: interval,
            ..Delivery::new(version)
        };
        let mut out = b"before".to_vec();
        let encoded = delivery.encode(&publish, &mut out).expect("the message is valid");
        prop_assert_eq!(encoded.len, out.len() - 6);
        prop_assert_eq!(encoded.len, delivery.encoded_len(&publish));
        let mut head = Vec::new();
        let head_encoded = delivery.encode_head(&publish, &mut head).expect("the message is valid");
        prop_assert_eq!(head_encoded.packet_id_at, encoded.packet_id_at);
        prop_assert_eq!(head_encoded.len, head.len());
        prop_assert_eq!(&[&head[..], publish.payload_slice()].concat(), &out[6..]);
        if let Some(at) = encoded.packet_id_at {
            patch_packet_id(&mut out[6..], at, PacketId::MAX);
        }
        let got = match support::decode_one(&mut connected(Role::Client, version), &out[6..]) {
            Ok(Packet::Publish(got)) => got,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(got.topic(), publish.topic());
        prop_assert_eq!(got.payload_slice(), publish.payload_slice());
        prop_assert_eq!(got.qos(), qos);
        prop_assert_eq!(got.packet_id(), (qos != QoS::AtMostOnce).then_some(PacketId::MAX));
        prop_assert!(got.retain() && !got.dup());
        if version != Version::V5 {
            prop_assert!(got.properties().is_empty());
            return Ok(());
        }
        prop_assert_eq!(got.message_expiry_interval(), interval);
        prop_assert_eq!(got.topic_alias(), None);
        prop_assert_eq!(got.properties().subscription_identifiers().collect::<Vec<_>>(), identifiers);
        let own = |property: &Property| !matches!(
            property.id(),
            PropertyId::MessageExpiryInterval | PropertyId::TopicAlias | PropertyId::SubscriptionIdentifier
        );
        let kept: Vec<_> = publish.properties().iter().filter(own).collect();
        prop_assert_eq!(got.properties().iter().filter(own).collect::<Vec<_>>(), kept);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..200)) {
        fuzz::check(&bytes);
    }

    #[test]
    fn no_change_of_a_packet_makes_the_decoder_panic(
        (role, version, packets) in conversation(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let start = match (role, version) {
            (Role::Client, Version::V3) => 1,
            (Role::Client, Version::V4) => 2,
            (Role::Client, Version::V5) => 3,
            (Role::Server, Version::V3) => 4,
            (Role::Server, Version::V4) => 5,
            (Role::Server, Version::V5) => 6,
        };
        let mut bytes = vec![start];
        for packet in &packets {
            packet.encode(version, &mut bytes).expect("the packet is valid");
        }
        fuzz::check(&bytes);
        for (index, byte) in changes {
            let at = 1 + index.index(bytes.len() - 1);
            bytes[at] = byte;
        }
        fuzz::check(&bytes);
    }
}
