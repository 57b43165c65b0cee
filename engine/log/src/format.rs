//! The files of a log, byte by byte. Version 1; numbers are little-endian.
//!
//! | file | what |
//! |---|---|
//! | `<first>.log` | a segment; `<first>` is the sequence of its first record, 20 decimal digits |
//! | `<first>.log.corrupt` | a segment that was set aside; same contents, with damage |
//! | `mark` | the stored low-water mark |
//! | `*.tmp` | a file on its way to its name; removed on open |
//! | `lock` | held by the process that has the log open; empty |
//!
//! A segment is a header and records, without space between them:
//!
//! | offset | bytes | header of a file (32 bytes) |
//! |---|---|---|
//! | 0 | 8 | magic: `SLUICLOG` for a segment, `SLUICMRK` for the mark |
//! | 8 | 2 | version: 1 |
//! | 10 | 2 | length of this header: 32 |
//! | 12 | 4 | salt |
//! | 16 | 8 | segment: sequence of its first record; mark: the lowest sequence that is not done |
//! | 24 | 4 | reserved: 0 |
//! | 28 | 4 | CRC32C of bytes 0 to 27 |
//!
//! | offset | bytes | record |
//! |---|---|---|
//! | 0 | 4 | CRC32C, seeded with the salt, of the payload followed by bytes 4 to 15 of this record |
//! | 4 | 4 | length of the payload |
//! | 8 | 8 | sequence: from 1 to 2^62, higher than those before it |
//! | 16 | n | payload: head and body of the append |
//!
//! The mark is a header and nothing else. Sequences rise by one; a gap is left by an append that failed.
//!
//! **Why a salt.** Payloads are written by clients. A search for the next good record behind damage must not take
//! bytes inside of a payload for a record, so the CRC of a real one is seeded with a random number that clients do not
//! see. All segments of a log have the same one; it is in the mark too, so that a damaged header does not lose it.
//!
//! **Why sequence 0 is none.** A tail filled with zeros, as some file systems leave it after a power cut, is then never
//! a record.

use std::fmt::Write as _;

/// The version of the format that is written, and the highest that is read.
pub const VERSION: u16 = 1;

/// Bytes of the header of a segment, and of the mark.
pub const HEADER_LEN: usize = 32;

/// Bytes before the payload of a record.
pub const RECORD_HEADER_LEN: usize = 16;

/// Highest sequence. What claims a higher one is damage: no log lives that long.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 62;

pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"SLUICLOG";
pub(crate) const MARK_MAGIC: &[u8; 8] = b"SLUICMRK";

/// What a file header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) salt: u32,
    /// First sequence of a segment, or the mark.
    pub(crate) sequence: u64,
}

/// Why a file header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Too short, another magic, a wrong CRC.
    Damaged,
    /// A whole header of a later version.
    Newer(u16),
}

pub(crate) fn encode_header(magic: &[u8; 8], header: FileHeader) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(magic);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&(HEADER_LEN as u16).to_le_bytes());
    bytes[12..16].copy_from_slice(&header.salt.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn decode_header(magic: &[u8; 8], bytes: &[u8]) -> Result<FileHeader, BadHeader> {
    let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else { return Err(BadHeader::Damaged) };
    if &bytes[..8] != magic || crc32c::crc32c(&bytes[..28]) != u32_at(bytes, 28) {
        return Err(BadHeader::Damaged);
    }
    match u16::from_le_bytes([bytes[8], bytes[9]]) {
        VERSION if u64_at(bytes, 16) > SEQUENCE_MAX => Err(BadHeader::Damaged),
        VERSION => Ok(FileHeader { salt: u32_at(bytes, 12), sequence: u64_at(bytes, 16) }),
        0 => Err(BadHeader::Damaged),
        newer => Err(BadHeader::Newer(newer)),
    }
}

/// The part of a record's CRC that does not need its sequence.
pub(crate) fn payload_crc(salt: u32, head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, head), body)
}

/// The header of a record whose payload has this length and [`payload_crc`].
pub(crate) fn encode_record(sequence: u64, length: u32, payload_crc: u32) -> [u8; RECORD_HEADER_LEN] {
    let mut bytes = [0; RECORD_HEADER_LEN];
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32c::crc32c_append(payload_crc, &bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What is at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A good record; its payload is `RECORD_HEADER_LEN..length`.
    Record { sequence: u64, length: usize },
    /// Perhaps a record, of this length: longer than the bytes given.
    Short { length: usize },
    /// No record.
    Bad,
}

pub(crate) fn parse_record(salt: u32, bytes: &[u8]) -> Parsed {
    let Some(header) = bytes.first_chunk::<RECORD_HEADER_LEN>() else {
        return Parsed::Short { length: RECORD_HEADER_LEN };
    };
    let sequence = u64_at(header, 8);
    if sequence == 0 || sequence > SEQUENCE_MAX {
        return Parsed::Bad;
    }
    let length = RECORD_HEADER_LEN + u32_at(header, 4) as usize;
    let Some(record) = bytes.get(..length) else { return Parsed::Short { length } };
    let payload = &record[RECORD_HEADER_LEN..];
    let crc = crc32c::crc32c_append(payload_crc(salt, payload, &[]), &header[4..]);
    if crc == u32_at(header, 0) { Parsed::Record { sequence, length } } else { Parsed::Bad }
}

/// Length and sequence of a record that is known to be good.
pub(crate) fn peek_record(bytes: &[u8]) -> Option<(u64, usize)> {
    let header = bytes.first_chunk::<RECORD_HEADER_LEN>()?;
    Some((u64_at(header, 8), RECORD_HEADER_LEN + u32_at(header, 4) as usize))
}

pub(crate) const MARK_NAME: &str = "mark";
pub(crate) const TEMPORARY: &str = ".tmp";
pub(crate) const CORRUPT: &str = ".corrupt";

pub(crate) fn segment_name(first: u64) -> String {
    let mut name = String::with_capacity(24);
    write!(name, "{first:020}.log").expect("writing to a string does not fail");
    name
}

/// First sequence, and whether it was set aside; None for a file that is no segment.
pub(crate) fn parse_segment_name(name: &str) -> Option<(u64, bool)> {
    let (name, corrupt) = match name.strip_suffix(CORRUPT) {
        Some(name) => (name, true),
        None => (name, false),
    };
    let digits = name.strip_suffix(".log")?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first = well_formed.then(|| digits.parse().ok())??;
    (first <= SEQUENCE_MAX).then_some((first, corrupt))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(parse_segment_name(&segment_name(7)), Some((7, false)));
        assert_eq!(parse_segment_name(&segment_name(SEQUENCE_MAX)), Some((SEQUENCE_MAX, false)));
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), None);
        assert_eq!(parse_segment_name("00000000000000000007.log.corrupt"), Some((7, true)));
        for other in
            ["7.log", "mark", "", ".log", "99999999999999999999.log", "+0000000000000000007.log", "é.log"]
        {
            assert_eq!(parse_segment_name(other), None, "{other}");
        }
    }

    #[test]
    fn headers_are_read_back_or_refused() {
        let header = FileHeader { salt: 7, sequence: 9 };
        let bytes = encode_header(SEGMENT_MAGIC, header);
        assert_eq!(decode_header(SEGMENT_MAGIC, &bytes), Ok(header));
        assert_eq!(decode_header(MARK_MAGIC, &bytes), Err(BadHeader::Damaged));
        assert_eq!(decode_header(SEGMENT_MAGIC, &bytes[..31]), Err(BadHeader::Damaged));
        for bit in 0..HEADER_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_header(SEGMENT_MAGIC, &flipped), Err(BadHeader::Damaged), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..28]);
        newer[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_header(SEGMENT_MAGIC, &newer), Err(BadHeader::Newer(2)));
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_seen() {
        let mut bytes = encode_record(3, 5, payload_crc(11, b"he", b"llo")).to_vec();
        bytes.extend_from_slice(b"hello");
        assert_eq!(parse_record(11, &bytes), Parsed::Record { sequence: 3, length: 21 });
        assert_eq!(parse_record(12, &bytes), Parsed::Bad, "another salt");
        assert_eq!(parse_record(11, &bytes[..20]), Parsed::Short { length: 21 });
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse_record(11, &flipped);
            assert!(!matches!(parsed, Parsed::Record { .. }), "bit {bit}: {parsed:?}");
        }
        assert_eq!(parse_record(0, &[0; 64]), Parsed::Bad);
    }
}
