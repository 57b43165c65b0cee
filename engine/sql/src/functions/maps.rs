//! Maps (reference, section 14.6).

use engine_event::{Map, Text, Value, decimal_text, decode_json};

use crate::EvalError;

use super::convert::{text_form, to_map};
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    MAP_NEW,
    MAP_GET,
    MAP_PUT,
    MGET,
    MPUT,
    MAP_KEYS,
    MAP_VALUES,
    MAP_TO_ENTRIES,
    MAP_SIZE,
    MAP_TO_REDIS_HSET_ARGS,
];

/// Keys of a dotted path: beyond, building the nested maps would end in a value that nothing can print.
const PATH_KEYS_MAX: usize = 100;

const MAP_ARG: &[Arg] = &[Arg::map("map")];
const GET: &[Arg] = &[Arg::text("key"), Arg::map("map"), Arg::any("default").optional()];
const PUT: &[Arg] = &[Arg::text("key"), Arg::any("value"), Arg::map("map")];

const MAP_NEW: FunctionDef = FunctionDef {
    name: "map_new",
    args: &[],
    returns: Type::Map,
    summary: "An empty map. Never fails.",
    examples: &[Example::new("map_new()", "json_decode('{}')")],
    eval: |_| Ok(Value::Map(Map::new())),
};

const MAP_GET: FunctionDef = FunctionDef {
    name: "map_get",
    args: GET,
    returns: Type::Any,
    summary: "The value of `key`; dots in the key step into maps, and into texts that are JSON. Gives `default` \
              (undefined when left out) where something is missing or `map` is not a map. Fails when the key is \
              neither a text nor a number.",
    examples: &[
        Example::new("map_get('a.b', '{\"a\":{\"b\":1}}')", "1"),
        Example::new("map_get('q', map_new(), 0)", "0"),
        Example::new("map_get('q', map_new())", "undefined"),
        Example::new("map_get('q', undefined, 'd')", "'d'"),
        Example::new("map_get('q', 5)", "undefined"),
        Example::fails("map_get(undefined, map_new())"),
    ],
    eval: |args| {
        let key = key(args, 0)?;
        let found = key
            .as_bytes()
            .split(|byte| *byte == b'.')
            .try_fold(args.value(1).clone(), |at, key| step(&at, key));
        Ok(found.filter(|value| !value.is_undefined()).unwrap_or_else(|| args.value(2).clone()))
    },
};

const MAP_PUT: FunctionDef = FunctionDef {
    name: "map_put",
    args: PUT,
    returns: Type::Map,
    summary: "The map with `key` set; dots in the key step into nested maps, which are made where there is none. When \
              `map` is not a map, also when it is a JSON text, the result is a new map. Fails when the key is neither \
              a text nor a number, or has more than 100 parts.",
    examples: &[
        Example::new("map_put('a.b', 1, map_new())", "json_decode('{\"a\":{\"b\":1}}')"),
        Example::new("map_put('a', 1, json_decode('{\"b\":2}'))", "json_decode('{\"a\":1,\"b\":2}')"),
        Example::new("map_put('a', 1, '{\"b\":2}')", "json_decode('{\"a\":1}')"),
        Example::new("map_put('a', 1, undefined)", "json_decode('{\"a\":1}')"),
        Example::fails("map_put([], 1, map_new())"),
    ],
    eval: |args| {
        let key = key(args, 0)?;
        let parts: Vec<&[u8]> = key.as_bytes().split(|byte| *byte == b'.').collect();
        if parts.len() > PATH_KEYS_MAX {
            return Err(args.wrong(0, "a key of at most 100 parts"));
        }
        let mut map = args.value(2).clone();
        let mut at = &mut map;
        for part in parts {
            if !matches!(at, Value::Map(_)) {
                *at = Value::Map(Map::new());
            }
            let Value::Map(inner) = at else { unreachable!("made a map just above") };
            at = inner.entry(Text::copy_from(part));
        }
        *at = args.value(1).clone();
        Ok(map)
    },
};

const MGET: FunctionDef = FunctionDef {
    name: "mget",
    args: GET,
    returns: Type::Any,
    summary: "The value of `key`, taken literally. Gives `default` (undefined when left out) when it is missing. \
              Fails when `map` cannot be made a map, or the key is neither a text nor a number.",
    examples: &[
        Example::new("mget('x.y', '{\"x.y\":1}')", "1"),
        Example::new("mget('q', map_new(), 0)", "0"),
        Example::new("mget('q', map_new())", "undefined"),
        Example::fails("mget('q', 5)"),
        Example::fails("mget('q', undefined)"),
    ],
    eval: |args| {
        let (key, map) = (key(args, 0)?, to_map(args, 1)?);
        Ok(map.get(&key).filter(|value| !value.is_undefined()).unwrap_or(args.value(2)).clone())
    },
};

const MPUT: FunctionDef = FunctionDef {
    name: "mput",
    args: PUT,
    returns: Type::Map,
    summary: "The map with `key`, taken literally, set. Fails when `map` cannot be made a map, or the key is neither \
              a text nor a number.",
    examples: &[
        Example::new("mput('x.y', 1, map_new())", "json_decode('{\"x.y\":1}')"),
        Example::new("mput('k', 1, '{\"k\":0}')", "json_decode('{\"k\":1}')"),
        Example::fails("mput('k', 1, 'text')"),
        Example::fails("mput('k', 1, undefined)"),
    ],
    eval: |args| {
        let (key, mut map) = (key(args, 0)?, to_map(args, 2)?);
        map.insert(key, args.value(1).clone());
        Ok(Value::Map(map))
    },
};

const MAP_KEYS: FunctionDef = FunctionDef {
    name: "map_keys",
    args: MAP_ARG,
    returns: Type::Array,
    summary: "The keys, sorted. Fails when the argument cannot be made a map.",
    examples: &[
        Example::new("map_keys('{\"b\":1,\"a\":2}')", "['a', 'b']"),
        Example::new("map_keys(map_new())", "[]"),
        Example::fails("map_keys(undefined)"),
    ],
    eval: |args| Ok(collect(&to_map(args, 0)?, |key, _| Value::Text(key.clone()))),
};

const MAP_VALUES: FunctionDef = FunctionDef {
    name: "map_values",
    args: MAP_ARG,
    returns: Type::Array,
    summary: "The values, in the order of their sorted keys. Fails when the argument cannot be made a map.",
    examples: &[
        Example::new("map_values('{\"b\":1,\"a\":2}')", "[2, 1]"),
        Example::new("map_values(map_new())", "[]"),
        Example::fails("map_values(undefined)"),
    ],
    eval: |args| Ok(collect(&to_map(args, 0)?, |_, value| value.clone())),
};

const MAP_TO_ENTRIES: FunctionDef = FunctionDef {
    name: "map_to_entries",
    args: MAP_ARG,
    returns: Type::Array,
    summary: "An array of maps with `key` and `value`, sorted by key. Fails when the argument cannot be made a map.",
    examples: &[
        Example::new("map_to_entries('{\"k\":\"v\"}')", "json_decode('[{\"key\":\"k\",\"value\":\"v\"}]')"),
        Example::new("map_to_entries(map_new())", "[]"),
        Example::fails("map_to_entries(undefined)"),
    ],
    eval: |args| {
        Ok(collect(&to_map(args, 0)?, |key, value| {
            let entry = [("key", Value::Text(key.clone())), ("value", value.clone())];
            Value::Map(entry.into_iter().collect())
        }))
    },
};

const MAP_SIZE: FunctionDef = FunctionDef {
    name: "map_size",
    args: MAP_ARG,
    returns: Type::Int,
    summary: "The number of keys. Fails when the argument cannot be made a map.",
    examples: &[
        Example::new("map_size('{\"q\":1}')", "1"),
        Example::new("map_size(map_new())", "0"),
        Example::fails("map_size([1])"),
        Example::fails("map_size(undefined)"),
    ],
    eval: |args| Ok(Value::Int(to_map(args, 0)?.len() as i64)),
};

const MAP_TO_REDIS_HSET_ARGS: FunctionDef = FunctionDef {
    name: "map_to_redis_hset_args",
    args: MAP_ARG,
    returns: Type::Array,
    summary: "Keys and values one after the other, sorted by key, for `HSET` and `HMSET` in a Redis command; floats \
              with at most 6 decimals. Leaves out what is not a text, a number or a boolean. Gives an empty array \
              when the argument cannot be made a map. Never fails.",
    examples: &[
        Example::new("map_to_redis_hset_args('{\"b\":1.5,\"a\":\"x\"}')", "['a', 'x', 'b', '1.5']"),
        Example::new("map_to_redis_hset_args('{\"n\":null,\"l\":[1]}')", "[]"),
        Example::new("map_to_redis_hset_args(undefined)", "[]"),
    ],
    eval: |args| {
        let map = to_map(args, 0).unwrap_or_default();
        let mut out = Vec::with_capacity(map.len() * 2);
        for (key, value) in sorted(&map) {
            if let Some(value) = redis_argument(value) {
                out.extend([Value::Text(key.clone()), Value::Text(value)]);
            }
        }
        Ok(Value::array(out))
    },
};

/// A key: a text, or a number by its text form.
pub(super) fn key(args: &Args<'_>, place: usize) -> Result<Text, EvalError> {
    match args.value(place) {
        value @ (Value::Text(_) | Value::Int(_) | Value::BigInt(_) | Value::Float(_) | Value::Bool(_)) => {
            Ok(text_form(value))
        }
        _ => Err(args.wrong(place, "a text or a number")),
    }
}

/// Steps into a map, or into a text that is JSON.
pub(super) fn step(value: &Value, key: &[u8]) -> Option<Value> {
    match value {
        Value::Map(map) => map.get(key).cloned(),
        Value::Text(text) => match decode_json(text.as_bytes()) {
            Ok(Value::Map(map)) => map.get(key).cloned(),
            _ => None,
        },
        _ => None,
    }
}

fn sorted(map: &Map) -> Vec<(&Text, &Value)> {
    let mut entries: Vec<(&Text, &Value)> = map.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.0);
    entries
}

fn collect(map: &Map, make: impl Fn(&Text, &Value) -> Value) -> Value {
    Value::array(sorted(map).into_iter().map(|(key, value)| make(key, value)).collect())
}

fn redis_argument(value: &Value) -> Option<Text> {
    match value {
        Value::Float(value) => {
            let digits = decimal_text(*value, 6);
            let digits = digits.trim_end_matches('0');
            Some(if digits.ends_with('.') { format!("{digits}0") } else { digits.to_owned() }.into())
        }
        Value::Text(_) | Value::Int(_) | Value::BigInt(_) | Value::Bool(_) => Some(text_form(value)),
        _ => None,
    }
}
