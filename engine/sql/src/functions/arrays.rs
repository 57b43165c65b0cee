//! Arrays (reference, section 14.7). Positions count from 1.

use engine_event::Value;

use super::{Arg, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[NTH, LENGTH, SUBLIST, FIRST, LAST, CONTAINS];

const ITEMS: &[Arg] = &[Arg::array("array")];

const NTH: FunctionDef = FunctionDef {
    name: "nth",
    args: &[Arg::int("n"), Arg::array("array")],
    returns: Type::Any,
    summary: "The element at position `n`, from 1. Fails outside the array, also for 0 and negative positions, and on \
              anything but an array.",
    examples: &[
        Example::new("nth(2, ['x', 'y'])", "'y'"),
        Example::fails("nth(0, ['x'])"),
        Example::fails("nth(2, ['x'])"),
        Example::fails("nth(1, 'x')"),
        Example::fails("nth(1, undefined)"),
    ],
    eval: |args| {
        let (place, items) = (args.int(0)?, args.array(1)?);
        let found = usize::try_from(place).ok().and_then(|place| items.get(place.checked_sub(1)?));
        found.cloned().ok_or_else(|| args.wrong(0, format!("a position from 1 to {}", items.len())))
    },
};

const LENGTH: FunctionDef = FunctionDef {
    name: "length",
    args: ITEMS,
    returns: Type::Int,
    summary: "The number of elements. Fails on anything but an array.",
    examples: &[
        Example::new("length([1, 2])", "2"),
        Example::new("length([])", "0"),
        Example::fails("length('ab')"),
        Example::fails("length(undefined)"),
    ],
    eval: |args| Ok(Value::Int(args.array(0)?.len() as i64)),
};

const SUBLIST: FunctionDef = FunctionDef {
    name: "sublist",
    args: &[Arg::int("start").optional(), Arg::int("length"), Arg::array("array")],
    returns: Type::Array,
    summary: "`length` elements from position `start` (1 when left out), fewer where the array ends, none beyond its \
              end. Fails when `start` is below 1, `length` is negative, or on anything but an array.",
    examples: &[
        Example::new("sublist(2, [1, 2, 3])", "[1, 2]"),
        Example::new("sublist(2, 2, [1, 2, 3, 4])", "[2, 3]"),
        Example::new("sublist(3, 9, [1, 2, 3])", "[3]"),
        Example::new("sublist(9, 1, [1])", "[]"),
        Example::new("sublist(0, [1])", "[]"),
        Example::fails("sublist(0, 1, [1])"),
        Example::fails("sublist(-1, [1])"),
        Example::fails("sublist(1, undefined)"),
    ],
    eval: |args| {
        let last = args.len() - 1;
        let skipped = match last {
            1 => 0,
            _ => args.size(0)?.checked_sub(1).ok_or_else(|| args.wrong(0, "a position from 1"))?,
        };
        let (length, items) = (args.size(last - 1)?, args.array(last)?);
        Ok(Value::array(items.iter().skip(skipped).take(length).cloned().collect()))
    },
};

const FIRST: FunctionDef = FunctionDef {
    name: "first",
    args: ITEMS,
    returns: Type::Any,
    summary: "The first element. Fails on an empty array and on anything but an array.",
    examples: &[
        Example::new("first(['p', 'q'])", "'p'"),
        Example::fails("first([])"),
        Example::fails("first(undefined)"),
    ],
    eval: |args| args.array(0)?.first().cloned().ok_or_else(|| args.wrong(0, "an array that is not empty")),
};

const LAST: FunctionDef = FunctionDef {
    name: "last",
    args: ITEMS,
    returns: Type::Any,
    summary: "The last element. Fails on an empty array and on anything but an array.",
    examples: &[
        Example::new("last(['p', 'q'])", "'q'"),
        Example::fails("last([])"),
        Example::fails("last(undefined)"),
    ],
    eval: |args| args.array(0)?.last().cloned().ok_or_else(|| args.wrong(0, "an array that is not empty")),
};

const CONTAINS: FunctionDef = FunctionDef {
    name: "contains",
    args: &[Arg::any("value"), Arg::array("array")],
    returns: Type::Bool,
    summary: "Tells whether an element is exactly equal to `value`: same type, same content. Fails when the second \
              argument is not an array.",
    examples: &[
        Example::new("contains('a', ['a'])", "true"),
        Example::new("contains('2', [1, 2])", "false"),
        Example::new("contains(2.0, [1, 2])", "false"),
        Example::new("contains(undefined, [1])", "false"),
        Example::fails("contains('a', 'abc')"),
        Example::fails("contains('a', undefined)"),
    ],
    eval: |args| Ok(Value::Bool(args.array(1)?.contains(args.value(0)))),
};
