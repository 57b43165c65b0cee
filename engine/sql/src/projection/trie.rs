//! Payload paths as a trie.

use engine_event::Value;

use crate::evaluate::ReadStep;

use super::Filled;

/// From this many keys on, they are searched by halving.
const SORTED_SEARCH_MIN: usize = 9;

/// A place in a payload: what is read there and below.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The slot of the value itself.
    pub(super) slot: Option<u16>,
    /// Keys in order, with what is read below each.
    keys: Vec<(Box<str>, Node)>,
    /// Elements, with what is read below each.
    pub(super) elements: Vec<(ReadStep, Node)>,
    /// What is read of each element of the array here.
    pub(super) each: Option<Box<Each>>,
    /// Elements are read here or below.
    has_each: bool,
    /// Every slot here and below.
    slots: Vec<u16>,
}

/// What is read of each element of an array.
#[derive(Debug, Default)]
pub(crate) struct Each {
    /// Slots of an element.
    pub(super) width: usize,
    pub(super) node: Node,
}

impl Node {
    /// Adds a path.
    pub(super) fn insert(&mut self, path: &[ReadStep], slot: u16) {
        self.add(path, slot, None);
    }

    /// Adds the path of an array of which only something of each element is read.
    pub(super) fn insert_each(&mut self, path: &[ReadStep], slot: u16, each: Each) {
        self.add(path, slot, Some(Box::new(each)));
    }

    fn add(&mut self, path: &[ReadStep], slot: u16, each: Option<Box<Each>>) {
        self.slots.push(slot);
        self.has_each |= each.is_some();
        let Some((step, rest)) = path.split_first() else {
            match each {
                Some(each) => self.each = Some(each),
                None => self.slot = Some(slot),
            }
            return;
        };
        match step {
            // keys of JSON are UTF-8, so another key is never found
            ReadStep::Key(key) => {
                let key = key.to_str_lossy();
                let at = match self.keys.iter().position(|entry| *entry.0 == *key) {
                    Some(at) => at,
                    None => {
                        self.keys.push((key.into(), Self::default()));
                        self.keys.len() - 1
                    }
                };
                self.keys[at].1.add(rest, slot, each);
            }
            element => {
                let at = match self.elements.iter().position(|entry| entry.0 == *element) {
                    Some(at) => at,
                    None => {
                        self.elements.push((element.clone(), Self::default()));
                        self.elements.len() - 1
                    }
                };
                self.elements[at].1.add(rest, slot, each);
            }
        }
    }

    /// Brings the keys in order, when all paths are there.
    pub(super) fn seal(&mut self) {
        self.keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.keys.iter_mut().for_each(|entry| entry.1.seal());
        self.elements.iter_mut().for_each(|entry| entry.1.seal());
        if let Some(each) = &mut self.each {
            each.node.seal();
        }
    }

    /// What is read below `key`.
    pub(super) fn key(&self, key: &[u8]) -> Option<&Self> {
        if self.keys.len() < SORTED_SEARCH_MIN {
            self.keys.iter().find(|entry| is_same(entry.0.as_bytes(), key)).map(|entry| &entry.1)
        } else {
            let at = self.keys.binary_search_by(|entry| entry.0.as_bytes().cmp(key)).ok()?;
            Some(&self.keys[at].1)
        }
    }

    /// What is read below keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.keys.iter().map(|entry| (&*entry.0, &entry.1))
    }

    /// Tells whether something is read below the value.
    pub(super) fn has_steps(&self) -> bool {
        !self.keys.is_empty() || !self.elements.is_empty() || self.each.is_some()
    }

    /// Tells whether elements are counted from the end.
    pub(super) fn counts_from_end(&self) -> bool {
        self.elements.iter().any(|entry| matches!(entry.0, ReadStep::End(_)))
    }

    /// Forgets what was read here and below.
    pub(super) fn clear(&self, filled: &mut Filled<'_>) {
        for slot in &self.slots {
            filled.values[usize::from(*slot)] = Value::Undefined;
        }
        if let (true, Some(elements)) = (self.has_each, filled.elements.as_deref_mut()) {
            elements.clear();
        }
    }
}

/// Compares keys; most differ in their length or first byte.
#[inline]
fn is_same(key: &[u8], other: &[u8]) -> bool {
    key.len() == other.len() && key.first() == other.first() && key == other
}

impl Each {
    /// Makes it of the paths below an element, in the order of their slots.
    pub(super) fn new(paths: &[Vec<ReadStep>]) -> Self {
        let mut node = Node::default();
        for (slot, path) in paths.iter().enumerate() {
            node.insert(path, super::slot_number(slot));
        }
        node.seal();
        Self { width: paths.len(), node }
    }
}
