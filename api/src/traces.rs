//! The seam to traces: the server fills it in, as this crate writes no files.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// What a trace follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// The client of an id.
    #[serde(rename = "clientid")]
    ClientId,
    /// The messages of a topic, or of all topics that a filter matches.
    Topic,
    /// The clients at an address.
    IpAddress,
    /// The evaluations of a rule, and what becomes of its rows.
    #[serde(rename = "ruleid")]
    RuleId,
}

impl TraceKind {
    /// The word, and the name of the field that has the value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientId => "clientid",
            Self::Topic => "topic",
            Self::IpAddress => "ip_address",
            Self::RuleId => "ruleid",
        }
    }
}

/// How a trace shows payloads and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadEncode {
    /// As text.
    #[default]
    Text,
    /// As `******`.
    Hidden,
    /// In hexadecimal digits.
    Hex,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceFormatter {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Which lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceVerbosity {
    /// Every step.
    #[default]
    Debug,
    /// Beginnings and ends, and what is below.
    #[serde(alias = "notice")]
    Info,
    /// What was refused or dropped, and what is below.
    Warning,
    /// What failed.
    #[serde(alias = "critical", alias = "alert", alias = "emergency")]
    Error,
}

/// A trace, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceDefinition {
    /// Identifies it: letters, digits, `-` and `_`.
    pub name: String,
    /// What it follows.
    pub kind: TraceKind,
    /// Client id, filter, address or rule id.
    pub value: String,
    /// When it begins, Unix milliseconds.
    pub start_at_ms: i64,
    /// When it ends, Unix milliseconds; none for when it is stopped.
    pub end_at_ms: Option<i64>,
    /// How payloads are shown.
    pub payload_encode: PayloadEncode,
    /// Bytes of a payload that are shown; 0 for all.
    pub payload_limit: u32,
    /// How lines are written.
    pub formatter: TraceFormatter,
    /// Which lines are written.
    pub level: TraceVerbosity,
    /// Name of the file.
    pub file: String,
}

/// Whether a trace writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceStatus {
    /// Its time has not come.
    Waiting,
    /// It does.
    Running,
    /// It has ended.
    Stopped,
}

/// A trace as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceView {
    /// As it was asked for.
    pub definition: TraceDefinition,
    /// Whether it writes.
    pub status: TraceStatus,
    /// Bytes written.
    pub log_size: u64,
    /// When the file was last written, Unix seconds.
    pub modified_at_s: Option<i64>,
    /// Where the file is.
    pub path: String,
}

/// A part of the lines of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceChunk {
    /// The lines; whole characters.
    pub text: String,
    /// Where the next part begins.
    pub position: u64,
    /// There is nothing behind it at the moment.
    pub is_end: bool,
    /// Whether more may come.
    pub status: TraceStatus,
}

/// Why a trace is not made, stopped or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceFault {
    /// There is none of that name.
    #[error("there is no trace `{0}`")]
    Unknown(String),
    /// There is one of that name.
    #[error("there is a trace `{0}` already")]
    Exists(String),
    /// There are too many.
    #[error("there are {0} traces, which is the most: delete one")]
    Full(usize),
    /// A field is wrong.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What was expected, and found.
        message: String,
    },
    /// Something failed inside the server.
    #[error("{0}")]
    Internal(String),
}

/// Makes traces and reads what they have written.
#[async_trait]
pub trait TraceControl: Send + Sync {
    /// Returns every trace, the one that begins last first.
    fn list(&self) -> Vec<TraceView>;

    /// Makes a trace and keeps it over restarts.
    async fn create(&self, definition: TraceDefinition) -> Result<TraceView, TraceFault>;

    /// Ends a trace. What it has written stays.
    async fn stop(&self, name: &str) -> Result<TraceView, TraceFault>;

    /// Ends a trace if it has not, and removes what it has written.
    async fn delete(&self, name: &str) -> Result<(), TraceFault>;

    /// Reads at most about `bytes` from a place on.
    async fn read(&self, name: &str, position: u64, bytes: usize) -> Result<TraceChunk, TraceFault>;

    /// Packs what a trace has written into a ZIP archive, which comes in pieces.
    async fn archive(&self, name: &str) -> Result<mpsc::Receiver<std::io::Result<Vec<u8>>>, TraceFault>;
}
