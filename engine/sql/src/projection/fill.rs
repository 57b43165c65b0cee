//! The pass over a payload.

use std::fmt;

use engine_event::{DecodeValue, JsonError, Value, decode_json};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::trie::Node;

/// Fills the slots of `node` from a JSON text. Gives `false` when a number lost digits: then the values are not to be
/// used, and the text is to be decoded.
pub(super) fn fill(node: &Node, json: &[u8], values: &mut [Value]) -> Result<bool, JsonError> {
    // what the decoder says of such a text is what the user is to read
    let Ok(text) = str::from_utf8(json) else {
        return decode_json(json).map(|_| false);
    };
    let mut exact = true;
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Fill { node, values, exact: &mut exact }.deserialize(&mut reader).and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(exact),
        Err(_) => decode_json(json).map(|_| false),
    }
}

/// Fills the slots of `node` from a value.
pub(super) fn fill_from_value(node: &Node, value: &Value, values: &mut [Value]) {
    if let Some(slot) = node.slot {
        values[usize::from(slot)] = value.clone();
    }
    if !node.has_steps() {
        return;
    }
    match value {
        Value::Map(map) => {
            for (key, below) in node.keys() {
                if let Some(value) = map.get(key) {
                    fill_from_value(below, value, values);
                }
            }
        }
        Value::Array(items) => {
            for (step, below) in &node.elements {
                if let Some(value) = step.index(items.len()).and_then(|index| items.get(index)) {
                    fill_from_value(below, value, values);
                }
            }
        }
        Value::Text(text) => {
            if let Ok(value) = decode_json(text.as_bytes()) {
                fill_below(node, &value, values);
            }
        }
        _ => {}
    }
}

/// As [`fill_from_value`], without the slot of the node itself.
fn fill_below(node: &Node, value: &Value, values: &mut [Value]) {
    let own = node.slot.map(|slot| (usize::from(slot), values[usize::from(slot)].clone()));
    fill_from_value(node, value, values);
    if let Some((slot, value)) = own {
        values[slot] = value;
    }
}

/// Reads one value where something is needed.
struct Fill<'a> {
    node: &'a Node,
    values: &'a mut [Value],
    exact: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        match self.node.slot {
            None if self.node.counts_from_end() => {
                let value = DecodeValue::new(self.exact).deserialize(reader)?;
                fill_from_value(self.node, &value, self.values);
                Ok(())
            }
            None => reader.deserialize_any(self),
            Some(slot) if !self.node.has_steps() => {
                self.values[usize::from(slot)] = DecodeValue::new(self.exact).deserialize(reader)?;
                Ok(())
            }
            Some(_) => {
                let value = DecodeValue::new(self.exact).deserialize(reader)?;
                fill_from_value(self.node, &value, self.values);
                Ok(())
            }
        }
    }
}

impl<'de> Visitor<'de> for Fill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    /// JSON inside JSON.
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match fill(self.node, text.as_bytes(), self.values) {
            Ok(true) => {}
            Ok(false) => *self.exact = false,
            Err(_) => self.node.clear(self.values),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let step = self.node.elements.iter().find(|entry| entry.0.index(usize::MAX) == Some(index));
            let more = match step {
                Some((_, node)) => {
                    items.next_element_seed(Fill { node, values: self.values, exact: self.exact })?.is_some()
                }
                None => items.next_element_seed(Skip)?.is_some(),
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(found) = entries.next_key_seed(FindKey(self.node))? {
            match found {
                Some(node) => {
                    // of two equal keys the last one wins
                    node.clear(self.values);
                    entries.next_value_seed(Fill { node, values: self.values, exact: self.exact })?;
                }
                None => entries.next_value_seed(Skip)?,
            }
        }
        Ok(())
    }
}

/// Reads a key and finds what is needed below it.
struct FindKey<'a>(&'a Node);

impl<'de, 'a> DeserializeSeed<'de> for FindKey<'a> {
    type Value = Option<&'a Node>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for FindKey<'a> {
    type Value = Option<&'a Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.key(key))
    }
}

/// Reads one value that nobody needs, as strictly as one that is needed.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key_seed(Self)?.is_some() {
            entries.next_value_seed(Self)?;
        }
        Ok(())
    }
}
