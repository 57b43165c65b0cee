//! How large the values and rows may be that a rule makes.
//!
//! Arrays and maps are shared when they are copied, so that a few fields that each hold the one before twice cost next
//! to nothing until somebody prints, compares or walks them. Sizes are therefore counted with all copies.

use engine_event::{Map, Value};

use crate::EvalError;

/// Bytes of one text, and of all texts and keys of one value or row.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 20;

/// Values inside one value or row.
const VALUES_MAX: usize = 1_000_000;

/// Levels of arrays and maps inside each other. Walking a value takes stack for each.
const LEVELS_MAX: usize = 600;

/// Bytes that all which a rule makes of one event may take.
pub(crate) const RUN_BYTES_MAX: usize = 256 << 20;

/// Bytes of a text up to which it is not counted what a rule makes: so much less than an event.
pub(crate) const FREE_TEXT_BYTES: usize = 1024;

/// Elements of an array, or entries of a map, up to which they are not counted.
pub(crate) const FREE_ITEMS: usize = 32;

/// What some values hold, all copies counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    values: usize,
    bytes: usize,
}

impl Size {
    /// Adds a value.
    ///
    /// # Errors
    /// Which limit it would go beyond; then it was not looked through any further. `what` is what grew.
    pub(crate) fn add(&mut self, what: &'static str, value: &Value) -> Result<(), EvalError> {
        self.walk(value, 0).map_err(|limit| EvalError::SizeLimit { what, limit })
    }

    /// Checks one value.
    ///
    /// # Errors
    /// Which limit it goes beyond.
    pub(crate) fn check(value: &Value) -> Result<(), EvalError> {
        Self::default().add("the value", value)
    }

    fn walk(&mut self, value: &Value, level: usize) -> Result<(), &'static str> {
        self.values += 1;
        match value {
            Value::Text(text) => self.bytes = self.bytes.saturating_add(text.len()),
            Value::BigInt(number) => self.bytes += (number.bits() / 8) as usize,
            Value::Array(items) => {
                self.sound(level)?;
                items.iter().try_for_each(|item| self.walk(item, level + 1))?;
            }
            Value::Map(map) => {
                self.sound(level)?;
                for (key, value) in map {
                    self.bytes = self.bytes.saturating_add(key.len());
                    self.walk(value, level + 1)?;
                }
            }
            _ => {}
        }
        self.sound(0)
    }

    fn sound(&self, level: usize) -> Result<(), &'static str> {
        match () {
            () if self.values > VALUES_MAX => Err("1000000 values"),
            () if self.bytes > TEXT_BYTES_MAX => Err("64 MiB"),
            () if level >= LEVELS_MAX => Err("600 levels"),
            () => Ok(()),
        }
    }
}

/// Bytes that only this value holds in memory: what was made anew, not what it shares with others.
pub(crate) fn own_bytes(value: &Value) -> usize {
    const ENTRY: usize = size_of::<Value>();
    match value {
        Value::Text(text) if text.bytes().is_unique() => text.len(),
        Value::Array(items) if std::sync::Arc::strong_count(items) == 1 => {
            items.iter().map(|item| ENTRY + own_bytes(item)).sum()
        }
        Value::Map(map) if map.is_unshared() => own_map_bytes(map),
        _ => 0,
    }
}

fn own_map_bytes(map: &Map) -> usize {
    map.values().map(|value| 2 * size_of::<Value>() + own_bytes(value)).sum()
}
