//! Operators (sections 5, 6 and 7.2).

use std::cmp::Ordering;

use engine_event::{Map, Text, Value, write_text_form};
use num_bigint::BigInt;
use num_traits::{FromPrimitive as _, Signed as _, ToPrimitive as _, Zero as _};

use super::Failure;

/// Section 5.1: the first row of the table that fits.
pub(super) fn compare(op: &str, left: &Value, right: &Value) -> Result<bool, Failure> {
    let order = match (left, right) {
        (Value::Undefined, Value::Undefined) => Ordering::Equal,
        (Value::Undefined, _) | (_, Value::Undefined) => return Ok(false),
        (number, Value::Text(text)) if is_number(number) => order(number, &parsed(text)?),
        (Value::Text(text), number) if is_number(number) => order(&parsed(text)?, number),
        (Value::Bool(_) | Value::Null, Value::Text(text)) => text_form(left).as_bytes().cmp(text.as_bytes()),
        (Value::Text(text), Value::Bool(_) | Value::Null) => text.as_bytes().cmp(text_form(right).as_bytes()),
        _ => order(left, right),
    };
    Ok(match op {
        "=" => order == Ordering::Equal,
        "<>" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => return Err(format!("no comparison `{op}`")),
    })
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::BigInt(_) | Value::Float(_))
}

/// The number that a text is.
fn parsed(text: &Text) -> Result<Value, Failure> {
    let pattern = |pattern| regex::Regex::new(pattern).expect("the pattern is sound");
    let no_number = || format!("{text:?} is no number");
    let text = text.as_str().ok_or_else(no_number)?;
    if pattern(r"\A[+-]?[0-9]+\z").is_match(text) {
        return text.parse::<BigInt>().map(Value::from_bigint).map_err(|error| error.to_string());
    }
    if pattern(r"\A[+-]?[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?\z").is_match(text)
        && let Some(value) = text.parse::<f64>().ok().filter(|value| value.is_finite())
    {
        return Ok(Value::Float(value));
    }
    Err(no_number())
}

/// The order of values that are both there: numbers as numbers, then by type, then by content.
fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        _ if is_number(left) && is_number(right) => exact(left).cmp(&exact(right)),
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Value::Array(left), Value::Array(right)) => {
            for (left, right) in left.iter().zip(right.iter()) {
                let order = order(left, right);
                if order != Ordering::Equal {
                    return order;
                }
            }
            left.len().cmp(&right.len())
        }
        (Value::Map(left), Value::Map(right)) => order_of_maps(left, right),
        _ if rank(left) == rank(right) => text_form(left).cmp(&text_form(right)),
        _ => rank(left).cmp(&rank(right)),
    }
}

/// By size, then keys, then values.
fn order_of_maps(left: &Map, right: &Map) -> Ordering {
    let sorted = |map: &Map| {
        let mut keys: Vec<Text> = map.keys().cloned().collect();
        keys.sort();
        keys
    };
    let (left_keys, right_keys) = (sorted(left), sorted(right));
    let by_value = || {
        let values = |map: &Map, keys: &[Text]| {
            Value::array(keys.iter().map(|key| map.get(key).cloned().unwrap_or_default()).collect())
        };
        order(&values(left, &left_keys), &values(right, &right_keys))
    };
    left.len().cmp(&right.len()).then(left_keys.cmp(&right_keys)).then_with(by_value)
}

fn rank(value: &Value) -> u8 {
    match value {
        value if is_number(value) => 0,
        Value::Map(_) => 2,
        Value::Array(_) => 3,
        Value::Text(_) => 4,
        _ => 1,
    }
}

/// A number without any rounding: how many times the smallest float it is.
fn exact(value: &Value) -> BigInt {
    const SCALE: u32 = 1100;
    match value {
        Value::Int(value) => BigInt::from(*value) << SCALE,
        Value::BigInt(value) => value.as_ref() << SCALE,
        Value::Float(value) => {
            // a float is a whole number of 2^-1074; scaling it in halves of what a float can take is exact
            let mut rest = *value;
            let mut shift = SCALE;
            while shift > 0 && rest.fract() != 0.0 {
                rest *= 2.0;
                shift -= 1;
            }
            BigInt::from_f64(rest).unwrap_or_default() << shift
        }
        _ => BigInt::zero(),
    }
}

fn text_form(value: &Value) -> String {
    let mut form = Vec::new();
    write_text_form(value, &mut form);
    String::from_utf8_lossy(&form).into_owned()
}

/// Section 6.
pub(super) fn arithmetic(op: &str, left: &Value, right: &Value) -> Result<Value, Failure> {
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    if op == "||" || op == "+" && (is_text(left) || is_text(right)) {
        let mut joined = Vec::new();
        write_text_form(left, &mut joined);
        write_text_form(right, &mut joined);
        return Ok(Value::Text(Text::from(joined)));
    }
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) if op != "/" => integers(op, &left, &right),
        _ if op == "div" || op == "mod" => Err(format!("`{op}` of {left:?} and {right:?}")),
        _ => floats(op, float(left)?, float(right)?),
    }
}

fn integer(value: &Value) -> Option<BigInt> {
    match value {
        Value::Int(value) => Some(BigInt::from(*value)),
        Value::BigInt(value) => Some(value.as_ref().clone()),
        _ => None,
    }
}

fn float(value: &Value) -> Result<f64, Failure> {
    let float = match value {
        Value::Float(value) => *value,
        other => {
            integer(other).ok_or_else(|| format!("{other:?} is no number"))?.to_f64().unwrap_or(f64::INFINITY)
        }
    };
    if float.is_finite() { Ok(float) } else { Err(format!("{value:?} fits no float")) }
}

fn integers(op: &str, left: &BigInt, right: &BigInt) -> Result<Value, Failure> {
    let by_zero = || Err("division by zero".to_owned());
    let result = match op {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "div" | "mod" if right.is_zero() => return by_zero(),
        // toward zero; the remainder has the sign of the dividend
        "div" => {
            let size = left.abs() / right.abs();
            if left.is_negative() == right.is_negative() { size } else { -size }
        }
        "mod" => {
            let size = left.abs() % right.abs();
            if left.is_negative() { -size } else { size }
        }
        _ => return Err(format!("no operator `{op}`")),
    };
    Ok(Value::from_bigint(result))
}

fn floats(op: &str, left: f64, right: f64) -> Result<Value, Failure> {
    let result = match op {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" if right == 0.0 => return Err("division by zero".to_owned()),
        "/" => left / right,
        _ => return Err(format!("no operator `{op}`")),
    };
    if result.is_finite() {
        Ok(Value::Float(result))
    } else {
        Err(format!("{left} {op} {right} fits no float"))
    }
}

pub(super) fn negated(value: &Value) -> Result<Value, Failure> {
    match value {
        Value::Float(value) => Ok(Value::Float(-value)),
        other => match integer(other) {
            Some(value) => Ok(Value::from_bigint(-value)),
            None => Err(format!("minus {other:?}")),
        },
    }
}

/// Section 5.2.
pub(super) fn is_topic_match(name: &Value, filter: &Value) -> Result<bool, Failure> {
    let (name, filter) = match (name, filter) {
        (Value::Undefined, _) | (_, Value::Undefined) => return Ok(false),
        (Value::Text(name), Value::Text(filter)) => (name.as_bytes(), filter.as_bytes()),
        _ => return Err(format!("{name:?} =~ {filter:?}")),
    };
    let levels =
        |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect() };
    if name.starts_with(b"$") && (filter.starts_with(b"+") || filter.starts_with(b"#")) {
        return Ok(false);
    }
    Ok(levels_match(&levels(name), &levels(filter)))
}

fn levels_match(name: &[Vec<u8>], filter: &[Vec<u8>]) -> bool {
    match (name.split_first(), filter.split_first()) {
        (_, Some((first, []))) if first == b"#" => true,
        (None, None) => true,
        (Some((level, name)), Some((wanted, filter))) => {
            (wanted == b"+" || level == wanted) && levels_match(name, filter)
        }
        _ => false,
    }
}

/// An extension: `%` is any text, `_` any character, a backslash makes what follows ordinary.
pub(super) fn like(value: &Value, pattern: &Value) -> Result<bool, Failure> {
    let (value, pattern) = match (value, pattern) {
        (Value::Undefined, _) | (_, Value::Undefined) => return Ok(false),
        (Value::Text(value), Value::Text(pattern)) => (value.to_string(), pattern.to_string()),
        _ => return Err(format!("{value:?} LIKE {pattern:?}")),
    };
    let chars = |text: &str| text.chars().collect::<Vec<char>>();
    Ok(like_chars(&chars(&value), &chars(&pattern)))
}

fn like_chars(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like_chars(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && like_chars(&text[1..], rest),
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && like_chars(&text[1..], rest)
        }
    }
}

/// Section 7.2.
pub(super) fn range_of(value: &Value, first: i64, last: i64) -> Result<Value, Failure> {
    let Value::Array(items) = value else { return Err(format!("a range of {value:?}")) };
    let len = items.len() as i64;
    let place = |end: i64| if end < 0 { len + 1 + end } else { end };
    let (begin, end) = (place(first), place(last));
    if first == 0 || last == 0 || begin < 1 || end + 1 < begin {
        return Err(format!("no range [{first}..{last}]"));
    }
    Ok(Value::array((begin..=end.min(len)).map(|at| items[at as usize - 1].clone()).collect()))
}

/// The literal `[first..last]`.
pub(super) fn whole_range(first: i64, last: i64) -> Result<Value, Failure> {
    if last + 1 < first {
        return Err(format!("no range [{first}..{last}]"));
    }
    Ok(Value::array((first..=last).map(Value::Int).collect()))
}
