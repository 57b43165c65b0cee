//! Arithmetic and concatenation (rule language, section 6).

use engine_event::{Value, write_text_form};
use num_bigint::BigInt;
use num_traits::{ToPrimitive as _, Zero as _};

use crate::EvalError;
use crate::error::describe;
use crate::syntax::Op;

use super::size::TEXT_BYTES_MAX;

/// Bits of an integer that a rule makes; multiplying larger ones takes too long.
const INTEGER_BITS_MAX: u64 = 1 << 16;

/// Two numbers of one kind.
enum Pair {
    Small(i64, i64),
    Big(BigInt, BigInt),
    Floats(f64, f64),
}

/// Applies `+ - * / div mod ||`.
pub(crate) fn arithmetic(op: Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    match op {
        Op::Concat => concat(op, left, right),
        Op::Add if matches!(left, Value::Text(_)) || matches!(right, Value::Text(_)) => {
            concat(op, left, right)
        }
        Op::Div | Op::Mod => divide_integers(op, left, right),
        Op::Divide => divide(left, right),
        _ => add_or_multiply(op, left, right),
    }
}

/// Joins the text forms of two values.
fn concat(op: Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    let mut out = Vec::with_capacity(32);
    write_text_form(left, &mut out);
    write_text_form(right, &mut out);
    if out.len() > TEXT_BYTES_MAX {
        return Err(EvalError::ResultLimit { operator: op.symbol(), limit: "64 MiB" });
    }
    Ok(Value::Text(out.into()))
}

/// Applies unary minus.
pub(crate) fn negative(value: &Value) -> Result<Value, EvalError> {
    match value {
        Value::Int(value) => Ok(match value.checked_neg() {
            Some(value) => Value::Int(value),
            None => Value::from_bigint(-BigInt::from(*value)),
        }),
        Value::BigInt(value) => Ok(Value::from_bigint(-value.as_ref())),
        Value::Float(value) => Ok(Value::Float(-value)),
        _ => Err(EvalError::Operand { operator: "-", expected: "a number", found: describe(value) }),
    }
}

fn add_or_multiply(op: Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    match pair(op, left, right)? {
        Pair::Small(a, b) => {
            let small = match op {
                Op::Add => a.checked_add(b),
                Op::Subtract => a.checked_sub(b),
                _ => a.checked_mul(b),
            };
            match small {
                Some(value) => Ok(Value::Int(value)),
                None => big(op, a.into(), b.into()),
            }
        }
        Pair::Big(a, b) => big(op, a, b),
        Pair::Floats(a, b) => float(
            op,
            match op {
                Op::Add => a + b,
                Op::Subtract => a - b,
                _ => a * b,
            },
        ),
    }
}

fn big(op: Op, a: BigInt, b: BigInt) -> Result<Value, EvalError> {
    Ok(Value::from_bigint(match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        _ if a.bits() + b.bits() > INTEGER_BITS_MAX => {
            return Err(EvalError::ResultLimit { operator: op.symbol(), limit: "65536 bits" });
        }
        _ => a * b,
    }))
}

fn divide(left: &Value, right: &Value) -> Result<Value, EvalError> {
    let (a, b) = match pair(Op::Divide, left, right)? {
        Pair::Small(a, b) => (a as f64, b as f64),
        Pair::Big(a, b) => (finite(Op::Divide, &a)?, finite(Op::Divide, &b)?),
        Pair::Floats(a, b) => (a, b),
    };
    if b == 0.0 {
        return Err(EvalError::DivisionByZero { operator: "/" });
    }
    float(Op::Divide, a / b)
}

fn divide_integers(op: Op, left: &Value, right: &Value) -> Result<Value, EvalError> {
    for operand in [left, right] {
        if !matches!(operand, Value::Int(_) | Value::BigInt(_)) {
            let found = describe(operand);
            return Err(EvalError::Operand { operator: op.symbol(), expected: "an integer", found });
        }
    }
    let by_zero = EvalError::DivisionByZero { operator: op.symbol() };
    match pair(op, left, right)? {
        Pair::Small(_, 0) => Err(by_zero),
        Pair::Small(a, b) => {
            let small = if op == Op::Div { a.checked_div(b) } else { Some(a.checked_rem(b).unwrap_or(0)) };
            Ok(small.map_or_else(|| Value::from_bigint(BigInt::from(a) / b), Value::Int))
        }
        Pair::Big(_, b) if b.is_zero() => Err(by_zero),
        Pair::Big(a, b) => Ok(Value::from_bigint(if op == Op::Div { a / b } else { a % b })),
        Pair::Floats(..) => unreachable!("both are integers"),
    }
}

fn pair(op: Op, left: &Value, right: &Value) -> Result<Pair, EvalError> {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Pair::Small(*a, *b),
        (Value::Float(a), Value::Float(b)) => Pair::Floats(*a, *b),
        (Value::Int(a), Value::Float(b)) => Pair::Floats(*a as f64, *b),
        (Value::Float(a), Value::Int(b)) => Pair::Floats(*a, *b as f64),
        (Value::BigInt(a), Value::BigInt(b)) => Pair::Big(a.as_ref().clone(), b.as_ref().clone()),
        (Value::BigInt(a), Value::Int(b)) => Pair::Big(a.as_ref().clone(), (*b).into()),
        (Value::Int(a), Value::BigInt(b)) => Pair::Big((*a).into(), b.as_ref().clone()),
        (Value::BigInt(a), Value::Float(b)) => Pair::Floats(finite(op, a)?, *b),
        (Value::Float(a), Value::BigInt(b)) => Pair::Floats(*a, finite(op, b)?),
        (Value::Int(_) | Value::BigInt(_) | Value::Float(_), other) | (other, _) => {
            let expected = if op == Op::Add { "a number or text" } else { "a number" };
            return Err(EvalError::Operand { operator: op.symbol(), expected, found: describe(other) });
        }
    })
}

fn finite(op: Op, value: &BigInt) -> Result<f64, EvalError> {
    let float = value.to_f64().filter(|value| value.is_finite());
    float.ok_or(EvalError::TooLarge { operator: op.symbol() })
}

fn float(op: Op, value: f64) -> Result<Value, EvalError> {
    if value.is_finite() {
        Ok(Value::Float(value))
    } else {
        Err(EvalError::TooLarge { operator: op.symbol() })
    }
}
