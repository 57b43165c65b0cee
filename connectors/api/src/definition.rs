//! The one constant by which a connector describes itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::{ConfigError, Connector, StartContext, StartError};

/// A connector that is being started.
pub type StartFuture = Pin<Box<dyn Future<Output = Result<Arc<dyn Connector>, StartError>> + Send>>;

/// A connector type: validation, forms, reference pages and the start come from here.
#[derive(Clone, Copy, Debug)]
pub struct ConnectorDef {
    /// Type in the API and in files, `http`.
    pub kind: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What it writes and what counts as confirmed.
    pub summary: &'static str,
    /// What the buffer may do with it.
    pub capabilities: Capabilities,
    /// Names of the connector's secret fields, dotted (`password`, `ssl.password`).
    pub secrets: &'static [&'static str],
    /// JSON Schema of the connector's own fields.
    pub connector_schema: fn() -> Json,
    /// JSON Schema of an action's `parameters`.
    pub action_schema: fn() -> Json,
    /// Checks the connector's own fields, all of them.
    pub check_connector: fn(&Json) -> Result<(), ConfigError>,
    /// Checks an action's `parameters`, templates and statements included.
    pub check_action: fn(&Json) -> Result<(), ConfigError>,
    /// Starts a connector. The configuration was checked before.
    pub start: fn(StartContext, Json) -> StartFuture,
}

/// What the buffer layer may do with a connector type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Default of `batch_size`: rows per request at most. 1: no batches unless asked for.
    pub batch_size_default: u32,
    /// Default of `batch_time`, in milliseconds.
    pub batch_time_ms_default: u64,
    /// Rows per request that the type can take at most.
    pub batch_size_limit: u32,
    /// Several requests may be under way for one lane without losing the order of its rows.
    pub keeps_order: bool,
}
