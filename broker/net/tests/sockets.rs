//! Connections over real sockets: what slow, silent and hostile peers can do to others, to memory and to the broker.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker_codec::{
    Ack, Connect, Decoder, MAX_PACKET_SIZE, Packet, PacketId, Properties, Property, PublishBuilder, QoS,
    ReasonCode, Step, Subscribe, Subscription, SubscriptionOptions, Version,
};
use broker_core::{Broker, BrokerConfig};
use broker_net::{Server, ServerConfig};
use engine_event::{Clock, Completion, Event, EventKind, EventTap, Interest, RuleSlot, RuleTopics};

/// Time since the test began, from a while after 1970.
struct Running(Instant);

impl Clock for Running {
    fn now_ms(&self) -> i64 {
        1_000_000 + self.0.elapsed().as_millis() as i64
    }
}

fn start(config: BrokerConfig, workers: usize, idle_timeout: Duration) -> (Server, Arc<Broker>) {
    let broker = Broker::new(config, Arc::new(Running(Instant::now())));
    let network = ServerConfig { workers, idle_timeout, ..ServerConfig::tcp(([127, 0, 0, 1], 0).into()) };
    start_with(network, broker, None)
}

/// Starts a server that ends connections whose sockets take nothing for that long.
fn start_with(
    mut network: ServerConfig,
    broker: Arc<Broker>,
    send_timeout: Option<Duration>,
) -> (Server, Arc<Broker>) {
    network.listeners[0].tcp.send_timeout = send_timeout;
    (Server::start(network, Arc::clone(&broker)).expect("a free port"), broker)
}

const LONG: Duration = Duration::from_secs(15);

/// A client that blocks.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Client {
    fn open(server: &Server, version: Version) -> Self {
        let stream = TcpStream::connect(server.local_addr()).expect("the server listens");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self { stream, decoder: Decoder::client(version, MAX_PACKET_SIZE), unread: Vec::new() }
    }

    fn connect(server: &Server, connect: Connect) -> Self {
        let mut client = Self::open(server, connect.version);
        client.send(&[Packet::Connect(Box::new(connect))]);
        let Some(Packet::ConnAck(connack)) = client.read() else { panic!("no CONNACK") };
        assert_eq!(connack.reason, ReasonCode::SUCCESS);
        client
    }

    fn send(&mut self, packets: &[Packet]) {
        let version = self.decoder.version().expect("known");
        let mut bytes = Vec::new();
        packets.iter().for_each(|packet| {
            packet.encode(version, &mut bytes).expect("a packet");
        });
        self.stream.write_all(&bytes).expect("written");
    }

    /// Reads a packet; nothing when the connection has ended.
    fn read(&mut self) -> Option<Packet> {
        loop {
            if let Step::Packet { packet, consumed } =
                self.decoder.decode_slice(&self.unread).expect("the server speaks MQTT")
            {
                self.unread.drain(..consumed);
                return Some(packet);
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.send(&[Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::new(),
            subscriptions: vec![Subscription {
                filter: filter.to_owned(),
                options: SubscriptionOptions::with_qos(qos),
            }],
        })]);
        assert!(matches!(self.read(), Some(Packet::SubAck(_))));
    }

    /// Says whether nothing comes for that long.
    fn is_quiet_for(&mut self, time: Duration) -> bool {
        if !self.unread.is_empty() {
            return false;
        }
        // there is no timeout of zero
        self.stream.set_read_timeout(Some(time.max(Duration::from_millis(1)))).expect("a timeout");
        let result = self.stream.peek(&mut [0; 1]);
        self.stream.set_read_timeout(Some(LONG)).expect("a timeout");
        matches!(result, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

fn hello(client_id: &str, version: Version) -> Connect {
    Connect {
        version,
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

fn message(topic: &str, payload: &[u8], number: u16) -> Packet {
    let packet_id = PacketId::new(number);
    let qos = if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let builder = PublishBuilder { topic, payload, qos, packet_id, ..PublishBuilder::default() };
    Packet::Publish(builder.build().expect("a message"))
}

#[test]
fn who_does_not_read_its_answers_is_read_no_further() {
    let (server, broker) = start(BrokerConfig::default(), 1, LONG);
    let mut client = Client::connect(&server, hello("greedy", Version::V5));
    // a topic with a wildcard: eight bytes in, about thirty out
    let refused = b"\x32\x06\x00\x01+\x00\x09\x00".repeat(8 * 1024);
    client.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let mut written = 0;
    let stalled = loop {
        match client.stream.write(&refused) {
            Ok(count) => written += count,
            Err(error) => break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
        if written > 48 * 1024 * 1024 {
            break false;
        }
    };
    assert!(stalled, "the server has taken {written} bytes and keeps the answers in memory");
    // it goes on where it stopped
    let answers = (written / 8).min(200_000);
    for _ in 0..answers {
        assert!(matches!(client.read(), Some(Packet::PubAck(_))));
    }
    assert!(broker.metrics().get(broker_core::Metric::PublishReceived) >= answers as u64);
    let mut other = Client::connect(&server, hello("other", Version::V5));
    other.send(&[Packet::PingReq]);
    assert_eq!(other.read(), Some(Packet::PingResp));
}

#[test]
fn a_connect_that_trickles_in_ends() {
    // [MQTT-3.1.0-1]: the time counts to the whole CONNECT
    let (server, _) = start(BrokerConfig::default(), 1, Duration::from_millis(500));
    let mut client = Client::open(&server, Version::V5);
    let mut bytes = Vec::new();
    let long_id = hello(&"x".repeat(200), Version::V5);
    Packet::Connect(Box::new(long_id)).encode(Version::V5, &mut bytes).expect("a packet");
    for byte in &bytes[..100] {
        let broken = client.stream.write_all(std::slice::from_ref(byte)).is_err();
        if broken || !client.is_quiet_for(Duration::from_millis(50)) {
            return;
        }
    }
    panic!("still open after five seconds");
}

/// A rule engine that takes its time.
#[derive(Default)]
struct Slow(Mutex<Vec<Completion>>);

impl EventTap for Slow {
    fn interest(&self) -> Interest {
        Interest::default()
    }

    fn published(&self, _rules: &[RuleSlot], _event: Event, completion: Option<Completion>) {
        self.0.lock().expect("not poisoned").extend(completion);
    }

    fn happened(&self, _kind: EventKind, _event: Event) {}
}

#[test]
fn an_old_client_with_many_held_messages_is_paused_and_kept() {
    let config = BrokerConfig { receive_maximum: 3, ..BrokerConfig::default() };
    let (server, broker) = start(config, 1, LONG);
    let slow = Arc::new(Slow::default());
    broker.set_tap(Arc::clone(&slow) as _);
    broker.set_rule(RuleSlot(1), &["t".to_owned()], Some(30_000));
    let held = || slow.0.lock().expect("not poisoned").len();
    let mut client = Client::connect(&server, Connect { keep_alive_s: 1, ..hello("c", Version::V4) });
    let mut packets: Vec<_> = (1..=50).map(|number| message("t", b"x", number)).collect();
    packets.push(Packet::PingReq);
    client.send(&packets);
    // longer than its keep alive allows
    assert!(client.is_quiet_for(Duration::from_secs(3)), "closed or answered");
    assert_eq!(held(), 3, "read on");
    let mut answers = Vec::new();
    while answers.len() < 51 {
        // each that settles lets the next one in
        slow.0.lock().expect("not poisoned").clear();
        if client.is_quiet_for(Duration::ZERO) {
            continue;
        }
        answers.extend(client.read());
    }
    let pings = answers.iter().filter(|answer| matches!(answer, Packet::PingResp)).count();
    assert_eq!(pings, 1);
    answers.retain(|answer| !matches!(answer, Packet::PingResp));
    for (answer, number) in answers.iter().zip(1..=50) {
        assert!(matches!(answer, Packet::PubAck(ack) if ack.packet_id.get() == number), "{answer:?}");
    }
}

#[test]
fn a_slow_reader_loses_nothing_and_delays_nobody() {
    let config = BrokerConfig { max_queue_len: 0, ..BrokerConfig::default() };
    for workers in [1, 2] {
        let (server, _) = start(config.clone(), workers, LONG);
        let mut slow = Client::connect(&server, hello("slow", Version::V5));
        slow.subscribe("t", QoS::AtMostOnce);
        let mut fast = Client::connect(&server, hello("fast", Version::V5));
        fast.subscribe("t", QoS::AtMostOnce);
        let mut publisher = Client::connect(&server, hello("p", Version::V5));
        const COUNT: u32 = 400;
        for number in 0..COUNT {
            let mut payload = vec![0; 50_000];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            publisher.send(&[message("t", &payload, 0)]);
            expect_number(&mut fast, number);
        }
        for number in 0..COUNT {
            expect_number(&mut slow, number);
        }
    }
}

#[test]
fn who_reads_nothing_is_given_up() {
    let config = BrokerConfig { max_queue_len: 0, ..BrokerConfig::default() };
    let broker = Broker::new(config, Arc::new(Running(Instant::now())));
    let network = ServerConfig { workers: 2, ..ServerConfig::tcp(([127, 0, 0, 1], 0).into()) };
    let (server, broker) = start_with(network, broker, Some(Duration::from_millis(500)));
    let mut stuck = Client::connect(&server, hello("stuck", Version::V5));
    stuck.subscribe("t", QoS::AtMostOnce);
    let mut reader = Client::connect(&server, hello("reader", Version::V5));
    reader.subscribe("t", QoS::AtMostOnce);
    let mut publisher = Client::connect(&server, hello("p", Version::V5));
    let mut number = 0;
    // until the socket is full, and the time over
    let until = Instant::now() + Duration::from_secs(60);
    while broker.client("stuck").is_some() {
        assert!(Instant::now() < until, "the connection stays");
        if number < 400 {
            number += 1;
            let mut payload = vec![0; 50_000];
            payload[..4].copy_from_slice(&u32::to_be_bytes(number));
            publisher.send(&[message("t", &payload, 0)]);
            expect_number(&mut reader, number);
        } else {
            reader.send(&[Packet::PingReq]);
            assert_eq!(reader.read(), Some(Packet::PingResp));
        }
    }
    let metric = |metric| broker.metrics().get(metric);
    use broker_core::Metric;
    assert!(metric(Metric::DeliveryDroppedEnded) > 0, "what waited for it is counted");
    let all = metric(Metric::MessagesSent) + metric(Metric::DeliveryDropped);
    assert_eq!(all, 2 * u64::from(number), "each message was sent or dropped");
}

#[track_caller]
fn expect_number(client: &mut Client, number: u32) {
    let Some(Packet::Publish(publish)) = client.read() else { panic!("no message {number}") };
    assert_eq!(publish.payload_slice()[..4], number.to_be_bytes());
}

#[test]
fn takeovers_between_workers_lose_and_reorder_nothing() {
    // [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-4.6.0-5] [MQTT-3.1.4-3]
    const COUNT: u16 = 3000;
    let (server, broker) = start(BrokerConfig { max_queue_len: 0, ..BrokerConfig::default() }, 3, LONG);
    let expiry = Properties::from_list(&[Property::SessionExpiryInterval(100)]).expect("valid");
    let resume = || Connect { clean_start: false, properties: expiry.clone(), ..hello("c", Version::V5) };
    let mut client = Client::connect(&server, resume());
    client.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&server, hello("p", Version::V5));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 1..=COUNT {
                publisher.send(&[message("t", &number.to_be_bytes(), number)]);
                assert!(matches!(publisher.read(), Some(Packet::PubAck(_))));
            }
        });
        // the last new message; what came before may come again
        let mut last = 0;
        let mut connections = 1;
        while last < COUNT {
            let mut in_connection = 0;
            while last < COUNT && in_connection < 50 {
                let Some(Packet::Publish(publish)) = client.read() else { panic!("closed without a reason") };
                let number = u16::from_be_bytes(publish.payload_slice().try_into().expect("two bytes"));
                assert!(number <= last + 1, "{number} after {last}");
                assert!(number == last + 1 || publish.dup(), "{number} again without DUP");
                last = last.max(number);
                in_connection += 1;
                let ack = Ack::new(publish.packet_id().expect("there"), ReasonCode::SUCCESS);
                client.send(&[Packet::PubAck(ack)]);
            }
            let mut next = Client::connect(&server, resume());
            std::mem::swap(&mut client, &mut next);
            connections += 1;
            // the old one is told
            loop {
                match next.read() {
                    Some(Packet::Publish(_)) => {}
                    Some(Packet::Disconnect(goodbye)) => {
                        assert_eq!(goodbye.reason, ReasonCode::SESSION_TAKEN_OVER);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(connections > 10);
    });
    assert_eq!(broker.client("c").expect("connected").dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_tells_clients_and_does_not_wait_for_those_that_do_not_read() {
    let (server, _) = start(BrokerConfig { max_queue_len: 0, ..BrokerConfig::default() }, 2, LONG);
    let mut stuck = Client::connect(&server, hello("stuck", Version::V5));
    stuck.subscribe("t", QoS::AtMostOnce);
    let mut client = Client::connect(&server, hello("c", Version::V5));
    let mut publisher = Client::connect(&server, hello("p", Version::V5));
    for _ in 0..300 {
        publisher.send(&[message("t", &[0; 100_000], 1)]);
        publisher.read();
    }
    let began = Instant::now();
    server.shutdown(Duration::from_secs(3)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    let Some(Packet::Disconnect(goodbye)) = client.read() else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, ReasonCode::SERVER_SHUTTING_DOWN);
    let _ = stuck.stream.shutdown(Shutdown::Both);
}

#[test]
fn a_shared_message_finds_a_member_that_is_just_getting_ready() {
    // (b.2): every message goes to one member, however its window changes while members are asked
    const COUNT: u32 = 20_000;
    const BATCH: u32 = 2;
    let config = BrokerConfig { max_queue_len: 0, max_inflight: 1, ..BrokerConfig::default() };
    let (server, broker) = start(config, 2, LONG);
    // connections go to the workers in turn
    let mut member = Client::connect(&server, hello("member", Version::V4));
    member.subscribe("$share/g/t", QoS::AtLeastOnce);
    let mut publisher = Client::connect(&server, hello("p", Version::V4));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..COUNT / BATCH {
                let packets: Vec<_> =
                    (0..BATCH).map(|number| message("t", b"x", number as u16 + 1)).collect();
                publisher.send(&packets);
                (0..BATCH).for_each(|_| assert!(matches!(publisher.read(), Some(Packet::PubAck(_)))));
            }
        });
        for _ in 0..COUNT {
            let dropped = broker.metrics().get(broker_core::Metric::DeliveryDropped);
            assert_eq!(dropped, 0);
            let Some(Packet::Publish(publish)) = member.read() else { panic!("closed") };
            let ack = Ack::new(publish.packet_id().expect("there"), ReasonCode::SUCCESS);
            member.send(&[Packet::PubAck(ack)]);
        }
    });
}
