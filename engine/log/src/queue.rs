//! What waits to be written: the records of a batch in the very buffers that are handed to the kernel.

use crate::completion::Completion;
use crate::error::{AppendError, CommitError};
use crate::format::{RECORD_HEADER_LEN, encode_record};
use crate::options::Durability;

/// What a waiting record counts for in `pending_bytes_max`, beside its payload: header and completion.
pub(crate) const RECORD_COST: usize = RECORD_HEADER_LEN + 112;

/// Buffers have this size, so that none is ever moved to grow; a longer record has its own.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// Whole records with sequences that follow each other.
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first: u64,
    pub(crate) records: u64,
}

impl Block {
    /// One past the last sequence.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.records
    }
}

/// The records of one commit.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) blocks: Vec<Block>,
    pub(crate) await_write: Vec<Completion>,
    pub(crate) await_sync: Vec<Completion>,
    pub(crate) records: usize,
    /// What it counts for in `pending_bytes_max`.
    pub(crate) cost: usize,
}

impl Batch {
    /// Number of records that someone waits for.
    pub(crate) fn waiters(&self) -> usize {
        self.await_write.len() + self.await_sync.len()
    }

    fn push(&mut self, record: &Record<'_>, sequence: u64, block_bytes: usize, spare: &mut Option<Vec<u8>>) {
        let length = record.len();
        let room = |block: &Block| block.bytes.capacity() - block.bytes.len() >= RECORD_HEADER_LEN + length;
        if !self.blocks.last().is_some_and(room) {
            let capacity = block_bytes.max(RECORD_HEADER_LEN + length);
            let bytes = spare.take().filter(|bytes| bytes.capacity() >= capacity);
            let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(capacity));
            self.blocks.push(Block { bytes, first: sequence, records: 0 });
        }
        let block = self.blocks.last_mut().expect("a block with room");
        block.bytes.extend_from_slice(&encode_record(sequence, length as u32, record.payload_crc));
        block.bytes.extend_from_slice(record.head);
        block.bytes.extend_from_slice(record.body);
        block.records += 1;
        self.records += 1;
        self.cost += length + RECORD_COST;
    }
}

pub(crate) struct Record<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) payload_crc: u32,
}

impl Record<'_> {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// When an appender wakes the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeWhen {
    /// It is writing, and looks at the queue afterwards.
    Never,
    /// It has nothing to do.
    AnyRecord,
    /// It collects: this many wait for an answer, or there are bytes enough for a write.
    Waiters(usize),
}

/// A batch with so much in it is not made to wait for more.
pub(crate) const COLLECT_BYTES: usize = 1 << 20;

/// The open batch. Its lock is held for the copy of one record at most, and never together with that of the table.
pub(crate) struct Queue {
    pub(crate) batch: Batch,
    pub(crate) next: u64,
    /// What the batch that is being written counts for.
    pub(crate) writing_cost: usize,
    pub(crate) wake_when: WakeWhen,
    /// The writer has something to look at, beside records.
    pub(crate) chores: bool,
    pub(crate) closing: bool,
    pub(crate) broken: Option<CommitError>,
    /// A buffer to use again.
    pub(crate) spare: Option<Vec<u8>>,
    pub(crate) block_bytes: usize,
}

/// What the queue cannot know of itself.
pub(crate) struct Room {
    pub(crate) pending_bytes_max: usize,
    pub(crate) size_bytes_max: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) disk_low: bool,
}

impl Queue {
    pub(crate) fn new(next: u64, segment_bytes: u64) -> Self {
        let block_bytes = usize::try_from(segment_bytes).map_or(BLOCK_BYTES, |bytes| bytes.min(BLOCK_BYTES));
        Self {
            batch: Batch::default(),
            next,
            writing_cost: 0,
            wake_when: WakeWhen::Never,
            chores: false,
            closing: false,
            broken: None,
            spare: None,
            block_bytes: block_bytes.saturating_sub(crate::format::HEADER_LEN),
        }
    }

    pub(crate) fn pending_cost(&self) -> usize {
        self.batch.cost + self.writing_cost
    }

    /// Says why a record of `length` bytes cannot be taken now.
    pub(crate) fn check(&self, length: usize, room: &Room) -> Result<(), AppendError> {
        if let Some(error) = &self.broken {
            return Err(AppendError::Broken(error.clone()));
        }
        if self.closing {
            return Err(AppendError::Closed);
        }
        if room.disk_low {
            return Err(AppendError::DiskLow);
        }
        let pending_bytes = self.pending_cost();
        let cost = length + RECORD_COST;
        if room.stored_bytes.saturating_add((pending_bytes + cost) as u64) > room.size_bytes_max {
            return Err(AppendError::LogFull { bytes_max: room.size_bytes_max });
        }
        if pending_bytes + cost > room.pending_bytes_max {
            return Err(AppendError::Full { pending_bytes });
        }
        Ok(())
    }

    /// Takes a record; true when the writer is to be woken.
    pub(crate) fn push(
        &mut self,
        record: &Record<'_>,
        completion: impl FnOnce(u64) -> (Durability, Option<Completion>),
    ) -> (u64, bool) {
        let sequence = self.next;
        self.next += 1;
        self.batch.push(record, sequence, self.block_bytes, &mut self.spare);
        match completion(sequence) {
            (Durability::None, _) | (_, None) => {}
            (Durability::Os, Some(completion)) => self.batch.await_write.push(completion),
            (Durability::Fsync, Some(completion)) => self.batch.await_sync.push(completion),
        }
        let wake = match self.wake_when {
            WakeWhen::Never => false,
            WakeWhen::AnyRecord => true,
            WakeWhen::Waiters(waiters) => self.batch.waiters() >= waiters || self.batch.cost >= COLLECT_BYTES,
        };
        if wake {
            self.wake_when = WakeWhen::Never;
        }
        (sequence, wake)
    }
}
