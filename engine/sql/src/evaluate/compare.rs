//! Comparison and membership (rule language, sections 5.1 and 5.3).

use std::cmp::Ordering;

use engine_event::{Text, Value};
use num_bigint::BigInt;
use num_traits::FromPrimitive as _;

use crate::EvalError;
use crate::error::describe;
use crate::syntax::Op;

/// Applies `= <> < <= > >=`.
pub(crate) fn compare(op: Op, left: &Value, right: &Value) -> Result<bool, EvalError> {
    let order = match (left, right) {
        (Value::Undefined, Value::Undefined) => Ordering::Equal,
        (Value::Undefined, _) | (_, Value::Undefined) => return Ok(false),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Int(_) | Value::BigInt(_) | Value::Float(_), Value::Text(text)) => {
            total_order(left, &number(text, left)?)
        }
        (Value::Text(text), Value::Int(_) | Value::BigInt(_) | Value::Float(_)) => {
            total_order(&number(text, right)?, right)
        }
        (Value::Bool(_) | Value::Null, Value::Text(text)) => word(left).cmp(text.as_bytes()),
        (Value::Text(text), Value::Bool(_) | Value::Null) => text.as_bytes().cmp(word(right)),
        _ => total_order(left, right),
    };
    Ok(match op {
        Op::Equal => order.is_eq(),
        Op::NotEqual => order.is_ne(),
        Op::Less => order.is_lt(),
        Op::LessOrEqual => order.is_le(),
        Op::Greater => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// Tells whether `value` is exactly one of `list`: same type, same content.
pub(crate) fn is_equal_to_any(value: &Value, list: &[Value]) -> bool {
    list.contains(value)
}

/// Reads the text that a number is compared with.
fn number(text: &Text, other: &Value) -> Result<Value, EvalError> {
    text.as_str().and_then(parse_number).ok_or_else(|| EvalError::Incomparable {
        number: describe(other),
        text: describe(&Value::Text(text.clone())),
    })
}

/// Digits of an integer in a text; reading takes the square of their number.
const INTEGER_DIGITS_MAX: usize = 10_000;

/// Reads an integer, or a float with digits on both sides of the point.
fn parse_number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<i64>() {
            Ok(value) => Some(Value::Int(value)),
            Err(_) if digits.len() > INTEGER_DIGITS_MAX => None,
            Err(_) => text.parse::<BigInt>().ok().map(Value::from_bigint),
        };
    }
    let (whole, rest) = digits.split_once('.')?;
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (rest, None),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let sound = all_digits(whole) && all_digits(fraction) && exponent.is_none_or(all_digits);
    let value = text.parse::<f64>().ok().filter(|value| sound && value.is_finite())?;
    Some(Value::Float(value))
}

/// Orders any two values: numbers by size, then by type, then by content.
fn total_order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Int(a), Value::Float(b)) => int_to_float(*a, *b),
        (Value::Float(a), Value::Int(b)) => int_to_float(*b, *a).reverse(),
        (Value::BigInt(a), Value::BigInt(b)) => a.cmp(b),
        (Value::BigInt(a), Value::Int(b)) => a.as_ref().cmp(&BigInt::from(*b)),
        (Value::Int(a), Value::BigInt(b)) => BigInt::from(*a).cmp(b),
        (Value::BigInt(a), Value::Float(b)) => big_to_float(a, *b),
        (Value::Float(a), Value::BigInt(b)) => big_to_float(b, *a).reverse(),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let different =
                a.iter().zip(b.iter()).map(|(a, b)| total_order(a, b)).find(|order| order.is_ne());
            different.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Map(a), Value::Map(b)) => {
            let (a, b) = (sorted(a), sorted(b));
            let keys = || a.iter().map(|entry| entry.0).cmp(b.iter().map(|entry| entry.0));
            let values = || a.iter().zip(&b).map(|(a, b)| total_order(a.1, b.1)).find(|order| order.is_ne());
            a.len().cmp(&b.len()).then_with(keys).then_with(|| values().unwrap_or(Ordering::Equal))
        }
        _ => rank(left).cmp(&rank(right)).then_with(|| word(left).cmp(word(right))),
    }
}

fn sorted(map: &engine_event::Map) -> Vec<(&Text, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.0);
    entries
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Int(_) | Value::BigInt(_) | Value::Float(_) => 0,
        Value::Bool(_) | Value::Null | Value::Undefined => 1,
        Value::Map(_) => 2,
        Value::Array(_) => 3,
        Value::Text(_) => 4,
    }
}

/// The word of a constant; constants are ordered by it.
fn word(value: &Value) -> &'static [u8] {
    match value {
        Value::Bool(true) => b"true",
        Value::Bool(false) => b"false",
        Value::Null => b"null",
        _ => b"undefined",
    }
}

/// Compares without rounding the integer.
fn int_to_float(a: i64, b: f64) -> Ordering {
    const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    if a.unsigned_abs() <= EXACT_MAX {
        (a as f64).partial_cmp(&b).unwrap_or(Ordering::Equal)
    } else {
        big_to_float(&BigInt::from(a), b)
    }
}

fn big_to_float(a: &BigInt, b: f64) -> Ordering {
    let whole = BigInt::from_f64(b.trunc()).unwrap_or_default();
    a.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal))
}
