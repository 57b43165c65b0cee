//! Listeners and workers.

use std::net::SocketAddr;
use std::time::Duration;

/// Where and how to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The listeners. Default: one on 0.0.0.0:1883.
    pub listeners: Vec<ListenerConfig>,
    /// Worker threads; 0 is half of the processors, at least one. Default 0.
    pub workers: usize,
    /// How long a new connection may take to send its CONNECT. Default 15 s.
    pub idle_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listeners: vec![ListenerConfig::default()], workers: 0, idle_timeout: Duration::from_secs(15) }
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

/// A TCP listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Name, unique among listeners of its type. Default `default`.
    pub name: String,
    /// Address and port. Default 0.0.0.0:1883.
    pub bind: SocketAddr,
    /// Most connections at a time; 0 is no limit. Default none.
    pub max_connections: usize,
    /// Connections that may wait to be accepted. Default 1024.
    pub backlog: i32,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            bind: SocketAddr::from(([0, 0, 0, 0], 1883)),
            max_connections: 0,
            backlog: 1024,
        }
    }
}

impl ListenerConfig {
    /// The id of the listener, `tcp:default`.
    pub(crate) fn id(&self) -> String {
        format!("tcp:{}", self.name)
    }
}
