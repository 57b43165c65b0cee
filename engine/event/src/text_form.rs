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
    let mut text = decimal_text(value, 10);
    let kept = text.trim_end_matches('0').len();
    text.truncate(kept);
    if text.ends_with('.') {
        text.push('0');
    }
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// Prints a float with exactly `decimals` digits after the point. A float that lies exactly between two such decimals is
/// rounded away from zero, as EMQX does, where Rust would take the even digit.
pub fn decimal_text(value: f64, decimals: usize) -> String {
    let mut text = String::with_capacity(24);
    if !is_tie(value, decimals) {
        write!(text, "{value:.decimals$}").expect("writing to a string does not fail");
        return text;
    }
    // exact: it ends with the 5 that is rounded up
    write!(text, "{value:.digits$}", digits = decimals + 1).expect("writing to a string does not fail");
    text.truncate(text.len() - 1);
    let mut digits = text.trim_end_matches('.').to_owned().into_bytes();
    for at in (0..digits.len()).rev() {
        match digits[at] {
            b'0'..=b'8' => {
                digits[at] += 1;
                return String::from_utf8(digits).expect("digits are ASCII");
            }
            b'9' => digits[at] = b'0',
            _ => {}
        }
    }
    digits.insert(usize::from(digits.first() == Some(&b'-')), b'1');
    String::from_utf8(digits).expect("digits are ASCII")
}

/// Tells whether a float lies exactly between two decimals of that many digits: then it is an odd multiple of
/// `0.5^(decimals + 1)`, and scaling by a power of two is exact.
fn is_tie(value: f64, decimals: usize) -> bool {
    i32::try_from(decimals + 1).is_ok_and(|power| (value * 2.0_f64.powi(power) % 2.0).abs() == 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (value, decimals, want) in [
            (20.25, 1, "20.3"),
            (-20.25, 1, "-20.3"),
            (0.5, 0, "1"),
            (2.5, 0, "3"),
            (-9.5, 0, "-10"),
            (9.96875, 4, "9.9688"),
            (99.75, 1, "99.8"),
            (9.75, 0, "10"),
            (99.96875, 1, "100.0"),
            (1_048_576.0 + 1.0 / 2048.0, 10, "1048576.0004882813"),
            (0.15, 1, "0.1"),
            (20.35, 1, "20.4"),
            (1e300, 1, &format!("{:.1}", 1e300)),
            (0.0, 3, "0.000"),
        ] {
            assert_eq!(decimal_text(value, decimals), want);
        }
    }

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
