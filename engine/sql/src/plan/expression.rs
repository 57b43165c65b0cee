//! From expressions of the syntax tree to compiled ones.

use engine_event::{Map, Text, Value};

use crate::evaluate::{negative, range_literal};
use crate::functions;
use crate::syntax::{self, Branch, ExprKind, Op};
use crate::{EvalError, Position, Problem, Span};

use super::compile::Compiler;
use super::ir::{Candidate, Expr, LookedStep, Lookup, Origin, Steps};
use super::lookup::Scope;

impl Compiler<'_> {
    /// Compiles an expression.
    pub(super) fn expression(&mut self, expr: &syntax::Expr, scope: Scope<'_>) -> Expr {
        match &expr.kind {
            ExprKind::Literal(value) => Expr::Constant(value.clone()),
            ExprKind::Array(items) => array(self.expressions(items, scope)),
            ExprKind::Map(entries) => {
                let keys = entries.iter().map(|(key, _)| key.as_str().into()).collect();
                map(keys, entries.iter().map(|(_, value)| self.expression(value, scope)).collect())
            }
            ExprKind::Range(first, last) => match range_literal(*first, *last) {
                Ok(value) => Expr::Constant(value),
                Err(error) => Expr::Fails(error),
            },
            ExprKind::Path(path, None) => Expr::Lookup(self.lookup(path, scope)),
            ExprKind::Path(path, Some((first, last))) => Expr::Range(self.lookup(path, scope), *first, *last),
            ExprKind::Call(name, arguments) => self.call(name, arguments, expr.span, scope),
            ExprKind::Negative(value) => match self.expression(value, scope) {
                Expr::Constant(value) => negative(&value).map_or_else(Expr::Fails, Expr::Constant),
                value => Expr::Negative(Box::new(value)),
            },
            ExprKind::Positive(value) => self.expression(value, scope),
            ExprKind::Not(value) => Expr::Not(self.boxed(value, scope)),
            ExprKind::And(operands) => Expr::And(self.expressions(operands, scope)),
            ExprKind::Or(operands) => Expr::Or(self.expressions(operands, scope)),
            ExprKind::Default(operands) => Expr::Try(self.expressions(operands, scope)),
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right, scope),
            ExprKind::In { negated, value, list } => {
                let value = self.boxed(value, scope);
                match constants(self.expressions(list, scope)) {
                    Ok(values) => Expr::InConstants(*negated, value, values),
                    Err(list) => Expr::In(*negated, value, list),
                }
            }
            ExprKind::Between { negated, value, low, high } => {
                let operands = [value, low, high].map(|operand| self.expression(operand, scope));
                Expr::Between(*negated, Box::new(operands))
            }
            ExprKind::Like { negated, value, pattern } => {
                Expr::Like(*negated, self.boxed(value, scope), self.boxed(pattern, scope))
            }
            ExprKind::IsNull { negated, value } => Expr::IsNull(*negated, self.boxed(value, scope)),
            ExprKind::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref(), scope)
            }
        }
    }

    fn expressions(&mut self, list: &[syntax::Expr], scope: Scope<'_>) -> Vec<Expr> {
        list.iter().map(|expr| self.expression(expr, scope)).collect()
    }

    fn boxed(&mut self, expr: &syntax::Expr, scope: Scope<'_>) -> Box<Expr> {
        Box::new(self.expression(expr, scope))
    }

    fn binary(&mut self, op: Op, left: &syntax::Expr, right: &syntax::Expr, scope: Scope<'_>) -> Expr {
        let (left, right) = (self.boxed(left, scope), self.boxed(right, scope));
        match op {
            Op::Matches => Expr::MatchesTopic(left, right),
            Op::Equal | Op::NotEqual | Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual => {
                Expr::Compare(op, left, right)
            }
            Op::Add | Op::Subtract | Op::Concat | Op::Multiply | Op::Divide | Op::Div | Op::Mod => {
                Expr::Arithmetic(op, left, right)
            }
        }
    }

    fn case(
        &mut self,
        operand: Option<&syntax::Expr>,
        branches: &[Branch],
        otherwise: Option<&syntax::Expr>,
        scope: Scope<'_>,
    ) -> Expr {
        let operand = operand.map(|operand| self.boxed(operand, scope));
        let branches = branches
            .iter()
            .map(|branch| (self.expression(&branch.when, scope), self.expression(&branch.then, scope)))
            .collect();
        let otherwise = otherwise.map(|otherwise| self.boxed(otherwise, scope));
        match operand {
            Some(operand) => Expr::Switch(operand, branches, otherwise),
            None => Expr::Conditions(branches, otherwise),
        }
    }

    fn call(&mut self, name: &str, arguments: &[syntax::Expr], span: Span, scope: Scope<'_>) -> Expr {
        let compiled = self.expressions(arguments, scope);
        let width = u32::try_from(name.chars().count()).unwrap_or(u32::MAX);
        let end = Position { column: span.start.column.saturating_add(width), ..span.start };
        let name_span = Span { end, ..span };
        let Some(function) = functions::lookup(name) else {
            let problem = Problem::new(self.sql, name_span, format!("no function named `{name}`"));
            self.warnings.push(problem.did_you_mean(functions::nearest(name)));
            return Expr::Fails(EvalError::UnknownFunction { name: name.to_owned() });
        };
        if !function.accepts(compiled.len()) {
            let message = format!("`{name}` takes {} arguments, found {}", function.arity(), compiled.len());
            let problem = Problem::new(self.sql, name_span, message);
            self.warnings.push(problem.with_hint(function.signature()));
        }
        match function.name {
            "try" if compiled.len() == 2 => Expr::Try(compiled),
            _ => Expr::Call(function, compiled),
        }
    }
}

fn array(items: Vec<Expr>) -> Expr {
    match constants(items) {
        Ok(values) => Expr::Constant(Value::array(values)),
        Err(items) => Expr::Array(items),
    }
}

fn map(keys: Vec<Text>, values: Vec<Expr>) -> Expr {
    match constants(values) {
        Ok(values) => Expr::Constant(Value::Map(Map::from_distinct(keys.into_iter().zip(values).collect()))),
        Err(values) => Expr::Map(keys, values),
    }
}

/// The values of expressions that are all constants.
fn constants(list: Vec<Expr>) -> Result<Vec<Value>, Vec<Expr>> {
    if !list.iter().all(|expr| matches!(expr, Expr::Constant(_))) {
        return Err(list);
    }
    let value = |expr| match expr {
        Expr::Constant(value) => Some(value),
        _ => None,
    };
    Ok(list.into_iter().filter_map(value).collect())
}

/// Tells whether an expression cannot fail and has no effect, once the payload is known to be JSON.
pub(super) fn is_infallible(expr: &Expr) -> bool {
    match expr {
        Expr::Constant(_) => true,
        Expr::Lookup(lookup) => is_infallible_lookup(lookup),
        Expr::Array(items) | Expr::Map(_, items) | Expr::Try(items) => items.iter().all(is_infallible),
        Expr::InConstants(_, value, _) | Expr::IsNull(_, value) => is_infallible(value),
        Expr::In(_, value, list) => is_infallible(value) && list.iter().all(is_infallible),
        Expr::Switch(operand, branches, otherwise) => {
            is_infallible(operand)
                && branches.iter().all(|(when, then)| is_infallible(when) && is_infallible(then))
                && otherwise.as_deref().is_none_or(is_infallible)
        }
        _ => false,
    }
}

fn is_infallible_lookup(lookup: &Lookup) -> bool {
    lookup.candidates.iter().all(|candidate| {
        !candidate.is_payload
            && match &candidate.steps {
                Steps::Known(_) => true,
                Steps::Looked(steps) => steps.iter().all(|step| match step {
                    LookedStep::Known(_) => true,
                    LookedStep::Lookup(lookups) => lookups.iter().all(is_infallible_lookup),
                }),
            }
    })
}

/// Visits the expressions right below one, by reference or by mutable reference.
macro_rules! each_child {
    ($expr:expr, $visit:expr, $iter:ident, $as_deref:ident) => {
        match $expr {
            Expr::Constant(_)
            | Expr::Fails(_)
            | Expr::Lookup(_)
            | Expr::Range(..)
            | Expr::DecodedPayload(_) => {}
            Expr::Array(items)
            | Expr::Map(_, items)
            | Expr::Call(_, items)
            | Expr::And(items)
            | Expr::Or(items)
            | Expr::Try(items) => {
                items.$iter().for_each($visit);
            }
            Expr::Negative(value)
            | Expr::Not(value)
            | Expr::InConstants(_, value, _)
            | Expr::IsNull(_, value)
            | Expr::Counted(value) => $visit(value),
            Expr::Compare(_, left, right)
            | Expr::Arithmetic(_, left, right)
            | Expr::MatchesTopic(left, right)
            | Expr::Like(_, left, right) => {
                $visit(left);
                $visit(right);
            }
            Expr::In(_, value, list) => {
                $visit(value);
                list.$iter().for_each($visit);
            }
            Expr::Between(_, operands) => operands.$iter().for_each($visit),
            Expr::Conditions(branches, otherwise) => {
                for (when, then) in branches.$iter() {
                    $visit(when);
                    $visit(then);
                }
                otherwise.$as_deref().into_iter().for_each($visit);
            }
            Expr::Switch(operand, branches, otherwise) => {
                $visit(operand);
                for (when, then) in branches.$iter() {
                    $visit(when);
                    $visit(then);
                }
                otherwise.$as_deref().into_iter().for_each($visit);
            }
        }
    };
}

impl Expr {
    /// Calls `visit` with the origin of every lookup in the expression.
    pub(super) fn each_origin(&self, visit: &mut dyn FnMut(&Origin)) {
        if let Self::Lookup(lookup) | Self::Range(lookup, ..) | Self::DecodedPayload(lookup) = self {
            lookup.each_origin(visit);
        }
        self.each_child(&mut |child| child.each_origin(visit));
    }

    /// Calls `visit` with each expression right below this one.
    fn each_child(&self, visit: &mut dyn FnMut(&Self)) {
        each_child!(self, visit, iter, as_deref);
    }

    /// As `each_child`, to change them.
    pub(super) fn each_child_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        each_child!(self, visit, iter_mut, as_deref_mut);
    }
}

impl Lookup {
    fn each_origin(&self, visit: &mut dyn FnMut(&Origin)) {
        for Candidate { origin, steps, .. } in &self.candidates {
            visit(origin);
            let Steps::Looked(steps) = steps else { continue };
            for step in steps {
                if let LookedStep::Lookup(lookups) = step {
                    lookups.iter().for_each(|lookup| lookup.each_origin(visit));
                }
            }
        }
    }
}
