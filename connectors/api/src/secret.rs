//! Values that are never shown.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A secret text of a configuration: a plain text, or `file://<path>` to be read at each connect.
///
/// Prints as `***` and cannot be serialised.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
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
