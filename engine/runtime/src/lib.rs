//! The rule engine at work: objects and their life, lanes, queues, retry, fallback, counters.
//!
//! [`Engine`] is an [`EventTap`](engine_event::EventTap): the broker hands it events; it runs the rules that
//! select them and puts the rows into the lanes of the rules' actions, without waiting. Each lane is a bounded
//! queue with a task that sends batches to the action's connector and accounts for every row.

#![forbid(unsafe_code)]

mod action;
mod engine;
mod error;
mod lane;
mod log_limit;
mod metrics;
mod object;
mod queue;
mod rule;
mod services;
mod settings;
mod status;
mod topic_list;
mod traces;
mod view;

pub use engine::{Engine, FileObject, ShutdownReport, SyncProblem, SyncReport, TestError};
pub use error::EngineError;
pub use metrics::{ActionMetrics, RuleMetrics};
pub use object::name::{ObjectClass, Origin};
pub use rule::{EvaluatedRule, Evaluator, eval_line};
pub use settings::{EditionVerdict, EngineConfig};
pub use status::{Status, StatusReport};
pub use topic_list::TopicList;
pub use view::{ActionView, ConnectorView, RuleView, StoredObject};
