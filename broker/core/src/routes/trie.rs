//! Topic filters as a tree of levels.
//!
//! Level texts are numbered once, so that a lookup hashes each level of a topic once and then goes by pairs of numbers.
//! A change touches the nodes of one filter; nothing is rebuilt.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use slab::Slab;
use smallvec::SmallVec;

/// A node of the tree: the place of one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u32);

/// Filters, each with a `T` where somebody wants it.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    nodes: Slab<Node<T>>,
    /// Children by the number of their level; those of wildcards are in the node.
    children: HashMap<(u32, u32), u32, RandomState>,
    levels: Levels,
    filters: usize,
}

#[derive(Debug)]
struct Node<T> {
    parent: u32,
    level: u32,
    plus: u32,
    hash: u32,
    child_count: u32,
    value: Option<Box<T>>,
}

const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;
const PLUS: u32 = u32::MAX - 1;
const HASH: u32 = u32::MAX - 2;

impl<T> Node<T> {
    const fn new(parent: u32, level: u32) -> Self {
        Self { parent, level, plus: NONE, hash: NONE, child_count: 0, value: None }
    }
}

impl<T: Default> Trie<T> {
    pub(crate) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(NONE, NONE));
        Self { nodes, children: HashMap::default(), levels: Levels::default(), filters: 0 }
    }

    /// Returns how many filters have a value.
    pub(crate) const fn len(&self) -> usize {
        self.filters
    }

    /// Returns the node of `filter`, made if missing, and its value, made if missing.
    pub(crate) fn get_or_insert(&mut self, filter: &str) -> (NodeId, &mut T) {
        let mut at = ROOT;
        for level in filter.split('/') {
            at = match level {
                "+" => self.wildcard_child(at, PLUS),
                "#" => self.wildcard_child(at, HASH),
                text => self.named_child(at, text),
            };
        }
        let value = &mut self.nodes[at as usize].value;
        if value.is_none() {
            self.filters += 1;
        }
        (NodeId(at), value.get_or_insert_default())
    }

    fn wildcard_child(&mut self, parent: u32, level: u32) -> u32 {
        let node = &self.nodes[parent as usize];
        let found = if level == PLUS { node.plus } else { node.hash };
        if found != NONE {
            return found;
        }
        let child = self.nodes.insert(Node::new(parent, level)) as u32;
        let node = &mut self.nodes[parent as usize];
        node.child_count += 1;
        *(if level == PLUS { &mut node.plus } else { &mut node.hash }) = child;
        child
    }

    fn named_child(&mut self, parent: u32, text: &str) -> u32 {
        if let Some(level) = self.levels.find(text)
            && let Some(child) = self.children.get(&(parent, level))
        {
            return *child;
        }
        let level = self.levels.acquire(text);
        let child = self.nodes.insert(Node::new(parent, level)) as u32;
        self.children.insert((parent, level), child);
        self.nodes[parent as usize].child_count += 1;
        child
    }

    /// Says whether a filter begins with that level.
    pub(crate) fn has_child_of_root(&self, level: &str) -> bool {
        self.levels.find(level).is_some_and(|level| self.children.contains_key(&(ROOT, level)))
    }

    /// Returns the node of `filter` if it has a value.
    pub(crate) fn find(&self, filter: &str) -> Option<NodeId> {
        let mut at = ROOT;
        for level in filter.split('/') {
            let node = &self.nodes[at as usize];
            at = match level {
                "+" => node.plus,
                "#" => node.hash,
                text => self.levels.find(text).and_then(|level| self.children.get(&(at, level)).copied())?,
            };
            if at == NONE {
                return None;
            }
        }
        self.nodes[at as usize].value.as_ref().map(|_| NodeId(at))
    }

    /// Returns the value of a node from [`Trie::find`].
    pub(crate) fn value_mut(&mut self, node: NodeId) -> Option<&mut T> {
        self.nodes.get_mut(node.0 as usize)?.value.as_deref_mut()
    }

    /// Takes the value of a node out, and every node that leads nowhere now.
    pub(crate) fn remove(&mut self, node: NodeId) -> Option<Box<T>> {
        let value = self.nodes.get_mut(node.0 as usize)?.value.take()?;
        self.filters -= 1;
        let mut at = node.0;
        while at != ROOT {
            let node = &self.nodes[at as usize];
            if node.value.is_some() || node.child_count > 0 {
                break;
            }
            let (parent, level) = (node.parent, node.level);
            self.nodes.remove(at as usize);
            let above = &mut self.nodes[parent as usize];
            above.child_count -= 1;
            match level {
                PLUS => above.plus = NONE,
                HASH => above.hash = NONE,
                named => {
                    self.children.remove(&(parent, named));
                    self.levels.release(named);
                }
            }
            at = parent;
        }
        Some(value)
    }

    /// Calls `visit` with the value of every filter that matches `topic`, each once.
    pub(crate) fn matching<'a>(&'a self, topic: &str, mut visit: impl FnMut(&'a T)) {
        let levels: SmallVec<[u32; 16]> =
            topic.split('/').map(|text| self.levels.find(text).unwrap_or(NONE)).collect();
        let system = topic.starts_with('$');
        let mut value_of = |node: u32| {
            if let Some(value) = self.nodes[node as usize].value.as_deref() {
                visit(value);
            }
        };
        let mut open: SmallVec<[(u32, u32); 16]> = SmallVec::new();
        open.push((ROOT, 0));
        while let Some((at, depth)) = open.pop() {
            let node = &self.nodes[at as usize];
            let wildcards = !(system && depth == 0);
            if wildcards && node.hash != NONE {
                value_of(node.hash);
            }
            let Some(&level) = levels.get(depth as usize) else {
                value_of(at);
                continue;
            };
            if wildcards && node.plus != NONE {
                open.push((node.plus, depth + 1));
            }
            if level != NONE
                && let Some(&child) = self.children.get(&(at, level))
            {
                open.push((child, depth + 1));
            }
        }
    }

    /// Returns the number of places for nodes, used or not.
    pub(crate) fn places(&self) -> usize {
        self.nodes.capacity()
    }

    /// Calls `visit` with every filter at these places and its value, in no order.
    pub(crate) fn each_in(&self, places: std::ops::Range<usize>, mut visit: impl FnMut(String, &T)) {
        for place in places {
            if let Some(value) = self.nodes.get(place).and_then(|node| node.value.as_deref()) {
                visit(self.filter_of(place as u32), value);
            }
        }
    }

    fn filter_of(&self, mut at: u32) -> String {
        let mut levels = Vec::new();
        while at != ROOT {
            let node = &self.nodes[at as usize];
            levels.push(match node.level {
                PLUS => "+",
                HASH => "#",
                named => self.levels.text(named),
            });
            at = node.parent;
        }
        levels.reverse();
        levels.join("/")
    }
}

/// Texts of levels and their numbers.
#[derive(Debug, Default)]
struct Levels {
    by_text: HashMap<Arc<str>, u32, RandomState>,
    entries: Slab<(Arc<str>, u32)>,
}

impl Levels {
    #[inline]
    fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    fn text(&self, number: u32) -> &str {
        &self.entries[number as usize].0
    }

    fn acquire(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.by_text.get(text) {
            self.entries[number as usize].1 += 1;
            return number;
        }
        let text: Arc<str> = text.into();
        let number = self.entries.insert((Arc::clone(&text), 1)) as u32;
        self.by_text.insert(text, number);
        number
    }

    fn release(&mut self, number: u32) {
        let (text, uses) = &mut self.entries[number as usize];
        *uses -= 1;
        if *uses == 0 {
            self.by_text.remove(text);
            self.entries.remove(number as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use engine_event::topic::matches;
    use proptest::prelude::*;

    use super::*;

    fn filter_strategy() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("+"), Just("a"), Just("b"), Just(""), Just("$x"), Just("c")];
        (proptest::collection::vec(level, 1..5), any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    fn topic_strategy() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$x"), Just("z")];
        proptest::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(
            changes in proptest::collection::vec((filter_strategy(), any::<bool>()), 0..40),
            topics in proptest::collection::vec(topic_strategy(), 1..10),
        ) {
            let mut trie = Trie::<String>::new();
            let mut model = BTreeSet::new();
            for (filter, add) in changes {
                if add {
                    *trie.get_or_insert(&filter).1 = filter.clone();
                    model.insert(filter);
                } else {
                    let found = trie.find(&filter);
                    prop_assert_eq!(found.is_some(), model.remove(&filter));
                    if let Some(node) = found {
                        trie.remove(node);
                    }
                }
            }
            prop_assert_eq!(trie.len(), model.len());
            for topic in topics.iter().filter(|topic| !topic.is_empty()) {
                let mut got = Vec::new();
                trie.matching(topic, |filter| got.push(filter.clone()));
                got.sort();
                let want: Vec<_> = model
                    .iter()
                    .filter(|filter| matches(filter.as_bytes(), topic.as_bytes()))
                    .cloned()
                    .collect();
                prop_assert_eq!(got, want, "topic {}", topic);
            }
            let mut listed = BTreeSet::new();
            trie.each_in(0..trie.places(), |filter, value| { assert_eq!(&filter, value); listed.insert(filter); });
            prop_assert_eq!(&listed, &model);
            for filter in model {
                let node = trie.find(&filter).expect("is there");
                trie.remove(node);
            }
            prop_assert_eq!(trie.nodes.len(), 1);
            prop_assert!(trie.children.is_empty() && trie.levels.by_text.is_empty());
            prop_assert!(trie.levels.entries.is_empty());
        }
    }
}
