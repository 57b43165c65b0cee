//! The rules that match a message together: found once for each list of slots, until a rule changes.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine_event::RuleSlot;
use engine_sql::RuleSet;

use super::RuleRuntime;
use crate::metrics::{RuleCounters, SharedRuns};

/// Rules in all sets that are kept until a rule changes. Each new set copies the list on a publisher's thread, and with
/// one rule for each of ten thousand devices beside one for all of them there is no end of sets: the others have none.
const MEMBERS_MAX: usize = 1 << 18;

/// Sets that are kept.
const SETS_MAX: usize = 1024;

/// From this many rules on those are searched whose WHERE may hold.
const SEARCHED_MIN: usize = 8;

/// Rules that match together.
#[derive(Debug)]
pub(super) struct Set {
    slots: Box<[RuleSlot]>,
    pub(super) rules: Box<[Arc<RuleRuntime>]>,
    pub(super) shared: RuleSet,
    /// Runs that count for each rule that is searched.
    pub(super) runs: Arc<SharedRuns>,
}

impl Set {
    fn new(slots: &[RuleSlot], rules: Vec<Arc<RuleRuntime>>) -> Self {
        let plans: Vec<_> = rules.iter().map(|rule| rule.plan.plan()).collect();
        let shared = RuleSet::new(&plans, rules.len() >= SEARCHED_MIN);
        let runs = Arc::new(SharedRuns::default());
        for place in shared.guarded() {
            rules[*place as usize].counters.share(&runs);
        }
        Self { slots: slots.into(), rules: rules.into(), shared, runs }
    }
}

/// Nobody uses the set any more: what was counted together becomes each rule's own.
impl Drop for Set {
    fn drop(&mut self) {
        for place in self.shared.guarded() {
            RuleCounters::unshare(&self.rules[*place as usize].counters, &self.runs);
        }
    }
}

/// Sets by their slots. Reading takes no lock.
#[derive(Debug, Default)]
pub(super) struct Sets(ArcSwap<Generation>);

/// The sets between two changes of the rules.
#[derive(Debug, Default)]
struct Generation {
    sets: HashMap<u64, Vec<Arc<Set>>, foldhash::fast::RandomState>,
    count: usize,
    members: usize,
}

impl Sets {
    /// Forgets the sets of rules as they were. Call it after the change.
    pub(super) fn clear(&self) {
        self.0.store(Arc::default());
    }

    /// The set of some rules; none when there are too many sets to keep another.
    pub(super) fn of(
        &self,
        slots: &[RuleSlot],
        rule: impl Fn(RuleSlot) -> Option<Arc<RuleRuntime>>,
    ) -> Option<Arc<Set>> {
        let key = key(slots);
        let generation = self.0.load();
        let found = generation.sets.get(&key).and_then(|sets| sets.iter().find(|set| *set.slots == *slots));
        if let Some(found) = found {
            return Some(Arc::clone(found));
        }
        if generation.count >= SETS_MAX || generation.members + slots.len() > MEMBERS_MAX {
            return None;
        }
        let generation = arc_swap::Guard::into_inner(generation);
        let set = Arc::new(Set::new(slots, slots.iter().filter_map(|slot| rule(*slot)).collect()));
        let mut next = Generation {
            sets: generation.sets.clone(),
            count: generation.count + 1,
            members: generation.members + slots.len(),
        };
        next.sets.entry(key).or_default().push(Arc::clone(&set));
        // only into the generation that was there before the rules were looked at: a rule that changed since has made
        // another one, and this set is used once and forgotten
        self.0.compare_and_swap(&generation, Arc::new(next));
        Some(set)
    }
}

/// A number for a list of slots. It only looks at some of them, as lists are compared afterwards.
fn key(slots: &[RuleSlot]) -> u64 {
    let len = slots.len();
    let step = (len / 8).max(1);
    let some = slots.iter().step_by(step).chain(slots.last());
    some.fold(len as u64, |key, slot| {
        key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ u64::from(slot.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_limit::LogLimit;
    use crate::metrics::RuleCounter;
    use crate::rule::RulePlan;
    use engine_event::Text;

    fn rule(number: u32, sql: &str) -> Arc<RuleRuntime> {
        Arc::new(RuleRuntime {
            id: Arc::from("r"),
            name: Text::from_static("r"),
            slot: RuleSlot(number),
            plan: RulePlan::compile(sql, "r").unwrap(),
            outputs: Vec::new(),
            wants_completion: false,
            counters: Arc::default(),
            exceptions: LogLimit::default(),
            loops: LogLimit::default(),
        })
    }

    #[test]
    fn many_sets_do_not_push_each_other_out() {
        let sets = Sets::default();
        let of = |slots: &[u32]| {
            let slots: Vec<RuleSlot> = slots.iter().map(|slot| RuleSlot(*slot)).collect();
            sets.of(&slots, |slot| Some(rule(slot.0, "SELECT payload.a FROM \"t\"")))
        };
        let first = of(&[0, 1]).expect("there is room");
        let room = SETS_MAX as u32;
        assert!((2..=room).all(|number| of(&[0, number]).is_some()));
        assert!(of(&[0, room + 1]).is_none());
        assert!(Arc::ptr_eq(&first, &of(&[0, 1]).expect("is kept")));
        sets.clear();
        assert!(of(&[0, room + 1]).is_some(), "a change of the rules makes room");
    }

    #[test]
    fn what_was_counted_together_is_each_rules_own_in_the_end() {
        let sets = Sets::default();
        let rules: Vec<_> = (0..8)
            .map(|number| rule(number, &format!("SELECT qos FROM \"t\" WHERE payload.a = {number}")))
            .collect();
        let slots: Vec<RuleSlot> = rules.iter().map(|rule| rule.slot).collect();
        let set = sets.of(&slots, |slot| Some(Arc::clone(&rules[slot.0 as usize]))).expect("there is room");
        let numbers = |rule: &RuleRuntime| {
            let get = |counter| rule.counters.get(counter);
            (get(RuleCounter::Matched), get(RuleCounter::FailedNoResult))
        };
        set.runs.add();
        set.runs.add();
        rules[1].counters.add(RuleCounter::RanOfShared, 1);
        rules[1].counters.add(RuleCounter::Matched, 1);
        rules[1].counters.add(RuleCounter::Passed, 1);
        let check = || {
            assert_eq!(numbers(&rules[0]), (2, 2));
            assert_eq!(numbers(&rules[1]), (2, 1));
            assert_eq!(rules[2].counters.get(RuleCounter::Matched), 0, "was reset");
        };
        rules[2].counters.reset();
        check();
        sets.clear();
        check();
        drop(set);
        check();
    }
}
