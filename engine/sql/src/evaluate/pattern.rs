//! Matching of topics and of LIKE patterns.

use engine_event::{Text, Value, topic};

use crate::EvalError;
use crate::error::describe;

/// Applies `name =~ filter`.
pub(crate) fn matches_topic(name: &Value, filter: &Value) -> Result<bool, EvalError> {
    match texts("=~", name, filter)? {
        Some((name, filter)) => Ok(topic::matches(filter.as_bytes(), name.as_bytes())),
        None => Ok(false),
    }
}

/// Applies `value LIKE pattern`: `%` is any text, `_` is any character, a backslash makes the next one ordinary.
pub(crate) fn like(value: &Value, pattern: &Value) -> Result<bool, EvalError> {
    match texts("LIKE", value, pattern)? {
        Some((value, pattern)) => Ok(like_text(value.as_bytes(), pattern.as_bytes())),
        None => Ok(false),
    }
}

fn texts<'a>(
    operator: &'static str,
    left: &'a Value,
    right: &'a Value,
) -> Result<Option<(&'a Text, &'a Text)>, EvalError> {
    match (left, right) {
        (Value::Undefined, _) | (_, Value::Undefined) => Ok(None),
        (Value::Text(left), Value::Text(right)) => Ok(Some((left, right))),
        (Value::Text(_), other) | (other, _) => {
            Err(EvalError::Operand { operator, expected: "a text", found: describe(other) })
        }
    }
}

/// Matches in one pass with one place to go back to: the last `%`.
fn like_text(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut pattern_at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let stepped = match pattern.get(pattern_at) {
            Some(b'%') => {
                pattern_at += 1;
                retry = Some((at, pattern_at));
                continue;
            }
            None if at == text.len() => return true,
            None => None,
            Some(b'_') => text.get(at).map(|first| (char_len(*first), 1)),
            Some(b'\\') if pattern_at + 1 < pattern.len() => {
                (text.get(at) == pattern.get(pattern_at + 1)).then_some((1, 2))
            }
            Some(byte) => (text.get(at) == Some(byte)).then_some((1, 1)),
        };
        match (stepped, retry) {
            (Some((by, pattern_by)), _) => {
                at = (at + by).min(text.len());
                pattern_at += pattern_by;
            }
            (None, Some((from, pattern_from))) if from < text.len() => {
                at = from + 1;
                pattern_at = pattern_from;
                retry = Some((at, pattern_from));
            }
            (None, _) => return false,
        }
    }
}

/// Bytes of the character that begins with `first`; 1 for what begins no character.
fn char_len(first: u8) -> usize {
    match first {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    }
}
