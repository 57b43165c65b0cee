//! What functions may know of the world outside their arguments.

use engine_event::{Text, Value};

use crate::EvalError;

use super::CompiledCache;

/// Time that a `jq` call has when it names none and the server sets no other, in milliseconds. Rules run on the thread
/// that serves the publisher and many other clients: all of them wait while a program runs.
pub const JQ_TIME_LIMIT_MS: u64 = 100;

/// The surroundings of a rule run, as functions see them. Filled in by the runtime.
pub trait FunctionContext {
    /// Wall time, Unix milliseconds.
    fn now_ms(&self) -> i64;

    /// Wall time, Unix nanoseconds; override it where the clock is finer than milliseconds.
    fn now_ns(&self) -> i128 {
        i128::from(self.now_ms()) * 1_000_000
    }

    /// Milliseconds of a clock that only goes forward while a function runs: time limits are kept by it.
    fn stopwatch_ms(&self) -> u64;

    /// 64 random bits.
    fn random(&self) -> u64;

    /// The offset of the server's time zone from UTC at a Unix time, in seconds, positive in the east.
    fn local_offset_seconds(&self, unix_seconds: i64) -> i32;

    /// Value of a column of the event; undefined when it has none.
    fn column(&self, name: &str) -> Value;

    /// Value of an environment variable of the server, by its whole name.
    fn environment_variable(&self, name: &str) -> Option<Text>;

    /// Value of `key` in the store that all rules share; undefined when it is missing.
    fn store_get(&self, key: &Value) -> Value;

    /// Sets `key` in the store that all rules share.
    ///
    /// # Errors
    /// Says why when the store is full.
    fn store_put(&self, key: &Value, value: &Value) -> Result<(), String>;

    /// Removes `key` from the store that all rules share.
    fn store_delete(&self, key: &Value);

    /// Value of `key` in the store of this run's connection; undefined when it is missing.
    fn scratch_get(&self, key: &Value) -> Value;

    /// Sets `key` in the store of this run's connection; returns what was there.
    ///
    /// # Errors
    /// Says why when the store is full.
    fn scratch_put(&self, key: &Value, value: &Value) -> Result<Value, String>;

    /// Removes `key` from the store of this run's connection; returns what was there.
    fn scratch_delete(&self, key: &Value) -> Value;

    /// Compiled regular expressions and jq programs, kept between runs of the same plan.
    fn compiled(&self) -> &CompiledCache;

    /// Counts `bytes` that were made for this run.
    ///
    /// # Errors
    /// When all that the run has made is more than a rule may make of one event.
    fn made(&self, _bytes: usize) -> Result<(), EvalError> {
        Ok(())
    }

    /// Time limit of a `jq` call that names none.
    fn jq_time_limit_ms(&self) -> u64 {
        JQ_TIME_LIMIT_MS
    }
}
