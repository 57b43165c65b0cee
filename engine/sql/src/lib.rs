//! The rule language: text to a checked plan, and a plan on an event to rows.
//!
//! This crate has no async runtime, no clock, no I/O and no global state.
//!
//! * [`Plan::compile`] reads, checks and compiles the text of a rule; [`Plan::run`] gives its rows for an event.
//! * [`RuleSet`] reads the payload once for several plans and finds those that an event may concern.
//! * [`syntax`] is the text as a tree and back, [`functions`] the table of built-in functions.
//! * [`context_event`] makes an event of what a rule test gives, [`eval_line`] evaluates line by line.

#![forbid(unsafe_code)]

mod context;
mod error;
mod eval_line;
mod evaluate;
pub mod functions;
#[cfg(test)]
mod interpreter;
mod plan;
mod problem;
mod projection;
mod rule_set;
pub mod syntax;

pub use context::{ContextError, context_event};
pub use error::{EvalError, Part};
pub use eval_line::{eval_line, from_tagged_json, tagged_json};
pub use plan::{Env, Explainer, Explanation, Plan, Rows, Source};
pub use problem::{Position, Problem, Severity, Span, SqlErrors};
pub use projection::{PlanSlots, Projection, Slots};
pub use rule_set::RuleSet;
