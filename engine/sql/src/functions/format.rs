//! Formatted texts, with the directives of Erlang's `io:format` (reference, section 14.5).
//!
//! A directive is `~F.P.PadMC`: width F (negative: fill on the right), precision P, fill character Pad, modifier M
//! (`t` or `l`, which change nothing here) and a letter C. `*` takes F or P from the arguments.

use engine_event::{Text, Value, decimal_text};
use num_bigint::BigInt;

use crate::EvalError;

use super::convert::text_form;
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[SPRINTF, SPRINTF_S];

/// Width and precision of a directive.
const WIDTH_MAX: i64 = 1 << 16;

const SPRINTF: FunctionDef = FunctionDef {
    name: "sprintf",
    args: &[Arg::text("format"), Arg::any("value").variadic()],
    returns: Type::Text,
    summary: "The format with its directives replaced by the values: `~s` text, `~b` integer (precision: base, `~B` \
              with large letters), `~f` `~e` `~g` number, `~c` character, `~p` `~w` any value as an Erlang term, `~i` \
              none, `~~` a tilde, `~n` a new line. `~3..0b` fills up to 3 characters with `0`, `~.2f` prints 2 \
              decimals. A number wider than its width prints as `*`. Fails on other directives, on the wrong number \
              of values, and on values of the wrong type.",
    examples: &[
        Example::new("sprintf('~s-~b', 'a', 7)", "'a-7'"),
        Example::new("sprintf('~.2f', 3.14159)", "'3.14'"),
        Example::new("sprintf('~.1f', 0.25)", "'0.3'"),
        Example::new("sprintf('~3..0b', 7)", "'007'"),
        Example::new("sprintf('~3..0b', 12345)", "'***'"),
        Example::new("sprintf('~.16B|~.2b', 255, 5)", "'FF|101'"),
        Example::new("sprintf('~5s|~-5s|~2s', 'abc', 'abc', 'abc')", "'  abc|abc  |ab'"),
        Example::new("sprintf('~p ~p', 'a', [1, true])", "'<<\"a\">> [1,true]'"),
        Example::new("sprintf('~w', undefined)", "'undefined'"),
        Example::new("sprintf('100~~')", "'100~'"),
        Example::fails("sprintf('~s', 1)"),
        Example::fails("sprintf('~b', 'a')"),
        Example::fails("sprintf('~b')"),
        Example::fails("sprintf('~b', 1, 2)"),
        Example::fails("sprintf('~q', 1)"),
        Example::fails("sprintf(undefined)"),
    ],
    eval: |args| format(args, args.text(0)?, &args.values()[1..]),
};

const SPRINTF_S: FunctionDef = FunctionDef {
    name: "sprintf_s",
    args: &[Arg::text("format"), Arg::array("values")],
    returns: Type::Text,
    summary: "As `sprintf`, with the values in an array.",
    examples: &[
        Example::new("sprintf_s('~s-~b', ['a', 7])", "'a-7'"),
        Example::new("sprintf_s('a', [])", "'a'"),
        Example::fails("sprintf_s('~b', [])"),
        Example::fails("sprintf_s('~b', 1)"),
        Example::fails("sprintf_s('~b', undefined)"),
    ],
    eval: |args| format(args, args.text(0)?, args.array(1)?),
};

/// A directive, read.
struct Directive {
    width: Option<i64>,
    precision: Option<i64>,
    fill: u8,
    letter: u8,
}

/// Reads a format and takes the values one after the other.
struct Formatter<'a> {
    args: &'a Args<'a>,
    rest: &'a [u8],
    values: &'a [Value],
    taken: usize,
    out: Vec<u8>,
}

fn format(args: &Args<'_>, format: &Text, values: &[Value]) -> Result<Value, EvalError> {
    let mut formatter =
        Formatter { args, rest: format.as_bytes(), values, taken: 0, out: Vec::with_capacity(32) };
    while let Some(at) = memchr::memchr(b'~', formatter.rest) {
        let (plain, after) = formatter.rest.split_at(at);
        formatter.out.extend_from_slice(plain);
        formatter.rest = &after[1..];
        let directive = formatter.read_directive()?;
        formatter.write_directive(&directive)?;
    }
    if formatter.taken < values.len() {
        let (taken, given) = (formatter.taken, values.len());
        return Err(args.fail(format!("the format takes {taken} values, found {given}")));
    }
    formatter.out.extend_from_slice(formatter.rest);
    Ok(Value::Text(formatter.out.into()))
}

impl<'a> Formatter<'a> {
    fn read_directive(&mut self) -> Result<Directive, EvalError> {
        let width = self.read_number()?;
        let precision = if self.skip(b'.') { self.read_number()? } else { None };
        let mut fill = b' ';
        if self.skip(b'.') {
            fill = self.next()?;
            if fill == b'*' {
                fill = self.next_character()?;
            }
        }
        while self.skip(b't') || self.skip(b'l') {}
        Ok(Directive { width, precision, fill, letter: self.next()? })
    }

    /// Reads a number of the format, or takes one from the values for `*`.
    fn read_number(&mut self) -> Result<Option<i64>, EvalError> {
        let number = if self.skip(b'*') {
            match self.take()? {
                Value::Int(value) => Some(*value),
                other => return Err(self.wrong('*', "an integer", other)),
            }
        } else {
            let signs = usize::from(self.rest.first() == Some(&b'-'));
            let digits = self.rest[signs..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return Ok(None);
            }
            let (number, rest) = self.rest.split_at(signs + digits);
            self.rest = rest;
            std::str::from_utf8(number).ok().and_then(|number| number.parse().ok())
        };
        match number {
            Some(number) if number.abs() <= WIDTH_MAX => Ok(Some(number)),
            _ => Err(self.args.fail("a width or precision is at most 65536")),
        }
    }

    fn write_directive(&mut self, directive: &Directive) -> Result<(), EvalError> {
        match directive.letter {
            b'~' => self.write_repeated(b"~", directive),
            b'n' => self.write_repeated(b"\n", directive),
            b'i' => drop(self.take()?),
            b'c' => {
                let character = self.next_code()?;
                self.write_repeated(character.encode_utf8(&mut [0; 4]).as_bytes(), directive);
            }
            b's' => self.write_text(directive)?,
            b'b' | b'B' => self.write_integer(directive)?,
            b'f' | b'e' | b'g' => self.write_float(directive)?,
            b'p' | b'w' => {
                let mut term = Vec::new();
                write_term(self.take()?, directive.letter == b'p', &mut term);
                // Erlang breaks lines by the width of `~p`; here a width has a meaning for `~w` only
                let width = if directive.letter == b'w' { directive.width } else { None };
                self.write_field(&term, &Directive { width, precision: None, ..*directive });
            }
            other => {
                return Err(self.args.fail(format!("there is no directive `~{}`", char::from(other))));
            }
        }
        Ok(())
    }

    fn write_repeated(&mut self, text: &[u8], directive: &Directive) {
        let count = directive.width.or(directive.precision).unwrap_or(1).unsigned_abs();
        for _ in 0..count {
            self.out.extend_from_slice(text);
        }
    }

    /// Writes a text: cut to the precision, or else to the width, and filled up to the width.
    fn write_text(&mut self, directive: &Directive) -> Result<(), EvalError> {
        let text = match self.take()? {
            value @ (Value::Text(_) | Value::Bool(_)) => text_form(value),
            other => return Err(self.wrong('s', "a text", other)),
        };
        let text = text.to_str_lossy();
        let limit = directive.precision.or(directive.width.map(i64::abs));
        let shown: String = match limit {
            Some(limit) => text.chars().take(usize::try_from(limit).unwrap_or(0)).collect(),
            None => text.into_owned(),
        };
        // a precision alone is a width with the fill on the right
        let width = directive.width.or(directive.precision.map(|precision| -precision.abs()));
        self.write_filled(&shown, width, directive.fill);
        Ok(())
    }

    fn write_integer(&mut self, directive: &Directive) -> Result<(), EvalError> {
        let value = match self.take()? {
            Value::Int(value) => BigInt::from(*value),
            Value::BigInt(value) => (**value).clone(),
            other => return Err(self.wrong('b', "an integer", other)),
        };
        let base = match directive.precision {
            None => 10,
            Some(base @ 2..=36) => base as u32,
            Some(base) => return Err(self.args.fail(format!("a base is from 2 to 36, found {base}"))),
        };
        let mut digits = value.to_str_radix(base);
        if directive.letter == b'B' {
            digits.make_ascii_uppercase();
        }
        self.write_field(digits.as_bytes(), directive);
        Ok(())
    }

    fn write_float(&mut self, directive: &Directive) -> Result<(), EvalError> {
        let value = match self.take()? {
            Value::Float(value) => *value,
            Value::Int(value) => *value as f64,
            other => return Err(self.wrong(char::from(directive.letter), "a number", other)),
        };
        let precision = directive.precision.unwrap_or(6);
        let (least, most) = if directive.letter == b'f' { (1, 253) } else { (2, 253) };
        if !(least..=most).contains(&precision) {
            return Err(self.args.fail(format!("a precision is from {least} to {most}, found {precision}")));
        }
        let precision = precision as usize;
        let plain = directive.letter == b'f'
            || (directive.letter == b'g' && (value == 0.0 || (0.1..10_000.0).contains(&value.abs())));
        let digits = if plain && directive.letter == b'f' {
            decimal_text(value, precision)
        } else if plain {
            let whole_digits = value.abs().max(1.0).log10().floor() as usize + 1; // at most 4
            decimal_text(value, precision.saturating_sub(whole_digits).max(1))
        } else {
            let text = format!("{value:.decimals$e}", decimals = precision - 1);
            match text.split_once("e-") {
                Some(_) => text,
                None => text.replace('e', "e+"),
            }
        };
        self.write_field(digits.as_bytes(), directive);
        Ok(())
    }

    /// Writes what must not be cut: stars when it is wider than the width.
    fn write_field(&mut self, text: &[u8], directive: &Directive) {
        let text = String::from_utf8_lossy(text);
        let wide = directive.width.map(|width| width.unsigned_abs() as usize);
        match wide {
            Some(width) if text.chars().count() > width => self.out.extend(std::iter::repeat_n(b'*', width)),
            _ => self.write_filled(&text, directive.width, directive.fill),
        }
    }

    fn write_filled(&mut self, text: &str, width: Option<i64>, fill: u8) {
        let width = width.unwrap_or(0);
        let missing = (width.unsigned_abs() as usize).saturating_sub(text.chars().count());
        let filler = char::from(fill).to_string().repeat(missing);
        let (before, after) = if width < 0 { ("", filler.as_str()) } else { (filler.as_str(), "") };
        for part in [before, text, after] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    fn take(&mut self) -> Result<&'a Value, EvalError> {
        let value = self.values.get(self.taken);
        self.taken += 1;
        let given = self.values.len();
        value.ok_or_else(|| self.args.fail(format!("the format takes more values than the {given} given")))
    }

    fn next_code(&mut self) -> Result<char, EvalError> {
        let code = match self.take()? {
            Value::Int(code) => *code,
            other => return Err(self.wrong('c', "the code of a character", other)),
        };
        u32::try_from(code)
            .ok()
            .and_then(char::from_u32)
            .ok_or_else(|| self.args.fail(format!("there is no character with the code {code}")))
    }

    /// Takes a fill character from the values.
    fn next_character(&mut self) -> Result<u8, EvalError> {
        let character = self.next_code()?;
        u8::try_from(character).map_err(|_| self.args.fail("a fill character has a code below 256"))
    }

    fn next(&mut self) -> Result<u8, EvalError> {
        let Some((byte, rest)) = self.rest.split_first() else {
            return Err(self.args.fail("the format ends inside a directive"));
        };
        self.rest = rest;
        Ok(*byte)
    }

    fn skip(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn wrong(&self, letter: char, expected: &str, found: &Value) -> EvalError {
        let place = self.taken;
        self.args
            .fail(format!("value {place} (`~{letter}`): expected {expected}, found {}", found.type_name()))
    }
}

/// Writes a value as an Erlang term; texts as `<<"...">>` where `readable`, else as bytes.
fn write_term(value: &Value, readable: bool, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => write_binary(text, readable, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_term(item, readable, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.extend_from_slice(b"#{");
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_binary(key, readable, out);
                out.extend_from_slice(b" => ");
                write_term(value, readable, out);
            }
            out.push(b'}');
        }
        Value::Float(value) => out.extend_from_slice(format!("{value:?}").as_bytes()),
        other => out.extend_from_slice(text_form(other).as_bytes()),
    }
}

fn write_binary(text: &Text, readable: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<<");
    match text.as_str() {
        Some(text) if readable && !text.chars().any(char::is_control) => {
            out.push(b'"');
            out.extend_from_slice(text.replace('\\', "\\\\").replace('"', "\\\"").as_bytes());
            out.push(b'"');
            if !text.is_ascii() {
                out.extend_from_slice(b"/utf8");
            }
        }
        _ => {
            let bytes: Vec<String> = text.as_bytes().iter().map(u8::to_string).collect();
            out.extend_from_slice(bytes.join(",").as_bytes());
        }
    }
    out.extend_from_slice(b">>");
}
