//! The names that a list of fields makes, as far as they are known before a run.

use engine_event::Text;
use indexmap::IndexMap;

use crate::Span;
use crate::syntax::{Expr, ExprKind, Field, FieldKind, Index, Path, Step};

use super::ir::FixedValue;

/// Names that a list of fields has made so far.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// All known.
    Known(Known),
    /// To be looked up in the row while it is written.
    Written,
}

/// Names with the registers of their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// `*` is among the fields.
    pub(super) all: bool,
    pub(super) entries: IndexMap<String, Node>,
}

/// What stands under a name.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Register(usize),
    Map(IndexMap<String, Node>),
}

impl Known {
    /// Adds the value of a field at `path`. Tells whether the result is known: it is not when the path has an index or
    /// goes through a value.
    pub(super) fn put(&mut self, path: &Path, register: usize) -> bool {
        let mut keys = Vec::with_capacity(path.steps.len() + 1);
        keys.push(path.root.as_str());
        for step in &path.steps {
            match step {
                Step::Key(key) => keys.push(key),
                Step::Index(_) => return false,
            }
        }
        if self.all && keys.len() > 1 && !self.entries.contains_key(keys[0]) {
            return false;
        }
        let mut entries = &mut self.entries;
        let (last, above) = keys.split_last().expect("the root is always there");
        for key in above {
            let node = entries.entry((*key).to_owned()).or_insert_with(|| Node::Map(IndexMap::new()));
            match node {
                Node::Map(below) => entries = below,
                Node::Register(_) => return false,
            }
        }
        entries.insert((*last).to_owned(), Node::Register(register));
        true
    }
}

impl Node {
    /// The node as a part of a row.
    pub(super) fn fixed(&self) -> FixedValue {
        match self {
            Self::Register(register) => FixedValue::Register(*register),
            Self::Map(entries) => FixedValue::Map(fixed(entries)),
        }
    }
}

/// Entries as parts of a row.
pub(super) fn fixed(entries: &IndexMap<String, Node>) -> Vec<(Text, FixedValue)> {
    entries.iter().map(|(key, node)| (Text::from(key.as_str()), node.fixed())).collect()
}

/// Tells whether the rows of a list can be foreseen.
pub(super) fn is_known(fields: &[Field]) -> bool {
    let mut known = Known::default();
    fields.iter().enumerate().all(|(place, field)| match target(field, place) {
        Some(path) => known.put(&path, place),
        None => {
            known.all = true;
            true
        }
    })
}

/// Where a field goes in the row (rule language, section 9.1); none for `*`.
pub(super) fn target(field: &Field, place: usize) -> Option<Path> {
    match &field.kind {
        FieldKind::All => None,
        FieldKind::Value { alias: Some(alias), .. } => Some(alias.clone()),
        FieldKind::Value { value, alias: None } => Some(default_target(value, place)),
    }
}

fn default_target(value: &Expr, place: usize) -> Path {
    let name = match &value.kind {
        ExprKind::Path(path, _) => return path.clone(),
        ExprKind::Literal(engine_event::Value::Text(text)) => text.to_str_lossy().into_owned(),
        _ => format!("_v_{}", place + 1),
    };
    Path { root: name, steps: Vec::new(), span: Span::default() }
}

/// The name of the element of FOREACH, whose last field goes to `target`.
pub(super) fn item_name(last: &Field) -> Text {
    match &last.kind {
        FieldKind::Value { alias: Some(Path { root, steps, .. }), .. } if steps.is_empty() => {
            Text::from(root.as_str())
        }
        _ => Text::from_static("item"),
    }
}

/// Tells whether a step of the path is looked up.
pub(super) fn is_looked_up(step: &Step) -> bool {
    matches!(step, Step::Index(Index::Path(_)))
}
