//! Payload paths as a trie.

use engine_event::Value;

use crate::evaluate::ReadStep;

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
    /// Every slot here and below.
    slots: Vec<u16>,
}

impl Node {
    /// Adds a path.
    pub(super) fn insert(&mut self, path: &[ReadStep], slot: u16) {
        self.slots.push(slot);
        let Some((step, rest)) = path.split_first() else {
            self.slot = Some(slot);
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
                self.keys[at].1.insert(rest, slot);
            }
            element => {
                let at = match self.elements.iter().position(|entry| entry.0 == *element) {
                    Some(at) => at,
                    None => {
                        self.elements.push((element.clone(), Self::default()));
                        self.elements.len() - 1
                    }
                };
                self.elements[at].1.insert(rest, slot);
            }
        }
    }

    /// Brings the keys in order, when all paths are there.
    pub(super) fn seal(&mut self) {
        self.keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.keys.iter_mut().for_each(|entry| entry.1.seal());
        self.elements.iter_mut().for_each(|entry| entry.1.seal());
    }

    /// What is read below `key`.
    pub(super) fn key(&self, key: &str) -> Option<&Self> {
        if self.keys.len() < SORTED_SEARCH_MIN {
            self.keys.iter().find(|entry| *entry.0 == *key).map(|entry| &entry.1)
        } else {
            let at = self.keys.binary_search_by(|entry| (*entry.0).cmp(key)).ok()?;
            Some(&self.keys[at].1)
        }
    }

    /// What is read below keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.keys.iter().map(|entry| (&*entry.0, &entry.1))
    }

    /// Tells whether something is read below the value.
    pub(super) fn has_steps(&self) -> bool {
        !self.keys.is_empty() || !self.elements.is_empty()
    }

    /// Tells whether elements are counted from the end.
    pub(super) fn counts_from_end(&self) -> bool {
        self.elements.iter().any(|entry| matches!(entry.0, ReadStep::End(_)))
    }

    /// Forgets what was read here and below.
    pub(super) fn clear(&self, values: &mut [Value]) {
        for slot in &self.slots {
            values[usize::from(*slot)] = Value::Undefined;
        }
    }
}
