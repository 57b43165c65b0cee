//! Regular expressions (reference, section 14.5).
//!
//! The engine takes time in proportion to the text. It has no look-around and no back-references inside a pattern;
//! a pattern with them is refused. A pattern works on bytes, `.` is one byte; one that cannot (it has a class with
//! characters beyond ASCII) works on characters.

use std::sync::Arc;

use engine_event::Value;
use regex::bytes::{Captures, Regex};

use crate::EvalError;
use crate::evaluate::TEXT_BYTES_MAX;

use super::definition::TEXT_TOO_LONG;
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[REGEX_MATCH, REGEX_REPLACE, REGEX_EXTRACT];

const REGEX_MATCH: FunctionDef = FunctionDef {
    name: "regex_match",
    args: &[Arg::text("text"), Arg::text("pattern")],
    returns: Type::Bool,
    summary: "Tells whether the pattern matches anywhere in the text. Fails on a bad pattern and on anything but \
              texts.",
    examples: &[
        Example::new("regex_match('abc123', '[0-9]+')", "true"),
        Example::new("regex_match('v1', '^[0-9]')", "false"),
        Example::new("regex_match('', '')", "true"),
        Example::fails("regex_match('a', '(')"),
        Example::fails("regex_match('a', '(?=a)')"),
        Example::fails("regex_match(undefined, 'a')"),
    ],
    eval: |args| Ok(Value::Bool(compiled(args)?.is_match(args.text(0)?.as_bytes()))),
};

const REGEX_REPLACE: FunctionDef = FunctionDef {
    name: "regex_replace",
    args: &[Arg::text("text"), Arg::text("pattern"), Arg::text("replacement")],
    returns: Type::Text,
    summary: "The text with every match replaced. In `replacement`, `&` is the match, `\\1`, `\\2`, ... are its groups \
              (empty when they took no part), and a backslash before another character stands for that character. \
              Fails on a bad pattern and on anything but texts.",
    examples: &[
        Example::new("regex_replace('ab', '(a)(b)', '\\2\\1')", "'ba'"),
        Example::new("regex_replace('2024-01-02', '-', '/')", "'2024/01/02'"),
        Example::new("regex_replace('a1', '[0-9]', '<&>')", "'a<1>'"),
        Example::new("regex_replace('a1', '[0-9]', '\\&')", "'a&'"),
        Example::new("regex_replace('abc', 'x', 'y')", "'abc'"),
        Example::fails("regex_replace('a', '[', 'b')"),
        Example::fails("regex_replace(undefined, 'a', 'b')"),
    ],
    eval: replace,
};

const REGEX_EXTRACT: FunctionDef = FunctionDef {
    name: "regex_extract",
    args: &[Arg::text("text"), Arg::text("pattern")],
    returns: Type::Array,
    summary: "The groups of the first match; empty texts for groups that took no part, but those at the end are left \
              out. Gives an empty array when nothing matches or the pattern has no groups. Fails on a bad pattern and \
              on anything but texts.",
    examples: &[
        Example::new("regex_extract('k=12', '(\\d+)')", "['12']"),
        Example::new("regex_extract('k=12', '(x)?(=)(y)?')", "['', '=']"),
        Example::new("regex_extract('k=12', '[0-9]')", "[]"),
        Example::new("regex_extract('abc', '([0-9])')", "[]"),
        Example::fails("regex_extract('a', '*')"),
        Example::fails("regex_extract(undefined, 'a')"),
    ],
    eval: |args| {
        let mut groups = Vec::new();
        if let Some(found) = compiled(args)?.captures(args.text(0)?.as_bytes()) {
            let last = (1..found.len()).rev().find(|group| found.get(*group).is_some()).unwrap_or(0);
            groups.extend((1..=last).map(|group| match found.get(group) {
                Some(group) => args.part(0, group.as_bytes()),
                None => Value::text(""),
            }));
        }
        Ok(Value::array(groups))
    },
};

fn compiled(args: &Args<'_>) -> Result<Arc<Regex>, EvalError> {
    let compiled = args.context().compiled().regex(args.str(1)?);
    compiled.map_err(|reason| args.fail(format!("bad regular expression: {reason}")))
}

fn replace(args: &Args<'_>) -> Result<Value, EvalError> {
    let (text, regex) = (args.text(0)?.as_bytes(), compiled(args)?);
    let replacement = parse_replacement(args.text(2)?.as_bytes());
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.extend_from_slice(&text[copied..whole.start()]);
        write_replacement(&replacement, &found, &mut out);
        copied = whole.end();
        if out.len() > TEXT_BYTES_MAX {
            return Err(args.fail(TEXT_TOO_LONG));
        }
    }
    if copied == 0 && out.is_empty() {
        return Ok(args.part(0, text));
    }
    out.extend_from_slice(&text[copied..]);
    Ok(Value::Text(out.into()))
}

/// A part of a replacement.
enum Piece {
    Byte(u8),
    Group(usize),
}

fn parse_replacement(text: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        pieces.push(match (byte, text.get(at)) {
            (b'&', _) => Piece::Group(0),
            (b'\\', Some(b'1'..=b'9')) => {
                let mut group = 0_usize;
                while let Some(digit @ b'0'..=b'9') = text.get(at) {
                    group = group.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
                    at += 1;
                }
                Piece::Group(group)
            }
            (b'\\', Some(escaped)) => {
                at += 1;
                Piece::Byte(*escaped)
            }
            (byte, _) => Piece::Byte(*byte),
        });
    }
    pieces
}

fn write_replacement(pieces: &[Piece], found: &Captures<'_>, out: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Byte(byte) => out.push(*byte),
            Piece::Group(group) => {
                out.extend_from_slice(found.get(*group).map_or(b"", |group| group.as_bytes()));
            }
        }
    }
}
