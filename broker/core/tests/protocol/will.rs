//! Wills.

use broker_codec::{Connect, Disconnect, Packet, QoS, ReasonCode, Version, Will};
use broker_core::CloseReason;

use crate::support::{Bench, Client, bytes, connect, resume, will, with_expiry};

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

/// A will to `w` with that QoS and retain flag.
fn will_of(qos: QoS, retain: bool) -> Option<Will> {
    will("w", 0).map(|will| Will { qos, retain, ..will })
}

#[test]
fn a_will_is_published_as_it_was_left() {
    // [MQTT-3.1.2-7] [MQTT-3.1.2-14] [MQTT-3.1.2-15]; of 3.1.1: [MQTT-3.1.2-16] [MQTT-3.1.2-17]
    for version in [Version::V3, Version::V4, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retain in [false, true] {
                let mut bench = Bench::new();
                let mut watcher = bench.client("watcher");
                watcher.subscribe(&mut bench, "w", QoS::ExactlyOnce);
                let (client, _) =
                    bench.connect(Connect { version, will: will_of(qos, retain), ..connect("c") });
                client.vanish(&mut bench);
                let messages = watcher.read_messages(&mut bench);
                assert_eq!(messages.len(), 1);
                assert_eq!((messages[0].qos(), messages[0].payload_slice()), (qos, &b"gone"[..]));
                let mut late = bench.client("late");
                late.subscribe(&mut bench, "w", QoS::AtMostOnce);
                assert_eq!(late.read_messages(&mut bench).len(), usize::from(retain), "{version} {qos}");
            }
        }
    }
}

#[test]
fn every_end_but_a_goodbye_publishes_the_will() {
    // [MQTT-3.1.2-8] [MQTT-3.1.2-22]; of 3.1.1: [MQTT-3.1.2-8] [MQTT-3.1.2-12] [MQTT-3.1.2-24]
    for version in [Version::V4, Version::V5] {
        for reason in [
            CloseReason::TcpClosed,
            CloseReason::KeepAliveTimeout,
            CloseReason::ProtocolError,
            CloseReason::InternalError,
            CloseReason::Kicked,
        ] {
            for has_will in [true, false] {
                let mut bench = Bench::new();
                let mut watcher = watcher(&mut bench);
                let will = will("w", 0).filter(|_| has_will);
                let (mut client, _) = bench.connect(Connect { version, will, ..connect("c") });
                client.close(&mut bench, reason);
                assert_eq!(watcher.read(&mut bench).len(), usize::from(has_will), "{version} {reason:?}");
            }
        }
    }
}

#[test]
fn a_breach_of_the_protocol_publishes_the_will() {
    // [MQTT-3.1.2-8]: the client has not said goodbye
    for (version, packet) in [
        (Version::V4, r#"36 03 00 01 "a""#),
        (Version::V5, r#"36 03 00 01 "a""#),
        (Version::V5, r#"10 0d 00 04 "MQTT" 05 02 00 00 00 00 00"#),
        (Version::V4, r#"10 0c 00 04 "MQTT" 04 02 00 00 00 00"#),
        (Version::V4, "e1 00"), // no DISCONNECT: its flags are wrong
        (Version::V5, "e0 01 01"),
    ] {
        let mut bench = Bench::new();
        let mut watcher = watcher(&mut bench);
        let mut client = bench.open(version);
        let wish = Connect { version, will: will("w", 0), ..connect("c") };
        client.send(&mut bench, &Packet::Connect(Box::new(wish)));
        client.send_bytes(&mut bench, &bytes(packet));
        assert!(client.closed);
        assert_eq!(watcher.read_payloads(&mut bench), ["gone"], "{version} {packet}");
    }
}

#[test]
fn a_will_of_who_was_refused_is_forgotten() {
    // [MQTT-3.1.2-7]; of 3.1.1: [MQTT-3.1.2-8]
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let mut watcher = watcher(&mut bench);
        let wish = Connect { version, will: will("w", 0), ..connect("c") };
        let (client, connack) = bench.connect_from(wish, [192, 0, 2, 1]);
        assert_eq!(connack.reason, ReasonCode::NOT_AUTHORIZED);
        client.vanish(&mut bench);
        bench.advance_ms(100_000);
        assert!(watcher.read(&mut bench).is_empty());
    }
}

#[test]
fn a_goodbye_takes_the_will_with_it() {
    // [MQTT-3.1.2-10] [MQTT-3.14.4-3]; of 3.1.1: [MQTT-3.1.2-10] [MQTT-3.14.4-3]
    for version in [Version::V4, Version::V5] {
        let mut bench = Bench::new();
        let mut watcher = watcher(&mut bench);
        let lasting = match version {
            Version::V5 => with_expiry("c", 60),
            _ => Connect { version, ..connect("c") },
        };
        let wish = Connect { clean_start: false, will: will("w", 0), ..lasting.clone() };
        let (mut client, _) = bench.connect(wish);
        client.send(&mut bench, &Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)));
        // neither the end of the session nor that of a connection without a will brings it back
        let (client, _) = bench.connect(Connect { clean_start: false, ..lasting });
        client.vanish(&mut bench);
        bench.advance_ms(100_000_000);
        assert!(bench.broker.client("c").is_none());
        assert!(watcher.read(&mut bench).is_empty(), "{version}");
    }
}
