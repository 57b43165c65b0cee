//! A broker with clients that are plain values.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::Mutex;

use broker_codec::{
    Ack, ConnAck, Connect, Decoder, MAX_PACKET_SIZE, Packet, PacketId, Properties, Property, Publish,
    PublishBuilder, QoS, ReasonCode, Step, Subscribe, Subscription, SubscriptionOptions, Unsubscribe,
    Version, Will,
};
use broker_core::{
    Broker, BrokerConfig, CloseReason, Connection, ConnectionKey, Context, Endpoints, Flow, Metric, Outgoing,
    Outlets, Settled,
};
use engine_event::ManualClock;

/// A broker and the thread that runs its connections.
pub(crate) struct Bench {
    pub(crate) broker: Arc<Broker>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) outlets: Arc<Noted>,
    pub(crate) context: Context,
    next_slot: u32,
}

/// Notes what the broker wants of connections elsewhere.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) closed: Mutex<Vec<(ConnectionKey, CloseReason)>>,
    pub(crate) settled: Mutex<Vec<(ConnectionKey, u64, Settled)>>,
}

impl Outlets for Noted {
    fn flush(&self, _connections: &[ConnectionKey]) {}

    fn close(&self, connection: ConnectionKey, reason: CloseReason) {
        self.closed.lock().expect("not poisoned").push((connection, reason));
    }

    fn committed(&self, _worker: Option<u16>) {}

    fn settled(&self, connection: ConnectionKey, ack: u64, settled: Settled) {
        self.settled.lock().expect("not poisoned").push((connection, ack, settled));
    }
}

/// A network connection, seen from the client.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) key: ConnectionKey,
    version: Version,
    server_side: Decoder,
    client_side: Decoder,
    out: Outgoing,
    unread: Vec<u8>,
    /// Whether the broker has ended the connection.
    pub(crate) closed: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Self {
        let clock = Arc::new(ManualClock::at(1_000_000));
        Self::of(Broker::new(config, Arc::clone(&clock) as _), clock)
    }

    pub(crate) fn of(broker: Arc<Broker>, clock: Arc<ManualClock>) -> Self {
        let outlets = Arc::new(Noted::default());
        broker.set_outlets(Arc::clone(&outlets) as _);
        let context = broker.worker_context();
        Self { broker, clock, outlets, context, next_slot: 0 }
    }

    /// Makes a connection that has sent nothing yet.
    pub(crate) fn open(&mut self, version: Version) -> Client {
        self.open_from(version, [127, 0, 0, 1])
    }

    /// Makes a connection from an address.
    pub(crate) fn open_from(&mut self, version: Version, from: [u8; 4]) -> Client {
        self.open_in(version, from, None)
    }

    /// Makes a connection from an address in a zone.
    pub(crate) fn open_in(&mut self, version: Version, from: [u8; 4], zone: Option<&str>) -> Client {
        let key = ConnectionKey { worker: 0, slot: self.next_slot, generation: 0 };
        self.next_slot += 1;
        let local = ([127, 0, 0, 1], 1883).into();
        let endpoints = Endpoints {
            zone: zone.map(Into::into),
            ..Endpoints::new((from, 1000).into(), local, "tcp:default".into())
        };
        Client {
            connection: Connection::new(Arc::clone(&self.broker), key, endpoints),
            key,
            version,
            server_side: Decoder::server(self.broker.zone_config(zone).max_packet_size),
            client_side: Decoder::client(version, MAX_PACKET_SIZE),
            out: Outgoing::default(),
            unread: Vec::new(),
            closed: false,
        }
    }

    /// Connects and returns the CONNACK too.
    pub(crate) fn connect(&mut self, connect: Connect) -> (Client, ConnAck) {
        self.connect_from(connect, [127, 0, 0, 1])
    }

    /// Connects from an address.
    pub(crate) fn connect_from(&mut self, connect: Connect, from: [u8; 4]) -> (Client, ConnAck) {
        let client = self.open_from(connect.version, from);
        self.connect_on(client, connect)
    }

    /// Connects in a zone.
    pub(crate) fn connect_in(&mut self, zone: &str, connect: Connect) -> (Client, ConnAck) {
        let client = self.open_in(connect.version, [127, 0, 0, 1], Some(zone));
        self.connect_on(client, connect)
    }

    fn connect_on(&mut self, mut client: Client, connect: Connect) -> (Client, ConnAck) {
        client.send(self, &Packet::Connect(Box::new(connect)));
        // messages wait until the connection is filled
        let first = client.read_written().remove(0);
        let Packet::ConnAck(connack) = first else { panic!("{first:?} before CONNACK") };
        (client, connack)
    }

    /// Connects a client of 5.0 with a new session that ends with its connection.
    pub(crate) fn client(&mut self, client_id: &str) -> Client {
        let (client, connack) = self.connect(connect(client_id));
        assert_eq!(connack.reason, ReasonCode::SUCCESS);
        client
    }

    /// Returns a counter.
    pub(crate) fn metric(&self, metric: Metric) -> u64 {
        self.broker.metrics().get(metric)
    }

    /// Looks whether each delivery that was dropped is counted with its reason.
    #[track_caller]
    pub(crate) fn check_drops(&self) {
        let all = self.broker.metrics().all().into_iter();
        let reasons = all.filter(|(name, _)| name.starts_with("delivery.dropped."));
        let sum: u64 = reasons.map(|(_, count)| count).sum();
        assert_eq!(self.metric(Metric::DeliveryDropped), sum);
    }

    /// Lets time pass, and does what has become due.
    pub(crate) fn advance_ms(&mut self, by_ms: i64) {
        self.clock.advance_ms(by_ms);
        self.context.set_now_ms(self.broker.now_ms());
        self.broker.run_timers(&mut self.context);
    }

    /// Tells a client what other connections have done to its own.
    pub(crate) fn deliver_mail(&mut self, client: &mut Client) {
        let closed: Vec<_> = self.outlets.closed.lock().expect("not poisoned").drain(..).collect();
        for (key, reason) in closed {
            if key == client.key {
                client.connection.close(reason, &mut self.context, &mut client.out);
                client.closed = true;
            }
        }
        let settled: Vec<_> = self.outlets.settled.lock().expect("not poisoned").drain(..).collect();
        for (key, ack, settled) in settled {
            if key == client.key {
                let flow = client.connection.settled(ack, settled, &mut self.context, &mut client.out);
                client.closed |= matches!(flow, Flow::Close);
            }
        }
    }
}

impl Client {
    /// Sends a packet and takes nothing back yet.
    pub(crate) fn send(&mut self, bench: &mut Bench, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("a packet");
        self.send_bytes(bench, &bytes);
    }

    pub(crate) fn send_bytes(&mut self, bench: &mut Bench, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.closed {
            match self.server_side.decode_slice(bytes) {
                Ok(Step::Packet { packet, consumed }) => {
                    bytes = &bytes[consumed..];
                    let flow = self.connection.handle(packet, &mut bench.context, &mut self.out);
                    self.closed = matches!(flow, Flow::Close);
                }
                Ok(Step::Incomplete { .. }) => panic!("not a whole packet"),
                Err(error) => {
                    let version = self.server_side.version();
                    self.connection.decode_failed(&error, version, &mut bench.context, &mut self.out);
                    self.closed = true;
                }
            }
        }
    }

    /// Returns every packet that the client gets now.
    pub(crate) fn read(&mut self, bench: &mut Bench) -> Vec<Packet> {
        while self.connection.fill(64 * 1024, &mut bench.context, &mut self.out) {}
        self.read_written()
    }

    /// Returns the bytes that the client gets now, answers first.
    pub(crate) fn read_bytes(&mut self, bench: &mut Bench) -> Vec<u8> {
        while self.connection.fill(64 * 1024, &mut bench.context, &mut self.out) {}
        self.take_written();
        std::mem::take(&mut self.unread)
    }

    fn take_written(&mut self) {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = self.out.slices(&mut slices);
            let start = self.unread.len();
            slices[..filled].iter().for_each(|slice| self.unread.extend_from_slice(slice));
            let count = self.unread.len() - start;
            self.out.advance(count);
        }
    }

    fn read_written(&mut self) -> Vec<Packet> {
        self.take_written();
        let mut packets = Vec::new();
        while !self.unread.is_empty() {
            match self.client_side.decode_slice(&self.unread).expect("the broker speaks MQTT") {
                Step::Packet { packet, consumed } => {
                    self.unread.drain(..consumed);
                    packets.push(packet);
                }
                Step::Incomplete { .. } => panic!("the broker sent half a packet"),
            }
        }
        packets
    }

    #[track_caller]
    pub(crate) fn read_one(&mut self, bench: &mut Bench) -> Packet {
        let mut packets = self.read(bench);
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }

    /// Returns the messages that the client gets now, and nothing else may come.
    #[track_caller]
    pub(crate) fn read_messages(&mut self, bench: &mut Bench) -> Vec<Publish> {
        let packets = self.read(bench).into_iter();
        packets
            .map(|packet| match packet {
                Packet::Publish(publish) => publish,
                other => panic!("{other:?} among the messages"),
            })
            .collect()
    }

    /// Returns the payloads of the messages that the client gets now.
    #[track_caller]
    pub(crate) fn read_payloads(&mut self, bench: &mut Bench) -> Vec<String> {
        let messages = self.read_messages(bench).into_iter();
        messages.map(|publish| String::from_utf8_lossy(publish.payload_slice()).into_owned()).collect()
    }

    /// Subscribes, and returns the reason codes of the SUBACK. Messages that come at once are left to be read.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, bench: &mut Bench, filter: &str, qos: QoS) -> ReasonCode {
        self.subscribe_with(bench, filter, SubscriptionOptions::with_qos(qos), None)
    }

    #[track_caller]
    pub(crate) fn subscribe_with(
        &mut self,
        bench: &mut Bench,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let mut properties = Properties::new();
        if let Some(identifier) = identifier {
            properties.push(Property::SubscriptionIdentifier(identifier)).expect("valid");
        }
        let subscriptions = vec![Subscription { filter: filter.to_owned(), options }];
        self.send(bench, &Packet::Subscribe(Subscribe { packet_id: id(77), properties, subscriptions }));
        // messages wait until the connection is filled
        match &self.read_written()[..] {
            [Packet::SubAck(suback)] => suback.reasons[0],
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    /// Unsubscribes, and returns the reason code of the UNSUBACK. Messages that come at once are left to be read.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, bench: &mut Bench, filter: &str) -> ReasonCode {
        let filters = vec![filter.to_owned()];
        let properties = Properties::new();
        self.send(bench, &Packet::Unsubscribe(Unsubscribe { packet_id: id(79), properties, filters }));
        match &self.read_written()[..] {
            [Packet::UnsubAck(unsuback)] => unsuback.reasons[0],
            other => panic!("{other:?} instead of UNSUBACK"),
        }
    }

    /// Sends a SUBSCRIBE that gets no answer.
    pub(crate) fn subscribe_unanswered(&mut self, bench: &mut Bench, filter: &str) {
        let options = SubscriptionOptions::default();
        let subscriptions = vec![Subscription { filter: filter.to_owned(), options }];
        let properties = Properties::new();
        self.send(bench, &Packet::Subscribe(Subscribe { packet_id: id(78), properties, subscriptions }));
        assert!(!self.closed);
    }

    /// Publishes without reading the answer.
    pub(crate) fn publish(&mut self, bench: &mut Bench, topic: &str, payload: &str, qos: QoS, number: u16) {
        self.send(bench, &message(topic, payload, qos, number, false));
    }

    /// Ends the connection for a reason of the broker or the network.
    pub(crate) fn close(&mut self, bench: &mut Bench, reason: CloseReason) {
        self.connection.close(reason, &mut bench.context, &mut self.out);
        self.closed = true;
    }

    /// Breaks the network connection.
    pub(crate) fn vanish(mut self, bench: &mut Bench) {
        self.close(bench, CloseReason::TcpClosed);
    }

    /// Sends what waited for the journal, as far as that is committed.
    pub(crate) fn committed(&mut self, bench: &mut Bench) -> Flow {
        self.connection.committed(&mut bench.context, &mut self.out)
    }

    /// Gives up on acknowledgements that have been held back for too long.
    pub(crate) fn expire_acks(&mut self, bench: &mut Bench) {
        let flow = self.connection.expire_acks(&mut bench.context, &mut self.out);
        self.closed |= matches!(flow, Flow::Close);
    }

    pub(crate) fn acknowledge(&mut self, bench: &mut Bench, number: u16) {
        self.send(bench, &Packet::PubAck(Ack::new(id(number), ReasonCode::SUCCESS)));
    }
}

/// A CONNECT of 5.0 with Clean Start and nothing else.
pub(crate) fn connect(client_id: &str) -> Connect {
    Connect {
        version: Version::V5,
        bridge: false,
        clean_start: true,
        keep_alive_s: 0,
        client_id: client_id.to_owned(),
        will: None,
        username: None,
        password: None,
        properties: Properties::new(),
    }
}

/// A CONNECT of 5.0 without Clean Start whose session outlives it.
pub(crate) fn resume(client_id: &str) -> Connect {
    Connect { clean_start: false, ..with_expiry(client_id, 1000) }
}

/// A CONNECT of 5.0 with Clean Start whose session lives that long.
pub(crate) fn with_expiry(client_id: &str, expiry_s: u32) -> Connect {
    let properties = Properties::from_list(&[Property::SessionExpiryInterval(expiry_s)]).expect("valid");
    Connect { properties, ..connect(client_id) }
}

pub(crate) fn will(topic: &str, delay_s: u32) -> Option<Will> {
    let properties = match delay_s {
        0 => Properties::new(),
        delay_s => Properties::from_list(&[Property::WillDelayInterval(delay_s)]).expect("valid"),
    };
    Some(Will {
        topic: topic.to_owned(),
        payload: b"gone".to_vec().into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties,
    })
}

/// Makes bytes of hexadecimal numbers and texts: `30 05 "a/b" 00` (a text without its length).
pub(crate) fn bytes(notation: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in notation.split('"').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let numbers = part.split_whitespace().map(|number| u8::from_str_radix(number, 16));
        out.extend(numbers.map(|number| number.expect("a test writes two hexadecimal digits")));
    }
    out
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

pub(crate) fn message(topic: &str, payload: &str, qos: QoS, number: u16, retain: bool) -> Packet {
    message_with(topic, payload, qos, number, retain, &Properties::new())
}

pub(crate) fn message_with(
    topic: &str,
    payload: &str,
    qos: QoS,
    number: u16,
    retain: bool,
    properties: &Properties,
) -> Packet {
    let builder = PublishBuilder {
        topic,
        payload: payload.as_bytes(),
        qos,
        retain,
        packet_id: (qos != QoS::AtMostOnce).then(|| id(number)),
        properties: properties.as_ref(),
        ..PublishBuilder::default()
    };
    Packet::Publish(builder.build().expect("a message"))
}
