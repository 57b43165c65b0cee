//! What the log, its cursors and its writer share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::{Condvar, Mutex};

use crate::error::ReadError;
use crate::options::LogOptions;
use crate::queue::Queue;
use crate::storage::{Storage, StorageFile};
use crate::table::{Segment, Table};

/// Counters of a log since it was opened, and its present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Records written.
    pub records_written: u64,
    /// Bytes written, with the headers of records and segments.
    pub bytes_written: u64,
    /// Writes to segments.
    pub writes: u64,
    /// Successful syncs of segments.
    pub syncs: u64,
    /// Records that could not be written.
    pub records_failed: u64,
    /// Times that a mark could not be stored or a segment not be deleted; tried again.
    pub chores_failed: u64,
    /// Times that a reader met damage and went on behind it.
    pub unreadable: u64,
    /// Calls of `release` without a reference.
    pub released_twice: u64,
    /// Bytes of records that wait to be written.
    pub pending_bytes: u64,
    /// Bytes of all segments.
    pub stored_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// The sequence of the next append.
    pub next: u64,
    /// The low-water mark.
    pub mark: u64,
    /// The file system has too little free space.
    pub disk_low: bool,
    /// A sync has failed.
    pub broken: bool,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) records_written: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) records_failed: AtomicU64,
    pub(crate) chores_failed: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: LogOptions,
    pub(crate) salt: u32,
    pub(crate) queue: Mutex<Queue>,
    /// Wakes the writer.
    pub(crate) wake: Condvar,
    pub(crate) table: Mutex<Table>,
    pub(crate) stored_bytes: AtomicU64,
    pub(crate) disk_low: AtomicBool,
    pub(crate) counters: Counters,
}

/// Where to read in a segment.
pub(crate) struct Window {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) name: String,
    pub(crate) salt: u32,
    pub(crate) corrupt: bool,
    /// A record starts here, at or before the one that is looked for.
    pub(crate) offset: u64,
    /// A record starts here too, behind the one that is looked for; or nothing was written from here on.
    pub(crate) offset_behind: u64,
    pub(crate) written: u64,
}

impl Shared {
    /// The segment that holds `sequence`, or the next one; None when nothing from there on is written.
    pub(crate) fn window(&self, sequence: u64) -> Result<Option<Window>, ReadError> {
        loop {
            let (first, name) = {
                let table = self.table.lock();
                let Some((first, segment)) = table.at_or_behind(sequence) else { return Ok(None) };
                if let Some(file) = &segment.file {
                    return Ok(Some(window(first, segment, Arc::clone(file), sequence)));
                }
                (first, segment.name.clone())
            };
            match self.storage.open(&name) {
                Ok(file) => {
                    if let Some(segment) = self.table.lock().segments.get_mut(&first) {
                        segment.file.get_or_insert(file);
                    }
                }
                // deleted since: look again
                Err(_) if !self.table.lock().segments.contains_key(&first) => {}
                Err(source) => return Err(ReadError::Io { name, source }),
            }
        }
    }

    /// Lets the writer look at its chores.
    pub(crate) fn call_writer(&self) {
        self.queue.lock().chores = true;
        self.wake.notify_one();
    }

    pub(crate) fn stats(&self) -> LogStats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let (next, pending_bytes, broken) = {
            let queue = self.queue.lock();
            (queue.next, queue.pending_cost() as u64, queue.broken.is_some())
        };
        let table = self.table.lock();
        LogStats {
            records_written: get(&self.counters.records_written),
            bytes_written: get(&self.counters.bytes_written),
            writes: get(&self.counters.writes),
            syncs: get(&self.counters.syncs),
            records_failed: get(&self.counters.records_failed),
            chores_failed: get(&self.counters.chores_failed),
            unreadable: get(&self.counters.unreadable),
            released_twice: table.released_twice,
            pending_bytes,
            stored_bytes: get(&self.stored_bytes),
            segments: table.segments.len() as u64,
            next,
            mark: table.mark,
            disk_low: self.disk_low.load(Relaxed),
            broken,
        }
    }

    /// Looks whether the disk has its minimum of free space. A system that cannot say counts as one that has.
    pub(crate) fn check_space(&self) -> io::Result<()> {
        let low = match self.storage.free_bytes() {
            Ok(free) => free < self.options.free_bytes_min,
            Err(_) => false,
        };
        self.disk_low.store(low, Relaxed);
        if low { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn window(first: u64, segment: &Segment, file: Arc<dyn StorageFile>, sequence: u64) -> Window {
    let offset = segment.place_before(sequence).map_or(segment.written, |place| place.offset);
    let offset_behind = segment.place_behind(offset).map_or(segment.written, |place| place.offset);
    Window {
        first,
        end: segment.end,
        file,
        name: segment.name.clone(),
        salt: segment.salt,
        corrupt: segment.corrupt,
        offset,
        offset_behind,
        written: segment.written,
    }
}
