//! Sets of HTTP statuses: `[200, "202-204"]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A set of HTTP statuses, as inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// 200 to 299.
    pub(crate) fn success() -> Self {
        Self(vec![(200, 299)])
    }

    /// The answers that say "later": timeout, too early, too many, and a gateway without its server.
    pub(crate) fn retry() -> Self {
        Self([408, 425, 429, 502, 503, 504].map(|status| (status, status)).to_vec())
    }

    /// Tells whether `status` is in the set.
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// Tells whether a status is in both sets.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|(first, last)| other.0.iter().any(|(a, b)| first <= b && a <= last))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    One(u16),
    Range(String),
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let items = Vec::<Item>::deserialize(reader).map_err(|_| {
            D::Error::custom("expected an array of statuses and ranges such as `[200, \"202-204\"]`")
        })?;
        let ranges = items.into_iter().map(|item| {
            let range = match &item {
                Item::One(status) => Some((*status, *status)),
                Item::Range(text) => parse_range(text),
            };
            range.filter(|(first, last)| *first >= 200 && *last <= 999 && first <= last).ok_or_else(|| {
                let found = match item {
                    Item::One(status) => status.to_string(),
                    Item::Range(text) => text,
                };
                D::Error::custom(format!(
                    "expected a status from 200 to 999 or a range of them, got `{found}`"
                ))
            })
        });
        Ok(Self(ranges.collect::<Result<_, _>>()?))
    }
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

impl JsonSchema for StatusSet {
    fn schema_name() -> Cow<'static, str> {
        "StatusSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "HTTP statuses and ranges of them.",
            "type": "array",
            "items": {"anyOf": [{"type": "integer", "minimum": 200, "maximum": 999}, {"type": "string"}]},
            "examples": [[200, "202-204"]]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_ranges_are_read() {
        let set: StatusSet = serde_json::from_str(r#"[201, "404", "500-502"]"#).unwrap();
        for (status, inside) in
            [(200, false), (201, true), (404, true), (499, false), (501, true), (503, false)]
        {
            assert_eq!(set.contains(status), inside, "{status}");
        }
        for text in ["[100]", r#"["5xx"]"#, r#"["300-200"]"#, "[1000]", "5", r#"["-"]"#, "[true]"] {
            assert!(serde_json::from_str::<StatusSet>(text).is_err(), "{text}");
        }
    }
}
