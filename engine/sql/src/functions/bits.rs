//! Bits and bytes (reference, section 14.9). Positions of bits count from 1.

use engine_event::{Text, Value};
use num_bigint::{BigInt, Sign};

use crate::EvalError;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] =
    &[BITAND, BITOR, BITXOR, BITNOT, BITSL, BITSR, BITSIZE, BYTESIZE, SUBBITS];

/// Places that a shift may make a number longer.
const SHIFT_MAX: u64 = 1 << 16;

/// Bits of an integer that `subbits` reads; printing a longer one takes long.
const INTEGER_BITS_MAX: usize = 1 << 16;

const I_J: &[Arg] = &[Arg::int("i"), Arg::int("j")];
const I_N: &[Arg] = &[Arg::int("i"), Arg::int("n")];
const BYTES: &[Arg] = &[Arg::text("bytes")];

const BITAND: FunctionDef = FunctionDef {
    name: "bitand",
    args: I_J,
    returns: Type::Int,
    summary: "The bits that both integers have, in two's complement of any length. Fails on anything but integers.",
    examples: &[
        Example::new("bitand(7, 2)", "2"),
        Example::new("bitand(-1, 9223372036854775808)", "9223372036854775808"),
        Example::fails("bitand(1.0, 1)"),
        Example::fails("bitand(undefined, 1)"),
    ],
    eval: |args| combine(args, |i, j| i & j, |i, j| i & j),
};

const BITOR: FunctionDef = FunctionDef {
    name: "bitor",
    args: I_J,
    returns: Type::Int,
    summary: "The bits that either integer has, in two's complement of any length. Fails on anything but integers.",
    examples: &[
        Example::new("bitor(1, 4)", "5"),
        Example::fails("bitor(1.0, 1)"),
        Example::fails("bitor(undefined, 1)"),
    ],
    eval: |args| combine(args, |i, j| i | j, |i, j| i | j),
};

const BITXOR: FunctionDef = FunctionDef {
    name: "bitxor",
    args: I_J,
    returns: Type::Int,
    summary: "The bits that one of the integers has, in two's complement of any length. Fails on anything but integers.",
    examples: &[
        Example::new("bitxor(7, 5)", "2"),
        Example::fails("bitxor(1.0, 1)"),
        Example::fails("bitxor(undefined, 1)"),
    ],
    eval: |args| combine(args, |i, j| i ^ j, |i, j| i ^ j),
};

const BITNOT: FunctionDef = FunctionDef {
    name: "bitnot",
    args: &[Arg::int("i")],
    returns: Type::Int,
    summary: "All bits turned, in two's complement of any length. Fails on anything but an integer.",
    examples: &[
        Example::new("bitnot(5)", "-6"),
        Example::new("bitnot(9223372036854775808)", "-9223372036854775809"),
        Example::fails("bitnot(1.0)"),
        Example::fails("bitnot(undefined)"),
    ],
    eval: |args| match args.value(0) {
        Value::Int(value) => Ok(Value::Int(!value)),
        _ => Ok(Value::from_bigint(!args.big_int(0)?.into_owned())),
    },
};

const BITSL: FunctionDef = FunctionDef {
    name: "bitsl",
    args: I_N,
    returns: Type::Int,
    summary: "The integer shifted left by `n` (at most 65536) bits, right when `n` is negative. Fails on anything but \
              integers.",
    examples: &[
        Example::new("bitsl(2, 3)", "16"),
        Example::new("bitsl(1, 70)", "1180591620717411303424"),
        Example::new("bitsl(16, -3)", "2"),
        Example::fails("bitsl(1, 65537)"),
        Example::fails("bitsl(undefined, 1)"),
    ],
    eval: |args| {
        let places = args.int(1)?;
        shift(args, places > 0, places.unsigned_abs())
    },
};

const BITSR: FunctionDef = FunctionDef {
    name: "bitsr",
    args: I_N,
    returns: Type::Int,
    summary: "The integer shifted right by `n` bits, keeping its sign; left (at most 65536) when `n` is negative. \
              Fails on anything but integers.",
    examples: &[
        Example::new("bitsr(255, 4)", "15"),
        Example::new("bitsr(-8, 1)", "-4"),
        Example::new("bitsr(-1, 1000000)", "-1"),
        Example::new("bitsr(1, -3)", "8"),
        Example::fails("bitsr(1, -65537)"),
        Example::fails("bitsr(undefined, 1)"),
    ],
    eval: |args| {
        let places = args.int(1)?;
        shift(args, places < 0, places.unsigned_abs())
    },
};

const BITSIZE: FunctionDef = FunctionDef {
    name: "bitsize",
    args: BYTES,
    returns: Type::Int,
    summary: "The number of bits of a text. Fails on anything but a text.",
    examples: &[
        Example::new("bitsize('é')", "16"),
        Example::new("bitsize('')", "0"),
        Example::fails("bitsize(1)"),
        Example::fails("bitsize(undefined)"),
    ],
    eval: |args| Ok(Value::Int(args.text(0)?.len() as i64 * 8)),
};

const BYTESIZE: FunctionDef = FunctionDef {
    name: "bytesize",
    args: BYTES,
    returns: Type::Int,
    summary: "The number of bytes of a text. Fails on anything but a text.",
    examples: &[
        Example::new("bytesize('é')", "2"),
        Example::new("bytesize('')", "0"),
        Example::fails("bytesize(1)"),
        Example::fails("bytesize(undefined)"),
    ],
    eval: |args| Ok(Value::Int(args.text(0)?.len() as i64)),
};

const SUBBITS: FunctionDef = FunctionDef {
    name: "subbits",
    args: &[
        Arg::text("bytes"),
        Arg::int("start").optional(),
        Arg::int("length"),
        Arg::text("type").optional(),
        Arg::text("sign").optional(),
        Arg::text("endian").optional(),
    ],
    returns: Type::Any,
    summary: "`length` bits from bit `start` (1 when left out), fewer where the bytes end, as `'integer'` (default), \
              `'float'` (16, 32 or 64 bits) or `'bits'` (bytes, filled with zeros on the left). Integers are \
              `'unsigned'` (default) or `'signed'`, numbers `'big'` (default) or `'little'` endian. Undefined when \
              `start` is beyond the end. Fails on other words, on a start below 1, a negative length, an integer of \
              more than 65536 bits, a float of another length or not finite, and on anything but a text.",
    examples: &[
        Example::new("subbits(hexstr2bin('9f4e'), 8)", "159"),
        Example::new("subbits(hexstr2bin('9f4e'), 9, 8)", "78"),
        Example::new("subbits(hexstr2bin('9f4e'), 9, 99)", "78"),
        Example::new("subbits(hexstr2bin('0102'), 33, 8)", "undefined"),
        Example::new("subbits(hexstr2bin('fff6'), 1, 16, 'integer', 'signed')", "-10"),
        Example::new("subbits(hexstr2bin('0102'), 1, 16, 'integer', 'unsigned', 'little')", "513"),
        Example::new("subbits(hexstr2bin('0000c03f'), 1, 32, 'float', 'unsigned', 'little')", "1.5"),
        Example::new("subbits(hexstr2bin('3e00'), 1, 16, 'float')", "1.5"),
        Example::new("bin2hexstr(subbits(hexstr2bin('9f4e'), 5, 8, 'bits'))", "'F4'"),
        Example::fails("subbits('a', 0, 8)"),
        Example::fails("subbits('a', 1, -1)"),
        Example::fails("subbits('a', 1, 8, 'float')"),
        Example::fails("subbits('a', 1, 8, 'text')"),
        Example::fails("subbits(undefined, 8)"),
    ],
    eval: subbits,
};

fn combine(
    args: &Args<'_>,
    small: fn(i64, i64) -> i64,
    big: fn(BigInt, &BigInt) -> BigInt,
) -> Result<Value, EvalError> {
    if let (Value::Int(i), Value::Int(j)) = (args.value(0), args.value(1)) {
        return Ok(Value::Int(small(*i, *j)));
    }
    let (i, j) = (args.big_int(0)?, args.big_int(1)?);
    Ok(Value::from_bigint(big(i.into_owned(), &j)))
}

fn shift(args: &Args<'_>, left: bool, places: u64) -> Result<Value, EvalError> {
    let value = args.big_int(0)?;
    if !left {
        return Ok(Value::from_bigint(&*value >> places));
    }
    if places > SHIFT_MAX {
        return Err(args.wrong(1, "a shift to the left by at most 65536 bits"));
    }
    Ok(Value::from_bigint(&*value << places))
}

fn subbits(args: &Args<'_>) -> Result<Value, EvalError> {
    let bytes = args.text(0)?;
    let (start, length) = match args.len() {
        2 => (1, args.size(1)?),
        _ => (args.size(1)?, args.size(2)?),
    };
    let kind = if args.len() > 3 { args.one_of(3, &["integer", "float", "bits"])? } else { 0 };
    let signed = args.len() > 4 && args.one_of(4, &["unsigned", "signed"])? == 1;
    let little = args.len() > 5 && args.one_of(5, &["big", "little"])? == 1;
    let skipped = start.checked_sub(1).ok_or_else(|| args.wrong(1, "a position from 1"))?;
    let left = bytes.len() * 8;
    if skipped >= left {
        return Ok(Value::Undefined);
    }
    let bits = Bits { bytes, start: skipped, length: length.min(left - skipped) };
    match kind {
        0 if bits.length > INTEGER_BITS_MAX => Err(args.fail("an integer can have at most 65536 bits")),
        0 => Ok(Value::from_bigint(bits.integer(signed, little))),
        1 => match bits.float(little) {
            Some(value) if value.is_finite() => Ok(Value::Float(value)),
            Some(_) => Err(args.fail("the bits are not a finite float")),
            None => Err(args.fail(format!("a float has 16, 32 or 64 bits, found {}", bits.length))),
        },
        _ => Ok(Value::Text(bits.right_aligned().into())),
    }
}

/// A run of bits inside bytes.
struct Bits<'a> {
    bytes: &'a Text,
    start: usize,
    length: usize,
}

impl Bits<'_> {
    /// Up to 8 bits from `offset` inside the run, as a number.
    fn chunk(&self, offset: usize, length: usize) -> u8 {
        let at = self.start + offset;
        let bytes = self.bytes.as_bytes();
        let byte = |index: usize| u16::from(bytes.get(index).copied().unwrap_or(0));
        let window = byte(at / 8) << 8 | byte(at / 8 + 1);
        let moved = window << (at % 8) >> (16 - length);
        moved as u8 // fits: at most 8 bits are left
    }

    /// The bits as bytes, filled with zeros on the left.
    fn right_aligned(&self) -> Vec<u8> {
        let first = self.length % 8;
        let mut out = Vec::with_capacity(self.length.div_ceil(8));
        if first > 0 {
            out.push(self.chunk(0, first));
        }
        out.extend((first..self.length).step_by(8).map(|offset| self.chunk(offset, 8)));
        out
    }

    /// The bits as an integer. In little endian, whole bytes come from the left and loose bits are the highest.
    fn integer(&self, signed: bool, little: bool) -> BigInt {
        let value = if little {
            let chunks = (0..self.length).step_by(8);
            let bytes: Vec<u8> = chunks.map(|at| self.chunk(at, (self.length - at).min(8))).collect();
            BigInt::from_bytes_le(Sign::Plus, &bytes)
        } else {
            BigInt::from_bytes_be(Sign::Plus, &self.right_aligned())
        };
        let negative = signed && self.length > 0 && value.bit(self.length as u64 - 1);
        if negative { value - (BigInt::from(1) << self.length) } else { value }
    }

    /// The bits as a float; none when there is no float of that length.
    fn float(&self, little: bool) -> Option<f64> {
        let mut bytes = self.right_aligned();
        if little {
            bytes.reverse();
        }
        match self.length {
            16 => Some(half_float(u16::from_be_bytes(bytes.try_into().ok()?))),
            32 => Some(f32::from_be_bytes(bytes.try_into().ok()?).into()),
            64 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }
}

/// A float of 16 bits (IEEE 754): sign, 5 bits of exponent, 10 of fraction.
fn half_float(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    }
}
