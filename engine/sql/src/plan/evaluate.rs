//! Evaluating compiled expressions.

use std::borrow::Cow;

use engine_event::{Event, Map, Text, Value, decode_json};
use smallvec::SmallVec;

use crate::EvalError;
use crate::error::describe;
use crate::evaluate::{
    FREE_ITEMS, FREE_TEXT_BYTES, ReadStep, Size, UNDEFINED, arithmetic, compare, is_equal_to_any, like,
    matches_topic, negative, own_bytes, range, read,
};
use crate::functions::{FunctionContext, FunctionDef};
use crate::projection::PlanSlots;
use crate::syntax::Op;

use super::ir::{Candidate, Expr, FixedValue, LookedStep, Lookup, Origin, Steps};

/// What expressions can see at some point of a run.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) event: &'a Event,
    pub(super) rule_id: Option<&'a Text>,
    pub(super) slots: PlanSlots<'a>,
    pub(super) context: &'a dyn FunctionContext,
    /// Values of the fields that were evaluated.
    pub(super) registers: &'a [Value],
    /// The element of FOREACH.
    pub(super) item: &'a Value,
    /// What was read below it.
    pub(super) item_slots: &'a [Value],
    /// The row so far, while it is written step by step.
    pub(super) output: Option<&'a Map>,
    /// The row that hides the columns, when it was written step by step.
    pub(super) merged: Option<&'a Map>,
}

impl Frame<'_> {
    /// Counts a value that was just made, unless it is small.
    #[inline]
    fn made(&self, value: Value) -> Result<Value, EvalError> {
        let is_large = match &value {
            Value::Text(text) => text.len() > FREE_TEXT_BYTES,
            Value::Array(items) => items.len() > FREE_ITEMS,
            Value::Map(map) => map.len() > FREE_ITEMS,
            _ => false,
        };
        if is_large { self.count_made(value) } else { Ok(value) }
    }

    #[cold]
    fn count_made(&self, value: Value) -> Result<Value, EvalError> {
        self.context.made(own_bytes(&value))?;
        Ok(value)
    }
}

impl Expr {
    /// Gives the value.
    pub(super) fn eval<'a>(&'a self, frame: &Frame<'a>) -> Result<Cow<'a, Value>, EvalError> {
        Ok(Cow::Owned(match self {
            Self::Constant(value) => return Ok(Cow::Borrowed(value)),
            Self::Lookup(lookup) => return lookup.eval(frame),
            Self::Fails(error) => return Err(error.clone()),
            Self::Range(lookup, first, last) => frame.made(range(&*lookup.eval(frame)?, *first, *last)?)?,
            Self::DecodedPayload(lookup) => return decode_payload(lookup.eval(frame)?),
            Self::Array(items) => frame.made(Value::array(eval_all(items, frame)?.into_vec()))?,
            Self::Map(keys, values) => {
                let values = eval_all(values, frame)?;
                let entries = keys.iter().cloned().zip(values);
                frame.made(Value::Map(Map::from_distinct(entries.collect())))?
            }
            Self::Counted(value) => {
                let value = value.eval(frame)?;
                Size::check(&value)?;
                return Ok(value);
            }
            Self::Call(function, arguments) => call(function, arguments, frame)?,
            Self::Negative(value) => negative(&*value.eval(frame)?)?,
            Self::Arithmetic(op, left, right) => {
                let left = left.eval(frame)?;
                frame.made(arithmetic(*op, &left, &*right.eval(frame)?)?)?
            }
            Self::Try(choices) => return first_that_works(choices, frame),
            Self::Conditions(branches, otherwise) => {
                for (when, then) in branches {
                    if when.holds(frame)? {
                        return then.eval(frame);
                    }
                }
                return eval_otherwise(otherwise.as_deref(), frame);
            }
            Self::Switch(operand, branches, otherwise) => {
                let operand = operand.eval(frame)?;
                for (when, then) in branches {
                    if *when.eval(frame)? == *operand {
                        return then.eval(frame);
                    }
                }
                return eval_otherwise(otherwise.as_deref(), frame);
            }
            _ => Value::Bool(self.truth(frame)?),
        }))
    }

    /// The value where it lies, if it does and finding it cannot fail.
    #[inline]
    fn in_place<'a>(&'a self, frame: &Frame<'a>) -> Option<&'a Value> {
        match self {
            Self::Constant(value) => Some(value),
            Self::Lookup(lookup) => lookup.in_place(frame),
            _ => None,
        }
    }

    /// The value, if it takes no more than a copy of what lies somewhere: the short way for what most fields are.
    #[inline]
    pub(super) fn at_hand(&self, frame: &Frame<'_>) -> Option<Value> {
        if let Some(value) = self.in_place(frame) {
            return Some(value.clone());
        }
        let Self::Lookup(lookup) = self else { return None };
        match lookup.candidates.as_slice() {
            [Candidate { origin: Origin::Column(Some(column), _), steps: Steps::Known(steps), .. }]
                if steps.is_empty() =>
            {
                Some(frame.event.column(*column))
            }
            _ => None,
        }
    }

    /// Gives the truth of a condition, which must be a boolean (rule language, section 5.4).
    pub(super) fn truth<'a>(&'a self, frame: &Frame<'a>) -> Result<bool, EvalError> {
        Ok(match self {
            Self::And(operands) => {
                for operand in operands {
                    if !operand.truth(frame)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Or(operands) => {
                for operand in operands {
                    if operand.truth(frame)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::Not(operand) if operand.is_condition() => !operand.truth(frame)?,
            // NOT of anything but a boolean is false
            Self::Not(operand) => matches!(*operand.eval(frame)?, Value::Bool(false)),
            Self::Compare(op, left, right) => {
                if let (Some(left), Some(right)) = (left.in_place(frame), right.in_place(frame)) {
                    return compare(*op, left, right);
                }
                let left = left.eval(frame)?;
                compare(*op, &left, &*right.eval(frame)?)?
            }
            Self::MatchesTopic(left, right) => {
                let left = left.eval(frame)?;
                matches_topic(&left, &*right.eval(frame)?)?
            }
            Self::InConstants(negated, value, values) => {
                is_equal_to_any(&*value.eval(frame)?, values) != *negated
            }
            Self::In(negated, value, list) => {
                let value = value.eval(frame)?;
                is_equal_to_any(&value, &eval_all(list, frame)?) != *negated
            }
            Self::Between(negated, operands) => {
                let [value, low, high] = &**operands;
                let value = value.eval(frame)?;
                let above = compare(Op::GreaterOrEqual, &value, &*low.eval(frame)?)?;
                let between = above && compare(Op::LessOrEqual, &value, &*high.eval(frame)?)?;
                between != *negated
            }
            Self::Like(negated, value, pattern) => {
                let value = value.eval(frame)?;
                like(&value, &*pattern.eval(frame)?)? != *negated
            }
            Self::IsNull(negated, value) => {
                matches!(*value.eval(frame)?, Value::Undefined | Value::Null) != *negated
            }
            _ => match &*self.eval(frame)? {
                Value::Bool(value) => *value,
                other => return Err(EvalError::NotBoolean { found: describe(other) }),
            },
        })
    }

    /// Tells whether a condition after WHEN holds: what is no boolean does not.
    fn holds<'a>(&'a self, frame: &Frame<'a>) -> Result<bool, EvalError> {
        if self.is_condition() { self.truth(frame) } else { Ok(*self.eval(frame)? == Value::Bool(true)) }
    }

    /// Tells whether the expression gives a boolean by its form.
    fn is_condition(&self) -> bool {
        matches!(
            self,
            Self::And(_)
                | Self::Or(_)
                | Self::Not(_)
                | Self::Compare(..)
                | Self::MatchesTopic(..)
                | Self::InConstants(..)
                | Self::In(..)
                | Self::Between(..)
                | Self::Like(..)
                | Self::IsNull(..)
        )
    }
}

fn eval_all<'a>(list: &'a [Expr], frame: &Frame<'a>) -> Result<SmallVec<[Value; 4]>, EvalError> {
    list.iter().map(|expr| expr.eval(frame).map(Cow::into_owned)).collect()
}

/// The first value that there is; what fails gives none, unless it is the last.
fn first_that_works<'a>(choices: &'a [Expr], frame: &Frame<'a>) -> Result<Cow<'a, Value>, EvalError> {
    let Some((last, choices)) = choices.split_last() else { return Ok(Cow::Borrowed(&UNDEFINED)) };
    for choice in choices {
        if let Ok(value) = choice.eval(frame)
            && !value.is_undefined()
        {
            return Ok(value);
        }
    }
    last.eval(frame)
}

fn eval_otherwise<'a>(otherwise: Option<&'a Expr>, frame: &Frame<'a>) -> Result<Cow<'a, Value>, EvalError> {
    match otherwise {
        Some(otherwise) => otherwise.eval(frame),
        None => Ok(Cow::Borrowed(&UNDEFINED)),
    }
}

fn call<'a>(
    function: &'static FunctionDef,
    arguments: &'a [Expr],
    frame: &Frame<'a>,
) -> Result<Value, EvalError> {
    function.call(&eval_all(arguments, frame)?, frame.context)
}

fn decode_payload(payload: Cow<'_, Value>) -> Result<Cow<'_, Value>, EvalError> {
    match &*payload {
        Value::Text(text) => match decode_json(text.as_bytes()) {
            Ok(value) => Ok(Cow::Owned(value)),
            Err(error) => Err(EvalError::PayloadNotJson { reason: error.to_string() }),
        },
        _ => Ok(payload),
    }
}

impl Lookup {
    /// The value where it lies, if the first candidate leads there without a step.
    #[inline]
    fn in_place<'a>(&'a self, frame: &Frame<'a>) -> Option<&'a Value> {
        let (first, others) = self.candidates.split_first()?;
        if !matches!(&first.steps, Steps::Known(steps) if steps.is_empty()) {
            return None;
        }
        let value = match &first.origin {
            Origin::Slot(slot) => frame.slots.get(*slot).ok()?,
            Origin::Register(register) => &frame.registers[*register],
            Origin::ItemSlot(slot) => &frame.item_slots[usize::from(*slot)],
            Origin::Item => frame.item,
            _ => return None,
        };
        (others.is_empty() || !value.is_undefined()).then_some(value)
    }

    /// Gives the first value that a candidate leads to, else undefined.
    pub(super) fn eval<'a>(&'a self, frame: &Frame<'a>) -> Result<Cow<'a, Value>, EvalError> {
        for candidate in &self.candidates {
            let Some(origin) = candidate.origin.eval(frame)? else { continue };
            let value = candidate.follow(origin, frame)?;
            if !value.is_undefined() || matches!(candidate.origin, Origin::Merged(_)) {
                return Ok(value);
            }
        }
        Ok(Cow::Borrowed(&UNDEFINED))
    }
}

impl Origin {
    /// Gives the value; none when a row does not have the key.
    fn eval<'a>(&'a self, frame: &Frame<'a>) -> Result<Option<Cow<'a, Value>>, EvalError> {
        Ok(Some(match self {
            Self::Slot(slot) => match frame.slots.get(*slot) {
                Ok(value) => Cow::Borrowed(value),
                Err(error) => return Err(EvalError::PayloadNotJson { reason: error.to_string() }),
            },
            Self::Column(column, name) => Cow::Owned(match (column, frame.rule_id) {
                (Some(column), _) => frame.event.column(*column),
                (None, Some(rule_id)) if *name == METADATA => metadata(rule_id),
                (None, _) => name.as_str().map(|name| frame.event.column_named(name)).unwrap_or_default(),
            }),
            Self::Register(register) => Cow::Borrowed(&frame.registers[*register]),
            Self::Map(entries) => {
                let map = fixed_map(entries, &mut |register| frame.registers[register].clone());
                Cow::Owned(frame.made(Value::Map(map))?)
            }
            Self::Item => Cow::Borrowed(frame.item),
            Self::ItemSlot(slot) => Cow::Borrowed(&frame.item_slots[usize::from(*slot)]),
            Self::Output(key) => return Ok(frame.output.and_then(|row| row.get(key)).map(Cow::Borrowed)),
            Self::Merged(key) => return Ok(frame.merged.and_then(|row| row.get(key)).map(Cow::Borrowed)),
        }))
    }
}

impl Candidate {
    fn follow<'a>(&'a self, origin: Cow<'a, Value>, frame: &Frame<'a>) -> Result<Cow<'a, Value>, EvalError> {
        if matches!(&self.steps, Steps::Known(steps) if steps.is_empty()) {
            return Ok(origin);
        }
        let mut value = if self.is_payload { decode_payload(origin)? } else { origin };
        let steps = match &self.steps {
            Steps::Known(steps) => return read_on(value, steps, frame),
            Steps::Looked(steps) => steps,
        };
        for step in steps {
            // what is not there has nothing below it, whatever an index says
            if value.is_undefined() {
                break;
            }
            value = match step {
                LookedStep::Known(step) => read_on(value, std::slice::from_ref(step), frame)?,
                LookedStep::Lookup(lookups) => match first_value(lookups, frame)? {
                    Value::Int(number) => read_on(value, &[ReadStep::place(number)], frame)?,
                    _ => return Ok(Cow::Borrowed(&UNDEFINED)),
                },
            };
        }
        Ok(value)
    }
}

/// Follows steps from a value.
fn read_on<'a>(
    value: Cow<'a, Value>,
    steps: &[ReadStep],
    frame: &Frame<'a>,
) -> Result<Cow<'a, Value>, EvalError> {
    match value {
        Cow::Borrowed(value) => match read(value, steps) {
            // decoded just now
            Cow::Owned(value) => frame.count_made(value).map(Cow::Owned),
            value => Ok(value),
        },
        Cow::Owned(origin) => {
            let value = read(&origin, steps).into_owned();
            if matches!(origin, Value::Text(_)) {
                drop(origin);
                return frame.count_made(value).map(Cow::Owned);
            }
            Ok(Cow::Owned(value))
        }
    }
}

/// The first value that one of `lookups` gives.
pub(super) fn first_value<'a>(lookups: &'a [Lookup], frame: &Frame<'a>) -> Result<Value, EvalError> {
    for lookup in lookups {
        let value = lookup.eval(frame)?;
        if !value.is_undefined() {
            return Ok(value.into_owned());
        }
    }
    Ok(Value::Undefined)
}

/// The column that tells which rule runs.
pub(super) const METADATA: &str = "metadata";

/// The value of that column.
pub(super) fn metadata(rule_id: &Text) -> Value {
    Value::Map([(Text::from_static("rule_id"), rule_id.clone())].into_iter().collect())
}

/// Makes a map of fields.
pub(super) fn fixed_map(entries: &[(Text, FixedValue)], register: &mut dyn FnMut(usize) -> Value) -> Map {
    let entries = entries.iter().map(|(key, value)| (key.clone(), fixed_value(value, register)));
    Map::from_distinct(entries.collect())
}

/// Makes a part of a row.
pub(super) fn fixed_value(value: &FixedValue, register: &mut dyn FnMut(usize) -> Value) -> Value {
    match value {
        FixedValue::Register(at) => register(*at),
        FixedValue::Map(entries) => Value::Map(fixed_map(entries, register)),
    }
}
