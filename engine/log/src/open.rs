//! Opening: what is in the folder, made whole again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Condvar, Mutex};

use crate::error::OpenError;
use crate::format::{
    BadHeader, CORRUPT, FileHeader, HEADER_LEN, MARK_NAME, RECORD_HEADER_LEN, SEGMENT_MAGIC, TEMPORARY,
    decode_header, parse_segment_name,
};
use crate::mark::{self, StoredMark};
use crate::options::{LogOptions, Retention};
use crate::queue::Queue;
use crate::scan::{Scan, scan};
use crate::shared::{Counters, Shared};
use crate::storage::{Storage, StorageFile};
use crate::table::{Segment, Table};

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments with records.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The low-water mark that was stored.
    pub mark: u64,
    /// The sequence of the next append.
    pub next: u64,
    /// Bytes of a torn record that were cut from the end of the newest segment: an append that a crash interrupted.
    pub torn_bytes: u64,
    /// Zeros that were cut from the ends of segments: left by the file system, not a loss.
    pub zero_bytes: u64,
    /// Segments that were found corrupt now and renamed to `.corrupt`.
    pub corrupt_segments: u64,
    /// Segments that an earlier opening had set aside, and that still have records.
    pub corrupt_before: u64,
    /// Bytes in corrupt segments that are no records.
    pub unreadable_bytes: u64,
    /// Sequences at or above the mark that are missing between others, the first 100 stretches: records of
    /// corrupt segments and of appends that failed, sequences passed over by `first_sequence`. With
    /// `Retention::References` also the segments that were deleted.
    pub gaps: Vec<Range<u64>>,
    /// Number of stretches that are missing.
    pub gap_count: u64,
    /// Temporary files that were removed.
    pub temporary_files: u64,
    /// The stored mark could not be read: all is read again.
    pub mark_lost: bool,
}

/// Longest list of gaps in a report.
const GAPS_MAX: usize = 100;

/// Files that cannot be segments: longer than any that is written, and more than should be read at once.
const FILE_BYTES_MAX: u64 = (1 << 30) + (1 << 32);

/// A bad sector must not hide the rest of a segment: where reading all fails, it is read in pieces of this length.
const PIECE_BYTES: usize = 512;

/// What opening hands to the log.
pub(crate) struct Recovered {
    table: Table,
    next: u64,
    salt: u32,
    stored_bytes: u64,
}

impl Recovered {
    pub(crate) fn into_shared(self, storage: Arc<dyn Storage>, options: LogOptions) -> Shared {
        Shared {
            storage,
            salt: self.salt,
            queue: Mutex::new(Queue::new(self.next, options.segment_bytes)),
            wake: Condvar::new(),
            table: Mutex::new(self.table),
            stored_bytes: AtomicU64::new(self.stored_bytes),
            disk_low: false.into(),
            counters: Counters::default(),
            options,
        }
    }
}

/// Reads the folder and puts it in order. Nothing is appended to a segment of before: the first append starts one.
pub(crate) fn recover(
    storage: &dyn Storage,
    options: &LogOptions,
) -> Result<(Recovered, OpenReport), OpenError> {
    let mut recovery =
        Recovery { storage, report: OpenReport::default(), segments: BTreeMap::new(), next: 1 };
    let files = recovery.list()?;
    let stored = mark::load(storage);
    let salt = recovery.salt(&files, &stored)?;
    let mark = if let StoredMark::Found(header) = stored { header.sequence } else { 0 };
    let newest = files.len().saturating_sub(1);
    for (at, file) in files.iter().enumerate() {
        recovery.load(file, salt, at == newest)?;
    }
    if options.retention == Retention::Mark && mark >= recovery.next {
        recovery.remove_done()?;
    }
    let mut report = recovery.report;
    report.mark = mark;
    report.mark_lost = matches!(stored, StoredMark::Bad(_));
    report.next = recovery.next.max(mark).max(options.first_sequence);
    find_gaps(&mut report, &recovery.segments, options.retention);
    let stored_bytes = report.bytes;
    let mut table =
        Table::new(to_segments(recovery.segments), options.retention, mark.min(report.next), report.next);
    if !matches!(stored, StoredMark::Found(_)) {
        // the salt is kept from now on; when that fails, the writer tries again
        table.mark_changed = mark::store(storage, FileHeader { salt, sequence: mark }).is_err();
    }
    Ok((Recovered { table, next: report.next, salt, stored_bytes }, report))
}

/// A file that is named like a segment.
struct File {
    name: String,
    first: u64,
    corrupt: bool,
    length: u64,
}

struct Recovery<'a> {
    storage: &'a dyn Storage,
    report: OpenReport,
    /// By lowest sequence, with the gaps inside.
    segments: BTreeMap<u64, (Segment, Vec<Range<u64>>)>,
    next: u64,
}

impl Recovery<'_> {
    /// Removes temporary files and lists the segments, oldest first.
    fn list(&mut self) -> Result<Vec<File>, OpenError> {
        let mut files = Vec::new();
        for (name, length) in self.storage.list().map_err(OpenError::io("list", "the files"))? {
            if name.ends_with(TEMPORARY) {
                self.storage.remove(&name).map_err(OpenError::io("remove", &name))?;
                self.report.temporary_files += 1;
            } else if let Some((first, corrupt)) = parse_segment_name(&name) {
                files.push(File { name, first, corrupt, length });
            }
        }
        files.sort_by_key(|file| (file.first, !file.corrupt));
        Ok(files)
    }

    /// The salt of the log. Refuses files of later versions, before anything is changed.
    fn salt(&self, files: &[File], stored: &StoredMark) -> Result<u32, OpenError> {
        let newer = |name: &str, version| Err(OpenError::Version { name: name.to_owned(), version });
        if let StoredMark::Bad(BadHeader::Newer(version)) = stored {
            return newer(MARK_NAME, *version);
        }
        let mut salt = None;
        for file in files {
            let mut bytes = [0; HEADER_LEN];
            let handle = self.storage.open(&file.name).map_err(OpenError::io("open", &file.name))?;
            match handle.read_exact_at(&mut bytes, 0).map(|()| decode_header(SEGMENT_MAGIC, &bytes)) {
                Ok(Ok(header)) => salt = Some(header.salt),
                Ok(Err(BadHeader::Newer(version))) => return newer(&file.name, version),
                Ok(Err(BadHeader::Damaged)) | Err(_) => {}
            }
        }
        Ok(match stored {
            StoredMark::Found(header) => header.salt,
            _ => salt.unwrap_or_else(|| RandomState::new().hash_one(0) as u32),
        })
    }

    fn load(&mut self, file: &File, salt: u32, newest: bool) -> Result<(), OpenError> {
        let name = file.name.as_str();
        let handle = self.storage.open(name).map_err(OpenError::io("open", name))?;
        let (bytes, holes) = read_all(&*handle, file.length);
        if newest {
            // what is read may be in memory only, after a process that died: it goes first, before what is appended
            handle.sync().map_err(OpenError::io("sync", name))?;
        }
        let header = decode_header(SEGMENT_MAGIC, &bytes).ok().filter(|header| header.sequence == file.first);
        let salt = header.map_or(salt, |header| header.salt);
        let found = scan(&bytes, salt, 1);
        let fresh = bytes.len() as u64 == file.length;
        drop(bytes);
        self.next = self.next.max(file.first);
        let blank = found.records == 0 && found.torn == 0;
        if !file.corrupt && fresh && !holes && blank && (header.is_some() || newest) {
            // its first record was never written. The newest one keeps the next sequence
            return if newest {
                Ok(())
            } else {
                self.storage.remove(name).map_err(OpenError::io("remove", name))
            };
        }
        let torn = found.torn > 0 && !newest;
        let corrupt = file.corrupt || !fresh || holes || header.is_none() || found.unreadable > 0 || torn;
        let overlaps = self.segments.last_key_value().is_some_and(|(_, (last, _))| {
            found.sequences.as_ref().is_some_and(|range| range.start.min(file.first) < last.end)
        });
        if corrupt || overlaps {
            self.set_aside(file, found, handle, salt, overlaps, newest)
        } else {
            self.cut(file, &found, &*handle)?;
            self.add(file.first, name.to_owned(), found, handle, salt, false);
            Ok(())
        }
    }

    /// Everything is below the stored mark, which keeps the next sequence: nothing is needed, not even the newest.
    fn remove_done(&mut self) -> Result<(), OpenError> {
        // the mark goes to the disk before the segments leave it
        self.storage.sync_folder().map_err(OpenError::io("sync", "the folder"))?;
        for (segment, _) in std::mem::take(&mut self.segments).into_values() {
            self.storage.remove(&segment.name).map_err(OpenError::io("remove", &segment.name))?;
            self.report.segments -= 1;
            self.report.records -= segment.records;
            self.report.bytes -= segment.written;
        }
        Ok(())
    }

    /// Cuts what is behind the last record.
    fn cut(&mut self, file: &File, found: &Scan, handle: &dyn StorageFile) -> Result<(), OpenError> {
        self.report.torn_bytes += found.torn;
        self.report.zero_bytes += found.zeros;
        if found.end < file.length {
            let cut = handle.set_len(found.end).and_then(|()| handle.sync());
            cut.map_err(OpenError::io("cut", &file.name))?;
        }
        Ok(())
    }

    fn set_aside(
        &mut self,
        file: &File,
        found: Scan,
        handle: Arc<dyn StorageFile>,
        salt: u32,
        overlaps: bool,
        newest: bool,
    ) -> Result<(), OpenError> {
        let unreadable = found.unreadable + found.torn;
        let mut name = file.name.clone();
        if file.corrupt {
            self.report.corrupt_before += u64::from(found.records > 0);
        } else {
            name.push_str(CORRUPT);
            self.storage.rename(&file.name, &name).map_err(OpenError::io("rename", &file.name))?;
            self.report.corrupt_segments += 1;
        }
        self.report.unreadable_bytes += unreadable;
        let known = found.sequences.as_ref().map_or(file.first, |range| range.end);
        if newest {
            // the sequences of what cannot be read are not given again
            self.next = self.next.max(known.saturating_add(file.length / RECORD_HEADER_LEN as u64 + 1));
        }
        if !overlaps && found.records > 0 {
            self.add(file.first, name, found, handle, salt, true);
        }
        Ok(())
    }

    fn add(
        &mut self,
        first: u64,
        name: String,
        found: Scan,
        file: Arc<dyn StorageFile>,
        salt: u32,
        corrupt: bool,
    ) {
        let Some(sequences) = found.sequences else { return };
        self.report.segments += 1;
        self.report.records += found.records;
        self.report.bytes += found.end;
        self.next = self.next.max(sequences.end);
        // handles are opened again by the first reader: a log at rest holds none
        drop(file);
        let segment = Segment {
            name,
            end: sequences.end,
            records: found.records,
            written: found.end,
            salt,
            index: found.index,
            references: 0,
            corrupt,
            file: None,
        };
        let mut gaps = found.gaps;
        if first < sequences.start {
            gaps.insert(0, first..sequences.start);
        }
        self.segments.insert(first.min(sequences.start), (segment, gaps));
    }
}

/// All bytes of a file, zeros in place of those that cannot be read; whether there are such.
fn read_all(file: &dyn StorageFile, length: u64) -> (Vec<u8>, bool) {
    if length > FILE_BYTES_MAX {
        return (Vec::new(), true);
    }
    let mut bytes = vec![0; length as usize];
    if file.read_exact_at(&mut bytes, 0).is_ok() {
        return (bytes, false);
    }
    for (at, piece) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        if file.read_exact_at(piece, (at * PIECE_BYTES) as u64).is_err() {
            piece.fill(0);
        }
    }
    (bytes, true)
}

fn to_segments(segments: BTreeMap<u64, (Segment, Vec<Range<u64>>)>) -> BTreeMap<u64, Segment> {
    segments.into_iter().map(|(first, (segment, _))| (first, segment)).collect()
}

fn find_gaps(
    report: &mut OpenReport,
    segments: &BTreeMap<u64, (Segment, Vec<Range<u64>>)>,
    retention: Retention,
) {
    // before the first segment nothing is missing, except what is not done yet
    let start = if retention == Retention::Mark { report.mark.max(1) } else { 0 };
    let mut expected = if report.mark_lost || start == 0 { None } else { Some(start) };
    let mut gaps = Vec::new();
    for (first, (segment, inside)) in segments {
        if expected.is_some_and(|expected| expected < *first) {
            gaps.push(expected.unwrap_or_default()..*first);
        }
        gaps.extend(inside.iter().cloned());
        expected = Some(segment.end);
    }
    gaps.retain(|gap| gap.end > report.mark);
    report.gap_count = gaps.len() as u64;
    gaps.truncate(GAPS_MAX);
    report.gaps = gaps;
}
