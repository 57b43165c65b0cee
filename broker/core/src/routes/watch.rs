//! Those who look at the messages of a topic and do not get them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine_event::TraceSet;
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::trie::Trie;
use crate::topic_metrics::TopicMeter;

/// Those who look at one topic; found with its routes, and remembered with them.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) meters: SmallVec<[Arc<TopicMeter>; 2]>,
    pub(crate) traces: TraceSet,
}

/// Those who look at the topics of one filter.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    pub(crate) meter: Option<Arc<TopicMeter>>,
    pub(crate) traces: TraceSet,
}

impl Watchers {
    fn is_empty(&self) -> bool {
        self.meter.is_none() && self.traces.is_empty()
    }
}

/// All who look, by filter. Its lock is taken after all others: looking for them is allowed everywhere.
#[derive(Debug)]
pub(super) struct WatchTree {
    trie: RwLock<Trie<Watchers>>,
    /// Whether somebody looks.
    any: AtomicBool,
}

impl WatchTree {
    pub(super) fn new() -> Self {
        Self { trie: RwLock::new(Trie::new()), any: AtomicBool::new(false) }
    }

    /// Changes who looks at the topics of a filter.
    pub(super) fn change(&self, filter: &str, change: impl FnOnce(&mut Watchers)) {
        let mut trie = self.trie.write();
        let (node, watchers) = trie.get_or_insert(filter);
        change(watchers);
        if watchers.is_empty() {
            trie.remove(node);
        }
        self.any.store(trie.len() > 0, Ordering::Relaxed);
    }

    /// Returns who looks at a topic.
    pub(super) fn of(&self, topic: &str) -> Option<Arc<Watch>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut watch = Watch { meters: SmallVec::new(), traces: TraceSet::EMPTY };
        self.trie.read().matching(topic, |watchers| {
            watch.meters.extend(watchers.meter.clone());
            watch.traces = watch.traces.and(watchers.traces);
        });
        (!watch.meters.is_empty() || !watch.traces.is_empty()).then(|| Arc::new(watch))
    }
}
