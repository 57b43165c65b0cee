//! Rules: SELECT, FOREACH, FROM, WHERE.

use crate::{Problem, Span, SqlErrors};

use super::lexer::{Lexeme, Token, tokens};
use super::tree::{Body, Expr, Field, FieldKind, Level, Path, Rule, SourceName};
use super::words::{keyword, nearest_keyword};

/// Reads a rule.
///
/// # Errors
/// When the text is not a rule; the problem says where, what was found, and what was expected.
pub fn parse(sql: &str) -> Result<Rule, SqlErrors> {
    let lexemes = tokens(sql)?;
    let mut parser = Parser { sql, lexemes, at: 0, depth: 0, index_depth: 0, range_integers: 0 };
    let rule = parser.rule()?;
    parser.eat_symbol(";");
    match parser.peek() {
        Token::End => Ok(rule),
        _ => Err(parser.after_rule(&rule).into()),
    }
}

/// A place in the tokens of a text. The parts of the grammar are in files of their own.
pub(super) struct Parser<'a> {
    pub(super) sql: &'a str,
    pub(super) lexemes: Vec<Lexeme>,
    pub(super) at: usize,
    /// Expressions that the place is inside of.
    pub(super) depth: u32,
    /// Indices that the place is inside of.
    pub(super) index_depth: u32,
    /// Integers of all literal ranges so far.
    pub(super) range_integers: i64,
}

impl Parser<'_> {
    fn rule(&mut self) -> Result<Rule, Problem> {
        let body = match self.peek_keyword() {
            Some("SELECT") => {
                self.next();
                Body::Select(self.fields("SELECT")?)
            }
            Some("FOREACH") => {
                self.next();
                self.foreach()?
            }
            _ => {
                let nearest = self.nearest(&["SELECT", "FOREACH"]);
                return Err(self.expected("SELECT or FOREACH").did_you_mean(nearest));
            }
        };
        self.expect_from(&body)?;
        let mut from = vec![self.source()?];
        while self.eat_symbol(",") {
            from.push(self.source()?);
        }
        let condition = if self.eat_keyword("WHERE") { Some(self.expression(Level::Or)?) } else { None };
        Ok(Rule { body, from, condition })
    }

    fn foreach(&mut self) -> Result<Body, Problem> {
        let fields = self.fields("FOREACH")?;
        if let Some(Field { kind: FieldKind::All, span }) = fields.last() {
            let message = "found `*`, expected the array to go through as the last field of FOREACH";
            return Err(Problem::new(self.sql, *span, message));
        }
        let each = if self.eat_keyword("DO") { Some(self.fields("DO")?) } else { None };
        let incase = if self.eat_keyword("INCASE") { Some(self.expression(Level::Or)?) } else { None };
        if self.peek_keyword() == Some("DO") {
            return Err(self.expected("FROM").with_hint("DO comes before INCASE"));
        }
        Ok(Body::Foreach { fields, each, incase })
    }

    fn fields(&mut self, list: &'static str) -> Result<Vec<Field>, Problem> {
        let mut fields = vec![self.field(list)?];
        while self.eat_symbol(",") {
            fields.push(self.field(list)?);
        }
        Ok(fields)
    }

    fn field(&mut self, list: &'static str) -> Result<Field, Problem> {
        let start = self.span();
        if self.eat_symbol("*") {
            return Ok(Field { kind: FieldKind::All, span: start });
        }
        if matches!(self.peek(), Token::Symbol(",") | Token::End) || self.peek_keyword() == Some("FROM") {
            return Err(self.expected(&format!("a field of {list}")));
        }
        let value = self.expression(Level::Or)?;
        let alias = self.alias()?;
        let span = start.to(self.last_span());
        Ok(Field { kind: FieldKind::Value { value, alias }, span })
    }

    fn alias(&mut self) -> Result<Option<Path>, Problem> {
        if self.eat_keyword("AS") {
            return match self.peek() {
                Token::Word(_) | Token::Quoted(_) => self.alias_path().map(Some),
                _ => Err(self.expected("a name after AS")),
            };
        }
        match self.peek() {
            Token::Quoted(_) => self.alias_path().map(Some),
            Token::Word(word) if keyword(word).is_none() => self.alias_path().map(Some),
            _ => Ok(None),
        }
    }

    fn expect_from(&mut self, body: &Body) -> Result<(), Problem> {
        if self.eat_keyword("FROM") {
            return Ok(());
        }
        let expected = match body {
            Body::Select(_) => "`,` or FROM",
            Body::Foreach { incase: Some(_), .. } => "FROM",
            Body::Foreach { each: Some(_), .. } => "`,`, INCASE or FROM",
            Body::Foreach { .. } => "`,`, DO, INCASE or FROM",
        };
        let candidates: &[&str] =
            if matches!(body, Body::Select(_)) { &["FROM"] } else { &["FROM", "INCASE"] };
        Err(self.misspelt_from(expected).unwrap_or_else(|| {
            let nearest = self.nearest(candidates);
            self.expected(expected).did_you_mean(nearest)
        }))
    }

    /// A misspelt FROM is taken for an alias, or for a field with the topic as its alias: looks back for one.
    fn misspelt_from(&self, expected: &str) -> Option<Problem> {
        let taken = &self.lexemes[..self.at];
        let (at, found) = taken.iter().enumerate().rev().take(2).find(|(_, lexeme)| match &lexeme.token {
            Token::Word(word) => nearest_keyword(word, &["FROM"]).is_some(),
            _ => false,
        })?;
        if taken.get(at.checked_sub(1)?)?.is_keyword("AS") {
            return None;
        }
        let message = format!("expected {expected}, found {}", found.token.shown());
        Some(Problem::new(self.sql, found.span, message).did_you_mean(Some("FROM")))
    }

    fn source(&mut self) -> Result<SourceName, Problem> {
        let span = self.span();
        let name = match self.peek() {
            Token::Quoted(name) | Token::Text(name) => name.clone(),
            Token::Word(name) if keyword(name).is_none() => name.clone(),
            _ => return Err(self.expected("a topic filter or event name after FROM")),
        };
        self.next();
        let wildcard = matches!(self.peek(), Token::Symbol("/" | "+" | "." | "-"));
        if wildcard {
            return Err(self
                .expected("`,`, WHERE or the end")
                .with_hint("put the topic filter in double quotes"));
        }
        Ok(SourceName { name, span })
    }

    fn after_rule(&self, rule: &Rule) -> Problem {
        match rule.condition {
            Some(_) => self.expected("AND, OR or the end of the text"),
            None => {
                let nearest = self.nearest(&["WHERE"]);
                self.expected("`,`, WHERE or the end of the text").did_you_mean(nearest)
            }
        }
    }

    pub(super) fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    /// The token `ahead` of the next one.
    pub(super) fn peek_at(&self, ahead: usize) -> &Token {
        let at = (self.at + ahead).min(self.lexemes.len() - 1);
        &self.lexemes[at].token
    }

    pub(super) fn peek_keyword(&self) -> Option<&'static str> {
        match self.peek() {
            Token::Word(word) => keyword(word),
            _ => None,
        }
    }

    /// Tells whether the token `ahead` of the next one is this word, in any case.
    pub(super) fn peek_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    /// Takes the next token. The end stays.
    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.at += 1;
        }
        token
    }

    pub(super) fn eat_keyword(&mut self, keyword: &'static str) -> bool {
        let found = self.peek_keyword() == Some(keyword);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn eat_symbol(&mut self, symbol: &'static str) -> bool {
        let found = *self.peek() == Token::Symbol(symbol);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect_symbol(&mut self, symbol: &'static str, expected: &str) -> Result<(), Problem> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// Place of the next token.
    pub(super) fn span(&self) -> Span {
        self.lexemes[self.at].span
    }

    /// Place of the last token taken.
    pub(super) fn last_span(&self) -> Span {
        self.lexemes[self.at.saturating_sub(1)].span
    }

    /// The problem that something else than the next token was expected.
    #[cold]
    pub(super) fn expected(&self, expected: &str) -> Problem {
        let found = self.peek();
        let problem =
            Problem::new(self.sql, self.span(), format!("expected {expected}, found {}", found.shown()));
        match found {
            Token::Word(word) if keyword(word).is_some() && expected.contains("name") => {
                problem.with_hint(format!("to use the keyword as a name, write `\"{word}\"`"))
            }
            _ => problem,
        }
    }

    fn nearest(&self, candidates: &[&'static str]) -> Option<&'static str> {
        match self.peek() {
            Token::Word(word) => nearest_keyword(word, candidates),
            _ => None,
        }
    }

    /// Counts a node, and refuses one that would make the tree too high to be walked.
    pub(super) fn node(&self, kind: super::ExprKind, span: Span) -> Result<Expr, Problem> {
        let expr = Expr::new(kind, span);
        if expr.height > super::expression::HEIGHT_MAX {
            let limit = super::expression::HEIGHT_MAX;
            let message =
                format!("the expression has more than {limit} operators in a row or inside each other");
            return Err(Problem::new(self.sql, span, message));
        }
        Ok(expr)
    }
}
