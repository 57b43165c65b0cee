//! The limits of a log, and what an appender waits for.

use std::time::Duration;

use crate::error::OpenError;
use crate::format::SEQUENCE_MAX;

/// What an appender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: the record is in memory. Lost when the process dies within about `collect_max`, or the write fails.
    None,
    /// The kernel has it: lost when the machine stops before the next sync.
    Os,
    /// It is on the disk.
    Fsync,
}

/// Who decides when a segment is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// All records below the low-water mark are done.
    #[default]
    Mark,
    /// A record is done when nothing refers to it.
    References,
}

/// The limits of a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A segment is closed when the next write would make it longer. At most 1 GiB, and at most a quarter of
    /// `size_bytes_max`, so that deleting whole segments can always make room. A longer record gets its own segment.
    pub segment_bytes: u64,
    /// Bytes of all segments together; beyond it append says [`AppendError::LogFull`](crate::AppendError::LogFull).
    pub size_bytes_max: u64,
    /// Bytes that the file system must have free; below it append says
    /// [`AppendError::DiskLow`](crate::AppendError::DiskLow). Looked at once a second and before each new segment.
    pub free_bytes_min: u64,
    /// Bytes of records that wait to be written or synced; beyond it append says
    /// [`AppendError::Full`](crate::AppendError::Full).
    pub pending_bytes_max: usize,
    /// Longest record, without its header of 16 bytes. Less than `pending_bytes_max`, and than 4 GiB.
    pub record_bytes_max: usize,
    /// Longest time to collect records for one write. A lone appender does not wait.
    pub collect_max: Duration,
    /// What was appended with [`Durability::None`] or [`Durability::Os`] is synced after at most this time.
    pub sync_interval: Duration,
    /// A changed mark is stored after at most this time.
    pub mark_interval: Duration,
    /// No record gets a lower sequence. An owner that keeps sequences elsewhere gives the highest one it knows plus
    /// one: the sequences of records that a crash took away are otherwise given to other records.
    pub first_sequence: u64,
    /// Who decides when a segment is deleted.
    pub retention: Retention,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            size_bytes_max: 4 << 30,
            free_bytes_min: 128 << 20,
            pending_bytes_max: 32 << 20,
            record_bytes_max: 16 << 20,
            collect_max: Duration::from_millis(1),
            sync_interval: Duration::from_millis(100),
            mark_interval: Duration::from_secs(1),
            first_sequence: 1,
            retention: Retention::Mark,
        }
    }
}

/// Longest segment file, without a record that is longer than it.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

impl LogOptions {
    /// Checks the limits against each other and brings `segment_bytes` into its range.
    pub(crate) fn checked(mut self) -> Result<Self, OpenError> {
        if u32::try_from(self.record_bytes_max).is_err() {
            return Err(OpenError::Options("`record_bytes_max` is 4 GiB or more"));
        }
        if self.record_bytes_max + crate::queue::RECORD_COST > self.pending_bytes_max {
            return Err(OpenError::Options(
                "`pending_bytes_max` has no room for a record of `record_bytes_max`",
            ));
        }
        self.segment_bytes = self.segment_bytes.min(SEGMENT_BYTES_MAX).min(self.size_bytes_max / 4);
        self.first_sequence = self.first_sequence.clamp(1, SEQUENCE_MAX);
        Ok(self)
    }
}
