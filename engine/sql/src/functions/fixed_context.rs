//! A context that stands still, for tests and examples.

use std::cell::{Cell, RefCell};

use engine_event::{Map, Text, Value};

use super::{CompiledCache, FunctionContext};

/// A [`FunctionContext`] whose clock stands and whose dice always fall the same way.
#[derive(Debug, Default)]
pub struct FixedContext {
    /// Wall time, Unix nanoseconds.
    pub now_ns: i128,
    /// Offset of the local time zone, in seconds.
    pub offset_seconds: i32,
    /// Columns of the event.
    pub columns: Map,
    /// Environment variables.
    pub environment: Map,
    /// How far each look at the stopwatch moves it.
    pub stopwatch_step_ms: u64,
    compiled: CompiledCache,
    stopwatch_ms: Cell<u64>,
    dice: Cell<u64>,
    store: RefCell<Vec<(Value, Value)>>,
    scratch: RefCell<Vec<(Value, Value)>>,
}

impl FixedContext {
    /// Makes a context with an empty event, in UTC, at 2023-11-14T22:13:20.123456789Z.
    pub fn new() -> Self {
        Self { now_ns: 1_700_000_000_123_456_789, ..Self::default() }
    }
}

impl FunctionContext for FixedContext {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.now_ns.div_euclid(1_000_000)).unwrap_or(i64::MAX)
    }

    fn now_ns(&self) -> i128 {
        self.now_ns
    }

    fn stopwatch_ms(&self) -> u64 {
        let now = self.stopwatch_ms.get().saturating_add(self.stopwatch_step_ms);
        self.stopwatch_ms.set(now);
        now
    }

    fn random(&self) -> u64 {
        let state = self.dice.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.dice.set(state);
        // SplitMix64
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn local_offset_seconds(&self, _unix_seconds: i64) -> i32 {
        self.offset_seconds
    }

    fn column(&self, name: &str) -> Value {
        self.columns.get(name).cloned().unwrap_or_default()
    }

    fn environment_variable(&self, name: &str) -> Option<Text> {
        self.environment.get(name).and_then(Value::as_text).cloned()
    }

    fn store_get(&self, key: &Value) -> Value {
        get(&self.store, key)
    }

    fn store_put(&self, key: &Value, value: &Value) -> Result<(), String> {
        put(&self.store, key, value);
        Ok(())
    }

    fn store_delete(&self, key: &Value) {
        delete(&self.store, key);
    }

    fn scratch_get(&self, key: &Value) -> Value {
        get(&self.scratch, key)
    }

    fn scratch_put(&self, key: &Value, value: &Value) -> Result<Value, String> {
        Ok(put(&self.scratch, key, value))
    }

    fn scratch_delete(&self, key: &Value) -> Value {
        delete(&self.scratch, key)
    }

    fn compiled(&self) -> &CompiledCache {
        &self.compiled
    }
}

fn get(entries: &RefCell<Vec<(Value, Value)>>, key: &Value) -> Value {
    let entries = entries.borrow();
    entries.iter().find(|entry| entry.0 == *key).map(|entry| entry.1.clone()).unwrap_or_default()
}

fn put(entries: &RefCell<Vec<(Value, Value)>>, key: &Value, value: &Value) -> Value {
    let before = delete(entries, key);
    entries.borrow_mut().push((key.clone(), value.clone()));
    before
}

fn delete(entries: &RefCell<Vec<(Value, Value)>>, key: &Value) -> Value {
    let mut entries = entries.borrow_mut();
    match entries.iter().position(|entry| entry.0 == *key) {
        Some(at) => entries.swap_remove(at).1,
        None => Value::Undefined,
    }
}
