//! What the engine is constructed with.

use std::path::PathBuf;
use std::sync::Arc;

use connectors_api::ConnectorDef;
use engine_event::Clock;

/// Whether this deployment may use a connector type. The engine does not know editions: it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditionVerdict {
    /// The type may be used.
    Allowed,
    /// The type is in the build but belongs to another edition.
    Refused {
        /// The edition that has it.
        edition: String,
    },
}

/// What the engine is constructed with.
pub struct EngineConfig {
    /// Name of the node.
    pub node: String,
    /// The server's data directory.
    pub data_dir: PathBuf,
    /// Every connector type of the build, with the verdict of the edition.
    pub definitions: Vec<(ConnectorDef, EditionVerdict)>,
    /// Bytes that the memory queues of all actions may hold together.
    pub queue_bytes_limit: u64,
    /// The only source of wall time.
    pub clock: Arc<dyn Clock>,
    /// Messages on `$SYS/…` run no rules.
    pub ignore_sys_message: bool,
    /// How many rules one after the other may republish a message.
    pub republish_hops_limit: u8,
    /// Time limit of a `jq` call that names none, in milliseconds.
    pub jq_time_limit_ms: u64,
}

impl EngineConfig {
    /// Makes a configuration without connector types, with 1 GiB for the queues and defaults for the rest.
    pub fn new(node: impl Into<String>, data_dir: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            node: node.into(),
            data_dir: data_dir.into(),
            definitions: Vec::new(),
            queue_bytes_limit: 1 << 30,
            clock,
            ignore_sys_message: true,
            republish_hops_limit: 8,
            jq_time_limit_ms: 10_000,
        }
    }
}

impl std::fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineConfig").field("node", &self.node).finish_non_exhaustive()
    }
}
