//! Variable byte integers: seven bits a byte, least significant first, at most four bytes.

use bytes::BufMut;

/// What a variable byte integer at the start of some bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VariableInt {
    /// A value and the number of bytes it takes.
    Value { value: u32, len: usize },
    /// The bytes end within the integer.
    Incomplete,
    /// The fourth byte announces a fifth.
    TooLong,
}

/// Reads a variable byte integer from the start of `bytes`.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> VariableInt {
    let mut value = 0u32;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return VariableInt::Value { value, len: index + 1 };
        }
    }
    if bytes.len() < 4 { VariableInt::Incomplete } else { VariableInt::TooLong }
}

/// Returns how many bytes the shortest encoding of `value` takes.
#[inline]
pub(crate) const fn encoded_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Writes `value`, which must be at most 268,435,455, in its shortest encoding.
#[inline]
pub(crate) fn write(mut value: u32, out: &mut impl BufMut) {
    debug_assert!(value <= crate::protocol::MAX_REMAINING_LENGTH);
    while value > 0x7f {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_ends_of_each_length() {
        for (value, want) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(out, want, "{value}");
            assert_eq!(encoded_len(value), want.len(), "{value}");
            assert_eq!(read(want), VariableInt::Value { value, len: want.len() });
            for cut in 0..want.len() {
                assert_eq!(read(&want[..cut]), VariableInt::Incomplete, "{value} cut at {cut}");
            }
        }
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x01]), VariableInt::TooLong);
        assert_eq!(read(&[0x80, 0x00]), VariableInt::Value { value: 0, len: 2 });
    }
}
