//! Why the engine refused an operation on its objects.

use connectors_api::ConfigError;

use crate::{ObjectClass, Origin};

/// Why an operation on a connector, an action or a rule was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// An object of that name is there.
    #[error("{class} `{id}` already exists")]
    AlreadyExists {
        /// What it is.
        class: ObjectClass,
        /// Its id.
        id: String,
    },
    /// There is no object of that name.
    #[error("{class} `{id}` not found")]
    NotFound {
        /// What it is.
        class: ObjectClass,
        /// Its id.
        id: String,
    },
    /// Other objects use it.
    #[error("{class} `{id}` is used by {}", by.join(", "))]
    InUse {
        /// What it is.
        class: ObjectClass,
        /// Its id.
        id: String,
        /// Ids of the actions that use the connector, or of the rules that use the action.
        by: Vec<String>,
    },
    /// The configuration is wrong; all its problems.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// The connector type belongs to another edition.
    #[error("type `{kind}` needs the {edition} edition")]
    EditionRequired {
        /// The connector type.
        kind: String,
        /// The edition that has it.
        edition: String,
    },
    /// The object is declared in a file and can be changed only there.
    #[error("{class} `{id}` is declared in {origin} and read-only here")]
    ReadOnly {
        /// What it is.
        class: ObjectClass,
        /// Its id.
        id: String,
        /// The file.
        origin: Origin,
    },
    /// The object is disabled, so it cannot be started.
    #[error("forbidden operation, {class} not enabled")]
    NotEnabled {
        /// What it is.
        class: ObjectClass,
    },
    /// It was tried, and the target is not healthy.
    #[error("{reason}")]
    Unhealthy {
        /// A sentence without secrets.
        reason: String,
    },
    /// The engine is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl EngineError {
    /// Makes an error of one problem with a configuration.
    pub(crate) fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(ConfigError::new(path, message))
    }
}
