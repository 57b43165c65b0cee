//! Reading along a path, and ranges (rule language, section 7).

use std::borrow::Cow;

use engine_event::{Text, Value, decode_json};

use crate::EvalError;
use crate::error::describe;

/// What missing things read as.
pub(crate) static UNDEFINED: Value = Value::Undefined;

/// A step whose place is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReadStep {
    /// A key of a map.
    Key(Text),
    /// An element, counted from 1.
    Start(u64),
    /// An element, counted from the last, which is 1.
    End(u64),
}

impl ReadStep {
    /// The step to the element with that number: from 1, or from the last when negative.
    pub(crate) fn place(number: i64) -> Self {
        if number < 0 { Self::End(number.unsigned_abs()) } else { Self::Start(number.unsigned_abs()) }
    }

    /// Index of the element in an array of `len` elements.
    pub(crate) fn index(&self, len: usize) -> Option<usize> {
        match self {
            Self::Key(_) => None,
            Self::Start(place) => usize::try_from(*place).ok()?.checked_sub(1).filter(|index| *index < len),
            Self::End(0) => None,
            Self::End(back) => len.checked_sub(usize::try_from(*back).ok()?),
        }
    }
}

/// Follows `steps` from `value`. Texts on the way are decoded as JSON; what is missing is undefined.
pub(crate) fn read<'a>(value: &'a Value, steps: &[ReadStep]) -> Cow<'a, Value> {
    let mut current = value;
    for (done, step) in steps.iter().enumerate() {
        let next = match (current, step) {
            (Value::Text(text), _) => {
                let decoded = decode_json(text.as_bytes()).unwrap_or_default();
                return Cow::Owned(read(&decoded, &steps[done..]).into_owned());
            }
            (Value::Map(map), ReadStep::Key(key)) => map.get(key),
            (Value::Array(items), step) => step.index(items.len()).and_then(|index| items.get(index)),
            _ => None,
        };
        match next {
            Some(next) => current = next,
            None => return Cow::Borrowed(&UNDEFINED),
        }
    }
    Cow::Borrowed(current)
}

/// Takes the elements from `first` to `last` of an array.
pub(crate) fn range(value: &Value, first: i64, last: i64) -> Result<Value, EvalError> {
    let Value::Array(items) = value else {
        return Err(EvalError::RangeOf { first, last, found: describe(value) });
    };
    if first == 0 || last == 0 {
        return Err(EvalError::Range { first, last, reason: "places count from 1" });
    }
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_start = |end: i64| if end < 0 { len.saturating_add(end).saturating_add(1) } else { end };
    let (begin, end) = (from_start(first), from_start(last));
    if begin < 1 {
        return Err(EvalError::Range { first, last, reason: "it begins before the first element" });
    }
    if end.saturating_add(1) < begin {
        return Err(EvalError::Range { first, last, reason: "it ends before it begins" });
    }
    let end = end.min(len);
    if begin > end {
        return Ok(Value::array(Vec::new()));
    }
    let begin = usize::try_from(begin - 1).unwrap_or(usize::MAX);
    let end = usize::try_from(end.max(0)).unwrap_or(0);
    Ok(Value::array(items[begin..end].to_vec()))
}

/// The integers from `first` to `last`.
pub(crate) fn range_literal(first: i64, last: i64) -> Result<Value, EvalError> {
    if last.saturating_add(1) < first {
        return Err(EvalError::Range { first, last, reason: "it ends before it begins" });
    }
    Ok(Value::array((first..=last).map(Value::Int).collect()))
}
