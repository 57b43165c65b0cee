//! Records as bytes: they come back as they were, and bytes that are none harm nobody.

use std::borrow::Cow;
use std::path::Path;

use broker_codec::{
    PacketId, Properties, Property, Publish, PublishBuilder, QoS, RetainHandling, SubscriptionOptions,
    Version,
};
use broker_core::{Cause, Message, ProfileRecord, Record, SessionKey, SessionRecord, Target};
use broker_store::format::{FormatError, decode, encode};
use proptest::prelude::*;

fn bytes_of(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = encode(record, &mut bytes).to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn key(session: u64) -> SessionKey {
    SessionKey { session, incarnation: 7 }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

fn publish(topic: &str, payload: &[u8], qos: QoS, retain: bool) -> Publish {
    let properties = [
        Property::MessageExpiryInterval(60),
        Property::ContentType("text/plain"),
        Property::UserProperty("a", "b"),
        Property::UserProperty("a", "c"),
    ];
    let properties = Properties::from_list(&properties).expect("valid");
    let publish = PublishBuilder {
        topic,
        payload,
        qos,
        retain,
        properties: properties.as_ref(),
        packet_id: (qos != QoS::AtMostOnce).then(|| id(77)),
        ..PublishBuilder::default()
    };
    publish.build().expect("a message")
}

/// One of each kind, with every option.
fn samples<'a>() -> Vec<Record<'a>> {
    let target = |session, share| Target {
        session: key(session),
        copy: 3,
        qos: QoS::ExactlyOnce,
        retain: true,
        identifiers: Cow::Owned(vec![1, 268_435_455]),
        share,
    };
    let plain = Target { qos: QoS::AtLeastOnce, retain: false, copy: 0, ..target(5, None) };
    let message = |cause, retain, rewritten, qos| {
        Record::Message(Message {
            number: 1 << 40,
            received_at_ms: 1_700_000_000_000,
            expires_at_ms: i64::MAX,
            publish: publish("a/b", b"payload", qos, retain),
            client_id: b"client",
            retain,
            rewritten,
            cause,
            targets: Cow::Owned(vec![plain.clone(), target(6, Some(("group", "a/#")))]),
        })
    };
    let profile = ProfileRecord {
        username: Some(b"user"),
        remote: ([127, 0, 0, 1], 4000).into(),
        local: ([0x20, 1, 0, 0, 0, 0, 0, 1], 1883).into(),
        listener: "tcp:default",
        mountpoint: "plant/",
        version: Version::V5,
        bridge: true,
        clean_start: true,
        keep_alive_s: 60,
        receive_maximum: 100,
        maximum_packet_size: 1 << 20,
        connected_at_ms: 1_700_000_000_001,
        is_superuser: true,
        is_anonymous: true,
        attributes: vec![(b"site", b"berlin")],
    };
    let session = |will, disconnected_at_ms, profile| {
        Record::Session(Box::new(SessionRecord {
            session: key(9),
            client_id: b"client",
            created_at_ms: 1_699_999_999_999,
            disconnected_at_ms,
            expiry_interval_s: u32::MAX,
            will,
            profile,
        }))
    };
    let bare = ProfileRecord {
        username: None,
        mountpoint: "",
        version: Version::V4,
        bridge: false,
        clean_start: false,
        is_superuser: false,
        is_anonymous: false,
        attributes: Vec::new(),
        ..profile.clone()
    };
    let will = publish("will", b"gone", QoS::AtMostOnce, true);
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    vec![
        message(Cause::None, false, false, QoS::AtLeastOnce),
        message(Cause::Received(key(1), id(1)), true, false, QoS::ExactlyOnce),
        message(Cause::Will(key(2)), true, true, QoS::AtMostOnce),
        Record::Owed { message: 1 << 40, delivery: 1 << 41, target: target(8, None) },
        Record::Done(Cow::Owned(vec![(key(1), 2), (key(3), 4)])),
        session(Some((will, 30)), Some(1_700_000_000_002), profile),
        session(None, None, bare),
        Record::SessionEnd(key(4)),
        Record::Subscribe { session: key(4), filter: "$share/g/a/+", options, identifier: Some(5) },
        Record::Unsubscribe { session: key(4), filter: "a/#" },
        Record::Sent { session: key(4), delivery: 6, packet_id: id(65_535) },
        Record::Released { session: key(4), packet_id: id(2) },
        Record::Completed { session: key(4), packet_id: id(3) },
        Record::Received { session: key(4), packet_id: id(4) },
        Record::ReceivedRelease { session: key(4), packet_id: id(5) },
        Record::RetainRemove { topic: "a/b" },
        Record::WillDone(key(4)),
        Record::Barrier,
    ]
}

#[test]
fn every_record_comes_back() {
    let written: Vec<Vec<u8>> = samples().iter().map(bytes_of).collect();
    for (bytes, record) in written.iter().zip(samples()) {
        assert_eq!(decode(bytes), Ok(record.clone()), "{record:?}");
        // a part of it is no record
        for end in 0..bytes.len() {
            let part = decode(&bytes[..end]);
            assert!(part.is_err(), "{end} of {} bytes of {record:?}", bytes.len());
        }
    }
}

/// The fixture is what version 1 writes; written by `SLUICE_WRITE_FIXTURE=1 cargo test -p broker-store`, once.
#[test]
fn version_1_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records-v1.bin");
    let mut written = Vec::new();
    for record in samples() {
        let bytes = bytes_of(&record);
        written.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        written.extend_from_slice(&bytes);
    }
    if std::env::var_os("SLUICE_WRITE_FIXTURE").is_some() {
        std::fs::write(&path, &written).expect("written");
    }
    let fixture = std::fs::read(&path).expect("the fixture");
    let mut rest = &fixture[..];
    let mut records = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (bytes, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        records.push(decode(bytes).expect("a record of version 1"));
        rest = behind;
    }
    assert_eq!(records, samples());
}

#[test]
fn a_later_version_is_told_apart() {
    let mut bytes = bytes_of(&Record::Barrier);
    bytes[0] = 2;
    assert_eq!(decode(&bytes), Err(FormatError::Version { version: 2 }));
    assert!(matches!(decode(&[]), Err(FormatError::Malformed { .. })));
    assert!(matches!(decode(&[1, 200]), Err(FormatError::Malformed { kind: 200 })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(kind in 0..17_u8, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut record = vec![1, kind];
        record.extend_from_slice(&bytes);
        let _ = decode(&record);
        let _ = decode(&bytes);
    }

    #[test]
    fn damaged_records_do_no_harm(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with: u8) {
        let samples = samples();
        let mut bytes = bytes_of(&samples[which.index(samples.len())]);
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(record) = decode(&bytes) {
            // what is read can be written, and is the same then
            let again = bytes_of(&record);
            prop_assert_eq!(decode(&again), Ok(record.clone()));
        }
    }

    #[test]
    fn messages_come_back(
        topic in "[a-z/]{1,40}",
        payload in proptest::collection::vec(any::<u8>(), 0..5000),
        client_id in proptest::collection::vec(any::<u8>(), 0..40),
        targets in proptest::collection::vec((any::<u64>(), any::<u16>(), any::<bool>()), 0..50),
    ) {
        let targets: Vec<Target<'_>> = targets
            .iter()
            .map(|(session, copy, retain)| Target {
                session: key(*session),
                copy: *copy,
                qos: QoS::AtLeastOnce,
                retain: *retain,
                identifiers: Cow::Borrowed(&[]),
                share: None,
            })
            .collect();
        let record = Record::Message(Message {
            number: 1,
            received_at_ms: 2,
            expires_at_ms: 3,
            publish: publish(&topic, &payload, QoS::AtLeastOnce, false),
            client_id: &client_id,
            retain: false,
            rewritten: false,
            cause: Cause::None,
            targets: Cow::Owned(targets),
        });
        let bytes = bytes_of(&record);
        prop_assert_eq!(decode(&bytes), Ok(record.clone()));
    }
}
