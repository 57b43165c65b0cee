//! The seam to the listeners of MQTT: the server fills it in, as this crate knows no sockets.

use async_trait::async_trait;
use serde_json::{Map, Value as JsonValue};

/// A listener as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerView {
    /// Its type, `tcp`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its configuration, with every default; `enable`, `bind` and `max_connections` are among it.
    pub config: Map<String, JsonValue>,
    /// Whether it accepts connections.
    pub running: bool,
    /// Where it listens now.
    pub listen_on: Option<String>,
    /// Connections now.
    pub current_connections: u64,
    /// What has become of connections, by name.
    pub counters: Vec<(&'static str, u64)>,
}

impl ListenerView {
    /// `tcp:default`.
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind, self.name)
    }
}

/// Why a listener is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenerFault {
    /// The id is not one of a known type with a name.
    #[error("`{0}` is no id of a listener such as `tcp:default`")]
    BadId(String),
    /// There is none of that id.
    #[error("there is no listener `{0}`")]
    Unknown(String),
    /// There is one of that id.
    #[error("there is a listener `{0}` already")]
    Exists(String),
    /// It stands in the configuration file.
    #[error("listener `{0}` is declared in the configuration file and read-only here")]
    ReadOnly(String),
    /// The configuration is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done: the port is taken, a certificate cannot be read.
    #[error("{0}")]
    Failed(String),
    /// Something failed inside the server.
    #[error("{0}")]
    Internal(String),
}

/// Looks at listeners and changes them.
#[async_trait]
pub trait ListenerControl: Send + Sync {
    /// Returns every listener, in the order of ids.
    fn list(&self) -> Vec<ListenerView>;

    /// Makes a listener, keeps it, and starts it if it is enabled.
    async fn create(&self, id: &str, config: Map<String, JsonValue>) -> Result<(), ListenerFault>;

    /// Replaces the configuration of a listener and keeps it. Its clients stay.
    async fn update(&self, id: &str, config: Map<String, JsonValue>) -> Result<(), ListenerFault>;

    /// Removes a listener for good and drops its clients.
    async fn delete(&self, id: &str) -> Result<(), ListenerFault>;

    /// Has a listener accept connections.
    async fn start(&self, id: &str) -> Result<(), ListenerFault>;

    /// Has a listener accept nothing more. Its clients stay.
    async fn stop(&self, id: &str) -> Result<(), ListenerFault>;

    /// Opens a listener anew and drops its clients.
    async fn restart(&self, id: &str) -> Result<(), ListenerFault>;
}
