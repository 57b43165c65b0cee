//! Texts: case, ends, length, parts (reference, section 14.5). Positions count from 0.

use engine_event::Value;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::EvalError;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] =
    &[LOWER, UPPER, TRIM, LTRIM, RTRIM, RM_PREFIX, STRLEN, SUBSTR, REVERSE, ASCII, PAD, UNESCAPE];

/// Characters that `pad` fills up to.
const PAD_MAX: usize = 1 << 20;

const TEXT: &[Arg] = &[Arg::text("text")];

const LOWER: FunctionDef = FunctionDef {
    name: "lower",
    args: TEXT,
    returns: Type::Text,
    summary: "The text in lower case, for all of Unicode. Fails on anything but a text in UTF-8.",
    examples: &[
        Example::new("lower('XY')", "'xy'"),
        Example::new("lower('É')", "'é'"),
        Example::new("lower('')", "''"),
        Example::fails("lower(1)"),
        Example::fails("lower(undefined)"),
    ],
    eval: |args| {
        let text = args.str(0)?;
        let done = text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        Ok(if done { args.part(0, text) } else { Value::from(text.to_lowercase()) })
    },
};

const UPPER: FunctionDef = FunctionDef {
    name: "upper",
    args: TEXT,
    returns: Type::Text,
    summary: "The text in upper case, for all of Unicode. Fails on anything but a text in UTF-8.",
    examples: &[
        Example::new("upper('xy')", "'XY'"),
        Example::new("upper('straße')", "'STRASSE'"),
        Example::new("upper(true)", "'TRUE'"),
        Example::fails("upper(1)"),
        Example::fails("upper(undefined)"),
    ],
    eval: |args| {
        let text = args.str(0)?;
        let done = text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_lowercase());
        Ok(if done { args.part(0, text) } else { Value::from(text.to_uppercase()) })
    },
};

const TRIM: FunctionDef = FunctionDef {
    name: "trim",
    args: TEXT,
    returns: Type::Text,
    summary: "The text without white space at both ends. Fails on anything but a text in UTF-8.",
    examples: &[
        Example::new("trim('  ok ')", "'ok'"),
        Example::new("trim('')", "''"),
        Example::fails("trim(1)"),
        Example::fails("trim(undefined)"),
    ],
    eval: |args| Ok(args.part(0, args.str(0)?.trim())),
};

const LTRIM: FunctionDef = FunctionDef {
    name: "ltrim",
    args: TEXT,
    returns: Type::Text,
    summary: "The text without white space at its start. Fails on anything but a text in UTF-8.",
    examples: &[
        Example::new("ltrim('  ok ')", "'ok '"),
        Example::new("ltrim('  ')", "''"),
        Example::fails("ltrim(1)"),
        Example::fails("ltrim(undefined)"),
    ],
    eval: |args| Ok(args.part(0, args.str(0)?.trim_start())),
};

const RTRIM: FunctionDef = FunctionDef {
    name: "rtrim",
    args: &[Arg::text("text"), Arg::text("characters").optional()],
    returns: Type::Text,
    summary: "The text without white space, or without any of `characters`, at its end. Fails on anything but texts \
              in UTF-8.",
    examples: &[
        Example::new("rtrim('  ok ')", "'  ok'"),
        Example::new("rtrim('xx,,;', ',;')", "'xx'"),
        Example::new("rtrim('a', '')", "'a'"),
        Example::fails("rtrim(1)"),
        Example::fails("rtrim(undefined, ',')"),
    ],
    eval: |args| {
        let text = args.str(0)?;
        Ok(match args.optional_str(1)? {
            None => args.part(0, text.trim_end()),
            Some(characters) => args.part(0, text.trim_end_matches(|found| characters.contains(found))),
        })
    },
};

const RM_PREFIX: FunctionDef = FunctionDef {
    name: "rm_prefix",
    args: &[Arg::text("text"), Arg::text("prefix")],
    returns: Type::Text,
    summary: "The text without `prefix` at its start, once; unchanged when it does not start so. Fails on anything \
              but texts.",
    examples: &[
        Example::new("rm_prefix('dev-1', 'dev-')", "'1'"),
        Example::new("rm_prefix('aab', 'a')", "'ab'"),
        Example::new("rm_prefix('x', 'y')", "'x'"),
        Example::fails("rm_prefix(1, 'y')"),
        Example::fails("rm_prefix(undefined, 'y')"),
    ],
    eval: |args| {
        let (text, prefix) = (args.text(0)?.as_bytes(), args.text(1)?.as_bytes());
        Ok(args.part(0, text.strip_prefix(prefix).unwrap_or(text)))
    },
};

const STRLEN: FunctionDef = FunctionDef {
    name: "strlen",
    args: TEXT,
    returns: Type::Int,
    summary: "The number of characters (grapheme clusters). Fails on anything but a text in UTF-8.",
    examples: &[
        Example::new("strlen('four')", "4"),
        Example::new("strlen('温度')", "2"),
        Example::new("strlen('')", "0"),
        Example::fails("strlen(12)"),
        Example::fails("strlen(undefined)"),
    ],
    eval: |args| Ok(Value::Int(length(args.str(0)?) as i64)),
};

const SUBSTR: FunctionDef = FunctionDef {
    name: "substr",
    args: &[Arg::text("text"), Arg::int("start"), Arg::int("length").optional()],
    returns: Type::Text,
    summary: "`length` characters (to the end when left out) from position `start`, counted from 0; nothing beyond \
              the end. Fails when `start` or `length` is negative and on anything but a text in UTF-8.",
    examples: &[
        Example::new("substr('abcdef', 1, 3)", "'bcd'"),
        Example::new("substr('abcdef', 4)", "'ef'"),
        Example::new("substr('abc', 9)", "''"),
        Example::new("substr('abc', 1, 9)", "'bc'"),
        Example::new("substr('温度', 1)", "'度'"),
        Example::fails("substr('abc', -1)"),
        Example::fails("substr('abc', 0, -1)"),
        Example::fails("substr(undefined, 0)"),
    ],
    eval: |args| {
        let (text, start) = (args.str(0)?, args.size(1)?);
        let rest = &text[offset_of(text, start)..];
        Ok(match args.len() {
            2 => args.part(0, rest),
            _ => args.part(0, &rest[..offset_of(rest, args.size(2)?)]),
        })
    },
};

const REVERSE: FunctionDef = FunctionDef {
    name: "reverse",
    args: TEXT,
    returns: Type::Text,
    summary: "The characters (grapheme clusters) in reverse order. Fails on anything but a text in UTF-8.",
    examples: &[
        Example::new("reverse('live')", "'evil'"),
        Example::new("reverse('温度')", "'度温'"),
        Example::new("reverse('')", "''"),
        Example::fails("reverse(12)"),
        Example::fails("reverse(undefined)"),
    ],
    eval: |args| Ok(Value::from(args.str(0)?.graphemes(true).rev().collect::<String>())),
};

const ASCII: FunctionDef = FunctionDef {
    name: "ascii",
    args: TEXT,
    returns: Type::Int,
    summary: "The code of the first byte. Fails on an empty text and on anything but a text.",
    examples: &[
        Example::new("ascii('A')", "65"),
        Example::new("ascii('abc')", "97"),
        Example::fails("ascii('')"),
        Example::fails("ascii(undefined)"),
    ],
    eval: |args| match args.text(0)?.as_bytes().first() {
        Some(byte) => Ok(Value::from(*byte)),
        None => Err(args.wrong(0, "a text that is not empty")),
    },
};

const PAD: FunctionDef = FunctionDef {
    name: "pad",
    args: &[
        Arg::text("text"),
        Arg::int("length"),
        Arg::text("where").optional(),
        Arg::text("character").optional(),
    ],
    returns: Type::Text,
    summary: "The text filled up to `length` characters (at most 1048576) with `character` (a space when left out). \
              `where` is `'trailing'` (default), `'leading'` or `'both'`, which puts an odd one at the end. A text \
              that is long enough stays as it is. Fails on other words, a `character` that is not one, a negative \
              length and on anything but texts in UTF-8.",
    examples: &[
        Example::new("pad('7', 3, 'leading', '0')", "'007'"),
        Example::new("pad('x', 4)", "'x   '"),
        Example::new("pad('x', 4, 'both', '-')", "'-x--'"),
        Example::new("pad('long', 2)", "'long'"),
        Example::fails("pad('x', 4, 'left')"),
        Example::fails("pad('x', -1)"),
        Example::fails("pad('x', 4, 'both', '')"),
        Example::fails("pad(undefined, 4)"),
    ],
    eval: pad,
};

const UNESCAPE: FunctionDef = FunctionDef {
    name: "unescape",
    args: TEXT,
    returns: Type::Text,
    summary: "The text with escapes replaced: `\\n \\t \\r \\b \\f \\v \\a \\' \\\" \\? \\\\`, and `\\x` with all the hex \
              digits that follow as one character. Fails on other escapes, on a character that does not exist, and \
              on anything but a text in UTF-8.",
    examples: &[
        Example::new("unescape('\\x41')", "'A'"),
        Example::new("unescape('x\\ny')", "'x\ny'"),
        Example::new("unescape('plain')", "'plain'"),
        Example::new("unescape('\\x6e29')", "'温'"),
        Example::fails("unescape('\\q')"),
        Example::fails("unescape('\\')"),
        Example::fails("unescape('\\xd800')"),
        Example::fails("unescape('\\x')"),
        Example::fails("unescape(undefined)"),
    ],
    eval: |args| {
        let text = args.str(0)?;
        if !text.contains('\\') {
            return Ok(args.part(0, text));
        }
        match unescape(text) {
            Ok(text) => Ok(Value::from(text)),
            Err(escape) => Err(args.fail(format!("there is no escape `{escape}`"))),
        }
    },
};

/// Tells whether each byte is a character: no carriage return, which makes one with a line feed.
fn is_simple(text: &str) -> bool {
    text.is_ascii() && !text.as_bytes().contains(&b'\r')
}

fn length(text: &str) -> usize {
    if is_simple(text) { text.len() } else { text.graphemes(true).count() }
}

/// The byte offset after `characters` characters, or the end.
fn offset_of(text: &str, characters: usize) -> usize {
    if is_simple(text) {
        return characters.min(text.len());
    }
    text.grapheme_indices(true).nth(characters).map_or(text.len(), |(offset, _)| offset)
}

fn pad(args: &Args<'_>) -> Result<Value, EvalError> {
    let (text, wanted) = (args.str(0)?, args.size(1)?);
    let place = if args.len() > 2 { args.one_of(2, &["trailing", "leading", "both"])? } else { 0 };
    let filler = args.optional_str(3)?.unwrap_or(" ");
    if filler.graphemes(true).count() != 1 {
        return Err(args.wrong(3, "one character"));
    }
    let missing = wanted.saturating_sub(length(text));
    if missing == 0 {
        return Ok(args.part(0, text));
    }
    if wanted > PAD_MAX {
        return Err(args.wrong(1, "a length of at most 1048576"));
    }
    let before = match place {
        0 => 0,
        1 => missing,
        _ => missing / 2,
    };
    let (before, after) = (filler.repeat(before), filler.repeat(missing - before));
    Ok(Value::from([before.as_str(), text, after.as_str()].concat()))
}

/// Replaces the escapes of a text, or returns the one that does not exist.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let escape = after.chars().next().ok_or("\\")?;
        rest = &after[escape.len_utf8()..];
        out.push(match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'a' => '\u{7}',
            '\'' | '"' | '?' | '\\' => escape,
            'x' => {
                let end = rest.find(|found: char| !found.is_ascii_hexdigit()).unwrap_or(rest.len());
                let (digits, after) = rest.split_at(end);
                rest = after;
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                code.ok_or_else(|| format!("\\x{}", &digits[..end.min(12)]))?
            }
            _ => return Err(format!("\\{escape}")),
        });
    }
    out.push_str(rest);
    Ok(out)
}
