//! How connections end, over real sockets: what is handled, what is sent, and who closes.

mod support;

use std::io::Write;
use std::net::TcpStream;

use broker_codec::{Connect, Disconnect, Packet, QoS, ReasonCode, Version};
use broker_core::BrokerConfig;
use broker_net::ListenerConfig;
use support::{Client, Network, connect_tcp, hello, read_to_end, until};

fn network() -> Network {
    let listener = ListenerConfig { bind: ([127, 0, 0, 1], 0).into(), ..ListenerConfig::default() };
    Network::with(BrokerConfig { max_packet_size: 1000, ..BrokerConfig::default() }, vec![listener])
}

/// The bytes of a packet, one behind the other.
fn encode(version: Version, packets: &[Packet]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        packet.encode(version, &mut bytes).expect("a packet");
    }
    bytes
}

fn connect(version: Version, client_id: &str) -> Packet {
    Packet::Connect(Box::new(Connect { version, ..hello(client_id) }))
}

/// A retained message: whether it was handled can be seen later.
fn trace() -> Packet {
    let builder = broker_codec::PublishBuilder {
        topic: "trace",
        payload: b"x",
        retain: true,
        ..broker_codec::PublishBuilder::default()
    };
    Packet::Publish(builder.build().expect("a message"))
}

/// Sends all at once, and returns what comes until the server closes.
fn exchange(network: &Network, bytes: &[u8]) -> Vec<u8> {
    let mut stream: TcpStream = connect_tcp(network.address());
    stream.write_all(bytes).expect("written");
    read_to_end(&mut stream)
}

#[test]
fn after_a_refusal_nothing_is_handled() {
    // [MQTT-3.1.4-6] [MQTT-3.2.2-7]; of 3.1.1: [MQTT-3.1.4-5] [MQTT-3.2.2-5]
    let network = network();
    let too_long = "x".repeat(300);
    for (version, refusal) in [(Version::V4, &[0x20, 2, 0, 2][..]), (Version::V5, &[0x20])] {
        let answer = exchange(&network, &encode(version, &[connect(version, &too_long), trace()]));
        assert!(answer.starts_with(refusal), "{version}: {answer:02x?}");
        assert_eq!(answer.len(), 2 + usize::from(answer[1]), "{version}: one packet");
    }
    // [MQTT-3.1.4-1]: nor after a CONNECT that is none
    for broken in [&[0xc0, 0][..], b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00"] {
        let bytes = [broken, &encode(Version::V4, &[connect(Version::V4, "c"), trace()])].concat();
        assert!(exchange(&network, &bytes).is_empty());
    }
    assert!(network.broker.retained_message("trace").is_none());
    assert!(network.broker.clients().is_empty());
}

#[test]
fn after_a_goodbye_nothing_is_handled_and_the_server_closes() {
    // [MQTT-3.14.4-1] [MQTT-3.14.4-2]; of 3.1.1: [MQTT-3.14.4-1] [MQTT-3.14.4-2]
    let network = network();
    for version in [Version::V3, Version::V4, Version::V5] {
        let goodbye = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
        let packets = [connect(version, "c"), goodbye, trace(), Packet::PingReq];
        let answer = exchange(&network, &encode(version, &packets));
        assert_eq!(answer.len(), 2 + usize::from(answer[1]), "{version}: CONNACK and nothing else");
    }
    assert!(network.broker.retained_message("trace").is_none());
}

#[test]
fn a_broken_packet_is_answered_and_the_connection_closed() {
    // [MQTT-4.13.1-1] [MQTT-4.13.2-1]; of 3.1.1: [MQTT-4.8.0-1] [MQTT-2.2.2-2]
    let network = network();
    let mut watcher = Client::connect(connect_tcp(network.address()), "watcher");
    watcher.subscribe("w");
    for (bytes, want) in [
        (&b"\x36\x06\x00\x01a\x00\x01\x00"[..], ReasonCode::MALFORMED_PACKET),
        (b"\xf1\x00", ReasonCode::MALFORMED_PACKET),
        (b"\x82\x02\x00\x00", ReasonCode::PROTOCOL_ERROR),
        (b"\x30\xff\xff\xff\x7f", ReasonCode::PACKET_TOO_LARGE),
    ] {
        let stream = connect_tcp(network.address());
        let mut raw = stream.try_clone().expect("a socket");
        let mut client = Client::connect_as(stream, "c", None, Some(("w", b"gone")));
        raw.write_all(&[bytes, &encode(Version::V5, &[trace()])].concat()).expect("written");
        assert_eq!(client.ended(), Some(want), "{bytes:02x?}");
        assert_eq!(watcher.message().payload_slice(), b"gone");
    }
    for version in [Version::V3, Version::V4] {
        let bytes = [&encode(version, &[connect(version, "c")])[..], b"\xf1\x00"].concat();
        assert_eq!(exchange(&network, &bytes), [0x20, 2, 0, 0], "{version}: closed without a word");
    }
    assert!(network.broker.retained_message("trace").is_none());
}

#[test]
fn who_is_silent_for_too_long_is_let_go() {
    // [MQTT-3.1.2-22]; of 3.1.1: [MQTT-3.1.2-24]: as if the network had failed, so the will is published
    let network = network();
    let mut watcher = Client::connect(connect_tcp(network.address()), "watcher");
    watcher.subscribe("w");
    let stream = connect_tcp(network.address());
    let mut silent = Client::connect_as_with_keep_alive(stream, "silent", 1, Some(("w", b"gone")));
    assert_eq!(silent.ended(), Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
    assert_eq!(watcher.message().payload_slice(), b"gone");
    let old = Packet::Connect(Box::new(Connect { version: Version::V4, keep_alive_s: 1, ..hello("old") }));
    assert_eq!(exchange(&network, &encode(Version::V4, &[old])), [0x20, 2, 0, 0]);
}

#[test]
fn who_pings_stays() {
    // [MQTT-3.12.4-1] [MQTT-3.1.2-22]; of 3.1.1: [MQTT-3.12.4-1]
    let network = network();
    let stream = connect_tcp(network.address());
    let mut pinging = Client::connect_as_with_keep_alive(stream, "pinging", 2, None);
    let stream = connect_tcp(network.address());
    let mut silent = Client::connect_as_with_keep_alive(stream, "silent", 3, None);
    let until_others_end = std::thread::spawn(move || silent.ended());
    while !until_others_end.is_finished() {
        pinging.send(&[Packet::PingReq]);
        assert_eq!(pinging.read(), Some(Packet::PingResp));
        std::thread::yield_now();
    }
    assert_eq!(until_others_end.join().expect("it ended"), Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
    pinging.publish("t", b"still there", QoS::AtMostOnce);
    assert!(network.broker.client("pinging").expect("connected").connected);
}

#[test]
fn the_older_connection_of_a_client_id_is_closed() {
    // [MQTT-3.1.4-3]; of 3.1.1: [MQTT-3.1.4-2]; they may be on different workers
    let network = network();
    for _ in 0..4 {
        let mut first = Client::connect(connect_tcp(network.address()), "c");
        let mut second = Client::connect(connect_tcp(network.address()), "c");
        assert_eq!(first.ended(), Some(ReasonCode::SESSION_TAKEN_OVER));
        second.send(&[Packet::PingReq]);
        assert_eq!(second.read(), Some(Packet::PingResp));
    }
    until("one is left", || network.broker.clients().iter().filter(|client| client.connected).count() <= 1);
}
