//! Values that are never shown.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A secret text of a configuration: a plain text, or `file://<path>` to be read at each connect.
///
/// Prints as `***` and cannot be serialised.
#[derive(Clone, Default, PartialEq, Eq, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret, read from its file if it names one; white space at the end of the file is cut.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn reveal(&self) -> std::io::Result<String> {
        match self.0.strip_prefix("file://") {
            Some(path) => Ok(std::fs::read_to_string(path)?.trim_end().to_owned()),
            None => Ok(self.0.clone()),
        }
    }

    /// Tells whether there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads a text. Of anything else the message says no more: a password of digits, written without quotes, is a number.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        match reader.deserialize_any(TextOrNot)? {
            Some(text) => Ok(Self(text)),
            None => Err(D::Error::custom("expected a text")),
        }
    }
}

/// Takes whatever comes; none unless it is a text.
struct TextOrNot;

impl<'de> Visitor<'de> for TextOrNot {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_of_the_wrong_type_is_not_shown_either() {
        for wrong in
            [json!(271_828), json!(-5), json!(2.75), json!(true), json!(["s3cret"]), json!({"a": "s3cret"})]
        {
            let message = serde_json::from_value::<Secret>(wrong.clone()).unwrap_err().to_string();
            assert_eq!(message, "expected a text", "{wrong}");
        }
        let read: Secret = serde_json::from_value(json!("s3cret")).unwrap();
        assert_eq!(
            (read.reveal().unwrap(), format!("{read} {read:?}")),
            ("s3cret".to_owned(), "*** ***".to_owned())
        );
    }
}
