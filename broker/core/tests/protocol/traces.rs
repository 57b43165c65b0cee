//! Lines of traces: each step of who is followed, and nothing of others.

use std::sync::{Arc, Mutex};

use broker_codec::{Ack, Connect, Disconnect, Packet, Properties, QoS, ReasonCode, Version};
use broker_core::{CloseReason, TraceSubject};
use engine_event::{TraceEvent, TraceSet, Tracer, Value, write_text_form};

use crate::support::{Bench, connect, id, message, resume, will};

/// Keeps the lines, each with the traces that it goes to.
#[derive(Default)]
struct Lines(Mutex<Vec<(u64, TraceEvent)>>);

impl Tracer for Lines {
    fn trace(&self, to: TraceSet, event: TraceEvent) {
        assert!(!to.is_empty(), "a line for nobody: {event:?}");
        self.0.lock().expect("not poisoned").push((to.bits(), event));
    }
}

fn text(value: &Value) -> String {
    let mut text = Vec::new();
    write_text_form(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl Lines {
    fn take(&self) -> Vec<(u64, TraceEvent)> {
        std::mem::take(&mut *self.0.lock().expect("not poisoned"))
    }

    /// Takes the lines as `what client`.
    fn take_names(&self) -> Vec<String> {
        let name = |event: &TraceEvent| {
            let client = event.client_id.as_ref().map(|client| client.to_str_lossy().into_owned());
            format!("{} {}", event.what, client.unwrap_or_default())
        };
        self.take().iter().map(|(_, event)| name(event)).collect()
    }
}

fn following(subjects: &[TraceSubject]) -> (Bench, Arc<Lines>) {
    let mut bench = Bench::new();
    let lines = Arc::new(Lines::default());
    bench.broker.set_tracer(Arc::clone(&lines) as _);
    for (number, subject) in subjects.iter().enumerate() {
        bench.broker.start_trace(number as u8, subject);
    }
    bench.advance_ms(0); // from the next batch of work on
    (bench, lines)
}

fn client(name: &str) -> TraceSubject {
    TraceSubject::ClientId(name.to_owned())
}

#[track_caller]
fn field(event: &TraceEvent, name: &str) -> String {
    let found = event.fields.iter().find(|(field, _)| *field == name);
    text(&found.unwrap_or_else(|| panic!("no {name} in {event:?}")).1)
}

#[test]
fn every_step_of_a_client_leaves_a_line() {
    let (mut bench, lines) = following(&[client("c")]);
    let connect = Connect {
        username: Some("u".into()),
        password: Some(b"s3cret".to_vec().into()),
        will: will("w", 0),
        ..connect("c")
    };
    let (mut followed, _) = bench.connect(connect);
    let got = lines.take();
    let names: Vec<_> = got.iter().map(|(_, event)| event.what).collect();
    assert_eq!(names, ["connect_received", "authentication", "session_created", "connack_sent"]);
    assert!(!format!("{got:?}").contains("s3cret"), "no secrets");
    let first = &got[0].1;
    assert_eq!((first.tag, field(first, "password").as_str()), ("MQTT", "******"));
    assert_eq!((field(first, "will_topic"), field(first, "proto_ver")), ("w".into(), "5".into()));
    assert_eq!(first.username, Some("u".into()));
    assert_eq!(field(&got[1].1, "result"), "success");

    let mut other = bench.client("o");
    followed.subscribe(&mut bench, "a/#", QoS::AtLeastOnce);
    other.subscribe(&mut bench, "b", QoS::AtMostOnce);
    let names = lines.take_names();
    assert_eq!(names, ["subscribe_received c", "authorization c", "suback_sent c", "subscribed c"]);

    other.publish(&mut bench, "a/1", "to c", QoS::AtLeastOnce, 1);
    assert_eq!(lines.take_names(), Vec::<String>::new(), "it goes out with the next write");
    assert_eq!(followed.read(&mut bench).len(), 1);
    followed.acknowledge(&mut bench, 1);
    let got = lines.take();
    let names: Vec<_> = got.iter().map(|(_, event)| event.what).collect();
    assert_eq!(names, ["message_delivered", "puback_received", "message_acked"]);
    assert_eq!((field(&got[0].1, "topic"), field(&got[0].1, "from_clientid")), ("a/1".into(), "o".into()));
    assert_eq!(
        got[0].1.payload.as_ref().map(|(name, payload)| (*name, payload.to_str_lossy())),
        Some(("payload", "to c".into()))
    );

    followed.publish(&mut bench, "b", "from c", QoS::ExactlyOnce, 7);
    followed.send(&mut bench, &Packet::PubRel(Ack::new(id(7), ReasonCode::SUCCESS)));
    followed.send(&mut bench, &Packet::PingReq);
    let got = lines.take();
    let names: Vec<_> = got.iter().map(|(_, event)| event.what).collect();
    assert_eq!(
        names,
        [
            "publish_received",
            "authorization",
            "publish_routed",
            "pubrec_sent",
            "pubrel_received",
            "pubcomp_sent",
            "pingreq_received",
            "pingresp_sent",
        ]
    );
    assert_eq!((field(&got[0].1, "qos"), field(&got[0].1, "packet_id")), ("2".into(), "7".into()));
    assert_eq!(field(&got[2].1, "subscribers"), "[\"o\"]");
    followed.publish(&mut bench, "nobody", "x", QoS::AtMostOnce, 0);
    let got = lines.take();
    let last = &got.last().expect("lines").1;
    assert_eq!((last.what, field(last, "reason").as_str()), ("message_dropped", "no_subscribers"));

    let goodbye = Disconnect { reason: ReasonCode::DISCONNECT_WITH_WILL, properties: Properties::new() };
    followed.send(&mut bench, &Packet::Disconnect(goodbye));
    let got = lines.take();
    let names: Vec<_> = got.iter().map(|(_, event)| event.what).collect();
    assert_eq!(names[..2], ["disconnect_received", "connection_closed"]);
    assert!(names.contains(&"will_published") && names.contains(&"session_ended"), "{names:?}");
    assert_eq!(field(&got[1].1, "reason"), "normal");
}

#[test]
fn what_waits_and_what_is_dropped_says_why() {
    let (mut bench, lines) = following(&[client("c")]);
    let (mut followed, _) = bench.connect(resume("c"));
    followed.subscribe(&mut bench, "a", QoS::AtLeastOnce);
    followed.close(&mut bench, CloseReason::TcpClosed);
    let mut other = bench.client("o");
    lines.take();
    other.publish(&mut bench, "a", "x", QoS::AtLeastOnce, 1);
    let got = lines.take();
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!((got[0].1.what, field(&got[0].1, "reason").as_str()), ("message_queued", "away"));
    let (mut followed, _) = bench.connect(resume("c"));
    let names = lines.take_names();
    assert_eq!(names[2..], ["session_resumed c", "connack_sent c"], "{names:?}");
    assert_eq!(followed.read(&mut bench).len(), 1);
    lines.take();
    bench.broker.kick("c");
    let names = lines.take_names();
    assert_eq!(names[0], "connection_closed c");
    assert!(names.contains(&"session_ended c".to_owned()), "{names:?}");
}

#[test]
fn a_topic_is_followed_through_all_clients() {
    let (mut bench, lines) = following(&[TraceSubject::Topic("t/+".to_owned()), client("s2")]);
    let mut first = bench.client("s1");
    first.subscribe(&mut bench, "#", QoS::AtMostOnce);
    assert_eq!(lines.take_names(), Vec::<String>::new());
    let mut second = bench.client("s2");
    second.subscribe(&mut bench, "t/+", QoS::AtLeastOnce);
    lines.take();
    let mut publisher = bench.client("p");
    publisher.publish(&mut bench, "t/1", "x", QoS::AtLeastOnce, 1);
    publisher.publish(&mut bench, "u", "y", QoS::AtLeastOnce, 2);
    assert_eq!((first.read(&mut bench).len(), second.read(&mut bench).len()), (2, 1));
    second.acknowledge(&mut bench, 1);
    let got = lines.take();
    let names: Vec<_> = got
        .iter()
        .map(|(to, event)| {
            (*to, event.what, event.client_id.clone().unwrap_or_default().to_str_lossy().into_owned())
        })
        .collect();
    let line = |to: u64, what: &'static str, client: &str| (to, what, client.to_owned());
    assert_eq!(
        names,
        [
            line(0b01, "publish_received", "p"),
            line(0b01, "authorization", "p"),
            line(0b01, "publish_routed", "p"),
            line(0b01, "message_delivered", "s1"),
            line(0b11, "message_delivered", "s2"),
            line(0b10, "puback_received", "s2"),
            line(0b11, "message_acked", "s2"),
        ]
    );
}

#[test]
fn an_address_is_followed_before_there_is_a_client_id() {
    let (mut bench, lines) = following(&[TraceSubject::Peer([10, 0, 0, 1].into())]);
    let mut malformed = bench.open_from(Version::V5, [10, 0, 0, 1]);
    malformed.send_bytes(&mut bench, &[0x10, 0x02, 0xFF, 0xFF]);
    assert_eq!(lines.take_names(), ["packet_malformed "]);
    let mut elsewhere = bench.client("e");
    elsewhere.publish(&mut bench, "t", "x", QoS::AtMostOnce, 0);
    assert_eq!(lines.take_names(), Vec::<String>::new());
    let refused = bench.connect_from(connect("c"), [10, 0, 0, 1]).1;
    assert_eq!(refused.reason, ReasonCode::NOT_AUTHORIZED, "anonymous from elsewhere");
    let got = lines.take();
    let names: Vec<_> = got.iter().map(|(_, event)| event.what).collect();
    assert_eq!(names, ["connect_received", "authentication", "connack_sent"]);
    assert_eq!(field(&got[2].1, "reason_code"), "0x87 not authorized");
    bench.broker.trace_handshake(([10, 0, 0, 1], 7).into(), "ssl:default", Err(&"no shared cipher"));
    bench.broker.trace_handshake(([10, 0, 0, 2], 7).into(), "ssl:default", Ok(()));
    let got = lines.take();
    assert_eq!((got.len(), got[0].1.what), (1, "handshake_failed"));
}

#[test]
fn those_who_are_there_already_are_followed_until_it_ends() {
    let (mut bench, lines) = following(&[]);
    let mut followed = bench.client("c");
    let (mut away, _) = bench.connect(resume("away"));
    away.subscribe(&mut bench, "a", QoS::AtLeastOnce);
    away.vanish(&mut bench);
    for (number, subject) in [
        client("c"),
        TraceSubject::Peer([127, 0, 0, 1].into()),
        client("away"),
        TraceSubject::Topic("a".into()),
    ]
    .iter()
    .enumerate()
    {
        bench.broker.start_trace(number as u8, subject);
    }
    bench.advance_ms(0);
    followed.send(&mut bench, &Packet::PingReq);
    let got = lines.take();
    assert_eq!(got.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [0b11, 0b11]);
    followed.publish(&mut bench, "a", "x", QoS::AtLeastOnce, 1);
    let got = lines.take();
    let queued = got.iter().find(|(_, event)| event.what == "message_queued").expect("a line");
    assert_eq!(queued.0, 0b1110, "{:?}", queued.1);
    for number in [0, 2, 3] {
        bench.broker.stop_trace(number);
    }
    followed.send(&mut bench, &Packet::PingReq);
    assert_eq!(lines.take().iter().map(|(to, _)| *to).collect::<Vec<_>>(), [0b10, 0b10]);
    bench.broker.stop_trace(1);
    bench.broker.stop_trace(1);
    bench.advance_ms(0);
    followed.send(&mut bench, &message("a", "x", QoS::AtMostOnce, 0, false));
    assert!(lines.take().is_empty());
}

#[test]
fn a_breach_of_the_protocol_is_named() {
    let (mut bench, lines) = following(&[client("c")]);
    let (mut followed, _) = bench.connect(Connect { version: Version::V4, ..connect("c") });
    lines.take();
    followed.publish(&mut bench, &"a/".repeat(200), "x", QoS::AtLeastOnce, 1);
    assert!(followed.closed);
    let got = lines.take();
    let failed = &got.iter().find(|(_, event)| event.what == "connection_failed").expect("a line").1;
    assert_eq!(field(failed, "reason"), "topic name has too many levels");
    assert_eq!(got.last().map(|(_, event)| event.what), Some("session_ended"));
}
