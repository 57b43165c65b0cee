//! Reading and writing along paths (sections 7, 8 and 9.2).

use engine_event::{Map, Text, Value, decode_json};

use crate::syntax::{Index, Path, Step};

use super::{Failure, Interpreter, decoded_payload};

/// Where names are looked up: first in the row so far, then in the columns and what hides them.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) row: Option<Map>,
    pub(super) columns: Map,
}

/// A step whose index is known.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Key(Text),
    /// From the start, from 1.
    Start(u64),
    /// From the end, from 1.
    End(u64),
    /// The index is no integer.
    Nowhere,
}

impl Names {
    pub(super) fn only(columns: Map) -> Self {
        Self { row: None, columns }
    }

    /// The whole path is tried in one scope after the other.
    pub(super) fn find(&self, path: &Path) -> Result<Value, Failure> {
        for scope in self.row.iter().chain([&self.columns]) {
            let found = self.find_in(scope, path)?;
            if !found.is_undefined() {
                return Ok(found);
            }
        }
        Ok(Value::Undefined)
    }

    fn find_in(&self, scope: &Map, path: &Path) -> Result<Value, Failure> {
        let mut value = scope.get(&path.root).cloned().unwrap_or_default();
        if path.root == "payload" && !path.steps.is_empty() {
            value = decoded_payload(value)?;
        }
        for step in &path.steps {
            if value.is_undefined() {
                break;
            }
            value = read(&value, &self.known(step, scope, &path.root)?);
        }
        Ok(value)
    }

    fn known(&self, step: &Step, scope: &Map, root: &str) -> Result<Known, Failure> {
        Ok(match step {
            Step::Key(key) => Known::Key(Text::from(key.as_str())),
            Step::Index(Index::Start(place)) => Known::Start(*place),
            Step::Index(Index::End(place)) => Known::End(*place),
            Step::Index(Index::Path(index)) => number(match self.find_beside(index, scope, root)? {
                Value::Undefined => self.find(index)?,
                found => found,
            }),
        })
    }

    /// Section 7.1: an index is looked up inside the map that the path starts from, which is the payload when the path
    /// starts there.
    fn find_beside(&self, index: &Path, scope: &Map, root: &str) -> Result<Value, Failure> {
        if root != "payload" {
            return self.find_in(scope, index);
        }
        let mut inside = Path { root: "payload".to_owned(), ..index.clone() };
        inside.steps.insert(0, Step::Key(index.root.clone()));
        self.find_in(scope, &inside)
    }
}

/// What a looked up index stands for.
fn number(value: Value) -> Known {
    match value {
        Value::Int(place) if place < 0 => Known::End(place.unsigned_abs()),
        Value::Int(place) => Known::Start(place.unsigned_abs()),
        _ => Known::Nowhere,
    }
}

fn read(value: &Value, step: &Known) -> Value {
    match (value, step) {
        (Value::Text(text), _) => match decode_json(text.as_bytes()) {
            Ok(decoded) => read(&decoded, step),
            Err(_) => Value::Undefined,
        },
        (Value::Map(map), Known::Key(key)) => map.get(key).cloned().unwrap_or_default(),
        (Value::Array(items), step) => {
            element(items.len(), step).map_or(Value::Undefined, |at| items[at].clone())
        }
        _ => Value::Undefined,
    }
}

/// The place in an array, from 0.
fn element(len: usize, step: &Known) -> Option<usize> {
    let len = len as u64;
    let place = match step {
        Known::Start(place) if (1..=len).contains(place) => place - 1,
        Known::End(place) if (1..=len).contains(place) => len - place,
        _ => return None,
    };
    usize::try_from(place).ok()
}

/// The steps of an alias.
pub(super) fn targets(_: &Interpreter<'_>, path: &Path, names: &Names) -> Result<Vec<Known>, Failure> {
    let mut steps = vec![Known::Key(Text::from(path.root.as_str()))];
    for step in &path.steps {
        steps.push(match step {
            Step::Key(key) => Known::Key(Text::from(key.as_str())),
            Step::Index(Index::Start(place)) => Known::Start(*place),
            Step::Index(Index::End(place)) => Known::End(*place),
            Step::Index(Index::Path(index)) => number(names.find(index)?),
        });
    }
    Ok(steps)
}

/// Section 8: the value with `new` at the place that the steps lead to.
pub(super) fn put(old: Value, steps: &[Known], new: Value) -> Value {
    let Some((step, rest)) = steps.split_first() else { return new };
    match step {
        Known::Key(key) => {
            let mut map = match old {
                Value::Map(map) => map,
                _ => Map::new(),
            };
            let below = map.get(key).cloned().unwrap_or_default();
            map.insert(key.clone(), put(below, rest, new));
            Value::Map(map)
        }
        Known::Nowhere => old,
        Known::Start(_) | Known::End(_) => {
            let Value::Array(items) = old else {
                return Value::array(vec![put(Value::Undefined, rest, new)]);
            };
            let mut items = items.as_ref().clone();
            match (step, element(items.len(), step)) {
                (Known::Start(0), _) => items.insert(0, put(Value::Undefined, rest, new)),
                (Known::End(0), _) => items.push(put(Value::Undefined, rest, new)),
                (_, Some(at)) => items[at] = put(items[at].clone(), rest, new),
                (_, None) => {}
            }
            Value::array(items)
        }
    }
}
