//! A value of a row in the form that the server's own type reads: all parameters travel as texts.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Timelike as _};
use engine_event::{JsonOptions, Value, encode_json_into, write_text_form};
use schemars::JsonSchema;
use serde::Deserialize;

/// How the type of a parameter wants its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Texts, and every type that has no form of its own here.
    Text,
    /// Whole numbers: a float without a fraction is written as one.
    Integer,
    /// Numbers: floats with all their digits.
    Number,
    /// JSON: a text is taken as JSON already.
    Json,
    /// Bytes, written in hexadecimal.
    Bytes,
    /// A point in time: whole numbers may be read as Unix time.
    Time,
    /// An array: `{…}`.
    Array(Box<Kind>),
}

impl Kind {
    /// The kind of a type, by its name in `pg_type` and that of its elements when it is an array.
    pub(crate) fn of(type_name: &str, element_name: Option<&str>) -> Self {
        if let Some(element) = element_name {
            return Self::Array(Box::new(Self::of(element, None)));
        }
        match type_name {
            "int2" | "int4" | "int8" | "oid" => Self::Integer,
            "float4" | "float8" | "numeric" => Self::Number,
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytes,
            "timestamp" | "timestamptz" | "date" => Self::Time,
            _ => Self::Text,
        }
    }
}

/// What a whole number means where the column holds a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TimeFromInt {
    /// Milliseconds since 1970.
    #[default]
    Ms,
    /// Seconds since 1970.
    S,
    /// Microseconds since 1970.
    Us,
    /// Nothing: the server refuses it.
    None,
}

/// Appends the text of `value`; `false` when it is NULL.
pub(crate) fn write_parameter(value: &Value, kind: &Kind, time: TimeFromInt, out: &mut Vec<u8>) -> bool {
    match (value, kind) {
        (Value::Undefined | Value::Null, _) => return false,
        (Value::Float(number), Kind::Integer) if number.fract() == 0.0 && number.abs() < 9.2e18 => {
            #[allow(clippy::cast_possible_truncation, reason = "whole and smaller than 2^63: see above")]
            let whole = *number as i64;
            write_text_form(&Value::Int(whole), out);
        }
        (Value::Text(text), Kind::Json) => out.extend_from_slice(text.as_bytes()),
        (Value::Float(_), Kind::Integer | Kind::Number) | (_, Kind::Json) => {
            encode_json_into(value, JsonOptions::default(), out);
        }
        (_, Kind::Bytes) => write_bytes(value, out),
        (Value::Int(number), Kind::Time) => write_time(*number, time, out),
        (Value::Array(items), Kind::Array(element)) => write_array(items, element, time, out),
        _ => write_text_form(value, out),
    }
    true
}

fn write_bytes(value: &Value, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut plain = Vec::new();
    write_text_form(value, &mut plain);
    out.reserve(2 + plain.len() * 2);
    out.extend_from_slice(b"\\x");
    for byte in plain {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Writes Unix time as a date and time in UTC. What cannot be written stays a number, which the server refuses.
fn write_time(number: i64, unit: TimeFromInt, out: &mut Vec<u8>) {
    let time = match unit {
        TimeFromInt::Ms => DateTime::from_timestamp_millis(number),
        TimeFromInt::S => DateTime::from_timestamp(number, 0),
        TimeFromInt::Us => DateTime::from_timestamp_micros(number),
        TimeFromInt::None => None,
    };
    let Some(time) = time.filter(|time| (1..=9999).contains(&time.year())) else {
        return write_text_form(&Value::Int(number), out);
    };
    let mut text = String::with_capacity(32);
    write!(
        text,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}+00",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.nanosecond() / 1000
    )
    .expect("writing to a string does not fail");
    out.extend_from_slice(text.as_bytes());
}

fn write_array(items: &[Value], element: &Kind, time: TimeFromInt, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match item {
            // an inner array is one more dimension, unless the elements are JSON
            Value::Array(inner) if *element != Kind::Json => write_array(inner, element, time, out),
            _ => write_element(item, element, time, out),
        }
    }
    out.push(b'}');
}

fn write_element(item: &Value, kind: &Kind, time: TimeFromInt, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    if !write_parameter(item, kind, time, &mut text) {
        out.extend_from_slice(b"NULL");
        return;
    }
    out.push(b'"');
    for byte in text {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use engine_event::{Text, decode_json};

    use super::*;

    fn written(value: &Value, kind: &Kind) -> Option<String> {
        let mut out = Vec::new();
        let there = write_parameter(value, kind, TimeFromInt::Ms, &mut out);
        there.then(|| String::from_utf8(out).expect("text"))
    }

    #[track_caller]
    fn check(json: &str, kind: &Kind, want: &str) {
        let value = decode_json(json.as_bytes()).expect(json);
        assert_eq!(written(&value, kind).as_deref(), Some(want), "{json} as {kind:?}");
    }

    #[test]
    fn values_take_the_form_of_the_type() {
        check("1", &Kind::Integer, "1");
        check("21.0", &Kind::Integer, "21");
        check("21.5", &Kind::Integer, "21.5");
        check("1e300", &Kind::Integer, "1.0e300");
        check("0.1234567890123", &Kind::Number, "0.1234567890123");
        check("1", &Kind::Number, "1");
        check("123456789012345678901234567890", &Kind::Number, "123456789012345678901234567890");
        check("true", &Kind::Text, "true");
        check("\"a'b\"", &Kind::Text, "a'b");
        check("{\"a\":[1]}", &Kind::Text, "{\"a\":[1]}");
        check("{\"a\":[1]}", &Kind::Json, "{\"a\":[1]}");
        check("\"{\\\"a\\\":1}\"", &Kind::Json, "{\"a\":1}");
        check("1.5", &Kind::Json, "1.5");
        check("\"az\"", &Kind::Bytes, "\\x617a");
    }

    #[test]
    fn whole_numbers_become_times() {
        check("1790000000123", &Kind::Time, "2026-09-21 14:13:20.123000+00");
        check("0", &Kind::Time, "1970-01-01 00:00:00.000000+00");
        check("-1", &Kind::Time, "1969-12-31 23:59:59.999000+00");
        check("9223372036854775807", &Kind::Time, "9223372036854775807");
        check("\"2026-01-01T00:00:00Z\"", &Kind::Time, "2026-01-01T00:00:00Z");
    }

    #[test]
    fn arrays_become_arrays() {
        let of = |element: Kind| Kind::Array(Box::new(element));
        check("[1,null,2]", &of(Kind::Integer), "{\"1\",NULL,\"2\"}");
        check(
            "[\"a,b\",\"say \\\"x\\\\y\\\"\",\"NULL\"]",
            &of(Kind::Text),
            r#"{"a,b","say \"x\\y\"","NULL"}"#,
        );
        check("[[1,2],[3,4]]", &of(Kind::Integer), "{{\"1\",\"2\"},{\"3\",\"4\"}}");
        check("[[1],{\"a\":1}]", &of(Kind::Json), r#"{"[1]","{\"a\":1}"}"#);
        check("[]", &of(Kind::Text), "{}");
        check("\"{1,2}\"", &of(Kind::Integer), "{1,2}");
        check("[1,\"a\"]", &Kind::Text, "[1,\"a\"]");
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(written(&Value::Undefined, &Kind::Text), None);
        assert_eq!(written(&Value::Null, &Kind::Json), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let value = Value::Text(Text::copy_from(&[0xff, 0x00]));
        assert_eq!(written(&value, &Kind::Bytes).as_deref(), Some("\\xff00"));
    }

    #[test]
    fn kinds_are_found_by_name() {
        assert_eq!(Kind::of("int8", None), Kind::Integer);
        assert_eq!(Kind::of("_jsonb", Some("jsonb")), Kind::Array(Box::new(Kind::Json)));
        assert_eq!(Kind::of("inet", None), Kind::Text);
    }
}
