//! A ZIP archive with one file, made while it is read.
//!
//! APPNOTE.TXT of PKWARE, 6.3: a local header whose sizes follow behind the data (4.4.4, bit 3), the deflated data, a
//! data descriptor (4.3.9), the central directory (4.3.12) and its end (4.3.16). Sizes fit 32 bits: a trace is smaller.

use std::io::{self, Read};

use flate2::read::DeflateEncoder;
use flate2::{Compression, CrcReader};

/// Bytes of a piece of the archive.
const PIECE_BYTES: usize = 64 * 1024;

/// Version 2.0: deflate.
const VERSION: u16 = 20;

/// The sizes follow behind the data; the name is UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;

const DEFLATED: u16 = 8;

/// When a file was written, as ZIP archives have it: local time in steps of two seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DosTime {
    time: u16,
    date: u16,
}

impl DosTime {
    fn of(unix_s: i64) -> Self {
        use chrono::{Datelike as _, Timelike as _};
        let at = chrono::DateTime::from_timestamp(unix_s, 0).unwrap_or_default();
        let years = u16::try_from(at.year() - 1980).unwrap_or(0).min(127);
        Self {
            time: (at.hour() << 11 | at.minute() << 5 | (at.second() / 2)) as u16, // fits: 5, 6 and 5 bits
            date: years << 9 | (at.month() << 5 | at.day()) as u16,                // fits: 4 and 5 bits
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Packs what `content` gives into an archive with the one file `name`, and gives its pieces to `take`, which says
/// whether it wants more.
pub(super) fn zip(
    name: &str,
    modified_at_s: i64,
    content: impl Read,
    mut take: impl FnMut(Vec<u8>) -> bool,
) -> io::Result<()> {
    let time = DosTime::of(modified_at_s);
    let name = name.as_bytes();
    let name_len = u16::try_from(name.len()).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(30 + name.len());
    put_u32(&mut head, 0x0403_4b50);
    put_common(&mut head, time, [0; 3]);
    put_u16(&mut head, name_len);
    put_u16(&mut head, 0);
    head.extend_from_slice(name);
    let data_at = head.len() as u64;
    if !take(head) {
        return Ok(());
    }
    let plain = Counted { inner: CrcReader::new(content), bytes: 0 };
    let mut packed = Counted { inner: DeflateEncoder::new(plain, Compression::default()), bytes: 0 };
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let count = packed.read(&mut piece)?;
        if count == 0 {
            break;
        }
        piece.truncate(count);
        if !take(piece) {
            return Ok(());
        }
    }
    let packed_len = packed.bytes;
    let plain = packed.inner.into_inner();
    let sizes = [plain.inner.crc().sum(), fits(packed_len)?, fits(plain.bytes)?];
    let mut tail = Vec::new();
    put_u32(&mut tail, 0x0807_4b50);
    sizes.iter().for_each(|size| put_u32(&mut tail, *size));
    let directory_at = fits(data_at + packed_len + tail.len() as u64)?;
    let before = tail.len();
    put_u32(&mut tail, 0x0201_4b50);
    put_u16(&mut tail, 3 << 8 | VERSION); // made on Unix, for the mode
    put_common(&mut tail, time, sizes);
    put_u16(&mut tail, name_len);
    for _ in 0..4 {
        put_u16(&mut tail, 0); // no extra field, no comment, on the first disk, not known to be text
    }
    put_u32(&mut tail, 0o100_600 << 16);
    put_u32(&mut tail, 0); // where the local header is
    tail.extend_from_slice(name);
    let directory_len = fits((tail.len() - before) as u64)?;
    put_u32(&mut tail, 0x0605_4b50);
    for count in [0, 0, 1, 1] {
        put_u16(&mut tail, count); // one disk, one file
    }
    put_u32(&mut tail, directory_len);
    put_u32(&mut tail, directory_at);
    put_u16(&mut tail, 0);
    take(tail);
    Ok(())
}

/// What both headers of a file have.
fn put_common(out: &mut Vec<u8>, time: DosTime, sizes: [u32; 3]) {
    for number in [VERSION, FLAGS, DEFLATED, time.time, time.date] {
        put_u16(out, number);
    }
    sizes.iter().for_each(|size| put_u32(out, *size));
}

fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn fits(size: u64) -> io::Result<u32> {
    u32::try_from(size).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn u16_at(bytes: &[u8], at: usize) -> usize {
        u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()).into()
    }

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut archive = Vec::new();
        zip("n@1-t.log", 1_772_357_401, content, |piece| {
            archive.extend_from_slice(&piece);
            true
        })
        .unwrap();
        archive
    }

    #[test]
    fn the_file_comes_out_as_it_went_in() {
        let mut content = Vec::new();
        for number in 0..50_000 {
            writeln!(content, "line {number}").unwrap();
        }
        for content in [content, Vec::new()] {
            let archive = packed(&content);
            let end = archive.len() - 22;
            assert_eq!(u32_at(&archive, end), 0x0605_4b50);
            assert_eq!((u16_at(&archive, end + 8), u16_at(&archive, end + 10)), (1, 1));
            let directory = u32_at(&archive, end + 16);
            assert_eq!(directory + u32_at(&archive, end + 12), end);
            assert_eq!(u32_at(&archive, directory), 0x0201_4b50);
            let (crc, packed, plain) = (
                u32_at(&archive, directory + 16),
                u32_at(&archive, directory + 20),
                u32_at(&archive, directory + 24),
            );
            assert_eq!(plain, content.len());
            let name_len = u16_at(&archive, directory + 28);
            assert_eq!(&archive[directory + 46..directory + 46 + name_len], b"n@1-t.log");
            assert_eq!(u32_at(&archive, 0), 0x0403_4b50);
            let data = 30 + name_len;
            let mut read =
                flate2::CrcReader::new(flate2::read::DeflateDecoder::new(&archive[data..data + packed]));
            let mut unpacked = Vec::new();
            read.read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == content);
            assert_eq!(read.crc().sum() as usize, crc);
            assert_eq!(u32_at(&archive, data + packed), 0x0807_4b50);
            assert_eq!(data + packed + 16, directory);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let time = DosTime::of(1_772_357_401); // 2026-03-01T09:30:01Z
        assert_eq!((time.date >> 9, time.date >> 5 & 15, time.date & 31), (46, 3, 1));
        assert_eq!((time.time >> 11, time.time >> 5 & 63, time.time & 31), (9, 30, 0));
    }

    #[test]
    fn nothing_more_is_packed_for_who_has_gone() {
        let mut pieces = 0;
        zip("t", 0, &[7; 1 << 20][..], |_| {
            pieces += 1;
            false
        })
        .unwrap();
        assert_eq!(pieces, 1);
    }
}
