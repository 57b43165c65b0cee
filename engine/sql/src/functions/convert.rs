//! Conversions (reference, section 14.4).

use std::str::FromStr as _;

use engine_event::{Map, Text, Value, decimal_text, decode_json, write_text_form};
use num_bigint::BigInt;
use num_traits::ToPrimitive as _;

use crate::EvalError;

use super::math::whole;
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[STR, STR_UTF8, STR_UTF16_LE, INT, FLOAT, FLOAT2STR, BOOL, MAP];

/// Digits of an integer in a text: beyond, reading it would take long.
const INTEGER_DIGITS_MAX: usize = 10_000;

/// Decimals that a float can be printed with.
const DECIMALS_MAX: usize = 253;

const X: &[Arg] = &[Arg::any("x")];

const STR: FunctionDef = FunctionDef {
    name: "str",
    args: X,
    returns: Type::Text,
    summary: "The text form of a value: a text itself, a float with at most 10 decimals, an array or a map as JSON, \
              `undefined` for no value. Never fails.",
    examples: &[
        Example::new("str(1.50)", "'1.5'"),
        Example::new("str(42)", "'42'"),
        Example::new("str(false)", "'false'"),
        Example::new("str([65, 66])", "'[65,66]'"),
        Example::new("str(1.0e-11)", "'0.0'"),
        Example::new("str(undefined)", "'undefined'"),
    ],
    eval: |args| Ok(Value::Text(text_form(args.value(0)))),
};

const STR_UTF8: FunctionDef = FunctionDef {
    name: "str_utf8",
    args: X,
    returns: Type::Text,
    summary: "As `str`, but fails when a text is not UTF-8.",
    examples: &[
        Example::new("str_utf8(12)", "'12'"),
        Example::new("str_utf8(undefined)", "'undefined'"),
        Example::fails("str_utf8(hexstr2bin('ff'))"),
    ],
    eval: |args| {
        let text = text_form(args.value(0));
        if text.as_str().is_some() { Ok(Value::Text(text)) } else { Err(args.wrong(0, "a text in UTF-8")) }
    },
};

const STR_UTF16_LE: FunctionDef = FunctionDef {
    name: "str_utf16_le",
    args: X,
    returns: Type::Text,
    summary: "The text form of a value in UTF-16, low byte first. Fails when a text is not UTF-8.",
    examples: &[
        Example::new("bin2hexstr(str_utf16_le('a'))", "'6100'"),
        Example::new("bin2hexstr(str_utf16_le(1))", "'3100'"),
        Example::new("bytesize(str_utf16_le(undefined))", "18"),
        Example::fails("str_utf16_le(hexstr2bin('ff'))"),
    ],
    eval: |args| {
        let text = text_form(args.value(0));
        let text = text.as_str().ok_or_else(|| args.wrong(0, "a text in UTF-8"))?;
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        Ok(Value::Text(bytes.into()))
    },
};

const INT: FunctionDef = FunctionDef {
    name: "int",
    args: X,
    returns: Type::Int,
    summary: "An integer from an integer, a float or a text of one; what has a fraction is rounded down. `true` gives \
              1, `false` 0. Fails on other texts and types.",
    examples: &[
        Example::new("int('+5')", "5"),
        Example::new("int('4.9')", "4"),
        Example::new("int(-3.1)", "-4"),
        Example::new("int(true)", "1"),
        Example::new("int('9223372036854775808')", "9223372036854775808"),
        Example::fails("int('12x')"),
        Example::fails("int('')"),
        Example::fails("int(undefined)"),
    ],
    eval: |args| match args.value(0) {
        Value::Int(_) | Value::BigInt(_) => Ok(args.value(0).clone()),
        Value::Float(value) => Ok(whole(value.floor())),
        Value::Bool(value) => Ok(Value::Int((*value).into())),
        Value::Text(text) => match number_in(text) {
            Some(Value::Float(value)) => Ok(whole(value.floor())),
            Some(integer) => Ok(integer),
            None => Err(args.wrong(0, "a text of a number")),
        },
        _ => Err(args.wrong(0, "a number, a boolean, or a text of a number")),
    },
};

const FLOAT: FunctionDef = FunctionDef {
    name: "float",
    args: &[Arg::any("x"), Arg::int("decimals").optional()],
    returns: Type::Float,
    summary: "A float from a number or a text of one, rounded to `decimals` (1 to 253, halves away from zero) when given. A text may have an \
              exponent only after a fraction. Fails on booleans, other texts and types.",
    examples: &[
        Example::new("float('2')", "2.0"),
        Example::new("float('1.5e3')", "1500.0"),
        Example::new("float(3.14159, 2)", "3.14"),
        Example::new("float(-0.25, 1)", "-0.3"),
        Example::fails("float('1e3')"),
        Example::fails("float(true)"),
        Example::fails("float(1.5, 0)"),
        Example::fails("float(undefined)"),
    ],
    eval: |args| {
        let value = to_float(args)?;
        if args.len() == 1 {
            return Ok(Value::Float(value));
        }
        match args.size(1)? {
            decimals @ 1..=DECIMALS_MAX => {
                Ok(Value::Float(decimal_text(value, decimals).parse().unwrap_or(value)))
            }
            _ => Err(args.wrong(1, "an integer from 1 to 253")),
        }
    },
};

const FLOAT2STR: FunctionDef = FunctionDef {
    name: "float2str",
    args: &[Arg::number("x"), Arg::int("decimals")],
    returns: Type::Text,
    summary: "A number as text with at most `decimals` (0 to 253) decimals; zeros at the end are cut, one decimal \
              stays; halves are rounded away from zero. Fails on anything but a number.",
    examples: &[
        Example::new("float2str(20.2, 20)", "'20.19999999999999928946'"),
        Example::new("float2str(20.2, 1)", "'20.2'"),
        Example::new("float2str(20.25, 1)", "'20.3'"),
        Example::new("float2str(20.2, 0)", "'20'"),
        Example::new("float2str(3, 2)", "'3.0'"),
        Example::fails("float2str('3', 2)"),
        Example::fails("float2str(1.5, 254)"),
        Example::fails("float2str(undefined, 2)"),
    ],
    eval: |args| {
        let (value, decimals) = (args.float(0)?, args.size(1)?);
        if decimals > DECIMALS_MAX {
            return Err(args.wrong(1, "an integer from 0 to 253"));
        }
        Ok(Value::from(compact(decimal_text(value, decimals))))
    },
};

const BOOL: FunctionDef = FunctionDef {
    name: "bool",
    args: X,
    returns: Type::Bool,
    summary: "A boolean from a boolean, `'true'`, `'false'`, 1 or 0 (also as floats). Fails on anything else.",
    examples: &[
        Example::new("bool('true')", "true"),
        Example::new("bool(0)", "false"),
        Example::new("bool(1.0)", "true"),
        Example::fails("bool('yes')"),
        Example::fails("bool('')"),
        Example::fails("bool(2)"),
        Example::fails("bool(undefined)"),
    ],
    eval: |args| match args.value(0) {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::Int(value @ (0 | 1)) => Ok(Value::Bool(*value == 1)),
        Value::Float(value) if *value == 0.0 || *value == 1.0 => Ok(Value::Bool(*value == 1.0)),
        Value::Text(text) if *text == "true" => Ok(Value::Bool(true)),
        Value::Text(text) if *text == "false" => Ok(Value::Bool(false)),
        _ => Err(args.wrong(0, "true, false, 'true', 'false', 1 or 0")),
    },
};

const MAP: FunctionDef = FunctionDef {
    name: "map",
    args: &[Arg::any("x")],
    returns: Type::Map,
    summary: "A map from a map, a JSON text of an object, or an array of `[key, value]` pairs. Fails on anything else.",
    examples: &[
        Example::new("map('{\"a\":1}')", "json_decode('{\"a\":1}')"),
        Example::new("map([['a', 1]])", "json_decode('{\"a\":1}')"),
        Example::new("map([])", "map_new()"),
        Example::fails("map('[1]')"),
        Example::fails("map('a')"),
        Example::fails("map(1)"),
        Example::fails("map(undefined)"),
    ],
    eval: |args| to_map(args, 0).map(Value::Map),
};

/// The text form of a value; a text is not copied.
pub(super) fn text_form(value: &Value) -> Text {
    match value {
        Value::Text(text) => text.clone(),
        Value::Undefined => Text::from_static("undefined"),
        Value::Null => Text::from_static("null"),
        Value::Bool(true) => Text::from_static("true"),
        Value::Bool(false) => Text::from_static("false"),
        _ => {
            let mut out = Vec::new();
            write_text_form(value, &mut out);
            out.into()
        }
    }
}

/// An argument as a map, by the rules of `map()`.
pub(super) fn to_map(args: &Args<'_>, place: usize) -> Result<Map, EvalError> {
    let expected = "a map, a JSON text of an object, or an array of pairs";
    match args.value(place) {
        Value::Map(map) => Ok(map.clone()),
        Value::Text(text) => match decode_json(text.as_bytes()) {
            Ok(Value::Map(map)) => Ok(map),
            _ => Err(args.wrong(place, expected)),
        },
        Value::Array(items) => {
            items.iter().map(pair).collect::<Option<Map>>().ok_or_else(|| args.wrong(place, expected))
        }
        _ => Err(args.wrong(place, expected)),
    }
}

fn pair(value: &Value) -> Option<(Text, Value)> {
    match value {
        Value::Array(items) => match items.as_slice() {
            [Value::Text(key), value] => Some((key.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// The number that a text says: an integer, or a decimal with digits on both sides of the point and then perhaps an
/// exponent. Nothing around it.
fn number_in(text: &Text) -> Option<Value> {
    let text = text.as_str()?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some((before, after)) = digits.split_once('.') else {
        let fits = all_digits(digits) && digits.len() <= INTEGER_DIGITS_MAX;
        return if fits { BigInt::from_str(text).ok().map(Value::from_bigint) } else { None };
    };
    let (fraction, exponent) = match after.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (after, "0"),
    };
    if !(all_digits(before) && all_digits(fraction) && all_digits(exponent)) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn to_float(args: &Args<'_>) -> Result<f64, EvalError> {
    let Value::Text(text) = args.value(0) else {
        return args.float(0);
    };
    let value = match number_in(text) {
        Some(Value::Float(value)) => Some(value),
        Some(Value::Int(value)) => Some(value as f64),
        Some(Value::BigInt(value)) => value.to_f64().filter(|value| value.is_finite()),
        _ => None,
    };
    value.ok_or_else(|| args.wrong(0, "a text of a number that fits a float"))
}

/// Cuts the zeros at the end of a decimal, but for one right after the point.
fn compact(mut text: String) -> String {
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').len());
        if text.ends_with('.') {
            text.push('0');
        }
    }
    text
}
