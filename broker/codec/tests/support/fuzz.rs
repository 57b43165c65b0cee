//! What must hold for any bytes; the body of the fuzz target, also run on random bytes by the property tests.

use broker_codec::{Decoder, Packet, Step, Version};
use bytes::BytesMut;

/// Decodes any bytes as what a server or a client of each version gets.
///
/// Nothing may panic. What is decoded can be written again and then reads the same; the decoder that splits off its
/// buffer says the same as the one that copies.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let decoder = match choice % 7 {
        0 => Decoder::server(1 << 20),
        1 => Decoder::client(Version::V3, 1 << 20),
        2 => Decoder::client(Version::V4, 1 << 20),
        3 => Decoder::client(Version::V5, 1 << 20),
        4 => connected_server(&[0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 0, 0, 0]),
        5 => connected_server(&[0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]),
        _ => connected_server(&[0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0]),
    };
    let mut copying = decoder.clone();
    let mut splitting = decoder;
    let mut buffer = BytesMut::from(bytes);
    let mut rest = bytes;
    loop {
        let before = copying.clone();
        let step = copying.decode_slice(rest);
        let other = splitting.decode(&mut buffer);
        match step {
            Ok(Step::Packet { packet, consumed }) => {
                assert!((2..=rest.len()).contains(&consumed));
                assert_eq!(other.as_ref(), Ok(&Some(packet.clone())));
                check_written_again(before, &packet, copying.version());
                rest = &rest[consumed..];
                assert_eq!(&buffer[..], rest);
            }
            Ok(Step::Incomplete { needed }) => {
                assert!(needed > rest.len());
                assert_eq!(other, Ok(None));
                return;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && error.reason_code().is_error());
                assert_eq!(other, Err(error));
                return;
            }
        }
    }
}

fn connected_server(connect: &[u8]) -> Decoder {
    let mut decoder = Decoder::server(1 << 20);
    let packet = [&[0x10, connect.len() as u8], connect].concat();
    decoder.decode_slice(&packet).expect("the CONNECT is valid");
    decoder
}

fn check_written_again(mut decoder: Decoder, packet: &Packet, version: Option<Version>) {
    let version = version.expect("a packet has been decoded");
    let mut written = Vec::new();
    let len = packet.encode(version, &mut written).expect("what is decoded can be written");
    assert_eq!((len, packet.encoded_len(version)), (written.len(), written.len()));
    match decoder.decode_slice(&written) {
        Ok(Step::Packet { packet: again, consumed }) => {
            assert_eq!((&again, consumed), (packet, written.len()));
        }
        other => panic!("{packet:?} reads as {other:?}"),
    }
}
