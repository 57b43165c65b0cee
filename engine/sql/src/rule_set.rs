//! Rules that look at the same messages: the payload is read once for all, and only those rules run whose WHERE may hold.
//!
//! A thousand rules that differ in the constant that one path is compared with cost one search instead of a thousand
//! evaluations.

use std::collections::HashMap;

use engine_event::{Event, Text, Value};
use indexmap::IndexMap;
use num_traits::ToPrimitive as _;
use smallvec::SmallVec;

use crate::Plan;
use crate::plan::{GuardSource, GuardTest};
use crate::projection::{PlanSlots, Projection, Slots};

/// Rules by their places in a list.
type Places = Vec<u32>;

/// A number as it is searched by: numbers that are equal have the same, and it keeps their order.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(value + 0.0),
        Value::BigInt(value) => value.to_f64(),
        _ => None,
    }
}

/// What several rules read, and which of them an event may concern.
#[derive(Debug, Default)]
pub struct RuleSet {
    projection: Projection,
    /// Rules that always run.
    always: Places,
    /// The others, by what they look at first.
    guards: Vec<(GuardSource, GuardIndex)>,
    guarded: Places,
}

/// Rules by the constants that they compare one value with.
#[derive(Debug, Default)]
struct GuardIndex {
    numbers: HashMap<u64, Places, foldhash::fast::RandomState>,
    texts: HashMap<Text, Places, foldhash::fast::RandomState>,
    /// Rules that want at least so much, the least first.
    at_least: Vec<(f64, u32)>,
    /// Rules that want at most so much, the most first.
    at_most: Vec<(f64, u32)>,
    /// Rules that compare with a number; a text may be read as one, or be an error.
    with_number: Places,
    /// Rules that compare with a text; a number may be read out of it, or that is an error.
    with_text: Places,
}

impl RuleSet {
    /// Makes a set of rules. With `searched` not all of them run on every event.
    ///
    /// # Panics
    /// When the plans read more than 65,535 different paths.
    pub fn new(plans: &[&Plan], searched: bool) -> Self {
        let projection = Projection::union(plans);
        let mut set = Self::default();
        let mut guards: IndexMap<GuardSource, GuardIndex> = IndexMap::new();
        for (place, plan) in plans.iter().enumerate() {
            let rule = u32::try_from(place).expect("rules are numbered with 32 bits");
            let guard = plan.guard().filter(|_| searched);
            let added = guard.is_some_and(|guard| {
                let source = match guard.source {
                    GuardSource::Slot(slot) => GuardSource::Slot(projection.slot_of(place, slot)),
                    column => column,
                };
                guards.entry(source).or_default().add(rule, &guard.test)
            });
            if added { set.guarded.push(rule) } else { set.always.push(rule) }
        }
        for index in guards.values_mut() {
            index.at_least.sort_by(|a, b| a.0.total_cmp(&b.0));
            index.at_most.sort_by(|a, b| b.0.total_cmp(&a.0));
        }
        Self { projection, guards: guards.into_iter().collect(), ..set }
    }

    /// Reads the payload of an event for all rules.
    pub fn read(&self, event: &Event) -> Slots {
        self.projection.run(event)
    }

    /// What was read for the rule at `place`.
    pub fn slots_of<'a>(&'a self, place: usize, slots: &'a Slots) -> PlanSlots<'a> {
        self.projection.slots_of(place, slots)
    }

    /// The rules that do not run on every event.
    pub fn guarded(&self) -> &[u32] {
        &self.guarded
    }

    /// The rules that the event may concern, in order. WHERE of all others is false.
    pub fn candidates(&self, event: &Event, slots: &Slots) -> SmallVec<[u32; 16]> {
        let mut found: SmallVec<[u32; 16]> = SmallVec::from_slice(&self.always);
        if self.guards.is_empty() {
            return found;
        }
        if !slots.is_readable() {
            found.extend_from_slice(&self.guarded);
        } else {
            for (source, index) in &self.guards {
                match source {
                    GuardSource::Slot(slot) => index.search(slots.value(*slot), &mut found),
                    GuardSource::Column(column) => index.search(&event.column(*column), &mut found),
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl GuardIndex {
    /// Adds a rule; not when it asks for something that cannot be searched.
    fn add(&mut self, rule: u32, test: &GuardTest) -> bool {
        match test {
            GuardTest::OneOf(values) => {
                for value in values {
                    match (number(value), value) {
                        (Some(number), _) => {
                            self.numbers.entry(number.to_bits()).or_default().push(rule);
                            self.with_number.push(rule);
                        }
                        (None, Value::Text(text)) => {
                            self.texts.entry(text.clone()).or_default().push(rule);
                            self.with_text.push(rule);
                        }
                        (None, _) => return false,
                    }
                }
            }
            GuardTest::AtLeast(value) => {
                let Some(number) = number(value) else { return false };
                self.at_least.push((number, rule));
                self.with_number.push(rule);
            }
            GuardTest::AtMost(value) => {
                let Some(number) = number(value) else { return false };
                self.at_most.push((number, rule));
                self.with_number.push(rule);
            }
        }
        true
    }

    /// Adds the rules whose guard may hold for the value, or fail.
    fn search(&self, value: &Value, found: &mut SmallVec<[u32; 16]>) {
        match value {
            // a comparison with undefined is false
            Value::Undefined => {}
            Value::Int(_) | Value::BigInt(_) | Value::Float(_) => {
                let number = number(value).unwrap_or(f64::NAN);
                if let Some(rules) = self.numbers.get(&number.to_bits()) {
                    found.extend_from_slice(rules);
                }
                found.extend(self.at_least.iter().take_while(|entry| entry.0 <= number).map(|entry| entry.1));
                found.extend(self.at_most.iter().take_while(|entry| entry.0 >= number).map(|entry| entry.1));
                found.extend_from_slice(&self.with_text);
            }
            Value::Text(text) => {
                if let Some(rules) = self.texts.get(text.as_bytes()) {
                    found.extend_from_slice(rules);
                }
                found.extend_from_slice(&self.with_number);
            }
            // other types are ordered among themselves, which hardly anybody wants
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Map(_) => {
                found.extend_from_slice(&self.with_number);
                found.extend_from_slice(&self.with_text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use engine_event::Map;

    use super::*;
    use crate::Env;
    use crate::functions::FixedContext;

    /// Rules on one path of every kind that can be searched, and some that cannot.
    fn rules() -> Vec<Plan> {
        let mut wheres: Vec<String> = Vec::new();
        for constant in ["5", "5.0", "-3", "'5'", "'a'", "1e300", "123456789012345678901234567890"] {
            for op in ["=", "<", "<=", ">", ">=", "<>"] {
                wheres.push(format!("payload.v {op} {constant}"));
                wheres.push(format!("{constant} {op} payload.v"));
            }
        }
        wheres.push("payload.v IN (5, 'a', -3)".to_owned());
        wheres.push("payload.v NOT IN (5, 'a')".to_owned());
        wheres.push("payload.v BETWEEN -3 AND 5".to_owned());
        wheres.push("payload.w IS NULL AND payload.v = 5".to_owned());
        wheres.push("abs(payload.v) = 5 AND payload.v = 5".to_owned());
        wheres.push("v = 5".to_owned());
        wheres.push("qos = 1 AND payload.v > 4".to_owned());
        let selects = wheres.iter().flat_map(|condition| {
            [
                format!("SELECT payload.v AS v, qos FROM t WHERE {condition}"),
                format!("FOREACH payload.l AS i, payload.v AS v DO i FROM t WHERE {condition}"),
            ]
        });
        selects.map(|sql| Plan::compile(&sql).expect(&sql)).collect()
    }

    #[test]
    fn rules_that_are_left_out_give_nothing() {
        let plans = rules();
        let plans: Vec<&Plan> = plans.iter().collect();
        let set = RuleSet::new(&plans, true);
        assert!(set.guarded().len() > plans.len() / 2);
        let context = FixedContext::new();
        let env = Env { rule_id: None, context: &context };
        for v in [
            "5",
            "5.0",
            "-3",
            "\"5\"",
            "\"a\"",
            "\"b\"",
            "1e300",
            "4.999",
            "123456789012345678901234567890",
            "true",
            "null",
            "[]",
            "{}",
            "0",
            "-0.0",
        ] {
            for payload in [format!("{{\"v\":{v}}}"), "{}".to_owned(), "no".to_owned()] {
                let columns: Map = [
                    ("event", Value::text("message.publish")),
                    ("topic", Value::text("t")),
                    ("qos", Value::Int(1)),
                    ("payload", Value::from(payload.as_str())),
                ]
                .into_iter()
                .collect();
                let event = Event::from_columns(columns);
                let slots = set.read(&event);
                let candidates = set.candidates(&event, &slots);
                for (place, plan) in plans.iter().enumerate() {
                    let alone = plan.run(&event, &env);
                    let chosen = candidates.contains(&(place as u32));
                    let filtered = alone.as_ref().is_ok_and(|rows| rows.is_filtered());
                    assert!(chosen || filtered, "{} on {payload}", plan.rule());
                    assert_eq!(plan.run_projected(&event, set.slots_of(place, &slots), &env), alone);
                }
            }
        }
    }
}
