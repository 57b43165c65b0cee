//! An MQTT client that does what it is told, and shows every packet.

use std::time::Duration;

use broker_codec::{
    Ack, Connect, Decoder, MAX_PACKET_SIZE, Packet, PacketId, Properties, Publish, PublishBuilder, QoS,
    ReasonCode, Step, Subscribe, Subscription, SubscriptionOptions, Version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for a packet that must come.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connected client.
pub struct Client {
    stream: TcpStream,
    version: Version,
    decoder: Decoder,
    unread: Vec<u8>,
}

/// A CONNECT with Clean Start and nothing else.
pub fn connect(version: Version, client_id: &str) -> Connect {
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

pub fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

impl Client {
    /// Connects a client of 5.0.
    pub async fn connect(port: u16, client_id: &str) -> Self {
        Self::connect_with(port, connect(Version::V5, client_id)).await
    }

    pub async fn connect_with(port: u16, connect: Connect) -> Self {
        let (client, code) = Self::try_connect(port, connect).await;
        assert_eq!(code, ReasonCode::SUCCESS);
        client
    }

    /// Connects and returns the code of the CONNACK.
    pub async fn try_connect(port: u16, connect: Connect) -> (Self, ReasonCode) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let version = connect.version;
        let decoder = Decoder::client(version, MAX_PACKET_SIZE);
        let mut client = Self { stream, version, decoder, unread: Vec::new() };
        client.send(&Packet::Connect(Box::new(connect))).await;
        match client.next().await {
            Packet::ConnAck(connack) => (client, connack.reason),
            other => panic!("{other:?} before CONNACK"),
        }
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("a packet");
        self.stream.write_all(&bytes).await.expect("written");
    }

    /// Returns the next packet; `None` when the server has closed the connection.
    pub async fn read(&mut self) -> Option<Packet> {
        loop {
            if !self.unread.is_empty()
                && let Step::Packet { packet, consumed } =
                    self.decoder.decode_slice(&self.unread).expect("the server speaks MQTT")
            {
                self.unread.drain(..consumed);
                return Some(packet);
            }
            let mut buffer = vec![0; 16 * 1024];
            match self.stream.read(&mut buffer).await {
                Ok(count) if count > 0 => self.unread.extend_from_slice(&buffer[..count]),
                _ => return None,
            }
        }
    }

    /// Returns the next packet, which must come.
    pub async fn next(&mut self) -> Packet {
        let packet = tokio::time::timeout(ANSWER_TIMEOUT, self.read()).await.expect("a packet in time");
        packet.expect("a packet, not the end")
    }

    /// Returns the next packet if one comes within that time.
    pub async fn next_within(&mut self, limit: Duration) -> Option<Packet> {
        tokio::time::timeout(limit, self.read()).await.ok().flatten()
    }

    /// Returns the next message, which must come; of QoS 1 it is acknowledged.
    pub async fn message(&mut self) -> Publish {
        let packet = self.next().await;
        let Packet::Publish(publish) = packet else { panic!("{packet:?} instead of a message") };
        if publish.qos() == QoS::AtLeastOnce {
            let packet_id = publish.packet_id().expect("QoS 1");
            self.send(&Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS))).await;
        }
        publish
    }

    /// Subscribes and returns the code of the SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        let options = SubscriptionOptions::with_qos(qos);
        let subscriptions = vec![Subscription { filter: filter.to_owned(), options }];
        let properties = Properties::new();
        self.send(&Packet::Subscribe(Subscribe { packet_id: id(9), properties, subscriptions })).await;
        match self.next().await {
            Packet::SubAck(suback) => suback.reasons[0],
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    /// Publishes; of QoS 1 and 2 the answer is still to be read.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS, number: u16) {
        let packet_id = (qos > QoS::AtMostOnce).then(|| id(number));
        let builder = PublishBuilder { topic, payload, qos, packet_id, ..PublishBuilder::default() };
        self.send(&Packet::Publish(builder.build().expect("a message"))).await;
    }
}
