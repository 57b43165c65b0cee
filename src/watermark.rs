//! How much memory may be in use: `70%` of what there is, `2GB`, `infinity`.

use std::borrow::Cow;
use std::str::FromStr;

use connectors_api::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How much memory may be in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watermark {
    /// Hundredths of the memory that there is, 1 to 100.
    Percent(u8),
    /// So many bytes.
    Bytes(ByteSize),
    /// Any.
    Infinity,
}

impl Watermark {
    /// Turns it into bytes, where there are `total`; nothing for any.
    pub(crate) fn bytes(self, total: u64) -> Option<u64> {
        match self {
            Self::Percent(percent) => Some(total / 100 * u64::from(percent)),
            Self::Bytes(size) => Some(size.get()),
            Self::Infinity => None,
        }
    }
}

impl FromStr for Watermark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected a share such as `70%`, a size such as `2GB`, or `infinity`, got `{text}`");
        if text == "infinity" {
            return Ok(Self::Infinity);
        }
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim().parse().ok().filter(|percent| (1..=100).contains(percent));
                percent.map(Self::Percent).ok_or_else(wrong)
            }
            None => {
                let size = text.parse().ok().filter(|size: &ByteSize| size.get() > 0);
                size.map(Self::Bytes).ok_or_else(wrong)
            }
        }
    }
}

impl std::fmt::Display for Watermark {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(formatter, "{percent}%"),
            Self::Bytes(size) => size.fmt(formatter),
            Self::Infinity => formatter.write_str("infinity"),
        }
    }
}

impl<'de> Deserialize<'de> for Watermark {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        String::deserialize(reader)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Watermark {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.collect_str(self)
    }
}

impl JsonSchema for Watermark {
    fn schema_name() -> Cow<'static, str> {
        "Watermark".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["70%", "2GB", "infinity"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_sizes_are_read() {
        let check = |text: &str, bytes: Option<u64>| {
            let watermark: Watermark = text.parse().unwrap();
            assert_eq!(watermark.bytes(1000), bytes, "{text}");
            assert_eq!(watermark.to_string().parse(), Ok(watermark), "{text}");
        };
        check("70%", Some(700));
        check("100%", Some(1000));
        check("2KB", Some(2048));
        check("infinity", None);
        for text in ["", "0", "0%", "101%", "-1%", "x", "%"] {
            assert!(text.parse::<Watermark>().is_err(), "{text}");
        }
    }
}
