//! Listeners and workers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::access_rules::AccessRule;
use crate::quota::{ListenerQuotas, PublishQuotas};
use crate::rate::ConnectionRate;

/// Where and how to listen.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The listeners. Default: one on 0.0.0.0:1883.
    pub listeners: Vec<ListenerConfig>,
    /// Worker threads; 0 is half of the processors, at least one. Default 0.
    pub workers: usize,
    /// How long a new connection may take to send its CONNECT. Default 15 s.
    pub idle_timeout: Duration,
    /// What clients may publish. Default: no limit.
    pub quotas: PublishQuotas,
    /// What is different for the clients of listeners that name a zone, by its name. Default none.
    pub zones: BTreeMap<String, ZoneConfig>,
}

/// What holds for the clients of listeners that name a zone, beside what [`broker_core::BrokerConfig::zones`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneConfig {
    /// How long a new connection may take to send its CONNECT.
    pub idle_timeout: Duration,
    /// What its clients may publish, all together and each, in place of [`ServerConfig::quotas`]; none for those.
    pub quotas: Option<PublishQuotas>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listeners: vec![ListenerConfig::default()],
            workers: 0,
            idle_timeout: Duration::from_secs(15),
            quotas: PublishQuotas::default(),
            zones: BTreeMap::new(),
        }
    }
}

impl ServerConfig {
    /// Makes the configuration of one TCP listener.
    pub fn tcp(bind: SocketAddr) -> Self {
        Self { listeners: vec![ListenerConfig { bind, ..ListenerConfig::default() }], ..Self::default() }
    }

    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            workers => workers.min(usize::from(u16::MAX)),
        }
    }
}

/// A listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// Name, unique among listeners of its type. Default `default`.
    pub name: String,
    /// Whether it is started with the server. Default yes.
    pub enable: bool,
    /// Address and port. Default 0.0.0.0:1883.
    pub bind: SocketAddr,
    /// TLS under MQTT or WebSocket. Default none.
    pub tls: Option<TlsConfig>,
    /// WebSocket under MQTT. Default none.
    pub websocket: Option<WebSocketConfig>,
    /// Most connections at a time; 0 is no limit. Default none.
    pub max_connections: usize,
    /// Most new connections; more of them wait in the backlog. Default no limit.
    pub max_conn_rate: Option<ConnectionRate>,
    /// Who may connect: the first rule that names an address decides, and one that no rule names may not. Default:
    /// everybody.
    pub access_rules: Vec<AccessRule>,
    /// Whether every connection begins with a header of the PROXY protocol, version 1 or 2. Default no.
    pub proxy_protocol: bool,
    /// How long that header may take. Default 3 s.
    pub proxy_protocol_timeout: Duration,
    /// Template of the prefix of all topics of its clients; empty is none. Default none.
    pub mountpoint: String,
    /// The zone of its clients; empty is none. Default none.
    pub zone: String,
    /// What its clients may publish. Default: no limit.
    pub quotas: ListenerQuotas,
    /// Options of the sockets.
    pub tcp: TcpOptions,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            enable: true,
            bind: SocketAddr::from(([0, 0, 0, 0], 1883)),
            tls: None,
            websocket: None,
            max_connections: 0,
            max_conn_rate: None,
            access_rules: vec![AccessRule::ALLOW_ALL],
            proxy_protocol: false,
            proxy_protocol_timeout: Duration::from_secs(3),
            mountpoint: String::new(),
            zone: String::new(),
            quotas: ListenerQuotas::default(),
            tcp: TcpOptions::default(),
        }
    }
}

impl ListenerConfig {
    /// Returns the type of the listener.
    pub fn kind(&self) -> ListenerKind {
        match (&self.websocket, &self.tls) {
            (None, None) => ListenerKind::Tcp,
            (None, Some(_)) => ListenerKind::Ssl,
            (Some(_), None) => ListenerKind::Ws,
            (Some(_), Some(_)) => ListenerKind::Wss,
        }
    }

    /// Returns the id of the listener, `tcp:default`.
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind().as_str(), self.name)
    }
}

/// What a listener speaks under MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerKind {
    /// TCP.
    Tcp,
    /// TLS.
    Ssl,
    /// WebSocket.
    Ws,
    /// WebSocket in TLS.
    Wss,
}

impl ListenerKind {
    /// Returns its name in ids and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ssl => "ssl",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// Options of the sockets of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpOptions {
    /// Connections that may wait to be accepted. Default 1024.
    pub backlog: i32,
    /// Send small packets at once. Default yes.
    pub nodelay: bool,
    /// Size of the system's send buffer in bytes. Default: as the system chooses.
    pub send_buffer: Option<usize>,
    /// Size of the system's receive buffer in bytes. Default: as the system chooses.
    pub receive_buffer: Option<usize>,
    /// How the system finds out that a silent peer is gone. Default: not at all.
    pub keepalive: Option<KeepAlive>,
    /// How long a socket may take nothing while bytes wait for it, before the connection is ended; none is for ever.
    /// Default 15 s.
    pub send_timeout: Option<Duration>,
    /// Bytes of answers that wait for a socket that takes nothing, before nothing more is read from it. Default 1 MiB.
    pub high_watermark: usize,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            nodelay: true,
            send_buffer: None,
            receive_buffer: None,
            keepalive: None,
            send_timeout: Some(Duration::from_secs(15)),
            high_watermark: 1024 * 1024,
        }
    }
}

/// How the system finds out that a silent peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer before the connection is given up.
    pub probes: u32,
}

/// TLS of a listener. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate of the server and what leads to its root, in PEM.
    pub certificate: PathBuf,
    /// Private key, in PEM and not encrypted.
    pub key: PathBuf,
    /// Roots that certificates of clients must lead to, in PEM.
    pub client_roots: Option<PathBuf>,
    /// Lists of revoked certificates, in PEM.
    pub revoked: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// Versions that are spoken.
    pub versions: TlsVersions,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
}

impl TlsConfig {
    /// Makes a configuration with a certificate and its key: TLS 1.2 and 1.3, no certificates of clients.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_roots: None,
            revoked: None,
            client_certificates: ClientCertificates::Ignored,
            versions: TlsVersions::Both,
            handshake_timeout: Duration::from_secs(15),
        }
    }
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    Ignored,
    /// They may show one; one that is shown must be good.
    Optional,
    /// They must show one.
    Required,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 only.
    Tls12,
    /// 1.3 only.
    Tls13,
    /// 1.2 and 1.3.
    Both,
}

/// WebSocket of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// Path of the request. Default `/mqtt`.
    pub path: String,
    /// Largest frame, and largest message of several frames, in bytes. Default twice the largest MQTT packet, at least
    /// 1 MiB.
    pub max_frame_size: Option<usize>,
    /// Whether a client must name one of `subprotocols`. Default yes.
    pub requires_subprotocol: bool,
    /// Subprotocols that are MQTT.
    pub subprotocols: Vec<String>,
    /// Pages that may connect, by their `Origin`; nothing for all. Default all.
    pub origins: Option<Vec<String>>,
    /// Whether clients without an `Origin` may connect where `origins` is given: those are no pages. Default yes.
    pub allows_no_origin: bool,
    /// Header in which a proxy names the address of the client; its last element counts, which is the one of the proxy
    /// that connects to us. Default none.
    pub address_header: Option<String>,
    /// Header in which a proxy names the port of the client. Default none.
    pub port_header: Option<String>,
}

/// Names under which clients ask for MQTT: the registered one, and those of older servers and clients.
pub const SUBPROTOCOLS: [&str; 5] = ["mqtt", "mqttv3.1", "mqtt-v3", "mqtt-v3.1.1", "mqtt-v5"];

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            path: "/mqtt".to_owned(),
            max_frame_size: None,
            requires_subprotocol: true,
            subprotocols: SUBPROTOCOLS.map(str::to_owned).to_vec(),
            origins: None,
            allows_no_origin: true,
            address_header: None,
            port_header: None,
        }
    }
}
