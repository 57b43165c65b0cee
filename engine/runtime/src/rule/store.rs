//! The key-value store that all rules share (`kv_store_put` and so on): in memory, with a limit.

use std::collections::HashMap;

use engine_event::{JsonOptions, Value, encode_json_into};
use parking_lot::Mutex;

/// Bytes that keys and values may take together.
const BYTES_MAX: usize = 64 << 20;

/// A bounded store in memory.
#[derive(Debug)]
pub(super) struct KeyValueStore {
    entries: Mutex<Entries>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Entries {
    values: HashMap<Vec<u8>, Value, foldhash::fast::RandomState>,
    bytes: usize,
}

impl Default for KeyValueStore {
    fn default() -> Self {
        Self { entries: Mutex::default(), bytes_max: BYTES_MAX }
    }
}

impl KeyValueStore {
    pub(super) fn get(&self, key: &[u8]) -> Value {
        self.entries.lock().values.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn put(&self, key: Vec<u8>, value: &Value) -> Result<(), String> {
        let mut entries = self.entries.lock();
        let before = entries.values.get(&key).map_or(0, |value| size(&key, value));
        let bytes = entries.bytes - before + size(&key, value);
        if bytes > self.bytes_max {
            return Err(format!("the store is full: it holds {} bytes", entries.bytes));
        }
        entries.bytes = bytes;
        entries.values.insert(key, value.clone());
        Ok(())
    }

    pub(super) fn delete(&self, key: &[u8]) {
        let mut entries = self.entries.lock();
        if let Some(value) = entries.values.remove(key) {
            entries.bytes -= size(key, &value);
        }
    }
}

fn size(key: &[u8], value: &Value) -> usize {
    key.len() + 64 + value.size_bytes()
}

/// A key as bytes: values of different type or content have different bytes.
pub(super) fn store_key(key: &Value) -> Vec<u8> {
    match key {
        Value::Undefined => b"undefined".to_vec(),
        Value::Text(text) => [b"\"", text.as_bytes()].concat(),
        other => {
            let mut bytes = Vec::new();
            encode_json_into(other, JsonOptions::default(), &mut bytes);
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_refuses_what_does_not_fit() {
        let store = KeyValueStore { bytes_max: 300, ..KeyValueStore::default() };
        let key = || store_key(&Value::text("k"));
        store.put(key(), &Value::from("x".repeat(100))).unwrap();
        assert!(store.put(store_key(&Value::text("l")), &Value::from("x".repeat(100))).is_err());
        store.put(key(), &Value::from("y".repeat(100))).expect("replacing needs no more room");
        assert_eq!(store.get(&key()), Value::from("y".repeat(100)));
        store.delete(&key());
        assert_eq!(store.get(&key()), Value::Undefined);
        assert_eq!(store.entries.lock().bytes, 0);
    }

    #[test]
    fn keys_of_different_type_differ() {
        assert_ne!(store_key(&Value::Int(1)), store_key(&Value::Float(1.0)));
        assert_ne!(store_key(&Value::Int(1)), store_key(&Value::text("1")));
        assert_ne!(store_key(&Value::Undefined), store_key(&Value::Null));
    }
}
