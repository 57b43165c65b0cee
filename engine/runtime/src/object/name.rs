//! Classes, ids and origins of the objects that people configure.

use std::fmt;
use std::path::PathBuf;

use connectors_api::ConfigProblem;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectClass {
    /// Credentials, addresses and a pool to one external system.
    Connector,
    /// What to do with rows on a connector.
    Action,
    /// SQL over events, and actions.
    Rule,
}

impl fmt::Display for ObjectClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connector => "connector",
            Self::Action => "action",
            Self::Rule => "rule",
        })
    }
}

/// Where an object was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Through the API, kept in the server's store.
    Api,
    /// In a file; read-only for the API.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api => f.write_str("the API"),
            Self::File(path) => write!(f, "file `{}`", path.display()),
        }
    }
}

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 254;

/// Checks the name of a connector or an action.
pub(crate) fn check_name(name: &str, problems: &mut Vec<ConfigProblem>) {
    let mut bytes = name.bytes();
    let sound = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && name.len() <= NAME_BYTES_MAX;
    if !sound {
        problems.push(ConfigProblem::new(
            "name",
            format!(
                "expected 1 to {NAME_BYTES_MAX} letters, digits, `_` or `-`, beginning with a letter or digit, got `{}`",
                name.chars().take(64).collect::<String>()
            ),
        ));
    }
}

/// The id `type:name` of a connector or an action.
pub(crate) fn object_id(kind: &str, name: &str) -> String {
    format!("{kind}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_syntax() {
        for (name, good) in [
            ("a", true),
            ("0-_x", true),
            ("", false),
            ("-a", false),
            ("_a", false),
            ("a b", false),
            ("ä", false),
            ("a:b", false),
            (&*"x".repeat(254), true),
            (&*"x".repeat(255), false),
        ] {
            let mut problems = Vec::new();
            check_name(name, &mut problems);
            assert_eq!(problems.is_empty(), good, "{name}");
        }
    }
}
