//! The text form of a value: what `str`, `concat`, `+` and templates print.

use std::fmt::Write as _;

use crate::Value;
use crate::json::{JsonOptions, encode_json_into};

/// Appends the text form of `value` to `out` (rule language, section 4).
///
/// Undefined prints `undefined`; maps and arrays print as JSON.
pub fn write_text_form(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Undefined => out.extend_from_slice(b"undefined"),
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Value::BigInt(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Float(value) => out.extend_from_slice(float_text(*value).as_bytes()),
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Array(_) | Value::Map(_) => encode_json_into(value, JsonOptions::default(), out),
    }
}

/// Prints a float with at most 10 digits after the point, without trailing zeros, with at least one digit.
pub fn float_text(value: f64) -> String {
    let mut text = String::with_capacity(24);
    write!(text, "{value:.10}").expect("writing to a string does not fail");
    let kept = text.trim_end_matches('0').len();
    text.truncate(kept);
    if text.ends_with('.') {
        text.push('0');
    }
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_the_reference_says() {
        for (value, want) in [
            (1.0, "1.0"),
            (2.5, "2.5"),
            (1.0 / 3.0, "0.3333333333"),
            (0.1 + 0.2, "0.3"),
            (1e-11, "0.0"),
            (1e20, "100000000000000000000.0"),
            (-1.5, "-1.5"),
        ] {
            assert_eq!(float_text(value), want);
        }
    }
}
