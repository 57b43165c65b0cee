//! API keys: making and changing them, and checking their secrets.

use super::accounts::Accounts;
use super::key_file::{KeyFileError, parse_key_file};
use super::password::random_hex;
use super::users::check_description;
use crate::store::{ApiKeyRecord, Change, Role};
use crate::web::{Answer, ApiError, Code};

/// Longest name of a key in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Longest public part of a key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What may be said of an API key.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiKeyUpdate {
    pub(crate) description: Option<String>,
    pub(crate) role: Option<Role>,
    pub(crate) enable: Option<bool>,
    /// Unix milliseconds; none inside for never.
    pub(crate) expires_at_ms: Option<Option<i64>>,
}

/// Why a file of API keys was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeysError {
    /// The file is wrong.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The keys could not be stored.
    #[error("the keys could not be stored: {0}")]
    Store(String),
}

impl ApiKeyRecord {
    /// Tells whether the key has ended.
    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_some_and(|end_ms| end_ms <= now_ms)
    }
}

impl Accounts {
    /// Takes the keys of a file: lines `key:secret[:role]`. Adds them or replaces those with the same key; they never
    /// expire. Returns how many there are.
    ///
    /// # Errors
    /// When a line is wrong, or the keys cannot be stored; then none is taken.
    pub async fn load_key_file(&self, text: &str) -> Result<usize, LoadKeysError> {
        let lines = parse_key_file(text)?;
        let failed = |error: ApiError| LoadKeysError::Store(error.message().to_owned());
        let mut changes = Vec::with_capacity(lines.len());
        for line in &lines {
            let known = self.key_by_public_part(&line.api_key);
            let same_secret = match &known {
                Some(key) => {
                    self.hasher.verify(&line.secret, Some(&key.secret_hash)).await.map_err(failed)?
                }
                None => false,
            };
            let secret_hash = match &known {
                Some(key) if same_secret => key.secret_hash.clone(),
                _ => self.hasher.hash(&line.secret).await.map_err(failed)?,
            };
            changes.push(Change::PutApiKey(ApiKeyRecord {
                name: known.as_ref().map_or_else(|| format!("file-{}", line.api_key), |key| key.name.clone()),
                api_key: line.api_key.clone(),
                secret_hash,
                description: "from the file of API keys".to_owned(),
                role: line.role,
                enable: true,
                expires_at_ms: None,
                created_at_ms: known.map_or_else(|| self.clock.now_ms(), |key| key.created_at_ms),
            }));
        }
        self.change(|_| Ok((changes, lines.len()))).await.map_err(failed)
    }

    /// Every API key, by name.
    pub(crate) fn api_keys(&self) -> Vec<ApiKeyRecord> {
        self.read(|records| records.keys.values().cloned().collect())
    }

    /// One API key.
    pub(crate) fn api_key(&self, name: &str) -> Answer<ApiKeyRecord> {
        self.read(|records| records.keys.get(name).cloned()).ok_or_else(|| no_key(name))
    }

    /// Makes an API key; returns it with its secret, which nobody can learn later.
    pub(crate) async fn create_api_key(
        &self,
        name: &str,
        update: ApiKeyUpdate,
        secret: Option<String>,
    ) -> Answer<(ApiKeyRecord, String)> {
        check_name(name)?;
        check_update(&update)?;
        let secret = secret.unwrap_or_else(|| random_hex(32));
        let key = ApiKeyRecord {
            name: name.to_owned(),
            api_key: random_hex(8),
            secret_hash: self.hasher.hash(&secret).await?,
            description: update.description.unwrap_or_default(),
            role: update.role.unwrap_or(Role::Administrator),
            enable: update.enable.unwrap_or(true),
            expires_at_ms: update.expires_at_ms.flatten(),
            created_at_ms: self.clock.now_ms(),
        };
        self.change(|records| {
            if records.keys.contains_key(&key.name) {
                return Err(ApiError::new(Code::AlreadyExists, format!("API key `{}` exists", key.name)));
            }
            if records.names_by_key.contains_key(&key.api_key) {
                return Err(ApiError::internal("the random key is taken, try again"));
            }
            Ok((vec![Change::PutApiKey(key.clone())], (key, secret)))
        })
        .await
    }

    /// Changes an API key.
    pub(crate) async fn update_api_key(&self, name: &str, update: ApiKeyUpdate) -> Answer<ApiKeyRecord> {
        check_update(&update)?;
        self.change(|records| {
            let mut key = records.keys.get(name).cloned().ok_or_else(|| no_key(name))?;
            key.description = update.description.unwrap_or(key.description);
            key.role = update.role.unwrap_or(key.role);
            key.enable = update.enable.unwrap_or(key.enable);
            key.expires_at_ms = update.expires_at_ms.unwrap_or(key.expires_at_ms);
            Ok((vec![Change::PutApiKey(key.clone())], key))
        })
        .await
    }

    /// Removes an API key.
    pub(crate) async fn delete_api_key(&self, name: &str) -> Answer<()> {
        self.change(|records| {
            if !records.keys.contains_key(name) {
                return Err(no_key(name));
            }
            Ok((vec![Change::DeleteApiKey { name: name.to_owned() }], ()))
        })
        .await
    }

    /// Checks key and secret of a program.
    pub(super) async fn check_api_key(&self, api_key: &str, secret: &str) -> Answer<ApiKeyRecord> {
        let refused =
            || ApiError::new(Code::BadApiKeyOrSecret, "the API key or its secret is wrong, or it has ended");
        if api_key.len() > KEY_BYTES_MAX {
            return Err(refused());
        }
        let key = self.key_by_public_part(api_key).ok_or_else(refused)?;
        if !self.key_cache.knows(api_key, secret, &key.secret_hash) {
            if !self.hasher.verify(secret, Some(&key.secret_hash)).await? {
                return Err(refused());
            }
            self.key_cache.learn(api_key, secret, &key.secret_hash);
        }
        if !key.enable || key.is_expired(self.clock.now_ms()) {
            return Err(refused());
        }
        Ok(key)
    }

    fn key_by_public_part(&self, api_key: &str) -> Option<ApiKeyRecord> {
        self.read(|records| records.keys.get(records.names_by_key.get(api_key)?).cloned())
    }
}

fn no_key(name: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("API key `{name}` not found"))
}

fn check_name(name: &str) -> Answer<()> {
    let sound = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if sound {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "name: expected 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-` or `.`, got `{}`",
        name.chars().take(64).collect::<String>()
    )))
}

fn check_update(update: &ApiKeyUpdate) -> Answer<()> {
    update.description.as_deref().map_or(Ok(()), check_description)
}
