//! The management interface: REST under `/api/v5`, its description (OpenAPI), Prometheus, login and API keys.
//!
//! [`Api`] holds what the endpoints work on, [`router`] makes the routes, [`serve`] serves them. What outlives the
//! process goes through the [`Store`] trait, which the server fills in.
//!
//! Every list is bounded, every request is checked before anything is changed, and a change of a connector, an action
//! or a rule is applied by the engine and stored, or neither.

#![forbid(unsafe_code)]

mod access;
mod api;
mod bans;
mod changes;
mod counters;
mod endpoints;
mod listeners;
mod machine;
mod openapi;
mod router;
mod serve;
mod slow_subs;
mod store;
mod topic_metrics;
mod traces;
mod web;

pub use access::{Accounts, FirstUser, KeyFileError, LoadKeysError};
pub use api::{Api, ApiParts, ApiSettings};
pub use bans::Bans;
pub use listeners::{ListenerControl, ListenerFault, ListenerView};
pub use router::router;
pub use serve::serve;
pub use slow_subs::{SlowSubsSettings, SlowSubsStats};
pub use store::{
    ApiKeyRecord, Change, MemoryStore, Role, Snapshot, Store, StoreError, TopicMetricsRecord, UserRecord,
};
pub use traces::{
    PayloadEncode, TraceChunk, TraceControl, TraceDefinition, TraceFault, TraceFormatter, TraceKind,
    TraceStatus, TraceVerbosity, TraceView,
};
pub use web::{ApiError, Code, ErrorBody};
