//! What must hold for WHERE to be true, in a form that many rules can be searched by.

use engine_event::{Column, Value};

use crate::syntax::Op;

use super::expression::is_infallible;
use super::ir::{Expr, FieldList, Layout, Lookup, Origin, Program, Steps};

/// A condition that a rule asks before anything can fail: when it does not hold, the rule gives no row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guard {
    pub(crate) source: GuardSource,
    pub(crate) test: GuardTest,
}

/// What a guard looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GuardSource {
    /// A slot of the plan.
    Slot(u16),
    Column(Column),
}

/// What a guard asks. Values are numbers and texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GuardTest {
    /// Equal to one of these.
    OneOf(Vec<Value>),
    /// This number or more.
    AtLeast(Value),
    /// This number or less.
    AtMost(Value),
}

/// The guard of a program, if it has one. It may let through what WHERE does not.
pub(super) fn guard(program: &Program) -> Option<Guard> {
    let (fields, condition) = match program {
        Program::Select { fields, condition, early: Some(_) } => (fields, condition.as_ref()?),
        Program::Foreach { fields, condition, .. } => (fields, condition.as_ref()?),
        Program::Select { .. } => return None,
    };
    let infallible = fields.fields.iter().all(|field| field.value.as_ref().is_none_or(is_infallible));
    if !infallible || !matches!(fields.layout, Layout::Fixed(_)) {
        return None;
    }
    let operands = match condition {
        Expr::And(operands) => operands.as_slice(),
        other => std::slice::from_ref(other),
    };
    for operand in operands {
        if let Some(guard) = of_condition(operand, fields) {
            return Some(guard);
        }
        // a later one may only be asked first when those before cannot fail
        if !is_infallible(operand) {
            return None;
        }
    }
    None
}

fn of_condition(condition: &Expr, fields: &FieldList) -> Option<Guard> {
    let (looked_at, test) = match condition {
        Expr::Compare(op, left, right) => match (&**left, &**right) {
            (looked_at, Expr::Constant(value)) => (looked_at, compared(*op, value)?),
            (Expr::Constant(value), looked_at) => (looked_at, compared(turned(*op), value)?),
            _ => return None,
        },
        Expr::InConstants(false, looked_at, values)
            if values.iter().all(|value| is_number(value) || is_text(value)) =>
        {
            (&**looked_at, GuardTest::OneOf(values.clone()))
        }
        Expr::Between(false, operands) => match &**operands {
            [looked_at, Expr::Constant(low), Expr::Constant(high)] if is_number(low) && is_number(high) => {
                (looked_at, GuardTest::AtLeast(low.clone()))
            }
            _ => return None,
        },
        _ => return None,
    };
    let Expr::Lookup(lookup) = looked_at else { return None };
    Some(Guard { source: source(lookup, fields)?, test })
}

fn compared(op: Op, value: &Value) -> Option<GuardTest> {
    match op {
        Op::Equal if is_number(value) || is_text(value) => Some(GuardTest::OneOf(vec![value.clone()])),
        Op::Greater | Op::GreaterOrEqual if is_number(value) => Some(GuardTest::AtLeast(value.clone())),
        Op::Less | Op::LessOrEqual if is_number(value) => Some(GuardTest::AtMost(value.clone())),
        _ => None,
    }
}

/// The operator with its operands exchanged.
fn turned(op: Op) -> Op {
    match op {
        Op::Less => Op::Greater,
        Op::LessOrEqual => Op::GreaterOrEqual,
        Op::Greater => Op::Less,
        Op::GreaterOrEqual => Op::LessOrEqual,
        other => other,
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::BigInt(_) | Value::Float(_))
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::Text(_))
}

/// The one place that a path leads to, also by way of a field.
fn source(lookup: &Lookup, fields: &FieldList) -> Option<GuardSource> {
    let [candidate] = lookup.candidates.as_slice() else { return None };
    if !matches!(&candidate.steps, Steps::Known(steps) if steps.is_empty()) {
        return None;
    }
    match &candidate.origin {
        Origin::Slot(slot) => Some(GuardSource::Slot(*slot)),
        Origin::Column(Some(column), _) => Some(GuardSource::Column(*column)),
        // a field only reads fields to its left, so this ends
        Origin::Register(register) => {
            match fields.fields.iter().find(|field| field.register == *register)?.value.as_ref()? {
                Expr::Lookup(lookup) => source(lookup, fields),
                _ => None,
            }
        }
        _ => None,
    }
}
