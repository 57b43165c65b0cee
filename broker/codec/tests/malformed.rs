//! Packets that must be refused, and what the error says of them.
//!
//! Each row names the statements of the standard that it proves; statements of 3.1.1 are marked with `3.1.1:`.

mod support;

use broker_codec::{DecodeError, Decoder, MAX_PACKET_SIZE, Role, Version};
use support::{bytes, connected, decode_one};

/// Checks that a packet of a connected peer is refused with this reason code and text.
#[track_caller]
fn refuse(role: Role, version: Version, packet: &str, code: u8, text: &str) {
    let error = decode_one(&mut connected(role, version), &bytes(packet)).expect_err(packet);
    assert_eq!((error.reason_code().as_u8(), error.to_string().as_str()), (code, text), "{packet}");
}

/// Checks that a first packet is refused; gives the version that the decoder has learned.
#[track_caller]
fn refuse_first(packet: &str, code: u8, text: &str) -> Option<Version> {
    let mut decoder = Decoder::server(MAX_PACKET_SIZE);
    let error = decode_one(&mut decoder, &bytes(packet)).expect_err(packet);
    assert_eq!((error.reason_code().as_u8(), error.to_string().as_str()), (code, text), "{packet}");
    decoder.version()
}

#[test]
fn fixed_header() {
    use Role::{Client, Server};
    use Version::{V3, V4, V5};
    for (role, version, packet, code, text) in [
        // [MQTT-2.1.3-1], 3.1.1: [MQTT-2.2.2-2]
        (Server, V5, "00 00", 0x81, "malformed packet, packet type at byte 0: packet type 0 is reserved"),
        (
            Server,
            V4,
            "f0 00",
            0x81,
            "malformed AUTH, packet type at byte 0: AUTH does not exist in MQTT 3.1.1",
        ),
        (Server, V5, "c1 00", 0x81, "malformed PINGREQ, flags at byte 0: flags are 0b0001, expected 0b0000"),
        (
            Server,
            V4,
            "42 02 00 01",
            0x81,
            "malformed PUBACK, flags at byte 0: flags are 0b0010, expected 0b0000",
        ),
        // [MQTT-3.6.1-1]
        (
            Server,
            V5,
            "60 02 00 01",
            0x81,
            "malformed PUBREL, flags at byte 0: flags are 0b0000, expected 0b0010",
        ),
        // [MQTT-3.8.1-1]
        (
            Server,
            V4,
            r#"80 06 00 01 00 01 "a" 00"#,
            0x81,
            "malformed SUBSCRIBE, flags at byte 0: flags are 0b0000, expected 0b0010",
        ),
        (
            Server,
            V4,
            r#"8a 06 00 01 00 01 "a" 00"#,
            0x81,
            "malformed SUBSCRIBE, flags at byte 0: flags are 0b1010, expected 0b0010",
        ),
        (
            Server,
            V3,
            r#"86 06 00 01 00 01 "a" 00"#,
            0x81,
            "malformed SUBSCRIBE, flags at byte 0: flags are 0b0110, expected 0b0010",
        ),
        // [MQTT-3.10.1-1]
        (
            Server,
            V4,
            r#"a0 05 00 01 00 01 "a""#,
            0x81,
            "malformed UNSUBSCRIBE, flags at byte 0: flags are 0b0000, expected 0b0010",
        ),
        // [MQTT-3.14.1-1]
        (
            Server,
            V5,
            "e1 00",
            0x81,
            "malformed DISCONNECT, flags at byte 0: flags are 0b0001, expected 0b0000",
        ),
        // [MQTT-3.15.1-1]
        (Server, V5, "f1 00", 0x81, "malformed AUTH, flags at byte 0: flags are 0b0001, expected 0b0000"),
        // [MQTT-1.5.5-1]
        (
            Server,
            V5,
            "c0 80 00",
            0x81,
            "malformed PINGREQ, remaining length at byte 1: variable byte integer takes 2 bytes where 1 do",
        ),
        (
            Server,
            V4,
            "c0 80 80 80 80 00",
            0x81,
            "malformed PINGREQ, remaining length at byte 1: variable byte integer is longer than four bytes",
        ),
        // remaining length and content disagree
        (
            Server,
            V4,
            "c0 01 00",
            0x81,
            "malformed PINGREQ, end of packet at byte 2: 1 bytes follow after the last field",
        ),
        (
            Server,
            V4,
            "40 03 00 01 00",
            0x81,
            "malformed PUBACK, end of packet at byte 4: 1 bytes follow after the last field",
        ),
        (
            Server,
            V4,
            "40 01 00",
            0x81,
            "malformed PUBACK, packet identifier at byte 2: 2 bytes needed, 1 left",
        ),
        // [MQTT-3.1.0-2]
        (
            Server,
            V5,
            r#"10 0d 00 04 "MQTT" 05 02 00 00 00 00 00"#,
            0x82,
            "protocol error in CONNECT, packet type at byte 0: second CONNECT on the same connection",
        ),
        // packets of the other side
        (
            Server,
            V5,
            "20 03 00 00 00",
            0x82,
            "protocol error in CONNACK, packet type at byte 0: only the other side may send this packet",
        ),
        (
            Server,
            V4,
            "90 03 00 01 00",
            0x82,
            "protocol error in SUBACK, packet type at byte 0: only the other side may send this packet",
        ),
        (
            Server,
            V4,
            "b0 02 00 01",
            0x82,
            "protocol error in UNSUBACK, packet type at byte 0: only the other side may send this packet",
        ),
        (
            Server,
            V4,
            "d0 00",
            0x82,
            "protocol error in PINGRESP, packet type at byte 0: only the other side may send this packet",
        ),
        (
            Client,
            V5,
            "c0 00",
            0x82,
            "protocol error in PINGREQ, packet type at byte 0: only the other side may send this packet",
        ),
        (
            Client,
            V4,
            "e0 00",
            0x82,
            "protocol error in DISCONNECT, packet type at byte 0: only the other side may send this packet",
        ),
    ] {
        refuse(role, version, packet, code, text);
    }
}

#[test]
fn connect() {
    let v3 = Some(Version::V3);
    let v4 = Some(Version::V4);
    let v5 = Some(Version::V5);
    for (packet, code, text, version) in [
        // [MQTT-3.1.0-1]
        (
            "c0 00",
            0x82,
            "protocol error in PINGREQ, packet type at byte 0: first packet is not CONNECT",
            None,
        ),
        ("00 00", 0x82, "protocol error in packet, packet type at byte 0: first packet is not CONNECT", None),
        // [MQTT-3.1.2-1]
        (
            r#"10 0c 00 04 "HTTP" 04 02 00 00 00 00"#,
            0x84,
            "protocol name is `HTTP`, expected `MQTT` or `MQIsdp`",
            None,
        ),
        // [MQTT-3.1.2-2]
        (
            r#"10 0c 00 04 "MQTT" 03 02 00 00 00 00"#,
            0x84,
            "protocol level 3 is not supported, expected 3, 4 or 5",
            None,
        ),
        (
            r#"10 0e 00 06 "MQIsdp" 04 02 00 00 00 00"#,
            0x84,
            "protocol level 4 is not supported, expected 3, 4 or 5",
            None,
        ),
        (
            r#"10 0c 00 04 "MQTT" 06 02 00 00 00 00"#,
            0x84,
            "protocol level 6 is not supported, expected 3, 4 or 5",
            None,
        ),
        (
            r#"10 0d 00 04 "MQTT" 85 02 00 00 00 00 00"#,
            0x84,
            "protocol level 133 is not supported, expected 3, 4 or 5",
            None,
        ),
        // [MQTT-3.1.2-3]
        (
            r#"10 0c 00 04 "MQTT" 04 03 00 00 00 00"#,
            0x81,
            "malformed CONNECT, connect flags at byte 9: reserved connect flag is set",
            v4,
        ),
        // [MQTT-3.1.2-11], [MQTT-3.1.2-13], 3.1.1: [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15]
        (
            r#"10 0c 00 04 "MQTT" 04 0a 00 00 00 00"#,
            0x81,
            "malformed CONNECT, connect flags at byte 9: connect flags 0b00001010 have a will QoS or will retain without a will",
            v4,
        ),
        (
            r#"10 0d 00 04 "MQTT" 05 22 00 00 00 00 00"#,
            0x81,
            "malformed CONNECT, connect flags at byte 9: connect flags 0b00100010 have a will QoS or will retain without a will",
            v5,
        ),
        // [MQTT-3.1.2-12], 3.1.1: [MQTT-3.1.2-14]
        (
            r#"10 0d 00 04 "MQTT" 05 1e 00 00 00 00 00"#,
            0x81,
            "malformed CONNECT, connect flags at byte 9: will QoS is 3, expected 0, 1 or 2",
            v5,
        ),
        // 3.1.1: [MQTT-3.1.2-22]
        (
            r#"10 0f 00 04 "MQTT" 04 42 00 00 00 00 00 01 "p""#,
            0x81,
            "malformed CONNECT, connect flags at byte 9: password flag without user name flag, which MQTT 3.1.1 forbids",
            v4,
        ),
        (
            r#"10 11 00 06 "MQIsdp" 03 42 00 00 00 00 00 01 "p""#,
            0x81,
            "malformed CONNECT, connect flags at byte 11: password flag without user name flag, which MQTT 3.1 forbids",
            v3,
        ),
        // [MQTT-3.1.2-9]: a will without its fields
        (
            r#"10 0c 00 04 "MQTT" 04 06 00 00 00 00"#,
            0x81,
            "malformed CONNECT, will topic at byte 14: 2 bytes needed, 0 left",
            v4,
        ),
        // [MQTT-3.1.2-17], [MQTT-3.1.2-19]: flags without fields
        (
            r#"10 0c 00 04 "MQTT" 04 82 00 00 00 00"#,
            0x81,
            "malformed CONNECT, user name at byte 14: 2 bytes needed, 0 left",
            v4,
        ),
        (
            r#"10 0d 00 04 "MQTT" 05 42 00 00 00 00 00"#,
            0x81,
            "malformed CONNECT, password at byte 15: 2 bytes needed, 0 left",
            v5,
        ),
        // [MQTT-3.1.2-16], [MQTT-3.1.2-18]: fields without flags
        (
            r#"10 0f 00 04 "MQTT" 04 02 00 00 00 00 00 01 "u""#,
            0x81,
            "malformed CONNECT, end of packet at byte 14: 3 bytes follow after the last field",
            v4,
        ),
        // [MQTT-3.1.3-3], [MQTT-3.1.3-4]
        (
            r#"10 0a 00 04 "MQTT" 04 02 00 00"#,
            0x81,
            "malformed CONNECT, client identifier at byte 12: 2 bytes needed, 0 left",
            v4,
        ),
        (
            r#"10 0d 00 04 "MQTT" 04 02 00 00 00 01 ff"#,
            0x81,
            "malformed CONNECT, client identifier at byte 12: not UTF-8 from byte 0 of the text on",
            v4,
        ),
        // [MQTT-3.1.3-11], [MQTT-3.1.3-12]
        (
            r#"10 11 00 04 "MQTT" 04 06 00 00 00 00 00 01 ff 00 00"#,
            0x81,
            "malformed CONNECT, will topic at byte 14: not UTF-8 from byte 0 of the text on",
            v4,
        ),
        (
            r#"10 0f 00 04 "MQTT" 04 82 00 00 00 00 00 01 00"#,
            0x81,
            "malformed CONNECT, user name at byte 14: U+0000 at byte 0 of the text",
            v4,
        ),
        // a will topic with wildcards, or empty
        (
            r#"10 11 00 04 "MQTT" 04 06 00 00 00 00 00 01 "+" 00 00"#,
            0x90,
            "protocol error in CONNECT, will topic at byte 14: will topic is not a topic name",
            v4,
        ),
        (
            r#"10 10 00 04 "MQTT" 04 06 00 00 00 00 00 00 00 00"#,
            0x90,
            "protocol error in CONNECT, will topic at byte 14: will topic is not a topic name",
            v4,
        ),
        // properties
        (
            r#"10 10 00 04 "MQTT" 05 02 00 00 03 21 00 00 00 00"#,
            0x82,
            "protocol error in CONNECT, receive maximum at byte 14: receive maximum is 0, expected 1 to 65535",
            v5,
        ),
        (
            r#"10 12 00 04 "MQTT" 05 02 00 00 05 27 00 00 00 00 00 00"#,
            0x82,
            "protocol error in CONNECT, maximum packet size at byte 14: maximum packet size is 0, expected 1 to 4294967295",
            v5,
        ),
        (
            r#"10 0f 00 04 "MQTT" 05 02 00 00 02 17 02 00 00"#,
            0x82,
            "protocol error in CONNECT, request problem information at byte 14: request problem information is 2, expected 0 or 1",
            v5,
        ),
        (
            r#"10 0f 00 04 "MQTT" 05 02 00 00 02 19 02 00 00"#,
            0x82,
            "protocol error in CONNECT, request response information at byte 14: request response information is 2, expected 0 or 1",
            v5,
        ),
        (
            r#"10 11 00 04 "MQTT" 05 02 00 00 04 16 00 01 00 00 00"#,
            0x82,
            "protocol error in CONNECT, properties at byte 12: authentication data without authentication method",
            v5,
        ),
        (
            r#"10 0f 00 04 "MQTT" 05 02 00 00 02 01 01 00 00"#,
            0x81,
            "malformed CONNECT, property identifier at byte 13: payload format indicator is not a property of CONNECT",
            v5,
        ),
        (
            r#"10 17 00 04 "MQTT" 05 06 00 00 00 00 00 05 11 00 00 00 01 00 01 "t" 00 00"#,
            0x81,
            "malformed CONNECT, property identifier at byte 16: session expiry interval is not a property of the will of CONNECT",
            v5,
        ),
        // [MQTT-1.5.5-1]: seen once the level says 5.0
        (
            r#"10 8d 00 00 04 "MQTT" 05 02 00 00 00 00 00"#,
            0x81,
            "malformed CONNECT, remaining length at byte 1: variable byte integer takes 2 bytes where 1 do",
            v5,
        ),
    ] {
        assert_eq!(refuse_first(packet, code, text), version, "{packet}");
    }
}

#[test]
fn publish() {
    use Version::{V4, V5};
    for (version, packet, code, text) in [
        // [MQTT-3.3.1-2]
        (V4, r#"38 03 00 01 "a""#, 0x81, "malformed PUBLISH, flags at byte 0: DUP flag is set with QoS 0"),
        // [MQTT-3.3.1-4]
        (
            V5,
            r#"36 06 00 01 "a" 00 01 00"#,
            0x81,
            "malformed PUBLISH, flags at byte 0: QoS is 3, expected 0, 1 or 2",
        ),
        // [MQTT-3.3.2-1], [MQTT-1.5.4-1], [MQTT-1.5.4-2]
        (
            V4,
            "30 05 00 03 ed a0 80",
            0x81,
            "malformed PUBLISH, topic name at byte 2: not UTF-8 from byte 0 of the text on",
        ),
        (
            V4,
            r#"30 04 00 02 "a" 00"#,
            0x81,
            "malformed PUBLISH, topic name at byte 2: U+0000 at byte 1 of the text",
        ),
        (V4, r#"30 04 00 03 "ab""#, 0x81, "malformed PUBLISH, topic name at byte 4: 3 bytes needed, 2 left"),
        (V4, "30 01 00", 0x81, "malformed PUBLISH, topic name at byte 2: 2 bytes needed, 1 left"),
        // [MQTT-4.7.3-1]
        (
            V4,
            "30 02 00 00",
            0x82,
            "protocol error in PUBLISH, topic name at byte 2: neither a topic name nor a topic alias",
        ),
        (
            V5,
            "30 03 00 00 00",
            0x82,
            "protocol error in PUBLISH, topic name at byte 2: neither a topic name nor a topic alias",
        ),
        // [MQTT-2.2.1-3]
        (
            V5,
            r#"32 06 00 01 "a" 00 00 00"#,
            0x82,
            "protocol error in PUBLISH, packet identifier at byte 5: packet identifier is 0",
        ),
        (
            V4,
            r#"32 04 00 01 "a" 00"#,
            0x81,
            "malformed PUBLISH, packet identifier at byte 5: 2 bytes needed, 1 left",
        ),
        // [MQTT-3.3.2-8]
        (
            V5,
            r#"30 07 00 01 "a" 03 23 00 00"#,
            0x94,
            "protocol error in PUBLISH, topic alias at byte 7: topic alias is 0, expected 1 to 65535",
        ),
        // [MQTT-3.3.4-6]
        (
            V5,
            r#"30 06 00 01 "a" 02 0b 01"#,
            0x82,
            "protocol error in PUBLISH, subscription identifier at byte 6: a client must not send a subscription identifier",
        ),
        // [MQTT-3.3.2-13], [MQTT-3.3.2-14]
        (
            V5,
            r#"30 08 00 01 "a" 04 08 00 01 "+""#,
            0x82,
            "protocol error in PUBLISH, response topic at byte 7: response topic is not a topic name",
        ),
        (
            V5,
            r#"30 07 00 01 "a" 03 08 00 00"#,
            0x82,
            "protocol error in PUBLISH, response topic at byte 7: response topic is not a topic name",
        ),
        (
            V5,
            r#"30 08 00 01 "a" 04 08 00 01 ff"#,
            0x81,
            "malformed PUBLISH, response topic at byte 7: not UTF-8 from byte 0 of the text on",
        ),
        // [MQTT-3.3.2-19]
        (
            V5,
            r#"30 08 00 01 "a" 04 03 00 01 ff"#,
            0x81,
            "malformed PUBLISH, content type at byte 7: not UTF-8 from byte 0 of the text on",
        ),
        // [MQTT-1.5.7-1]
        (
            V5,
            r#"30 0b 00 01 "a" 07 26 00 01 ff 00 01 "v""#,
            0x81,
            "malformed PUBLISH, name of user property at byte 7: not UTF-8 from byte 0 of the text on",
        ),
        (
            V5,
            r#"30 0b 00 01 "a" 07 26 00 01 "n" 00 01 00"#,
            0x81,
            "malformed PUBLISH, value of user property at byte 10: U+0000 at byte 0 of the text",
        ),
        // [MQTT-2.2.2-1] and properties in general
        (
            V5,
            r#"30 03 00 01 "a""#,
            0x81,
            "malformed PUBLISH, property length at byte 5: 1 bytes needed, 0 left",
        ),
        (
            V5,
            r#"30 05 00 01 "a" 03 01"#,
            0x81,
            "malformed PUBLISH, properties at byte 6: 3 bytes needed, 1 left",
        ),
        (
            V5,
            r#"30 05 00 01 "a" 01 01"#,
            0x81,
            "malformed PUBLISH, payload format indicator at byte 7: 1 bytes needed, 0 left",
        ),
        (
            V5,
            r#"30 06 00 01 "a" 02 04 00"#,
            0x81,
            "malformed PUBLISH, property identifier at byte 6: unknown property 0x04",
        ),
        (
            V5,
            r#"30 07 00 01 "a" 03 81 00 01"#,
            0x81,
            "malformed PUBLISH, property identifier at byte 6: variable byte integer takes 2 bytes where 1 do",
        ),
        (
            V5,
            r#"30 08 00 01 "a" 04 01 00 01 00"#,
            0x82,
            "protocol error in PUBLISH, payload format indicator at byte 8: payload format indicator is there twice",
        ),
        (
            V5,
            r#"30 06 00 01 "a" 02 01 07"#,
            0x82,
            "protocol error in PUBLISH, payload format indicator at byte 7: payload format indicator is 7, expected 0 or 1",
        ),
        (
            V5,
            r#"30 08 00 01 "a" 04 1f 00 01 "r""#,
            0x81,
            "malformed PUBLISH, property identifier at byte 6: reason string is not a property of PUBLISH",
        ),
    ] {
        refuse(Role::Server, version, packet, code, text);
    }
    // [MQTT-3.3.4-3]: 0 is no identifier, also from a server
    refuse(
        Role::Client,
        V5,
        r#"30 06 00 01 "a" 02 0b 00"#,
        0x82,
        "protocol error in PUBLISH, subscription identifier at byte 7: subscription identifier is 0, expected 1 to 268435455",
    );
}

#[test]
fn subscribe_and_unsubscribe() {
    use Version::{V3, V4, V5};
    for (version, packet, code, text) in [
        // [MQTT-3.8.3-1]
        (
            V4,
            "82 06 00 01 00 01 ff 00",
            0x81,
            "malformed SUBSCRIBE, topic filter at byte 4: not UTF-8 from byte 0 of the text on",
        ),
        // [MQTT-3.8.3-2]
        (V4, "82 02 00 01", 0x82, "protocol error in SUBSCRIBE, payload at byte 4: no topic filter"),
        (V5, "82 03 00 01 00", 0x82, "protocol error in SUBSCRIBE, payload at byte 5: no topic filter"),
        // [MQTT-3.8.3-4]
        (
            V5,
            r#"82 10 00 01 00 00 0a "$share/g/a" 04"#,
            0x82,
            "protocol error in SUBSCRIBE, subscription options at byte 17: no local is set for a shared subscription",
        ),
        // [MQTT-3.8.3-5]
        (
            V5,
            r#"82 07 00 01 00 00 01 "a" 40"#,
            0x81,
            "malformed SUBSCRIBE, subscription options at byte 8: subscription options are 0b01000000, reserved bits must be 0",
        ),
        (
            V4,
            r#"82 06 00 01 00 01 "a" 03"#,
            0x81,
            "malformed SUBSCRIBE, subscription options at byte 7: subscription options are 0b00000011, reserved bits must be 0",
        ),
        (
            V4,
            r#"82 06 00 01 00 01 "a" 04"#,
            0x81,
            "malformed SUBSCRIBE, subscription options at byte 7: subscription options are 0b00000100, reserved bits must be 0",
        ),
        (
            V5,
            r#"82 07 00 01 00 00 01 "a" 03"#,
            0x82,
            "protocol error in SUBSCRIBE, subscription options at byte 8: maximum QoS is 3, expected 0, 1 or 2",
        ),
        (
            V5,
            r#"82 07 00 01 00 00 01 "a" 30"#,
            0x82,
            "protocol error in SUBSCRIBE, subscription options at byte 8: retain handling is 3, expected 0, 1 or 2",
        ),
        (
            V4,
            r#"82 05 00 01 00 01 "a""#,
            0x81,
            "malformed SUBSCRIBE, subscription options at byte 7: 1 bytes needed, 0 left",
        ),
        // [MQTT-2.2.1-3]
        (
            V3,
            r#"82 06 00 00 00 01 "a" 00"#,
            0x82,
            "protocol error in SUBSCRIBE, packet identifier at byte 2: packet identifier is 0",
        ),
        (
            V5,
            r#"82 09 00 01 02 0b 00 00 01 "a" 00"#,
            0x82,
            "protocol error in SUBSCRIBE, subscription identifier at byte 6: subscription identifier is 0, expected 1 to 268435455",
        ),
        (
            V5,
            r#"82 0b 00 01 04 0b 01 0b 02 00 01 "a" 00"#,
            0x82,
            "protocol error in SUBSCRIBE, subscription identifier at byte 7: subscription identifier is there twice",
        ),
        // [MQTT-3.10.3-1], [MQTT-3.10.3-2]
        (
            V4,
            "a2 05 00 01 00 01 ff",
            0x81,
            "malformed UNSUBSCRIBE, topic filter at byte 4: not UTF-8 from byte 0 of the text on",
        ),
        (V4, "a2 02 00 01", 0x82, "protocol error in UNSUBSCRIBE, payload at byte 4: no topic filter"),
        (V5, "a2 03 00 01 00", 0x82, "protocol error in UNSUBSCRIBE, payload at byte 5: no topic filter"),
        (
            V5,
            "a2 02 00 00",
            0x82,
            "protocol error in UNSUBSCRIBE, packet identifier at byte 2: packet identifier is 0",
        ),
    ] {
        refuse(Role::Server, version, packet, code, text);
    }
}

#[test]
fn answers() {
    use Role::{Client, Server};
    use Version::{V3, V4, V5};
    for (role, version, packet, code, text) in [
        // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
        (
            Server,
            V5,
            "40 03 00 01 92",
            0x82,
            "protocol error in PUBACK, reason code at byte 4: reason code 0x92 is not defined for this packet",
        ),
        (
            Server,
            V5,
            "50 03 00 01 01",
            0x82,
            "protocol error in PUBREC, reason code at byte 4: reason code 0x01 is not defined for this packet",
        ),
        (
            Server,
            V5,
            "62 03 00 01 91",
            0x82,
            "protocol error in PUBREL, reason code at byte 4: reason code 0x91 is not defined for this packet",
        ),
        (
            Server,
            V5,
            "70 03 00 01 10",
            0x82,
            "protocol error in PUBCOMP, reason code at byte 4: reason code 0x10 is not defined for this packet",
        ),
        (
            Server,
            V5,
            "40 02 00 00",
            0x82,
            "protocol error in PUBACK, packet identifier at byte 2: packet identifier is 0",
        ),
        (
            Server,
            V5,
            "40 05 00 01 00 00 00",
            0x81,
            "malformed PUBACK, end of packet at byte 6: 1 bytes follow after the last field",
        ),
        (
            Server,
            V5,
            "40 06 00 01 00 02 01 01",
            0x81,
            "malformed PUBACK, property identifier at byte 6: payload format indicator is not a property of PUBACK",
        ),
        // [MQTT-3.2.2-1]
        (
            Client,
            V4,
            "20 02 02 00",
            0x81,
            "malformed CONNACK, connect acknowledge flags at byte 2: acknowledge flags are 0b00000010, expected 0 or 1",
        ),
        (
            Client,
            V3,
            "20 02 01 00",
            0x81,
            "malformed CONNACK, connect acknowledge flags at byte 2: acknowledge flags are 0b00000001, expected 0",
        ),
        // [MQTT-3.2.2-6], [MQTT-3.2.2-8]
        (
            Client,
            V4,
            "20 02 01 05",
            0x82,
            "protocol error in CONNACK, connect acknowledge flags at byte 2: session present flag in a refusal",
        ),
        (
            Client,
            V4,
            "20 02 00 06",
            0x82,
            "protocol error in CONNACK, connect return code at byte 3: reason code 0x06 is not defined for this packet",
        ),
        (
            Client,
            V5,
            "20 03 00 8e 00",
            0x82,
            "protocol error in CONNACK, reason code at byte 3: reason code 0x8E is not defined for this packet",
        ),
        // [MQTT-3.9.3-2]
        (
            Client,
            V4,
            "90 03 00 01 87",
            0x82,
            "protocol error in SUBACK, return code at byte 4: reason code 0x87 is not defined for this packet",
        ),
        (
            Client,
            V3,
            "90 03 00 01 80",
            0x82,
            "protocol error in SUBACK, return code at byte 4: reason code 0x80 is not defined for this packet",
        ),
        (
            Client,
            V5,
            "90 04 00 01 00 03",
            0x82,
            "protocol error in SUBACK, reason code at byte 5: reason code 0x03 is not defined for this packet",
        ),
        (Client, V5, "90 03 00 01 00", 0x82, "protocol error in SUBACK, payload at byte 5: no reason code"),
        // [MQTT-3.11.3-2]
        (
            Client,
            V5,
            "b0 04 00 01 00 01",
            0x82,
            "protocol error in UNSUBACK, reason code at byte 5: reason code 0x01 is not defined for this packet",
        ),
        (Client, V5, "b0 03 00 01 00", 0x82, "protocol error in UNSUBACK, payload at byte 5: no reason code"),
        (
            Client,
            V4,
            "b0 03 00 01 00",
            0x81,
            "malformed UNSUBACK, end of packet at byte 4: 1 bytes follow after the last field",
        ),
    ] {
        refuse(role, version, packet, code, text);
    }
}

#[test]
fn disconnect_and_auth() {
    use Role::{Client, Server};
    for (role, packet, code, text) in [
        // [MQTT-3.14.2-1]
        (
            Server,
            "e0 01 01",
            0x82,
            "protocol error in DISCONNECT, reason code at byte 2: reason code 0x01 is not defined for this packet",
        ),
        // [MQTT-3.14.2-2]
        (
            Client,
            "e0 07 00 05 11 00 00 00 01",
            0x82,
            "protocol error in DISCONNECT, session expiry interval at byte 4: a server must not send a session expiry interval in DISCONNECT",
        ),
        (
            Server,
            "e0 03 00 00 00",
            0x81,
            "malformed DISCONNECT, end of packet at byte 4: 1 bytes follow after the last field",
        ),
        // [MQTT-3.15.2-1]
        (
            Server,
            "f0 02 01 00",
            0x82,
            "protocol error in AUTH, reason code at byte 2: reason code 0x01 is not defined for this packet",
        ),
        (
            Server,
            "f0 00",
            0x82,
            "protocol error in AUTH, reason code at byte 2: only the other side may send this packet",
        ),
        (
            Client,
            "f0 02 19 00",
            0x82,
            "protocol error in AUTH, reason code at byte 2: only the other side may send this packet",
        ),
        (
            Server,
            "f0 02 18 00",
            0x82,
            "protocol error in AUTH, properties at byte 3: no authentication method",
        ),
        (Server, "f0 01 18", 0x81, "malformed AUTH, property length at byte 3: 1 bytes needed, 0 left"),
    ] {
        refuse(role, Version::V5, packet, code, text);
    }
    refuse(
        Role::Server,
        Version::V4,
        "e0 01 00",
        0x81,
        "malformed DISCONNECT, end of packet at byte 2: 1 bytes follow after the last field",
    );
}

/// [MQTT-3.2.2-15], and the version of a CONNECT that is itself too large.
#[test]
fn packets_that_are_too_large() {
    let mut decoder = connected(Role::Server, Version::V5);
    decoder.set_max_packet_size(100);
    let error = decoder.decode_slice(&[0x30, 99]).expect_err("101 bytes are announced");
    assert_eq!(error, DecodeError::TooLarge { size: 101, limit: 100 });
    assert_eq!(error.reason_code().as_u8(), 0x95);
    assert!(decoder.decode_slice(&[0x30, 98]).is_ok(), "a packet as large as the limit is allowed");

    let connect = bytes(r#"10 7f 00 04 "MQTT" 05"#);
    let mut decoder = Decoder::server(100);
    for len in 0..connect.len() {
        assert!(decoder.decode_slice(&connect[..len]).is_ok(), "{len} bytes do not tell the version");
    }
    let more = [&connect[..], &[2, 0, 0]].concat();
    assert_eq!(decoder.decode_slice(&more), Err(DecodeError::TooLarge { size: 129, limit: 100 }));
    assert_eq!(decoder.version(), Some(Version::V5));
}

#[test]
fn who_does_not_speak_mqtt_gets_no_answer() {
    for (packet, silent) in [
        ("c0 00", true),
        (r#""GET / HTTP/1.1""#, true),
        (r#"10 0c 00 04 "HTTP" 04 02 00 00 00 00"#, true),
        (r#"10 0c 00 04 "MQTT" 07 02 00 00 00 00"#, false),
        (r#"10 0c 00 04 "MQTT" 04 03 00 00 00 00"#, false),
    ] {
        let error = Decoder::server(MAX_PACKET_SIZE).decode_slice(&bytes(packet)).expect_err(packet);
        assert_eq!(error.closes_silently(), silent, "{packet}");
    }
}
