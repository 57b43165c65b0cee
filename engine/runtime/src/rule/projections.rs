//! The union of what several rules read from a payload, made once for each set of rules that match together.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine_sql::Projection;
use smallvec::SmallVec;

use super::RuleRuntime;

/// Sets of rules that are kept; beyond, the cache starts anew.
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

    /// The projection for `rules`, in this order.
    pub(super) fn of(&self, rules: &[Arc<RuleRuntime>]) -> Arc<Projection> {
        let key: Key = rules.iter().map(|rule| rule.version).collect();
        let sets = self.0.load();
        if let Some(found) = sets.get(&key) {
            return Arc::clone(found);
        }
        let plans: SmallVec<[_; 8]> = rules.iter().map(|rule| rule.plan.plan()).collect();
        let made = Arc::new(Projection::union(&plans));
        let mut copy = if sets.len() < SETS_MAX { Sets::clone(&sets) } else { Sets::default() };
        copy.insert(key, Arc::clone(&made));
        // of two threads that add at the same time one adds again later
        self.0.store(Arc::new(copy));
        made
    }
}
