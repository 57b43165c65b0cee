//! Rules that somebody follows: each evaluation and what became of its rows is a line of a trace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use connectors_api::{Delivery, Outcome, Reason};
use engine_event::{
    Event, JsonOptions, Row, Text, TraceEvent, TraceLevel, TraceSet, Tracer, UndefinedAs, Value, encode_json,
};
use engine_sql::{EvalError, Rows};
use parking_lot::RwLock;

use crate::lane::{End, Ended};

/// Rows of an evaluation that its line shows.
const ROWS_SHOWN_MAX: usize = 5;

const RULE: &str = "RULE";
const ACTION: &str = "ACTION";

/// The rules that somebody follows; usually none.
#[derive(Default)]
pub(crate) struct RuleTraces {
    any: AtomicBool,
    followed: RwLock<Vec<(u8, String)>>,
    tracer: OnceLock<Arc<dyn Tracer>>,
}

impl RuleTraces {
    pub(crate) fn set_tracer(&self, tracer: Arc<dyn Tracer>) {
        let _ = self.tracer.set(tracer);
    }

    /// Tells whether a rule is followed. Asked for every message and every batch of rows.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(crate) fn start(&self, number: u8, rule: &str) {
        let mut followed = self.followed.write();
        followed.retain(|(other, _)| *other != number);
        followed.push((number, rule.to_owned()));
        self.any.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self, number: u8) {
        let mut followed = self.followed.write();
        followed.retain(|(other, _)| *other != number);
        self.any.store(!followed.is_empty(), Ordering::Relaxed);
    }

    fn of(&self, rule: &str) -> TraceSet {
        let followed = self.followed.read();
        let numbers = followed.iter().filter(|(_, followed)| followed == rule).map(|(number, _)| *number);
        numbers.fold(TraceSet::EMPTY, |set, number| set.and(TraceSet::of(number)))
    }

    fn emit(&self, to: TraceSet, event: TraceEvent) {
        if let Some(tracer) = self.tracer.get() {
            tracer.trace(to, event);
        }
    }

    /// Writes what came of an evaluation.
    #[cold]
    pub(crate) fn evaluated(&self, rule: &str, event: &Event, result: &Result<Rows, EvalError>, at_ms: i64) {
        let to = self.of(rule);
        if to.is_empty() {
            return;
        }
        let (verdict, rows) = match result {
            Err(_) => ("error", &[][..]),
            Ok(rows) if rows.is_filtered() => ("where_false", &[][..]),
            Ok(rows) if rows.is_empty() => ("no_rows", &[][..]),
            Ok(rows) => ("passed", &rows[..]),
        };
        let mut line = TraceEvent::new(at_ms, RULE, "rule_evaluated");
        line.client_id = event.client_id().filter(|client_id| !client_id.is_empty());
        if let Some(message) = event.publish() {
            (line.username, line.peer) = (message.username.clone(), message.peer);
            line = line.with("topic", message.topic.clone()).with("id", format!("{:032X}", message.id));
        }
        line = line.with("ruleid", rule).with("result", Value::text(verdict)).with("rows", rows.len() as u64);
        if let Err(error) = result {
            line = line.level(TraceLevel::Warning).with("error", error.to_string());
        }
        if !rows.is_empty() {
            let shown = rows.iter().take(ROWS_SHOWN_MAX).map(|row| Value::Map(row.clone())).collect();
            line = line.payload("output", json(&Value::array(shown)));
        }
        self.emit(to, line);
    }

    /// Writes that rows go to an output of the rule, or why they do not.
    #[cold]
    pub(crate) fn given(
        &self,
        rule: &str,
        output: &str,
        rows: usize,
        refused: Option<&'static str>,
        at_ms: i64,
    ) {
        let to = self.of(rule);
        if to.is_empty() {
            return;
        }
        let what = if refused.is_none() { "rows_queued" } else { "rows_discarded" };
        let line = TraceEvent::new(at_ms, ACTION, what)
            .with("ruleid", rule)
            .with("action", output)
            .with("rows", rows as u64);
        self.emit(
            to,
            match refused {
                Some(reason) => line.level(TraceLevel::Warning).with("reason", reason),
                None => line,
            },
        );
    }

    /// Writes what came of an output that is part of the engine.
    #[cold]
    pub(crate) fn done(
        &self,
        rule: &str,
        output: &'static str,
        row: &Row,
        error: Option<&dyn std::fmt::Display>,
        at_ms: i64,
    ) {
        let to = self.of(rule);
        if to.is_empty() {
            return;
        }
        let line =
            TraceEvent::new(at_ms, ACTION, if error.is_none() { "action_success" } else { "action_failed" })
                .with("ruleid", rule)
                .with("action", Value::text(output));
        let line = match error {
            Some(error) => line.level(TraceLevel::Warning).with("error", error.to_string()),
            None => line,
        };
        self.emit(to, line.payload("row", json(&Value::Map(row.clone()))));
    }

    /// Writes how rows have ended.
    #[cold]
    pub(crate) fn ended(&self, action: &str, ended: &[Ended], reason: fn(End) -> &'static str, at_ms: i64) {
        for ended in ended {
            let delivery = &ended.row.delivery;
            let to = self.of(&delivery.rule_id);
            if to.is_empty() {
                continue;
            }
            let success = ended.end == End::Success;
            let what = if success { "action_success" } else { "action_failed" };
            let mut line = about(delivery, delivery.attempts, action, what, at_ms);
            if !success {
                line = line.level(TraceLevel::Warning).with("reason", Value::text(reason(ended.end)));
                line = with_error(line, ended.row.tag.error.as_deref());
            }
            self.emit(to, line.payload("row", json(&Value::Map(delivery.row.clone()))));
        }
    }

    /// Writes that a row has to be sent again.
    #[cold]
    pub(crate) fn answered(&self, action: &str, delivery: &Delivery, outcome: &Outcome, at_ms: i64) {
        let Outcome::Retry { reason, .. } = outcome else { return };
        let to = self.of(&delivery.rule_id);
        if !to.is_empty() {
            let attempts = delivery.attempts.saturating_add(1); // with the one that was answered
            let line = about(delivery, attempts, action, "action_retry", at_ms).level(TraceLevel::Warning);
            self.emit(to, with_error(line, Some(reason)));
        }
    }
}

impl std::fmt::Debug for RuleTraces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RuleTraces").field("followed", &self.followed.read()).finish_non_exhaustive()
    }
}

fn about(delivery: &Delivery, attempts: u32, action: &str, what: &'static str, at_ms: i64) -> TraceEvent {
    TraceEvent::new(at_ms, ACTION, what)
        .with("ruleid", &*delivery.rule_id)
        .with("action", action)
        .with("delivery_id", delivery.delivery_id.clone())
        .with("attempts", attempts)
        .with_some("key", delivery.key.clone())
}

fn with_error(line: TraceEvent, reason: Option<&Reason>) -> TraceEvent {
    line.with_some("error", reason.map(ToString::to_string))
}

fn json(value: &Value) -> Text {
    Text::from(encode_json(value, JsonOptions { undefined: UndefinedAs::Text }))
}
