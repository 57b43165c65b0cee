//! Listeners as the configuration file and the API describe them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use broker_net::{
    AccessRule, ClientCertificates, ConnectionRate, KeepAlive, ListenerConfig, ListenerKind, ListenerQuotas,
    SUBPROTOCOLS, TlsConfig, TlsVersions, WebSocketConfig,
};
use connectors_api::{ByteSize, ConfigProblem, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::rate::{ByteRate, MessageRate, Rates};
use crate::zones;

/// Listeners by type and name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listeners {
    /// Plain TCP. `default` is there unless it is switched off with `enable = false`.
    pub(crate) tcp: BTreeMap<String, Listener>,
    /// TLS.
    pub(crate) ssl: BTreeMap<String, Listener>,
    /// WebSocket.
    pub(crate) ws: BTreeMap<String, Listener>,
    /// WebSocket in TLS.
    pub(crate) wss: BTreeMap<String, Listener>,
    /// Threads that serve connections. 0: half of the cores, at least one.
    pub(crate) workers: u16,
    /// Ids of the listeners that the file names: they are read-only in the API.
    #[serde(skip)]
    pub(crate) declared: BTreeSet<String>,
}

impl Default for Listeners {
    fn default() -> Self {
        let mut listeners = Self {
            tcp: BTreeMap::new(),
            ssl: BTreeMap::new(),
            ws: BTreeMap::new(),
            wss: BTreeMap::new(),
            workers: 0,
            declared: BTreeSet::new(),
        };
        listeners.complete(&Json::Null);
        listeners
    }
}

/// The types of listeners, in the order of the configuration.
pub(crate) const KINDS: [ListenerKind; 4] =
    [ListenerKind::Tcp, ListenerKind::Ssl, ListenerKind::Ws, ListenerKind::Wss];

/// Finds a type by its name.
pub(crate) fn kind_of(name: &str) -> Option<ListenerKind> {
    KINDS.into_iter().find(|kind| kind.as_str() == name)
}

impl Listeners {
    /// Adds the listener that is there without being named, and notes which are named in `table`.
    pub(crate) fn complete(&mut self, table: &Json) {
        self.tcp.entry("default".to_owned()).or_default();
        for kind in KINDS {
            let names =
                table.get(kind.as_str()).and_then(Json::as_object).into_iter().flat_map(|names| names.keys());
            self.declared.extend(names.map(|name| format!("{}:{name}", kind.as_str())));
        }
    }

    pub(crate) fn of(&self, kind: ListenerKind) -> &BTreeMap<String, Listener> {
        match kind {
            ListenerKind::Tcp => &self.tcp,
            ListenerKind::Ssl => &self.ssl,
            ListenerKind::Ws => &self.ws,
            ListenerKind::Wss => &self.wss,
        }
    }

    pub(crate) fn of_mut(&mut self, kind: ListenerKind) -> &mut BTreeMap<String, Listener> {
        match kind {
            ListenerKind::Tcp => &mut self.tcp,
            ListenerKind::Ssl => &mut self.ssl,
            ListenerKind::Ws => &mut self.ws,
            ListenerKind::Wss => &mut self.wss,
        }
    }

    /// Returns every listener with its type and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (ListenerKind, &str, &Listener)> {
        KINDS.into_iter().flat_map(|kind| {
            self.of(kind).iter().map(move |(name, listener)| (kind, name.as_str(), listener))
        })
    }

    /// What the types alone do not rule out, below `listeners`.
    pub(crate) fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        for (kind, name, listener) in self.all() {
            for problem in listener.problems(kind, name) {
                let path = match problem.path.as_str() {
                    "" => format!("{}.{name}", kind.as_str()),
                    path => format!("{}.{name}.{path}", kind.as_str()),
                };
                problems.push(ConfigProblem::new(path, problem.message));
            }
        }
        problems
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listener {
    /// Whether it is started.
    pub(crate) enable: bool,
    /// Address and port, or a port on all addresses; without it the port of its type, 1883, 8883, 8083 or 8084. Also
    /// `--mqtt` for `tcp:default`.
    pub(crate) bind: Option<Bind>,
    /// Connections at a time; more are closed. `infinity` or 0: no limit.
    pub(crate) max_connections: MaxConnections,
    /// New connections in a time, such as `1000/s`; more wait. Without it `1000/s`, and no limit on a loopback address.
    pub(crate) max_conn_rate: Option<MaxRate>,
    /// Messages that each of its clients may publish, such as `100/s`.
    pub(crate) messages_rate: MessageRate,
    /// Messages on top of that now and then, such as `1000/1h`.
    pub(crate) messages_burst: MessageRate,
    /// Bytes of PUBLISH packets that each of its clients may send, such as `1MB/s`.
    pub(crate) bytes_rate: ByteRate,
    /// Bytes on top of that now and then.
    pub(crate) bytes_burst: ByteRate,
    /// What all of its clients may publish together.
    pub(crate) limiter: Rates,
    /// Prefix of all topics of its clients; may hold `${clientid}`, `${username}` and `${client_attrs.NAME}`.
    pub(crate) mountpoint: String,
    /// The zone of its clients, one of `zones`.
    pub(crate) zone: String,
    /// Who may connect: `allow` or `deny` with `all`, an address or a network. The first that fits decides.
    pub(crate) access_rules: Vec<Rule>,
    /// Whether connections begin with a header of the PROXY protocol, version 1 or 2.
    pub(crate) proxy_protocol: bool,
    /// Longest wait for that header.
    pub(crate) proxy_protocol_timeout: Period,
    /// Options of its sockets.
    pub(crate) tcp_options: TcpOptions,
    /// TLS, of the types `ssl` and `wss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ssl_options: Option<SslOptions>,
    /// WebSocket, of the types `ws` and `wss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) websocket: Option<WebSocket>,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            enable: true,
            bind: None,
            max_connections: MaxConnections(1_048_576),
            max_conn_rate: None,
            messages_rate: MessageRate::default(),
            messages_burst: MessageRate::default(),
            bytes_rate: ByteRate::default(),
            bytes_burst: ByteRate::default(),
            limiter: Rates::default(),
            mountpoint: String::new(),
            zone: zones::DEFAULT.to_owned(),
            access_rules: vec![Rule(AccessRule::ALLOW_ALL)],
            proxy_protocol: false,
            proxy_protocol_timeout: Period::seconds(3),
            tcp_options: TcpOptions::default(),
            ssl_options: None,
            websocket: None,
        }
    }
}

/// Options of the sockets of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TcpOptions {
    /// Connections that may wait to be accepted.
    pub(crate) backlog: u16,
    /// Whether small packets are sent at once.
    pub(crate) nodelay: bool,
    /// The system's send buffer; without it as the system chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sndbuf: Option<ByteSize>,
    /// The system's receive buffer; without it as the system chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recbuf: Option<ByteSize>,
    /// How the system finds silent peers that are gone: `none`, or seconds of silence, seconds between probes and
    /// number of probes, such as `240,30,5`.
    pub(crate) keepalive: TcpKeepAlive,
    /// How long a client may take nothing while something waits for it.
    pub(crate) send_timeout: Period,
    /// Whether its connection is ended then.
    pub(crate) send_timeout_close: bool,
    /// Bytes of answers that wait for a client that takes nothing, before nothing more is read from it.
    pub(crate) high_watermark: ByteSize,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            nodelay: true,
            sndbuf: None,
            recbuf: None,
            keepalive: TcpKeepAlive(None),
            send_timeout: Period::seconds(15),
            send_timeout_close: true,
            high_watermark: ByteSize::mebibytes(1),
        }
    }
}

/// TLS. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SslOptions {
    /// Certificate of the server and what leads to its root, PEM.
    pub(crate) certfile: Option<PathBuf>,
    /// Private key of the certificate, PEM, not encrypted.
    pub(crate) keyfile: Option<PathBuf>,
    /// Roots that certificates of clients must lead to, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cacertfile: Option<PathBuf>,
    /// Lists of revoked certificates of clients, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crlfile: Option<PathBuf>,
    /// Whether clients are asked for certificates.
    pub(crate) verify: Verify,
    /// Whether clients without a certificate are refused.
    pub(crate) fail_if_no_peer_cert: bool,
    /// Versions that are spoken.
    pub(crate) versions: Vec<TlsVersion>,
    /// Longest time of a handshake.
    pub(crate) handshake_timeout: Period,
}

impl Default for SslOptions {
    fn default() -> Self {
        Self {
            certfile: None,
            keyfile: None,
            cacertfile: None,
            crlfile: None,
            verify: Verify::VerifyNone,
            fail_if_no_peer_cert: false,
            versions: vec![TlsVersion::Tls13, TlsVersion::Tls12],
            handshake_timeout: Period::seconds(15),
        }
    }
}

/// Whether clients are asked for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verify {
    /// They are not.
    VerifyNone,
    /// They are, and what they show must be good.
    VerifyPeer,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "tlsv1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "tlsv1.3")]
    Tls13,
}

/// WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebSocket {
    /// Path of the request.
    pub(crate) mqtt_path: String,
    /// Largest frame; 0: twice `mqtt.max_packet_size`, at least 1 MB.
    pub(crate) max_frame_size: ByteSize,
    /// Whether clients must name one of `supported_subprotocols`.
    pub(crate) fail_if_no_subprotocol: bool,
    /// Names under which clients may ask for MQTT.
    pub(crate) supported_subprotocols: Names,
    /// Whether pages may connect only from `check_origins`.
    pub(crate) check_origin_enable: bool,
    /// Whether clients without an `Origin` may connect then.
    pub(crate) allow_origin_absence: bool,
    /// Origins of pages that may connect then.
    pub(crate) check_origins: Names,
    /// Header in which a trusted proxy adds the address of the client, such as `x-forwarded-for`; its last element
    /// counts. Empty: the address is that of the connection.
    pub(crate) proxy_address_header: String,
    /// Header in which a trusted proxy names the port of the client.
    pub(crate) proxy_port_header: String,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            mqtt_path: "/mqtt".to_owned(),
            max_frame_size: ByteSize::bytes(0),
            fail_if_no_subprotocol: true,
            supported_subprotocols: Names(SUBPROTOCOLS.map(str::to_owned).to_vec()),
            check_origin_enable: false,
            allow_origin_absence: true,
            check_origins: Names(Vec::new()),
            proxy_address_header: String::new(),
            proxy_port_header: String::new(),
        }
    }
}

impl Listener {
    /// What the types alone do not rule out.
    pub(crate) fn problems(&self, kind: ListenerKind, name: &str) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, path: &str, message: &str| {
            if !holds {
                problems.push(ConfigProblem::new(path, message.to_owned()));
            }
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        require(
            !name.is_empty() && name.chars().all(is_name),
            "",
            "expected a name of letters, digits, `_` and `-`",
        );
        require(
            !self.tcp_options.send_timeout.duration().is_zero(),
            "tcp_options.send_timeout",
            "expected more than no time, or `infinity`",
        );
        let has_tls = matches!(kind, ListenerKind::Ssl | ListenerKind::Wss);
        let has_websocket = matches!(kind, ListenerKind::Ws | ListenerKind::Wss);
        require(
            self.websocket.is_none() || has_websocket,
            "websocket",
            "only `ws` and `wss` listeners have it",
        );
        if let Some(websocket) = &self.websocket {
            require(
                websocket.mqtt_path.starts_with('/'),
                "websocket.mqtt_path",
                "expected a path such as `/mqtt`",
            );
        }
        match &self.ssl_options {
            Some(_) if !has_tls => require(false, "ssl_options", "only `ssl` and `wss` listeners have it"),
            None if has_tls => require(false, "", "`ssl_options` with `certfile` and `keyfile` is missing"),
            None => {}
            Some(tls) => {
                let both = tls.certfile.is_some() && tls.keyfile.is_some();
                require(both, "ssl_options", "`certfile` and `keyfile` are needed");
                let verifies = tls.verify == Verify::VerifyPeer;
                require(
                    !verifies || tls.cacertfile.is_some(),
                    "ssl_options.verify",
                    "`verify_peer` needs `cacertfile`, the roots of client certificates",
                );
                let needs = "needs `verify = \"verify_peer\"`";
                require(verifies || !tls.fail_if_no_peer_cert, "ssl_options.fail_if_no_peer_cert", needs);
                require(verifies || tls.crlfile.is_none(), "ssl_options.crlfile", needs);
                require(
                    !tls.versions.is_empty(),
                    "ssl_options.versions",
                    "expected `tlsv1.2`, `tlsv1.3` or both",
                );
            }
        }
        problems.extend(self.rates().problems(""));
        problems.extend(self.limiter.problems("limiter."));
        problems
    }

    /// What each of its clients may publish.
    fn rates(&self) -> Rates {
        Rates {
            messages_rate: self.messages_rate,
            messages_burst: self.messages_burst,
            bytes_rate: self.bytes_rate,
            bytes_burst: self.bytes_burst,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self, kind: ListenerKind) -> SocketAddr {
        let port = match kind {
            ListenerKind::Tcp => 1883,
            ListenerKind::Ssl => 8883,
            ListenerKind::Ws => 8083,
            ListenerKind::Wss => 8084,
        };
        self.bind.map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), |bind| bind.0)
    }

    /// New connections in a time.
    pub(crate) fn rate(&self, kind: ListenerKind) -> MaxRate {
        let is_public = !self.address(kind).ip().is_loopback();
        self.max_conn_rate.unwrap_or_else(|| MaxRate(is_public.then(|| "1000/s".parse().expect("a rate"))))
    }

    /// Returns it as the network part understands it.
    pub(crate) fn to_network(&self, kind: ListenerKind, name: &str) -> ListenerConfig {
        let websocket = matches!(kind, ListenerKind::Ws | ListenerKind::Wss)
            .then(|| self.websocket.clone().unwrap_or_default().to_network());
        let tls = matches!(kind, ListenerKind::Ssl | ListenerKind::Wss)
            .then(|| self.ssl_options.clone().unwrap_or_default().to_network());
        let tcp = &self.tcp_options;
        let ends = tcp.send_timeout_close && !tcp.send_timeout.is_infinite();
        let bytes = |size: ByteSize| usize::try_from(size.get()).unwrap_or(usize::MAX);
        ListenerConfig {
            name: name.to_owned(),
            enable: self.enable,
            bind: self.address(kind),
            tls,
            websocket,
            max_connections: self.max_connections.0 as usize,
            max_conn_rate: self.rate(kind).0,
            access_rules: self.access_rules.iter().map(|rule| rule.0).collect(),
            proxy_protocol: self.proxy_protocol,
            proxy_protocol_timeout: bounded(self.proxy_protocol_timeout),
            mountpoint: self.mountpoint.clone(),
            zone: if self.zone == zones::DEFAULT { String::new() } else { self.zone.clone() },
            quotas: ListenerQuotas { each: self.rates().quotas(), all: self.limiter.quotas() },
            tcp: broker_net::TcpOptions {
                backlog: tcp.backlog.into(),
                nodelay: tcp.nodelay,
                send_buffer: tcp.sndbuf.map(bytes),
                receive_buffer: tcp.recbuf.map(bytes),
                keepalive: tcp.keepalive.0,
                send_timeout: ends.then(|| bounded(tcp.send_timeout)),
                high_watermark: bytes(tcp.high_watermark),
            },
        }
    }
}

/// A time that a timer can wait.
fn bounded(period: Period) -> Duration {
    period.duration().min(Duration::from_secs(24 * 3600))
}

impl SslOptions {
    fn to_network(&self) -> TlsConfig {
        let speaks = |version| self.versions.contains(&version);
        TlsConfig {
            client_roots: self.cacertfile.clone(),
            revoked: self.crlfile.clone(),
            client_certificates: match (self.verify, self.fail_if_no_peer_cert) {
                (Verify::VerifyNone, _) => ClientCertificates::Ignored,
                (Verify::VerifyPeer, false) => ClientCertificates::Optional,
                (Verify::VerifyPeer, true) => ClientCertificates::Required,
            },
            versions: match (speaks(TlsVersion::Tls12), speaks(TlsVersion::Tls13)) {
                (true, false) => TlsVersions::Tls12,
                (false, true) => TlsVersions::Tls13,
                (true, true) | (false, false) => TlsVersions::Both,
            },
            handshake_timeout: bounded(self.handshake_timeout),
            ..TlsConfig::new(
                self.certfile.clone().unwrap_or_default(),
                self.keyfile.clone().unwrap_or_default(),
            )
        }
    }
}

impl WebSocket {
    fn to_network(&self) -> WebSocketConfig {
        let named = |name: &String| (!name.is_empty()).then(|| name.clone());
        WebSocketConfig {
            path: self.mqtt_path.clone(),
            max_frame_size: match self.max_frame_size.get() {
                0 => None,
                bytes => Some(usize::try_from(bytes).unwrap_or(usize::MAX)),
            },
            requires_subprotocol: self.fail_if_no_subprotocol,
            subprotocols: self.supported_subprotocols.0.clone(),
            origins: self.check_origin_enable.then(|| self.check_origins.0.clone()),
            allows_no_origin: self.allow_origin_absence,
            address_header: named(&self.proxy_address_header),
            port_header: named(&self.proxy_port_header),
        }
    }
}

/// A value that is written as text, and perhaps read from a number or a list too.
macro_rules! text_value {
    ($type:ident, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
                writer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                let text = match Json::deserialize(reader)? {
                    Json::String(text) => text,
                    other => other.to_string(),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

/// An address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bind(pub(crate) SocketAddr);

text_value!(Bind, {"anyOf": [{"type": "string", "examples": ["0.0.0.0:1883"]}, {"type": "integer"}]});

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
        port.map(|port| Self(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
            .or_else(|_| text.parse().map(Self))
            .map_err(|_| format!("expected a port or a socket address such as `0.0.0.0:1883`, got `{text}`"))
    }
}

/// A number of connections; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxConnections(pub(crate) u32);

impl Serialize for MaxConnections {
    fn serialize<S: serde::Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => writer.serialize_str("infinity"),
            count => writer.serialize_u32(count),
        }
    }
}

impl<'de> Deserialize<'de> for MaxConnections {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(reader)?;
        let count = match &value {
            Json::String(text) if text == "infinity" => Some(0),
            value => value.as_u64().and_then(|count| u32::try_from(count).ok()),
        };
        let expected = || format!("expected a number of connections or `infinity`, got `{value}`");
        count.map(Self).ok_or_else(|| serde::de::Error::custom(expected()))
    }
}

impl JsonSchema for MaxConnections {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxConnections".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "infinity"}]})
    }
}

/// New connections in a time, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxRate(pub(crate) Option<ConnectionRate>);

text_value!(MaxRate, {"type": "string", "examples": ["1000/s", "infinity"]});

impl fmt::Display for MaxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("infinity"),
            Some(rate) => rate.fmt(f),
        }
    }
}

impl FromStr for MaxRate {
    type Err = broker_net::RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "infinity" { Ok(Self(None)) } else { text.parse().map(Some).map(Self) }
    }
}

/// A rule about who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule(AccessRule);

text_value!(Rule, {"type": "string", "examples": ["allow all", "deny 10.0.0.0/8"]});

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Rule {
    type Err = broker_net::AccessRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Probes of silent peers by the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpKeepAlive(Option<KeepAlive>);

text_value!(TcpKeepAlive, {"type": "string", "examples": ["none", "240,30,5"]});

impl fmt::Display for TcpKeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(keep) => write!(f, "{},{},{}", keep.idle.as_secs(), keep.interval.as_secs(), keep.probes),
        }
    }
}

impl FromStr for TcpKeepAlive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let numbers: Option<Vec<u32>> = text
            .split(',')
            .map(|number| number.trim().parse().ok().filter(|number| (1..=32_767).contains(number)))
            .collect();
        match numbers.as_deref() {
            Some(&[idle_s, interval_s, probes]) => Ok(Self(Some(KeepAlive {
                idle: Duration::from_secs(idle_s.into()),
                interval: Duration::from_secs(interval_s.into()),
                probes: probes.min(127),
            }))),
            _ => Err(format!(
                "expected `none` or seconds, seconds and probes such as `240,30,5`, got `{text}`"
            )),
        }
    }
}

/// A list of names; may be given as one text with commas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a list of names, or one text with commas")]
        enum Given {
            Text(String),
            List(Vec<String>),
        }
        let names = match Given::deserialize(reader)? {
            Given::List(names) => names,
            Given::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        Ok(Self(names.into_iter().filter(|name| !name.is_empty()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use connectors_api::parse_config;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_listener_is_read_and_written() {
        let given = json!({
            "enable": true, "bind": "[::1]:8883", "max_connections": "infinity", "max_conn_rate": "10/s",
            "messages_rate": "5/s", "messages_burst": "50/60s", "bytes_rate": "1024/s", "bytes_burst": "infinity",
            "limiter": {
                "messages_rate": "100/s", "messages_burst": "infinity", "bytes_rate": "infinity",
                "bytes_burst": "infinity"
            },
            "mountpoint": "a/", "zone": "lab", "access_rules": ["deny 10.0.0.0/8", "allow all"], "proxy_protocol": true,
            "proxy_protocol_timeout": "5s",
            "tcp_options": {
                "backlog": 10, "nodelay": false, "sndbuf": "64KB", "keepalive": "240,30,5",
                "send_timeout": "3s", "send_timeout_close": false, "high_watermark": "64KB"
            },
            "ssl_options": {
                "certfile": "c.pem", "keyfile": "k.pem", "cacertfile": "ca.pem", "verify": "verify_peer",
                "fail_if_no_peer_cert": true, "versions": ["tlsv1.3"], "handshake_timeout": "15s"
            }
        });
        let listener: Listener = parse_config(&given).expect("a listener");
        assert_eq!(serde_json::to_value(&listener).expect("JSON"), given);
        assert!(listener.problems(ListenerKind::Ssl, "x").is_empty());
        let network = listener.to_network(ListenerKind::Ssl, "x");
        assert_eq!(network.id(), "ssl:x");
        assert_eq!(network.max_connections, 0);
        let amount = |quota: Option<broker_net::Quota>| quota.map(|quota| quota.rate.amount);
        let ListenerQuotas { each, all } = network.quotas;
        assert_eq!((amount(each.messages), amount(each.bytes)), (Some(5), Some(1024)));
        assert_eq!((amount(all.messages), amount(all.bytes)), (Some(100), None));
        let tls = network.tls.expect("TLS");
        assert_eq!(tls.versions, TlsVersions::Tls13);
        assert_eq!(tls.client_certificates, ClientCertificates::Required);
    }

    #[test]
    fn binds_and_rates() {
        let bind = |given: Json| {
            let listener: Listener = parse_config(&json!({ "bind": given })).expect("a listener");
            listener.to_network(ListenerKind::Ws, "x").bind.to_string()
        };
        assert_eq!(bind(json!(2000)), "0.0.0.0:2000");
        assert_eq!(bind(json!("2000")), "0.0.0.0:2000");
        assert_eq!(bind(json!(":2000")), "0.0.0.0:2000");
        assert_eq!(bind(json!("127.0.0.1:0")), "127.0.0.1:0");
        assert_eq!(bind(Json::Null), "0.0.0.0:8083");
        let rate = |given: Json| {
            let listener: Listener = parse_config(&given).expect("a listener");
            listener.rate(ListenerKind::Tcp).to_string()
        };
        assert_eq!(rate(json!({})), "1000/s");
        assert_eq!(rate(json!({"bind": "127.0.0.1:1883"})), "infinity");
        assert_eq!(rate(json!({"max_conn_rate": "infinity"})), "infinity");
        assert_eq!(rate(json!({"bind": "127.0.0.1:1883", "max_conn_rate": "5/s"})), "5/s");
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let check = |kind, given: Json, want: &str| {
            let listener: Listener = parse_config(&given).expect("a listener");
            let problems = listener.problems(kind, "x");
            let texts: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
            assert!(texts.join("\n").contains(want), "{texts:?}");
        };
        check(
            ListenerKind::Tcp,
            json!({"tcp_options": {"send_timeout": 0}}),
            "tcp_options.send_timeout: expected more",
        );
        check(
            ListenerKind::Tcp,
            json!({"messages_burst": "5/s"}),
            "messages_burst: expected a rate beside it",
        );
        check(
            ListenerKind::Tcp,
            json!({"limiter": {"bytes_burst": "5/s"}}),
            "limiter.bytes_burst: expected a rate beside it",
        );
        check(ListenerKind::Tcp, json!({"ssl_options": {}}), "ssl_options: only `ssl` and `wss`");
        check(ListenerKind::Ssl, json!({"websocket": {}}), "websocket: only `ws` and `wss`");
        check(ListenerKind::Ssl, json!({}), ": `ssl_options` with `certfile`");
        let files = |more: Json| {
            let mut options = json!({"certfile": "c", "keyfile": "k"});
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "ssl_options": options })
        };
        check(
            ListenerKind::Ssl,
            files(json!({"verify": "verify_peer"})),
            "ssl_options.verify: `verify_peer` needs",
        );
        check(ListenerKind::Wss, files(json!({"fail_if_no_peer_cert": true})), "needs `verify");
        check(ListenerKind::Wss, files(json!({"versions": []})), "ssl_options.versions: expected");
        check(ListenerKind::Ws, json!({"websocket": {"mqtt_path": "mqtt"}}), "websocket.mqtt_path");
    }
}
