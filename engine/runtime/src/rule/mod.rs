//! Rules at work: which rules an event concerns, and what becomes of their rows.

mod environment;
mod evaluator;
mod explain;
mod identity;
mod outputs;
mod plan;
pub(crate) mod republish;
mod rules;
mod runtime;
mod sets;
mod store;
mod table;

pub(crate) use environment::Environment;
pub use evaluator::{EvaluatedRule, Evaluator, eval_line};
pub(crate) use plan::RulePlan;
pub(crate) use rules::Rules;
pub(crate) use runtime::{Output, RuleRuntime};
