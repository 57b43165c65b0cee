//! jq (reference, section 14.12).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use engine_event::{Map, Text, Value, decode_json};
use jaq_json::{Num, Val};

use crate::EvalError;

use super::jq_program::{Failure, Program};
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[JQ];

/// Longest time that a call can have, whatever it or the server asks for, in milliseconds.
pub const JQ_TIME_LIMIT_MS_MAX: u64 = 1000;

/// Nesting of a result.
const DEPTH_MAX: usize = 512;

/// Results of one call.
const RESULTS_MAX: usize = 1_000_000;

const JQ: FunctionDef = FunctionDef {
    name: "jq",
    args: &[Arg::text("program"), Arg::any("data"), Arg::int("timeout_ms").optional()],
    returns: Type::Array,
    summary: "The array of everything that a jq program gives for `data`: a JSON text, or any other value (undefined \
              counts as null). Fails on a bad program, on a text that is not JSON, when the program fails, recurses \
              or grows too far, and when it takes longer than `timeout_ms`. Without it the limit is the server's \
              `rule_engine.jq_function_default_timeout` (100 ms); more than 1000 counts as 1000. Programs see no \
              environment, no files and no other input, and there is no local time zone.",
    examples: &[
        Example::new("jq('.l[]', '{\"l\":[1,2,3]}')", "[1, 2, 3]"),
        Example::new("jq('.none', '{}')", "json_decode('[null]')"),
        Example::new("jq('empty', '{}')", "[]"),
        Example::new("jq('.[0] + 1', [1])", "[2]"),
        Example::new("jq('map(. * 2) | add', [1, 2.5], 1000)", "[7.0]"),
        Example::new("jq('.', undefined)", "json_decode('[null]')"),
        Example::fails("jq('.[', '{}')"),
        Example::fails("jq('.a', 'nope')"),
        Example::fails("jq('error(\"no\")', '{}')"),
        Example::fails("jq('.', '{}', -1)"),
        Example::fails("jq(undefined, '{}')"),
    ],
    eval: jq,
};

fn jq(args: &Args<'_>) -> Result<Value, EvalError> {
    let source = args.str(0)?;
    let input = match args.value(1) {
        Value::Text(text) => &decode_json(text.as_bytes()).map_err(|error| args.fail(error.to_string()))?,
        other => other,
    };
    let limit_ms = match args.len() {
        3 => args.size(2)? as u64,
        _ => args.context().jq_time_limit_ms(),
    };
    let limit_ms = limit_ms.min(JQ_TIME_LIMIT_MS_MAX);
    let program = args.context().compiled().jq(source).map_err(|reason| args.fail(reason))?;
    // what the interpreter cannot handle must not end the server
    catch_unwind(AssertUnwindSafe(|| run(args, &program, to_val(input), limit_ms)))
        .unwrap_or_else(|_| Err(args.fail("the interpreter gave up on this program")))
}

fn run(args: &Args<'_>, program: &Arc<Program>, input: Val, limit_ms: u64) -> Result<Value, EvalError> {
    let mut results = Vec::new();
    let mut sound = true;
    let outcome = program.run(args.context(), input, limit_ms, |result| {
        match from_val(&result, DEPTH_MAX) {
            Some(value) if results.len() < RESULTS_MAX => results.push(value),
            _ => sound = false,
        }
        sound
    });
    match outcome {
        Ok(()) if sound => Ok(Value::array(results)),
        Ok(()) => Err(args.fail("the result is too large or nests too deeply")),
        Err(Failure::Program(message)) => Err(args.fail(format!("the program failed: {message}"))),
        Err(Failure::Time) => Err(args.fail(format!("the program took longer than {limit_ms} ms"))),
        Err(Failure::Limit(what)) => Err(args.fail(what)),
    }
}

/// A value as the interpreter holds it; undefined becomes null.
pub(super) fn to_val(value: &Value) -> Val {
    match value {
        Value::Undefined | Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(*value),
        Value::Int(value) => Val::Num(Num::from_integral(*value)),
        Value::BigInt(value) => Val::Num(Num::big_int((**value).clone())),
        Value::Float(value) => Val::Num(Num::Float(*value)),
        Value::Text(text) => text_val(text),
        Value::Array(items) => Val::Arr(items.iter().map(to_val).collect::<Vec<_>>().into()),
        Value::Map(map) => {
            let entries: jaq_json::Map =
                map.iter().map(|(key, value)| (text_val(key), to_val(value))).collect();
            Val::Obj(entries.into())
        }
    }
}

fn text_val(text: &Text) -> Val {
    Val::utf8_str(text.bytes().clone())
}

/// A result as a value, as if it had been printed as JSON; none when it nests too deeply.
fn from_val(val: &Val, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match val {
        Val::Null => Value::Null,
        Val::Bool(value) => Value::Bool(*value),
        Val::Num(number) => from_number(number),
        Val::TStr(bytes) | Val::BStr(bytes) => Value::Text(Text::from((**bytes).clone())),
        Val::Arr(items) => {
            Value::array(items.iter().map(|item| from_val(item, depth)).collect::<Option<Vec<_>>>()?)
        }
        Val::Obj(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries.iter() {
                let key = match from_val(key, depth)? {
                    Value::Text(key) => key,
                    other => super::convert::text_form(&other),
                };
                map.insert(key, from_val(value, depth)?);
            }
            Value::Map(map)
        }
    })
}

/// Not a number becomes null, the infinities become the largest floats, as jq prints them.
fn from_number(number: &Num) -> Value {
    let float = match number {
        Num::Int(value) => return Value::Int(*value as i64), // 64 bits at most
        Num::BigInt(value) => return Value::from_bigint((**value).clone()),
        Num::Float(value) => *value,
        Num::Dec(digits) => digits.parse().unwrap_or(f64::NAN),
    };
    if float.is_nan() { Value::Null } else { Value::Float(float.clamp(f64::MIN, f64::MAX)) }
}
