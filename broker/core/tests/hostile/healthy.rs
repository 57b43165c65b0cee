//! Clients that keep to the rules: they must not notice what others do.

use std::collections::{BTreeMap, BTreeSet};

use broker_codec::{
    Ack, Connect, Packet, PacketId, Properties, Property, Publish, PublishBuilder, QoS, ReasonCode,
    Subscribe, Subscription, SubscriptionOptions, Version,
};

/// Who a healthy client is and what it gets.
pub(crate) struct Healthy {
    pub(crate) client_id: String,
    version: Version,
    filter: Option<String>,
    /// Its place among the links.
    pub(crate) link: Option<usize>,
    /// Numbers of the messages that came, by their QoS at the publisher.
    pub(crate) got: [Vec<u32>; 3],
    /// QoS 2 messages that came and were not released.
    received: BTreeSet<PacketId>,
    /// Its own messages that are not acknowledged.
    unacknowledged: BTreeMap<PacketId, QoS>,
    next_id: u16,
    has_subscribed: bool,
}

fn ack(packet_id: PacketId) -> Ack {
    Ack::new(packet_id, ReasonCode::SUCCESS)
}

impl Healthy {
    pub(crate) fn new(client_id: String, version: Version, filter: Option<String>) -> Self {
        Self {
            client_id,
            version,
            filter,
            link: None,
            got: Default::default(),
            received: BTreeSet::new(),
            unacknowledged: BTreeMap::new(),
            next_id: 0,
            has_subscribed: false,
        }
    }

    /// The CONNECT: its session outlives its connection.
    pub(crate) fn connect(&self) -> Vec<u8> {
        let properties = match self.version {
            Version::V5 => Properties::from_list(&[Property::SessionExpiryInterval(1000)]).expect("valid"),
            _ => Properties::new(),
        };
        self.encode(&Packet::Connect(Box::new(Connect {
            version: self.version,
            bridge: false,
            clean_start: false,
            keep_alive_s: 0,
            client_id: self.client_id.clone(),
            will: None,
            username: None,
            password: None,
            properties,
        })))
    }

    pub(crate) fn encode(&self, packet: &Packet) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("a packet");
        bytes
    }

    /// How many messages it has got.
    pub(crate) fn got(&self) -> usize {
        self.got.iter().map(Vec::len).sum()
    }

    /// How many of its messages are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// A message with that number.
    pub(crate) fn publish(&mut self, topic: &str, number: u32, qos: QoS) -> Vec<u8> {
        let packet_id = (qos != QoS::AtMostOnce).then(|| {
            self.next_id = self.next_id % 60_000 + 1;
            PacketId::new(self.next_id).expect("not zero")
        });
        if let Some(packet_id) = packet_id {
            self.unacknowledged.insert(packet_id, qos);
        }
        let payload = [&[qos as u8], &number.to_be_bytes()[..]].concat();
        let builder =
            PublishBuilder { topic, payload: &payload, qos, packet_id, ..PublishBuilder::default() };
        self.encode(&Packet::Publish(builder.build().expect("a message")))
    }

    /// Takes what came, and gives the answers.
    pub(crate) fn take(&mut self, packets: Vec<Packet>) -> Vec<u8> {
        let mut answers = Vec::new();
        for packet in packets {
            let answer = match packet {
                Packet::ConnAck(connack) => {
                    assert_eq!(connack.reason, ReasonCode::SUCCESS, "a healthy client is welcome");
                    // 3.1 does not tell
                    let tells = self.version != Version::V3;
                    assert!(!tells || connack.session_present == self.has_subscribed, "its session is kept");
                    self.subscribe()
                }
                Packet::Publish(publish) => self.take_message(&publish),
                Packet::PubRel(release) => {
                    self.received.remove(&release.packet_id);
                    Some(Packet::PubComp(ack(release.packet_id)))
                }
                Packet::PubRec(received) => {
                    assert!(!received.reason.is_error(), "{received:?}");
                    Some(Packet::PubRel(ack(received.packet_id)))
                }
                Packet::PubAck(done) | Packet::PubComp(done) => {
                    assert!(!done.reason.is_error(), "{done:?}");
                    self.unacknowledged.remove(&done.packet_id).expect("it was open");
                    None
                }
                Packet::SubAck(suback) => {
                    assert!(!suback.reasons[0].is_error(), "{suback:?}");
                    self.has_subscribed = true;
                    None
                }
                Packet::PingResp => None,
                other => panic!("a healthy client got {other:?}"),
            };
            answers.extend(answer.map(|answer| self.encode(&answer)).unwrap_or_default());
        }
        answers
    }

    fn subscribe(&mut self) -> Option<Packet> {
        let filter = self.filter.clone().filter(|_| !self.has_subscribed);
        if self.filter.is_none() {
            self.has_subscribed = true; // it has a session to come back to
        }
        let options = SubscriptionOptions::with_qos(QoS::ExactlyOnce);
        filter.map(|filter| {
            let subscriptions = vec![Subscription { filter, options }];
            Packet::Subscribe(Subscribe {
                packet_id: PacketId::MAX,
                properties: Properties::new(),
                subscriptions,
            })
        })
    }

    fn take_message(&mut self, publish: &Publish) -> Option<Packet> {
        let payload: [u8; 5] = publish.payload_slice().try_into().expect("a message of ours");
        let (qos, number) =
            (usize::from(payload[0]), u32::from_be_bytes([payload[1], payload[2], payload[3], payload[4]]));
        assert_eq!(publish.qos() as usize, qos, "QoS as published");
        match (publish.qos(), publish.packet_id()) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                // what may have been sent before may come twice
                if !(publish.dup() && self.got[1].contains(&number)) {
                    self.got[1].push(number);
                }
                Some(Packet::PubAck(ack(packet_id)))
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                if self.received.insert(packet_id) {
                    self.got[2].push(number);
                }
                Some(Packet::PubRec(ack(packet_id)))
            }
            _ => {
                self.got[0].push(number);
                None
            }
        }
    }

    /// Notes that its connection has ended.
    pub(crate) fn disconnected(&mut self) {
        self.link = None;
    }
}
