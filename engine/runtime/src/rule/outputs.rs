//! From the rows of a run to the outputs of the rule.

use std::cell::OnceCell;

use engine_event::{Completion, Event, JsonOptions, Row, Text, Value, encode_json};
use tokio::time::Instant;

use super::republish::{RepublishError, Source, republish};
use super::{Output, RuleRuntime};
use crate::action::RowOrigin;
use crate::metrics::RuleCounter;
use crate::object::republish::RepublishArgs;
use crate::services::Services;

/// What all rules that run on one event share.
pub(super) struct EventFacts<'a> {
    event: &'a Event,
    /// Made when the first action needs it.
    for_actions: OnceCell<ActionFacts>,
}

/// What only actions ask for.
struct ActionFacts {
    /// Of some events it is a hash of everything.
    identity: u128,
    key: Option<Text>,
    key_hash: u64,
    now: Instant,
}

impl<'a> EventFacts<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        Self { event, for_actions: OnceCell::new() }
    }

    fn for_actions(&self, services: &Services) -> &ActionFacts {
        self.for_actions.get_or_init(|| {
            let key = self.event.client_id().filter(|key| !key.is_empty());
            ActionFacts {
                identity: super::identity::event_identity(self.event),
                key_hash: key.as_ref().map_or(0, |key| services.key_hash(key)),
                key,
                now: Instant::now(),
            }
        })
    }
}

/// Gives the rows of a run to every output. Actions get them at once, the built-in outputs row by row.
pub(super) fn dispatch(
    services: &Services,
    rule: &RuleRuntime,
    rows: &[Row],
    facts: &EventFacts<'_>,
    completion: Option<&Completion>,
) {
    let completion = completion.filter(|_| rule.wants_completion);
    rule.counters.add(RuleCounter::ActionsTotal, (rows.len() * rule.outputs.len()) as u64);
    let hops = facts.event.hops();
    for output in &rule.outputs {
        let Output::Action { slot, id_seed } = output else { continue };
        let action = slot.load();
        if services.traces.any() {
            let refused = match action.as_ref() {
                None => Some("there is no such action"),
                Some(action) if !action.is_enabled() => Some("the action is off"),
                Some(_) => None,
            };
            services.traces.given(&rule.id, slot.id(), rows.len(), refused, services.clock.now_ms());
        }
        let Some(action) = action.as_ref().filter(|action| action.is_enabled()) else {
            rule.counters.add(RuleCounter::ActionsDiscarded, rows.len() as u64);
            if let Some(completion) = completion {
                completion.fail();
            }
            continue;
        };
        let facts = facts.for_actions(services);
        let origin = RowOrigin {
            rule_id: &rule.id,
            credit: Some(&rule.counters),
            key: facts.key.as_ref(),
            key_hash: facts.key_hash,
            origin: facts.identity,
            first_index: 0,
            id_seed: *id_seed,
            hops,
            completion,
        };
        action.offer(rows, &origin, facts.now);
    }
    for row in rows {
        for output in &rule.outputs {
            match output {
                Output::Action { .. } => {}
                Output::Console => print(services, rule, row),
                Output::Republish(args) => {
                    if !publish_again(services, rule, args, row, facts)
                        && let Some(completion) = completion
                    {
                        completion.fail();
                    }
                }
            }
        }
    }
}

fn print(services: &Services, rule: &RuleRuntime, row: &Row) {
    if services.traces.any() {
        services.traces.done(&rule.id, "console", row, None, services.clock.now_ms());
    }
    let json = encode_json(&Value::Map(row.clone()), JsonOptions::default());
    tracing::info!(rule = %rule.id, row = %String::from_utf8_lossy(&json), "console");
    rule.counters.add(RuleCounter::ActionsSuccess, 1);
}

fn publish_again(
    services: &Services,
    rule: &RuleRuntime,
    args: &RepublishArgs,
    row: &Row,
    facts: &EventFacts<'_>,
) -> bool {
    let message = facts.event.publish();
    let source = Source {
        rule_id: &rule.name,
        hops: facts.event.hops(),
        republished_by: message.and_then(|message| message.republished_by.as_ref()),
        event: Some(facts.event),
    };
    let result = republish(services, args, row, &source);
    if services.traces.any() {
        let error = result.as_ref().err().map(|error| error as &dyn std::fmt::Display);
        services.traces.done(&rule.id, "republish", row, error, services.clock.now_ms());
    }
    let counter = match &result {
        Ok(()) => RuleCounter::ActionsSuccess,
        Err(_) => RuleCounter::ActionsUnknown,
    };
    rule.counters.add(counter, 1);
    if let Err(error) = &result
        && rule.loops.allows(services.clock.now_ms())
    {
        match error {
            RepublishError::Loop | RepublishError::TooManyHops(_) => {
                tracing::error!(rule = %rule.id, %error, "republish would go round in a circle");
            }
            _ => tracing::warn!(rule = %rule.id, %error, "republish failed"),
        }
    }
    result.is_ok()
}
