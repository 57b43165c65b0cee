//! What functions of the rule language see of the world.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{Local, Offset as _, TimeZone as _};
use engine_event::{Clock, Event, Text, Value};
use engine_sql::functions::{CompiledCache, FunctionContext};
use parking_lot::RwLock;

use super::store::{KeyValueStore, store_key};

/// Entries that a run may keep for itself.
const SCRATCH_ENTRIES_MAX: usize = 1024;

/// Rules see only environment variables with one of these prefixes.
const ENVIRONMENT_PREFIXES: [&str; 2] = ["SLUICEVAR_", "EMQXVAR_"];

/// What all runs share.
pub(crate) struct Environment {
    clock: Arc<dyn Clock>,
    store: KeyValueStore,
    jq_time_limit_ms: u64,
    /// Environment variables that were asked for; they do not change while the server runs.
    variables: RwLock<HashMap<String, Option<Text>>>,
    started: Instant,
}

impl Environment {
    pub(crate) fn new(clock: Arc<dyn Clock>, jq_time_limit_ms: u64) -> Self {
        Self {
            clock,
            store: KeyValueStore::default(),
            jq_time_limit_ms,
            variables: RwLock::default(),
            started: Instant::now(),
        }
    }

    /// The surroundings of one run.
    pub(crate) fn context<'a>(&'a self, event: &'a Event) -> RunContext<'a> {
        RunContext { shared: self, event, compiled: CompiledCache::new(), scratch: RefCell::default() }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment")
    }
}

/// The surroundings of one run of one rule.
pub(crate) struct RunContext<'a> {
    shared: &'a Environment,
    event: &'a Event,
    compiled: CompiledCache,
    scratch: RefCell<Vec<(Value, Value)>>,
}

impl FunctionContext for RunContext<'_> {
    fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    fn stopwatch_ms(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn local_offset_seconds(&self, unix_seconds: i64) -> i32 {
        let at = Local.timestamp_opt(unix_seconds, 0).single();
        at.map_or(0, |at| at.offset().fix().local_minus_utc())
    }

    fn column(&self, name: &str) -> Value {
        self.event.column_named(name)
    }

    fn environment_variable(&self, name: &str) -> Option<Text> {
        if !ENVIRONMENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        if let Some(known) = self.shared.variables.read().get(name) {
            return known.clone();
        }
        let value = std::env::var(name).ok().map(Text::from);
        let mut variables = self.shared.variables.write();
        // names may be made from data
        if variables.len() < 1024 {
            variables.insert(name.to_owned(), value.clone());
        }
        value
    }

    fn store_get(&self, key: &Value) -> Value {
        self.shared.store.get(&store_key(key))
    }

    fn store_put(&self, key: &Value, value: &Value) -> Result<(), String> {
        self.shared.store.put(store_key(key), value)
    }

    fn store_delete(&self, key: &Value) {
        self.shared.store.delete(&store_key(key));
    }

    fn scratch_get(&self, key: &Value) -> Value {
        let entries = self.scratch.borrow();
        entries.iter().find(|entry| entry.0 == *key).map(|entry| entry.1.clone()).unwrap_or_default()
    }

    fn scratch_put(&self, key: &Value, value: &Value) -> Result<Value, String> {
        let before = self.scratch_delete(key);
        let mut entries = self.scratch.borrow_mut();
        if entries.len() >= SCRATCH_ENTRIES_MAX {
            return Err(format!("more than {SCRATCH_ENTRIES_MAX} entries in one run"));
        }
        entries.push((key.clone(), value.clone()));
        Ok(before)
    }

    fn scratch_delete(&self, key: &Value) -> Value {
        let mut entries = self.scratch.borrow_mut();
        match entries.iter().position(|entry| entry.0 == *key) {
            Some(at) => entries.swap_remove(at).1,
            None => Value::Undefined,
        }
    }

    fn compiled(&self) -> &CompiledCache {
        &self.compiled
    }

    fn jq_time_limit_ms(&self) -> u64 {
        self.shared.jq_time_limit_ms
    }
}
