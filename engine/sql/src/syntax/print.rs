//! The tree as text, in one canonical form that reads back to the same tree.

use std::fmt::{self, Display, Formatter, Write as _};

use engine_event::Value;

use super::tree::{Body, Branch, Expr, ExprKind, Field, FieldKind, Index, Level, Path, Rule, Step};
use super::words::is_plain_name;

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Select(fields) => write!(f, "SELECT {}", List(fields))?,
            Body::Foreach { fields, each, incase } => {
                write!(f, "FOREACH {}", List(fields))?;
                if let Some(each) = each {
                    write!(f, " DO {}", List(each))?;
                }
                if let Some(incase) = incase {
                    write!(f, " INCASE {incase}")?;
                }
            }
        }
        f.write_str(" FROM ")?;
        for (index, source) in self.from.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            quoted(f, &source.name)?;
        }
        match &self.condition {
            Some(condition) => write!(f, " WHERE {condition}"),
            None => Ok(()),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FieldKind::All => f.write_char('*'),
            FieldKind::Value { value, alias: None } => value.fmt(f),
            FieldKind::Value { value, alias: Some(alias) } => write!(f, "{value} AS {alias}"),
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        name(f, &self.root)?;
        for step in &self.steps {
            match step {
                Step::Key(key) => {
                    f.write_char('.')?;
                    name(f, key)?;
                }
                Step::Index(Index::Start(place)) => write!(f, "[{place}]")?,
                Step::Index(Index::End(place)) => write!(f, "[-{place}]")?,
                Step::Index(Index::Path(path)) => write!(f, "[{path}]")?,
            }
        }
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        print(f, self)
    }
}

fn print(f: &mut Formatter<'_>, expr: &Expr) -> fmt::Result {
    let level = level(&expr.kind);
    match &expr.kind {
        ExprKind::Literal(value) => literal(f, value),
        ExprKind::Array(items) => write!(f, "[{}]", List(items)),
        ExprKind::Map(entries) => map(f, entries),
        ExprKind::Range(first, last) => write!(f, "[{first}..{last}]"),
        ExprKind::Path(path, None) => path.fmt(f),
        ExprKind::Path(path, Some((first, last))) => write!(f, "{path}[{first}..{last}]"),
        ExprKind::Call(function, arguments) => write!(f, "{function}({})", List(arguments)),
        ExprKind::Negative(value) => signed(f, '-', value),
        ExprKind::Positive(value) => signed(f, '+', value),
        ExprKind::Not(value) => {
            f.write_str("NOT ")?;
            operand(f, value, Level::Not)
        }
        ExprKind::And(operands) => joined(f, " AND ", operands, level),
        ExprKind::Or(operands) => joined(f, " OR ", operands, level),
        ExprKind::Default(operands) => joined(f, " ?? ", operands, level),
        ExprKind::Binary(op, left, right) => {
            let least_left = if level == Level::Comparison { level.next() } else { level };
            operand(f, left, least_left)?;
            write!(f, " {} ", op.symbol())?;
            operand(f, right, level.next())
        }
        ExprKind::In { negated, value, list } => {
            operand(f, value, level.next())?;
            write!(f, " {}IN ({})", not(*negated), List(list))
        }
        ExprKind::Between { negated, value, low, high } => {
            operand(f, value, level.next())?;
            write!(f, " {}BETWEEN ", not(*negated))?;
            operand(f, low, level.next())?;
            f.write_str(" AND ")?;
            operand(f, high, level.next())
        }
        ExprKind::Like { negated, value, pattern } => {
            operand(f, value, level.next())?;
            write!(f, " {}LIKE ", not(*negated))?;
            operand(f, pattern, level.next())
        }
        ExprKind::IsNull { negated, value } => {
            operand(f, value, level.next())?;
            write!(f, " IS {}NULL", not(*negated))
        }
        ExprKind::Case { operand, branches, otherwise } => {
            case(f, operand.as_deref(), branches, otherwise.as_deref())
        }
    }
}

fn map(f: &mut Formatter<'_>, entries: &[(String, Expr)]) -> fmt::Result {
    f.write_char('{')?;
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        name(f, key)?;
        write!(f, ": {value}")?;
    }
    f.write_char('}')
}

fn case(
    f: &mut Formatter<'_>,
    operand: Option<&Expr>,
    branches: &[Branch],
    otherwise: Option<&Expr>,
) -> fmt::Result {
    f.write_str("CASE")?;
    if let Some(operand) = operand {
        write!(f, " {operand}")?;
    }
    for branch in branches {
        write!(f, " WHEN {} THEN {}", branch.when, branch.then)?;
    }
    if let Some(otherwise) = otherwise {
        write!(f, " ELSE {otherwise}")?;
    }
    f.write_str(" END")
}

fn level(kind: &ExprKind) -> Level {
    match kind {
        ExprKind::Or(_) => Level::Or,
        ExprKind::And(_) => Level::And,
        ExprKind::Not(_) => Level::Not,
        ExprKind::Default(_) => Level::Default,
        ExprKind::Binary(op, ..) => op.level(),
        ExprKind::In { .. } | ExprKind::Between { .. } | ExprKind::Like { .. } | ExprKind::IsNull { .. } => {
            Level::Comparison
        }
        ExprKind::Negative(_) | ExprKind::Positive(_) => Level::Sign,
        ExprKind::Literal(_)
        | ExprKind::Array(_)
        | ExprKind::Map(_)
        | ExprKind::Range(..)
        | ExprKind::Path(..)
        | ExprKind::Call(..)
        | ExprKind::Case { .. } => Level::Operand,
    }
}

/// Prints an operand, in parentheses when it binds less tightly than `least`.
fn operand(f: &mut Formatter<'_>, expr: &Expr, least: Level) -> fmt::Result {
    if level(&expr.kind) >= least { print(f, expr) } else { write!(f, "({expr})") }
}

/// `- -1` would begin a comment without the space or parentheses.
fn signed(f: &mut Formatter<'_>, sign: char, value: &Expr) -> fmt::Result {
    f.write_char(sign)?;
    operand(f, value, Level::Operand)
}

fn joined(f: &mut Formatter<'_>, word: &str, operands: &[Expr], level: Level) -> fmt::Result {
    for (index, expr) in operands.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        operand(f, expr, level.next())?;
    }
    Ok(())
}

fn literal(f: &mut Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Bool(value) => write!(f, "{value}"),
        Value::Int(value) => write!(f, "{value}"),
        Value::BigInt(value) => write!(f, "{value}"),
        // always has a point or an exponent
        Value::Float(value) => write!(f, "{value:?}"),
        Value::Text(text) => write!(f, "'{}'", text.to_str_lossy().replace('\'', "''")),
        Value::Undefined | Value::Null | Value::Array(_) | Value::Map(_) => {
            unreachable!("the parser makes no such literal")
        }
    }
}

fn name(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    if is_plain_name(name) { f.write_str(name) } else { quoted(f, name) }
}

fn quoted(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    write!(f, "\"{}\"", name.replace('"', "\"\""))
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

/// Prints with commas.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
