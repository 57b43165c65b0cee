//! Tokens of people who logged in.

use std::collections::HashMap;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::password::random_hex;

/// Tokens that one user may have at once; the one that ends first gives way.
const TOKENS_PER_USER: usize = 64;
/// Tokens in all; the one that ends first gives way.
const TOKENS_MAX: usize = 10_000;
/// How long an expired token is still told apart from one that never was: an hour.
const EXPIRED_KEPT_MS: i64 = 60 * 60 * 1000;

/// The tokens that are valid now. Only their digests are kept: a dump of the memory does not log anybody in.
#[derive(Debug)]
pub(super) struct Tokens {
    lifetime_ms: i64,
    by_digest: Mutex<HashMap<[u8; 32], Token>>,
}

#[derive(Debug)]
struct Token {
    username: String,
    expires_at_ms: i64,
}

/// What is known of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenVerdict {
    /// It belongs to this user, and lives on.
    Valid(String),
    /// It was valid once.
    Expired,
    /// Never heard of it.
    Unknown,
}

impl Tokens {
    pub(super) fn new(lifetime_ms: i64) -> Self {
        Self { lifetime_ms, by_digest: Mutex::default() }
    }

    /// Makes a token for a user.
    pub(super) fn issue(&self, username: &str, now_ms: i64) -> String {
        let token = random_hex(32);
        let mut tokens = self.by_digest.lock();
        tokens.retain(|_, token| token.expires_at_ms + EXPIRED_KEPT_MS > now_ms);
        let of_user = tokens.values().filter(|token| token.username == username).count();
        if of_user >= TOKENS_PER_USER {
            drop_first_to_end(&mut tokens, |token| token.username == username);
        } else if tokens.len() >= TOKENS_MAX {
            drop_first_to_end(&mut tokens, |_| true);
        }
        let expires_at_ms = now_ms.saturating_add(self.lifetime_ms);
        tokens.insert(digest(&token), Token { username: username.to_owned(), expires_at_ms });
        token
    }

    /// Looks a token up and extends its life.
    pub(super) fn touch(&self, token: &str, now_ms: i64) -> TokenVerdict {
        let mut tokens = self.by_digest.lock();
        match tokens.get_mut(&digest(token)) {
            None => TokenVerdict::Unknown,
            Some(token) if token.expires_at_ms <= now_ms => TokenVerdict::Expired,
            Some(token) => {
                token.expires_at_ms = now_ms.saturating_add(self.lifetime_ms);
                TokenVerdict::Valid(token.username.clone())
            }
        }
    }

    /// Ends one token.
    pub(super) fn revoke(&self, token: &str) {
        self.by_digest.lock().remove(&digest(token));
    }

    /// Ends every token of a user.
    pub(super) fn revoke_user(&self, username: &str) {
        self.by_digest.lock().retain(|_, token| token.username != username);
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn drop_first_to_end(tokens: &mut HashMap<[u8; 32], Token>, of: impl Fn(&Token) -> bool) {
    let first = tokens
        .iter()
        .filter(|(_, token)| of(token))
        .min_by_key(|(_, token)| token.expires_at_ms)
        .map(|(digest, _)| *digest);
    if let Some(first) = first {
        tokens.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_use_extends_the_life() {
        let tokens = Tokens::new(1000);
        let token = tokens.issue("ann", 0);
        let valid = TokenVerdict::Valid("ann".to_owned());
        assert_eq!(tokens.touch(&token, 900), valid);
        assert_eq!(tokens.touch(&token, 1800), valid);
        assert_eq!(tokens.touch(&token, 2800), TokenVerdict::Expired);
        assert_eq!(tokens.touch("nonsense", 0), TokenVerdict::Unknown);
    }

    #[test]
    fn ends_on_request_and_over_the_limit() {
        let tokens = Tokens::new(1000);
        let (first, second) = (tokens.issue("ann", 0), tokens.issue("bob", 1));
        tokens.revoke(&second);
        assert_eq!(tokens.touch(&second, 1), TokenVerdict::Unknown);
        for now_ms in 1..=TOKENS_PER_USER as i64 {
            tokens.issue("ann", now_ms);
        }
        assert_eq!(tokens.touch(&first, 10), TokenVerdict::Unknown, "gave way");
        let last = tokens.issue("ann", 20);
        tokens.revoke_user("ann");
        assert_eq!(tokens.touch(&last, 20), TokenVerdict::Unknown);
    }
}
