//! Regular expressions and jq programs, compiled once per plan.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use regex::bytes::{Regex, RegexBuilder};

use super::jq_program::Program;

/// Entries of each kind that a cache keeps; beyond, it starts anew.
const ENTRIES_MAX: usize = 64;

/// Bytes that a compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What functions compile from texts, kept for the next run of the same plan.
///
/// A rule uses a handful of patterns, nearly always literals; the limit only matters for patterns made from data.
#[derive(Debug, Default)]
pub struct CompiledCache {
    regexes: Entries<Regex>,
    programs: Entries<Program>,
}

impl CompiledCache {
    /// Makes an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the compiled form of a regular expression: on bytes if it can be, else on characters.
    pub(crate) fn regex(&self, pattern: &str) -> Result<Arc<Regex>, String> {
        self.regexes.get_or_make(pattern, |pattern| {
            let build =
                |unicode| RegexBuilder::new(pattern).unicode(unicode).size_limit(REGEX_BYTES_MAX).build();
            build(false).or_else(|_| build(true)).map_err(|error| error.to_string())
        })
    }

    /// Returns the compiled form of a jq program.
    pub(crate) fn jq(&self, source: &str) -> Result<Arc<Program>, String> {
        self.programs.get_or_make(source, Program::compile)
    }
}

#[cfg(test)]
impl CompiledCache {
    /// Numbers of expressions and programs that are kept.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.regexes.len(), self.programs.len())
    }
}

/// A small map from source text to compiled form.
#[derive(Debug)]
struct Entries<T>(RwLock<HashMap<Box<str>, Arc<T>, foldhash::fast::RandomState>>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Entries<T> {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn get_or_make(
        &self,
        source: &str,
        make: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(source) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(make(source)?);
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(source.into(), Arc::clone(&made));
        Ok(made)
    }
}
