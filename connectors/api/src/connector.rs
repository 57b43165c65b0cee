//! The traits that a connector fills in.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use engine_event::Row;

use crate::{Batch, ConfigError, Outcome, Reason};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Takes work.
    Connected,
    /// Not yet, and nobody is at fault.
    Connecting(String),
    /// Does not take work; a short sentence without secrets says why.
    Disconnected(String),
}

/// What a connector gets at its start.
#[derive(Clone, Debug)]
pub struct StartContext {
    /// `type:name`, for log lines.
    pub id: Arc<str>,
    /// The server's data directory: relative file names of a connector are inside it.
    pub data_dir: std::path::PathBuf,
}

/// What a channel gets when it is added.
#[derive(Clone, Debug)]
pub struct ChannelContext {
    /// `type:name` of the action.
    pub id: Arc<str>,
}

/// Why a connector did not start. It is started again at each health-check interval.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work; starting again will not help.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The target cannot be reached or refused.
    #[error("{0}")]
    Target(Reason),
}

/// Why a channel was not added.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The parameters cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The target lacks what the channel needs, say a table: unhealthy until that changes, checked at each interval.
    #[error("{0}")]
    Unhealthy(Reason),
    /// The target cannot be reached.
    #[error("{0}")]
    Target(Reason),
}

/// A started connector: credentials, addresses and a pool to one external system.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Checks the target. Cheap, cancel-safe, writes nothing.
    async fn check(&self) -> Health;

    /// Installs an action: compiles its templates, prepares its statements, looks up what it needs.
    ///
    /// # Errors
    /// See [`ChannelError`].
    async fn add_channel(
        &self,
        context: ChannelContext,
        parameters: &serde_json::Value,
    ) -> Result<Arc<dyn Channel>, ChannelError>;

    /// Flushes what is cheap and closes; never takes more than a few seconds.
    async fn stop(&self);
}

/// An action as installed on a started connector.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Checks what the channel itself needs, beside its connector. Cheap, cancel-safe, writes nothing.
    async fn check(&self) -> Health {
        Health::Connected
    }

    /// Sends a batch of at least one row and answers for each, in order: exactly as many outcomes as rows.
    ///
    /// Ends by `deadline`; a row that was not answered by then is [`Outcome::Retry`]. Several calls may run at once.
    async fn deliver(&self, batch: Batch<'_>, deadline: Instant) -> Vec<Outcome>;

    /// Shows the request that the row would make, without sending it and without secrets.
    ///
    /// # Errors
    /// The reason for which the request cannot be built.
    fn render(&self, row: &Row) -> Result<serde_json::Value, Reason>;
}
