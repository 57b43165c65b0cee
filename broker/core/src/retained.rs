//! Retained messages: the last one of each topic.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use broker_codec::Publish;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

/// A retained message.
#[derive(Debug)]
pub(crate) struct Retained {
    pub(crate) publish: Publish,
    pub(crate) received_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    pub(crate) client_id: engine_event::Text,
    /// The session that published it; 0 for a message from inside the server, which is nobody's own.
    pub(crate) publisher: u64,
    /// Its number in the journal; 0 for one that is in memory only.
    pub(crate) number: u64,
}

/// What a message with the RETAIN flag does.
#[derive(Debug)]
pub(crate) enum Retention {
    /// It becomes the last one of its topic.
    Store(Retained),
    /// Its topic has none any more.
    Remove,
}

/// All retained messages, by the levels of their topics.
#[derive(Debug, Default)]
pub(crate) struct RetainedStore {
    tree: RwLock<Tree>,
}

#[derive(Debug, Default)]
struct Tree {
    root: Node,
    count: usize,
    /// The topics of messages that expire, by time, so that looking for them costs nothing while none does.
    expiring: BTreeSet<(i64, Box<str>)>,
}

impl Tree {
    fn note_expiry(&mut self, message: &Retained) {
        if message.expires_at_ms != i64::MAX {
            self.expiring.insert((message.expires_at_ms, message.publish.topic().into()));
        }
    }

    fn forget_expiry(&mut self, message: &Retained) {
        if message.expires_at_ms != i64::MAX {
            self.expiring.remove(&(message.expires_at_ms, message.publish.topic().into()));
        }
    }

    fn remove(&mut self, topic: &str) -> bool {
        let levels: Vec<&str> = topic.split('/').collect();
        let Some(removed) = self.root.remove(&levels) else { return false };
        self.count -= 1;
        self.forget_expiry(&removed);
        true
    }
}

#[derive(Debug, Default)]
struct Node {
    message: Option<Arc<Retained>>,
    children: HashMap<Box<str>, Node, RandomState>,
}

/// What became of a message that should be retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is kept, or the old one is gone.
    Done,
    /// There are too many already.
    Full,
}

impl RetainedStore {
    /// Keeps a message as the last one of its topic.
    pub(crate) fn store(&self, message: Retained, max_messages: usize) -> Stored {
        self.store_then(message, max_messages, || ())
    }

    /// Keeps a message as the last one of its topic; `note` is called, if it is kept, before anyone else changes one.
    pub(crate) fn store_then(&self, message: Retained, max_messages: usize, note: impl FnOnce()) -> Stored {
        let mut tree = self.tree.write();
        let full = max_messages > 0 && tree.count >= max_messages;
        let message = Arc::new(message);
        if full && tree.root.get(message.publish.topic()).is_none() {
            return Stored::Full;
        }
        note();
        let mut node = &mut tree.root;
        for level in message.publish.topic().split('/') {
            if !node.children.contains_key(level) {
                node.children.insert(level.into(), Node::default());
            }
            node = node.children.get_mut(level).expect("it was just put there");
        }
        match node.message.replace(Arc::clone(&message)) {
            Some(old) => tree.forget_expiry(&old),
            None => tree.count += 1,
        }
        tree.note_expiry(&message);
        Stored::Done
    }

    /// Forgets the message of a topic and says whether there was one.
    pub(crate) fn remove(&self, topic: &str) -> bool {
        self.remove_then(topic, || ()).is_some()
    }

    /// Forgets the message of a topic; `note` is called, if there was one, before anyone else changes one.
    pub(crate) fn remove_then<T>(&self, topic: &str, note: impl FnOnce() -> T) -> Option<T> {
        let mut tree = self.tree.write();
        tree.remove(topic).then(note)
    }

    /// Calls `visit` with those of `messages` that are still the last of their topics, while nobody changes that.
    pub(crate) fn each_still_there(&self, messages: &[Arc<Retained>], mut visit: impl FnMut(&Retained)) {
        let tree = self.tree.read();
        for message in messages {
            let found = tree.root.get(message.publish.topic());
            if found.is_some_and(|found| Arc::ptr_eq(found, message)) {
                visit(message);
            }
        }
    }

    /// Returns all messages, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Retained>> {
        let mut found = Vec::new();
        self.tree.read().root.collect_all(&mut found);
        found
    }

    /// Returns the message of a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<Retained>> {
        self.tree.read().root.get(topic).cloned()
    }

    /// Returns the messages whose topics match a filter, at most `limit`, in no order.
    pub(crate) fn matching(&self, filter: &str, limit: usize) -> Vec<Arc<Retained>> {
        let levels: Vec<&str> = filter.split('/').collect();
        let mut found = Vec::new();
        self.tree.read().root.collect(&levels, true, limit, &mut found);
        found
    }

    /// Forgets the messages that have expired and returns their number.
    pub(crate) fn purge(&self, now_ms: i64) -> usize {
        /// So many at a time, so that publishers and subscribers get in between.
        const BATCH: usize = 256;
        let mut removed = 0;
        loop {
            let mut tree = self.tree.write();
            for _ in 0..BATCH {
                if tree.expiring.first().is_none_or(|(at_ms, _)| *at_ms > now_ms) {
                    return removed;
                }
                let Some((_, topic)) = tree.expiring.pop_first() else { return removed };
                removed += usize::from(tree.remove(&topic));
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tree.read().count
    }
}

/// The recursion is as deep as a topic has levels, which the broker limits to 1,024.
impl Node {
    fn get(&self, topic: &str) -> Option<&Arc<Retained>> {
        let mut node = self;
        for level in topic.split('/') {
            node = node.children.get(level)?;
        }
        node.message.as_ref()
    }

    fn remove(&mut self, levels: &[&str]) -> Option<Arc<Retained>> {
        let [level, rest @ ..] = levels else { return self.message.take() };
        let child = self.children.get_mut(*level)?;
        let removed = child.remove(rest);
        if child.message.is_none() && child.children.is_empty() {
            self.children.remove(*level);
            if self.children.is_empty() {
                self.children = HashMap::default();
            }
        }
        removed
    }

    fn collect_all(&self, found: &mut Vec<Arc<Retained>>) {
        found.extend(self.message.clone());
        self.children.values().for_each(|child| child.collect_all(found));
    }

    fn collect(&self, levels: &[&str], top: bool, limit: usize, found: &mut Vec<Arc<Retained>>) {
        if found.len() >= limit {
            return;
        }
        match levels {
            [] => found.extend(self.message.clone()),
            ["#"] => {
                // `a/#` also matches `a`
                if !top {
                    found.extend(self.message.clone());
                }
                for child in self.below(top) {
                    child.collect(levels, false, limit, found);
                }
            }
            ["+", rest @ ..] => {
                for child in self.below(top) {
                    child.collect(rest, false, limit, found);
                }
            }
            [level, rest @ ..] => {
                if let Some(child) = self.children.get(*level) {
                    child.collect(rest, false, limit, found);
                }
            }
        }
    }

    /// Children that a wildcard matches: at the top, not those that begin with `$`.
    fn below(&self, top: bool) -> impl Iterator<Item = &Node> {
        let matched = self.children.iter().filter(move |(level, _)| !(top && level.starts_with('$')));
        matched.map(|(_, child)| child)
    }
}

#[cfg(test)]
mod tests {
    use broker_codec::PublishBuilder;
    use engine_event::topic::matches;
    use proptest::prelude::*;

    use super::*;

    fn retained(topic: &str) -> Retained {
        let publish = PublishBuilder { topic, payload: b"x", ..PublishBuilder::default() }.build();
        Retained {
            publish: publish.expect("a topic"),
            received_at_ms: 0,
            expires_at_ms: i64::MAX,
            client_id: "c".into(),
            publisher: 0,
            number: 0,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(
            topics in proptest::collection::btree_set("(a|b|\\$x|)(/(a|b|)){0,3}", 0..20),
            filters in proptest::collection::vec("(a|b|\\+|\\$x|)(/(a|b|\\+|)){0,3}(/#)?", 1..10),
        ) {
            let store = RetainedStore::default();
            let topics: Vec<_> = topics.into_iter().filter(|topic| !topic.is_empty()).collect();
            for topic in &topics {
                store.store(retained(topic), 0);
            }
            for filter in filters.iter().map(String::as_str).chain(["#"]) {
                let mut got: Vec<String> =
                    store.matching(filter, 100).iter().map(|m| m.publish.topic().to_owned()).collect();
                got.sort();
                let want: Vec<_> =
                    topics.iter().filter(|t| matches(filter.as_bytes(), t.as_bytes())).cloned().collect();
                prop_assert_eq!(got, want, "filter {}", filter);
            }
            for topic in &topics {
                prop_assert!(store.remove(topic));
                prop_assert!(!store.remove(topic));
            }
            prop_assert_eq!(store.len(), 0);
            prop_assert!(store.tree.read().root.children.is_empty());
        }
    }

    #[test]
    fn what_expires_is_forgotten_and_nothing_else() {
        let store = RetainedStore::default();
        for (topic, expires_at_ms) in [("a", 10), ("b", 20), ("c", i64::MAX), ("d", 10), ("a", 30), ("b", 10)]
        {
            store.store(Retained { expires_at_ms, ..retained(topic) }, 0);
        }
        store.remove("d");
        assert_eq!(store.tree.read().expiring.len(), 2);
        assert_eq!(store.purge(9), 0);
        assert_eq!(store.purge(10), 1); // b
        assert_eq!(store.purge(29), 0);
        assert_eq!(store.purge(30), 1); // a
        assert_eq!(store.purge(i64::MAX - 1), 0);
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_limit_holds_for_new_topics_only() {
        let store = RetainedStore::default();
        assert_eq!(store.store(retained("a"), 1), Stored::Done);
        assert_eq!(store.store(retained("b"), 1), Stored::Full);
        assert_eq!(store.store(retained("a"), 1), Stored::Done);
        assert_eq!(store.len(), 1);
    }
}
