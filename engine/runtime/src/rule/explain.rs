//! Why did my rule not fire? The last evaluations of rules that somebody looks at, with the value of each part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use engine_event::{Event, JsonOptions, RuleSlot, UndefinedAs, Value, encode_json};
use engine_sql::{EvalError, Explainer, Rows};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::{Output, RuleRuntime};
use crate::rule::environment::RunContext;

/// Evaluations that are kept of each verdict.
const KEPT: usize = 10;

/// Rules that are looked at together.
const WATCHED_MAX: usize = 32;

/// Bytes of a value that are kept.
const SHOWN_BYTES_MAX: usize = 1024;

/// Rows of an evaluation that are kept.
const ROWS_SHOWN_MAX: usize = 5;

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// FROM does not select the topic, but nearly.
    NearMiss,
    WhereFalse,
    Error,
    NoRows,
    Passed,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::Passed, Self::WhereFalse, Self::NoRows, Self::Error, Self::NearMiss];

    fn name(self) -> &'static str {
        match self {
            Self::NearMiss => "near_miss",
            Self::WhereFalse => "where_false",
            Self::Error => "error",
            Self::NoRows => "no_rows",
            Self::Passed => "passed",
        }
    }
}

/// The rules that somebody looks at; usually none.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    any: AtomicBool,
    watched: ArcSwap<Vec<Arc<Watch>>>,
}

/// A rule that somebody looks at.
#[derive(Debug)]
pub(super) struct Watch {
    rule: Arc<RuleRuntime>,
    explainer: Explainer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until_ms: i64,
    /// Evaluations that are still recorded.
    left: u32,
    kept: Vec<(Verdict, VecDeque<Json>)>,
}

impl Watches {
    /// Tells whether evaluations are recorded. Asked for every message.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Tells whether some rule is looked at now; remembers when none is.
    pub(crate) fn is_active(&self, now_ms: i64) -> bool {
        let active = self.watched.load().iter().any(|watch| watch.state.lock().until_ms > now_ms);
        self.any.store(active, Ordering::Relaxed);
        active
    }

    /// Records the next evaluations of a rule. A rule that has changed begins anew.
    pub(crate) fn watch(&self, rule: &Arc<RuleRuntime>, until_ms: i64, evaluations: u32) {
        let mut watched: Vec<_> = self.watched.load().as_ref().clone();
        let found = watched.iter().find(|watch| Arc::ptr_eq(&watch.rule, rule)).map(Arc::clone);
        let watch = found.unwrap_or_else(|| {
            let explainer = rule.plan.plan().explainer();
            let watch = Arc::new(Watch { rule: Arc::clone(rule), explainer, state: Mutex::default() });
            watched.retain(|other| other.rule.slot != rule.slot);
            if watched.len() >= WATCHED_MAX {
                watched.remove(0);
            }
            watched.push(Arc::clone(&watch));
            watch
        });
        {
            let mut state = watch.state.lock();
            state.until_ms = state.until_ms.max(until_ms);
            state.left = state.left.max(evaluations);
        }
        self.watched.store(Arc::new(watched));
        self.any.store(true, Ordering::Relaxed);
    }

    /// What was recorded of a rule, by verdict, the latest first.
    pub(crate) fn recorded(&self, slot: RuleSlot) -> Json {
        let watched = self.watched.load();
        let watch = watched.iter().find(|watch| watch.rule.slot == slot);
        let of = |verdict| {
            let state = watch.map(|watch| watch.state.lock());
            let kept = state.as_ref().and_then(|state| state.kept.iter().find(|entry| entry.0 == verdict));
            kept.map_or_else(|| json!([]), |(_, entries)| entries.iter().rev().cloned().collect())
        };
        Json::Object(Verdict::ALL.iter().map(|verdict| (verdict.name().to_owned(), of(*verdict))).collect())
    }

    /// The rules whose evaluations are recorded now.
    pub(super) fn active(&self, now_ms: i64) -> Vec<Arc<Watch>> {
        let watched = self.watched.load();
        watched.iter().filter(|watch| watch.state.lock().takes(now_ms)).map(Arc::clone).collect()
    }
}

impl State {
    fn takes(&self, now_ms: i64) -> bool {
        self.until_ms > now_ms && self.left > 0
    }

    fn keep(&mut self, verdict: Verdict, entry: Json) {
        self.left = self.left.saturating_sub(1);
        let at = match self.kept.iter().position(|entry| entry.0 == verdict) {
            Some(at) => at,
            None => {
                self.kept.push((verdict, VecDeque::with_capacity(KEPT)));
                self.kept.len() - 1
            }
        };
        let entries = &mut self.kept[at].1;
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
    }
}

impl Watch {
    pub(super) fn slot(&self) -> RuleSlot {
        self.rule.slot
    }

    /// Records what came of an event that FROM selects.
    pub(super) fn record(
        &self,
        event: &Event,
        result: &Result<Rows, EvalError>,
        context: &RunContext<'_>,
        now_ms: i64,
    ) {
        let explanation = self.rule.plan.explain(&self.explainer, event, context);
        let verdict = match result {
            Err(_) => Verdict::Error,
            Ok(rows) if rows.is_filtered() => Verdict::WhereFalse,
            Ok(rows) if rows.is_empty() => Verdict::NoRows,
            Ok(_) => Verdict::Passed,
        };
        let mut entry = json!({
            "at": now_ms,
            "verdict": verdict.name(),
            "event": shown(&Value::Map(event.columns())),
            "where": parts(&explanation.condition),
            "fields": parts(&explanation.fields),
        });
        match result {
            Err(error) => entry["error"] = error.to_string().into(),
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => {
                let some = rows.iter().take(ROWS_SHOWN_MAX).map(|row| shown(&Value::Map(row.clone())));
                entry["rows"] = some.collect();
                entry["row_count"] = rows.len().into();
                entry["outputs"] = self.rule.outputs.iter().map(output).collect();
            }
        }
        self.state.lock().keep(verdict, entry);
    }

    /// Records a message that FROM nearly selects.
    pub(super) fn record_near_miss(&self, event: &Event, now_ms: i64) {
        let Some(topic) = event.publish().map(|message| message.topic.to_str_lossy().into_owned()) else {
            return;
        };
        let reasons = self.rule.plan.filters();
        let Some(reason) = reasons.iter().find_map(|filter| near_miss(filter, &topic)) else { return };
        let entry = json!({
            "at": now_ms, "verdict": Verdict::NearMiss.name(), "topic": topic, "reason": reason,
        });
        self.state.lock().keep(Verdict::NearMiss, entry);
    }
}

/// Where a row goes, and whether it is taken there. What becomes of it later is in the counters of the action.
fn output(output: &Output) -> Json {
    match output {
        Output::Console => json!({"output": "console", "outcome": "printed"}),
        Output::Republish(_) => {
            json!({"output": "republish", "outcome": "published, unless the log says otherwise"})
        }
        Output::Action { slot, .. } => {
            let action = slot.load();
            let outcome = match action.as_ref() {
                None => "discarded: there is no such action",
                Some(action) if !action.is_enabled() => "discarded: the action is off",
                Some(_) => "queued",
            };
            json!({"output": slot.id(), "outcome": outcome})
        }
    }
}

fn parts(parts: &[(String, Result<Value, EvalError>)]) -> Json {
    let part = |(text, result): &(String, Result<Value, EvalError>)| match result {
        Ok(value) => json!({"expression": text, "value": shown(value)}),
        Err(error) => json!({"expression": text, "error": error.to_string()}),
    };
    parts.iter().map(part).collect()
}

/// A value as JSON; a large one as the beginning of its text.
fn shown(value: &Value) -> Json {
    let json = match value {
        Value::Map(map) if value.size_bytes() > SHOWN_BYTES_MAX => {
            return map
                .iter()
                .map(|(key, value)| (key.to_string(), shown_part(value)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        value => encode_json(value, JsonOptions { undefined: UndefinedAs::Text }),
    };
    bounded(&json)
}

fn shown_part(value: &Value) -> Json {
    bounded(&encode_json(value, JsonOptions { undefined: UndefinedAs::Text }))
}

fn bounded(json: &[u8]) -> Json {
    if json.len() <= SHOWN_BYTES_MAX {
        return serde_json::from_slice(json).unwrap_or_default();
    }
    format!("{}…", String::from_utf8_lossy(&json[..SHOWN_BYTES_MAX])).into()
}

/// Why a filter nearly matches a topic; none when it is far from it.
fn near_miss(filter: &str, topic: &str) -> Option<String> {
    let (wanted, found): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
    let differ = |at: &usize| {
        let level = wanted[*at];
        level != "+" && level != "#" && level != found[*at]
    };
    let open = wanted.last() == Some(&"#");
    let common = wanted.len().min(found.len());
    let different: Vec<usize> = (0..common).filter(differ).collect();
    match different.as_slice() {
        [] if found.len() > wanted.len() && !open => Some(format!(
            "`{filter}` has {} levels, the topic {}: end it with `/#`",
            wanted.len(),
            found.len()
        )),
        [] if found.len() < wanted.len() => {
            Some(format!("`{filter}` has {} levels, the topic only {}", wanted.len(), found.len()))
        }
        [at] if wanted.len() == found.len() || (open && found.len() + 1 >= wanted.len()) => {
            let alike = wanted[*at].eq_ignore_ascii_case(found[*at]) || common > 1;
            let reason = format!(
                "level {} of the topic is `{}`, `{filter}` wants `{}`",
                at + 1,
                found[*at],
                wanted[*at]
            );
            alike.then_some(reason)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_say_what_differs() {
        for (filter, topic, want) in [
            ("a/+/c", "a/b/d", Some("level 3 of the topic is `d`, `a/+/c` wants `c`")),
            ("a/+", "a/b/c", Some("`a/+` has 2 levels, the topic 3: end it with `/#`")),
            ("a/b/c", "a/b", Some("`a/b/c` has 3 levels, the topic only 2")),
            ("Temp", "temp", Some("level 1 of the topic is `temp`, `Temp` wants `Temp`")),
            ("plant/#", "Plant/1/2", Some("level 1 of the topic is `Plant`, `plant/#` wants `plant`")),
            ("a/b", "x/y", None),
            ("t", "other", None),
        ] {
            assert_eq!(near_miss(filter, topic).as_deref(), want, "{filter} {topic}");
        }
    }
}
