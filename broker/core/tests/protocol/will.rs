//! Wills.

use broker_codec::{Connect, Disconnect, Packet, QoS, ReasonCode, Version};
use broker_core::CloseReason;

use crate::support::{Bench, Client, connect, resume, will, with_expiry};

fn watcher(bench: &mut Bench) -> Client {
    let mut watcher = bench.client("watcher");
    watcher.subscribe(bench, "w", QoS::AtMostOnce);
    watcher
}

#[test]
fn a_takeover_that_ends_the_session_publishes_a_delayed_will() {
    // 3.1.3.2.2 and 3.1.4: the session ends before the delay has passed
    for (expiry_s, clean_start, due) in
        [(0, false, true), (0, true, true), (60, true, true), (60, false, false)]
    {
        let mut bench = Bench::new();
        let mut watcher = watcher(&mut bench);
        bench.connect(Connect { will: will("w", 30), ..with_expiry("c", expiry_s) });
        bench.connect(Connect { clean_start, ..with_expiry("c", 60) });
        let got = watcher.read(&mut bench).len();
        assert_eq!(got, usize::from(due), "expiry {expiry_s}, clean start {clean_start}");
    }
}

#[test]
fn a_takeover_publishes_a_will_without_delay() {
    // [MQTT-3.1.4-3]
    let mut bench = Bench::new();
    let mut watcher = watcher(&mut bench);
    bench.connect(Connect { will: will("w", 0), ..resume("c") });
    bench.connect(resume("c"));
    assert_eq!(watcher.read_payloads(&mut bench), ["gone"]);
}

#[test]
fn a_delayed_will_waits_and_a_return_cancels_it() {
    // [MQTT-3.1.2-8] [MQTT-3.1.3-9]
    let mut bench = Bench::new();
    let mut watcher = watcher(&mut bench);
    let with_will = || Connect { will: will("w", 10), clean_start: false, ..with_expiry("c", 60) };
    let (client, _) = bench.connect(with_will());
    client.vanish(&mut bench);
    bench.advance_ms(9_000);
    let (client, _) = bench.connect(with_will());
    bench.advance_ms(5_000);
    assert!(watcher.read(&mut bench).is_empty());
    client.vanish(&mut bench);
    bench.advance_ms(9_900);
    assert!(watcher.read(&mut bench).is_empty());
    bench.advance_ms(100);
    assert_eq!(watcher.read_payloads(&mut bench), ["gone"]);
    bench.advance_ms(100_000);
    assert!(watcher.read(&mut bench).is_empty()); // [MQTT-3.1.2-10]
}

#[test]
fn the_end_of_the_session_comes_before_a_long_delay() {
    // [MQTT-3.1.3-9]
    let mut bench = Bench::new();
    let mut watcher = watcher(&mut bench);
    let (client, _) = bench.connect(Connect { will: will("w", 100), ..with_expiry("c", 5) });
    client.vanish(&mut bench);
    bench.advance_ms(4_000);
    assert!(watcher.read(&mut bench).is_empty());
    bench.advance_ms(1_000);
    assert_eq!(watcher.read_payloads(&mut bench), ["gone"]);
}

#[test]
fn how_a_client_says_goodbye_decides() {
    // [MQTT-3.14.4-3]
    for (version, reason, want) in [
        (Version::V5, ReasonCode::NORMAL_DISCONNECTION, 0),
        (Version::V5, ReasonCode::DISCONNECT_WITH_WILL, 1),
        (Version::V4, ReasonCode::NORMAL_DISCONNECTION, 0),
    ] {
        let mut bench = Bench::new();
        let mut watcher = watcher(&mut bench);
        let (mut client, _) = bench.connect(Connect { version, will: will("w", 0), ..connect("c") });
        client.send(&mut bench, &Packet::Disconnect(Disconnect::new(reason)));
        assert_eq!(watcher.read(&mut bench).len(), want, "{version} {reason}");
    }
}

#[test]
fn a_stop_of_the_server_publishes_the_wills_of_old_clients() {
    // of 3.1.1: [MQTT-3.1.2-8]; in 5.0 it may be put off (3.1.2.5)
    for (version, want) in [(Version::V3, 1), (Version::V4, 1), (Version::V5, 0)] {
        let mut bench = Bench::new();
        let mut watcher = watcher(&mut bench);
        let (mut client, _) = bench.connect(Connect { version, will: will("w", 0), ..connect("c") });
        client.close(&mut bench, CloseReason::ServerShutdown);
        assert_eq!(watcher.read(&mut bench).len(), want, "{version}");
    }
}

#[test]
fn a_kick_publishes_a_delayed_will() {
    let mut bench = Bench::new();
    let mut watcher = watcher(&mut bench);
    bench.connect(Connect { will: will("w", 30), ..with_expiry("c", 60) });
    assert!(bench.broker.kick("c"));
    assert_eq!(watcher.read_payloads(&mut bench), ["gone"]);
}
