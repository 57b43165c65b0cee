//! The segments of a log, as readers, the writer and the owner's references see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::options::Retention;
use crate::scan::Place;
use crate::storage::StorageFile;

/// A segment as told to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The lowest sequence in it.
    pub first: u64,
    /// One past the highest: setting the mark here gives the segment up.
    pub end: u64,
    /// Number of records.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// References to its records, with `Retention::References`.
    pub references: u64,
    /// It was corrupt and has been set aside.
    pub corrupt: bool,
}

pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) end: u64,
    pub(crate) records: u64,
    /// Bytes that readers may look at.
    pub(crate) written: u64,
    pub(crate) salt: u32,
    pub(crate) index: Vec<Place>,
    pub(crate) references: u64,
    pub(crate) corrupt: bool,
    /// Opened by its first reader.
    pub(crate) file: Option<Arc<dyn StorageFile>>,
}

/// One lock guards it; never held during I/O, nor while the lock of the queue is taken.
pub(crate) struct Table {
    /// By lowest sequence; the ranges do not overlap.
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) retention: Retention,
    pub(crate) mark: u64,
    /// The mark is not the stored one, and the writer knows.
    pub(crate) mark_changed: bool,
    /// All below has been written or has failed.
    pub(crate) placed: u64,
    /// Changes to references of records that are not yet placed: as many as wait, at most.
    pub(crate) early: BTreeMap<u64, i64>,
    /// The owner has told all its references.
    pub(crate) retained_all: bool,
    /// References released that were not there.
    pub(crate) released_twice: u64,
    /// There may be segments to delete.
    pub(crate) untidy: bool,
}

impl Table {
    pub(crate) fn new(segments: BTreeMap<u64, Segment>, retention: Retention, mark: u64, next: u64) -> Self {
        Self {
            segments,
            retention,
            mark,
            mark_changed: false,
            placed: next,
            early: BTreeMap::new(),
            retained_all: false,
            released_twice: 0,
            untidy: true,
        }
    }

    /// The segment that holds `sequence`, else the next one behind it.
    pub(crate) fn at_or_behind(&self, sequence: u64) -> Option<(u64, &Segment)> {
        let holds =
            self.segments.range(..=sequence).next_back().filter(|(_, segment)| segment.end > sequence);
        let found = holds.or_else(|| self.segments.range(sequence..).next());
        found.map(|(first, segment)| (*first, segment))
    }

    /// The segment that starts at `first` grows by records that were not yet placed; `new` makes it when these are its
    /// first: there is no segment without records.
    pub(crate) fn place(&mut self, first: u64, grown: &Grown, new: impl FnOnce() -> Segment) {
        let early = self.forget_early(grown.end);
        let untidy = &mut self.untidy;
        let segment = self.segments.entry(first).or_insert_with(|| {
            *untidy = true; // the one before is not the newest any more
            new()
        });
        segment.written = grown.written;
        segment.end = grown.end;
        segment.records += grown.records;
        segment.index.extend(&grown.places);
        let references = i64::try_from(grown.records).unwrap_or(i64::MAX).saturating_add(early);
        segment.references = segment.references.saturating_add_signed(references);
        self.placed = grown.end;
    }

    /// Records below `end` will not be written. They leave a gap.
    pub(crate) fn give_up(&mut self, end: u64) {
        self.forget_early(end);
        self.placed = self.placed.max(end);
    }

    fn forget_early(&mut self, end: u64) -> i64 {
        let behind = self.early.split_off(&end);
        std::mem::replace(&mut self.early, behind).into_values().sum()
    }

    /// One reference more or less. False when no segment holds the record; `next` is one past the last appended.
    pub(crate) fn refer(&mut self, sequence: u64, change: i64, next: u64) -> bool {
        if (self.placed..next).contains(&sequence) {
            *self.early.entry(sequence).or_default() += change;
            return true;
        }
        let found = self.segments.range_mut(..=sequence).next_back();
        let Some((_, segment)) = found.filter(|(_, segment)| segment.end > sequence) else { return false };
        match segment.references.checked_add_signed(change) {
            Some(references) => {
                segment.references = references;
                self.untidy |= references == 0;
            }
            None => self.released_twice += 1,
        }
        true
    }

    /// Moves the mark up; true when the writer does not know of it.
    pub(crate) fn set_mark(&mut self, mark: u64) -> bool {
        if mark <= self.mark {
            return false;
        }
        self.mark = mark;
        self.untidy |= self.segments.values().next().is_some_and(|oldest| oldest.end <= mark);
        !std::mem::replace(&mut self.mark_changed, true) || self.untidy
    }

    /// First sequences of the segments of which nothing is needed. Never the newest: it keeps the next sequence.
    pub(crate) fn done(&mut self) -> Vec<u64> {
        if !std::mem::take(&mut self.untidy) {
            return Vec::new();
        }
        let done = |segment: &Segment| match self.retention {
            Retention::Mark => segment.end <= self.mark,
            Retention::References => self.retained_all && segment.references == 0,
        };
        let older = self.segments.len().saturating_sub(1);
        let older = self.segments.iter().take(older);
        older.filter(|(_, segment)| done(segment)).map(|(first, _)| *first).collect()
    }

    pub(crate) fn info(&self) -> Vec<SegmentInfo> {
        let info = |(first, segment): (&u64, &Segment)| SegmentInfo {
            first: *first,
            end: segment.end,
            records: segment.records,
            bytes: segment.written,
            references: segment.references,
            corrupt: segment.corrupt,
        };
        self.segments.iter().map(info).collect()
    }
}

/// What one write added to a segment.
pub(crate) struct Grown {
    pub(crate) written: u64,
    pub(crate) end: u64,
    pub(crate) records: u64,
    pub(crate) places: Vec<Place>,
}

impl Segment {
    /// The last known place at or before `sequence`.
    pub(crate) fn place_before(&self, sequence: u64) -> Option<Place> {
        let behind = self.index.partition_point(|place| place.sequence <= sequence);
        self.index.get(behind.saturating_sub(1)).copied()
    }

    /// The next known place behind `offset`.
    pub(crate) fn place_behind(&self, offset: u64) -> Option<Place> {
        let behind = self.index.partition_point(|place| place.offset <= offset);
        self.index.get(behind).copied()
    }
}
