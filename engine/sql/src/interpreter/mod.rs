//! The rule language as its reference says it, without any regard to speed: the plan is compared with it.
//!
//! It walks over the syntax tree, copies every value that it touches and resolves every name when it comes to it. Of
//! the rest of the crate it uses the syntax tree and the table of functions, and nothing that plans use. Sections are
//! those of the reference.

mod operators;
mod paths;
mod random;
mod tests;

use engine_event::{Event, Map, Row, Text, Value, decode_json};

use crate::functions::{self, FunctionContext};
use crate::syntax::{Body, Branch, Expr, ExprKind, Field, FieldKind, Path, Rule};

use operators::{arithmetic, compare, is_topic_match, like, negated, range_of, whole_range};
use paths::{Names, put, targets};

/// What is wrong; the words are not compared.
type Failure = String;

/// What an interpreted rule gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// WHERE was false.
    Filtered,
    Rows(Vec<Row>),
}

/// Interprets a rule on an event that it selects.
pub(crate) fn run(
    rule: &Rule,
    event: &Event,
    rule_id: Option<&str>,
    context: &dyn FunctionContext,
) -> Result<Outcome, Failure> {
    let mut columns = event.columns();
    if let Some(rule_id) = rule_id {
        let metadata: Map = [("rule_id", Text::from(rule_id))].into_iter().collect();
        columns.insert("metadata", metadata);
    }
    Interpreter { context }.rule(rule, &columns)
}

struct Interpreter<'a> {
    context: &'a dyn FunctionContext,
}

impl Interpreter<'_> {
    fn rule(&self, rule: &Rule, columns: &Map) -> Result<Outcome, Failure> {
        match &rule.body {
            Body::Select(fields) => {
                let row = self.fields(fields, columns)?;
                if self.is_filtered(rule, columns, &row)? {
                    return Ok(Outcome::Filtered);
                }
                Ok(Outcome::Rows(vec![row]))
            }
            Body::Foreach { fields, each, incase } => {
                self.foreach(rule, fields, each.as_deref(), incase.as_ref(), columns)
            }
        }
    }

    /// Section 9.2: WHERE sees one map, the columns with the fields over them.
    fn is_filtered(&self, rule: &Rule, columns: &Map, row: &Map) -> Result<bool, Failure> {
        let Some(condition) = &rule.condition else { return Ok(false) };
        Ok(!self.condition(condition, &Names::only(merged(columns, row)))?)
    }

    /// Section 10.
    fn foreach(
        &self,
        rule: &Rule,
        fields: &[Field],
        each: Option<&[Field]>,
        incase: Option<&Expr>,
        columns: &Map,
    ) -> Result<Outcome, Failure> {
        let mut row = Map::new();
        let mut collection = Value::Undefined;
        for (place, field) in fields.iter().enumerate() {
            let is_last = place + 1 == fields.len();
            collection = self.field(field, place, columns, &mut row, is_last)?;
        }
        if self.is_filtered(rule, columns, &row)? {
            return Ok(Outcome::Filtered);
        }
        let Value::Array(elements) = collection else { return Ok(Outcome::Rows(Vec::new())) };
        let mut rows = Vec::new();
        for element in elements.iter() {
            let mut below = merged(columns, &row);
            below.insert(element_name(fields), element.clone());
            if let Some(incase) = incase
                && !self.condition(incase, &Names::only(below.clone()))?
            {
                continue;
            }
            rows.push(match each {
                Some(each) => self.fields(each, &below)?,
                None => below,
            });
        }
        Ok(Outcome::Rows(rows))
    }

    /// Section 9.1: the row of a list of fields.
    fn fields(&self, fields: &[Field], columns: &Map) -> Result<Row, Failure> {
        let mut row = Map::new();
        for (place, field) in fields.iter().enumerate() {
            self.field(field, place, columns, &mut row, false)?;
        }
        Ok(row)
    }

    /// Adds a field to the row and gives its value.
    fn field(
        &self,
        field: &Field,
        place: usize,
        columns: &Map,
        row: &mut Row,
        is_collection: bool,
    ) -> Result<Value, Failure> {
        let FieldKind::Value { value: expr, alias } = &field.kind else {
            // an alias wins over `*` wherever it stands
            *row = merged(columns, row);
            return Ok(Value::Undefined);
        };
        let names = Names { row: Some(row.clone()), columns: columns.clone() };
        let mut value = self.value(expr, &names)?;
        if is_collection && is_bare_payload(expr) {
            value = decoded_payload(value)?;
        }
        let target = alias.clone().unwrap_or_else(|| own_name(expr, place));
        let steps = targets(self, &target, &names)?;
        let mut whole = Value::Map(row.clone());
        if let Some(Value::Text(_)) = row.get("payload")
            && target.root == "payload"
            && !target.steps.is_empty()
        {
            let payload = decoded_payload(row.get("payload").cloned().unwrap_or_default())?;
            row.insert("payload", payload);
            whole = Value::Map(row.clone());
        }
        match put(whole, &steps, value.clone()) {
            Value::Map(made) => *row = made,
            other => return Err(format!("a row became {other:?}")),
        }
        Ok(value)
    }

    /// Section 5.4: what WHERE and INCASE need.
    fn condition(&self, expr: &Expr, names: &Names) -> Result<bool, Failure> {
        match self.value(expr, names)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("{other:?} is no boolean")),
        }
    }

    fn value(&self, expr: &Expr, names: &Names) -> Result<Value, Failure> {
        Ok(match &expr.kind {
            ExprKind::Literal(value) => value.clone(),
            ExprKind::Array(items) => Value::array(self.values(items, names)?),
            ExprKind::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    map.insert(key.as_str(), self.value(value, names)?);
                }
                Value::Map(map)
            }
            ExprKind::Range(first, last) => whole_range(*first, *last)?,
            ExprKind::Path(path, None) => names.find(path)?,
            ExprKind::Path(path, Some((first, last))) => range_of(&names.find(path)?, *first, *last)?,
            ExprKind::Call(name, arguments) => self.call(name, arguments, names)?,
            ExprKind::Negative(value) => negated(&self.value(value, names)?)?,
            ExprKind::Positive(value) => self.value(value, names)?,
            ExprKind::Not(value) => Value::Bool(self.value(value, names)? == Value::Bool(false)),
            ExprKind::And(operands) => {
                for operand in operands {
                    if !self.condition(operand, names)? {
                        return Ok(Value::Bool(false));
                    }
                }
                Value::Bool(true)
            }
            ExprKind::Or(operands) => {
                for operand in operands {
                    if self.condition(operand, names)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Value::Bool(false)
            }
            ExprKind::Default(choices) => self.first_that_works(choices, names)?,
            ExprKind::Binary(op, left, right) => {
                let (left, right) = (self.value(left, names)?, self.value(right, names)?);
                match op.symbol() {
                    "=" | "<>" | "<" | "<=" | ">" | ">=" => Value::Bool(compare(op.symbol(), &left, &right)?),
                    "=~" => Value::Bool(is_topic_match(&left, &right)?),
                    symbol => arithmetic(symbol, &left, &right)?,
                }
            }
            ExprKind::In { negated, value, list } => {
                let value = self.value(value, names)?;
                let list = self.values(list, names)?;
                Value::Bool(list.contains(&value) != *negated)
            }
            ExprKind::Between { negated, value, low, high } => {
                let value = self.value(value, names)?;
                let within = compare(">=", &value, &self.value(low, names)?)?
                    && compare("<=", &value, &self.value(high, names)?)?;
                Value::Bool(within != *negated)
            }
            ExprKind::Like { negated, value, pattern } => {
                let value = self.value(value, names)?;
                Value::Bool(like(&value, &self.value(pattern, names)?)? != *negated)
            }
            ExprKind::IsNull { negated, value } => {
                let value = self.value(value, names)?;
                Value::Bool(matches!(value, Value::Undefined | Value::Null) != *negated)
            }
            ExprKind::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), names)?
            }
        })
    }

    /// Section 20: the first that neither fails nor gives undefined, else what the last gives.
    fn first_that_works(&self, choices: &[Expr], names: &Names) -> Result<Value, Failure> {
        let mut result = Ok(Value::Undefined);
        for choice in choices {
            result = self.value(choice, names);
            if matches!(&result, Ok(value) if !value.is_undefined()) {
                break;
            }
        }
        result
    }

    fn values(&self, list: &[Expr], names: &Names) -> Result<Vec<Value>, Failure> {
        list.iter().map(|expr| self.value(expr, names)).collect()
    }

    /// Section 11.
    fn case(
        &self,
        operand: Option<&Expr>,
        branches: &[Branch],
        otherwise: Option<&Expr>,
        names: &Names,
    ) -> Result<Value, Failure> {
        let wanted = match operand {
            Some(operand) => self.value(operand, names)?,
            None => Value::Bool(true),
        };
        for branch in branches {
            if self.value(&branch.when, names)? == wanted {
                return self.value(&branch.then, names);
            }
        }
        otherwise.map_or(Ok(Value::Undefined), |otherwise| self.value(otherwise, names))
    }

    fn call(&self, name: &str, arguments: &[Expr], names: &Names) -> Result<Value, Failure> {
        if name == "try" && arguments.len() == 2 {
            return self.first_that_works(arguments, names);
        }
        let function = functions::lookup(name).ok_or_else(|| format!("no function `{name}`"))?;
        let arguments = self.values(arguments, names)?;
        function.call(&arguments, self.context).map_err(|error| error.to_string())
    }
}

/// `upper` over `lower`.
fn merged(lower: &Map, upper: &Map) -> Map {
    let mut all = lower.clone();
    for (key, value) in upper {
        all.insert(key.clone(), value.clone());
    }
    all
}

/// Section 9.1: where a field without an alias goes.
fn own_name(expr: &Expr, place: usize) -> Path {
    let root = match &expr.kind {
        ExprKind::Path(path, _) => return path.clone(),
        ExprKind::Literal(Value::Text(text)) => text.to_string(),
        _ => format!("_v_{}", place + 1),
    };
    Path { root, steps: Vec::new(), span: expr.span }
}

/// Section 10, item 2.
fn element_name(fields: &[Field]) -> String {
    match fields.last().map(|field| &field.kind) {
        Some(FieldKind::Value { alias: Some(alias), .. }) if alias.steps.is_empty() => alias.root.clone(),
        _ => "item".to_owned(),
    }
}

fn is_bare_payload(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Path(path, None) if path.root == "payload" && path.steps.is_empty())
}

/// Section 7: a payload that is stepped into has to be JSON.
fn decoded_payload(payload: Value) -> Result<Value, Failure> {
    match payload {
        Value::Text(text) => decode_json(text.as_bytes()).map_err(|error| error.to_string()),
        other => Ok(other),
    }
}
