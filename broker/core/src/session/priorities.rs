//! Which messages go out before others that wait for the same client.

use std::collections::{BTreeMap, HashMap};

use broker_codec::topic;
use engine_event::topic::matches;
use foldhash::fast::RandomState;

use crate::config::DefaultPriority;

/// The priority of a message; a higher one goes first.
pub(super) type Priority = u16;

/// The priorities of messages by their topics.
#[derive(Debug)]
pub(super) struct Priorities {
    exact: HashMap<Box<str>, u8, RandomState>,
    /// Filters with wildcards, by falling priority.
    patterns: Vec<(Box<str>, u8)>,
    /// Of topics that neither names.
    other: Priority,
}

impl Priorities {
    /// Reads a table of filters; nothing comes of an empty one.
    pub(super) fn new(table: &BTreeMap<String, u8>, other: DefaultPriority) -> Option<Self> {
        if table.is_empty() {
            return None;
        }
        let (patterns, exact): (Vec<_>, Vec<_>) =
            table.iter().partition(|(filter, _)| topic::has_wildcards(filter));
        let mut patterns: Vec<_> =
            patterns.into_iter().map(|(filter, priority)| (filter.as_str().into(), *priority)).collect();
        patterns.sort_by_key(|(_, priority)| std::cmp::Reverse(*priority));
        Some(Self {
            exact: exact.into_iter().map(|(name, priority)| (name.as_str().into(), *priority)).collect(),
            patterns,
            other: match other {
                DefaultPriority::Lowest => 0,
                DefaultPriority::Highest => Priority::from(u8::MAX) + 1,
            },
        })
    }

    /// Returns the priority of messages of a topic: that of its name, else the highest of the filters that match.
    pub(super) fn of(&self, topic: &str) -> Priority {
        if let Some(priority) = self.exact.get(topic) {
            return Priority::from(*priority);
        }
        let mut patterns = self.patterns.iter();
        let found = patterns.find(|(filter, _)| matches(filter.as_bytes(), topic.as_bytes()));
        found.map_or(self.other, |(_, priority)| Priority::from(*priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_wins_over_filters_and_the_highest_filter_over_others() {
        let table = [("a/b", 3), ("a/+", 9), ("a/#", 200), ("x/+", 1)];
        let table: BTreeMap<String, u8> =
            table.into_iter().map(|(filter, priority)| (filter.to_owned(), priority)).collect();
        for (other, unnamed) in [(DefaultPriority::Lowest, 0), (DefaultPriority::Highest, 256)] {
            let priorities = Priorities::new(&table, other).expect("some");
            for (topic, priority) in [("a/b", 3), ("a/c", 200), ("a", 200), ("x/y", 1), ("x/y/z", unnamed)] {
                assert_eq!(priorities.of(topic), priority, "{topic}");
            }
        }
        assert!(Priorities::new(&BTreeMap::new(), DefaultPriority::Lowest).is_none());
    }
}
