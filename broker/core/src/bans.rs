//! The ban list: who may not connect, and until when.
//!
//! It is asked once for each CONNECT. Exact entries are found by a look-up; patterns are compiled into one automaton
//! for client ids and one for user names when the list changes, so that their number costs a CONNECT little.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};

/// An entry of the ban list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who it is for.
    pub subject: BanSubject,
    /// Who made it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was made, Unix milliseconds.
    pub at_ms: i64,
    /// When it ends, Unix milliseconds; `None` for never.
    pub until_ms: Option<i64>,
}

impl Ban {
    fn holds(&self, now_ms: i64) -> bool {
        self.until_ms.is_none_or(|until_ms| until_ms > now_ms)
    }
}

/// Who a ban is for. One that exists is valid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BanSubject {
    /// A client id.
    ClientId(String),
    /// A user name.
    Username(String),
    /// An address, without its port.
    PeerHost(IpAddr),
    /// Client ids in which a regular expression matches.
    ClientIdPattern(String),
    /// User names in which a regular expression matches.
    UsernamePattern(String),
    /// The addresses of a network.
    PeerNet(PeerNet),
}

/// Why a ban is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    /// The word that says what the ban is for is not known.
    #[error("expected one of {}, got `{found}`", BanSubject::KINDS.join(", "))]
    Kind {
        /// The word.
        found: String,
    },
    /// What the ban is for is empty or too long.
    #[error("expected 1 to {WHO_BYTES_MAX} bytes, got {len}")]
    Length {
        /// Its length.
        len: usize,
    },
    /// An address was expected.
    #[error("expected an address such as `10.0.0.7`, got `{found}`")]
    Address {
        /// What was there.
        found: String,
    },
    /// A network was expected.
    #[error("expected a network such as `10.0.0.0/8`, got `{found}`")]
    Net {
        /// What was there.
        found: String,
    },
    /// The regular expression is not one, or is too large.
    #[error("`{found}` is not a regular expression that can be used: {why}")]
    Pattern {
        /// What was there.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no room for another entry.
    #[error(
        "the ban list is full: it has {BANS_MAX} entries, {PATTERNS_MAX} patterns and {NETS_MAX} networks at most"
    )]
    Full,
}

/// Entries at most.
pub(crate) const BANS_MAX: usize = 100_000;

/// Patterns of client ids or of user names at most.
const PATTERNS_MAX: usize = 1000;

/// Networks at most.
const NETS_MAX: usize = 10_000;

/// Bytes of what a ban is for at most.
const WHO_BYTES_MAX: usize = 4096;

/// Memory of one compiled pattern, and of all together.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
const PATTERNS_BYTES_MAX: usize = 32 * 1024 * 1024;

impl BanSubject {
    /// The words for what a ban is for.
    pub const KINDS: [&str; 6] =
        ["clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net"];

    /// Reads the word for what a ban is for, and whom it names.
    ///
    /// # Errors
    /// When the word is not known or does not fit the name.
    pub fn parse(kind: &str, who: &str) -> Result<Self, BanError> {
        if who.is_empty() || who.len() > WHO_BYTES_MAX {
            return Err(BanError::Length { len: who.len() });
        }
        let found = || who.to_owned();
        Ok(match kind {
            "clientid" => Self::ClientId(found()),
            "username" => Self::Username(found()),
            "peerhost" => {
                let address: IpAddr = who.parse().map_err(|_| BanError::Address { found: found() })?;
                Self::PeerHost(address.to_canonical())
            }
            "clientid_re" => Self::ClientIdPattern(check_pattern(who)?),
            "username_re" => Self::UsernamePattern(check_pattern(who)?),
            "peerhost_net" => Self::PeerNet(who.parse()?),
            _ => return Err(BanError::Kind { found: kind.to_owned() }),
        })
    }

    /// Returns the word for what the ban is for.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ClientId(_) => "clientid",
            Self::Username(_) => "username",
            Self::PeerHost(_) => "peerhost",
            Self::ClientIdPattern(_) => "clientid_re",
            Self::UsernamePattern(_) => "username_re",
            Self::PeerNet(_) => "peerhost_net",
        }
    }

    /// Returns whom it names.
    pub fn who(&self) -> String {
        match self {
            Self::ClientId(who)
            | Self::Username(who)
            | Self::ClientIdPattern(who)
            | Self::UsernamePattern(who) => who.clone(),
            Self::PeerHost(address) => address.to_string(),
            Self::PeerNet(net) => net.to_string(),
        }
    }
}

fn check_pattern(pattern: &str) -> Result<String, BanError> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| BanError::Pattern { found: pattern.to_owned(), why: error.to_string() })?;
    Ok(pattern.to_owned())
}

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerNet {
    address: IpAddr,
    bits: u8,
}

impl PeerNet {
    fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.bits) == Some(self.address)
    }
}

/// Keeps the first `bits` bits of an address, if it has so many and of its kind.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let kept = 32_u32.checked_sub(bits.into())?;
            Some(IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(kept).unwrap_or(0)).into()))
        }
        IpAddr::V6(v6) => {
            let kept = 128_u32.checked_sub(bits.into())?;
            Some(IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(kept).unwrap_or(0)).into()))
        }
    }
}

impl FromStr for PeerNet {
    type Err = BanError;

    fn from_str(text: &str) -> Result<Self, BanError> {
        let wrong = || BanError::Net { found: text.to_owned() };
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = bits.parse().map_err(|_| wrong())?;
        Ok(Self { address: masked(address, bits).ok_or_else(wrong)?, bits })
    }
}

impl std::fmt::Display for PeerNet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

/// Who asks to connect, or is connected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suspect<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) address: IpAddr,
}

/// Who may not connect.
#[derive(Debug, Default)]
pub struct BanList {
    /// Whether there is an entry: without one a CONNECT pays for this look only.
    any: AtomicBool,
    entries: RwLock<Entries>,
    /// Held while the list changes, so that patterns are compiled outside of the lock that every CONNECT takes.
    changing: Mutex<()>,
    /// Entries that the broker has made and nobody has stored yet.
    unstored: Mutex<Vec<Ban>>,
}

type Exact<K> = HashMap<K, Arc<Ban>, RandomState>;

#[derive(Debug, Default)]
struct Entries {
    client_ids: Exact<String>,
    usernames: Exact<String>,
    hosts: Exact<IpAddr>,
    nets: BTreeMap<PeerNet, Arc<Ban>>,
    client_id_patterns: Patterns,
    username_patterns: Patterns,
}

/// Regular expressions, compiled together.
#[derive(Debug, Clone)]
struct Patterns {
    bans: BTreeMap<String, Arc<Ban>>,
    /// The expressions in the order of `bans`.
    set: RegexSet,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { bans: BTreeMap::new(), set: RegexSet::empty() }
    }
}

impl Patterns {
    /// Compiles the patterns after a change; an entry of `None` is taken out.
    fn with(&self, pattern: &str, ban: Option<Arc<Ban>>) -> Result<Self, BanError> {
        let mut bans = self.bans.clone();
        match ban {
            Some(ban) => bans.insert(pattern.to_owned(), ban),
            None => bans.remove(pattern),
        };
        if bans.len() > PATTERNS_MAX {
            return Err(BanError::Full);
        }
        let set = RegexSetBuilder::new(bans.keys())
            .size_limit(PATTERNS_BYTES_MAX)
            .build()
            .map_err(|error| BanError::Pattern { found: pattern.to_owned(), why: error.to_string() })?;
        Ok(Self { bans, set })
    }

    fn find(&self, text: &str, now_ms: i64) -> bool {
        !self.bans.is_empty()
            && self
                .set
                .matches(text)
                .iter()
                .any(|index| self.bans.values().nth(index).is_some_and(|ban| ban.holds(now_ms)))
    }
}

impl Entries {
    fn len(&self) -> usize {
        self.client_ids.len()
            + self.usernames.len()
            + self.hosts.len()
            + self.nets.len()
            + self.client_id_patterns.bans.len()
            + self.username_patterns.bans.len()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Ban>> {
        let exact = self.client_ids.values().chain(self.usernames.values()).chain(self.hosts.values());
        let patterns = self.client_id_patterns.bans.values().chain(self.username_patterns.bans.values());
        exact.chain(self.nets.values()).chain(patterns)
    }

    fn get(&self, subject: &BanSubject) -> Option<&Arc<Ban>> {
        match subject {
            BanSubject::ClientId(who) => self.client_ids.get(who),
            BanSubject::Username(who) => self.usernames.get(who),
            BanSubject::PeerHost(address) => self.hosts.get(address),
            BanSubject::ClientIdPattern(pattern) => self.client_id_patterns.bans.get(pattern),
            BanSubject::UsernamePattern(pattern) => self.username_patterns.bans.get(pattern),
            BanSubject::PeerNet(net) => self.nets.get(net),
        }
    }

    fn find(&self, suspect: &Suspect<'_>, now_ms: i64) -> bool {
        let holds = |ban: Option<&Arc<Ban>>| ban.is_some_and(|ban| ban.holds(now_ms));
        let address = suspect.address.to_canonical();
        holds(self.client_ids.get(suspect.client_id))
            || holds(self.hosts.get(&address))
            || suspect.username.is_some_and(|username| {
                holds(self.usernames.get(username)) || self.username_patterns.find(username, now_ms)
            })
            || self.client_id_patterns.find(suspect.client_id, now_ms)
            || self.nets.iter().any(|(net, ban)| net.contains(address) && ban.holds(now_ms))
    }
}

impl BanList {
    /// Says whether somebody is banned.
    pub(crate) fn finds(&self, suspect: &Suspect<'_>, now_ms: i64) -> bool {
        self.any.load(Ordering::Relaxed) && self.entries.read().find(suspect, now_ms)
    }

    /// Says whether a client id is banned by its name.
    pub(crate) fn has_client_id(&self, client_id: &str, now_ms: i64) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.entries.read().client_ids.get(client_id).is_some_and(|ban| ban.holds(now_ms))
    }

    /// Adds an entry, in place of one for the same subject.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn put(&self, ban: Ban) -> Result<(), BanError> {
        let _turn = self.changing.lock();
        let is_full = {
            let entries = self.entries.read();
            entries.get(&ban.subject).is_none() && entries.len() >= BANS_MAX
        };
        if is_full {
            return Err(BanError::Full);
        }
        let subject = ban.subject.clone();
        self.change(&subject, Some(Arc::new(ban)))
    }

    /// Takes an entry out and says whether there was one.
    pub fn remove(&self, subject: &BanSubject) -> bool {
        let _turn = self.changing.lock();
        self.unstored.lock().retain(|ban| ban.subject != *subject);
        let is_there = self.entries.read().get(subject).is_some();
        is_there && self.change(subject, None).is_ok() // fewer patterns fit where more did
    }

    /// Changes one entry, with `changing` held.
    fn change(&self, subject: &BanSubject, ban: Option<Arc<Ban>>) -> Result<(), BanError> {
        let patterns = match subject {
            BanSubject::ClientIdPattern(pattern) => {
                let patterns = self.entries.read().client_id_patterns.clone();
                Some(patterns.with(pattern, ban.clone())?)
            }
            BanSubject::UsernamePattern(pattern) => {
                let patterns = self.entries.read().username_patterns.clone();
                Some(patterns.with(pattern, ban.clone())?)
            }
            _ => None,
        };
        let mut entries = self.entries.write();
        match subject {
            BanSubject::ClientId(who) => set(&mut entries.client_ids, who, ban),
            BanSubject::Username(who) => set(&mut entries.usernames, who, ban),
            BanSubject::PeerHost(address) => set(&mut entries.hosts, address, ban),
            BanSubject::PeerNet(net) => match ban {
                Some(_) if entries.nets.len() >= NETS_MAX && !entries.nets.contains_key(net) => {
                    return Err(BanError::Full);
                }
                Some(ban) => {
                    entries.nets.insert(*net, ban);
                }
                None => {
                    entries.nets.remove(net);
                }
            },
            BanSubject::ClientIdPattern(_) => entries.client_id_patterns = patterns.unwrap_or_default(),
            BanSubject::UsernamePattern(_) => entries.username_patterns = patterns.unwrap_or_default(),
        }
        self.any.store(entries.len() > 0, Ordering::Relaxed);
        Ok(())
    }

    /// Adds an entry that the broker itself has decided on; [`BanList::take_unstored`] gives it to who stores it.
    pub(crate) fn put_own(&self, ban: Ban) -> Result<(), BanError> {
        self.put(ban.clone())?;
        self.unstored.lock().push(ban); // bounded: one for each entry that was added
        Ok(())
    }

    /// Takes the entries that the broker itself has made since it was asked last.
    pub fn take_unstored(&self) -> Vec<Ban> {
        std::mem::take(&mut self.unstored.lock())
    }

    /// Returns the entry for a subject, if it still holds.
    pub fn get(&self, subject: &BanSubject, now_ms: i64) -> Option<Ban> {
        self.entries.read().get(subject).filter(|ban| ban.holds(now_ms)).map(|ban| Ban::clone(ban))
    }

    /// Returns the entries that hold, in the order of what they are for.
    pub fn all(&self, now_ms: i64) -> Vec<Ban> {
        let mut bans: Vec<Ban> =
            self.entries.read().all().filter(|ban| ban.holds(now_ms)).map(|ban| Ban::clone(ban)).collect();
        bans.sort_by(|a, b| a.subject.cmp(&b.subject));
        bans
    }

    /// Returns the subjects of entries whose end has come: they are still there, and stop nobody.
    pub fn expired(&self, now_ms: i64) -> Vec<BanSubject> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let entries = self.entries.read();
        entries.all().filter(|ban| !ban.holds(now_ms)).map(|ban| ban.subject.clone()).collect()
    }
}

fn set<K: std::hash::Hash + Eq + Clone>(map: &mut Exact<K>, who: &K, ban: Option<Arc<Ban>>) {
    match ban {
        Some(ban) => map.insert(who.clone(), ban),
        None => map.remove(who),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(kind: &str, who: &str, until_ms: Option<i64>) -> Ban {
        let subject = BanSubject::parse(kind, who).expect("valid");
        Ban { subject, by: "ops".into(), reason: String::new(), at_ms: 0, until_ms }
    }

    #[track_caller]
    fn check(kind: &str, who: &str, client_id: &str, username: Option<&str>, address: &str, banned: bool) {
        let list = BanList::default();
        let entry = ban(kind, who, None);
        list.put(entry.clone()).expect("room");
        let suspect = Suspect { client_id, username, address: address.parse().expect("an address") };
        assert_eq!(list.finds(&suspect, 0), banned, "{kind} {who}: {suspect:?}");
        assert!(list.remove(&entry.subject) && !list.remove(&entry.subject));
        assert!(!list.finds(&suspect, 0), "no longer");
    }

    #[test]
    fn each_kind_finds_whom_it_names() {
        check("clientid", "dev1", "dev1", None, "10.0.0.1", true);
        check("clientid", "dev1", "dev10", Some("dev1"), "10.0.0.1", false);
        check("username", "u", "c", Some("u"), "10.0.0.1", true);
        check("username", "u", "u", None, "10.0.0.1", false);
        check("peerhost", "10.0.0.1", "c", None, "10.0.0.1", true);
        check("peerhost", "10.0.0.1", "c", None, "::ffff:10.0.0.1", true);
        check("peerhost", "::1", "c", None, "10.0.0.1", false);
        check("clientid_re", "^dev[0-9]+$", "dev42", None, "10.0.0.1", true);
        check("clientid_re", "^dev[0-9]+$", "dev", None, "10.0.0.1", false);
        check("username_re", "bot", "c", Some("a-bot-7"), "10.0.0.1", true);
        check("username_re", "bot", "bot", None, "10.0.0.1", false);
        check("peerhost_net", "10.1.2.3/8", "c", None, "10.200.0.1", true);
        check("peerhost_net", "10.0.0.0/8", "c", None, "11.0.0.1", false);
        check("peerhost_net", "10.0.0.0/8", "c", None, "::ffff:10.0.0.1", true);
        check("peerhost_net", "0.0.0.0/0", "c", None, "192.0.2.1", true);
        check("peerhost_net", "fe80::/10", "c", None, "fe80::1", true);
        check("peerhost_net", "0.0.0.0/0", "c", None, "fe80::1", false);
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for (kind, who) in [
            ("topic", "x"),
            ("clientid", ""),
            ("peerhost", "localhost"),
            ("peerhost_net", "10.0.0.0"),
            ("peerhost_net", "10.0.0.0/33"),
            ("peerhost_net", "fe80::/129"),
            ("clientid_re", "("),
            ("clientid_re", "(((a{900}){900}){900})"),
        ] {
            assert!(BanSubject::parse(kind, who).is_err(), "{kind} {who}");
        }
        assert_eq!(
            BanSubject::parse("peerhost_net", "10.1.2.3/8").map(|net| net.who()),
            Ok("10.0.0.0/8".into())
        );
    }

    #[test]
    fn an_entry_ends_by_itself() {
        let list = BanList::default();
        for (kind, who) in [("clientid", "c"), ("clientid_re", "c"), ("peerhost_net", "::/0")] {
            list.put(ban(kind, who, Some(1000))).expect("room");
        }
        let suspect = Suspect { client_id: "c", username: None, address: "::1".parse().expect("an address") };
        assert!(list.finds(&suspect, 999) && list.has_client_id("c", 999));
        assert_eq!((list.all(999).len(), list.expired(999).len()), (3, 0));
        assert!(!list.finds(&suspect, 1000) && !list.has_client_id("c", 1000));
        assert_eq!((list.all(1000).len(), list.expired(1000).len()), (0, 3));
        for subject in list.expired(1000) {
            assert!(list.remove(&subject));
        }
        assert!(list.expired(i64::MAX).is_empty());
    }

    #[test]
    fn one_of_many_patterns_is_enough() {
        let list = BanList::default();
        for number in 0..100 {
            list.put(ban("clientid_re", &format!("^x{number}$"), (number != 50).then_some(10)))
                .expect("room");
        }
        let banned = |client_id, now_ms| {
            list.finds(&Suspect { client_id, username: None, address: [10, 0, 0, 1].into() }, now_ms)
        };
        assert!(banned("x99", 9) && !banned("x100", 9));
        assert!(!banned("x99", 10) && banned("x50", 10));
    }
}
