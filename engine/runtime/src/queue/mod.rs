//! Queues of rows: what waits, what was sent, in the order of arrival.

mod memory;
mod row;

use tokio::time::Instant;

pub(crate) use memory::MemoryQueue;
pub(crate) use row::{Obligation, QueuedRow, RowTag};

/// Place of a row in its queue; later rows have higher numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(pub(crate) u64);

impl Sequence {
    /// The place behind this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A queue of rows. A row waits, is leased to be sent, and is then settled or restored to its old place.
///
/// Knows nothing of time, keys or targets. The same model-based tests run against every implementation.
pub(crate) trait Queue: Send {
    /// Appends a waiting row.
    fn push(&mut self, row: QueuedRow) -> Sequence;

    /// The first waiting row at or behind `from`.
    fn peek(&mut self, from: Sequence) -> Option<(Sequence, &QueuedRow)>;

    /// Takes a waiting row to be sent; its place is kept. None when no row waits there.
    fn lease(&mut self, at: Sequence) -> Option<QueuedRow>;

    /// Puts a leased row back to its place, to wait again.
    fn restore(&mut self, at: Sequence, row: QueuedRow);

    /// Ends a leased row.
    fn settle(&mut self, at: Sequence);

    /// Number of waiting rows.
    fn waiting(&self) -> usize;

    /// Bytes of waiting rows.
    fn waiting_bytes(&self) -> u64;

    /// Number of leased rows.
    fn leased(&self) -> usize;

    /// When the oldest row came, be it waiting or leased.
    fn oldest(&self) -> Option<Instant>;
}
