//! Times as the interface writes and reads them.

use chrono::DateTime;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

/// Writes Unix milliseconds as RFC 3339 with milliseconds and offset.
pub(crate) fn rfc3339_ms(unix_ms: i64) -> String {
    match DateTime::from_timestamp_millis(unix_ms) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string(),
        // beyond the year 262142: nothing that we make
        None => unix_ms.to_string(),
    }
}

/// Writes Unix milliseconds as RFC 3339 with seconds and offset.
pub(crate) fn rfc3339_s(unix_ms: i64) -> String {
    match DateTime::from_timestamp_millis(unix_ms) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
        None => unix_ms.to_string(),
    }
}

/// A point in time in a query: RFC 3339, or Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeMs(pub(crate) i64);

impl<'de> Deserialize<'de> for TimeMs {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = String::deserialize(reader)?;
        if let Ok(unix_ms) = text.parse() {
            return Ok(Self(unix_ms));
        }
        // a `+` of the offset that was not percent-encoded arrives as a space
        parse_rfc3339(&text.replace(' ', "+"))
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("expected RFC 3339 or Unix milliseconds, got `{text}`")))
    }
}

/// The end of something in a body: RFC 3339, Unix seconds, or `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Never.
    Infinity,
    /// Unix milliseconds.
    Time(i64),
}

impl Until {
    /// Unix milliseconds; none for never.
    pub(crate) fn unix_ms(self) -> Option<i64> {
        match self {
            Self::Infinity => None,
            Self::Time(unix_ms) => Some(unix_ms),
        }
    }
}

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Until;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time as RFC 3339, Unix seconds, or `infinity`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Until, E> {
                match text {
                    "infinity" | "undefined" => Ok(Until::Infinity),
                    _ => parse_rfc3339(text).map(Until::Time).ok_or_else(|| {
                        E::custom(format!("expected a time as RFC 3339, or `infinity`, got `{text}`"))
                    }),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Until, E> {
                let unix_ms = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1000));
                unix_ms.map(Until::Time).ok_or_else(|| E::custom("the time is out of range"))
            }
        }
        reader.deserialize_any(Read)
    }
}

fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339_ms(1_772_357_400_125), "2026-03-01T09:30:00.125+00:00");
        assert_eq!(rfc3339_s(1_772_357_400_125), "2026-03-01T09:30:00+00:00");
        assert_eq!(rfc3339_ms(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn ends_are_read() {
        let check = |json: &str, expect: Option<Until>| {
            assert_eq!(serde_json::from_str::<Until>(json).ok(), expect, "{json}");
        };
        check("\"infinity\"", Some(Until::Infinity));
        check("\"2026-03-01T09:30:00Z\"", Some(Until::Time(1_772_357_400_000)));
        check("\"2026-03-01T10:30:00+01:00\"", Some(Until::Time(1_772_357_400_000)));
        check("1772357400", Some(Until::Time(1_772_357_400_000)));
        check("18446744073709551615", None);
        check("-1", None);
        check("\"tomorrow\"", None);
        check("null", None);
    }
}
