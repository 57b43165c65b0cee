//! The broker's sockets: listeners, and connections on worker threads.
//!
//! [`Server::start`] opens the listeners and starts the workers. Each worker is a thread with a runtime of its own that
//! owns its connections for life; nothing else runs there, so that slow work elsewhere never delays the broker.
//!
//! What a worker does in one turn: every connection that has something to read is read once, all its complete packets
//! are handled, and messages are put into the queues of their receivers. Then every connection that has something to
//! send is flushed with one write. So what comes in together goes out together, and a single message goes out at once.

mod access_rules;
mod certificate;
mod config;
mod handshake;
mod link;
mod listener;
mod listeners;
mod mailbox;
mod proxy;
mod quota;
mod rate;
mod server;
mod stream;
mod tls;
mod websocket;
mod wheel;
mod worker;
mod zone;

pub use access_rules::{AccessRule, AccessRuleError};
pub use config::{
    ClientCertificates, KeepAlive, ListenerConfig, ListenerKind, SUBPROTOCOLS, ServerConfig, TcpOptions,
    TlsConfig, TlsVersions, WebSocketConfig, ZoneConfig,
};
pub use listeners::{ChangeError, ListenError, ListenerStatus, Listeners};
pub use quota::{ListenerQuotas, PublishQuotas, Quota, Quotas, Rate};
pub use rate::{ConnectionRate, RateError};
pub use server::{Server, StartError};
pub use tls::TlsError;
