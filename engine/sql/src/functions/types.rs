//! Type tests and null handling (reference, sections 14.2 and 14.3).

use engine_event::Value;

use crate::EvalError;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    IS_NULL,
    IS_NOT_NULL,
    IS_NULL_VAR,
    IS_NOT_NULL_VAR,
    IS_STR,
    IS_BOOL,
    IS_INT,
    IS_FLOAT,
    IS_NUM,
    IS_MAP,
    IS_ARRAY,
    IS_EMPTY,
    NULL,
    COALESCE,
    COALESCE_NE,
    TRY,
];

/// A test of a value of any type.
const fn test(
    name: &'static str,
    summary: &'static str,
    examples: &'static [Example],
    eval: fn(&Args<'_>) -> Result<Value, EvalError>,
) -> FunctionDef {
    const X: &[Arg] = &[Arg::any("x")];
    FunctionDef { name, args: X, returns: Type::Bool, summary, examples, eval }
}

const IS_NULL: FunctionDef = test(
    "is_null",
    "Tells whether there is no value: undefined. JSON null is a value. Never fails.",
    &[
        Example::new("is_null(undefined)", "true"),
        Example::new("is_null(json_decode('null'))", "false"),
        Example::new("is_null('')", "false"),
    ],
    |args| Ok(Value::Bool(args.value(0).is_undefined())),
);

const IS_NOT_NULL: FunctionDef = test(
    "is_not_null",
    "Tells whether there is a value, be it JSON null. Never fails.",
    &[
        Example::new("is_not_null(undefined)", "false"),
        Example::new("is_not_null(json_decode('null'))", "true"),
        Example::new("is_not_null(0)", "true"),
    ],
    |args| Ok(Value::Bool(!args.value(0).is_undefined())),
);

const IS_NULL_VAR: FunctionDef = test(
    "is_null_var",
    "Tells whether a value is undefined or JSON null. Never fails.",
    &[
        Example::new("is_null_var(undefined)", "true"),
        Example::new("is_null_var(json_decode('null'))", "true"),
        Example::new("is_null_var('null')", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Undefined | Value::Null))),
);

const IS_NOT_NULL_VAR: FunctionDef = test(
    "is_not_null_var",
    "Tells whether a value is neither undefined nor JSON null. Never fails.",
    &[
        Example::new("is_not_null_var(undefined)", "false"),
        Example::new("is_not_null_var(json_decode('null'))", "false"),
        Example::new("is_not_null_var('')", "true"),
    ],
    |args| Ok(Value::Bool(!matches!(args.value(0), Value::Undefined | Value::Null))),
);

const IS_STR: FunctionDef = test(
    "is_str",
    "Tells whether a value is a text. Never fails.",
    &[
        Example::new("is_str('a')", "true"),
        Example::new("is_str(1)", "false"),
        Example::new("is_str(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Text(_)))),
);

const IS_BOOL: FunctionDef = test(
    "is_bool",
    "Tells whether a value is a boolean. Never fails.",
    &[
        Example::new("is_bool(false)", "true"),
        Example::new("is_bool('true')", "false"),
        Example::new("is_bool(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Bool(_)))),
);

const IS_INT: FunctionDef = test(
    "is_int",
    "Tells whether a value is an integer, of any size. Never fails.",
    &[
        Example::new("is_int(1)", "true"),
        Example::new("is_int(9223372036854775808)", "true"),
        Example::new("is_int(1.0)", "false"),
        Example::new("is_int(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Int(_) | Value::BigInt(_)))),
);

const IS_FLOAT: FunctionDef = test(
    "is_float",
    "Tells whether a value is a float. Never fails.",
    &[
        Example::new("is_float(2.5)", "true"),
        Example::new("is_float(2)", "false"),
        Example::new("is_float(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Float(_)))),
);

const IS_NUM: FunctionDef = test(
    "is_num",
    "Tells whether a value is an integer or a float. Never fails.",
    &[
        Example::new("is_num(2)", "true"),
        Example::new("is_num(2.5)", "true"),
        Example::new("is_num('2')", "false"),
        Example::new("is_num(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Int(_) | Value::BigInt(_) | Value::Float(_)))),
);

const IS_MAP: FunctionDef = test(
    "is_map",
    "Tells whether a value is a map. A text with JSON in it is not. Never fails.",
    &[
        Example::new("is_map(map_new())", "true"),
        Example::new("is_map('{}')", "false"),
        Example::new("is_map(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Map(_)))),
);

const IS_ARRAY: FunctionDef = test(
    "is_array",
    "Tells whether a value is an array. Never fails.",
    &[
        Example::new("is_array([])", "true"),
        Example::new("is_array('[]')", "false"),
        Example::new("is_array(undefined)", "false"),
    ],
    |args| Ok(Value::Bool(matches!(args.value(0), Value::Array(_)))),
);

const IS_EMPTY: FunctionDef = test(
    "is_empty",
    "Tells whether a text, an array or a map has nothing in it. A text that is not empty gives false, whatever it \
     says. Fails on other types.",
    &[
        Example::new("is_empty('')", "true"),
        Example::new("is_empty([])", "true"),
        Example::new("is_empty(map_new())", "true"),
        Example::new("is_empty('a')", "false"),
        Example::fails("is_empty(0)"),
        Example::fails("is_empty(undefined)"),
    ],
    |args| match args.value(0) {
        Value::Text(text) => Ok(Value::Bool(text.is_empty())),
        Value::Array(items) => Ok(Value::Bool(items.is_empty())),
        Value::Map(map) => Ok(Value::Bool(map.is_empty())),
        _ => Err(args.wrong(0, "a text, an array or a map")),
    },
);

const NULL: FunctionDef = FunctionDef {
    name: "null",
    args: &[],
    returns: Type::Any,
    summary: "Gives undefined: no value. Never fails.",
    examples: &[Example::new("null()", "undefined")],
    eval: |_| Ok(Value::Undefined),
};

const CHOICES: &[Arg] = &[Arg::any("value"), Arg::any("more").variadic()];

const COALESCE: FunctionDef = FunctionDef {
    name: "coalesce",
    args: CHOICES,
    returns: Type::Any,
    summary: "The first of its arguments, or of the elements of one array, that is not undefined; JSON null passes. \
              Gives undefined when there is none. Fails when the only argument is not an array.",
    examples: &[
        Example::new("coalesce(undefined, 'd')", "'d'"),
        Example::new("coalesce('', 'd')", "''"),
        Example::new("coalesce([undefined, 2])", "2"),
        Example::new("coalesce(undefined, undefined, 3)", "3"),
        Example::new("coalesce([])", "undefined"),
        Example::fails("coalesce(1)"),
    ],
    eval: |args| first_that(args, |value| !value.is_undefined()),
};

const COALESCE_NE: FunctionDef = FunctionDef {
    name: "coalesce_ne",
    args: CHOICES,
    returns: Type::Any,
    summary: "The first of its arguments, or of the elements of one array, that is neither undefined nor an empty \
              text. Gives undefined when there is none. Fails when the only argument is not an array.",
    examples: &[
        Example::new("coalesce_ne('', 'd')", "'d'"),
        Example::new("coalesce_ne(undefined, 0)", "0"),
        Example::new("coalesce_ne(['', 'x'])", "'x'"),
        Example::new("coalesce_ne('', undefined)", "undefined"),
        Example::fails("coalesce_ne('x')"),
    ],
    eval: |args| {
        first_that(args, |value| match value {
            Value::Undefined => false,
            Value::Text(text) => !text.is_empty(),
            _ => true,
        })
    },
};

const TRY: FunctionDef = FunctionDef {
    name: "try",
    args: &[Arg::any("value"), Arg::any("default")],
    returns: Type::Any,
    summary: "The first argument; the second when evaluating the first fails or gives undefined. JSON null passes. The \
              same as `value ?? default`. It is the second that may fail.",
    examples: &[
        Example::new("try(1 / 4, 0)", "0.25"),
        Example::new("try(1 / 0, 0)", "0"),
        Example::new("try(undefined, 'd')", "'d'"),
        Example::new("try(json_decode('null'), 'd')", "json_decode('null')"),
        Example::new("int('x') ?? int('7') ?? 0", "7"),
        Example::new("1 + undefined ?? 5 > 4", "true"),
        Example::fails("try(1)"),
    ],
    // evaluated by the plan, as arguments of other functions must not fail
    eval: |args| Ok(if args.value(0).is_undefined() { args.value(1) } else { args.value(0) }.clone()),
};

fn first_that(args: &Args<'_>, fits: impl Fn(&Value) -> bool) -> Result<Value, EvalError> {
    let choices = if args.len() == 1 { args.array(0)? } else { args.values() };
    Ok(choices.iter().find(|value| fits(value)).cloned().unwrap_or_default())
}
