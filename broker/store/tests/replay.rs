//! What the journal says is what the broker knows: after every step, from every place where the journal may start.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

use broker_codec::{
    Ack, Connect, Decoder, MAX_PACKET_SIZE, Packet, PacketId, Properties, Property, PublishBuilder, QoS,
    ReasonCode, RetainHandling, Step as Decoded, Subscribe, Subscription, SubscriptionOptions, Unsubscribe,
    Version,
};
use broker_core::{
    Broker, BrokerConfig, CloseReason, Connection, ConnectionKey, Context, Endpoints, Flow, Journal,
    Outgoing, Outlets, Progress, Record, Recovery, Settled,
};
use broker_store::format;
use engine_event::ManualClock;
use parking_lot::Mutex;
use proptest::prelude::*;

/// A journal in memory: everything is committed at once.
#[derive(Default)]
struct Memory(Mutex<Vec<Vec<u8>>>);

impl Memory {
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Journal for Memory {
    fn admits(&self, _bytes: usize) -> bool {
        true
    }

    fn append(&self, record: &Record<'_>) -> u64 {
        let mut bytes = Vec::new();
        let body = format::encode(record, &mut bytes).to_vec();
        bytes.extend_from_slice(&body);
        let mut records = self.0.lock();
        records.push(bytes);
        records.len() as u64
    }

    fn commit(&self, done: Box<dyn FnOnce(bool) + Send>) {
        done(true);
    }

    fn is_congested(&self) -> bool {
        false
    }

    fn progress(&self) -> Progress {
        Progress { committed: self.len() as u64, failed: 0 }
    }
}

/// Notes which connections have lost their sessions.
#[derive(Default)]
struct Closed(Mutex<Vec<ConnectionKey>>);

impl Outlets for Closed {
    fn flush(&self, _: &[ConnectionKey]) {}

    fn close(&self, connection: ConnectionKey, _: CloseReason) {
        self.0.lock().push(connection);
    }

    fn committed(&self, _: Option<u16>) {}

    fn settled(&self, _: ConnectionKey, _: u64, _: Settled) {}
}

struct Bench {
    broker: Arc<Broker>,
    journal: Arc<Memory>,
    closed: Arc<Closed>,
    clock: Arc<ManualClock>,
    context: Context,
    clients: BTreeMap<usize, Client>,
    next_slot: u32,
}

struct Client {
    connection: Connection,
    key: ConnectionKey,
    out: Outgoing,
    /// What the broker waits for.
    unanswered: Vec<Packet>,
    next_id: u16,
}

const START_MS: i64 = 1_000_000;

impl Bench {
    /// Brings a broker back from records.
    fn recover(records: &[Vec<u8>], now_ms: i64) -> Self {
        let clock = Arc::new(ManualClock::at(now_ms));
        let config = BrokerConfig { max_inflight: 3, ..BrokerConfig::default() };
        let broker = Broker::new(config, Arc::clone(&clock) as _);
        let closed = Arc::new(Closed::default());
        broker.set_outlets(Arc::clone(&closed) as _);
        let journal = Arc::new(Memory::default());
        let mut recovery = Recovery::new();
        for bytes in records {
            recovery.apply(format::decode(bytes).expect("what was written"));
        }
        let report = recovery.finish(&broker, Arc::clone(&journal) as _);
        assert_eq!(report.lost, 0);
        let context = broker.worker_context();
        Self { broker, journal, closed, clock, context, clients: BTreeMap::new(), next_slot: 0 }
    }

    fn connect(&mut self, number: usize, clean_start: bool, expiry_s: u32) {
        let key = ConnectionKey { worker: 0, slot: self.next_slot, generation: 0 };
        self.next_slot += 1;
        let address = ([127, 0, 0, 1], 1000).into();
        let endpoints = Endpoints::new(address, address, "tcp:default".into());
        let mut client = Client {
            connection: Connection::new(Arc::clone(&self.broker), key, endpoints),
            key,
            out: Outgoing::default(),
            unanswered: Vec::new(),
            next_id: 1,
        };
        let expiry = [Property::SessionExpiryInterval(expiry_s)];
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start,
            keep_alive_s: 0,
            client_id: format!("c{number}"),
            will: None,
            username: None,
            password: None,
            properties: Properties::from_list(&expiry).expect("valid"),
        };
        client.send(Packet::Connect(Box::new(connect)), &mut self.context);
        self.clients.insert(number, client);
    }

    fn vanish(&mut self, number: usize) {
        if let Some(mut client) = self.clients.remove(&number) {
            client.connection.close(CloseReason::TcpClosed, &mut self.context, &mut client.out);
        }
    }

    /// Has every client take what there is for it, and commits.
    fn settle(&mut self) {
        self.broker.commit(&self.context, 0);
        let closed = std::mem::take(&mut *self.closed.0.lock());
        self.clients.retain(|_, client| !closed.contains(&client.key));
        for client in self.clients.values_mut() {
            client.connection.committed(&mut self.context, &mut client.out);
            client.read(&mut self.context);
            client.connection.committed(&mut self.context, &mut client.out);
            client.read(&mut self.context);
        }
        self.broker.commit(&self.context, 0);
    }

    /// What is to be the same after a recovery.
    fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for client in self.broker.clients().iter().filter(|client| client.expiry_interval_s > 0) {
            let owed = client.inflight + client.queue_len;
            // what a client has sent with QoS 2 is written down only if somebody durable wants it
            lines.push(format!("{} owes {owed}", client.client_id));
        }
        for found in self.broker.subscriptions() {
            lines.push(format!(
                "{} {} {:?} {:?}",
                found.client_id, found.filter, found.options, found.identifier
            ));
        }
        for retained in self.broker.retained_messages("#", 100) {
            lines.push(format!("{:?}", (retained.publish.topic(), retained.publish.payload_slice())));
        }
        lines
    }

    /// Connects everybody again and returns the payloads that each gets, sorted, by QoS.
    fn drain(&mut self) -> Vec<(usize, QoS, Vec<u8>)> {
        (0..CLIENTS).for_each(|number| self.vanish(number));
        let mut got = Vec::new();
        for number in 0..CLIENTS {
            let exists = self.broker.client(&format!("c{number}")).is_some();
            if !exists {
                continue;
            }
            self.connect(number, false, 1000);
            loop {
                self.settle();
                let Some(client) = self.clients.get_mut(&number) else { break };
                let packets = std::mem::take(&mut client.unanswered);
                if packets.is_empty() {
                    break;
                }
                for packet in packets {
                    if let Packet::Publish(publish) = &packet {
                        got.push((number, publish.qos(), publish.payload_slice().to_vec()));
                    }
                    client.answer(&packet, &mut self.context);
                }
            }
        }
        got.sort();
        got
    }
}

impl Client {
    fn send(&mut self, packet: Packet, context: &mut Context) {
        let flow = self.connection.handle(packet, context, &mut self.out);
        assert!(matches!(flow, Flow::Continue));
    }

    /// Takes what has been written; acknowledgements of our own messages are answered at once.
    fn read(&mut self, context: &mut Context) {
        while self.connection.fill(64 * 1024, context, &mut self.out) {}
        let mut bytes = Vec::new();
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = self.out.slices(&mut slices);
            let start = bytes.len();
            slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
            let count = bytes.len() - start;
            self.out.advance(count);
        }
        let mut rest = &bytes[..];
        let mut decoder = Decoder::client(Version::V5, MAX_PACKET_SIZE);
        while !rest.is_empty() {
            let Ok(Decoded::Packet { packet, consumed }) = decoder.decode_slice(rest) else {
                panic!("bytes")
            };
            rest = &rest[consumed..];
            match packet {
                Packet::Publish(_) | Packet::PubRel(_) => self.unanswered.push(packet),
                _ => {}
            }
        }
    }

    fn answer(&mut self, packet: &Packet, context: &mut Context) {
        let answer = match packet {
            Packet::Publish(publish) => {
                let Some(packet_id) = publish.packet_id() else { return };
                let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                if publish.qos() == QoS::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) }
            }
            Packet::PubRel(ack) => Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::SUCCESS)),
            _ => return,
        };
        self.send(answer, context);
    }
}

const CLIENTS: usize = 4;
const FILTERS: [&str; 5] = ["a/b", "a/#", "+/b", "$share/g/a/#", "$share/g/#"];
const TOPICS: [&str; 3] = ["a/b", "a/c", "x/b"];

#[derive(Debug, Clone)]
enum Step {
    Connect { client: usize, clean_start: bool, lasting: bool },
    Vanish { client: usize },
    Subscribe { client: usize, filter: usize, qos: QoS, identifier: Option<u32>, retained: bool },
    Unsubscribe { client: usize, filter: usize },
    Publish { client: usize, topic: usize, qos: QoS, retain: bool, empty: bool },
    Release { client: usize, packet_id: u16 },
    Answer { client: usize, count: usize },
    Kick { client: usize },
    Wait { ms: i64 },
    Rewrite,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..CLIENTS;
    let qos = prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    let filter = 0..FILTERS.len();
    let step = prop_oneof![
        4 => (client.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.9)).prop_map(
            |(client, clean_start, lasting)| Step::Connect { client, clean_start, lasting }
        ),
        2 => client.clone().prop_map(|client| Step::Vanish { client }),
        5 => (client.clone(), filter.clone(), qos.clone(), prop::option::of(1..9_u32), any::<bool>()).prop_map(
            |(client, filter, qos, identifier, retained)| {
                Step::Subscribe { client, filter, qos, identifier, retained }
            }
        ),
        1 => (client.clone(), filter).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        12 => (client.clone(), 0..TOPICS.len(), qos, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(client, topic, qos, retain, empty)| Step::Publish { client, topic, qos, retain, empty }),
        4 => (client.clone(), 1..12_u16).prop_map(|(client, packet_id)| Step::Release { client, packet_id }),
        8 => (client.clone(), 1..4_usize).prop_map(|(client, count)| Step::Answer { client, count }),
        1 => client.prop_map(|client| Step::Kick { client }),
        1 => (1..700_i64).prop_map(|seconds| Step::Wait { ms: seconds * 1000 }),
        1 => Just(Step::Rewrite),
    ];
    proptest::collection::vec(step, 1..60)
}

impl Bench {
    fn take(&mut self, step: &Step, number: u64, starts: &mut Vec<usize>) {
        let context = &mut self.context;
        match *step {
            Step::Connect { client, clean_start, lasting } => {
                self.connect(client, clean_start, if lasting { 1000 } else { 0 });
            }
            Step::Vanish { client } => self.vanish(client),
            Step::Subscribe { client, filter, qos, identifier, retained } => {
                let Some(client) = self.clients.get_mut(&client) else { return };
                let mut options = SubscriptionOptions::with_qos(qos);
                if !retained {
                    options.retain_handling = RetainHandling::DoNotSend;
                }
                let mut properties = Properties::new();
                if let Some(identifier) = identifier {
                    properties.push(Property::SubscriptionIdentifier(identifier)).expect("valid");
                }
                let subscriptions = vec![Subscription { filter: FILTERS[filter].to_owned(), options }];
                let packet_id = id(1);
                client.send(Packet::Subscribe(Subscribe { packet_id, properties, subscriptions }), context);
            }
            Step::Unsubscribe { client, filter } => {
                let Some(client) = self.clients.get_mut(&client) else { return };
                let filters = vec![FILTERS[filter].to_owned()];
                let properties = Properties::new();
                client.send(
                    Packet::Unsubscribe(Unsubscribe { packet_id: id(1), properties, filters }),
                    context,
                );
            }
            Step::Publish { client, topic, qos, retain, empty } => {
                let Some(client) = self.clients.get_mut(&client) else { return };
                let packet_id = id(client.next_id);
                client.next_id = client.next_id % 30 + 1;
                let payload = if empty { Vec::new() } else { number.to_string().into_bytes() };
                let publish = PublishBuilder {
                    topic: TOPICS[topic],
                    payload: &payload,
                    qos,
                    retain,
                    packet_id: Some(packet_id),
                    ..PublishBuilder::default()
                };
                client.send(Packet::Publish(publish.build().expect("a message")), context);
            }
            Step::Release { client, packet_id } => {
                let Some(client) = self.clients.get_mut(&client) else { return };
                client.send(Packet::PubRel(Ack::new(id(packet_id), ReasonCode::SUCCESS)), context);
            }
            Step::Answer { client, count } => {
                let Some(client) = self.clients.get_mut(&client) else { return };
                let count = count.min(client.unanswered.len());
                let packets: Vec<Packet> = client.unanswered.drain(..count).collect();
                packets.iter().for_each(|packet| client.answer(packet, context));
            }
            Step::Kick { client } => {
                self.broker.kick(&format!("c{client}"));
            }
            Step::Wait { ms } => {
                self.clock.advance_ms(ms);
                self.context.set_now_ms(self.broker.now_ms());
                self.broker.run_timers(&mut self.context);
            }
            Step::Rewrite => {
                let from = self.journal.len();
                assert!(self.broker.rewrite_journal(&*self.journal, || true));
                starts.push(from);
            }
        }
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recovered_broker_knows_what_the_lost_one_knew(steps in steps()) {
        let mut bench = Bench::recover(&[], START_MS);
        // the journal may be read from its start, or from where a rewrite began
        let mut starts = vec![0];
        for (step, number) in steps.iter().zip(1..) {
            let starts_before = starts.len();
            bench.take(step, number, &mut starts);
            bench.settle();
            let now_ms = bench.broker.now_ms();
            let records = bench.journal.0.lock().clone();
            let last = *starts.last().expect("there is the beginning");
            let before = starts[starts.len().saturating_sub(2)];
            let mut want = bench.summary();
            want.retain(|line| !line.ends_with("of nobody"));
            for start in if starts.len() > starts_before { vec![before, last] } else { vec![last] } {
                let recovered = Bench::recover(&records[start..], now_ms);
                let have = recovered.summary();
                let want: Vec<_> = want.iter().filter(|line| lasts(&bench, line)).cloned().collect();
                prop_assert_eq!(have, want, "after {:?} of {:?}, from {}", step, number, start);
            }
        }
        let records = bench.journal.0.lock().clone();
        let now_ms = bench.broker.now_ms();
        let mut recovered = Bench::recover(&records[*starts.last().expect("one")..], now_ms);
        (0..CLIENTS).for_each(|number| bench.vanish(number));
        // sessions that end with their connections are gone, and what they had of shared groups is with others
        bench.settle();
        let records = bench.journal.0.lock().clone();
        let mut vanished = Bench::recover(&records, now_ms);
        let all = bench.drain();
        prop_assert_eq!(vanished.drain(), all);
        recovered.drain();
    }

    #[test]
    fn a_journal_that_ends_anywhere_is_read(steps in steps(), cut in any::<prop::sample::Index>()) {
        let mut bench = Bench::recover(&[], START_MS);
        let mut starts = Vec::new();
        for (step, number) in steps.iter().zip(1..) {
            bench.take(step, number, &mut starts);
            bench.settle();
        }
        let records = bench.journal.0.lock().clone();
        let end = cut.index(records.len() + 1);
        let start = starts.into_iter().rfind(|start| *start <= end).unwrap_or(0);
        // from the start, or from where a rewrite began that the end may have cut off
        for start in [0, start] {
            let mut recovered = Bench::recover(&records[start.min(end)..end], START_MS);
            recovered.drain();
        }
    }
}

/// Says whether a line of a summary is about a session that lasts, or about no session.
fn lasts(bench: &Bench, line: &str) -> bool {
    match line.split(' ').next() {
        Some(client_id) if client_id.starts_with('c') => {
            bench.broker.client(client_id).is_some_and(|client| client.expiry_interval_s > 0)
        }
        _ => true,
    }
}
