//! Erlang's external term format, as far as the value model reaches.

use engine_event::{Map, Text, Value};
use num_bigint::{BigInt, Sign};

const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM: u8 = 100;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
const SMALL_ATOM: u8 = 115;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

/// Nesting that is read.
const DEPTH_MAX: usize = 128;

/// Writes a value; none when a part is too large for the format.
pub(super) fn encode(value: &Value) -> Option<Vec<u8>> {
    let mut out = vec![VERSION];
    write(value, &mut out)?;
    Some(out)
}

/// Reads a value; none when the bytes are not a term that is one.
pub(super) fn decode(bytes: &Text) -> Option<Value> {
    let mut reader = Reader { source: bytes, at: 0 };
    let version = reader.byte()?;
    let value = reader.value(DEPTH_MAX)?;
    (version == VERSION && reader.at == bytes.len()).then_some(value)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Undefined => write_atom("undefined", out),
        Value::Null => write_atom("null", out),
        Value::Bool(true) => write_atom("true", out),
        Value::Bool(false) => write_atom("false", out),
        Value::Int(value) => match (u8::try_from(*value), i32::try_from(*value)) {
            (Ok(small), _) => out.extend([SMALL_INTEGER, small]),
            (_, Ok(small)) => {
                out.push(INTEGER);
                out.extend(small.to_be_bytes());
            }
            _ => write_big(&BigInt::from(*value), out)?,
        },
        Value::BigInt(value) => write_big(value, out)?,
        Value::Float(value) => {
            out.push(NEW_FLOAT);
            out.extend(value.to_be_bytes());
        }
        Value::Text(text) => {
            write_head(BINARY, text.len(), out)?;
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(items) if items.is_empty() => out.push(NIL),
        Value::Array(items) => {
            write_head(LIST, items.len(), out)?;
            for item in items.iter() {
                write(item, out)?;
            }
            out.push(NIL);
        }
        Value::Map(map) => {
            write_head(MAP, map.len(), out)?;
            for (key, value) in map {
                write(&Value::Text(key.clone()), out)?;
                write(value, out)?;
            }
        }
    }
    Some(())
}

fn write_head(tag: u8, length: usize, out: &mut Vec<u8>) -> Option<()> {
    out.push(tag);
    out.extend(u32::try_from(length).ok()?.to_be_bytes());
    Some(())
}

fn write_atom(name: &str, out: &mut Vec<u8>) {
    out.extend([SMALL_ATOM_UTF8, name.len() as u8]); // at most 9
    out.extend_from_slice(name.as_bytes());
}

fn write_big(value: &BigInt, out: &mut Vec<u8>) -> Option<()> {
    let (sign, digits) = value.to_bytes_le();
    match u8::try_from(digits.len()) {
        Ok(length) => out.extend([SMALL_BIG, length]),
        Err(_) => write_head(LARGE_BIG, digits.len(), out)?,
    }
    out.push(u8::from(sign == Sign::Minus));
    out.extend(digits);
    Some(())
}

struct Reader<'a> {
    source: &'a Text,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        match self.byte()? {
            SMALL_INTEGER => Some(Value::from(self.byte()?)),
            INTEGER => Some(Value::from(i32::from_be_bytes(self.array()?))),
            NEW_FLOAT => {
                Some(f64::from_be_bytes(self.array()?)).filter(|value| value.is_finite()).map(Value::Float)
            }
            SMALL_BIG => {
                let length = usize::from(self.byte()?);
                self.big(length)
            }
            LARGE_BIG => {
                let length = self.length()?;
                self.big(length)
            }
            BINARY => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                Some(Value::Text(self.source.bytes().slice_ref(bytes).into()))
            }
            STRING => {
                let length = u16::from_be_bytes(self.array()?);
                let bytes = self.take(length.into())?;
                Some(Value::array(bytes.iter().map(|byte| Value::from(*byte)).collect()))
            }
            SMALL_ATOM | SMALL_ATOM_UTF8 => {
                let length = usize::from(self.byte()?);
                self.atom(length)
            }
            ATOM | ATOM_UTF8 => {
                let length = u16::from_be_bytes(self.array()?);
                self.atom(length.into())
            }
            NIL => Some(Value::array(Vec::new())),
            LIST => self.list(depth),
            MAP => self.map(depth),
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        for _ in 0..self.length()? {
            items.push(self.value(depth)?);
        }
        (self.byte()? == NIL).then(|| Value::array(items))
    }

    fn map(&mut self, depth: usize) -> Option<Value> {
        let mut map = Map::new();
        for _ in 0..self.length()? {
            let Value::Text(key) = self.value(depth)? else { return None };
            map.insert(key, self.value(depth)?);
        }
        Some(Value::Map(map))
    }

    fn atom(&mut self, length: usize) -> Option<Value> {
        Some(match self.take(length)? {
            b"undefined" => Value::Undefined,
            b"null" => Value::Null,
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            name => Value::Text(Text::copy_from(name)),
        })
    }

    fn big(&mut self, length: usize) -> Option<Value> {
        let sign = if self.byte()? == 0 { Sign::Plus } else { Sign::Minus };
        Some(Value::from_bigint(BigInt::from_bytes_le(sign, self.take(length)?)))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.array()?)).ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.source.as_bytes().get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }
}
