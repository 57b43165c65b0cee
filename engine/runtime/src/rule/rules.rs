//! Which rules an event concerns, and running them.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use engine_event::{Completion, Event, EventKind, Interest, RuleSlot};
use engine_sql::{EvalError, Rows};
use smallvec::SmallVec;

use super::explain::Watches;
use super::outputs::{EventFacts, dispatch};
use super::sets::Sets;
use super::table::RuleTable;
use super::{Environment, RuleRuntime};
use crate::metrics::RuleCounter;
use crate::services::Services;

/// Every rule that is on, by slot and by kind of event. Running takes no lock.
#[derive(Debug)]
pub(crate) struct Rules {
    table: RuleTable,
    sets: Sets,
    /// Rules by kind of event; few, so a list that is copied when it changes.
    by_kind: ArcSwap<Vec<(EventKind, Arc<RuleRuntime>)>>,
    interest: AtomicU32,
    environment: Environment,
    pub(crate) watches: Watches,
}

impl Rules {
    pub(crate) fn new(environment: Environment) -> Self {
        Self {
            table: RuleTable::default(),
            sets: Sets::default(),
            by_kind: ArcSwap::default(),
            interest: AtomicU32::new(Interest::default().bits()),
            environment,
            watches: Watches::default(),
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Gives out a slot.
    pub(crate) fn allocate(&self) -> RuleSlot {
        self.table.allocate()
    }

    /// Sets or clears the rule of a slot.
    pub(crate) fn set(&self, slot: RuleSlot, rule: Option<Arc<RuleRuntime>>) {
        self.table.set(slot, rule.clone());
        self.sets.clear();
        let mut by_kind = self.by_kind.load().as_ref().clone();
        let before = by_kind.len();
        by_kind.retain(|(_, rule)| rule.slot != slot);
        let kinds =
            rule.iter().flat_map(|rule| rule.plan.kinds().into_iter().map(|kind| (kind, Arc::clone(rule))));
        by_kind.extend(kinds);
        if before == 0 && by_kind.is_empty() {
            return;
        }
        let interest = by_kind.iter().fold(Interest::default(), |interest, (kind, _)| interest.with(*kind));
        self.by_kind.store(Arc::new(by_kind));
        self.interest.store(interest.bits(), Ordering::Release);
    }

    /// The kinds of event that some rule selects.
    pub(crate) fn interest(&self) -> Interest {
        Interest::from_bits(self.interest.load(Ordering::Acquire))
    }

    /// Runs the rules of `slots` on a message.
    pub(crate) fn run(
        &self,
        services: &Services,
        slots: &[RuleSlot],
        event: &Event,
        completion: Option<&Completion>,
    ) {
        if self.watches.any() | services.traces.any() {
            return self.run_watched(services, slots, event, completion);
        }
        if let [slot] = slots {
            let rule = self.table.get(*slot);
            if let Some(rule) = rule.as_ref() {
                self.run_one(services, rule, event, completion);
            }
            return;
        }
        self.run_several(services, slots, event, completion);
    }

    /// Runs the rules that select events of `kind`.
    pub(crate) fn happened(&self, services: &Services, kind: EventKind, event: &Event) {
        let by_kind = self.by_kind.load_full();
        let slots: SmallVec<[_; 8]> =
            by_kind.iter().filter(|(selected, _)| *selected == kind).map(|(_, rule)| rule.slot).collect();
        self.run(services, &slots, event, None);
    }

    fn run_several(
        &self,
        services: &Services,
        slots: &[RuleSlot],
        event: &Event,
        completion: Option<&Completion>,
    ) {
        if slots.is_empty() {
            return;
        }
        let rule = |slot| self.table.get(slot).as_ref().map(Arc::clone);
        let Some(set) = self.sets.of(slots, rule) else {
            let rules = slots.iter().filter_map(|slot| rule(*slot));
            return rules.into_iter().for_each(|rule| self.run_one(services, &rule, event, completion));
        };
        let read = set.shared.read(event);
        let guarded = set.shared.guarded();
        if !guarded.is_empty() {
            set.runs.add();
        }
        let facts = OnceCell::new();
        for place in set.shared.candidates(event, &read) {
            let rule = &set.rules[place as usize];
            if guarded.binary_search(&place).is_ok() {
                rule.counters.add(RuleCounter::RanOfShared, 1);
            }
            let context = self.environment.context(event);
            let slots = set.shared.slots_of(place as usize, &read);
            let result = rule.plan.run_projected(event, slots, &context);
            let facts = facts.get_or_init(|| EventFacts::of(event));
            account(services, rule, result, facts, completion);
        }
    }

    /// Runs rules one by one while somebody looks at some of them or follows them.
    #[cold]
    fn run_watched(
        &self,
        services: &Services,
        slots: &[RuleSlot],
        event: &Event,
        completion: Option<&Completion>,
    ) {
        let now_ms = services.clock.now_ms();
        let watches = self.watches.active(now_ms);
        for slot in slots {
            let rule = self.table.get(*slot);
            let Some(rule) = rule.as_ref() else { continue };
            let context = self.environment.context(event);
            let result = rule.plan.run(event, &context);
            if let Some(watch) = watches.iter().find(|watch| watch.slot() == *slot) {
                watch.record(event, &result, &context, now_ms);
            }
            services.traces.evaluated(&rule.id, event, &result, now_ms);
            account(services, rule, result, &EventFacts::of(event), completion);
        }
        let missed = watches.iter().filter(|watch| !slots.contains(&watch.slot()));
        missed.for_each(|watch| watch.record_near_miss(event, now_ms));
    }

    fn run_one(
        &self,
        services: &Services,
        rule: &RuleRuntime,
        event: &Event,
        completion: Option<&Completion>,
    ) {
        let result = rule.plan.run(event, &self.environment.context(event));
        if result.as_ref().is_ok_and(|rows| rows.is_empty()) {
            rule.counters.add(RuleCounter::Matched, 1);
            rule.counters.add(RuleCounter::FailedNoResult, 1);
            return;
        }
        account(services, rule, result, &EventFacts::of(event), completion);
    }
}

fn account(
    services: &Services,
    rule: &RuleRuntime,
    result: Result<Rows, EvalError>,
    facts: &EventFacts<'_>,
    completion: Option<&Completion>,
) {
    rule.counters.add(RuleCounter::Matched, 1);
    match result {
        Ok(rows) if rows.is_empty() => rule.counters.add(RuleCounter::FailedNoResult, 1),
        Ok(rows) => {
            rule.counters.add(RuleCounter::Passed, 1);
            dispatch(services, rule, &rows, facts, completion);
        }
        Err(error) => {
            rule.counters.add(RuleCounter::FailedException, 1);
            if rule.exceptions.allows(services.clock.now_ms()) {
                tracing::warn!(rule = %rule.id, %error, "rule failed");
            }
        }
    }
}
