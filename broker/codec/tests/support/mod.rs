//! Packets for the tests: bytes from a short notation, and decoders that are connected.

#![allow(dead_code)] // each test file uses a part of it

use broker_codec::{DecodeError, Decoder, MAX_PACKET_SIZE, Packet, Role, Step, Version};

pub(crate) const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// Makes bytes of hexadecimal numbers and texts: `30 05 "a/b" 00` (a text without its length).
pub(crate) fn bytes(notation: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in notation.split('"').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        for number in part.split_whitespace() {
            out.push(u8::from_str_radix(number, 16).expect("a test writes two hexadecimal digits"));
        }
    }
    out
}

/// Makes the decoder of a connection that has got past CONNECT.
pub(crate) fn connected(role: Role, version: Version) -> Decoder {
    if role == Role::Client {
        return Decoder::client(version, MAX_PACKET_SIZE);
    }
    let connect = match version {
        Version::V3 => r#"10 0e 00 06 "MQIsdp" 03 02 00 00 00 00"#,
        Version::V4 => r#"10 0c 00 04 "MQTT" 04 02 00 00 00 00"#,
        Version::V5 => r#"10 0d 00 04 "MQTT" 05 02 00 00 00 00 00"#,
    };
    let mut decoder = Decoder::server(MAX_PACKET_SIZE);
    decoder.decode_slice(&bytes(connect)).expect("the CONNECT is valid");
    assert_eq!(decoder.version(), Some(version));
    decoder
}

/// Decodes bytes that are one complete packet.
pub(crate) fn decode_one(decoder: &mut Decoder, bytes: &[u8]) -> Result<Packet, DecodeError> {
    match decoder.decode_slice(bytes)? {
        Step::Packet { packet, consumed } => {
            assert_eq!(consumed, bytes.len(), "the packet is shorter than its bytes: {packet:?}");
            Ok(packet)
        }
        Step::Incomplete { needed } => panic!("{needed} bytes needed of {}", bytes.len()),
    }
}
