//! Packets that hostile clients send: right ones, nearly right ones, and bytes of any kind.
//!
//! They are written byte by byte and not with the codec, so that they can be wrong in ways that it does not allow.

use broker_codec::{ReasonCode, Version};
use fastrand::Rng;

/// Client ids of hostile clients. They are few, so that they take each other over.
const CLIENT_IDS: [&str; 6] = ["h0", "h1", "h2", "h3", "", "h\u{e4}"];

/// A topic below which a rule holds acknowledgements back, and one that a rule only listens to.
pub(crate) const HELD_FILTER: &str = "held/#";
pub(crate) const HEARD_FILTER: &str = "a/#";

/// A topic that nobody may publish or subscribe to.
pub(crate) const FORBIDDEN: &str = "forbidden";

const TOPICS: [&str; 18] = [
    "a",
    "a",
    "a/b",
    "a/b/c",
    "b",
    "c//d",
    "/",
    "held/x",
    "held/y",
    "forbidden",
    "$x/y",
    "$SYS/brokers",
    "$delayed/1/a",
    "$delayed/3/held/x",
    "$delayed/x",
    "$share/g/a",
    "a/+",
    "",
];

const FILTERS: [&str; 25] = [
    "a",
    "a/b",
    "a/#",
    "+/b",
    "#",
    "+",
    "+/+",
    "/",
    "held/#",
    "forbidden",
    "$x/#",
    "$share/g/#",
    "$share/g/a/+",
    "$share/h/a",
    "$queue/a",
    "$exclusive/a",
    "$exclusive/b/+",
    "$SYS/#",
    "$SYS/brokers/+/clients/#",
    "a#",
    "a/#/b",
    "$share//a",
    "$share/g",
    "$share/g/$share/h/a",
    "",
];

/// What a client may send of packets that are malformed or break the protocol, once it is connected with 5.0, and the
/// code that the standard wants in the answer.
pub(crate) const BROKEN: [(&[u8], ReasonCode); 18] = [
    (b"\x00\x00", ReasonCode::MALFORMED_PACKET), // no packet type
    (b"\xc1\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-2.1.3-1]
    (b"\x60\x02\x00\x01", ReasonCode::MALFORMED_PACKET), // [MQTT-3.6.1-1]
    (b"\x80\x07\x00\x01\x00\x00\x01a\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-3.8.1-1]
    (b"\xa0\x06\x00\x01\x00\x00\x01a", ReasonCode::MALFORMED_PACKET), // [MQTT-3.10.1-1]
    (b"\xe1\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-3.14.1-1]
    (b"\xf1\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-3.15.1-1]
    (b"\x36\x06\x00\x01a\x00\x01\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-3.3.1-4]
    (b"\x38\x04\x00\x01a\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-3.3.1-2]
    (b"\x30\x06\x00\x03\xed\xa0\x80\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-1.5.4-1]
    (b"\x30\x05\x00\x02a\x00\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-1.5.4-2]
    (b"\xc0\x80\x00", ReasonCode::MALFORMED_PACKET), // [MQTT-1.5.5-1]
    (b"\x82\x07\x00\x01\x00\x00\x01a\x40", ReasonCode::MALFORMED_PACKET), // [MQTT-3.8.3-5]
    (b"\x82\x03\x00\x01\x00", ReasonCode::PROTOCOL_ERROR), // [MQTT-3.8.3-2]
    (b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04", ReasonCode::PROTOCOL_ERROR), // [MQTT-3.8.3-4]
    (b"\x30\x06\x00\x01a\x02\x0b\x01", ReasonCode::PROTOCOL_ERROR), // [MQTT-3.3.4-6]
    (b"\x30\x07\x00\x01a\x03\x23\x00\x00", ReasonCode::TOPIC_ALIAS_INVALID), // [MQTT-3.3.2-8]
    (b"\x30\xff\xff\xff\x7f", ReasonCode::PACKET_TOO_LARGE), // [MQTT-3.2.2-15]
];

/// Writes fields of packets.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn two(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    fn four(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.two(text.len() as u16); // fits: no text here is longer
        self.0.extend_from_slice(text);
    }

    fn length(&mut self, mut value: usize) {
        while value >= 128 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn with_header(self, first: u8) -> Vec<u8> {
        let mut packet = Self::default();
        packet.byte(first);
        packet.length(self.0.len());
        packet.0.extend(self.0);
        packet.0
    }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// A topic or filter: mostly one of the list, now and then a long or a deep one, or bytes that are no text.
fn name(rng: &mut Rng, from: &[&str]) -> Vec<u8> {
    match rng.u8(..40) {
        0 => vec![b'x'; rng.usize(1..400)],
        1 => b"y/".repeat(rng.usize(1..200)),
        2 => (0..rng.usize(..8)).map(|_| rng.u8(..)).collect(),
        _ => pick(rng, from).as_bytes().to_vec(),
    }
}

fn number(rng: &mut Rng) -> u16 {
    match rng.u8(..30) {
        0 => 0,
        1 => u16::MAX,
        _ => rng.u16(1..12),
    }
}

fn seconds(rng: &mut Rng) -> u32 {
    [0, 0, 1, 2, 5, 1_000_000, u32::MAX][rng.usize(..7)]
}

/// Writes properties: of those in `allowed`, rarely of any.
fn properties(rng: &mut Rng, allowed: &[u8], fields: &mut Fields) {
    let mut list = Fields::default();
    let count = if rng.bool() { 0 } else { rng.usize(..4) };
    for _ in 0..count {
        let id = if rng.u8(..40) == 0 { rng.u8(..0x2b) } else { allowed[rng.usize(..allowed.len())] };
        list.byte(id);
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => list.byte(rng.u8(..20) / 9),
            0x02 | 0x11 | 0x18 => list.four(seconds(rng)),
            // often just what a message of a few bytes takes
            0x27 => list.four([0, 4, 300, 100_000, rng.u32(14..80), rng.u32(14..80)][rng.usize(..6)]),
            0x13 | 0x21 | 0x22 | 0x23 => list.two([0, 1, 1, 2, 3, 7, 20, u16::MAX][rng.usize(..8)]),
            0x0b => list.length([0, 1, 200, 268_435_455][rng.usize(..4)]),
            0x26 => {
                list.text(b"name");
                list.text(&vec![b'v'; rng.usize(..20)]);
            }
            0x08 => list.text(&name(rng, &TOPICS)),
            _ => list.text(&vec![b't'; rng.usize(..30)]),
        }
    }
    fields.length(list.0.len());
    fields.0.extend(list.0);
}

/// A CONNECT, mostly one that is accepted.
pub(crate) fn connect(rng: &mut Rng) -> (Version, Vec<u8>) {
    let version = [Version::V3, Version::V4, Version::V5, Version::V5, Version::V5][rng.usize(..5)];
    let mut fields = Fields::default();
    fields.text(if version == Version::V3 { b"MQIsdp" } else { b"MQTT" });
    fields.byte(match version {
        Version::V3 => 3,
        Version::V4 => 4,
        Version::V5 => 5,
    });
    let has_will = rng.u8(..3) == 0;
    let has_username = rng.u8(..4) == 0;
    let will = if has_will { 4 | rng.u8(..3) << 3 | rng.u8(..2) << 5 } else { 0 };
    fields.byte(u8::from(rng.bool()) << 1 | will | u8::from(has_username) << 7);
    fields.two([0, 0, 1, 2, 60][rng.usize(..5)]);
    if version == Version::V5 {
        // the last ones: what the client takes, where several limits meet
        let allowed: &[u8] = match rng.u8(..30) {
            0 => &[0x15, 0x16],
            1..20 => &[0x11, 0x11, 0x21, 0x21, 0x27, 0x22, 0x22, 0x19, 0x17, 0x26],
            _ => &[0x11, 0x21, 0x22, 0x27, 0x22, 0x27],
        };
        properties(rng, allowed, &mut fields);
    }
    let client_id = if rng.u8(..60) == 0 { "x".repeat(300) } else { pick(rng, &CLIENT_IDS).to_owned() };
    fields.text(client_id.as_bytes());
    if has_will {
        if version == Version::V5 {
            properties(rng, &[0x18, 0x18, 0x01, 0x02, 0x03, 0x08, 0x09, 0x26], &mut fields);
        }
        fields.text(&name(rng, &TOPICS));
        fields.text(&vec![b'w'; rng.usize(..50)]);
    }
    if has_username {
        fields.text(pick(rng, &["now", "later", "never", "never later"]).as_bytes());
    }
    (version, fields.with_header(0x10))
}

fn publish(rng: &mut Rng, version: Version) -> Vec<u8> {
    let qos = if rng.u8(..100) == 0 { 3 } else { [0, 1, 1, 2, 2, 2][rng.usize(..6)] };
    let dup = qos > 0 && rng.u8(..5) == 0;
    let retain = rng.u8(..4) == 0;
    let mut fields = Fields::default();
    fields.text(&name(rng, &TOPICS));
    if qos > 0 {
        fields.two(number(rng));
    }
    if version == Version::V5 {
        properties(rng, &[0x01, 0x02, 0x02, 0x03, 0x08, 0x09, 0x23, 0x23, 0x23, 0x26], &mut fields);
    }
    let size = if rng.u8(..20) == 0 { rng.usize(..5000) } else { rng.usize(..40) };
    fields.0.extend(std::iter::repeat_n(b'p', size));
    fields.with_header(0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(retain))
}

fn answer(rng: &mut Rng, version: Version) -> Vec<u8> {
    let first = [0x40, 0x40, 0x50, 0x62, 0x70][rng.usize(..5)];
    let mut fields = Fields::default();
    fields.two(number(rng));
    if version == Version::V5 && rng.u8(..4) == 0 {
        fields.byte([0, 0x10, 0x80, 0x87, 0x92, 0x91, 0x99, 0x01][rng.usize(..8)]);
        if rng.bool() {
            properties(rng, &[0x1f, 0x26], &mut fields);
        }
    }
    fields.with_header(first)
}

fn subscribe(rng: &mut Rng, version: Version) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.two(number(rng));
    if version == Version::V5 {
        properties(rng, &[0x0b, 0x26], &mut fields);
    }
    for _ in 0..rng.usize(1..4) {
        fields.text(&name(rng, &FILTERS));
        let qos = rng.u8(..3);
        let options = if version == Version::V5 { rng.u8(..3) << 4 | rng.u8(..4) << 2 } else { 0 };
        fields.byte(qos | options);
    }
    fields.with_header(0x82)
}

fn unsubscribe(rng: &mut Rng, version: Version) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.two(number(rng));
    if version == Version::V5 {
        properties(rng, &[0x26], &mut fields);
    }
    for _ in 0..rng.usize(1..3) {
        fields.text(&name(rng, &FILTERS));
    }
    fields.with_header(0xa2)
}

fn disconnect(rng: &mut Rng, version: Version) -> Vec<u8> {
    let mut fields = Fields::default();
    if version == Version::V5 && rng.bool() {
        fields.byte([0, 0x04, 0x80, 0x81, 0x8e, 0x01][rng.usize(..6)]);
        properties(rng, &[0x11, 0x1f, 0x26], &mut fields);
    }
    fields.with_header(0xe0)
}

fn auth(rng: &mut Rng) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.byte([0x18, 0x19, 0][rng.usize(..3)]);
    properties(rng, &[0x15, 0x16], &mut fields);
    fields.with_header(0xf0)
}

/// A packet of a client of that version, mostly one that it may send.
pub(crate) fn packet(rng: &mut Rng, version: Version) -> Vec<u8> {
    match rng.u8(..100) {
        0..44 => publish(rng, version),
        44..68 => answer(rng, version),
        68..84 => subscribe(rng, version),
        84..91 => unsubscribe(rng, version),
        91..95 => vec![0xc0, 0],
        95..97 => disconnect(rng, version),
        97 => auth(rng),
        98 => connect(rng).1,
        // what only a server sends
        _ => [&[0x20, 3, 0, 0, 0][..], &[0x90, 4, 0, 1, 0, 0], &[0xb0, 4, 0, 1, 0, 0], &[0xd0, 0]]
            [rng.usize(..4)]
        .to_vec(),
    }
}

/// Changes a packet so that it is probably none any more.
pub(crate) fn spoil(rng: &mut Rng, packet: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        if packet.is_empty() {
            return;
        }
        let at = rng.usize(..packet.len());
        match rng.u8(..6) {
            0 => packet[at] ^= 1 << rng.u8(..8),
            1 => packet[at] = rng.u8(..),
            2 => packet.truncate(at),
            3 => packet.insert(at, rng.u8(..)),
            4 => {
                let part = packet[at..].to_vec();
                packet.extend(part);
            }
            _ => packet[1.min(at)] = rng.u8(..),
        }
    }
}

/// Bytes of any kind.
pub(crate) fn noise(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..60)).map(|_| rng.u8(..)).collect()
}
