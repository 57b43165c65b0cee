//! Passwords and secrets: slow hashes, computed off the async threads.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::rand_core::{OsRng, RngCore};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use tokio::sync::Semaphore;

use crate::web::{Answer, ApiError, Code};

/// Hashes that may be computed at once: each takes tens of milliseconds of a core and 19 MiB.
const CONCURRENT_HASHES: usize = 2;

/// How long a request waits for its turn.
const TURN_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Longest password that is hashed, in bytes: a longer one is wrong.
const PASSWORD_BYTES_MAX: usize = 1024;

/// A hash of nobody's password: checking against it takes as long as checking a real one, so the time an answer takes
/// does not tell which users exist.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Computes slow hashes, a few at a time.
#[derive(Debug)]
pub(super) struct SlowHasher {
    turns: Arc<Semaphore>,
}

impl SlowHasher {
    pub(super) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(CONCURRENT_HASHES)) }
    }

    /// Hashes a password with a new salt.
    pub(super) async fn hash(&self, password: &str) -> Answer<String> {
        let password = password.to_owned();
        self.run(move || {
            let salt = SaltString::generate(&mut OsRng);
            Argon2::default()
                .hash_password(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|error| ApiError::internal(format!("the password could not be hashed: {error}")))
        })
        .await?
    }

    /// Tells whether the password is the one that was hashed. Without a hash it takes as long and says no.
    pub(super) async fn verify(&self, password: &str, hash: Option<&str>) -> Answer<bool> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let (password, known, hash) =
            (password.to_owned(), hash.is_some(), hash.unwrap_or(NOBODY).to_owned());
        self.run(move || match PasswordHash::new(&hash) {
            Ok(parsed) => {
                Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && known)
            }
            Err(error) => Err(ApiError::internal(format!("a stored hash cannot be read: {error}"))),
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let turn = tokio::time::timeout(TURN_TIME_LIMIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(ApiError::new(Code::ServiceUnavailable, "too many logins at once").retry_after_s(5));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn); // held until the work is done, also when nobody waits for it any more
            result
        });
        done.await.map_err(|_| ApiError::internal("hashing was interrupted"))
    }
}

/// Checks that a new password is not weak.
pub(super) fn check_strength(password: &str) -> Answer<()> {
    let length = password.chars().count();
    let classes = [
        password.chars().any(char::is_alphabetic),
        password.chars().any(char::is_numeric),
        password.chars().any(|c| !c.is_alphanumeric()),
    ];
    if !(8..=64).contains(&length) || classes.into_iter().filter(|present| *present).count() < 2 {
        return Err(ApiError::bad_request(
            "the password is too weak: expected 8 to 64 characters of at least two of letters, digits and others",
        ));
    }
    Ok(())
}

/// Makes a random text of `bytes` random bytes in hexadecimal digits.
pub(super) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    OsRng.fill_bytes(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a random password that people can type: 20 letters and digits without those that look alike, more than
/// 100 bits.
pub(super) fn random_password() -> String {
    const ALPHABET: &[u8; 54] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXY3456789";
    loop {
        let mut password = String::with_capacity(20);
        while password.len() < 20 {
            let slot = (OsRng.next_u32() % 64) as usize; // a power of two: no letter is likelier than another
            if let Some(letter) = ALPHABET.get(slot) {
                password.push(char::from(*letter));
            }
        }
        if check_strength(&password).is_ok() {
            return password;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn verifies_what_it_hashed() {
        let hasher = SlowHasher::new();
        let hash = hasher.hash("s3cret-pw").await.unwrap();
        assert!(hasher.verify("s3cret-pw", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("s3cret-pv", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("s3cret-pw", None).await.unwrap());
        assert!(!hasher.verify(&"x".repeat(PASSWORD_BYTES_MAX + 1), Some(&hash)).await.unwrap());
        assert!(hasher.verify("s3cret-pw", Some("plain")).await.is_err());
    }

    #[test]
    fn weak_passwords_are_refused() {
        for (password, strong) in [
            ("abcdefg1", true),
            ("abcdefg!", true),
            ("1234567!", true),
            ("пароль-12", true),
            ("abcdefgh", false),
            ("12345678", false),
            ("!!!!!!!!", false),
            ("abc1", false),
            (&*"a1".repeat(32), true),
            (&*"a1".repeat(33), false),
        ] {
            assert_eq!(check_strength(password).is_ok(), strong, "{password}");
        }
    }

    #[test]
    fn random_texts_differ() {
        assert_eq!(random_hex(8).len(), 16);
        assert_ne!(random_hex(8), random_hex(8));
        assert_eq!(random_password().len(), 20);
        assert_ne!(random_password(), random_password());
    }
}
