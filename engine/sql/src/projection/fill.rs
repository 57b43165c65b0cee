//! The pass over a payload.

use engine_event::{Declined, JsonScan, Value, decode_json};

use super::Filled;
use super::trie::Node;

/// Fills the slots of `node` from a JSON text, unless it is out of the ordinary: then the values are not to be used, and
/// the text is to be decoded.
pub(super) fn fill(node: &Node, json: &[u8], filled: &mut Filled<'_>) -> Result<(), Declined> {
    let mut scan = JsonScan::new(json).ok_or(Declined)?;
    fill_here(node, &mut scan, filled)?;
    scan.end()
}

fn fill_here(node: &Node, scan: &mut JsonScan<'_>, filled: &mut Filled<'_>) -> Result<(), Declined> {
    if node.slot.is_some() || node.counts_from_end() {
        let value = scan.value()?;
        fill_from_value(node, &value, filled);
        return Ok(());
    }
    match scan.peek() {
        Some(b'{') => scan.entries(|scan, key| {
            // a key with escapes may be one that is needed
            match node.key(key.plain().ok_or(Declined)?) {
                Some(below) => {
                    // of two equal keys the last one wins
                    below.clear(filled);
                    fill_here(below, scan, filled)
                }
                None => scan.skip(),
            }
        }),
        Some(b'[') => fill_from_array(node, scan, filled),
        Some(b'"') => {
            let text = scan.text()?.text()?;
            fill_from_text(node, text.as_bytes(), filled);
            Ok(())
        }
        _ => scan.skip(),
    }
}

fn fill_from_array(node: &Node, scan: &mut JsonScan<'_>, filled: &mut Filled<'_>) -> Result<(), Declined> {
    if let (Some(each), Some(elements)) = (&node.each, filled.elements.as_deref_mut()) {
        elements.begin();
        return scan.items(|scan| fill_here(&each.node, scan, &mut elements.element(each.width)));
    }
    if node.elements.is_empty() {
        return scan.skip();
    }
    let mut index = 0;
    scan.items(|scan| {
        let step = node.elements.iter().find(|entry| entry.0.index(usize::MAX) == Some(index));
        index += 1;
        match step {
            Some((_, below)) => fill_here(below, scan, filled),
            None => scan.skip(),
        }
    })
}

/// JSON inside JSON; other texts have nothing below them.
fn fill_from_text(node: &Node, text: &[u8], filled: &mut Filled<'_>) {
    if !node.has_steps() {
        return;
    }
    if let Ok(value) = decode_json(text) {
        fill_below(node, &value, filled);
    }
}

/// Fills the slots of `node` from a value.
pub(super) fn fill_from_value(node: &Node, value: &Value, filled: &mut Filled<'_>) {
    if let Some(slot) = node.slot {
        filled.values[usize::from(slot)] = value.clone();
    }
    if let (Some(each), Value::Array(items), Some(elements)) =
        (&node.each, value, filled.elements.as_deref_mut())
    {
        elements.begin();
        for item in items.iter() {
            fill_from_value(&each.node, item, &mut elements.element(each.width));
        }
        return;
    }
    match value {
        Value::Text(text) => fill_from_text(node, text.as_bytes(), filled),
        value => fill_below(node, value, filled),
    }
}

/// Fills what lies below `node`.
fn fill_below(node: &Node, value: &Value, filled: &mut Filled<'_>) {
    if !node.has_steps() {
        return;
    }
    match value {
        Value::Map(map) => {
            for (key, below) in node.keys() {
                if let Some(value) = map.get(key) {
                    fill_from_value(below, value, filled);
                }
            }
        }
        Value::Array(items) => {
            for (step, below) in &node.elements {
                if let Some(value) = step.index(items.len()).and_then(|index| items.get(index)) {
                    fill_from_value(below, value, filled);
                }
            }
        }
        // a text in a text: what it holds was decoded once, and so it is by `read`
        Value::Text(text) => fill_from_text(node, text.as_bytes(), filled),
        _ => {}
    }
}
