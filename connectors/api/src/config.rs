//! Configuration of connectors and actions: raw in, checked out, all problems at once.

use std::fmt;

use serde::de::DeserializeOwned;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Dotted path of the field, `parameters.method`; empty for the whole.
    pub path: String,
    /// What was found and what was expected, with a near miss if there is one.
    pub message: String,
}

impl ConfigProblem {
    /// Makes a problem of a field.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<ConfigProblem>);

impl ConfigError {
    /// Makes an error of one problem.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![ConfigProblem::new(path, message)])
    }

    /// Ok when `problems` is empty.
    ///
    /// # Errors
    /// When it is not.
    pub fn unless_empty(problems: Vec<ConfigProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads a configuration into its struct. The struct denies unknown fields.
///
/// # Errors
/// The field's path, what was found and what was expected.
pub fn parse_config<T: DeserializeOwned>(config: &serde_json::Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(config).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::new(if path == "." { String::new() } else { path }, error.into_inner().to_string())
    })
}
