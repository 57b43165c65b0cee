//! Remembering which secrets were right, so that a program pays for the slow hash once.

use std::collections::HashMap;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

/// Keys that are remembered; when there are more, all are forgotten.
const KEYS_MAX: usize = 4096;

/// Secrets that passed the slow check, as keyed digests under a key of this process.
pub(super) struct KeyCache {
    mac: Hmac<Sha256>,
    verified: Mutex<HashMap<String, Verified>>,
}

struct Verified {
    /// The slow hash that the secret passed: a changed secret does not pass.
    secret_hash: String,
    digest: Vec<u8>,
}

impl KeyCache {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        let mac = Hmac::new_from_slice(&key).expect("HMAC takes keys of every length");
        Self { mac, verified: Mutex::default() }
    }

    /// Tells whether this secret passed the check against `secret_hash` before.
    pub(super) fn knows(&self, api_key: &str, secret: &str, secret_hash: &str) -> bool {
        let verified = self.verified.lock();
        let Some(known) = verified.get(api_key) else { return false };
        let mut mac = self.mac.clone();
        mac.update(secret.as_bytes());
        known.secret_hash == secret_hash && mac.verify_slice(&known.digest).is_ok()
    }

    /// Notes that this secret passed.
    pub(super) fn learn(&self, api_key: &str, secret: &str, secret_hash: &str) {
        let mut mac = self.mac.clone();
        mac.update(secret.as_bytes());
        let digest = mac.finalize().into_bytes().to_vec();
        let mut verified = self.verified.lock();
        if verified.len() >= KEYS_MAX {
            verified.clear();
        }
        verified.insert(api_key.to_owned(), Verified { secret_hash: secret_hash.to_owned(), digest });
    }
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_only_what_it_learnt() {
        let cache = KeyCache::new();
        cache.learn("k", "right", "hash-1");
        assert!(cache.knows("k", "right", "hash-1"));
        assert!(!cache.knows("k", "wrong", "hash-1"));
        assert!(!cache.knows("k", "right", "hash-2"));
        assert!(!cache.knows("other", "right", "hash-1"));
    }
}
