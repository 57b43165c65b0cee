//! The handle of a log.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::completion::{Completion, Ticket};
use crate::cursor::{self, Cursor};
use crate::error::{AppendError, CommitError, OpenError, ReadError};
use crate::format::payload_crc;
use crate::open::{OpenReport, recover};
use crate::options::{Durability, LogOptions, Retention};
use crate::queue::{RECORD_COST, Record, Room};
use crate::shared::{LogStats, Shared};
use crate::storage::{Folder, Storage};
use crate::table::SegmentInfo;
use crate::writer::Writer;

/// A segmented append log, and the thread that writes it. Shared between threads behind an `Arc`.
///
/// Dropping it writes and syncs what waits, which blocks for as long as the disk takes; [`Log::close`] also says how
/// that went.
pub struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Opens the log in a folder, which is made when it is not there. Reads all segments once.
    pub fn open(folder: &Path, options: LogOptions) -> Result<(Self, OpenReport), OpenError> {
        let name = folder.display().to_string();
        let storage = Folder::open(folder).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse { folder: name.clone() },
            _ => OpenError::Io { what: "open", name: name.clone(), source },
        })?;
        Self::open_storage(Arc::new(storage), options)
    }

    /// Opens the log in a storage.
    pub fn open_storage(
        storage: Arc<dyn Storage>,
        options: LogOptions,
    ) -> Result<(Self, OpenReport), OpenError> {
        let options = options.checked()?;
        let (recovered, report) = recover(&*storage, &options)?;
        let shared = Arc::new(recovered.into_shared(storage, options));
        let writer = Writer::new(Arc::clone(&shared));
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::io("start the thread of", "log-writer"))?;
        Ok((Self { shared, writer: Some(writer) }, report))
    }

    /// Appends a record whose payload is `head` followed by `body`. Never blocks on the disk.
    ///
    /// With [`Durability::None`] the ticket has ended already.
    pub fn append(&self, head: &[u8], body: &[u8], durability: Durability) -> Result<Ticket, AppendError> {
        let (ticket, done) = Ticket::new();
        let sequence = self.push(head, body, durability, done)?;
        Ok(ticket.with_sequence(sequence))
    }

    /// Appends like [`Log::append`], gives the sequence, and calls `done` when the record is as durable as was asked
    /// for, or has failed.
    ///
    /// `done` is called once, on the writer's thread, in the order of sequences among those of one durability (on
    /// this thread, before returning, with [`Durability::None`]). All other appenders wait for it to return: it hands
    /// over and nothing more. It may append, but not drop the log. When the append is refused it is not called.
    pub fn append_then(
        &self,
        head: &[u8],
        body: &[u8],
        durability: Durability,
        done: impl FnOnce(Result<u64, CommitError>) + Send + 'static,
    ) -> Result<u64, AppendError> {
        self.push(head, body, durability, Box::new(done))
    }

    fn push(
        &self,
        head: &[u8],
        body: &[u8],
        durability: Durability,
        done: Box<dyn FnOnce(Result<u64, CommitError>) + Send>,
    ) -> Result<u64, AppendError> {
        let options = &self.shared.options;
        let bytes = head.len() + body.len();
        if bytes > options.record_bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max: options.record_bytes_max });
        }
        let record = Record { head, body, payload_crc: payload_crc(self.shared.salt, head, body) };
        let room = Room {
            pending_bytes_max: options.pending_bytes_max,
            size_bytes_max: options.size_bytes_max,
            stored_bytes: self.shared.stored_bytes.load(Relaxed),
            disk_low: self.shared.disk_low.load(Relaxed),
        };
        let mut done = Some(done);
        let (sequence, wake) = {
            let mut queue = self.shared.queue.lock();
            queue.check(bytes, &room)?;
            queue.push(&record, |sequence| {
                let waits = durability != Durability::None;
                let done = if waits { done.take() } else { None };
                (durability, done.map(|done| Completion::new(sequence, done)))
            })
        };
        if wake {
            self.shared.wake.notify_one();
        }
        if let Some(done) = done {
            done(Ok(sequence));
        }
        Ok(sequence)
    }

    /// A reader that starts with the first record at or behind `from`.
    pub fn cursor(&self, from: u64) -> Cursor {
        Cursor::new(Arc::clone(&self.shared), from)
    }

    /// The payload of one record; None when it is not written yet, was deleted, or cannot be read any more.
    pub fn read(&self, sequence: u64) -> Result<Option<Bytes>, ReadError> {
        cursor::read_one(&self.shared, sequence)
    }

    /// Says that all records below `mark` are done. A mark below the present one changes nothing; one beyond the next
    /// sequence counts as that. Only with [`Retention::Mark`].
    pub fn set_mark(&self, mark: u64) {
        debug_assert_eq!(self.shared.options.retention, Retention::Mark);
        let next = self.shared.queue.lock().next;
        let call = self.shared.table.lock().set_mark(mark.min(next));
        if call {
            self.shared.call_writer();
        }
    }

    /// The low-water mark.
    pub fn mark(&self) -> u64 {
        self.shared.table.lock().mark
    }

    /// Counts one more reference to a record. False when there is no segment with it. Only with
    /// [`Retention::References`].
    pub fn retain(&self, sequence: u64) -> bool {
        self.refer(sequence, 1)
    }

    /// Takes away one reference to a record; the one of its append may be taken away before it is written. False when
    /// there is no segment with it. Only with [`Retention::References`].
    pub fn release(&self, sequence: u64) -> bool {
        self.refer(sequence, -1)
    }

    /// Says that the owner has retained all it knows from before the opening: segments without references are deleted
    /// from now on, and not before.
    pub fn retained_all(&self) {
        {
            let mut table = self.shared.table.lock();
            table.retained_all = true;
            table.untidy = true;
        }
        self.shared.call_writer();
    }

    fn refer(&self, sequence: u64, change: i64) -> bool {
        debug_assert_eq!(self.shared.options.retention, Retention::References);
        let next = self.shared.queue.lock().next;
        let (found, call) = {
            let mut table = self.shared.table.lock();
            let found = table.refer(sequence, change, next);
            (found, change < 0 && table.untidy && table.retained_all)
        };
        if call {
            self.shared.call_writer();
        }
        found
    }

    /// The sequences that are there: the lowest one written, and the next to be given.
    pub fn sequences(&self) -> Range<u64> {
        let next = self.shared.queue.lock().next;
        let first = self.shared.table.lock().segments.keys().next().copied();
        first.unwrap_or(next)..next
    }

    /// All segments, oldest first. To drop the oldest records, set the mark to the `end` of the first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.table.lock().info()
    }

    /// Counters and sizes.
    pub fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    /// Bytes that one more record of `length` bytes counts for in `pending_bytes_max`.
    pub fn pending_cost(length: usize) -> usize {
        length + RECORD_COST
    }

    /// Refuses appends, writes and syncs what waits, stores the mark and ends the thread. An error says that the log
    /// was, or became, broken.
    pub fn close(mut self) -> Result<(), CommitError> {
        self.stop();
        match self.shared.queue.lock().broken.clone() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn stop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        if writer.thread().id() != thread::current().id() {
            // a writer that panicked has told its waiters
            let _ = writer.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}
