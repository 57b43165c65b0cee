//! Texts: cutting apart and joining (reference, section 14.5).

use engine_event::{Text, Value, encode_json};
use memchr::memmem;

use crate::EvalError;
use crate::evaluate::TEXT_BYTES_MAX;

use super::convert::text_form;
use super::definition::TEXT_TOO_LONG;
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] =
    &[CONCAT, SPLIT, TOKENS, REPLACE, FIND, JOIN_TO_STRING, JOIN_TO_SQL_VALUES_STRING];

const CONCAT: FunctionDef = FunctionDef {
    name: "concat",
    args: &[Arg::any("value"), Arg::any("more").variadic()],
    returns: Type::Text,
    summary: "The text forms of its arguments, or of the elements of one array, joined. Fails when the only argument \
              is not an array.",
    examples: &[
        Example::new("concat('x', 2.5)", "'x2.5'"),
        Example::new("concat(['a', 1])", "'a1'"),
        Example::new("concat(true, '!', 1)", "'true!1'"),
        Example::new("concat('x', undefined)", "'xundefined'"),
        Example::new("concat([])", "''"),
        Example::fails("concat('x')"),
    ],
    eval: |args| {
        let parts = if args.len() == 1 { args.array(0)? } else { args.values() };
        join(args, parts, b"", engine_event::write_text_form)
    },
};

const SPLIT: FunctionDef = FunctionDef {
    name: "split",
    args: &[Arg::text("text"), Arg::text("separator"), Arg::text("option").optional()],
    returns: Type::Array,
    summary: "The parts between separators. Empty parts are left out; `'notrim'` keeps them. `'leading'` and \
              `'trailing'` cut once, at the first or last separator; `'leading_notrim'` and `'trailing_notrim'` keep \
              empty parts too. An empty separator cuts nothing. Fails on other options and on anything but texts.",
    examples: &[
        Example::new("split('/a//b/', '/')", "['a', 'b']"),
        Example::new("split(',a,', ',', 'notrim')", "['', 'a', '']"),
        Example::new("split('a/b/c', '/', 'leading')", "['a', 'b/c']"),
        Example::new("split('a/b/c', '/', 'trailing')", "['a/b', 'c']"),
        Example::new("split('/a', '/', 'leading_notrim')", "['', 'a']"),
        Example::new("split('a/', '/', 'trailing_notrim')", "['a', '']"),
        Example::new("split('', ',')", "[]"),
        Example::new("split('ab', '')", "['ab']"),
        Example::fails("split('a', ',', 'all')"),
        Example::fails("split(undefined, ',')"),
    ],
    eval: split,
};

const TOKENS: FunctionDef = FunctionDef {
    name: "tokens",
    args: &[Arg::text("text"), Arg::text("separators"), Arg::text("option").optional()],
    returns: Type::Array,
    summary: "The parts between any of the characters in `separators`, without empty parts. With `'nocrlf'`, carriage \
              return and line feed are separators too. Fails on other options and on anything but texts in UTF-8.",
    examples: &[
        Example::new("tokens('a,b;c', ',;')", "['a', 'b', 'c']"),
        Example::new("tokens(',,', ',')", "[]"),
        Example::new("tokens('x y\nz', ' ', 'nocrlf')", "['x', 'y', 'z']"),
        Example::new("tokens('a,b', '')", "['a,b']"),
        Example::fails("tokens('a', ',', 'crlf')"),
        Example::fails("tokens(undefined, ',')"),
    ],
    eval: |args| {
        let (text, separators) = (args.str(0)?, args.str(1)?);
        let line_ends = args.len() > 2 && args.one_of(2, &["nocrlf"])? == 0;
        let separates =
            |found: char| separators.contains(found) || (line_ends && matches!(found, '\r' | '\n'));
        let parts = text.split(separates).filter(|part| !part.is_empty());
        Ok(Value::array(parts.map(|part| args.part(0, part)).collect()))
    },
};

const REPLACE: FunctionDef = FunctionDef {
    name: "replace",
    args: &[Arg::text("text"), Arg::text("pattern"), Arg::text("replacement"), Arg::text("where").optional()],
    returns: Type::Text,
    summary: "The text with `pattern`, taken literally, replaced: everywhere (`'all'`, the default), at its first \
              (`'leading'`) or its last place (`'trailing'`). An empty pattern changes nothing. Fails on other words \
              and on anything but texts.",
    examples: &[
        Example::new("replace('a-b-c', '-', '_')", "'a_b_c'"),
        Example::new("replace('a-b-c', '-', '_', 'leading')", "'a_b-c'"),
        Example::new("replace('a-b-c', '-', '_', 'trailing')", "'a-b_c'"),
        Example::new("replace('abc', '', 'x')", "'abc'"),
        Example::fails("replace('a', 'a', 'b', 'first')"),
        Example::fails("replace(undefined, 'a', 'b')"),
    ],
    eval: replace,
};

const FIND: FunctionDef = FunctionDef {
    name: "find",
    args: &[Arg::text("text"), Arg::text("part"), Arg::text("direction").optional()],
    returns: Type::Text,
    summary: "The rest of the text from the first (`'leading'`, the default) or last (`'trailing'`) place of `part`; \
              empty when there is none, the whole text when `part` is empty. Fails on other words and on anything but \
              texts.",
    examples: &[
        Example::new("find('a/b/c', '/')", "'/b/c'"),
        Example::new("find('a/b/c', '/', 'trailing')", "'/c'"),
        Example::new("find('abc', 'x')", "''"),
        Example::new("find('abc', '')", "'abc'"),
        Example::fails("find('abc', 'b', 'last')"),
        Example::fails("find(undefined, 'b')"),
    ],
    eval: |args| {
        let (text, part) = (args.text(0)?.as_bytes(), args.text(1)?.as_bytes());
        let from_end = args.len() > 2 && args.one_of(2, &["leading", "trailing"])? == 1;
        let at = match (part.is_empty(), from_end) {
            (true, _) => Some(0),
            (false, false) => memmem::find(text, part),
            (false, true) => memmem::rfind(text, part),
        };
        Ok(args.part(0, at.map_or(&text[..0], |at| &text[at..])))
    },
};

const JOIN_TO_STRING: FunctionDef = FunctionDef {
    name: "join_to_string",
    args: &[Arg::text("separator").optional(), Arg::array("array")],
    returns: Type::Text,
    summary: "The text forms of the elements with `separator` (`', '` when left out) between them. Fails on anything \
              but an array.",
    examples: &[
        Example::new("join_to_string('-', ['a', 1])", "'a-1'"),
        Example::new("join_to_string(['a', 1])", "'a, 1'"),
        Example::new("join_to_string([])", "''"),
        Example::fails("join_to_string('a')"),
        Example::fails("join_to_string('-', undefined)"),
    ],
    eval: |args| {
        let (separator, items) = match args.len() {
            1 => (b", ".as_slice(), args.array(0)?),
            _ => (args.text(0)?.as_bytes(), args.array(1)?),
        };
        join(args, items, separator, engine_event::write_text_form)
    },
};

const JOIN_TO_SQL_VALUES_STRING: FunctionDef = FunctionDef {
    name: "join_to_sql_values_string",
    args: &[Arg::array("array")],
    returns: Type::Text,
    summary: "The elements as SQL literals with `', '` between them: numbers bare, all else in single quotes, with a \
              backslash before quotes and backslashes; arrays and maps as JSON. Fails on anything but an array.",
    examples: &[
        Example::new("join_to_sql_values_string(['a', 1, 2.5])", "'''a'', 1, 2.5'"),
        Example::new("join_to_sql_values_string([true, undefined])", "'''true'', ''undefined'''"),
        Example::new("join_to_sql_values_string([[1, 'x']])", "'''[1,\"x\"]'''"),
        Example::new("join_to_sql_values_string(['it''s'])", "'''it\\''s'''"),
        Example::fails("join_to_sql_values_string('a')"),
        Example::fails("join_to_sql_values_string(undefined)"),
    ],
    eval: |args| join(args, args.array(0)?, b", ", write_sql_literal),
};

fn split(args: &Args<'_>) -> Result<Value, EvalError> {
    let (text, separator) = (args.text(0)?.as_bytes(), args.text(1)?.as_bytes());
    let options = ["", "notrim", "leading", "trailing", "leading_notrim", "trailing_notrim"];
    let option = if args.len() > 2 { options[args.one_of(2, &options)?] } else { "" };
    let once = |at: Option<usize>| match at {
        Some(at) => vec![&text[..at], &text[at + separator.len()..]],
        None => vec![text],
    };
    let parts = match option {
        _ if separator.is_empty() => vec![text],
        "leading" | "leading_notrim" => once(memmem::find(text, separator)),
        "trailing" | "trailing_notrim" => once(memmem::rfind(text, separator)),
        _ => pieces(text, separator),
    };
    let keep_empty = option.ends_with("notrim");
    let parts = parts.into_iter().filter(|part| keep_empty || !part.is_empty());
    Ok(Value::array(parts.map(|part| args.part(0, part)).collect()))
}

/// All parts between separators, empty ones too.
fn pieces<'t>(text: &'t [u8], separator: &[u8]) -> Vec<&'t [u8]> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in memmem::find_iter(text, separator) {
        parts.push(&text[start..at]);
        start = at + separator.len();
    }
    parts.push(&text[start..]);
    parts
}

fn replace(args: &Args<'_>) -> Result<Value, EvalError> {
    let (text, pattern) = (args.text(0)?.as_bytes(), args.text(1)?.as_bytes());
    let replacement = args.text(2)?.as_bytes();
    let place = if args.len() > 3 { args.one_of(3, &["all", "leading", "trailing"])? } else { 0 };
    if pattern.is_empty() {
        return Ok(args.part(0, text));
    }
    let once = |at: Option<usize>| at.map(|at| vec![&text[..at], &text[at + pattern.len()..]]);
    let parts = match place {
        0 => Some(pieces(text, pattern)),
        1 => once(memmem::find(text, pattern)),
        _ => once(memmem::rfind(text, pattern)),
    };
    match parts {
        Some(parts) if parts.len() > 1 => {
            let added = (parts.len() - 1).saturating_mul(replacement.len());
            if added > TEXT_BYTES_MAX {
                return Err(args.fail(TEXT_TOO_LONG));
            }
            Ok(Value::Text(parts.join(replacement).into()))
        }
        _ => Ok(args.part(0, text)),
    }
}

fn join(
    args: &Args<'_>,
    items: &[Value],
    separator: &[u8],
    write: impl Fn(&Value, &mut Vec<u8>),
) -> Result<Value, EvalError> {
    let mut out = Vec::with_capacity(items.len() * 8);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(separator);
        }
        write(item, &mut out);
        if out.len() > TEXT_BYTES_MAX {
            return Err(args.fail(TEXT_TOO_LONG));
        }
    }
    Ok(Value::Text(out.into()))
}

fn write_sql_literal(value: &Value, out: &mut Vec<u8>) {
    let text = match value {
        Value::Int(_) | Value::BigInt(_) | Value::Float(_) => {
            return out.extend_from_slice(text_form(value).as_bytes());
        }
        Value::Array(_) | Value::Map(_) => Text::from(encode_json(value, Default::default())),
        _ => text_form(value),
    };
    out.push(b'\'');
    for byte in text.as_bytes() {
        if matches!(byte, b'\'' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'\'');
}
