//! Expressions: operators by how tightly they bind (a Pratt parser).

use std::collections::HashSet;

use engine_event::Value;
use num_bigint::BigInt;

use crate::Problem;

use super::lexer::Token;
use super::statement::Parser;
use super::tree::{Branch, Expr, ExprKind, Level, Op};
use super::words::{boolean, is_division, keyword};

/// Expressions that may stand inside each other: parentheses, arguments, cases.
const DEPTH_MAX: u32 = 64;

/// Levels that the tree of an expression may have.
pub(super) const HEIGHT_MAX: u32 = 256;

/// Integers that `[1..9]` may stand for.
const LITERAL_RANGE_MAX: i64 = 10_000;

/// Integers that all such ranges of a statement may stand for.
const LITERAL_RANGES_MAX: i64 = 1_000_000;

/// What follows an operand.
enum Infix {
    And,
    Or,
    Default,
    Binary(Op),
    In(bool),
    Between(bool),
    Like(bool),
    IsNull(bool),
}

impl Infix {
    fn level(&self) -> Level {
        match self {
            Self::Or => Level::Or,
            Self::And => Level::And,
            Self::Default => Level::Default,
            Self::Binary(op) => op.level(),
            Self::In(_) | Self::Between(_) | Self::Like(_) | Self::IsNull(_) => Level::Comparison,
        }
    }
}

impl Parser<'_> {
    /// Reads an expression whose operators bind at least as tightly as `level`.
    pub(super) fn expression(&mut self, level: Level) -> Result<Expr, Problem> {
        self.deeper(|parser| parser.operators(level))
    }

    /// Runs `read` one level deeper, and refuses to go too deep.
    pub(super) fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.depth >= DEPTH_MAX * 2 {
            let message = format!("more than {DEPTH_MAX} expressions inside each other");
            return Err(Problem::new(self.sql, self.span(), message));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn operators(&mut self, level: Level) -> Result<Expr, Problem> {
        let mut left = self.prefix(level)?;
        let mut compared = false;
        while let Some(infix) = self.peek_infix() {
            if infix.level() < level {
                break;
            }
            if infix.level() == Level::Comparison && std::mem::replace(&mut compared, true) {
                let problem = self.expected("AND, OR or the end of the comparison");
                return Err(problem.with_hint("comparisons cannot be chained; use parentheses or AND"));
            }
            left = self.infix(left, infix)?;
        }
        Ok(left)
    }

    fn peek_infix(&self) -> Option<Infix> {
        let op = match self.peek() {
            Token::Symbol(symbol) => match *symbol {
                "=" => Op::Equal,
                "<>" => Op::NotEqual,
                "<" => Op::Less,
                "<=" => Op::LessOrEqual,
                ">" => Op::Greater,
                ">=" => Op::GreaterOrEqual,
                "=~" => Op::Matches,
                "+" => Op::Add,
                "-" => Op::Subtract,
                "||" => Op::Concat,
                "*" => Op::Multiply,
                "/" => Op::Divide,
                "%" => Op::Mod,
                "??" => return Some(Infix::Default),
                _ => return None,
            },
            Token::Word(word) => return self.peek_word_infix(word),
            _ => return None,
        };
        Some(Infix::Binary(op))
    }

    /// `LIKE`, `BETWEEN`, `IS` and `NULL` are names too: they are operators only where an operand follows.
    fn peek_word_infix(&self, word: &str) -> Option<Infix> {
        match keyword(word) {
            Some("AND") => return Some(Infix::And),
            Some("OR") => return Some(Infix::Or),
            Some("IN") => return Some(Infix::In(false)),
            Some("NOT") if self.peek_word(1, "in") => return Some(Infix::In(true)),
            Some("NOT") if self.peek_word(1, "like") => return Some(Infix::Like(true)),
            Some("NOT") if self.peek_word(1, "between") => return Some(Infix::Between(true)),
            Some(_) => return None,
            None => {}
        }
        match () {
            () if word.eq_ignore_ascii_case("div") => Some(Infix::Binary(Op::Div)),
            () if word.eq_ignore_ascii_case("mod") => Some(Infix::Binary(Op::Mod)),
            () if self.peek_word(0, "is") && self.peek_word(1, "null") => Some(Infix::IsNull(false)),
            () if self.peek_word(0, "is") && self.peek_word(1, "not") && self.peek_word(2, "null") => {
                Some(Infix::IsNull(true))
            }
            () if self.peek_word(0, "like") && self.operand_follows() => Some(Infix::Like(false)),
            () if self.peek_word(0, "between") && self.operand_follows() => Some(Infix::Between(false)),
            () => None,
        }
    }

    /// Tells whether an operand can begin after the next token.
    fn operand_follows(&self) -> bool {
        match self.peek_at(1) {
            Token::Word(word) => matches!(keyword(word), None | Some("CASE")),
            Token::Quoted(_) | Token::Text(_) | Token::Number(_) => true,
            // `a like[0]` is an alias with an index
            Token::Symbol("[") => !self.lexemes[self.at + 1].glued,
            Token::Symbol(symbol) => matches!(*symbol, "(" | "-" | "+" | "{"),
            Token::End => false,
        }
    }

    fn infix(&mut self, left: Expr, infix: Infix) -> Result<Expr, Problem> {
        self.next();
        let above = infix.level().next();
        let start = left.span;
        let kind = match infix {
            Infix::And => and(left, self.expression(above)?),
            Infix::Or => or(left, self.expression(above)?),
            Infix::Default => default(left, self.expression(above)?),
            Infix::Binary(op) => ExprKind::Binary(op, Box::new(left), Box::new(self.expression(above)?)),
            Infix::In(negated) => {
                self.skip_word(negated);
                ExprKind::In { negated, value: Box::new(left), list: self.in_list()? }
            }
            Infix::Between(negated) => {
                self.skip_word(negated);
                let low = Box::new(self.expression(above)?);
                if !self.eat_keyword("AND") {
                    return Err(self.expected("AND and the upper end of BETWEEN"));
                }
                let high = Box::new(self.expression(above)?);
                ExprKind::Between { negated, value: Box::new(left), low, high }
            }
            Infix::Like(negated) => {
                self.skip_word(negated);
                let pattern = Box::new(self.expression(above)?);
                ExprKind::Like { negated, value: Box::new(left), pattern }
            }
            Infix::IsNull(negated) => {
                self.skip_word(negated);
                self.next();
                ExprKind::IsNull { negated, value: Box::new(left) }
            }
        };
        let span = start.to(self.last_span());
        self.node(kind, span)
    }

    /// The second word of `NOT IN` and its like.
    fn skip_word(&mut self, there: bool) {
        if there {
            self.next();
        }
    }

    fn in_list(&mut self) -> Result<Vec<Expr>, Problem> {
        self.expect_symbol("(", "`(` and the values after IN")?;
        let mut list = vec![self.expression(Level::Or)?];
        while self.eat_symbol(",") {
            list.push(self.expression(Level::Or)?);
        }
        self.expect_symbol(")", "`,` or `)` in the values after IN")?;
        Ok(list)
    }

    fn prefix(&mut self, level: Level) -> Result<Expr, Problem> {
        let start = self.span();
        let kind = match self.peek().clone() {
            Token::Symbol("-") => {
                self.next();
                ExprKind::Negative(Box::new(self.expression(Level::Sign)?))
            }
            Token::Symbol("+") => {
                self.next();
                ExprKind::Positive(Box::new(self.expression(Level::Sign)?))
            }
            Token::Symbol("(") => {
                self.next();
                let inner = self.expression(Level::Or)?;
                self.expect_symbol(")", "an operator or `)`")?;
                return Ok(inner);
            }
            Token::Symbol("[") => {
                self.next();
                self.array()?
            }
            Token::Symbol("{") => {
                self.next();
                self.map()?
            }
            Token::Number(digits) => {
                self.next();
                ExprKind::Literal(self.number(&digits)?)
            }
            Token::Text(text) => {
                self.next();
                ExprKind::Literal(Value::from(text))
            }
            Token::Quoted(_) => self.whole_path()?,
            Token::Word(word) => match keyword(&word) {
                None => self.word(&word)?,
                Some("CASE") => {
                    self.next();
                    self.case()?
                }
                Some("NOT") if level <= Level::Not => {
                    self.next();
                    ExprKind::Not(Box::new(self.expression(Level::Not)?))
                }
                Some("NOT") => return Err(self.expected("an operand").with_hint("put NOT in parentheses")),
                Some(_) => return Err(self.expected("an expression or name")),
            },
            Token::Symbol(_) | Token::End => return Err(self.expected("an expression")),
        };
        self.node(kind, start.to(self.last_span()))
    }

    /// Reads what begins with a plain name: a constant, a call or a path.
    fn word(&mut self, word: &str) -> Result<ExprKind, Problem> {
        let call = *self.peek_at(1) == Token::Symbol("(");
        if call {
            self.next();
            return Ok(ExprKind::Call(word.to_owned(), self.arguments()?));
        }
        if let Some(value) = boolean(word)
            && !matches!(self.peek_at(1), Token::Symbol("." | "["))
        {
            self.next();
            return Ok(ExprKind::Literal(Value::Bool(value)));
        }
        if is_division(word) && word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(self.expected("an expression"));
        }
        if let (Token::Symbol("."), Token::Word(function), Token::Symbol("(")) =
            (self.peek_at(1), self.peek_at(2), self.peek_at(3))
        {
            let name = format!("{word}.{function}");
            self.at += 3;
            return Ok(ExprKind::Call(name, self.arguments()?));
        }
        self.whole_path()
    }

    fn whole_path(&mut self) -> Result<ExprKind, Problem> {
        let (path, range) = self.path()?;
        Ok(ExprKind::Path(path, range))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Problem> {
        self.next();
        if self.eat_symbol(")") {
            return Ok(Vec::new());
        }
        let mut arguments = vec![self.expression(Level::Or)?];
        while self.eat_symbol(",") {
            arguments.push(self.expression(Level::Or)?);
        }
        self.expect_symbol(")", "`,` or `)` in the arguments")?;
        Ok(arguments)
    }

    /// Reads what follows `[` where an operand begins.
    fn array(&mut self) -> Result<ExprKind, Problem> {
        if self.eat_symbol("]") {
            return Ok(ExprKind::Array(Vec::new()));
        }
        let (start, opening) = (self.span(), self.at - 1);
        if let Some((first, last)) = self.literal_range()? {
            if last.saturating_sub(first) >= LITERAL_RANGE_MAX {
                let message = format!("the range has more than {LITERAL_RANGE_MAX} integers");
                return Err(Problem::new(self.sql, start.to(self.last_span()), message));
            }
            self.range_integers += (last.saturating_sub(first) + 1).max(0);
            if self.range_integers > LITERAL_RANGES_MAX {
                let message =
                    format!("the ranges of the statement have more than {LITERAL_RANGES_MAX} integers");
                return Err(Problem::new(self.sql, start.to(self.last_span()), message));
            }
            self.expect_symbol("]", "`]`")?;
            self.refuse_spaces(opening)?;
            return Ok(ExprKind::Range(first, last));
        }
        let mut items = vec![self.expression(Level::Or)?];
        while self.eat_symbol(",") {
            items.push(self.expression(Level::Or)?);
        }
        self.expect_symbol("]", "`,` or `]` in the array")?;
        Ok(ExprKind::Array(items))
    }

    /// Reads what follows `{` where an operand begins.
    fn map(&mut self) -> Result<ExprKind, Problem> {
        let mut entries: Vec<(String, Expr)> = Vec::new();
        let mut keys = HashSet::new();
        while !self.eat_symbol("}") {
            if !entries.is_empty() {
                self.expect_symbol(",", "`,` or `}` in the map")?;
            }
            let span = self.span();
            let key = match self.peek() {
                Token::Word(key) | Token::Quoted(key) | Token::Text(key) => key.clone(),
                Token::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.clone(),
                _ if entries.is_empty() => return Err(self.expected("a key or `}`")),
                _ => return Err(self.expected("a key")),
            };
            if !keys.insert(key.clone()) {
                return Err(Problem::new(self.sql, span, format!("the key `{key}` is there twice")));
            }
            self.next();
            self.expect_symbol(":", "`:` and the value of the key")?;
            entries.push((key, self.expression(Level::Or)?));
        }
        Ok(ExprKind::Map(entries))
    }

    fn number(&self, digits: &str) -> Result<Value, Problem> {
        let too_large = || Problem::new(self.sql, self.last_span(), format!("`{digits}` is too large"));
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return match digits.parse::<i64>() {
                Ok(value) => Ok(Value::Int(value)),
                Err(_) => digits.parse::<BigInt>().map(Value::from_bigint).map_err(|_| too_large()),
            };
        }
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value::Float(value)),
            _ => Err(too_large()),
        }
    }

    /// Reads what follows CASE.
    fn case(&mut self) -> Result<ExprKind, Problem> {
        let operand = match self.peek_keyword() {
            Some("WHEN") => None,
            _ => Some(Box::new(self.expression(Level::Or)?)),
        };
        let mut branches = Vec::new();
        while self.eat_keyword("WHEN") {
            let when = self.expression(Level::Or)?;
            if !self.eat_keyword("THEN") {
                return Err(self.expected("THEN"));
            }
            branches.push(Branch { when, then: self.expression(Level::Or)? });
        }
        if branches.is_empty() {
            return Err(self.expected("WHEN"));
        }
        let otherwise =
            if self.eat_keyword("ELSE") { Some(Box::new(self.expression(Level::Or)?)) } else { None };
        if !self.eat_keyword("END") {
            let expected = if otherwise.is_some() { "END" } else { "WHEN, ELSE or END" };
            return Err(self.expected(expected));
        }
        Ok(ExprKind::Case { operand, branches, otherwise })
    }
}

/// Joins two conditions. A chain of them is one node, so that a long chain is no high tree.
pub(super) fn and(left: Expr, right: Expr) -> ExprKind {
    match left.kind {
        ExprKind::And(operands) => ExprKind::And(with(operands, right)),
        kind => ExprKind::And(vec![Expr { kind, ..left }, right]),
    }
}

/// As [`and`], for OR.
pub(super) fn or(left: Expr, right: Expr) -> ExprKind {
    match left.kind {
        ExprKind::Or(operands) => ExprKind::Or(with(operands, right)),
        kind => ExprKind::Or(vec![Expr { kind, ..left }, right]),
    }
}

/// As [`and`], for `??`.
pub(super) fn default(left: Expr, right: Expr) -> ExprKind {
    match left.kind {
        ExprKind::Default(operands) => ExprKind::Default(with(operands, right)),
        kind => ExprKind::Default(vec![Expr { kind, ..left }, right]),
    }
}

fn with(mut operands: Vec<Expr>, last: Expr) -> Vec<Expr> {
    operands.push(last);
    operands
}
