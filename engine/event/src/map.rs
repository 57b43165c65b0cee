//! Maps from text to value: rows, JSON objects, columns.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Text, Value};

/// A map from text to value that keeps the order of insertion.
///
/// Shared on clone, copied on the first write after that. An empty map takes no memory.
#[derive(Clone, Debug, Default)]
pub struct Map(Option<Arc<Entries>>);

/// One result of a rule: what actions and templates see.
pub type Row = Map;

/// Up to this many entries a map is searched from front to back, which is faster than hashing for the few and short
/// keys that rows have.
const SCANNED_MAX: usize = 16;

#[derive(Clone, Debug, Default)]
struct Entries {
    list: Vec<(Text, Value)>,
    /// Places in the list, when it has more than [`SCANNED_MAX`] entries.
    places: Option<Box<Places>>,
}

type Places = HashMap<Text, usize, foldhash::fast::RandomState>;

impl Entries {
    fn place(&self, key: &[u8]) -> Option<usize> {
        match &self.places {
            None => self.list.iter().position(|entry| entry.0.as_bytes() == key),
            Some(places) => places.get(key).copied(),
        }
    }

    /// Adds a key that is not there.
    fn push(&mut self, key: Text, value: Value) -> usize {
        let place = self.list.len();
        if let Some(places) = &mut self.places {
            places.insert(key.clone(), place);
        }
        self.list.push((key, value));
        if place == SCANNED_MAX {
            self.index();
        }
        place
    }

    /// Brings the places in line with the list.
    fn index(&mut self) {
        self.places = (self.list.len() > SCANNED_MAX).then(|| {
            let places = self.list.iter().enumerate().map(|(place, entry)| (entry.0.clone(), place));
            Box::new(places.collect())
        });
    }
}

impl Map {
    /// Makes an empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty map with room for `entries`.
    pub fn with_capacity(entries: usize) -> Self {
        Self(Some(Arc::new(Entries { list: Vec::with_capacity(entries), places: None })))
    }

    /// Makes a map of `entries`, no two of which have the same key.
    pub fn from_distinct(list: Vec<(Text, Value)>) -> Self {
        debug_assert!(
            list.iter().enumerate().all(|(at, (key, _))| list[..at].iter().all(|entry| entry.0 != *key)),
            "a key is there twice"
        );
        let mut entries = Entries { list, places: None };
        if entries.list.len() > SCANNED_MAX {
            entries.index();
        }
        Self(Some(Arc::new(entries)))
    }

    fn entries(&self) -> &Entries {
        static EMPTY: Entries = Entries { list: Vec::new(), places: None };
        self.0.as_deref().unwrap_or(&EMPTY)
    }

    fn entries_mut(&mut self) -> &mut Entries {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Tells whether no other map shares the memory of this one.
    pub fn is_unshared(&self) -> bool {
        self.0.as_ref().is_none_or(|entries| Arc::strong_count(entries) == 1)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries().list.len()
    }

    /// Tells whether the map has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries().list.is_empty()
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Value> {
        let entries = self.entries();
        entries.place(key.as_ref()).map(|place| &entries.list[place].1)
    }

    /// Tells whether `key` is there, be it with an undefined value.
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.entries().place(key.as_ref()).is_some()
    }

    /// Returns the value of `key` for changing it in place.
    pub fn get_mut(&mut self, key: impl AsRef<[u8]>) -> Option<&mut Value> {
        let place = self.entries().place(key.as_ref())?;
        Some(&mut self.entries_mut().list[place].1)
    }

    /// Sets `key`. A key that was there keeps its place in the order.
    pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        let entries = self.entries_mut();
        match entries.place(key.as_bytes()) {
            Some(place) => Some(std::mem::replace(&mut entries.list[place].1, value.into())),
            None => {
                entries.push(key, value.into());
                None
            }
        }
    }

    /// Removes `key`, keeping the order of the others.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Option<Value> {
        let place = self.entries().place(key.as_ref())?;
        let entries = self.entries_mut();
        let (_, value) = entries.list.remove(place);
        entries.index();
        Some(value)
    }

    /// Returns the entry of `key`, made undefined when it was missing.
    pub fn entry(&mut self, key: impl Into<Text>) -> &mut Value {
        let key = key.into();
        let entries = self.entries_mut();
        let place = match entries.place(key.as_bytes()) {
            Some(place) => place,
            None => entries.push(key, Value::Undefined),
        };
        &mut entries.list[place].1
    }

    /// Entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.entries().list.iter())
    }

    /// Keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Text> {
        self.entries().list.iter().map(|entry| &entry.0)
    }

    /// Values in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.entries().list.iter().map(|entry| &entry.1)
    }

    /// Estimated size in memory, in bytes.
    pub fn size_bytes(&self) -> usize {
        let entries: usize = self.iter().map(|(key, value)| key.len() + 48 + value.size_bytes()).sum();
        64 + entries
    }
}

/// Equal whatever their order.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        matches!((&self.0, &other.0), (Some(own), Some(others)) if Arc::ptr_eq(own, others))
            || self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Into<Text>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut map = Self::with_capacity(entries.size_hint().0);
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().list.into_iter()
    }
}

/// Entries of a map in order.
#[derive(Clone, Debug)]
pub struct Iter<'a>(std::slice::Iter<'a, (Text, Value)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Text, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|entry| (&entry.0, &entry.1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|entry| (&entry.0, &entry.1))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_any_size_keep_their_order_and_find_their_keys() {
        for size in [0, 1, SCANNED_MAX - 1, SCANNED_MAX, SCANNED_MAX + 1, 100] {
            let key = |number: usize| format!("k{number}");
            let mut map: Map = (0..size).map(|number| (key(number), number as i64)).collect();
            assert!((0..size).all(|number| map.get(key(number)) == Some(&Value::Int(number as i64))));
            assert_eq!(map.get(key(size)), None);
            map.insert(key(0), 7_i64);
            *map.entry(key(size)) = Value::Null;
            let gone = map.remove(key(size / 2));
            assert!(gone.is_some());
            assert_eq!(map.get(key(size / 2)), None);
            let numbers = (0..=size).filter(|number| *number != size / 2);
            assert!(
                map.keys().eq(numbers
                    .clone()
                    .map(|number| Text::from(key(number)))
                    .collect::<Vec<_>>()
                    .iter())
            );
            assert!(numbers.clone().all(|number| map.contains_key(key(number))), "{size}");
            let shared = map.clone();
            map.insert("new", 1_i64);
            assert!(!shared.contains_key("new"));
            let list: Vec<(Text, Value)> = shared.clone().into_iter().collect();
            let made = Map::from_distinct(list);
            assert_eq!(made, shared);
            assert!(shared.keys().all(|key| made.contains_key(key)));
            let turned: Map = shared.iter().rev().map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(turned, shared);
        }
    }
}
