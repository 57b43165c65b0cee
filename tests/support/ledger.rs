//! An MQTT 5 client on a raw socket that keeps exact books: what it has sent, what was acknowledged, what it was
//! promised. Its side of the session survives its connections, as that of a device with a flash memory does.

#![allow(dead_code, unreachable_pub)] // each test file is a crate of its own and uses a part

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use broker_codec::{
    Ack, ConnAck, Connect, Decoder, MAX_PACKET_SIZE, Packet, PacketId, Properties, Property, Publish,
    PublishBuilder, QoS, ReasonCode, Step, Subscribe, Subscription, SubscriptionOptions, Version, Will,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One network connection.
pub struct Wire {
    stream: TcpStream,
    decoder: Decoder,
    bytes: Vec<u8>,
    out: Vec<u8>,
}

/// How a client connects.
#[derive(Clone)]
pub struct Login {
    pub client_id: String,
    pub clean_start: bool,
    pub expiry_s: u32,
    pub will: Option<Will>,
}

impl Login {
    /// A session that outlives its connection.
    pub fn lasting(client_id: &str) -> Self {
        Self { client_id: client_id.to_owned(), clean_start: false, expiry_s: 3600, will: None }
    }

    /// A session that ends with its connection.
    pub fn passing(client_id: &str) -> Self {
        Self { client_id: client_id.to_owned(), clean_start: true, expiry_s: 0, will: None }
    }
}

impl Wire {
    /// Connects and waits for CONNACK.
    pub async fn connect(port: u16, login: &Login) -> io::Result<(Self, ConnAck)> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let decoder = Decoder::client(Version::V5, MAX_PACKET_SIZE);
        let mut wire = Self { stream, decoder, bytes: Vec::new(), out: Vec::new() };
        let expiry = [Property::SessionExpiryInterval(login.expiry_s)];
        wire.put(&Packet::Connect(Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: login.clean_start,
            keep_alive_s: 0,
            client_id: login.client_id.clone(),
            will: login.will.clone(),
            username: None,
            password: None,
            properties: Properties::from_list(&expiry).expect("valid"),
        })));
        match wire.next().await? {
            Packet::ConnAck(connack) => Ok((wire, connack)),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// Puts a packet down; it goes out with the next read.
    pub fn put(&mut self, packet: &Packet) {
        packet.encode(Version::V5, &mut self.out).expect("a packet");
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.stream.write_all(&out).await
    }

    /// Waits for a packet.
    pub async fn next(&mut self) -> io::Result<Packet> {
        self.flush().await?;
        loop {
            match self.decoder.decode_slice(&self.bytes) {
                Ok(Step::Packet { packet, consumed }) => {
                    self.bytes.drain(..consumed);
                    return Ok(packet);
                }
                Ok(Step::Incomplete { .. }) => {
                    if self.stream.read_buf(&mut self.bytes).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => panic!("the server sent no packet: {error}"),
            }
        }
    }

    /// Waits for a packet for so long at most.
    pub async fn next_within(&mut self, limit: Duration) -> io::Result<Option<Packet>> {
        match tokio::time::timeout(limit, self.next()).await {
            Ok(packet) => packet.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Subscribes and waits for SUBACK; messages that come before it are returned too.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> io::Result<Vec<Packet>> {
        let options = SubscriptionOptions::with_qos(qos);
        let subscriptions = vec![Subscription { filter: filter.to_owned(), options }];
        let properties = Properties::new();
        self.put(&Packet::Subscribe(Subscribe { packet_id: id(1), properties, subscriptions }));
        let mut before = Vec::new();
        loop {
            match self.next().await? {
                Packet::SubAck(suback) => {
                    assert!(suback.reasons.iter().all(|reason| !reason.is_error()), "{suback:?}");
                    return Ok(before);
                }
                other => before.push(other),
            }
        }
    }

    /// Publishes with QoS 1 and waits for PUBACK.
    pub async fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> io::Result<ReasonCode> {
        self.put(&message(topic, payload, QoS::AtLeastOnce, id(9), false, retain));
        loop {
            if let Packet::PubAck(ack) = self.next().await? {
                return Ok(ack.reason);
            }
        }
    }
}

pub fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

pub fn message(topic: &str, payload: &str, qos: QoS, packet_id: PacketId, dup: bool, retain: bool) -> Packet {
    let publish = PublishBuilder {
        topic,
        payload: payload.as_bytes(),
        qos,
        dup,
        retain,
        packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
        ..PublishBuilder::default()
    };
    Packet::Publish(publish.build().expect("a message"))
}

/// A client that publishes numbers, each once more than the one before, and knows which were acknowledged.
pub struct Publisher {
    pub login: Login,
    pub topic: String,
    pub qos: QoS,
    pub retain: bool,
    /// Sent and not over: number and packet id, in order; whether PUBREC came.
    inflight: VecDeque<(u64, PacketId, bool)>,
    next_number: u64,
    next_id: u16,
    /// The highest number that was acknowledged; all below it were too.
    pub acknowledged: BTreeSet<u64>,
    known: bool,
}

/// Messages that a publisher has under way.
const WINDOW: usize = 20;

impl Publisher {
    pub fn new(name: &str, topic: &str, qos: QoS, retain: bool) -> Self {
        Self {
            login: Login::lasting(name),
            topic: topic.to_owned(),
            qos,
            retain,
            inflight: VecDeque::new(),
            next_number: 1,
            next_id: 1,
            acknowledged: BTreeSet::new(),
            known: false,
        }
    }

    pub fn is_done(&self) -> bool {
        self.inflight.is_empty()
    }

    /// The highest number that was sent.
    pub fn sent(&self) -> u64 {
        self.next_number - 1
    }

    /// Runs one connection until it breaks, or `goes_on` says that nothing new should be sent and all is over.
    pub async fn run(&mut self, port: u16, goes_on: impl Fn() -> bool) -> io::Result<()> {
        let (mut wire, connack) = Wire::connect(port, &self.login).await?;
        assert_eq!(connack.reason, ReasonCode::SUCCESS, "{}", self.login.client_id);
        // the first CONNACK may have been lost on the way
        assert!(connack.session_present || !self.known, "{} has lost its session", self.login.client_id);
        self.known = true;
        for (number, packet_id, received) in &self.inflight {
            wire.put(&if *received {
                Packet::PubRel(Ack::new(*packet_id, ReasonCode::SUCCESS))
            } else {
                message(&self.topic, &number.to_string(), self.qos, *packet_id, true, self.retain)
            });
        }
        loop {
            while goes_on() && self.inflight.len() < WINDOW {
                let packet_id = self.free_id();
                let number = self.next_number;
                self.next_number += 1;
                self.inflight.push_back((number, packet_id, false));
                let text = number.to_string();
                wire.put(&message(&self.topic, &text, self.qos, packet_id, false, self.retain));
            }
            if self.inflight.is_empty() {
                wire.flush().await?;
                return Ok(());
            }
            let packet = wire.next().await?;
            self.take(&mut wire, packet);
        }
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            let packet_id = id(self.next_id);
            self.next_id = self.next_id % 200 + 1; // few: they are used again soon
            if self.inflight.iter().all(|(_, used, _)| *used != packet_id) {
                return packet_id;
            }
        }
    }

    fn take(&mut self, wire: &mut Wire, packet: Packet) {
        let name = &self.login.client_id;
        match packet {
            Packet::PubAck(ack) => {
                assert!(!ack.reason.is_error(), "{name}: {ack:?}");
                self.acknowledge(ack.packet_id);
                self.inflight.retain(|(_, packet_id, _)| *packet_id != ack.packet_id);
            }
            Packet::PubRec(ack) => {
                assert!(!ack.reason.is_error(), "{name}: {ack:?}");
                self.acknowledge(ack.packet_id);
                for entry in self.inflight.iter_mut().filter(|(_, packet_id, _)| *packet_id == ack.packet_id)
                {
                    entry.2 = true;
                }
                wire.put(&Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::SUCCESS)));
            }
            // one that the server does not know any more was completed before
            Packet::PubComp(ack) => self.inflight.retain(|(_, packet_id, _)| *packet_id != ack.packet_id),
            other => panic!("{name} got {other:?}"),
        }
    }

    fn acknowledge(&mut self, packet_id: PacketId) {
        let found = self.inflight.iter().find(|(_, used, _)| *used == packet_id);
        if let Some((number, ..)) = found {
            self.acknowledged.insert(*number);
        }
    }
}

/// A client that takes what numbered publishers send, and fails the test when an order or a QoS 2 is broken.
pub struct Subscriber {
    pub login: Login,
    pub filter: String,
    pub qos: QoS,
    /// Packet ids of QoS 2 messages that were taken and not released.
    taken: BTreeSet<u16>,
    /// Numbers by topic and QoS of the delivery.
    pub seen: BTreeMap<String, Seen>,
    /// Deliveries.
    pub messages: u64,
    /// Payloads are no numbers, and only counted.
    pub any_payload: bool,
    subscribed: bool,
    known: bool,
}

/// What came of one topic.
#[derive(Default, Debug)]
pub struct Seen {
    pub numbers: BTreeSet<u64>,
    pub highest: u64,
    pub repeated: u64,
}

impl Subscriber {
    pub fn new(name: &str, filter: &str, qos: QoS) -> Self {
        Self {
            login: Login::lasting(name),
            filter: filter.to_owned(),
            qos,
            taken: BTreeSet::new(),
            seen: BTreeMap::new(),
            messages: 0,
            any_payload: false,
            subscribed: false,
            known: false,
        }
    }

    /// Runs one connection until it breaks or has been silent for so long.
    pub async fn run(&mut self, port: u16, silence: Duration) -> io::Result<()> {
        let (mut wire, connack) = Wire::connect(port, &self.login).await?;
        assert_eq!(connack.reason, ReasonCode::SUCCESS, "{}", self.login.client_id);
        // the first CONNACK may have been lost on the way
        assert!(connack.session_present || !self.known, "{} has lost its session", self.login.client_id);
        self.known = true;
        if !self.subscribed {
            let early = wire.subscribe(&self.filter, self.qos).await?;
            self.subscribed = true;
            early.into_iter().for_each(|packet| self.take(&mut wire, packet));
        }
        while let Some(packet) = wire.next_within(silence).await? {
            self.take(&mut wire, packet);
        }
        wire.flush().await
    }

    fn take(&mut self, wire: &mut Wire, packet: Packet) {
        match packet {
            Packet::Publish(publish) => self.message(wire, &publish),
            Packet::PubRel(ack) => {
                self.taken.remove(&ack.packet_id.get());
                wire.put(&Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::SUCCESS)));
            }
            other => panic!("{} got {other:?}", self.login.client_id),
        }
    }

    fn message(&mut self, wire: &mut Wire, publish: &Publish) {
        let Some(packet_id) = publish.packet_id() else { panic!("QoS 0 was not published") };
        if publish.qos() == QoS::AtLeastOnce {
            self.count(publish);
            wire.put(&Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS)));
            return;
        }
        if self.taken.insert(packet_id.get()) {
            self.count(publish);
        } else {
            assert!(publish.dup(), "{}: packet id {packet_id} is used twice", self.login.client_id);
        }
        wire.put(&Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS)));
    }

    fn count(&mut self, publish: &Publish) {
        self.messages += 1;
        if self.any_payload {
            return;
        }
        let text = std::str::from_utf8(publish.payload_slice()).expect("a number");
        let number: u64 = text.parse().expect("a number");
        let name = &self.login.client_id;
        let (topic, qos) = (publish.topic(), publish.qos());
        let seen = self.seen.entry(topic.to_owned()).or_default();
        if !seen.numbers.insert(number) {
            assert_eq!(qos, QoS::AtLeastOnce, "{name} got {topic} {number} of QoS 2 twice");
            seen.repeated += 1;
            return;
        }
        assert!(number > seen.highest, "{name} got {topic} {number} first behind {}", seen.highest);
        seen.highest = number;
    }
}
