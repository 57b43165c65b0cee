//! A rule at work.

use std::sync::Arc;

use engine_event::{RuleSlot, Text};

use super::RulePlan;
use crate::action::{ActionSlot, id_seed};
use crate::log_limit::LogLimit;
use crate::metrics::RuleCounters;
use crate::object::republish::RepublishArgs;

/// Where the rows of a rule go.
#[derive(Debug)]
pub(crate) enum Output {
    Action {
        slot: Arc<ActionSlot>,
        /// See [`id_seed`].
        id_seed: u64,
    },
    Republish(Box<RepublishArgs>),
    Console,
}

impl Output {
    pub(crate) fn action(slot: Arc<ActionSlot>, rule_id: &str) -> Self {
        let id_seed = id_seed([rule_id, slot.id()]);
        Self::Action { slot, id_seed }
    }
}

/// A rule with its plan and its outputs. A changed rule is another one with the same slot and counters.
#[derive(Debug)]
pub(crate) struct RuleRuntime {
    pub(crate) id: Arc<str>,
    /// The id, for messages.
    pub(crate) name: Text,
    pub(crate) slot: RuleSlot,
    pub(crate) plan: RulePlan,
    pub(crate) outputs: Vec<Output>,
    /// The publisher's acknowledgement waits for the rows.
    pub(crate) wants_completion: bool,
    pub(crate) counters: Arc<RuleCounters>,
    pub(crate) exceptions: LogLimit,
    pub(crate) loops: LogLimit,
}
