//! Topic filters of rules, kept as a list.

use std::collections::BTreeMap;

use engine_event::{RuleSlot, RuleTopics, topic};
use parking_lot::RwLock;

/// [`RuleTopics`] without a broker: matches every filter one by one. For tests, benches and dry runs.
#[derive(Debug, Default)]
pub struct TopicList(RwLock<BTreeMap<RuleSlot, (Vec<String>, bool)>>);

impl TopicList {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rules with a filter that matches `name`, and whether one of them wants a completion.
    pub fn matching(&self, name: &[u8]) -> (Vec<RuleSlot>, bool) {
        let rules = self.0.read();
        let matching = rules
            .iter()
            .filter(|(_, (filters, _))| filters.iter().any(|filter| topic::matches(filter.as_bytes(), name)));
        let mut completion = false;
        let slots = matching.map(|(slot, (_, wants))| {
            completion |= wants;
            *slot
        });
        let slots = slots.collect();
        (slots, completion)
    }
}

impl RuleTopics for TopicList {
    fn set_rule(&self, rule: RuleSlot, filters: &[String], holds_acks_ms: Option<u32>) {
        self.0.write().insert(rule, (filters.to_vec(), holds_acks_ms.is_some()));
    }

    fn remove_rule(&self, rule: RuleSlot) {
        self.0.write().remove(&rule);
    }
}
