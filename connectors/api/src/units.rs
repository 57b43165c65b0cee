//! Durations and sizes as people write them: `15s`, `1h30m`, `256MB`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("expected a duration such as `500ms`, `15s` or `1h30m`, got `{0}`")]
    Period(String),
    /// Not a size.
    #[error("expected a size such as `512KB` or `256MB`, got `{0}`")]
    Size(String),
}

/// A duration: a number of milliseconds, or a text such as `500ms`, `15s`, `1h30m`; `infinity` has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// The period without an end.
    pub const INFINITY: Self = Self(Duration::MAX);

    /// A number of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A number of seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The duration.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Tells whether the period has no end.
    pub fn is_infinite(self) -> bool {
        self == Self::INFINITY
    }
}

impl std::str::FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "infinity" {
            return Ok(Self::INFINITY);
        }
        let fail = || UnitError::Period(text.to_owned());
        let mut rest = text;
        let mut total_ms: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| fail())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let factor: u64 = match &rest[..letters] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(fail()),
            };
            rest = &rest[letters..];
            total_ms = number.checked_mul(factor).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(fail)?;
        }
        if text.is_empty() { Err(fail()) } else { Ok(Self::millis(total_ms)) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_infinite() {
            return f.write_str("infinity");
        }
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0ms"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1000) => write!(f, "{}s", millis / 1000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

/// A number of bytes: a number, or a text such as `512KB`, `256MB`, `1GB` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A number of bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A number of mebibytes.
    pub const fn mebibytes(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

const SIZE_UNITS: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

impl std::str::FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fail = || UnitError::Size(text.to_owned());
        let upper = text.to_ascii_uppercase();
        let (digits, factor) = SIZE_UNITS
            .iter()
            .find_map(|(unit, factor)| Some((upper.strip_suffix(unit)?, *factor)))
            .unwrap_or((&upper, 1));
        let number: u64 = digits.trim_end().parse().map_err(|_| fail())?;
        number.checked_mul(factor).map(Self).ok_or_else(fail)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

macro_rules! unit_serde {
    ($type:ident, $from_number:path, $expecting:literal, $description:literal, $example:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                struct Read;
                impl Visitor<'_> for Read {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_u64<E>(self, number: u64) -> Result<$type, E> {
                        Ok($from_number(number))
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                        u64::try_from(number).map($from_number).map_err(|_| {
                            E::invalid_value(serde::de::Unexpected::Signed(number), &self)
                        })
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                reader.deserialize_any(Read).map_err(D::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
                writer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $description,
                    "anyOf": [{"type": "string", "examples": [$example]}, {"type": "integer", "minimum": 0}]
                })
            }
        }
    };
}

unit_serde!(Period, Period::millis, "a duration such as `15s`, or milliseconds", "A duration.", "15s");
unit_serde!(ByteSize, ByteSize::bytes, "a size such as `256MB`, or bytes", "A size in bytes.", "256MB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, millis, printed) in
            [("500ms", 500, "500ms"), ("15s", 15_000, "15s"), ("1h30m", 5_400_000, "90m"), ("0ms", 0, "0ms")]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!(period, Period::millis(millis));
            assert_eq!(period.to_string(), printed);
        }
        for text in ["", "s", "5", "5 s", "-1s", "5x", "99999999999999999999s", "9999999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in
            [("256MB", 256 << 20, "256MB"), ("1kb", 1024, "1KB"), ("10", 10, "10B"), ("1GB", 1 << 30, "1GB")]
        {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize::bytes(bytes));
            assert_eq!(size.to_string(), printed);
        }
        for text in ["", "MB", "-1", "1XB", "99999999999GB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
