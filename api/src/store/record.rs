//! The records of the store.

use broker_core::{Ban, BanSubject};
use engine_runtime::{ObjectClass, StoredObject};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Look at everything, change nothing but the own password.
    Viewer,
    /// Publish messages, nothing else. For API keys only.
    Publisher,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Administrator, Self::Viewer, Self::Publisher];

    /// The word of the interface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
        }
    }

    /// Finds a role by its word.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A user of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Name; identifies the user.
    pub username: String,
    /// Argon2 hash of the password, in the PHC text form.
    pub password_hash: String,
    /// Free text.
    pub description: String,
    /// Administrator or viewer.
    pub role: Role,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// A key for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Name; identifies the key to people.
    pub name: String,
    /// The user part of Basic authentication; unique.
    pub api_key: String,
    /// Argon2 hash of the secret, in the PHC text form.
    pub secret_hash: String,
    /// Free text.
    pub description: String,
    /// What it may do.
    pub role: Role,
    /// Whether it works.
    pub enable: bool,
    /// Unix milliseconds; none for never.
    pub expires_at_ms: Option<i64>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// A topic or filter whose messages are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetricsRecord {
    /// The topic or filter; identifies it.
    pub filter: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// Everything in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Users.
    pub users: Vec<UserRecord>,
    /// API keys.
    pub api_keys: Vec<ApiKeyRecord>,
    /// Connectors, actions and rules.
    pub objects: Vec<StoredObject>,
    /// The ban list, with entries whose end has come.
    pub bans: Vec<Ban>,
    /// Topics that are counted.
    pub topic_metrics: Vec<TopicMetricsRecord>,
    /// Settings that were changed through the interface, by name.
    pub settings: Vec<(String, Json)>,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Adds a user or replaces the one of that name.
    PutUser(UserRecord),
    /// Removes a user; nothing happens when there is none.
    DeleteUser {
        /// Name of the user.
        username: String,
    },
    /// Adds an API key or replaces the one of that name.
    PutApiKey(ApiKeyRecord),
    /// Removes an API key; nothing happens when there is none.
    DeleteApiKey {
        /// Name of the key.
        name: String,
    },
    /// Adds an object or replaces the one of that class and id.
    PutObject(StoredObject),
    /// Removes an object; nothing happens when there is none.
    DeleteObject {
        /// What it is.
        class: ObjectClass,
        /// Its id.
        id: String,
    },
    /// Adds an entry to the ban list or replaces the one for its subject.
    PutBan(Ban),
    /// Takes an entry out of the ban list; nothing happens when there is none.
    DeleteBan(BanSubject),
    /// Adds a topic that is counted or replaces it.
    PutTopicMetrics(TopicMetricsRecord),
    /// Takes a topic out of those that are counted; nothing happens when there is none.
    DeleteTopicMetrics {
        /// The topic or filter.
        filter: String,
    },
    /// Keeps settings, in place of those of that name.
    PutSetting {
        /// What they are for.
        name: String,
        /// The settings.
        value: Json,
    },
}
