//! A server on loopback, authorities that sign certificates, and a client over any stream.

#![allow(unreachable_pub)] // a module of a test
#![allow(dead_code)] // each test file uses a part of it

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_codec::{
    Connect, Decoder, MAX_PACKET_SIZE, Packet, PacketId, Properties, Publish, PublishBuilder, QoS,
    ReasonCode, Step, Subscribe, Subscription, SubscriptionOptions, Unsubscribe, Version, Will,
};
use broker_core::{Broker, BrokerConfig};
use broker_net::{ListenerConfig, ListenerStatus, Server, ServerConfig, StartError};
use engine_event::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tungstenite::{Message, WebSocket};

/// Longest wait for what must come.
pub const LONG: Duration = Duration::from_secs(20);

struct Running(Instant);

impl Clock for Running {
    fn now_ms(&self) -> i64 {
        1_000_000 + self.0.elapsed().as_millis() as i64
    }
}

/// A server with its broker.
pub struct Network {
    pub server: Server,
    pub broker: Arc<Broker>,
}

impl Network {
    pub fn start(listeners: Vec<ListenerConfig>) -> Self {
        Self::with(BrokerConfig::default(), listeners)
    }

    pub fn with(config: BrokerConfig, listeners: Vec<ListenerConfig>) -> Self {
        let broker = Broker::new(config, Arc::new(Running(Instant::now())));
        let network = ServerConfig { workers: 2, listeners, ..ServerConfig::default() };
        let server = Server::start(network, Arc::clone(&broker)).expect("it starts");
        Self { server, broker }
    }

    pub fn try_start(listeners: Vec<ListenerConfig>) -> Result<Server, StartError> {
        let broker = Broker::new(BrokerConfig::default(), Arc::new(Running(Instant::now())));
        Server::start(ServerConfig { listeners, ..ServerConfig::default() }, broker)
    }

    pub fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub fn status(&self, id: &str) -> ListenerStatus {
        self.server.listeners().get(id).expect("there is one")
    }
}

/// Waits until something holds.
#[allow(clippy::disallowed_methods, reason = "what is waited for tells nobody")]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn connect_tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Reads what comes until the server closes.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    bytes
}

/// The bytes of a CONNECT of MQTT 3.1.1.
pub fn connect_bytes(client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let connect = Connect { version: Version::V4, ..hello(client_id) };
    Packet::Connect(Box::new(connect)).encode(Version::V4, &mut bytes).expect("a packet");
    bytes
}

pub fn hello(client_id: &str) -> Connect {
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

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate of a client.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    serial: SerialNumber,
}

/// A folder with the files of a server.
pub struct Certified(tempfile::TempDir);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn server_files(&self) -> Certified {
        let files = Certified(tempfile::tempdir().expect("a folder"));
        files.renew(self);
        files
    }

    pub fn client(&self, name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let san = format!("{name}.example").try_into().expect("a name");
        params.subject_alt_names.push(SanType::DnsName(san));
        let serial = SerialNumber::from(name.bytes().take(8).collect::<Vec<_>>());
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Identity { certificate: certificate.der().clone(), key, serial }
    }

    pub fn revocation_list(&self, revoked: &[&Identity]) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial.clone(),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }

    /// Connects with TLS, and expects that it works.
    pub fn tls(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
        address: SocketAddr,
    ) -> Tls {
        self.try_tls(versions, identity, address).expect("a handshake")
    }

    pub fn tls_named(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
        address: SocketAddr,
        name: ServerName<'static>,
    ) -> Tls {
        self.handshake(versions, identity, address, name).expect("a handshake")
    }

    pub fn try_tls(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
        address: SocketAddr,
    ) -> std::io::Result<Tls> {
        let name = ServerName::try_from("localhost").expect("a name");
        self.handshake(versions, identity, address, name)
    }

    fn handshake(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
        address: SocketAddr,
        name: ServerName<'static>,
    ) -> std::io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
                .expect("a key"),
        };
        let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
        let mut stream = StreamOwned::new(connection, connect_tcp(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        // with TLS 1.3 a client hears only now that its certificate is refused: an answer to nothing must not come
        stream.sock.set_read_timeout(Some(Duration::from_millis(150)))?;
        loop {
            match stream.conn.read_tls(&mut stream.sock) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    stream.conn.process_new_packets().map_err(std::io::Error::other)?;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
        stream.sock.set_read_timeout(Some(LONG))?;
        Ok(stream)
    }
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Certified {
    /// Puts a certificate of that authority in place of the one that is there.
    pub fn renew(&self, authority: &Authority) {
        let mut params =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, "server");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority.issuer).expect("a certificate");
        self.write("key.pem", &key.serialize_pem());
        self.write("ca.pem", &authority.certificate.pem());
        self.write("certificate.pem", &certificate.pem());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub fn certificate_file(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    pub fn key_file(&self) -> PathBuf {
        self.path("key.pem")
    }

    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }
}

/// The bytes of MQTT in messages of a WebSocket.
pub struct Framed<S> {
    pub socket: WebSocket<S>,
    unread: Vec<u8>,
}

/// Upgrades a stream, and expects that it works.
pub fn websocket<S: Read + Write>(stream: S, path: &str, subprotocol: &str) -> Framed<S> {
    match try_websocket(stream, path, subprotocol) {
        Ok(socket) => Framed { socket, unread: Vec::new() },
        Err(error) => panic!("{error}"),
    }
}

pub fn try_websocket<S: Read + Write>(
    stream: S,
    path: &str,
    subprotocol: &str,
) -> Result<WebSocket<S>, String> {
    let mut request = tungstenite::http::Request::builder()
        .uri(format!("ws://localhost{path}"))
        .header("Host", "localhost")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    if !subprotocol.is_empty() {
        request = request.header("Sec-WebSocket-Protocol", subprotocol);
    }
    match tungstenite::client(request.body(()).expect("a request"), stream) {
        Ok((socket, response)) => {
            let answered = response.headers().get("Sec-WebSocket-Protocol");
            assert_eq!(answered.map(|value| value.as_bytes()), Some(subprotocol.as_bytes()));
            Ok(socket)
        }
        Err(error) => Err(error.to_string()),
    }
}

impl<S: Read + Write> Read for Framed<S> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        while self.unread.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.unread.extend_from_slice(&bytes),
                Ok(Message::Close(_)) => return Ok(0),
                Ok(other) => panic!("{other}"),
                Err(tungstenite::Error::Io(error)) => return Err(error),
                Err(_) => return Ok(0),
            }
        }
        let count = self.unread.len().min(room.len());
        room[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl<S: Read + Write> Write for Framed<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket.send(Message::Binary(bytes.to_vec().into())).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn will_of((topic, payload): (&str, &'static [u8])) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::new(),
    }
}

/// A client of MQTT 5 that blocks.
pub struct Client<S> {
    stream: S,
    decoder: Decoder,
    unread: Vec<u8>,
    pub assigned_client_id: Option<String>,
}

impl<S: Read + Write> Client<S> {
    pub fn connect(stream: S, client_id: &str) -> Self {
        Self::connect_as(stream, client_id, None, None)
    }

    pub fn connect_as(
        stream: S,
        client_id: &str,
        username: Option<&str>,
        will: Option<(&str, &'static [u8])>,
    ) -> Self {
        match Self::try_connect(stream, client_id, username, will) {
            Ok(client) => client,
            Err(reason) => panic!("refused: {reason:?}"),
        }
    }

    pub fn connect_as_with_keep_alive(
        stream: S,
        client_id: &str,
        keep_alive_s: u16,
        will: Option<(&str, &'static [u8])>,
    ) -> Self {
        let connect = Connect { keep_alive_s, will: will.map(will_of), ..hello(client_id) };
        Self::try_connect_with(stream, connect).expect("welcome")
    }

    pub fn try_connect(
        stream: S,
        client_id: &str,
        username: Option<&str>,
        will: Option<(&str, &'static [u8])>,
    ) -> Result<Self, ReasonCode> {
        let username = username.map(str::to_owned);
        Self::try_connect_with(stream, Connect { username, will: will.map(will_of), ..hello(client_id) })
    }

    fn try_connect_with(stream: S, connect: Connect) -> Result<Self, ReasonCode> {
        let decoder = Decoder::client(Version::V5, MAX_PACKET_SIZE);
        let mut client = Self { stream, decoder, unread: Vec::new(), assigned_client_id: None };
        client.send(&[Packet::Connect(Box::new(connect))]);
        let Some(Packet::ConnAck(connack)) = client.read() else { panic!("no CONNACK") };
        if connack.reason != ReasonCode::SUCCESS {
            return Err(connack.reason);
        }
        let assigned = connack.properties.as_ref().assigned_client_identifier();
        client.assigned_client_id = assigned.map(str::to_owned);
        Ok(client)
    }

    pub fn send(&mut self, packets: &[Packet]) {
        let mut bytes = Vec::new();
        for packet in packets {
            packet.encode(Version::V5, &mut bytes).expect("a packet");
        }
        self.stream.write_all(&bytes).expect("written");
        self.stream.flush().expect("written");
    }

    /// Reads a packet; nothing when the connection has ended.
    pub fn read(&mut self) -> Option<Packet> {
        loop {
            let step = self.decoder.decode_slice(&self.unread).expect("the server speaks MQTT");
            if let Step::Packet { packet, consumed } = step {
                self.unread.drain(..consumed);
                return Some(packet);
            }
            let mut bytes = vec![0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) =>
                {
                    return None;
                }
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    pub fn subscribe(&mut self, filter: &str) {
        self.send(&[Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::new(),
            subscriptions: vec![Subscription {
                filter: filter.to_owned(),
                options: SubscriptionOptions::with_qos(QoS::AtMostOnce),
            }],
        })]);
        let Some(Packet::SubAck(ack)) = self.read() else { panic!("no SUBACK") };
        assert_eq!(ack.reasons, [ReasonCode::SUCCESS]);
    }

    pub fn unsubscribe(&mut self, filter: &str) {
        self.send(&[Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::MIN,
            properties: Properties::new(),
            filters: vec![filter.to_owned()],
        })]);
        loop {
            match self.read() {
                Some(Packet::UnsubAck(ack)) => return assert_eq!(ack.reasons, [ReasonCode::SUCCESS]),
                Some(_) => {}
                None => panic!("no UNSUBACK"),
            }
        }
    }

    /// Publishes; what comes in answer to it is read past together with the messages.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) {
        let packet_id = (qos > QoS::AtMostOnce).then_some(PacketId::MIN);
        let publish = PublishBuilder { topic, payload, qos, packet_id, ..PublishBuilder::default() };
        self.send(&[Packet::Publish(publish.build().expect("a message"))]);
        if qos == QoS::ExactlyOnce {
            let ack = broker_codec::Ack::new(PacketId::MIN, ReasonCode::SUCCESS);
            self.send(&[Packet::PubRel(ack)]);
        }
    }

    pub fn publish_unread(&mut self, topic: &str, payload: &[u8]) {
        self.publish(topic, payload, QoS::AtMostOnce);
    }

    /// Reads the next message.
    pub fn message(&mut self) -> Publish {
        loop {
            match self.read() {
                Some(Packet::Publish(publish)) => return publish,
                Some(Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_)) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// Reads to the end of the connection, and returns why it ended.
    pub fn ended(&mut self) -> Option<ReasonCode> {
        let mut reason = None;
        while let Some(packet) = self.read() {
            if let Packet::Disconnect(disconnect) = packet {
                reason = Some(disconnect.reason);
            }
        }
        reason
    }

    pub fn into_ended(mut self) -> Option<ReasonCode> {
        self.ended()
    }
}
