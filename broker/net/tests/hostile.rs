//! Peers that send anything, over real sockets, beside clients that exchange messages.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use broker_codec::QoS;
use broker_core::BrokerConfig;
use broker_net::{ListenerConfig, WebSocketConfig};
use fastrand::Rng;
use support::{Client, Network, connect_bytes, connect_tcp, until, websocket};

fn loopback() -> ListenerConfig {
    ListenerConfig { bind: ([127, 0, 0, 1], 0).into(), ..ListenerConfig::default() }
}

/// Packets that a client may send, to be spoilt: SUBSCRIBE, PUBLISH of each QoS, answers, UNSUBSCRIBE, PINGREQ.
const PACKETS: [&[u8]; 9] = [
    b"\x82\x06\x00\x01\x00\x01#\x00",
    b"\x82\x0f\x00\x01\x00\x0a$share/g/a\x01",
    b"\x30\x04\x00\x01ax",
    b"\x33\x06\x00\x01a\x00\x01x",
    b"\x34\x06\x00\x01a\x00\x02x",
    b"\x62\x02\x00\x02",
    b"\x40\x02\x00\x01",
    b"\xa2\x05\x00\x01\x00\x01#",
    b"\xc0\x00",
];

/// What a hostile peer sends: mostly a CONNECT, then packets of which some are none.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = if rng.u8(..8) == 0 { Vec::new() } else { connect_bytes(&format!("h{}", rng.u8(..5))) };
    for _ in 0..rng.usize(..20) {
        let mut packet = PACKETS[rng.usize(..PACKETS.len())].to_vec();
        if rng.u8(..8) == 0 {
            let at = rng.usize(..packet.len());
            packet[at] = rng.u8(..);
        }
        bytes.extend(packet);
    }
    if rng.u8(..4) == 0 {
        bytes.extend((0..rng.usize(..200)).map(|_| rng.u8(..)));
    }
    bytes
}

/// Sends bytes, in pieces, and ends in one way or another. What the server does with the connection meanwhile is its
/// business.
fn attack(address: SocketAddr, over_websocket: bool, rng: &mut Rng) {
    let stream = connect_tcp(address);
    let end = stream.try_clone().expect("a socket");
    let bytes = bytes(rng);
    let cut = rng.usize(..=bytes.len());
    let mut pipe: Box<dyn ReadWrite> =
        if over_websocket { Box::new(websocket(stream, "/mqtt", "mqtt")) } else { Box::new(stream) };
    for part in [&bytes[..cut], &bytes[cut..]] {
        if pipe.write_all(part).is_err() {
            return; // it is closed already
        }
    }
    match rng.u8(..3) {
        0 => drop(end.shutdown(Shutdown::Both)),
        1 => drop(end.shutdown(Shutdown::Write)),
        _ => {
            // a client that reads some of it and goes
            end.shutdown(Shutdown::Write).ok();
            let _ = pipe.read(&mut [0; 10]);
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn hostile_peers_harm_nobody() {
    let over_websocket = ListenerConfig { websocket: Some(WebSocketConfig::default()), ..loopback() };
    let config = BrokerConfig { session_expiry_interval_s: 1, ..BrokerConfig::default() };
    let network = Network::with(config, vec![loopback(), over_websocket]);
    let addresses = [network.status("tcp:default"), network.status("ws:default")]
        .map(|listener| listener.address.expect("it listens"));
    let mut subscriber = Client::connect(connect_tcp(addresses[0]), "subscriber");
    subscriber.subscribe("well/#");
    let mut publisher = Client::connect(connect_tcp(addresses[0]), "publisher");
    let mut rng = Rng::with_seed(1);
    for number in 0..400_u32 {
        let which = rng.usize(..2);
        attack(addresses[which], which == 1, &mut rng);
        publisher.publish("well/1", &number.to_be_bytes(), QoS::AtMostOnce);
        assert_eq!(subscriber.message().payload_slice(), number.to_be_bytes());
    }
    until("hostile peers are gone", || {
        network.broker.stats().get("live_connections.count") == Some(2)
            && network.status("tcp:default").current_connections == 2
            && network.status("ws:default").current_connections == 0
    });
    until("their sessions have ended", || network.broker.clients().len() == 2);
    assert_eq!(network.broker.subscriptions().len(), 1);
}
