//! The objects by their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_event::RuleSlot;
use serde_json::Value as Json;

use super::supervisor::ConnectorRuntime;
use crate::action::{ActionRuntime, ActionSlot};
use crate::metrics::{RateMeter, RuleCounter, RuleCounters};
use crate::object::action::{ActionConfig, FallbackConfig};
use crate::object::connector::ConnectorConfig;
use crate::object::rule::RuleConfig;
use crate::rule::RuleRuntime;
use crate::{EngineError, ObjectClass, Origin};

/// Every object. The map is locked for moments only, never while a target is waited for.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) connectors: BTreeMap<String, ConnectorEntry>,
    pub(super) actions: BTreeMap<String, ActionEntry>,
    pub(super) rules: BTreeMap<String, RuleEntry>,
    slots: BTreeMap<String, Arc<ActionSlot>>,
}

/// What every object has.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) origin: Origin,
    /// The configuration as it was given, secrets included.
    pub(super) given: Json,
    pub(super) created_at_ms: i64,
    pub(super) last_modified_at_ms: i64,
}

#[derive(Debug)]
pub(super) struct ConnectorEntry {
    pub(super) about: About,
    pub(super) config: ConnectorConfig,
    /// None: the type belongs to another edition.
    pub(super) runtime: Option<Arc<ConnectorRuntime>>,
    /// Why it does not run, for a type of another edition.
    pub(super) refused: Option<String>,
}

#[derive(Debug)]
pub(super) struct ActionEntry {
    pub(super) about: About,
    pub(super) config: ActionConfig,
    pub(super) runtime: Arc<ActionRuntime>,
}

#[derive(Debug)]
pub(super) struct RuleEntry {
    pub(super) about: About,
    pub(super) config: RuleConfig,
    pub(super) from: Vec<String>,
    pub(super) filters: Vec<String>,
    pub(super) slot: RuleSlot,
    pub(super) counters: Arc<RuleCounters>,
    pub(super) rate: Arc<RateMeter>,
    /// None: disabled.
    pub(super) runtime: Option<Arc<RuleRuntime>>,
}

impl About {
    pub(super) fn new(origin: Origin, given: Json, now_ms: i64) -> Self {
        Self { origin, given, created_at_ms: now_ms, last_modified_at_ms: now_ms }
    }

    /// The same object with another configuration.
    pub(super) fn changed(&self, given: Json, now_ms: i64) -> Self {
        Self { given, last_modified_at_ms: now_ms, ..self.clone() }
    }

    /// Refuses changes from elsewhere than where the object was declared.
    pub(super) fn require(&self, origin: &Origin, class: ObjectClass, id: &str) -> Result<(), EngineError> {
        match (&self.origin, origin) {
            (Origin::File(_), Origin::Api) => {
                Err(EngineError::ReadOnly { class, id: id.to_owned(), origin: self.origin.clone() })
            }
            (Origin::Api, Origin::File(_)) => Err(EngineError::AlreadyExists { class, id: id.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl Registry {
    /// The place of an action that rules refer to; made when it is named for the first time.
    pub(super) fn slot(&mut self, action: &str) -> Arc<ActionSlot> {
        let slot = self.slots.entry(action.to_owned()).or_insert_with(|| ActionSlot::new(action));
        Arc::clone(slot)
    }

    /// Gives up the place of an action that is gone, unless a rule or a fallback still names it.
    pub(super) fn forget_slot(&mut self, action: &str) {
        let unused = |slot: &Arc<ActionSlot>| Arc::strong_count(slot) == 1 && slot.action().is_none();
        if self.slots.get(action).is_some_and(unused) {
            self.slots.remove(action);
        }
    }

    /// Names of the actions on a connector.
    pub(super) fn actions_of(&self, connector: &str) -> Vec<String> {
        let on_it = self.actions.values().filter(|entry| entry.config.connector_id() == connector);
        on_it.map(|entry| entry.config.name.clone()).collect()
    }

    /// Ids of the rules that name an action.
    pub(super) fn rules_of(&self, action: &str) -> Vec<String> {
        let using = self.rules.iter().filter(|(_, rule)| rule.config.action_ids().any(|id| id == action));
        using.map(|(id, _)| id.clone()).collect()
    }

    /// Ids of the actions that name an action as their fallback.
    pub(super) fn fallback_of(&self, action: &str) -> Vec<String> {
        let names_it = |entry: &ActionEntry| {
            entry
                .config
                .fallbacks
                .iter()
                .any(|fallback| matches!(fallback, FallbackConfig::Action(id) if id == action))
        };
        self.actions.iter().filter(|(_, entry)| names_it(entry)).map(|(id, _)| id.clone()).collect()
    }

    /// Feeds the rates.
    pub(super) fn tick(&self, now_ms: i64) {
        for entry in self.actions.values() {
            entry.runtime.tick(now_ms);
        }
        for (id, entry) in &self.rules {
            entry.rate.tick(entry.counters.get(RuleCounter::Matched));
            let held_back = entry.runtime.as_ref().and_then(|rule| rule.exceptions.take_held_back(now_ms));
            if let Some(count) = held_back {
                tracing::warn!(rule = id, count, "the rule failed again");
            }
            let held_back = entry.runtime.as_ref().and_then(|rule| rule.loops.take_held_back(now_ms));
            if let Some(count) = held_back {
                tracing::warn!(rule = id, count, "republish failed again");
            }
        }
    }
}
