//! What functions see of a run.

use std::cell::Cell;

use engine_event::{Event, Text, Value};

use crate::EvalError;
use crate::evaluate::RUN_BYTES_MAX;
use crate::functions::{CompiledCache, FunctionContext};

/// The context of functions: the world of the runtime, with the event and the texts that the plan has compiled.
pub(super) struct RunContext<'a> {
    event: &'a Event,
    world: &'a dyn FunctionContext,
    compiled: &'a CompiledCache,
    /// Bytes that the run has made.
    made: Cell<usize>,
}

impl<'a> RunContext<'a> {
    pub(super) fn new(event: &'a Event, world: &'a dyn FunctionContext, compiled: &'a CompiledCache) -> Self {
        Self { event, world, compiled, made: Cell::new(0) }
    }
}

impl FunctionContext for RunContext<'_> {
    fn now_ms(&self) -> i64 {
        self.world.now_ms()
    }

    fn now_ns(&self) -> i128 {
        self.world.now_ns()
    }

    fn stopwatch_ms(&self) -> u64 {
        self.world.stopwatch_ms()
    }

    fn random(&self) -> u64 {
        self.world.random()
    }

    fn local_offset_seconds(&self, unix_seconds: i64) -> i32 {
        self.world.local_offset_seconds(unix_seconds)
    }

    fn column(&self, name: &str) -> Value {
        self.event.column_named(name)
    }

    fn environment_variable(&self, name: &str) -> Option<Text> {
        self.world.environment_variable(name)
    }

    fn store_get(&self, key: &Value) -> Value {
        self.world.store_get(key)
    }

    fn store_put(&self, key: &Value, value: &Value) -> Result<(), String> {
        self.world.store_put(key, value)
    }

    fn store_delete(&self, key: &Value) {
        self.world.store_delete(key);
    }

    fn scratch_get(&self, key: &Value) -> Value {
        self.world.scratch_get(key)
    }

    fn scratch_put(&self, key: &Value, value: &Value) -> Result<Value, String> {
        self.world.scratch_put(key, value)
    }

    fn scratch_delete(&self, key: &Value) -> Value {
        self.world.scratch_delete(key)
    }

    fn compiled(&self) -> &CompiledCache {
        self.compiled
    }

    fn jq_time_limit_ms(&self) -> u64 {
        self.world.jq_time_limit_ms()
    }

    fn made(&self, bytes: usize) -> Result<(), EvalError> {
        let made = self.made.get().saturating_add(bytes);
        self.made.set(made);
        if made > RUN_BYTES_MAX {
            return Err(EvalError::SizeLimit { what: "what the rule makes of one event", limit: "256 MiB" });
        }
        Ok(())
    }
}
