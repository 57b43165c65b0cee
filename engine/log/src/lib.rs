//! The segmented append log under the disk queues of actions and the durable messages of the broker.
//!
//! A [`Log`] is a folder of segment files. Records are opaque bytes; each gets a sequence number that is never used
//! twice while the log is open, and a CRC32C. What the bytes in a file mean is in [`mod@format`].
//!
//! # Writing
//!
//! [`Log::append`] copies the record once, into the buffer that is later handed to the kernel, and returns. One
//! thread per log writes: it collects what many threads append within about a millisecond, writes it with one vectored
//! write, syncs once and tells all who wait. A lone appender is not made to wait for company. A [`Durability`] per
//! record says what its appender waits for. What waits is bounded: beyond it, append says [`AppendError::Full`].
//!
//! Records become durable in the order of their sequences: when one is durable, so are all before it.
//!
//! Files are not allocated ahead: on ext4 `fdatasync` after an append of 300 bytes took as long in a file that was
//! allocated, or filled with zeros, before (all within the noise of 250 to 300 a second on one virtual disk).
//!
//! # When the disk fails
//!
//! * **A write fails** (disk full, `EIO`): the file is cut back to its last whole record, the appenders of that write
//!   are told, and the log goes on. Their sequences stay unused: a gap.
//! * **A sync fails**: the log is *broken*. All who wait are told, and appends are refused until the log is opened
//!   again. There is no second try: Linux marks the pages that it could not write as clean and reports the error once,
//!   so that a second `fdatasync` would return success without the data being on the disk. Opening starts a new
//!   segment behind what can be read, so nothing acknowledged later stands on a page of doubt.
//! * **A crash** leaves a torn tail in the newest segment, which is cut on open. Records that were not synced may be
//!   there or not.
//! * **A segment is corrupt in the middle**: it is renamed to `.corrupt` and counted, and every record in it that can
//!   still be read is delivered. It is deleted like any other once these are done; a file with nothing readable is
//!   left for a person to look at, and takes no part in any limit.
//!
//! No state of the files is a reason not to start, except a segment written by a newer version of this format.
//!
//! # Retention
//!
//! Whole segments are deleted, when all of their records are done; the newest one is not, as it keeps the next sequence
//! (opening deletes it too when it is below the stored mark, which keeps that as well). Who decides is said by
//! [`Retention`]:
//!
//! * [`Retention::Mark`], for a queue: all below [`Log::set_mark`] is done. The mark is stored lazily, so that after a
//!   crash records from the last stored mark on are read again: delivery is at least once.
//! * [`Retention::References`], for a store of messages: a segment stays while something refers to one of its records.
//!   An append is one reference; [`Log::retain`] adds one, [`Log::release`] takes one away. The counts are not stored:
//!   after opening, the owner calls `retain` once for each reference it knows and then [`Log::retained_all`].
//!
//! # Reading
//!
//! A [`Cursor`] reads batches from any sequence on and follows the writer; [`Log::read`] finds one record. Both see
//! what has been written, synced or not, never what still waits. Open segments cost a file handle each, from their
//! first use until they are deleted.

mod completion;
mod cursor;
mod error;
pub mod format;
mod log;
mod mark;
mod open;
mod options;
mod queue;
mod scan;
mod shared;
mod storage;
mod table;
mod writer;

pub use completion::Ticket;
pub use cursor::{Batch, Cursor};
pub use error::{AppendError, CommitError, OpenError, ReadError};
pub use log::Log;
pub use open::OpenReport;
pub use options::{Durability, LogOptions, Retention};
pub use shared::LogStats;
pub use storage::{Folder, Storage, StorageFile};
pub use table::SegmentInfo;
