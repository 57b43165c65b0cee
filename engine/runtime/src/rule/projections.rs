//! The union of what several rules read from a payload, made once for each set of rules that match together.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine_sql::Projection;
use smallvec::SmallVec;

use super::RuleRuntime;

/// Sets of rules that are kept until a rule changes. Each new one copies the list on a publisher's thread, and with one
/// rule for each of ten thousand devices beside one for all of them there is no end of sets: the others have none.
const SETS_MAX: usize = 1024;

/// The versions of the rules, in order: a changed rule has another version, so an old projection is never used for it.
type Key = SmallVec<[u64; 4]>;

type Sets = HashMap<Key, Arc<Projection>, foldhash::fast::RandomState>;

/// Projections by set of rules. Reading takes no lock.
#[derive(Debug, Default)]
pub(super) struct Projections(ArcSwap<Sets>);

impl Projections {
    /// Forgets the projections of rules as they were.
    pub(super) fn clear(&self) {
        self.0.store(Arc::default());
    }

    /// The projection for `rules`, in this order; none when there are too many sets of rules to keep another.
    pub(super) fn of(&self, rules: &[Arc<RuleRuntime>]) -> Option<Arc<Projection>> {
        let key: Key = rules.iter().map(|rule| rule.version).collect();
        let sets = self.0.load();
        if let Some(found) = sets.get(&key) {
            return Some(Arc::clone(found));
        }
        if sets.len() >= SETS_MAX {
            return None;
        }
        let plans: SmallVec<[_; 8]> = rules.iter().map(|rule| rule.plan.plan()).collect();
        let made = Arc::new(Projection::union(&plans));
        let mut copy = Sets::clone(&sets);
        copy.insert(key, Arc::clone(&made));
        // of two threads that add at the same time one adds again later
        self.0.store(Arc::new(copy));
        Some(made)
    }
}

#[cfg(test)]
mod tests {
    use engine_event::RuleSlot;

    use super::*;
    use crate::log_limit::LogLimit;
    use crate::rule::RulePlan;

    fn rule(number: usize) -> Arc<RuleRuntime> {
        Arc::new(RuleRuntime {
            id: Arc::from("r"),
            slot: RuleSlot(number as u32),
            version: RuleRuntime::next_version(),
            plan: RulePlan::compile("SELECT payload.a FROM \"t\"", "r").unwrap(),
            outputs: Vec::new(),
            wants_completion: false,
            counters: Arc::default(),
            exceptions: LogLimit::default(),
            loops: LogLimit::default(),
        })
    }

    #[test]
    fn many_sets_do_not_push_each_other_out() {
        let projections = Projections::default();
        let of_all = rule(0);
        let sets: Vec<_> = (1..=SETS_MAX + 1).map(|number| [Arc::clone(&of_all), rule(number)]).collect();
        let first = projections.of(&sets[0]).expect("there is room");
        assert!(sets[..SETS_MAX].iter().all(|set| projections.of(set).is_some()));
        assert!(projections.of(&sets[SETS_MAX]).is_none());
        assert!(Arc::ptr_eq(&first, &projections.of(&sets[0]).expect("is kept")));
        projections.clear();
        assert!(projections.of(&sets[SETS_MAX]).is_some(), "a change of the rules makes room");
    }
}
