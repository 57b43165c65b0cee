//! The value model of the rule language.

use std::sync::Arc;

use indexmap::IndexMap;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

use crate::Text;

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

type Entries = IndexMap<Text, Value, foldhash::fast::RandomState>;

/// A map from text to value that keeps the order of insertion.
///
/// Shared on clone, copied on the first write after that.
#[derive(Clone, Debug, Default)]
pub struct Map(Arc<Entries>);

/// One result of a rule: what actions and templates see.
pub type Row = Map;

impl Map {
    /// Makes an empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty map with room for `entries`.
    pub fn with_capacity(entries: usize) -> Self {
        Self(Arc::new(Entries::with_capacity_and_hasher(entries, Default::default())))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether the map has no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Value> {
        self.0.get(key.as_ref())
    }

    /// Tells whether `key` is there, be it with an undefined value.
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.0.contains_key(key.as_ref())
    }

    /// Returns the value of `key` for changing it in place.
    pub fn get_mut(&mut self, key: impl AsRef<[u8]>) -> Option<&mut Value> {
        Arc::make_mut(&mut self.0).get_mut(key.as_ref())
    }

    /// Sets `key`. A key that was there keeps its place in the order.
    pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<Value>) -> Option<Value> {
        Arc::make_mut(&mut self.0).insert(key.into(), value.into())
    }

    /// Removes `key`, keeping the order of the others.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Option<Value> {
        Arc::make_mut(&mut self.0).shift_remove(key.as_ref())
    }

    /// Returns the entry of `key`, made undefined when it was missing.
    pub fn entry(&mut self, key: impl Into<Text>) -> &mut Value {
        Arc::make_mut(&mut self.0).entry(key.into()).or_default()
    }

    /// Entries in order.
    pub fn iter(&self) -> indexmap::map::Iter<'_, Text, Value> {
        self.0.iter()
    }

    /// Keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Text> {
        self.0.keys()
    }

    /// Values in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.values()
    }

    /// Estimated size in memory, in bytes.
    pub fn size_bytes(&self) -> usize {
        let entries: usize = self.0.iter().map(|(key, value)| key.len() + 48 + value.size_bytes()).sum();
        64 + entries
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Into<Text>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(Arc::new(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = indexmap::map::Iter<'a, Text, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = indexmap::map::IntoIter<Text, Value>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}
