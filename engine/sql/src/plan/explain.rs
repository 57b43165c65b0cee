//! What each part of a rule gave on an event.

use engine_event::{Event, Map, Value};

use crate::evaluate::Size;
use crate::functions::CompiledCache;
use crate::projection::{PlanSlots, Projection};
use crate::syntax::{self, Expr, ExprKind, Rule};
use crate::{Env, EvalError};

use super::context::RunContext;
use super::evaluate::Frame;
use super::ir::{self, FieldList, Layout};
use super::run::{base_frame, write_field, write_steps};

/// Parts of a condition that are shown.
pub(super) const PARTS_MAX: usize = 64;

/// Functions that do something beside giving a value: they are not called a second time.
const WITH_EFFECTS: [&str; 8] = [
    "kv_store_put",
    "kv_store_del",
    "proc_dict_put",
    "proc_dict_get",
    "proc_dict_del",
    "lag",
    "changed",
    "dedup",
];

/// A rule compiled so that each of its parts can be looked at.
#[derive(Debug)]
pub struct Explainer {
    pub(super) fields: FieldList,
    pub(super) texts: Vec<String>,
    pub(super) condition: Vec<(String, ir::Expr)>,
    pub(super) projection: Projection,
}

/// What the parts of a rule gave: the text of each with its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The fields of SELECT or FOREACH.
    pub fields: Vec<(String, Result<Value, EvalError>)>,
    /// WHERE and the expressions inside it, from the outermost.
    pub condition: Vec<(String, Result<Value, EvalError>)>,
}

impl Explainer {
    /// Evaluates every part by itself, also those that a run would not come to.
    pub(super) fn explain(&self, event: &Event, env: &Env<'_>, compiled: &CompiledCache) -> Explanation {
        let slots = self.projection.run(event);
        let context = RunContext::new(event, env.context, compiled);
        let base = base_frame(event, PlanSlots::of_one(&slots), env, &context);
        let written = matches!(self.fields.layout, Layout::Written);
        let mut registers = vec![Value::Undefined; self.fields.fields.len()];
        let mut row = Value::Map(Map::new());
        let mut size = Size::default();
        let mut explanation = Explanation::default();
        for (field, text) in self.fields.fields.iter().zip(&self.texts) {
            let Some(expr) = field.value.as_ref().filter(|_| !text.is_empty()) else { continue };
            let output = if written { row.as_map() } else { None };
            let frame = Frame { registers: &registers, output, ..base };
            let result = expr.eval(&frame).map(std::borrow::Cow::into_owned).and_then(|value| {
                if self.fields.counted {
                    size.add("the row", &value)?;
                }
                Ok(value)
            });
            if let (Ok(value), true) = (&result, written)
                && let Ok(steps) = write_steps(&field.target, &frame)
            {
                let _ = write_field(&mut row, &steps, value.clone());
            }
            if let Ok(value) = &result {
                registers[field.register] = value.clone();
            }
            explanation.fields.push((text.clone(), result));
        }
        let merged = if written { row.as_map() } else { None };
        let frame = Frame { registers: &registers, merged, ..base };
        for (text, expr) in &self.condition {
            let result = expr.eval(&frame).map(std::borrow::Cow::into_owned);
            explanation.condition.push((text.clone(), result));
        }
        explanation
    }
}

/// The fields of SELECT or FOREACH.
pub(super) fn fields(rule: &Rule) -> (&'static str, &[syntax::Field]) {
    match &rule.body {
        syntax::Body::Select(fields) => ("SELECT", fields),
        syntax::Body::Foreach { fields, .. } => ("FOREACH", fields),
    }
}

/// The text of a field; empty when it is not to be evaluated again.
pub(super) fn field_text(field: &syntax::Field) -> String {
    match &field.kind {
        syntax::FieldKind::Value { value, .. } if !has_effects(value) => field.to_string(),
        _ => String::new(),
    }
}

/// Calls `visit` with an expression and those inside it that are not constants, each text once.
pub(super) fn each_part<'a>(expr: &'a Expr, seen: &mut Vec<String>, visit: &mut dyn FnMut(String, &'a Expr)) {
    if matches!(expr.kind, ExprKind::Literal(_) | ExprKind::Range(..)) || seen.len() >= PARTS_MAX {
        return;
    }
    let text = expr.to_string();
    if !has_effects(expr) && !seen.contains(&text) {
        seen.push(text.clone());
        visit(text, expr);
    }
    expr.kind.each_child(&mut |child| each_part(child, seen, visit));
}

fn has_effects(expr: &Expr) -> bool {
    let mut found = matches!(&expr.kind, ExprKind::Call(name, _) if WITH_EFFECTS.iter().any(|effect| name.eq_ignore_ascii_case(effect)));
    expr.kind.each_child(&mut |child| found |= has_effects(child));
    found
}
