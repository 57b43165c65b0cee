//! A connection as its client sees it: whatever a client does, what it is sent keeps to the standard.

use std::collections::{BTreeMap, VecDeque};

use broker_codec::{Decoder, MAX_PACKET_SIZE, Packet, PacketId, QoS, ReasonCode, Step, Version};

/// What a client knows of its connection, and what it may expect.
#[derive(Default)]
pub(crate) struct View {
    version: Option<Version>,
    decoder: Option<Decoder>,
    unread: Vec<u8>,
    maximum_packet_size: u32,
    receive_maximum: u16,
    alias_maximum: u16,
    aliases: BTreeMap<u16, String>,
    /// Messages that the client has not acknowledged.
    open: BTreeMap<PacketId, QoS>,
    /// Requests whose answers are to come: the identifier, and how many codes there are.
    subscribes: VecDeque<(PacketId, usize)>,
    unsubscribes: VecDeque<(PacketId, usize)>,
    pings: usize,
    accepted: bool,
    /// After a refusal or a DISCONNECT nothing comes.
    over: bool,
    /// The last reason that the client was told.
    pub(crate) told: Option<ReasonCode>,
    /// The Receive Maximum of the server.
    pub(crate) server_receive_maximum: u16,
    pub(crate) session_present: bool,
}

impl View {
    /// Notes a packet that the broker has understood.
    pub(crate) fn note_sent(&mut self, packet: &Packet) {
        match packet {
            Packet::Connect(connect) if self.version.is_none() => {
                let properties = connect.properties.as_ref();
                self.set_version(connect.version);
                self.maximum_packet_size = properties.maximum_packet_size().unwrap_or(MAX_PACKET_SIZE);
                self.receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
                self.alias_maximum = properties.topic_alias_maximum().unwrap_or(0);
            }
            // right or wrong: of what may be open at most this is known to have ended
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                let goes_on = matches!(packet, Packet::PubRec(ack) if !ack.reason.is_error());
                if !goes_on {
                    self.open.remove(&ack.packet_id);
                }
            }
            Packet::Subscribe(request) => {
                self.subscribes.push_back((request.packet_id, request.subscriptions.len()));
            }
            Packet::Unsubscribe(request) => {
                self.unsubscribes.push_back((request.packet_id, request.filters.len()));
            }
            Packet::PingReq => self.pings += 1,
            _ => {}
        }
    }

    /// Notes what the broker found out of the version of who sent no valid CONNECT.
    pub(crate) fn set_version(&mut self, version: Version) {
        self.version = Some(version);
        self.decoder = Some(Decoder::client(version, MAX_PACKET_SIZE));
        self.maximum_packet_size = MAX_PACKET_SIZE;
        self.receive_maximum = u16::MAX;
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether the client was told that it is welcome.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted
    }

    pub(crate) fn maximum_packet_size(&self) -> u32 {
        self.maximum_packet_size
    }

    /// Whether every request was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.subscribes.is_empty() && self.unsubscribes.is_empty() && self.pings == 0
    }

    /// Takes bytes from the broker, checks them, and gives back the packets.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<Packet> {
        self.unread.extend_from_slice(bytes);
        if self.unread.is_empty() {
            return Vec::new();
        }
        let Some(mut decoder) = self.decoder.take() else {
            // who asks for an unknown version is answered in a form that it may know
            assert!(
                matches!(&self.unread[..], [0x20, 2, 0, 1] | [0x20, 3, 0, 0x84, 0]),
                "{:02x?}",
                self.unread
            );
            self.over = true;
            self.unread.clear();
            return Vec::new();
        };
        let mut packets = Vec::new();
        while !self.unread.is_empty() {
            let step = decoder.decode_slice(&self.unread).expect("the broker speaks MQTT");
            let Step::Packet { packet, consumed } = step else { break };
            assert!(
                consumed <= self.maximum_packet_size as usize,
                "larger than the client takes: {packet:?}"
            );
            self.unread.drain(..consumed);
            self.check(&packet);
            packets.push(packet);
        }
        self.decoder = Some(decoder);
        packets
    }

    fn check(&mut self, packet: &Packet) {
        assert!(!self.over, "after the end: {packet:?}");
        match packet {
            Packet::ConnAck(connack) => {
                assert!(!self.accepted, "a second CONNACK");
                self.accepted = !connack.reason.is_error();
                self.over = connack.reason.is_error();
                self.told = Some(connack.reason);
                self.session_present = connack.session_present;
                assert!(self.accepted || !connack.session_present);
                self.server_receive_maximum =
                    connack.properties.as_ref().receive_maximum().unwrap_or(u16::MAX);
                return;
            }
            _ => assert!(self.accepted, "before CONNACK: {packet:?}"),
        }
        match packet {
            Packet::Publish(publish) => self.check_publish(publish),
            Packet::PubRel(ack) => {
                assert!(self.version == Some(Version::V5) || !ack.reason.is_error());
            }
            Packet::SubAck(suback) => {
                let asked = self.subscribes.pop_front();
                assert_eq!(asked, Some((suback.packet_id, suback.reasons.len())), "SUBACK");
            }
            Packet::UnsubAck(unsuback) => {
                let (packet_id, count) = self.unsubscribes.pop_front().expect("somebody asked");
                assert_eq!(packet_id, unsuback.packet_id);
                assert!(unsuback.reasons.len() == count || self.version != Some(Version::V5));
            }
            Packet::PingResp => self.pings = self.pings.checked_sub(1).expect("somebody asked"),
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => {}
            Packet::Disconnect(disconnect) => {
                assert_eq!(self.version, Some(Version::V5), "older versions know no DISCONNECT of a server");
                self.over = true;
                self.told = Some(disconnect.reason);
            }
            other => panic!("a server does not send {other:?}"),
        }
    }

    fn check_publish(&mut self, publish: &broker_codec::Publish) {
        match publish.packet_id() {
            None => assert!(!publish.dup(), "[MQTT-3.3.1-2]"),
            Some(packet_id) => {
                let before = self.open.insert(packet_id, publish.qos());
                assert_eq!(before, None, "{packet_id} was in flight"); // [MQTT-2.2.1-4]
                assert!(self.open.len() <= usize::from(self.receive_maximum), "[MQTT-3.3.4-9]");
            }
        }
        let Some(alias) = publish.topic_alias() else {
            return assert!(!publish.topic().is_empty());
        };
        assert!((1..=self.alias_maximum).contains(&alias), "[MQTT-3.1.2-26]");
        if publish.topic().is_empty() {
            assert!(self.aliases.contains_key(&alias), "an alias that was never told");
        } else {
            self.aliases.insert(alias, publish.topic().to_owned());
        }
    }
}
