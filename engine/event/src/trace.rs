//! The seam to traces: lines of what happens to a client, a topic or a rule that somebody follows.

use std::net::SocketAddr;

use crate::{Text, Value};

/// Some of the traces that run. Each has a number of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceSet(u64);

impl TraceSet {
    /// How many numbers there are, from 0.
    pub const NUMBERS: u8 = 64;

    /// No trace.
    pub const EMPTY: Self = Self(0);

    /// The trace of that number.
    ///
    /// # Panics
    /// When the number is 64 or more.
    pub fn of(number: u8) -> Self {
        assert!(number < Self::NUMBERS, "trace numbers go up to 63");
        Self(1 << number)
    }

    /// Restores a set from [`TraceSet::bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// One bit for each number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The traces of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Tells whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers, in order.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..Self::NUMBERS).filter(move |number| self.0 & (1 << number) != 0)
    }
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceLevel {
    /// A step that goes as it should.
    #[default]
    Debug,
    /// A beginning or an end.
    Info,
    /// Something was refused or dropped.
    Warning,
    /// Something failed.
    Error,
}

impl TraceLevel {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One step of what is followed: a line of a trace.
#[derive(Clone, Debug, Default)]
pub struct TraceEvent {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// How much it matters.
    pub level: TraceLevel,
    /// The part of the server, `MQTT`.
    pub tag: &'static str,
    /// What happened, `connect_received`.
    pub what: &'static str,
    /// The client.
    pub client_id: Option<Text>,
    /// Its user name.
    pub username: Option<Text>,
    /// Its address.
    pub peer: Option<SocketAddr>,
    /// What else there is to know. No secrets: lines are written as they are.
    pub fields: Vec<(&'static str, Value)>,
    /// What the trace may leave out, shorten or write in another way: a payload or a row, with its name.
    pub payload: Option<(&'static str, Text)>,
}

impl TraceEvent {
    /// Begins a line.
    pub fn new(at_ms: i64, tag: &'static str, what: &'static str) -> Self {
        Self { at_ms, tag, what, ..Self::default() }
    }

    /// Says how much it matters.
    #[must_use]
    pub fn level(mut self, level: TraceLevel) -> Self {
        self.level = level;
        self
    }

    /// Adds something to know.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds something to know, if there is something.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds what may be left out.
    #[must_use]
    pub fn payload(mut self, name: &'static str, payload: Text) -> Self {
        self.payload = Some((name, payload));
        self
    }

    /// About how much memory it holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        let texts = [&self.client_id, &self.username].into_iter().flatten().map(Text::len).sum::<usize>();
        let fields = self.fields.iter().map(|(_, value)| size_of::<(&str, Value)>() + value.size_bytes());
        let payload = self.payload.as_ref().map_or(0, |(_, payload)| payload.len());
        size_of::<Self>() + texts + fields.sum::<usize>() + payload
    }
}

/// Where lines of traces go.
pub trait Tracer: Send + Sync {
    /// Writes a line into each of these traces. Called on the thread where the thing happened, under its locks, so it
    /// never waits: what there is no room for is counted and lost.
    fn trace(&self, to: TraceSet, event: TraceEvent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_name_their_traces() {
        let set = TraceSet::of(63).and(TraceSet::of(0)).and(TraceSet::of(5));
        assert_eq!(set.numbers().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(TraceSet::from_bits(set.bits()), set);
        assert!(TraceSet::EMPTY.is_empty() && !set.is_empty());
    }
}
