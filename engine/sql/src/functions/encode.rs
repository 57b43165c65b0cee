//! Encodings: hex, base64, JSON, Erlang terms (reference, sections 14.4 and 14.8).

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use engine_event::{JsonOptions, Value, decode_json, encode_json};

use crate::EvalError;

use super::{Arg, Args, Example, FunctionDef, Type, term};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    BIN2HEXSTR,
    HEXSTR2BIN,
    SQLSERVER_BIN2HEXSTR,
    BASE64_ENCODE,
    BASE64_DECODE,
    JSON_ENCODE,
    JSON_DECODE,
    TERM_ENCODE,
    TERM_DECODE,
];

const BIN2HEXSTR: FunctionDef = FunctionDef {
    name: "bin2hexstr",
    args: &[Arg::text("bytes"), Arg::text("prefix").optional()],
    returns: Type::Text,
    summary: "The bytes in upper-case hex, after `prefix`. Fails on anything but texts.",
    examples: &[
        Example::new("bin2hexstr('AZ')", "'415A'"),
        Example::new("bin2hexstr('Q', '#')", "'#51'"),
        Example::new("bin2hexstr('')", "''"),
        Example::fails("bin2hexstr(1)"),
        Example::fails("bin2hexstr(undefined)"),
    ],
    eval: |args| {
        let mut out = if args.len() > 1 { args.text(1)?.as_bytes().to_vec() } else { Vec::new() };
        write_hex(args.text(0)?.as_bytes(), b"0123456789ABCDEF", &mut out);
        Ok(Value::Text(out.into()))
    },
};

const HEXSTR2BIN: FunctionDef = FunctionDef {
    name: "hexstr2bin",
    args: &[Arg::text("hex"), Arg::text("prefix").optional()],
    returns: Type::Text,
    summary: "The bytes that a text in hex, upper or lower case, says; of an odd number of digits the first stands \
              alone. Fails on other characters, when `prefix` is given and missing, and on anything but texts.",
    examples: &[
        Example::new("hexstr2bin('6869')", "'hi'"),
        Example::new("hexstr2bin('0x6B', '0x')", "'k'"),
        Example::new("bin2hexstr(hexstr2bin('abc'))", "'0ABC'"),
        Example::new("hexstr2bin('')", "''"),
        Example::fails("hexstr2bin('4g')"),
        Example::fails("hexstr2bin('6B', '0x')"),
        Example::fails("hexstr2bin(undefined)"),
    ],
    eval: |args| {
        let mut digits = args.text(0)?.as_bytes();
        if args.len() > 1 {
            let prefix = args.text(1)?;
            digits = digits
                .strip_prefix(prefix.as_bytes())
                .ok_or_else(|| args.wrong(0, format!("a text that starts with '{prefix}'")))?;
        }
        let bytes = read_hex(digits).ok_or_else(|| args.wrong(0, "a text of hex digits"))?;
        Ok(Value::Text(bytes.into()))
    },
};

const SQLSERVER_BIN2HEXSTR: FunctionDef = FunctionDef {
    name: "sqlserver_bin2hexstr",
    args: &[Arg::text("bytes")],
    returns: Type::Text,
    summary: "`0x` and the bytes in upper-case hex: a binary literal of SQL Server. Fails on anything but a text.",
    examples: &[
        Example::new("sqlserver_bin2hexstr('az')", "'0x617A'"),
        Example::new("sqlserver_bin2hexstr('')", "'0x'"),
        Example::fails("sqlserver_bin2hexstr(1)"),
        Example::fails("sqlserver_bin2hexstr(undefined)"),
    ],
    eval: |args| {
        let mut out = b"0x".to_vec();
        write_hex(args.text(0)?.as_bytes(), b"0123456789ABCDEF", &mut out);
        Ok(Value::Text(out.into()))
    },
};

const BASE64_ENCODE: FunctionDef = FunctionDef {
    name: "base64_encode",
    args: &[Arg::text("bytes"), Arg::text("option").optional(), Arg::text("option").optional()],
    returns: Type::Text,
    summary: "The bytes in base64. Options, in any order: `'no_padding'`, `'urlsafe'`; others are ignored. Fails on \
              anything but texts.",
    examples: &[
        Example::new("base64_encode('hi')", "'aGk='"),
        Example::new("base64_encode('ab', 'no_padding')", "'YWI'"),
        Example::new("base64_encode(hexstr2bin('fbff'), 'no_padding', 'urlsafe')", "'-_8'"),
        Example::new("base64_encode('')", "''"),
        Example::fails("base64_encode(1)"),
        Example::fails("base64_encode(undefined)"),
    ],
    eval: |args| Ok(Value::from(base64_engine(args)?.encode(args.text(0)?))),
};

const BASE64_DECODE: FunctionDef = FunctionDef {
    name: "base64_decode",
    args: &[Arg::text("text"), Arg::text("option").optional(), Arg::text("option").optional()],
    returns: Type::Text,
    summary: "The bytes that a text in base64 says; white space in it is skipped. Options, in any order: \
              `'no_padding'` (padding may be missing), `'urlsafe'`; others are ignored. Fails on other characters, \
              on missing padding, and on anything but texts.",
    examples: &[
        Example::new("base64_decode('aGk=')", "'hi'"),
        Example::new("base64_decode('YWI', 'no_padding')", "'ab'"),
        Example::new("base64_decode('aG\nk=')", "'hi'"),
        Example::new("bin2hexstr(base64_decode('-_8', 'urlsafe', 'no_padding'))", "'FBFF'"),
        Example::new("base64_decode('')", "''"),
        Example::fails("base64_decode('YWI')"),
        Example::fails("base64_decode('?')"),
        Example::fails("base64_decode(undefined)"),
    ],
    eval: |args| {
        let text = args.text(0)?.as_bytes();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let decoded = if text.iter().any(is_space) {
            let text: Vec<u8> = text.iter().copied().filter(|byte| !is_space(byte)).collect();
            base64_engine(args)?.decode(text)
        } else {
            base64_engine(args)?.decode(text)
        };
        let bytes = decoded.map_err(|_| args.wrong(0, "a text in base64"))?;
        Ok(Value::Text(bytes.into()))
    },
};

const JSON_ENCODE: FunctionDef = FunctionDef {
    name: "json_encode",
    args: &[Arg::any("value")],
    returns: Type::Text,
    summary: "The value as JSON, without spaces. A key without a value is left out; undefined itself and as an element \
              is the text `undefined`, as in EMQX. Bytes that are not UTF-8 are replaced. Never fails.",
    examples: &[
        Example::new("json_encode([1, 'a'])", "'[1,\"a\"]'"),
        Example::new("json_encode('a')", "'\"a\"'"),
        Example::new("json_encode(1.0)", "'1.0'"),
        Example::new("json_encode(map_put('a', undefined, map_new()))", "'{}'"),
        Example::new("json_encode(undefined)", "'\"undefined\"'"),
    ],
    eval: |args| Ok(Value::Text(encode_json(args.value(0), JsonOptions::default()).into())),
};

const JSON_DECODE: FunctionDef = FunctionDef {
    name: "json_decode",
    args: &[Arg::text("text")],
    returns: Type::Any,
    summary: "The value that a JSON text says. Fails on what is not JSON and on anything but a text.",
    examples: &[
        Example::new("json_decode('[1]')", "[1]"),
        Example::new("json_decode(' \"a\" ')", "'a'"),
        Example::new("json_decode('9223372036854775808')", "9223372036854775808"),
        Example::fails("json_decode('nope')"),
        Example::fails("json_decode('')"),
        Example::fails("json_decode(1)"),
        Example::fails("json_decode(undefined)"),
    ],
    eval: |args| decode_json(args.text(0)?.as_bytes()).map_err(|error| args.fail(error.to_string())),
};

const TERM_ENCODE: FunctionDef = FunctionDef {
    name: "term_encode",
    args: &[Arg::any("value")],
    returns: Type::Text,
    summary: "The value in Erlang's external term format. Fails on a text or array of 4 GiB and more.",
    examples: &[
        Example::new("bin2hexstr(term_encode('a'))", "'836D0000000161'"),
        Example::new("term_decode(term_encode([1, 'a', 2.5]))", "[1, 'a', 2.5]"),
        Example::new("term_decode(term_encode(undefined))", "undefined"),
    ],
    eval: |args| match term::encode(args.value(0)) {
        Some(bytes) => Ok(Value::Text(bytes.into())),
        None => Err(args.fail("the value is too large")),
    },
};

const TERM_DECODE: FunctionDef = FunctionDef {
    name: "term_decode",
    args: &[Arg::text("bytes")],
    returns: Type::Any,
    summary: "The value that bytes in Erlang's external term format say. Fails on terms without a counterpart here \
              (such as tuples and processes) and on anything but a text.",
    examples: &[
        Example::new("term_decode(hexstr2bin('836101'))", "1"),
        Example::new("term_decode(term_encode('a'))", "'a'"),
        Example::fails("term_decode('x')"),
        Example::fails("term_decode('')"),
        Example::fails("term_decode(undefined)"),
    ],
    eval: |args| {
        term::decode(args.text(0)?).ok_or_else(|| args.wrong(0, "a term of text, numbers, lists and maps"))
    },
};

/// Bytes in lower-case hex.
pub(super) fn hex_lower(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    write_hex(bytes, b"0123456789abcdef", &mut out);
    String::from_utf8(out).expect("hex digits are ASCII")
}

fn write_hex(bytes: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(digits[usize::from(byte >> 4)]);
        out.push(digits[usize::from(byte & 15)]);
    }
}

fn read_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (alone, pairs) = digits.split_at(digits.len() % 2);
    let mut out = Vec::with_capacity(digits.len().div_ceil(2));
    for byte in alone {
        out.push(digit(byte)?);
    }
    for pair in pairs.chunks_exact(2) {
        out.push(digit(&pair[0])? << 4 | digit(&pair[1])?);
    }
    Some(out)
}

fn base64_engine(args: &Args<'_>) -> Result<GeneralPurpose, EvalError> {
    let mut alphabet: &Alphabet = &STANDARD;
    let mut padding = true;
    for place in 1..args.len() {
        match args.text(place)?.as_bytes() {
            b"urlsafe" => alphabet = &URL_SAFE,
            b"no_padding" => padding = false,
            _ => {}
        }
    }
    let mode = if padding { DecodePaddingMode::RequireCanonical } else { DecodePaddingMode::Indifferent };
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(padding)
        .with_decode_padding_mode(mode)
        .with_decode_allow_trailing_bits(true);
    Ok(GeneralPurpose::new(alphabet, config))
}
