//! PUBLISH, 64 packets back to back: decoded, and decoded and written again, beside `rumqttd::protocol`.
//!
//! QoS 1, a topic of 28 bytes, a payload of 256 bytes; 3.1.1, 5.0 without properties, 5.0 with three of them.
//! Divide the times by 64 for one packet. Each codec has its way of use: ours decodes from the read buffer and
//! writes the message for a receiver; rumqttd splits the packet off and writes what it has read.

use std::hint::black_box;

use broker_codec::{
    Connect, Decoder, Delivery, Packet, PacketId, Properties, Property, PublishBuilder, QoS, Step, Version,
};
use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rumqttd::protocol::Protocol;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;

const PACKETS: usize = 64;
const TOPIC: &str = "sensors/hall-07/machine-0042";
const PAYLOAD: [u8; 256] = [b'x'; 256];
const MAX_PACKET_SIZE: usize = 1 << 20;

fn publish(criterion: &mut Criterion) {
    let properties = [
        Property::MessageExpiryInterval(3600),
        Property::ContentType("application/json"),
        Property::UserProperty("site", "berlin"),
    ];
    for (name, version, properties) in [
        ("v4", Version::V4, &[][..]),
        ("v5", Version::V5, &[]),
        ("v5_3_properties", Version::V5, &properties),
    ] {
        let input = packets(version, properties);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(PACKETS as u64));
        let decoder = connected(version);
        group.bench_function("ours/decode", |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&input[..]),
                |buffer| decode(&decoder, buffer),
                BatchSize::PerIteration,
            );
        });
        let mut out = Vec::with_capacity(2 * input.len());
        let mut peer_out = BytesMut::with_capacity(2 * input.len());
        group.bench_function("ours/decode_encode", |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&input[..]),
                |buffer| decode_encode(&decoder, buffer, version, &mut out),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("rumqttd/decode", |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&input[..]),
                |buffer| match version {
                    Version::V5 => peer_decode(V5, buffer),
                    _ => peer_decode(V4, buffer),
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function("rumqttd/decode_encode", |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(&input[..]),
                |buffer| match version {
                    Version::V5 => peer_decode_encode(V5, buffer, &mut peer_out),
                    _ => peer_decode_encode(V4, buffer, &mut peer_out),
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// Writes the packets of one read.
fn packets(version: Version, properties: &[Property<'_>]) -> Vec<u8> {
    let properties = Properties::from_list(properties).expect("the properties are valid");
    let mut out = Vec::new();
    for number in 1..=PACKETS as u16 {
        let publish = PublishBuilder {
            topic: TOPIC,
            payload: &PAYLOAD,
            properties: properties.as_ref(),
            qos: QoS::AtLeastOnce,
            packet_id: PacketId::new(number),
            ..PublishBuilder::default()
        };
        let publish = publish.build().expect("the parts are valid");
        Packet::Publish(publish).encode(version, &mut out).expect("the packet is valid");
    }
    out
}

/// Makes the decoder of a connection whose client has connected.
fn connected(version: Version) -> Decoder {
    let connect = Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "bench".into(),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    };
    let mut bytes = Vec::new();
    Packet::Connect(Box::new(connect)).encode(version, &mut bytes).expect("the packet is valid");
    let mut decoder = Decoder::server(MAX_PACKET_SIZE as u32);
    decoder.decode_slice(&bytes).expect("the packet is valid");
    decoder
}

/// Matches on the results in place: to move each packet out of its result first costs a sixth more.
fn decode(decoder: &Decoder, buffer: &mut BytesMut) {
    let mut decoder = decoder.clone();
    let mut rest = &buffer[..];
    while let Step::Packet { packet, consumed } = &decoder.decode_slice(rest).expect("the packets are valid")
    {
        black_box(packet);
        rest = &rest[*consumed..];
    }
    assert!(rest.is_empty());
}

fn decode_encode(decoder: &Decoder, buffer: &mut BytesMut, version: Version, out: &mut Vec<u8>) {
    let mut decoder = decoder.clone();
    out.clear();
    let mut rest = &buffer[..];
    while let Step::Packet { packet, consumed } = &decoder.decode_slice(rest).expect("the packets are valid")
    {
        let Packet::Publish(publish) = packet else { unreachable!("there are only these packets") };
        let delivery = Delivery {
            qos: QoS::AtLeastOnce,
            packet_id: publish.packet_id(),
            message_expiry_interval: publish.message_expiry_interval(),
            ..Delivery::new(version)
        };
        delivery.encode(publish, out).expect("the packet is valid");
        rest = &rest[*consumed..];
    }
    assert!(rest.is_empty());
    black_box(&out);
}

fn peer_decode(mut protocol: impl Protocol, buffer: &mut BytesMut) {
    for _ in 0..PACKETS {
        black_box(protocol.read_mut(buffer, MAX_PACKET_SIZE).expect("the packets are valid"));
    }
    assert!(buffer.is_empty());
}

fn peer_decode_encode(mut protocol: impl Protocol, buffer: &mut BytesMut, out: &mut BytesMut) {
    out.clear();
    for _ in 0..PACKETS {
        let packet = protocol.read_mut(buffer, MAX_PACKET_SIZE).expect("the packets are valid");
        protocol.write(packet, out).expect("the packet is valid");
    }
    black_box(&out);
}

criterion_group!(benches, publish);
criterion_main!(benches);
