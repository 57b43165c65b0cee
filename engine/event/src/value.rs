//! The value model of the rule language.

use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use crate::{Map, Text};

/// A value of the rule language.
///
/// Arrays and maps are shared and copied on write, so that a row can go to several actions at the price of
/// a reference count.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value: a missing column or key. Not the same as [`Value::Null`].
    #[default]
    Undefined,
    /// JSON `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer beyond 64 bits. Values that fit are always [`Value::Int`]; make it with [`Value::from_bigint`].
    BigInt(Box<BigInt>),
    /// A double. Never NaN or infinite.
    Float(f64),
    /// Text or bytes.
    Text(Text),
    /// An array.
    Array(Arc<Vec<Value>>),
    /// A map from text to value.
    Map(Map),
}

impl Value {
    /// Makes an integer, in its 64-bit form where it fits.
    pub fn from_bigint(value: BigInt) -> Self {
        match value.to_i64() {
            Some(small) => Self::Int(small),
            None => Self::BigInt(Box::new(value)),
        }
    }

    /// Makes a text from a constant.
    pub const fn text(text: &'static str) -> Self {
        Self::Text(Text::from_static(text))
    }

    /// Makes an array.
    pub fn array(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(items))
    }

    /// Tells whether there is no value.
    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    /// The name of the type, as error messages print it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::BigInt(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
        }
    }

    /// Returns the text if this is one.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the map if this is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Estimated size in memory, in bytes: what queues count against their limit.
    pub fn size_bytes(&self) -> usize {
        let inner = match self {
            Self::Text(text) => text.len(),
            Self::BigInt(value) => (value.bits() / 8) as usize + 24,
            Self::Array(items) => items.iter().map(Self::size_bytes).sum(),
            Self::Map(map) => map.size_bytes(),
            _ => 0,
        };
        size_of::<Self>() + inner
    }
}

/// Same type and same content: `1` and `1.0` differ, as for `IN` and `CASE x WHEN`. Maps are equal whatever their order.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

macro_rules! value_from {
    ($($source:ty => $arm:expr;)*) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                let make: fn($source) -> Value = $arm;
                make(value)
            }
        }
    )*};
}

value_from! {
    bool => Value::Bool;
    i64 => Value::Int;
    i32 => |value| Value::Int(value.into());
    u8 => |value| Value::Int(value.into());
    u16 => |value| Value::Int(value.into());
    u32 => |value| Value::Int(value.into());
    u64 => |value| Value::from_bigint(value.into());
    f64 => |value| if value.is_finite() { Value::Float(value) } else { Value::Undefined };
    Text => Value::Text;
    &str => |value| Value::Text(value.into());
    String => |value| Value::Text(value.into());
    Vec<Value> => Value::array;
    Map => Value::Map;
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Undefined, Into::into)
    }
}
