//! The least, the greatest, the sum and the mean of numbers (reference, section 20).

use std::cmp::Ordering;

use engine_event::Value;

use crate::EvalError;
use crate::error::describe;
use crate::evaluate::{arithmetic, compare};
use crate::syntax::Op;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[MIN, MAX, SUM, AVG];

const VALUES: &[Arg] = &[Arg::any("array"), Arg::any("more").variadic()];

const MIN: FunctionDef = FunctionDef {
    name: "min",
    args: VALUES,
    returns: Type::Any,
    summary: "The least of the elements of one array, or of two or more arguments: numbers by size, or texts by their \
              bytes. Leaves out undefined and JSON null, and gives undefined when nothing is left. Fails on values of \
              other types, on numbers among texts, and when the only argument is not an array.",
    examples: &[
        Example::new("min([3, 1.5, 2])", "1.5"),
        Example::new("min(2, 1)", "1"),
        Example::new("min(['b', 'a'])", "'a'"),
        Example::new("min([undefined, 2])", "2"),
        Example::new("min([1, 1.0])", "1"),
        Example::new("min([])", "undefined"),
        Example::fails("min([1, 'a'])"),
        Example::fails("min([true])"),
        Example::fails("min(1)"),
        Example::fails("min(undefined)"),
    ],
    eval: |args| extreme(args, Ordering::Less),
};

const MAX: FunctionDef = FunctionDef {
    name: "max",
    args: VALUES,
    returns: Type::Any,
    summary: "The greatest of the elements of one array, or of two or more arguments: numbers by size, or texts by \
              their bytes. Leaves out undefined and JSON null, and gives undefined when nothing is left. Fails on \
              values of other types, on numbers among texts, and when the only argument is not an array.",
    examples: &[
        Example::new("max([3, 1.5, 2])", "3"),
        Example::new("max(2, 10)", "10"),
        Example::new("max(['2', '10'])", "'2'"),
        Example::new("max([undefined, -2])", "-2"),
        Example::new("max([])", "undefined"),
        Example::fails("max([1, 'a'])"),
        Example::fails("max([[1]])"),
        Example::fails("max('a')"),
    ],
    eval: |args| extreme(args, Ordering::Greater),
};

const SUM: FunctionDef = FunctionDef {
    name: "sum",
    args: VALUES,
    returns: Type::Number,
    summary: "The sum of the elements of one array, or of two or more arguments: an integer when all are, else a \
              float. Leaves out undefined and JSON null; the sum of nothing is 0. Fails on anything but numbers, and \
              when the only argument is not an array.",
    examples: &[
        Example::new("sum([1, 2, 3])", "6"),
        Example::new("sum(1, 0.5)", "1.5"),
        Example::new("sum([1, undefined])", "1"),
        Example::new("sum([9223372036854775807, 1])", "9223372036854775808"),
        Example::new("sum([])", "0"),
        Example::fails("sum([1, '2'])"),
        Example::fails("sum(5)"),
        Example::fails("sum(undefined)"),
    ],
    eval: |args| sum(args).map(|(sum, _)| sum),
};

const AVG: FunctionDef = FunctionDef {
    name: "avg",
    args: VALUES,
    returns: Type::Float,
    summary: "The arithmetic mean of the elements of one array, or of two or more arguments, as a float. Leaves out \
              undefined and JSON null, and gives undefined when nothing is left. Fails on anything but numbers, and \
              when the only argument is not an array.",
    examples: &[
        Example::new("avg([1, 2])", "1.5"),
        Example::new("avg(2, 4)", "3.0"),
        Example::new("avg([1, undefined, 3])", "2.0"),
        Example::new("avg([])", "undefined"),
        Example::fails("avg(['1'])"),
        Example::fails("avg(5)"),
    ],
    eval: |args| match sum(args)? {
        (_, 0) => Ok(Value::Undefined),
        (sum, count) => arithmetic(Op::Divide, &sum, &Value::Int(count)),
    },
};

/// The values that count, with their places from 1.
fn values<'a>(args: &Args<'a>) -> Result<impl Iterator<Item = (usize, &'a Value)> + use<'a>, EvalError> {
    let all = if args.len() == 1 { args.array(0)? } else { args.values() };
    let there = all.iter().enumerate().filter(|(_, value)| !matches!(value, Value::Undefined | Value::Null));
    Ok(there.map(|(place, value)| (place + 1, value)))
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::BigInt(_) | Value::Float(_))
}

/// The first of the values that are on that side of all others.
fn extreme(args: &Args<'_>, side: Ordering) -> Result<Value, EvalError> {
    let op = if side == Ordering::Less { Op::Less } else { Op::Greater };
    let mut found: Option<&Value> = None;
    for (place, value) in values(args)? {
        let fits = match found {
            None => is_number(value) || matches!(value, Value::Text(_)),
            Some(Value::Text(_)) => matches!(value, Value::Text(_)),
            Some(_) => is_number(value),
        };
        if !fits {
            return Err(unfit(args, place, "only numbers or only texts", value));
        }
        if found.is_none_or(|found| compare(op, value, found) == Ok(true)) {
            found = Some(value);
        }
    }
    Ok(found.cloned().unwrap_or_default())
}

/// The sum with the number of its terms.
fn sum(args: &Args<'_>) -> Result<(Value, i64), EvalError> {
    let (mut sum, mut count) = (Value::Int(0), 0);
    for (place, value) in values(args)? {
        if !is_number(value) {
            return Err(unfit(args, place, "a number", value));
        }
        sum = arithmetic(Op::Add, &sum, value)?;
        count += 1;
    }
    Ok((sum, count))
}

#[cold]
fn unfit(args: &Args<'_>, place: usize, expected: &str, value: &Value) -> EvalError {
    args.fail(format!("value {place}: expected {expected}, found {}", describe(value)))
}
