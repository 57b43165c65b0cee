//! Comparisons that are never true, alone or together.

use engine_event::{Value, topic};

use crate::evaluate::compare;
use crate::syntax::{Expr, ExprKind, Op};

use super::kind::{Kind, constant};
use super::{Checker, Names};

impl Checker<'_> {
    pub(super) fn compare(&mut self, op: Op, left: &Expr, right: &Expr, expr: &Expr, names: &Names) {
        let (side, value, op) = match (constant(left), constant(right)) {
            (None, Some(value)) => (left, value, op),
            (Some(value), None) => (right, value, turned(op)),
            _ => {
                let kinds = (Kind::of(left, names), Kind::of(right, names));
                return self.kinds(op, kinds, expr, None);
            }
        };
        if self.known_column(op, side, &value, expr, names) || self.known_function(op, side, &value, expr) {
            return;
        }
        self.kinds(op, (Kind::of(side, names), Kind::of_value(&value)), expr, Some(&value));
    }

    /// Two types that cannot be equal, or not be compared.
    fn kinds(&mut self, op: Op, (a, b): (Kind, Kind), expr: &Expr, value: Option<&Value>) {
        let numeric = |value: &Value| compare(Op::Equal, &Value::Int(0), value).is_ok();
        match (a, b) {
            (Kind::Number, Kind::Text) if value.is_some_and(|value| !numeric(value)) => {
                self.warn(
                    expr.span,
                    "a number cannot be compared with a text that is not a number: this always fails",
                    "",
                );
            }
            (a, b) if op == Op::Equal && a != b && are_apart(a, b) => {
                self.warn(expr.span, format!("{} is never equal to {}", a.shown(), b.shown()), "");
            }
            _ => {}
        }
    }

    /// What is known of the values of single columns. Tells whether something was reported.
    fn known_column(&mut self, op: Op, side: &Expr, value: &Value, expr: &Expr, names: &Names) -> bool {
        let before = self.problems.len();
        if names.is_column(side, "qos")
            && !(0..=2).any(|qos| compare(op, &Value::Int(qos), value) != Ok(false))
        {
            self.warn(expr.span, "`qos` is 0, 1 or 2: this is never true", "");
        }
        if let (true, Op::Equal, Value::Text(text)) = (names.is_column(side, "event"), op, value) {
            let selected: Vec<_> = super::events(self.sources).map(|def| def.name).collect();
            if !selected.is_empty() && !selected.iter().any(|name| *text == *name) {
                let message = format!("FROM selects no event `{text}`: this is never true");
                self.warn(expr.span, message, format!("it selects {}", selected.join(", ")));
            }
        }
        if let (true, Op::Equal, Value::Text(text), Some(filters)) =
            (names.is_column(side, "topic"), op, value, self.topic_filters())
        {
            let matched = filters.iter().any(|filter| topic::matches(filter.as_bytes(), text.as_bytes()));
            let shown = text.to_str_lossy();
            if shown.contains(['+', '#']) {
                let message = format!("no topic is equal to the filter `{shown}`: this is never true");
                self.warn(expr.span, message, "match with `=~`");
            } else if !matched {
                self.warn(
                    expr.span,
                    format!("FROM does not select the topic `{shown}`: this is never true"),
                    "",
                );
            }
        }
        self.problems.len() > before
    }

    /// What is known of the results of single functions. Tells whether something was reported.
    fn known_function(&mut self, op: Op, side: &Expr, value: &Value, expr: &Expr) -> bool {
        let ExprKind::Call(name, _) = &side.kind else { return false };
        let name = name.to_ascii_lowercase();
        let text = match value {
            Value::Text(text) => text.to_str_lossy().into_owned(),
            _ => String::new(),
        };
        let other_case = match name.as_str() {
            "lower" => text.to_lowercase() != text,
            "upper" => text.to_uppercase() != text,
            _ => false,
        };
        let counts =
            matches!(name.as_str(), "abs" | "strlen" | "length" | "map_size" | "bitsize" | "bytesize");
        let message = if other_case && op == Op::Equal {
            format!("`{name}` never gives '{text}'")
        } else if counts && never_of_at_least_zero(op, value) {
            format!("`{name}` is never less than 0: this is never true")
        } else {
            return false;
        };
        self.warn(expr.span, message, "");
        true
    }

    pub(super) fn in_list(&mut self, value: &Expr, list: &[Expr], names: &Names) {
        let kind = Kind::of(value, names);
        let kinds: Option<Vec<Kind>> =
            list.iter().map(|item| constant(item).map(|value| Kind::of_value(&value))).collect();
        let Some(kinds) = kinds else { return };
        let apart = |other: &Kind| kind != Kind::Unknown && *other != Kind::Unknown && kind != *other;
        if kinds.iter().all(apart) {
            let message = format!("IN looks for exactly equal values, and {} is none of these", kind.shown());
            self.warn(value.span, message, "");
        } else if names.is_column(value, "qos")
            && list.iter().filter_map(constant).all(|item| !(0..=2).any(|qos| item == Value::Int(qos)))
        {
            self.warn(value.span, "`qos` is 0, 1 or 2, and none of these", "");
        }
    }

    pub(super) fn between(&mut self, value: &Expr, low: &Expr, high: &Expr) {
        if let (Some(least), Some(most)) = (constant(low), constant(high))
            && compare(Op::Greater, &least, &most) == Ok(true)
        {
            let message = format!("nothing is between {low} and {high}: this is never true");
            self.warn(value.span.to(high.span), message, "the smaller value goes first");
        }
    }
}

/// Types that are never equal, whatever the values.
fn are_apart(a: Kind, b: Kind) -> bool {
    let scalar = |kind| matches!(kind, Kind::Number | Kind::Text);
    match (a, b) {
        (Kind::Unknown, _) | (_, Kind::Unknown) => false,
        // '1' is equal to 1, and 'true' to true
        (Kind::Text, Kind::Bool) | (Kind::Bool, Kind::Text) => false,
        (a, b) => !(scalar(a) && scalar(b)),
    }
}

fn turned(op: Op) -> Op {
    match op {
        Op::Less => Op::Greater,
        Op::LessOrEqual => Op::GreaterOrEqual,
        Op::Greater => Op::Less,
        Op::GreaterOrEqual => Op::LessOrEqual,
        other => other,
    }
}

fn never_of_at_least_zero(op: Op, value: &Value) -> bool {
    let zero = Value::Int(0);
    match op {
        Op::Less => compare(Op::LessOrEqual, value, &zero) == Ok(true),
        Op::LessOrEqual | Op::Equal => compare(Op::Less, value, &zero) == Ok(true),
        _ => false,
    }
}

/// Comparisons of paths with constants that all have to be true.
#[derive(Default)]
pub(super) struct Conditions<'a>(Vec<(String, Op, Value, &'a Expr)>);

impl<'a> Conditions<'a> {
    /// Adds a comparison. Returns an earlier one that cannot be true together with it.
    pub(super) fn add(&mut self, expr: &'a Expr) -> Option<&'a Expr> {
        let ExprKind::Binary(op, left, right) = &expr.kind else { return None };
        let (side, value, op) = match (constant(left), constant(right)) {
            (None, Some(value)) => (left, value, *op),
            (Some(value), None) => (right, value, turned(*op)),
            _ => return None,
        };
        if !matches!(side.kind, ExprKind::Path(_, None)) || matches!(op, Op::Matches) {
            return None;
        }
        let path = side.to_string();
        let earlier = self.0.iter().find(|(other, earlier_op, earlier, _)| {
            *other == path && excludes((*earlier_op, earlier), (op, &value))
        });
        let earlier = earlier.map(|entry| entry.3);
        self.0.push((path, op, value, expr));
        earlier
    }
}

/// Tells whether no value meets both conditions. Both constants are numbers, or both are texts.
fn excludes((a_op, a): (Op, &Value), (b_op, b): (Op, &Value)) -> bool {
    let same = matches!(
        (Kind::of_value(a), Kind::of_value(b)),
        (Kind::Number, Kind::Number) | (Kind::Text, Kind::Text)
    );
    let holds = |op, left: &Value, right: &Value| compare(op, left, right) == Ok(true);
    let is_low = |op| matches!(op, Op::Greater | Op::GreaterOrEqual);
    let is_high = |op| matches!(op, Op::Less | Op::LessOrEqual);
    same && match (a_op, b_op) {
        (Op::Equal, op) => !holds(op, a, b),
        (op, Op::Equal) => !holds(op, b, a),
        (low, high) if is_low(low) && is_high(high) => apart(low, a, high, b, &holds),
        (high, low) if is_low(low) && is_high(high) => apart(low, b, high, a, &holds),
        _ => false,
    }
}

fn apart(low: Op, least: &Value, high: Op, most: &Value, holds: &dyn Fn(Op, &Value, &Value) -> bool) -> bool {
    let both_included = low == Op::GreaterOrEqual && high == Op::LessOrEqual;
    holds(Op::Greater, least, most) || (!both_included && holds(Op::Equal, least, most))
}
