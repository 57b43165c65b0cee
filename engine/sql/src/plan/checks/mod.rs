//! What a rule may say that is allowed, but fails or never gives anything.

mod compared;
mod kind;

use std::collections::BTreeMap;

use engine_event::{ColumnType, EventDef, EventKind, topic};

use crate::Problem;
use crate::functions::{self, CompiledCache};
use crate::plan::Source;
use crate::plan::layout::{item_name, target};
use crate::syntax::{Body, Branch, Expr, ExprKind, Field, FieldKind, Op, Path, Rule, Step};

use compared::Conditions;
use kind::{Kind, constant, is_nowhere};

/// Looks through a rule.
pub(super) fn check(sql: &str, rule: &Rule, sources: &[Source]) -> Vec<Problem> {
    let mut checker = Checker { sql, sources, problems: Vec::new(), compiled: CompiledCache::new() };
    checker.sources(rule);
    match &rule.body {
        Body::Select(fields) => {
            let mut names = Names::of(sources);
            checker.fields(fields, &mut names);
            checker.condition("WHERE", rule.condition.as_ref(), &names);
        }
        Body::Foreach { fields, each, incase } => {
            checker.foreach(rule, fields, each.as_deref(), incase.as_ref());
        }
    }
    checker.problems
}

/// The names that can be read at some place of a rule.
#[derive(Clone, Debug)]
struct Names {
    known: BTreeMap<String, Kind>,
    /// Those that hide a column.
    made: Vec<String>,
    /// Events of a source may have any columns.
    open: bool,
}

impl Names {
    fn of(sources: &[Source]) -> Self {
        let mut known: BTreeMap<String, Kind> = BTreeMap::new();
        let mut add = |name: &str, kind: Kind| {
            known
                .entry(name.to_owned())
                .and_modify(|old| {
                    if *old != kind {
                        *old = Kind::Unknown;
                    }
                })
                .or_insert(kind);
        };
        add("event", Kind::Text);
        add("timestamp", Kind::Number);
        add("node", Kind::Text);
        add("metadata", Kind::Map);
        for def in events(sources) {
            for column in def.columns {
                // a payload is a text that mostly is JSON
                let open = column.name == "payload" || column.column_type == ColumnType::Map;
                add(column.name, if open { Kind::Unknown } else { Kind::of_column(column.column_type) });
            }
        }
        Self {
            known,
            made: Vec::new(),
            open: sources.iter().any(|source| matches!(source, Source::Bridge(_))),
        }
    }

    fn kind(&self, name: &str) -> Kind {
        self.known.get(name).copied().unwrap_or(Kind::Unknown)
    }

    /// Tells whether an expression is that column.
    fn is_column(&self, expr: &Expr, name: &str) -> bool {
        is_path(expr, name) && !self.made.iter().any(|made| made == name)
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let near = self.known.keys().map(|known| (strsim::damerau_levenshtein(name, known), known));
        let limit = 1 + name.len() / 4;
        near.min().filter(|(distance, _)| *distance <= limit).map(|(_, known)| known.as_str())
    }
}

fn events(sources: &[Source]) -> impl Iterator<Item = &'static EventDef> {
    sources.iter().filter_map(|source| match source {
        Source::Event(kind) => Some(kind.def()),
        Source::Topic(_) => Some(EventKind::MessagePublish.def()),
        Source::Bridge(_) => None,
    })
}

struct Checker<'a> {
    sql: &'a str,
    sources: &'a [Source],
    problems: Vec<Problem>,
    compiled: CompiledCache,
}

impl Checker<'_> {
    fn warn(&mut self, span: crate::Span, message: impl Into<String>, hint: impl Into<String>) {
        let hint = hint.into();
        let problem = Problem::new(self.sql, span, message).into_warning();
        self.problems.push(if hint.is_empty() { problem } else { problem.with_hint(hint) });
    }

    fn sources(&mut self, rule: &Rule) {
        for source in rule.from.iter().filter(|source| source.name.starts_with("$SYS/")) {
            let message = format!("messages on `{}` run no rules by default", source.name);
            self.warn(source.span, message, "set `rule_engine.ignore_sys_message = false`");
        }
    }

    fn foreach(&mut self, rule: &Rule, fields: &[Field], each: Option<&[Field]>, incase: Option<&Expr>) {
        let mut names = Names::of(self.sources);
        let before = names.clone();
        self.fields(fields, &mut names);
        self.condition("WHERE", rule.condition.as_ref(), &names);
        let Some(last) = fields.last() else { return };
        if let FieldKind::Value { value, .. } = &last.kind {
            let kind = Kind::of(value, &before);
            if !matches!(kind, Kind::Array | Kind::Unknown) {
                let message =
                    format!("FOREACH goes through an array, this is {}: it gives no rows", kind.shown());
                self.warn(value.span, message, "");
            }
        }
        let item = item_name(last).to_str_lossy().into_owned();
        names.known.insert(item.clone(), Kind::Unknown);
        names.made.push(item);
        self.condition("INCASE", incase, &names);
        if let Some(each) = each {
            self.fields(each, &mut names);
        }
    }

    fn fields(&mut self, fields: &[Field], names: &mut Names) {
        let mut made: Vec<Path> = Vec::new();
        for (place, field) in fields.iter().enumerate() {
            let FieldKind::Value { value, alias } = &field.kind else { continue };
            self.expression(value, names);
            let Some(path) = target(field, place) else { continue };
            if let (Some(alias), true) = (alias, made.contains(&path)) {
                self.warn(alias.span, format!("`{alias}` is made twice, and the first value is lost"), "");
            }
            let kind = if path.steps.is_empty() { Kind::of(value, names) } else { Kind::Unknown };
            names.known.insert(path.root.clone(), kind);
            if !matches!(&value.kind, ExprKind::Path(read, None) if *read == path) {
                names.made.push(path.root.clone());
            }
            made.push(path);
        }
    }

    /// Checks WHERE or INCASE.
    fn condition(&mut self, part: &str, condition: Option<&Expr>, names: &Names) {
        let Some(condition) = condition else { return };
        self.expression(condition, names);
        match Kind::of(condition, names) {
            Kind::Bool | Kind::Unknown => {}
            kind => {
                let message = format!("{part} needs a boolean, this is {}: every run fails", kind.shown());
                self.warn(condition.span, message, "compare it with something");
            }
        }
        let operands = match &condition.kind {
            ExprKind::And(operands) => operands.as_slice(),
            _ => std::slice::from_ref(condition),
        };
        let mut conditions = Conditions::default();
        for operand in operands {
            if Self::is_never_true(operand) {
                self.warn(operand.span, format!("this is never true, so {part} never is"), "");
                return;
            }
            if let Some(earlier) = conditions.add(operand) {
                let message = format!("this cannot be true together with `{earlier}`: {part} never is");
                self.warn(operand.span, message, "");
                return;
            }
        }
    }

    /// Tells whether a condition is never true without a problem of its own having been reported.
    fn is_never_true(expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Literal(value) => *value == engine_event::Value::Bool(false),
            ExprKind::Not(value) => matches!(&value.kind, ExprKind::Literal(engine_event::Value::Bool(true))),
            ExprKind::Binary(op, left, right) => match (constant(left), constant(right)) {
                (Some(left), Some(right)) => crate::evaluate::compare(*op, &left, &right) == Ok(false),
                _ => false,
            },
            ExprKind::Or(operands) => operands.iter().all(Self::is_never_true),
            _ => false,
        }
    }

    fn expression(&mut self, expr: &Expr, names: &Names) {
        match &expr.kind {
            ExprKind::Path(path, range) => {
                self.path(path, names);
                self.range(expr, *range);
            }
            ExprKind::Call(name, arguments) => self.call(name, arguments, expr),
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right, expr, names),
            ExprKind::In { negated: false, value, list } => self.in_list(value, list, names),
            ExprKind::Between { value, low, high, .. } => self.between(value, low, high),
            ExprKind::Like { pattern, .. } => self.like(pattern),
            ExprKind::Case { operand, branches, otherwise } => {
                self.case(operand.is_some(), branches, otherwise.as_deref());
            }
            _ => {}
        }
        expr.kind.each_child(&mut |child| self.expression(child, names));
    }

    fn path(&mut self, path: &Path, names: &Names) {
        if let Some(step) = path.steps.iter().find(|step| is_nowhere(step)) {
            let (place, hint) = match step {
                Step::Index(crate::syntax::Index::Start(_)) => ("[0]", "`[1]` is the first element"),
                _ => ("[-0]", "`[-1]` is the last element"),
            };
            self.warn(path.span, format!("there is never anything at `{place}`"), hint);
        }
        let root = path.root.as_str();
        match names.known.get(root) {
            Some(kind @ (Kind::Number | Kind::Bool)) if !path.steps.is_empty() => {
                let message = format!("`{root}` is {}: there is nothing inside it", kind.shown());
                self.warn(path.span, message, "");
            }
            Some(_) => {}
            None if names.open => {}
            None if matches!(root.to_ascii_lowercase().as_str(), "null" | "undefined") => {
                self.warn(
                    path.span,
                    format!("`{root}` is read as a column, which no event has"),
                    "write `null()`",
                );
            }
            None => {
                let message = format!("no event of FROM has a column `{root}`: it is always undefined");
                let hint = match (names.nearest(root), names.known.contains_key("payload")) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, true) => format!(
                        "fields of the payload are read as `payload.{path}`, texts stand in single quotes"
                    ),
                    (None, false) => "texts stand in single quotes".to_owned(),
                };
                self.warn(path.span, message, hint);
            }
        }
    }

    fn range(&mut self, expr: &Expr, range: Option<(i64, i64)>) {
        let Some((first, last)) = range else { return };
        if first == 0 || last == 0 {
            self.warn(expr.span, format!("a range counts from 1: `[{first}..{last}]` always fails"), "");
        } else if first > 0 && last > 0 && last + 1 < first {
            self.warn(expr.span, format!("`[{first}..{last}]` ends before it begins: it always fails"), "");
        }
    }

    fn call(&mut self, name: &str, arguments: &[Expr], expr: &Expr) {
        let Some(function) = functions::lookup(name) else { return };
        let text = |place: usize| match arguments.get(place).and_then(constant) {
            Some(engine_event::Value::Text(text)) => Some(text.to_str_lossy().into_owned()),
            _ => None,
        };
        let failure = match function.name {
            "regex_match" | "regex_replace" | "regex_extract" => text(1).and_then(|pattern| {
                self.compiled.regex(&pattern).err().map(|_| (1, "no regular expression"))
            }),
            "jq" => {
                text(0).and_then(|program| self.compiled.jq(&program).err().map(|_| (0, "no jq program")))
            }
            "nth" if arguments.first().and_then(constant) == Some(engine_event::Value::Int(0)) => {
                Some((0, "no place: the first element is 1"))
            }
            _ => None,
        };
        if let Some((place, what)) = failure {
            let span = arguments.get(place).map_or(expr.span, |argument| argument.span);
            self.warn(span, format!("this is {what}: every call of `{name}` fails or finds nothing"), "");
        }
    }

    fn case(&mut self, switch: bool, branches: &[Branch], otherwise: Option<&Expr>) {
        let mut always = false;
        for (place, branch) in branches.iter().enumerate() {
            if always {
                self.warn(
                    branch.when.span,
                    "this branch is never reached: one before it always is taken",
                    "",
                );
                return;
            }
            if branches[..place].iter().any(|before| before.when == branch.when) {
                self.warn(
                    branch.when.span,
                    "this branch is never reached: one before it has the same condition",
                    "",
                );
            }
            always = !switch && constant(&branch.when) == Some(engine_event::Value::Bool(true));
        }
        if let (true, Some(otherwise)) = (always, otherwise) {
            self.warn(otherwise.span, "ELSE is never reached: a branch before it always is taken", "");
        }
    }

    fn like(&mut self, pattern: &Expr) {
        if let Some(kind) =
            constant(pattern).map(|value| Kind::of_value(&value)).filter(|kind| *kind != Kind::Text)
        {
            self.warn(
                pattern.span,
                format!("LIKE needs a text, this is {}: it always fails", kind.shown()),
                "",
            );
        }
    }

    fn binary(&mut self, op: Op, left: &Expr, right: &Expr, expr: &Expr, names: &Names) {
        match op {
            Op::Equal | Op::NotEqual | Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual => {
                self.compare(op, left, right, expr, names);
            }
            Op::Matches => self.matches_topic(left, right, names),
            Op::Concat | Op::Add => {}
            Op::Subtract | Op::Multiply | Op::Divide | Op::Div | Op::Mod => {
                self.arithmetic(op, left, right, names);
            }
        }
    }

    fn arithmetic(&mut self, op: Op, left: &Expr, right: &Expr, names: &Names) {
        for side in [left, right] {
            let kind = Kind::of(side, names);
            if !matches!(kind, Kind::Number | Kind::Unknown) {
                let message =
                    format!("`{}` needs numbers, this is {}: it always fails", op.symbol(), kind.shown());
                self.warn(side.span, message, "");
                return;
            }
        }
        let zero = match constant(right) {
            Some(engine_event::Value::Int(0)) => true,
            Some(engine_event::Value::Float(value)) => value == 0.0,
            _ => false,
        };
        if zero && matches!(op, Op::Divide | Op::Div | Op::Mod) {
            self.warn(right.span, "a division by zero always fails", "");
        }
    }

    fn topic_filters(&self) -> Option<Vec<&str>> {
        self.sources
            .iter()
            .map(|source| match source {
                Source::Topic(filter) => Some(filter.as_str()),
                Source::Event(_) | Source::Bridge(_) => None,
            })
            .collect()
    }

    /// `topic =~ 'filter'` where no topic matches both FROM and the filter.
    fn matches_topic(&mut self, left: &Expr, right: &Expr, names: &Names) {
        let (Some(filters), Some(engine_event::Value::Text(wanted))) =
            (self.topic_filters(), constant(right))
        else {
            return;
        };
        let wanted = wanted.to_str_lossy();
        if !topic::is_valid_filter(&wanted) {
            self.warn(right.span, format!("`{wanted}` is not a topic filter: nothing matches it"), "");
        } else if names.is_column(left, "topic") && !filters.iter().any(|filter| meet(filter, &wanted)) {
            let message = format!("no topic that FROM selects matches `{wanted}`: this is never true");
            self.warn(right.span, message, "");
        }
    }
}

fn is_path(expr: &Expr, name: &str) -> bool {
    matches!(&expr.kind, ExprKind::Path(path, None) if path.root == name && path.steps.is_empty())
}

/// Tells whether some topic matches both filters.
fn meet(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}
