//! Reading JSON in place: the fast way for texts that are nothing out of the ordinary.
//!
//! A scan either gives exactly what [`decode_json`](crate::decode_json) gives, or it declines: for what is not JSON, and
//! for what is rare (integers beyond 64 bits, surrogate pairs, very deep nesting). Who uses it asks `decode_json` then,
//! which has the last word and the words for a message.

use crate::{Map, Text, Value};

/// The text is not JSON, or not of the ordinary kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declined;

/// Levels that are read.
const DEPTH_MAX: u32 = 100;

/// Digits of a number that are read.
const NUMBER_BYTES_MAX: usize = 200;

/// Digits of an integer that surely fits 64 bits.
const INTEGER_DIGITS_SAFE: usize = 18;

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub struct JsonScan<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

/// What stands between the quotes of a text.
#[derive(Clone, Copy, Debug)]
pub struct RawText<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> RawText<'a> {
    /// The bytes, when none of them is escaped.
    pub fn plain(&self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// The text.
    ///
    /// # Errors
    /// For surrogate pairs.
    pub fn text(&self) -> Result<Text, Declined> {
        if self.escaped { unescape(self.raw).map(Text::from) } else { Ok(Text::copy_from(self.raw)) }
    }
}

impl<'a> JsonScan<'a> {
    /// Begins at the first byte that is not white space. None when the text is not UTF-8.
    pub fn new(json: &'a [u8]) -> Option<Self> {
        simdutf8::basic::from_utf8(json).ok()?;
        let mut scan = Self { bytes: json, at: 0, depth: 0 };
        scan.space();
        Some(scan)
    }

    /// The byte here; a value begins with it.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes past white space.
    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Makes sure that nothing follows.
    ///
    /// # Errors
    /// When something does.
    pub fn end(mut self) -> Result<(), Declined> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Declined) }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When it is no ordinary JSON.
    pub fn value(&mut self) -> Result<Value, Declined> {
        Ok(match self.peek().ok_or(Declined)? {
            b'"' => Value::Text(self.text()?.text()?),
            b'{' => {
                let mut map = Map::new();
                self.entries(|scan, key| {
                    let key = key.text()?;
                    let value = scan.value()?;
                    map.insert(key, value);
                    Ok(())
                })?;
                Value::Map(map)
            }
            b'[' => {
                let mut items = Vec::new();
                self.items(|scan| {
                    items.push(scan.value()?);
                    Ok(())
                })?;
                Value::array(items)
            }
            b't' => self.word(b"true", Value::Bool(true))?,
            b'f' => self.word(b"false", Value::Bool(false))?,
            b'n' => self.word(b"null", Value::Null)?,
            _ => self.number(true)?,
        })
    }

    /// Goes past a value.
    ///
    /// # Errors
    /// When it is no ordinary JSON.
    pub fn skip(&mut self) -> Result<(), Declined> {
        match self.peek().ok_or(Declined)? {
            b'"' => match self.text()? {
                RawText { raw, escaped: true } => unescape(raw).map(drop),
                _ => Ok(()),
            },
            b'{' => self.entries(|scan, key| {
                if key.escaped {
                    unescape(key.raw)?;
                }
                scan.skip()
            }),
            b'[' => self.items(Self::skip),
            b't' => self.word(b"true", ()),
            b'f' => self.word(b"false", ()),
            b'n' => self.word(b"null", ()),
            _ => self.number(false).map(drop),
        }
    }

    /// Reads an object; `each` reads the value of a key.
    ///
    /// # Errors
    /// When it is no ordinary JSON, and those of `each`.
    pub fn entries(
        &mut self,
        mut each: impl FnMut(&mut Self, RawText<'a>) -> Result<(), Declined>,
    ) -> Result<(), Declined> {
        self.open()?;
        if self.peek() == Some(b'}') {
            return self.close();
        }
        loop {
            let key = self.text()?;
            self.space();
            self.expect(b':')?;
            self.space();
            each(self, key)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.close(),
                _ => return Err(Declined),
            }
            self.space();
        }
    }

    /// Reads an array; `each` reads an element.
    ///
    /// # Errors
    /// When it is no ordinary JSON, and those of `each`.
    pub fn items(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Declined>) -> Result<(), Declined> {
        self.open()?;
        if self.peek() == Some(b']') {
            return self.close();
        }
        loop {
            each(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.close(),
                _ => return Err(Declined),
            }
            self.space();
        }
    }

    fn open(&mut self) -> Result<(), Declined> {
        if self.depth == DEPTH_MAX {
            return Err(Declined);
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps)] // the end of readers that return a result
    fn close(&mut self) -> Result<(), Declined> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Declined> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(Declined)
    }

    fn word<T>(&mut self, word: &[u8], value: T) -> Result<T, Declined> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(value);
        }
        Err(Declined)
    }

    /// Reads what stands between quotes.
    ///
    /// # Errors
    /// When there is no text here.
    #[inline]
    pub fn text(&mut self) -> Result<RawText<'a>, Declined> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            self.at = special(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    let raw = &self.bytes[begin..self.at];
                    self.at += 1;
                    return Ok(RawText { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return Err(Declined),
            }
        }
    }

    /// Reads a number; its value only counts when it is wanted.
    fn number(&mut self, wanted: bool) -> Result<Value, Declined> {
        let begin = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let first = self.at;
        let mut whole: i64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            whole = whole.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        // nothing, `01`, and `-0`, which is an integer without a sign
        if digits == 0 || (self.bytes[first] == b'0' && (digits > 1 || negative)) {
            return Err(Declined);
        }
        if !matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            if digits > INTEGER_DIGITS_SAFE {
                return Err(Declined);
            }
            return Ok(Value::Int(if negative { -whole } else { whole }));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        if self.at - begin > NUMBER_BYTES_MAX {
            return Err(Declined);
        }
        if !wanted && !has_exponent {
            return Ok(Value::Undefined);
        }
        let text = str::from_utf8(&self.bytes[begin..self.at]).map_err(|_| Declined)?;
        let value: f64 = text.parse().map_err(|_| Declined)?;
        // beyond, the decoder looks twice or refuses
        if value.abs() < 9.0e18 && !(value == 0.0 && negative) {
            Ok(Value::Float(value))
        } else {
            Err(Declined)
        }
    }

    fn digits(&mut self) -> Result<(), Declined> {
        let first = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > first { Ok(()) } else { Err(Declined) }
    }
}

/// The place of the first quote, backslash or control character from `at` on, else the end.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

fn unescape(raw: &[u8]) -> Result<Vec<u8>, Declined> {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        text.extend_from_slice(&rest[..at]);
        let escape = *rest.get(at + 1).ok_or(Declined)?;
        rest = &rest[at + 2..];
        text.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let digits = rest.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let digits = str::from_utf8(digits.ok_or(Declined)?).map_err(|_| Declined)?;
                let number = u32::from_str_radix(digits, 16).map_err(|_| Declined)?;
                // half of a surrogate pair is no character
                let character = char::from_u32(number).ok_or(Declined)?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[4..];
                continue;
            }
            _ => return Err(Declined),
        });
    }
    text.extend_from_slice(rest);
    Ok(text)
}
