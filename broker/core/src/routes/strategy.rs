//! How a shared group chooses the member that gets the next message.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// How a shared group chooses among members that can take a message equally well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// Any.
    Random,
    /// One after the other, whoever publishes.
    #[default]
    RoundRobin,
    /// The same as `RoundRobin`: the turn belongs to the group.
    RoundRobinPerGroup,
    /// The member that got the publisher's last message, while it is connected.
    Sticky,
    /// Any member of this node, else any.
    Local,
    /// The same member for one publisher, while it is connected.
    HashClientId,
    /// The same member for one topic, while it is connected.
    HashTopic,
    /// The member with the fewest unacknowledged and waiting messages, in turn among equals.
    LeastInflight,
}

/// Which member a publisher's first message goes to in a group with [`ShareStrategy::Sticky`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StickyPick {
    /// Any.
    #[default]
    Random,
    /// Any of this node, else any.
    Local,
    /// By the topic.
    HashTopic,
    /// By the client id of the publisher.
    HashClientId,
}

impl ShareStrategy {
    /// Says whether the choice depends on who publishes.
    pub(crate) const fn needs_publisher(self) -> bool {
        matches!(self, Self::Sticky | Self::HashClientId)
    }
}

/// Which member publishers stick to.
///
/// Publishers come and go without a word to the group, so it remembers those of late: two tables, of which the older
/// one is forgotten when the newer one is full.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    newer: HashMap<u32, u64, RandomState>,
    older: HashMap<u32, u64, RandomState>,
}

/// Publishers in one table.
const STUCK_MAX: usize = 64 * 1024;

impl Stuck {
    /// Returns the session that a publisher sticks to.
    pub(super) fn get(&self, publisher: u32) -> Option<u64> {
        self.newer.get(&publisher).or_else(|| self.older.get(&publisher)).copied()
    }

    /// Remembers which session got the last message of a publisher.
    pub(super) fn set(&mut self, publisher: u32, session: u64) {
        if self.newer.len() >= STUCK_MAX && !self.newer.contains_key(&publisher) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(publisher, session);
    }
}

/// A number for a text that is the same in every run and on every node (FNV-1a); never 0.
#[inline]
pub(crate) fn stable_hash(text: &[u8]) -> u32 {
    let hash = text
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    ((hash ^ hash >> 32) as u32).max(1)
}

/// How much a key wants a member: the highest has it (rendezvous hashing). A member that comes or goes takes or leaves
/// its own keys and moves no other.
#[inline]
pub(super) fn affinity(key: u32, member: u32) -> u64 {
    let mixed = (u64::from(key) << 32 | u64::from(member)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(members: &[u32], keys: u32) -> Vec<u32> {
        let keys = (0..keys).map(|key| stable_hash(format!("device/{key}").as_bytes()));
        keys.map(|key| *members.iter().max_by_key(|member| affinity(key, **member)).expect("some")).collect()
    }

    #[test]
    fn keys_spread_evenly_and_a_new_member_takes_only_its_share() {
        let members: Vec<u32> = (0..5).map(|n| stable_hash(format!("worker{n}").as_bytes())).collect();
        let before = owners(&members[..4], 10_000);
        for member in &members[..4] {
            let share = before.iter().filter(|owner| *owner == member).count();
            assert!((2200..=2800).contains(&share), "{share} of 10000");
        }
        let after = owners(&members, 10_000);
        let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        assert!(moved <= 10_000 / 5 + 300, "{moved} of 10000 moved");
        assert!(before.iter().zip(&after).all(|(old, new)| old == new || *new == members[4]));
    }

    #[test]
    fn only_publishers_of_late_are_remembered() {
        let mut stuck = Stuck::default();
        for publisher in 0..4 * STUCK_MAX as u32 {
            stuck.set(publisher, 7);
            stuck.set(u32::MAX, 8); // publishes all the time
        }
        assert_eq!(stuck.get(u32::MAX), Some(8));
        assert_eq!(stuck.get(0), None);
        assert!(stuck.newer.len() <= STUCK_MAX && stuck.older.len() <= STUCK_MAX);
    }
}
