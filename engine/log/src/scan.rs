//! Finding the records in the bytes of a segment, damaged or not. Never panics, whatever the bytes are.

use std::ops::Range;

use crate::format::{HEADER_LEN, Parsed, RECORD_HEADER_LEN, parse_record};

/// Where a record is. One is kept for about every [`INDEX_STRIDE`] bytes, and behind each damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
}

/// Bytes between two places of the index: 16 bytes of memory for each. A random read fetches about as much.
pub(crate) const INDEX_STRIDE: u64 = 16 << 10;

/// The search behind damage may compute the CRC of this many times the bytes of the segment. Beyond it the rest counts
/// as unreadable: bytes made to look like the starts of many long records cannot hold up the start.
const SEARCH_WORK: usize = 64;

/// What was found in a segment.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) index: Vec<Place>,
    pub(crate) records: u64,
    /// First sequence, and one past the last.
    pub(crate) sequences: Option<Range<u64>>,
    /// Where the last record ends; the length of the header when there is none.
    pub(crate) end: u64,
    /// Bytes between records that are no records.
    pub(crate) unreadable: u64,
    /// Bytes behind the last record, without the zeros at their end.
    pub(crate) torn: u64,
    /// Zeros at the end of the file.
    pub(crate) zeros: u64,
    /// Missing sequences between records of this segment.
    pub(crate) gaps: Vec<Range<u64>>,
}

/// Finds all good records with rising sequences, from `floor` on, in the bytes of a file.
pub(crate) fn scan(bytes: &[u8], salt: u32, floor: u64) -> Scan {
    let mut found = Scan { end: HEADER_LEN.min(bytes.len()) as u64, ..Scan::default() };
    let mut at = HEADER_LEN;
    let mut next = floor;
    let mut work = bytes.len().saturating_mul(SEARCH_WORK);
    let mut after_damage = false;
    while at < bytes.len() {
        let (sequence, length) = match parse_record(salt, &bytes[at..]) {
            Parsed::Record { sequence, length } if sequence >= next => (sequence, length),
            _ => match find(bytes, salt, at + 1, next, &mut work) {
                Some(place) => {
                    after_damage = true;
                    at = place;
                    continue;
                }
                None => break,
            },
        };
        found.unreadable += at as u64 - found.end;
        found.add(Place { sequence, offset: at as u64 }, after_damage);
        after_damage = false;
        at += length;
        found.end = at as u64;
        next = sequence.saturating_add(1);
    }
    let rest = bytes.get(found.end as usize..).unwrap_or_default();
    let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    found.torn = torn as u64;
    found.zeros = (rest.len() - torn) as u64;
    found
}

impl Scan {
    fn add(&mut self, place: Place, after_damage: bool) {
        index_place(&mut self.index, place, after_damage);
        self.records += 1;
        let end = place.sequence.saturating_add(1);
        match &mut self.sequences {
            Some(range) => {
                if place.sequence > range.end {
                    self.gaps.push(range.end..place.sequence);
                }
                range.end = end;
            }
            None => self.sequences = Some(place.sequence..end),
        }
    }
}

/// Adds a place to the index of a segment when it is far enough from the last one, or must be there.
pub(crate) fn index_place(index: &mut Vec<Place>, place: Place, must: bool) {
    if must || index.last().is_none_or(|last| place.offset - last.offset >= INDEX_STRIDE) {
        index.push(place);
    }
}

/// The next good record at or behind `from` whose sequence is not below `next`.
fn find(bytes: &[u8], salt: u32, from: usize, next: u64, work: &mut usize) -> Option<usize> {
    let last = bytes.len().checked_sub(RECORD_HEADER_LEN)?;
    for at in from..=last {
        let sequence = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().expect("eight bytes"));
        // a cheap look first: nearly all places end here
        if sequence < next || sequence - next > u64::from(u32::MAX) {
            continue;
        }
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        if length > bytes.len() - at - RECORD_HEADER_LEN {
            continue;
        }
        *work = work.checked_sub(length + RECORD_HEADER_LEN)?;
        if matches!(parse_record(salt, &bytes[at..]), Parsed::Record { .. }) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{encode_record, payload_crc};

    const SALT: u32 = 5;

    fn segment(records: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![1; HEADER_LEN];
        for (sequence, payload) in records {
            let crc = payload_crc(SALT, payload, &[]);
            bytes.extend(encode_record(*sequence, payload.len() as u32, crc));
            bytes.extend(*payload);
        }
        bytes
    }

    #[test]
    fn whole_records_are_found() {
        let found = scan(&segment(&[(1, b"a"), (2, b""), (5, b"ccc")]), SALT, 1);
        assert_eq!((found.records, found.sequences, found.end), (3, Some(1..6), 32 + 17 + 16 + 19));
        assert_eq!((found.unreadable, found.torn, found.zeros), (0, 0, 0));
        assert_eq!(found.gaps.first(), Some(&(3..5)));
        assert_eq!(found.index, [Place { sequence: 1, offset: 32 }]);
    }

    #[test]
    fn a_tail_is_torn_or_zero() {
        let mut bytes = segment(&[(1, b"abc"), (2, b"def")]);
        let whole = bytes.len();
        bytes.truncate(whole - 1);
        let found = scan(&bytes, SALT, 1);
        assert_eq!((found.records, found.end, found.torn, found.zeros), (1, 51, 18, 0));
        bytes.truncate(51);
        bytes.resize(500, 0);
        let found = scan(&bytes, SALT, 1);
        assert_eq!((found.records, found.end, found.torn, found.zeros), (1, 51, 0, 449));
    }

    #[test]
    fn records_behind_damage_are_found() {
        let mut bytes = segment(&[(1, b"abc"), (2, b"def"), (3, b"ghi")]);
        bytes[51 + 17] ^= 4;
        let found = scan(&bytes, SALT, 1);
        assert_eq!((found.records, found.unreadable, found.torn), (2, 19, 0));
        assert_eq!(found.gaps.first(), Some(&(2..3)));
        assert_eq!(found.index[1], Place { sequence: 3, offset: 70 }, "a place behind the damage");
    }

    #[test]
    fn a_payload_cannot_pose_as_a_record() {
        // the record of a client that knows the format but not the salt
        let mut forged = encode_record(2, 1, payload_crc(0, b"x", &[])).to_vec();
        forged.push(b'x');
        let mut bytes = segment(&[(1, &forged), (2, b"real")]);
        bytes[HEADER_LEN] ^= 1;
        let found = scan(&bytes, SALT, 1);
        assert_eq!((found.records, found.sequences), (1, Some(2..3)));
        assert_eq!(found.end as usize, bytes.len());
    }

    #[test]
    fn the_search_ends_when_bytes_look_like_long_records() {
        let mut bytes = vec![1; HEADER_LEN];
        while bytes.len() < 1 << 20 {
            bytes.extend([0, 0, 0, 0]);
            bytes.extend((400_000_u32).to_le_bytes());
            bytes.extend(9_u64.to_le_bytes());
        }
        assert_eq!(scan(&bytes, SALT, 1).records, 0);
    }
}
