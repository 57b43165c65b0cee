//! The thread that writes: collects, writes, syncs, tells, and tidies up.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::completion::Completion;
use crate::error::CommitError;
use crate::format::{
    FileHeader, HEADER_LEN, SEGMENT_MAGIC, TEMPORARY, encode_header, peek_record, segment_name,
};
use crate::mark;
use crate::queue::{BLOCK_BYTES, Batch, Block, COLLECT_BYTES, Queue, WakeWhen};
use crate::scan::{Place, index_place};
use crate::shared::{Shared, count};
use crate::storage::StorageFile;
use crate::table::{Grown, Segment};

/// How often the free space of the disk is looked at.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// While collecting, so long without a new record means that no more will come: a part of `collect_max`.
const QUIET_PART: u32 = 8;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// One past the last sequence written.
    written_end: u64,
    /// What is written and not synced is so old.
    dirty_since: Option<Instant>,
    await_write: Vec<Completion>,
    await_sync: Vec<Completion>,
    /// Number of waiters in the last batch.
    last_waiters: usize,
    /// So many waiters are expected: those of the last batch, who come back soon, and those who came meanwhile.
    crowd: Option<usize>,
    mark_due: Option<Instant>,
    space_checked: Instant,
    spare: Option<Vec<u8>>,
}

/// The segment that is written.
struct Active {
    first: u64,
    name: String,
    file: Arc<dyn StorageFile>,
    length: u64,
    last_place: Option<Place>,
}

enum Fault {
    /// Nothing of the rest of the batch was written; the log is whole.
    Write(io::Error),
    /// What the disk holds is not known any more.
    Sync(io::Error),
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let written_end = shared.table.lock().placed;
        Self {
            shared,
            active: None,
            written_end,
            dirty_since: None,
            await_write: Vec::new(),
            await_sync: Vec::new(),
            last_waiters: 0,
            crowd: None,
            mark_due: None,
            space_checked: Instant::now(),
            spare: None,
        }
    }

    /// Runs until the log is closed or broken.
    pub(crate) fn run(mut self) {
        let _ = self.shared.check_space();
        let mut result = self.chores(false);
        while result.is_ok() {
            let Some(batch) = self.next_batch() else {
                result = self.sync().and_then(|()| self.chores(true));
                break;
            };
            result = self.commit(batch).and_then(|()| self.chores(false));
        }
        if let Err(error) = result {
            self.break_log(CommitError::Sync(Arc::new(error)));
        }
    }

    /// Waits for records or chores; a batch may be empty. None: the log is closed and all is written.
    fn next_batch(&mut self) -> Option<Batch> {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue.lock();
        queue.writing_cost = 0;
        if let Some(bytes) = self.spare.take() {
            queue.spare = Some(bytes);
        }
        while queue.batch.records == 0 {
            if queue.closing {
                return None;
            }
            let due = self.due();
            if mem::take(&mut queue.chores) || due.is_some_and(|due| due <= Instant::now()) {
                return Some(Batch::default());
            }
            queue.wake_when = WakeWhen::AnyRecord;
            match due {
                Some(due) => drop(shared.wake.wait_until(&mut queue, due)),
                None => shared.wake.wait(&mut queue),
            }
        }
        let crowd = self.crowd.take().unwrap_or_default();
        self.collect(&mut queue, crowd);
        queue.wake_when = WakeWhen::Never;
        let batch = mem::take(&mut queue.batch);
        queue.writing_cost = batch.cost;
        self.last_waiters = batch.waiters();
        Some(batch)
    }

    /// Gives others time to join the batch: until as many wait as lately did, none has come for a moment, there is
    /// enough to write, or `collect_max` is over. Without anyone who waits there is no hurry.
    fn collect(&self, queue: &mut MutexGuard<'_, Queue>, crowd: usize) {
        let collect_max = self.shared.options.collect_max;
        let until = Instant::now() + collect_max;
        while !queue.closing && queue.batch.cost < COLLECT_BYTES {
            let waiters = queue.batch.waiters();
            if waiters > 0 && waiters >= crowd {
                return;
            }
            let step = if waiters > 0 { Instant::now() + collect_max / QUIET_PART } else { until };
            let records = queue.batch.records;
            queue.wake_when = WakeWhen::Waiters(crowd.max(1));
            let quiet = self.shared.wake.wait_until(queue, step.min(until)).timed_out();
            let over = Instant::now() >= until;
            if over || (quiet && waiters > 0 && queue.batch.records == records) {
                return;
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let sync = self.dirty_since.map(|since| since + self.shared.options.sync_interval);
        let space = self.shared.disk_low.load(Relaxed).then(|| self.space_checked + SPACE_INTERVAL);
        [sync, space, self.mark_due].into_iter().flatten().min()
    }

    /// Writes a batch and tells all who wait for it. An error is that of a sync.
    fn commit(&mut self, mut batch: Batch) -> io::Result<()> {
        let Some(end) = batch.blocks.last().map(Block::end) else { return Ok(()) };
        self.await_write.append(&mut batch.await_write);
        self.await_sync.append(&mut batch.await_sync);
        match self.write_blocks(&batch.blocks) {
            Ok(()) => {}
            Err(Fault::Write(error)) => self.fail_unwritten(end, error),
            Err(Fault::Sync(error)) => return Err(error),
        }
        if !self.await_sync.is_empty() {
            self.sync()?;
        }
        let buffer = batch.blocks.into_iter().map(|block| block.bytes).next();
        self.spare = buffer.filter(|bytes| bytes.capacity() <= BLOCK_BYTES).map(|mut bytes| {
            bytes.clear();
            bytes
        });
        Ok(())
    }

    fn write_blocks(&mut self, mut blocks: &[Block]) -> Result<(), Fault> {
        while let Some(block) = blocks.first() {
            self.make_room(block)?;
            let active = self.active.as_mut().expect("made room in it");
            let limit = self.shared.options.segment_bytes;
            let mut length = active.length;
            let fits = |block: &&Block| {
                length += block.bytes.len() as u64;
                length <= limit
            };
            // the first one may be longer than a segment
            let run = 1 + blocks.iter().take_while(fits).count().saturating_sub(1);
            self.write_run(&blocks[..run])?;
            blocks = &blocks[run..];
        }
        Ok(())
    }

    /// Starts a segment when there is none, or the active one has no room for the block.
    fn make_room(&mut self, block: &Block) -> Result<(), Fault> {
        let limit = self.shared.options.segment_bytes;
        if let Some(active) = &self.active {
            let empty = active.length == HEADER_LEN as u64;
            if empty || active.length + block.bytes.len() as u64 <= limit {
                return Ok(());
            }
            // synced before the next one starts: only the newest segment can have a torn tail
            self.sync().map_err(Fault::Sync)?;
            self.active = None;
        }
        self.space_checked = Instant::now();
        self.shared.check_space().map_err(Fault::Write)?;
        self.active = Some(self.create(block.first)?);
        Ok(())
    }

    fn create(&self, first: u64) -> Result<Active, Fault> {
        let storage = &self.shared.storage;
        let name = segment_name(first);
        let temporary = format!("{name}{TEMPORARY}");
        let header = encode_header(SEGMENT_MAGIC, FileHeader { salt: self.shared.salt, sequence: first });
        let made = storage.create(&temporary).and_then(|file| {
            file.write_all_at(&mut [IoSlice::new(&header)], 0)?;
            file.sync()?;
            storage.rename(&temporary, &name)?;
            Ok(file)
        });
        // a file that is thrown away does not break the log, even if it was its sync that failed
        let file = made.map_err(|error| {
            let _ = storage.remove(&temporary);
            Fault::Write(error)
        })?;
        storage.sync_folder().map_err(Fault::Sync)?;
        count(&self.shared.stored_bytes, HEADER_LEN as u64);
        count(&self.shared.counters.bytes_written, HEADER_LEN as u64);
        Ok(Active { first, name, file, length: HEADER_LEN as u64, last_place: None })
    }

    /// Writes blocks to the active segment, all or none, and shows them to readers.
    fn write_run(&mut self, blocks: &[Block]) -> Result<(), Fault> {
        let active = self.active.as_mut().expect("made room in it");
        let mut parts: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(&block.bytes)).collect();
        self.dirty_since.get_or_insert_with(Instant::now);
        if let Err(error) = active.file.write_all_at(&mut parts, active.length) {
            if active.file.set_len(active.length).is_err() {
                // leave it as it is: opening finds its whole records
                self.sync().map_err(Fault::Sync)?;
                self.active = None;
            }
            return Err(Fault::Write(error));
        }
        let grown = active.grow(blocks);
        let (bytes, records, end) = (parts_len(blocks), grown.records, grown.end);
        self.shared.table.lock().place(active.first, &grown, || active.segment(self.shared.salt));
        let counters = &self.shared.counters;
        count(&self.shared.stored_bytes, bytes);
        count(&counters.bytes_written, bytes);
        count(&counters.records_written, records);
        count(&counters.writes, 1);
        self.written_end = end;
        if !self.await_write.is_empty() {
            self.count_crowd();
            tell(&mut self.await_write, end, &Ok(()));
        }
        Ok(())
    }

    /// Before the first of a batch is told: afterwards those who come back would be counted twice.
    fn count_crowd(&mut self) {
        if self.crowd.is_none() {
            self.crowd = Some(self.last_waiters + self.shared.queue.lock().batch.waiters());
        }
    }

    /// Makes all that was written durable, and tells.
    fn sync(&mut self) -> io::Result<()> {
        if let (Some(active), Some(_)) = (&self.active, self.dirty_since) {
            active.file.sync()?;
            count(&self.shared.counters.syncs, 1);
        }
        self.dirty_since = None;
        if !self.await_sync.is_empty() {
            self.count_crowd();
            tell(&mut self.await_sync, self.written_end, &Ok(()));
        }
        Ok(())
    }

    /// The records from `written_end` to `end` were not written.
    fn fail_unwritten(&mut self, end: u64, error: io::Error) {
        count(&self.shared.counters.records_failed, end - self.written_end.min(end));
        self.shared.table.lock().give_up(end);
        let error = CommitError::Write(Arc::new(error));
        let kept = self.await_sync.partition_point(|waiting| waiting.sequence() < self.written_end);
        let mut failed = self.await_sync.split_off(kept);
        // sequences are given once: the next write starts behind the gap
        self.written_end = end;
        tell(&mut self.await_write, end, &Err(error.clone()));
        tell(&mut failed, end, &Err(error));
    }

    /// Does what is due: sync, free space, mark, deletions; with `all`, what is not due too.
    fn chores(&mut self, all: bool) -> io::Result<()> {
        let now = Instant::now();
        let interval = self.shared.options.sync_interval;
        if self.dirty_since.is_some_and(|since| now.duration_since(since) >= interval) {
            self.sync()?;
        }
        if now.duration_since(self.space_checked) >= SPACE_INTERVAL {
            self.space_checked = now;
            let _ = self.shared.check_space();
        }
        let (changed, mark, done) = {
            let mut table = self.shared.table.lock();
            (table.mark_changed, table.mark, table.done())
        };
        if changed {
            let due = *self.mark_due.get_or_insert(now + self.shared.options.mark_interval);
            if all || due <= now || !done.is_empty() {
                self.store_mark(mark);
            }
        }
        for first in done {
            self.delete(first);
        }
        Ok(())
    }

    fn store_mark(&mut self, mark: u64) {
        let stored =
            mark::store(&*self.shared.storage, FileHeader { salt: self.shared.salt, sequence: mark });
        let mut pause = self.shared.options.mark_interval;
        let mut table = self.shared.table.lock();
        if stored.is_ok() {
            table.mark_changed = table.mark != mark;
        } else {
            // an older mark stays: after a crash more is read again
            count(&self.shared.counters.chores_failed, 1);
            pause = pause.max(SPACE_INTERVAL);
        }
        self.mark_due = table.mark_changed.then(|| Instant::now() + pause);
    }

    fn delete(&mut self, first: u64) {
        let Some(segment) = self.shared.table.lock().segments.remove(&first) else { return };
        match self.shared.storage.remove(&segment.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                count(&self.shared.counters.chores_failed, 1);
                let mut table = self.shared.table.lock();
                table.segments.insert(first, segment);
                table.untidy = true;
            }
            _ => drop(self.shared.stored_bytes.fetch_sub(segment.written, Relaxed)),
        }
    }

    /// Refuses all further appends and tells all who wait.
    fn break_log(&mut self, error: CommitError) {
        let mut left = {
            let mut queue = self.shared.queue.lock();
            queue.broken.get_or_insert_with(|| error.clone());
            queue.writing_cost = 0;
            mem::take(&mut queue.batch)
        };
        for waiting in
            [&mut self.await_write, &mut self.await_sync, &mut left.await_write, &mut left.await_sync]
        {
            tell(waiting, u64::MAX, &Err(error.clone()));
        }
    }
}

impl Drop for Writer {
    /// After a panic nobody waits for ever; after an orderly end there is nothing left to do.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.break_log(CommitError::Stopped);
        }
    }
}

impl Active {
    fn grow(&mut self, blocks: &[Block]) -> Grown {
        let mut places: Vec<Place> = self.last_place.into_iter().collect();
        let known = places.len();
        for block in blocks {
            let mut rest = block.bytes.as_slice();
            while let Some((sequence, length)) = peek_record(rest) {
                index_place(&mut places, Place { sequence, offset: self.length }, false);
                self.length += length as u64;
                rest = &rest[length..];
            }
        }
        self.last_place = places.last().copied();
        places.drain(..known);
        let end = blocks.last().map_or(0, Block::end);
        let records = blocks.iter().map(|block| block.records).sum();
        Grown { written: self.length, end, records, places }
    }

    fn segment(&self, salt: u32) -> Segment {
        Segment {
            name: self.name.clone(),
            end: self.first,
            records: 0,
            written: 0,
            salt,
            index: Vec::new(),
            references: 0,
            corrupt: false,
            file: Some(Arc::clone(&self.file)),
        }
    }
}

fn parts_len(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.bytes.len() as u64).sum()
}

/// Ends those below `end`; they are in the order of their sequences.
fn tell(waiting: &mut Vec<Completion>, end: u64, result: &Result<(), CommitError>) {
    let told = waiting.partition_point(|waiting| waiting.sequence() < end);
    for completion in waiting.drain(..told) {
        completion.complete(result.clone());
    }
}
