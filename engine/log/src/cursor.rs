//! Reading what has been written.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::ReadError;
use crate::format::{Parsed, RECORD_HEADER_LEN, parse_record};
use crate::shared::{Shared, Window, count};

/// Reads records in the order of their sequences, and follows the writer.
///
/// Damage is passed over, to the next record that is known to be good; what was passed over shows as a gap in the
/// sequences, and in `LogStats::unreadable`. A cursor that outlives its log keeps the folder locked.
pub struct Cursor {
    shared: Arc<Shared>,
    next: u64,
    /// First sequence of the segment and the offset in it where `next` starts, when known.
    place: Option<(u64, u64)>,
}

/// Records that were read with one call, in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Bytes,
    /// Sequence, and start and end of the payload.
    records: Vec<(u64, usize, usize)>,
}

impl Batch {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record: all that was written has been read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Sequences and payloads, without copying.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &[u8])> {
        self.records.iter().map(|(sequence, start, end)| (*sequence, &self.bytes[*start..*end]))
    }

    /// Sequences and payloads that share the buffer of the batch, and keep all of it alive.
    pub fn iter_shared(&self) -> impl ExactSizeIterator<Item = (u64, Bytes)> {
        self.records.iter().map(|(sequence, start, end)| (*sequence, self.bytes.slice(*start..*end)))
    }
}

/// What a stretch of bytes gave.
enum Stretch {
    /// Records, and the offset behind the last one.
    Records(Batch, u64),
    /// The first record has this length: longer than what was read.
    Short(usize),
    /// No good record at the start.
    Bad,
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, next: u64) -> Self {
        Self { shared, next, place: None }
    }

    /// The sequence that is read next, or a lower one when that does not exist.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Moves to the first record at or behind `sequence`.
    pub fn seek(&mut self, sequence: u64) {
        self.next = sequence;
        self.place = None;
    }

    /// Reads about `bytes` bytes of records from one segment: at least one record, none when all that is written was
    /// read. One read call in the ordinary case.
    pub fn read(&mut self, bytes: usize) -> Result<Batch, ReadError> {
        let ordinary = bytes.max(RECORD_HEADER_LEN);
        // `ceiling`: so many bytes from here on could not be read
        let (mut wanted, mut ceiling) = (ordinary, usize::MAX);
        while let Some(window) = self.shared.window(self.next)? {
            let offset = match self.place {
                Some((first, offset)) if first == window.first => offset,
                _ => window.offset,
            };
            if offset >= window.written {
                self.leave(&window);
                continue;
            }
            match read_stretch(&window, offset, wanted, self.next) {
                Ok(Stretch::Records(batch, end)) => {
                    self.place = Some((window.first, end));
                    if let Some((last, ..)) = batch.records.last() {
                        self.next = last + 1;
                        return Ok(batch);
                    }
                    // all of it was below `next`: on the way from the place in the index
                    ceiling = usize::MAX;
                }
                Ok(Stretch::Short(length))
                    if length < ceiling && offset + length as u64 <= window.written =>
                {
                    wanted = length;
                }
                Err(source) if !window.corrupt => return Err(ReadError::Io { name: window.name, source }),
                // good records may lie before the bad sector of a segment that was set aside: read less
                Err(_) if wanted > RECORD_HEADER_LEN => {
                    ceiling = wanted;
                    wanted = (wanted / 2).max(RECORD_HEADER_LEN);
                }
                Ok(Stretch::Short(_) | Stretch::Bad) | Err(_) => {
                    (wanted, ceiling) = (ordinary, usize::MAX);
                    self.pass_over(&window, offset);
                }
            }
        }
        Ok(Batch::default())
    }

    fn pass_over(&mut self, window: &Window, offset: u64) {
        count(&self.shared.counters.unreadable, 1);
        let table = self.shared.table.lock();
        let segment = table.segments.get(&window.first);
        match segment.and_then(|segment| segment.place_behind(offset)) {
            Some(place) => {
                self.next = self.next.max(place.sequence);
                self.place = Some((window.first, place.offset));
            }
            None => {
                drop(table);
                self.leave(window);
            }
        }
    }

    fn leave(&mut self, window: &Window) {
        self.next = self.next.max(window.end);
        self.place = None;
    }
}

/// Parses what lies in `wanted` bytes from `offset` on; records below `next` are left out.
fn read_stretch(window: &Window, offset: u64, wanted: usize, next: u64) -> std::io::Result<Stretch> {
    let length = (window.written - offset).min(wanted as u64) as usize;
    let mut bytes = vec![0; length];
    window.file.read_exact_at(&mut bytes, offset)?;
    let mut records = Vec::new();
    let mut at = 0;
    let mut stopped = None;
    while at < bytes.len() {
        match parse_record(window.salt, &bytes[at..]) {
            Parsed::Record { sequence, length } => {
                if sequence >= next {
                    records.push((sequence, at + RECORD_HEADER_LEN, at + length));
                }
                at += length;
            }
            Parsed::Short { length } => {
                stopped = Some(Stretch::Short(length));
                break;
            }
            Parsed::Bad => {
                stopped = Some(Stretch::Bad);
                break;
            }
        }
    }
    match stopped {
        Some(stopped) if at == 0 => Ok(stopped),
        _ => Ok(Stretch::Records(Batch { bytes: bytes.into(), records }, offset + at as u64)),
    }
}

/// One record, found through the index of its segment.
pub(crate) fn read_one(shared: &Shared, sequence: u64) -> Result<Option<Bytes>, ReadError> {
    let Some(window) = shared.window(sequence)? else { return Ok(None) };
    let (mut offset, end) = (window.offset, window.offset_behind);
    while window.first <= sequence && offset < end {
        match read_stretch(&window, offset, (end - offset) as usize, sequence) {
            Ok(Stretch::Records(batch, behind)) => match batch.records.first() {
                Some((found, start, end)) => {
                    return Ok((*found == sequence).then(|| batch.bytes.slice(*start..*end)));
                }
                None => offset = behind,
            },
            Ok(Stretch::Short(_) | Stretch::Bad) => break,
            Err(source) => return Err(ReadError::Io { name: window.name, source }),
        }
    }
    Ok(None)
}
