//! Identifiers, environment, storage (reference, section 14.11).

use engine_event::{Text, Value};

use crate::evaluate::Size;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    UUID_V4,
    UUID_V4_NO_HYPHEN,
    GETENV,
    KV_STORE_PUT,
    KV_STORE_GET,
    KV_STORE_DEL,
    PROC_DICT_PUT,
    PROC_DICT_GET,
    PROC_DICT_DEL,
];

/// What an environment variable must start with for a rule to see it; the second is EMQX's.
const ENVIRONMENT_PREFIXES: [&str; 2] = ["SLUICEVAR_", "EMQXVAR_"];

const KEY: &[Arg] = &[Arg::any("key")];
const KEY_VALUE: &[Arg] = &[Arg::any("key"), Arg::any("value")];

const UUID_V4: FunctionDef = FunctionDef {
    name: "uuid_v4",
    args: &[],
    returns: Type::Text,
    summary: "A random UUID with hyphens. Never fails.",
    examples: &[Example::new("strlen(uuid_v4())", "36")],
    eval: |args| Ok(Value::from(random_uuid(args).hyphenated().to_string())),
};

const UUID_V4_NO_HYPHEN: FunctionDef = FunctionDef {
    name: "uuid_v4_no_hyphen",
    args: &[],
    returns: Type::Text,
    summary: "A random UUID as 32 hex digits. Never fails.",
    examples: &[Example::new("strlen(uuid_v4_no_hyphen())", "32")],
    eval: |args| Ok(Value::from(random_uuid(args).simple().to_string())),
};

const GETENV: FunctionDef = FunctionDef {
    name: "getenv",
    args: &[Arg::text("name")],
    returns: Type::Text,
    summary: "The server's environment variable `SLUICEVAR_<name>`, else `EMQXVAR_<name>`, else an empty text. Other \
              variables cannot be read. Fails when the name is not a text in UTF-8.",
    examples: &[
        Example::new("getenv('SITE')", "''"),
        Example::fails("getenv(1)"),
        Example::fails("getenv(undefined)"),
    ],
    eval: |args| {
        let name = args.str(0)?;
        let value = ENVIRONMENT_PREFIXES
            .iter()
            .find_map(|prefix| args.context().environment_variable(&format!("{prefix}{name}")));
        Ok(Value::Text(value.unwrap_or(Text::from_static(""))))
    },
};

const KV_STORE_PUT: FunctionDef = FunctionDef {
    name: "kv_store_put",
    args: KEY_VALUE,
    returns: Type::Bool,
    summary: "Sets `key` in a store in memory that all rules of this node share, and gives true. Fails when the store \
              is full, or the value larger than a rule may make.",
    examples: &[
        Example::new("kv_store_put('k', 1)", "true"),
        Example::new("kv_store_put(undefined, undefined)", "true"),
    ],
    eval: |args| {
        Size::check(args.value(1))?;
        match args.context().store_put(args.value(0), args.value(1)) {
            Ok(()) => Ok(Value::Bool(true)),
            Err(reason) => Err(args.fail(reason)),
        }
    },
};

const KV_STORE_GET: FunctionDef = FunctionDef {
    name: "kv_store_get",
    args: &[Arg::any("key"), Arg::any("default").optional()],
    returns: Type::Any,
    summary: "The value of `key` in the store that all rules share; `default` (undefined when left out) when it is \
              missing. Never fails.",
    examples: &[
        Example::new("kv_store_get('k')", "undefined"),
        Example::new("kv_store_get('k', 0)", "0"),
        Example::new("kv_store_get(undefined)", "undefined"),
    ],
    eval: |args| match args.context().store_get(args.value(0)) {
        Value::Undefined => Ok(args.value(1).clone()),
        found => Ok(found),
    },
};

const KV_STORE_DEL: FunctionDef = FunctionDef {
    name: "kv_store_del",
    args: KEY,
    returns: Type::Bool,
    summary: "Removes `key` from the store that all rules share, and gives true, also when it was missing. Never \
              fails.",
    examples: &[Example::new("kv_store_del('k')", "true"), Example::new("kv_store_del(undefined)", "true")],
    eval: |args| {
        args.context().store_delete(args.value(0));
        Ok(Value::Bool(true))
    },
};

const PROC_DICT_PUT: FunctionDef = FunctionDef {
    name: "proc_dict_put",
    args: KEY_VALUE,
    returns: Type::Any,
    summary: "Sets `key` in a store of the run's connection, and gives what was there, or undefined. Fails when the \
              store is full, or the value larger than a rule may make.",
    examples: &[Example::new("proc_dict_put('k', 1)", "undefined")],
    eval: |args| {
        Size::check(args.value(1))?;
        args.context().scratch_put(args.value(0), args.value(1)).map_err(|reason| args.fail(reason))
    },
};

const PROC_DICT_GET: FunctionDef = FunctionDef {
    name: "proc_dict_get",
    args: KEY,
    returns: Type::Any,
    summary: "The value of `key` in the store of the run's connection; undefined when it is missing. Never fails.",
    examples: &[Example::new("proc_dict_get('k')", "undefined")],
    eval: |args| Ok(args.context().scratch_get(args.value(0))),
};

const PROC_DICT_DEL: FunctionDef = FunctionDef {
    name: "proc_dict_del",
    args: KEY,
    returns: Type::Any,
    summary: "Removes `key` from the store of the run's connection, and gives what was there, or undefined. Never \
              fails.",
    examples: &[Example::new("proc_dict_del('k')", "undefined")],
    eval: |args| Ok(args.context().scratch_delete(args.value(0))),
};

fn random_uuid(args: &Args<'_>) -> uuid::Uuid {
    let (high, low) = (args.context().random(), args.context().random());
    uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
}
