//! The types of expressions, as far as the text of a rule tells them.

use engine_event::{ColumnType, Value};

use crate::functions::{self, Type};
use crate::syntax::{Expr, ExprKind, Op, Path, Step};

use super::Names;

/// The type that an expression has when it has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unknown,
    Number,
    Text,
    Bool,
    Map,
    Array,
}

impl Kind {
    /// The type with its article, as messages print it.
    pub(super) const fn shown(self) -> &'static str {
        match self {
            Self::Unknown => "a value",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Bool => "a boolean",
            Self::Map => "a map",
            Self::Array => "an array",
        }
    }

    pub(super) fn of_value(value: &Value) -> Self {
        match value {
            Value::Undefined | Value::Null => Self::Unknown,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) | Value::BigInt(_) | Value::Float(_) => Self::Number,
            Value::Text(_) => Self::Text,
            Value::Array(_) => Self::Array,
            Value::Map(_) => Self::Map,
        }
    }

    pub(super) fn of_column(column: ColumnType) -> Self {
        match column {
            ColumnType::Text => Self::Text,
            ColumnType::Integer => Self::Number,
            ColumnType::Boolean => Self::Bool,
            ColumnType::Map => Self::Map,
        }
    }

    /// The type of an expression.
    pub(super) fn of(expr: &Expr, names: &Names) -> Self {
        match &expr.kind {
            ExprKind::Literal(value) => Self::of_value(value),
            ExprKind::Array(_) | ExprKind::Range(..) | ExprKind::Path(_, Some(_)) => Self::Array,
            ExprKind::Map(_) => Self::Map,
            ExprKind::Path(path, None) => Self::of_path(path, names),
            ExprKind::Call(name, _) => match functions::lookup(name).map(|function| function.returns) {
                Some(Type::Int | Type::Float | Type::Number) => Self::Number,
                Some(Type::Text) => Self::Text,
                Some(Type::Bool) => Self::Bool,
                Some(Type::Map) => Self::Map,
                Some(Type::Array) => Self::Array,
                Some(Type::Any) | None => Self::Unknown,
            },
            ExprKind::Negative(_) => Self::Number,
            ExprKind::Positive(value) => Self::of(value, names),
            ExprKind::Not(_)
            | ExprKind::And(_)
            | ExprKind::Or(_)
            | ExprKind::In { .. }
            | ExprKind::Between { .. }
            | ExprKind::Like { .. }
            | ExprKind::IsNull { .. } => Self::Bool,
            ExprKind::Binary(op, left, right) => match op {
                Op::Add if [left, right].iter().all(|side| Self::of(side, names) == Self::Number) => {
                    Self::Number
                }
                Op::Add => Self::Unknown,
                Op::Concat => Self::Text,
                Op::Subtract | Op::Multiply | Op::Divide | Op::Div | Op::Mod => Self::Number,
                _ => Self::Bool,
            },
            ExprKind::Default(choices) => {
                let mut kinds = choices.iter().map(|choice| Self::of(choice, names));
                let first = kinds.next().unwrap_or(Self::Unknown);
                if kinds.all(|kind| kind == first) { first } else { Self::Unknown }
            }
            ExprKind::Case { .. } => Self::Unknown,
        }
    }

    fn of_path(path: &Path, names: &Names) -> Self {
        if path.steps.is_empty() { names.kind(&path.root) } else { Self::Unknown }
    }
}

/// The constant that an expression is.
pub(super) fn constant(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(value.clone()),
        ExprKind::Positive(value) => constant(value),
        ExprKind::Negative(value) => crate::evaluate::negative(&constant(value)?).ok(),
        _ => None,
    }
}

/// Tells whether a step is the place before the first or after the last element, where nothing ever is.
pub(super) fn is_nowhere(step: &Step) -> bool {
    use crate::syntax::Index;
    matches!(step, Step::Index(Index::Start(0) | Index::End(0)))
}
