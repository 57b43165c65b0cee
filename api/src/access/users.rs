//! Users: logging in, and changing who there is.

use super::accounts::Accounts;
use super::password::{check_strength, random_password};
use crate::store::{Change, Role, UserRecord};
use crate::web::{Answer, ApiError, Code};

/// Name of the user of the first start.
const FIRST_USER: &str = "admin";

/// Longest user name in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Longest description in bytes, of users and keys.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4096;

/// What the first start did about the administrator.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstUser {
    /// There are users already.
    Present,
    /// It was made with the password that was given.
    MadeWithGivenPassword,
    /// It was made with this random password, which is to be shown once.
    MadeWithRandomPassword(String),
}

/// What may be changed of a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserUpdate {
    pub(crate) description: Option<String>,
    pub(crate) role: Option<Role>,
}

impl Accounts {
    /// Makes the user `admin` when there is no user yet, with the password that is given or a random one.
    ///
    /// # Errors
    /// When it cannot be stored, or the given password is empty.
    pub async fn ensure_first_user(&self, password: Option<&str>) -> Answer<FirstUser> {
        if self.read(|records| !records.users.is_empty()) {
            return Ok(FirstUser::Present);
        }
        let (password, result) = match password {
            Some("") => return Err(ApiError::bad_request("the first password is empty")),
            // whoever sets it decides how strong it is: tests and images have their own rules
            Some(password) => (password.to_owned(), FirstUser::MadeWithGivenPassword),
            None => {
                let random = random_password();
                (random.clone(), FirstUser::MadeWithRandomPassword(random))
            }
        };
        let user = UserRecord {
            username: FIRST_USER.to_owned(),
            password_hash: self.hasher.hash(&password).await?,
            description: "made at the first start".to_owned(),
            role: Role::Administrator,
            created_at_ms: self.clock.now_ms(),
        };
        self.change(|_| Ok((vec![Change::PutUser(user)], result))).await
    }

    /// Logs a user in; returns a token and the user's role.
    pub(crate) async fn log_in(&self, username: &str, password: &str) -> Answer<(String, Role)> {
        self.check_password(username, password).await?;
        let user = self.user(username).ok_or_else(auth_failed)?;
        Ok((self.tokens.issue(username, self.clock.now_ms()), user.role))
    }

    /// Ends a token.
    pub(crate) fn log_out(&self, token: &str) {
        self.tokens.revoke(token);
    }

    /// Every user, by name.
    pub(crate) fn users(&self) -> Vec<UserRecord> {
        self.read(|records| records.users.values().cloned().collect())
    }

    /// One user.
    pub(crate) fn user(&self, username: &str) -> Option<UserRecord> {
        self.read(|records| records.users.get(username).cloned())
    }

    /// Makes a user.
    pub(crate) async fn create_user(
        &self,
        username: &str,
        password: &str,
        description: String,
        role: Role,
    ) -> Answer<UserRecord> {
        check_username(username)?;
        check_description(&description)?;
        check_user_role(role)?;
        check_strength(password)?;
        let user = UserRecord {
            username: username.to_owned(),
            password_hash: self.hasher.hash(password).await?,
            description,
            role,
            created_at_ms: self.clock.now_ms(),
        };
        self.change(|records| {
            if records.users.contains_key(&user.username) {
                return Err(ApiError::new(Code::AlreadyExists, format!("user `{}` exists", user.username)));
            }
            Ok((vec![Change::PutUser(user.clone())], user))
        })
        .await
    }

    /// Changes description and role of a user.
    pub(crate) async fn update_user(&self, username: &str, update: UserUpdate) -> Answer<UserRecord> {
        if let Some(description) = &update.description {
            check_description(description)?;
        }
        if let Some(role) = update.role {
            check_user_role(role)?;
        }
        self.change(|records| {
            let mut user = records.users.get(username).cloned().ok_or_else(|| no_user(username))?;
            let role = update.role.unwrap_or(user.role);
            if role != Role::Administrator && records.is_last_administrator(username) {
                return Err(last_administrator(username));
            }
            user.role = role;
            user.description = update.description.unwrap_or(user.description);
            Ok((vec![Change::PutUser(user.clone())], user))
        })
        .await
    }

    /// Removes a user and ends the user's tokens.
    pub(crate) async fn delete_user(&self, username: &str) -> Answer<()> {
        self.change(|records| {
            if !records.users.contains_key(username) {
                return Err(no_user(username));
            }
            if records.is_last_administrator(username) {
                return Err(last_administrator(username));
            }
            Ok((vec![Change::DeleteUser { username: username.to_owned() }], ()))
        })
        .await?;
        self.tokens.revoke_user(username);
        Ok(())
    }

    /// Sets a new password and ends the user's tokens. The old one is asked for unless the caller need not know it.
    pub(crate) async fn change_password(&self, username: &str, old: Option<&str>, new: &str) -> Answer<()> {
        if self.user(username).is_none() {
            return Err(no_user(username));
        }
        check_strength(new)?;
        if let Some(old) = old {
            self.check_password(username, old).await.map_err(|error| match error.code() {
                Code::BadUsernameOrPassword => ApiError::bad_request("old_pwd: the password is wrong"),
                _ => error,
            })?;
        }
        let password_hash = self.hasher.hash(new).await?;
        self.change(|records| {
            let mut user = records.users.get(username).cloned().ok_or_else(|| no_user(username))?;
            user.password_hash = password_hash;
            Ok((vec![Change::PutUser(user)], ()))
        })
        .await?;
        self.tokens.revoke_user(username);
        Ok(())
    }

    async fn check_password(&self, username: &str, password: &str) -> Answer<()> {
        let now_ms = self.clock.now_ms();
        if let Some(left_ms) = self.lockout.locked_for_ms(username, now_ms) {
            let seconds = u64::try_from(left_ms).unwrap_or(0).div_ceil(1000);
            return Err(ApiError::new(Code::LoginLocked, "too many failed logins, try again later")
                .retry_after_s(seconds));
        }
        let hash = self.user(username).map(|user| user.password_hash);
        if !self.hasher.verify(password, hash.as_deref()).await? {
            // names longer than any user's need not be remembered
            if username.len() <= NAME_BYTES_MAX {
                self.lockout.failed(username, now_ms);
            }
            return Err(auth_failed());
        }
        self.lockout.succeeded(username);
        Ok(())
    }
}

fn auth_failed() -> ApiError {
    ApiError::new(Code::BadUsernameOrPassword, "Auth failed")
}

fn no_user(username: &str) -> ApiError {
    ApiError::new(Code::UserNotFound, format!("user `{username}` not found"))
}

fn last_administrator(username: &str) -> ApiError {
    ApiError::bad_request(format!("`{username}` is the last administrator"))
}

fn check_username(username: &str) -> Answer<()> {
    let sound = (1..=NAME_BYTES_MAX).contains(&username.len())
        && username.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte));
    if sound {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "username: expected 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-`, `.` or `@`, got `{}`",
        username.chars().take(64).collect::<String>()
    )))
}

pub(super) fn check_description(description: &str) -> Answer<()> {
    if description.len() <= DESCRIPTION_BYTES_MAX {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "description: expected at most {DESCRIPTION_BYTES_MAX} bytes, got {}",
        description.len()
    )))
}

fn check_user_role(role: Role) -> Answer<()> {
    if role == Role::Publisher {
        return Err(ApiError::bad_request(
            "role: expected administrator or viewer, got publisher, which is for API keys",
        ));
    }
    Ok(())
}
