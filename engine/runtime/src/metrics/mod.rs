//! Counters of actions and rules.

mod action;
mod rate;
mod rule;

pub use action::ActionMetrics;
pub(crate) use action::LaneCounters;
pub(crate) use rate::{RateMeter, TICK};
pub use rule::RuleMetrics;
pub(crate) use rule::{RuleCounter, RuleCounters, SharedRuns};
