//! JSON text to value and back.

use std::fmt;
use std::str::FromStr as _;

use num_bigint::BigInt;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{Declined, JsonScan, Map, Text, Value};

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not JSON: {0}")]
pub struct JsonError(String);

/// What an undefined value becomes inside JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UndefinedAs {
    /// The key is left out of a map; elsewhere it is the text `"undefined"`, as EMQX prints it.
    #[default]
    Omitted,
    /// `null`.
    Null,
    /// The text `"undefined"`, as EMQX prints it.
    Text,
}

/// How to write JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonOptions {
    /// What an undefined value becomes.
    pub undefined: UndefinedAs,
}

/// Reads one JSON value of any type, with white space around it and nothing else.
///
/// Integers keep all their digits; a number with a point or an exponent is a float. Of two equal keys the last wins.
///
/// # Errors
/// When the text is empty, is not UTF-8, is not JSON, or nests deeper than 128 levels.
pub fn decode_json(text: &[u8]) -> Result<Value, JsonError> {
    match scan(text) {
        Ok(value) => Ok(value),
        Err(Declined) => decode_slowly(text),
    }
}

fn scan(text: &[u8]) -> Result<Value, Declined> {
    let mut scan = JsonScan::new(text).ok_or(Declined)?;
    let value = scan.value()?;
    scan.end()?;
    Ok(value)
}

/// Decides about what a scan declines.
fn decode_slowly(text: &[u8]) -> Result<Value, JsonError> {
    let mut exact = true;
    let value = decode_seeded(text, DecodeValue { exact: &mut exact })?;
    if exact { Ok(value) } else { decode_exact(text) }
}

fn decode_seeded<'de, S: DeserializeSeed<'de>>(text: &'de [u8], seed: S) -> Result<S::Value, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut reader).map_err(to_error)?;
    reader.end().map_err(to_error)?;
    Ok(value)
}

fn to_error(error: serde_json::Error) -> JsonError {
    JsonError(error.to_string())
}

/// Builds values in one pass, inside a reader of `serde_json`.
///
/// Integers beyond 64 bits reach a visitor as doubles; then the flag is cleared and the text is read again, with all
/// digits.
struct DecodeValue<'a> {
    exact: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for DecodeValue<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DecodeValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // an integer that did not fit, or `-0`
        if value.abs() >= 9.0e18 || (value == 0.0 && value.is_sign_negative()) {
            *self.exact = false;
        }
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(DecodeValue { exact: self.exact })? {
            array.push(item);
        }
        Ok(Value::array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(DecodeKey)? {
            map.insert(key, entries.next_value_seed(DecodeValue { exact: self.exact })?);
        }
        Ok(Value::Map(map))
    }
}

struct DecodeKey;

impl<'de> DeserializeSeed<'de> for DecodeKey {
    type Value = Text;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Text, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for DecodeKey {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<Text, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Text, E> {
        Ok(value.into())
    }
}

/// Reads level by level over the raw text, so that each number is seen as it was written.
fn decode_exact(text: &[u8]) -> Result<Value, JsonError> {
    let text = simdutf8::basic::from_utf8(text).map_err(|error| JsonError(error.to_string()))?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    match text.as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(to_error)?;
            let items: Result<_, _> = items.iter().map(|item| decode_exact(item.get().as_bytes())).collect();
            Ok(Value::array(items?))
        }
        Some(b'{') => {
            let entries: indexmap::IndexMap<String, &RawValue> =
                serde_json::from_str(text).map_err(to_error)?;
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries {
                map.insert(key, decode_exact(value.get().as_bytes())?);
            }
            Ok(Value::Map(map))
        }
        Some(b'-' | b'0'..=b'9') if !text.contains(['.', 'e', 'E']) => {
            let value = BigInt::from_str(text).map_err(|error| JsonError(error.to_string()))?;
            Ok(Value::from_bigint(value))
        }
        _ => decode_seeded(text.as_bytes(), DecodeValue { exact: &mut true }),
    }
}

/// Writes `value` as compact JSON: keys in their order, floats with a point and the fewest digits that read back
/// to the same value, bytes that are not UTF-8 replaced by U+FFFD.
pub fn encode_json(value: &Value, options: JsonOptions) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode_json_into(value, options, &mut out);
    out
}

/// As [`encode_json`], appended to `out`.
pub fn encode_json_into(value: &Value, options: JsonOptions, out: &mut Vec<u8>) {
    match value {
        Value::Undefined if options.undefined != UndefinedAs::Null => out.extend_from_slice(b"\"undefined\""),
        Value::Undefined | Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Value::BigInt(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Float(value) => write_float(*value, out),
        Value::Text(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                encode_json_into(item, options, out);
            }
            out.push(b']');
        }
        Value::Map(map) => write_map(map, options, out),
    }
}

fn write_map(map: &Map, options: JsonOptions, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in map {
        if value.is_undefined() && options.undefined == UndefinedAs::Omitted {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        write_string(key, out);
        out.push(b':');
        encode_json_into(value, options, out);
    }
    out.push(b'}');
}

fn write_float(value: f64, out: &mut Vec<u8>) {
    let mut buffer = ryu::Buffer::new();
    let digits = buffer.format(value);
    match digits.find('e') {
        // keep the point, so that it reads back as a float everywhere
        Some(at) if !digits[..at].contains('.') => {
            out.extend_from_slice(&digits.as_bytes()[..at]);
            out.extend_from_slice(b".0");
            out.extend_from_slice(&digits.as_bytes()[at..]);
        }
        _ => out.extend_from_slice(digits.as_bytes()),
    }
}

fn write_string(text: &Text, out: &mut Vec<u8>) {
    let text = text.to_str_lossy();
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(&mut *out, text.as_ref()).expect("writing to a vector does not fail");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn round_trip(text: &str, want: &str) {
        let value = decode_json(text.as_bytes()).expect(text);
        assert_eq!(String::from_utf8(encode_json(&value, JsonOptions::default())).unwrap(), want);
    }

    #[test]
    fn numbers_keep_their_kind_and_their_digits() {
        round_trip("1", "1");
        round_trip("1.0", "1.0");
        round_trip("1e3", "1000.0");
        round_trip("1e20", "1.0e20");
        round_trip("-0", "0");
        round_trip("-0.0", "-0.0");
        round_trip("9223372036854775808", "9223372036854775808");
        round_trip(
            r#"{"a":[123456789012345678901234567890,1.5],"b":1e30}"#,
            r#"{"a":[123456789012345678901234567890,1.5],"b":1.0e30}"#,
        );
    }

    #[test]
    fn last_of_two_equal_keys_wins() {
        round_trip(r#" {"a":1,"b":2,"a":3} "#, r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", " ", "{", "'a'", "1 2", "nul", "// c\n1", "[1,]", "{\"a\":1,}", "01", "\u{feff}1"] {
            assert!(decode_json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(decode_json(b"\"\xff\"").is_err());
        assert!(decode_json("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn undefined_follows_the_option() {
        let map: Map = [("a", Value::Undefined), ("b", Value::Null)].into_iter().collect();
        let write = |undefined| {
            String::from_utf8(encode_json(&Value::Map(map.clone()), JsonOptions { undefined })).unwrap()
        };
        assert_eq!(write(UndefinedAs::Omitted), r#"{"b":null}"#);
        assert_eq!(write(UndefinedAs::Null), r#"{"a":null,"b":null}"#);
        assert_eq!(write(UndefinedAs::Text), r#"{"a":"undefined","b":null}"#);
        let array = Value::array(vec![Value::Int(1), Value::Undefined]);
        assert_eq!(encode_json(&array, JsonOptions::default()), br#"[1,"undefined"]"#);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<i128>().prop_map(|value| Value::from_bigint(value.into())),
            any::<f64>().prop_filter_map("finite", |value| value.is_finite().then_some(Value::Float(value))),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::array),
                prop::collection::vec((".*", inner), 0..6)
                    .prop_map(|entries| Value::Map(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn written_json_reads_back_to_the_same_value(value in any_value()) {
            let text = encode_json(&value, JsonOptions::default());
            prop_assert_eq!(decode_json(&text).unwrap(), value);
        }

        #[test]
        fn what_a_scan_reads_the_decoder_reads_the_same_way(
            value in any_value(),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",:\\\\0-9eE.+tfn \\-]{0,3}"), 0..3),
        ) {
            let mut text = encode_json(&value, JsonOptions::default());
            for (at, put) in cuts {
                let at = at.index(text.len());
                text.splice(at..=at, put.bytes());
                if text.is_empty() {
                    break;
                }
            }
            if let Ok(read) = scan(&text) {
                prop_assert_eq!(decode_slowly(&text), Ok(read), "{}", String::from_utf8_lossy(&text));
            }
            if let Some(mut scan) = JsonScan::new(&text)
                && scan.skip().is_ok() && scan.end().is_ok()
            {
                prop_assert!(decode_slowly(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_json(&bytes);
        }
    }
}
