//! Writing along a path (rule language, section 8).

use std::sync::Arc;

use engine_event::{Map, Text, Value};

/// A step of a path that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteStep {
    /// Sets a key of a map.
    Key(Text),
    /// Replaces the element counted from 1; 0 inserts before the first.
    Start(u64),
    /// Replaces the element counted from the last; 0 inserts after the last.
    End(u64),
    /// Leaves everything as it is: the index is no integer.
    Nowhere,
}

/// Puts `value` at `steps` below `target`, creating what is missing.
pub(crate) fn write(target: &mut Value, steps: &[WriteStep], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *target = value;
        return;
    };
    match step {
        WriteStep::Key(key) => {
            if !matches!(target, Value::Map(_)) {
                *target = Value::Map(Map::new());
            }
            if let Value::Map(map) = target {
                write(map.entry(key.clone()), rest, value);
            }
        }
        WriteStep::Start(_) | WriteStep::End(_) => write_element(target, step, rest, value),
        WriteStep::Nowhere => {}
    }
}

fn write_element(target: &mut Value, step: &WriteStep, rest: &[WriteStep], value: Value) {
    let Value::Array(items) = target else {
        *target = Value::array(vec![made(rest, value)]);
        return;
    };
    let len = items.len();
    let index = match step {
        WriteStep::Start(0) => {
            Arc::make_mut(items).insert(0, made(rest, value));
            return;
        }
        WriteStep::End(0) => {
            Arc::make_mut(items).push(made(rest, value));
            return;
        }
        WriteStep::Start(place) => usize::try_from(place - 1).ok().filter(|index| *index < len),
        WriteStep::End(back) => usize::try_from(*back).ok().and_then(|back| len.checked_sub(back)),
        WriteStep::Key(_) | WriteStep::Nowhere => None,
    };
    if let Some(element) = index.and_then(|index| Arc::make_mut(items).get_mut(index)) {
        write(element, rest, value);
    }
}

/// What a new element holds.
fn made(rest: &[WriteStep], value: Value) -> Value {
    let mut element = Value::Undefined;
    write(&mut element, rest, value);
    element
}
