//! Checks of text: well-formed UTF-8 without U+0000, as the standard asks of every string.

use crate::error::Malformed;

/// Checks that `bytes` are UTF-8 without U+0000.
#[inline]
pub(crate) fn check_text(bytes: &[u8]) -> Result<(), Malformed> {
    if scan(bytes).plain { Ok(()) } else { check_other(bytes) }
}

/// Checks that `bytes` are UTF-8 without U+0000 and says whether there is a `+` or `#` among them.
#[inline]
pub(crate) fn check_topic(bytes: &[u8]) -> Result<bool, Malformed> {
    let found = scan(bytes);
    if found.plain {
        return Ok(found.wildcard);
    }
    check_other(bytes)?;
    Ok(memchr::memchr2(b'+', b'#', bytes).is_some())
}

/// Views bytes as text.
///
/// # Safety
///
/// [`check_text`] or [`check_topic`] must have accepted the bytes.
#[inline]
#[allow(unsafe_code)] // looking at a topic of 28 bytes again takes as long as a third of decoding the packet
pub(crate) unsafe fn trusted_str(bytes: &[u8]) -> &str {
    debug_assert!(str::from_utf8(bytes).is_ok());
    // SAFETY: the caller says that the bytes have been found to be UTF-8.
    unsafe { str::from_utf8_unchecked(bytes) }
}

/// What a quick look at some bytes has found.
struct Scan {
    /// All bytes are ASCII and none is 0, so that they are text. If not, they may still be.
    plain: bool,
    /// There is a `+` or `#`. Only meaningful if `plain`.
    wildcard: bool,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Looks at eight bytes at a time; topics are short, so that setting up wider registers does not pay.
#[inline]
fn scan(bytes: &[u8]) -> Scan {
    let mut not_plain = 0;
    let mut wildcard = 0;
    // As long as no byte has its high bit set, subtracting one from each sets a high bit exactly if a byte is 0.
    let mut look = |word: u64| {
        not_plain |= word | word.wrapping_sub(ONES);
        wildcard |= (word ^ (ONES * b'+' as u64)).wrapping_sub(ONES);
        wildcard |= (word ^ (ONES * b'#' as u64)).wrapping_sub(ONES);
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        look(u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        look(match bytes.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last), // overlaps what has been looked at, which does no harm
            None => short_word(rest),
        });
    }
    Scan { plain: not_plain & HIGH_BITS == 0, wildcard: wildcard & HIGH_BITS != 0 }
}

/// Makes one word of one to seven bytes, some of them more than once.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    let fill = bytes[0];
    let middle = bytes[bytes.len() / 2];
    let last = bytes[bytes.len() - 1];
    u64::from_le_bytes([fill, middle, last, fill, fill, fill, fill, fill])
}

/// Checks bytes that are not plain ASCII.
#[cold]
fn check_other(bytes: &[u8]) -> Result<(), Malformed> {
    if let Err(error) = simdutf8::compat::from_utf8(bytes) {
        return Err(Malformed::NotUtf8 { at: offset(error.valid_up_to()) });
    }
    match memchr::memchr(0, bytes) {
        Some(at) => Err(Malformed::NulInText { at: offset(at) }),
        None => Ok(()),
    }
}

/// A text has at most 65,535 bytes; an offset in it fits.
fn offset(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_bad_bytes_at_every_place() {
        for len in 0..40 {
            let good = vec![b'a'; len];
            assert_eq!(check_text(&good), Ok(()));
            assert_eq!(check_topic(&good), Ok(false));
            for at in 0..len {
                let with = |byte| {
                    let mut bytes = good.clone();
                    bytes[at] = byte;
                    bytes
                };
                let at = at as u16;
                assert_eq!(check_text(&with(0)), Err(Malformed::NulInText { at }));
                assert_eq!(check_topic(&with(0)), Err(Malformed::NulInText { at }));
                assert_eq!(check_text(&with(0xff)), Err(Malformed::NotUtf8 { at }));
                assert_eq!(check_topic(&with(0xff)), Err(Malformed::NotUtf8 { at }));
                for byte in [b'+', b'#'] {
                    assert_eq!(check_topic(&with(byte)), Ok(true));
                }
                for byte in (1..0x80).filter(|byte| !b"+#".contains(byte)) {
                    assert_eq!(check_topic(&with(byte)), Ok(false), "{byte}");
                }
            }
        }
    }

    #[test]
    fn text_beyond_ascii() {
        assert_eq!(check_text("\u{feff}grün".as_bytes()), Ok(()));
        assert_eq!(check_topic("grün/#".as_bytes()), Ok(true));
        assert_eq!(check_topic("grün/ß".as_bytes()), Ok(false));
        // a surrogate, an overlong form, a cut sequence
        for bytes in [&b"ab\xed\xa0\x80"[..], b"ab\xc0\x80", b"ab\xe2\x82"] {
            assert_eq!(check_text(bytes), Err(Malformed::NotUtf8 { at: 2 }), "{bytes:02x?}");
        }
    }
}
