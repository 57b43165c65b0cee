//! Which edition each connector type needs: the one place that knows editions.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a deployment may use. A policy of who runs the server; one binary holds both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Edition {
    /// HTTP/WebHook, MQTT bridge, SQLite, republish, console.
    #[default]
    Community,
    /// Every connector.
    Enterprise,
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Community => "community",
            Self::Enterprise => "enterprise",
        })
    }
}

impl FromStr for Edition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "community" => Ok(Self::Community),
            "enterprise" => Ok(Self::Enterprise),
            _ => Err(format!("expected `community` or `enterprise`, got `{text}`")),
        }
    }
}

/// The connector types that the community edition has. Every other type needs the enterprise edition.
const COMMUNITY: &[&str] = &["http", "mqtt", "sqlite"];

/// The edition that a connector type needs.
pub(crate) fn needed_for(connector: &str) -> Edition {
    if COMMUNITY.contains(&connector) { Edition::Community } else { Edition::Enterprise }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_moves_from_community_to_enterprise() {
        for connector in ["http", "mqtt", "sqlite"] {
            assert_eq!(needed_for(connector), Edition::Community, "{connector}");
        }
        assert_eq!(needed_for("pgsql"), Edition::Enterprise);
    }
}
