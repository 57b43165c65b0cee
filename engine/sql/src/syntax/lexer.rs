//! Text to tokens.

use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{
    Location, Token as SqlToken, TokenWithSpan, Tokenizer, TokenizerError, Whitespace,
};

use crate::{Position, Problem, Span};

/// Bytes that the text of a rule may have.
pub(super) const SQL_BYTES_MAX: usize = 256 * 1024;

/// A token with its place.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) span: Span,
    /// Nothing stands between it and the token before.
    pub(super) glued: bool,
}

impl Lexeme {
    /// Tells whether it is this keyword.
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(&self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// A token of the rule language.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword or plain name.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A text in single quotes.
    Text(String),
    /// Digits, with or without fraction and exponent.
    Number(String),
    /// An operator or punctuation; `..` stands between the ends of a range.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// The token as messages show it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) | Self::Number(word) => format!("`{word}`"),
            Self::Quoted(name) => format!("the name `\"{name}\"`"),
            Self::Text(text) => format!("the text '{text}'"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

/// Which characters names are made of.
#[derive(Debug)]
struct RuleDialect;

impl Dialect for RuleDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_ascii_alphabetic()
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_ascii_alphanumeric() || matches!(ch, '_' | '$' | '@' | '~')
    }
}

/// Cuts the text into tokens; the last one is [`Token::End`].
pub(super) fn tokens(sql: &str) -> Result<Vec<Lexeme>, Problem> {
    if sql.len() > SQL_BYTES_MAX {
        let message = format!("the text has {} bytes, more than the limit of {SQL_BYTES_MAX}", sql.len());
        let start = Position { line: 1, column: 1 };
        return Err(Problem::new("", Span { start, end: start }, message));
    }
    let found = Tokenizer::new(&RuleDialect, sql)
        .tokenize_with_location()
        .map_err(|error| unfinished(sql, &error))?;
    let mut lexer = Lexer {
        sql,
        lexemes: Vec::with_capacity(found.len() + 1),
        glued: false,
        half_range: false,
        half_default: None,
        after_mark: false,
    };
    for found in found {
        lexer.finish_range(&found.token)?;
        lexer.finish_default(&found.token)?;
        lexer.add(found)?;
    }
    lexer.finish_range(&SqlToken::EOF)?;
    lexer.finish_default(&SqlToken::EOF)?;
    let end = end_of(sql);
    lexer.push(Token::End, Span { start: end, end });
    Ok(lexer.lexemes)
}

struct Lexer<'a> {
    sql: &'a str,
    lexemes: Vec<Lexeme>,
    glued: bool,
    /// Of `..` only the first point was seen.
    half_range: bool,
    /// Of `??` only the first mark was seen, here.
    half_default: Option<Span>,
    /// The last token is a number that came with a mark: what follows its point is yet to come.
    after_mark: bool,
}

impl Lexer<'_> {
    /// Checks that the second point of `..` follows the first, which arrives as the end of a number.
    fn finish_range(&mut self, next: &SqlToken) -> Result<(), Problem> {
        let second_point = match next {
            SqlToken::Period => true,
            SqlToken::Number(digits, _) => digits.starts_with('.'),
            _ => false,
        };
        match self.lexemes.last() {
            Some(last) if self.half_range && !second_point => {
                Err(self.problem(last.span, "expected digits after the point"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the second mark of `??` follows the first.
    fn finish_default(&mut self, next: &SqlToken) -> Result<(), Problem> {
        match self.half_default {
            Some(first) if !matches!(next, SqlToken::Placeholder(_)) => {
                Err(self.problem(first, "found `?`, the operator for a default is `??`"))
            }
            _ => Ok(()),
        }
    }

    /// The tokenizer takes each `?` for a placeholder, with the digits after it.
    fn add_mark(&mut self, mark: &str, span: Span) -> Result<(), Problem> {
        let digits = mark.trim_start_matches('?');
        match self.half_default.take() {
            None if digits.is_empty() => self.half_default = Some(span),
            Some(first) if self.glued && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.push(Token::Symbol("??"), first.to(span));
                if !digits.is_empty() {
                    let start = Position { column: span.start.column.saturating_add(1), ..span.start };
                    self.push(Token::Number(digits.to_owned()), Span { start, ..span });
                    self.after_mark = true;
                }
            }
            _ => {
                return Err(self.problem(span, format!("found `{mark}`, the operator for a default is `??`")));
            }
        }
        self.glued = true;
        Ok(())
    }

    fn add(&mut self, found: TokenWithSpan) -> Result<(), Problem> {
        let span = Span { start: position(found.span.start), end: position(found.span.end) };
        let symbol = match found.token {
            SqlToken::Whitespace(Whitespace::MultiLineComment(_)) => {
                return Err(self.problem(span, "found `/*`, a comment starts with `--`"));
            }
            SqlToken::Whitespace(_) => {
                self.glued = false;
                return Ok(());
            }
            SqlToken::Word(word) => return self.add_word(word.value, word.quote_style.is_some(), span),
            SqlToken::SingleQuotedString(text) => {
                self.push(Token::Text(text), span);
                return Ok(());
            }
            SqlToken::Number(digits, long) => return self.add_number(&digits, long, span),
            SqlToken::Tilde => return self.add_tilde(span),
            SqlToken::Placeholder(mark) if mark.starts_with('?') => return self.add_mark(&mark, span),
            other => symbol(&other).ok_or_else(|| self.unknown(&other, span))?,
        };
        if symbol == "=" && self.glued && self.ends_with_tilde() {
            return Err(self.problem(span, "found `~=`, the operator for topics is `=~`"));
        }
        if symbol == "." && std::mem::take(&mut self.half_range) {
            return Ok(());
        }
        self.push(Token::Symbol(symbol), span);
        Ok(())
    }

    fn add_word(&mut self, word: String, quoted: bool, span: Span) -> Result<(), Problem> {
        if quoted {
            self.push(Token::Quoted(word), span);
            return Ok(());
        }
        if self.glued && matches!(self.lexemes.last(), Some(Lexeme { token: Token::Number(_), .. })) {
            let message = format!("found `{word}` right after a number");
            return Err(self.problem(span, message).with_hint("put a space between them"));
        }
        self.push(Token::Word(word), span);
        Ok(())
    }

    /// Numbers come in the shapes `1`, `1.5`, `1.` (before `..`), and `.5` (after a path or `..`), with or without an
    /// exponent.
    fn add_number(&mut self, digits: &str, long: bool, span: Span) -> Result<(), Problem> {
        if long {
            return Err(self.problem(span, format!("found `{digits}L`, expected a number without a suffix")));
        }
        if let (true, true, Some(Lexeme { token: Token::Number(whole), span: place, .. })) = (
            std::mem::take(&mut self.after_mark) && self.glued,
            digits.starts_with('.'),
            self.lexemes.last_mut(),
        ) {
            whole.push_str(digits);
            *place = place.to(span);
            return Ok(());
        }
        if let Some(digits) = digits.strip_prefix('.') {
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(
                    self.problem(span, format!("found `.{digits}`, expected digits before the point"))
                );
            }
            if !std::mem::take(&mut self.half_range) {
                self.push(Token::Symbol("."), span);
            }
            self.glued = true;
            self.push(Token::Number(digits.to_owned()), span);
        } else if let Some(digits) = digits.strip_suffix('.') {
            self.push(Token::Number(digits.to_owned()), span);
            self.push(Token::Symbol(".."), span);
            self.half_range = true;
        } else if digits.contains(".e") || digits.contains(".E") {
            return Err(self.problem(span, format!("found `{digits}`, expected digits after the point")));
        } else {
            self.push(Token::Number(digits.to_owned()), span);
        }
        Ok(())
    }

    fn add_tilde(&mut self, span: Span) -> Result<(), Problem> {
        match self.lexemes.last_mut() {
            Some(last) if self.glued && last.token == Token::Symbol("=") => {
                last.token = Token::Symbol("=~");
                last.span = last.span.to(span);
                Ok(())
            }
            _ => Err(self.problem(span, "found `~`, the operator for topics is `=~`")),
        }
    }

    fn unknown(&self, token: &SqlToken, span: Span) -> Problem {
        let hint = match token {
            SqlToken::DoubleEq => "equality is `=`",
            SqlToken::Ampersand | SqlToken::Overlap => "write AND",
            SqlToken::Pipe => "write OR",
            SqlToken::ExclamationMark => "write NOT, or `<>`",
            SqlToken::TildeAsterisk | SqlToken::DoubleTilde | SqlToken::RArrow => {
                "comparisons are `=`, `<>`, `<`, `>`, `<=`, `>=`, `=~`"
            }
            SqlToken::Char('_') => "a name starts with a letter; put it in double quotes",
            _ => "",
        };
        let problem = self.problem(span, format!("found `{token}`, which means nothing here"));
        if hint.is_empty() { problem } else { problem.with_hint(hint) }
    }

    fn ends_with_tilde(&self) -> bool {
        matches!(self.lexemes.last(), Some(Lexeme { token: Token::Word(word), .. }) if word.ends_with('~'))
    }

    fn push(&mut self, token: Token, span: Span) {
        self.lexemes.push(Lexeme { token, span, glued: self.glued });
        self.glued = true;
    }

    fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem::new(self.sql, span, message)
    }
}

fn symbol(token: &SqlToken) -> Option<&'static str> {
    Some(match token {
        SqlToken::Comma => ",",
        SqlToken::Period => ".",
        SqlToken::SemiColon => ";",
        SqlToken::LParen => "(",
        SqlToken::RParen => ")",
        SqlToken::LBracket => "[",
        SqlToken::RBracket => "]",
        SqlToken::LBrace => "{",
        SqlToken::RBrace => "}",
        SqlToken::Colon => ":",
        SqlToken::Plus => "+",
        SqlToken::Minus => "-",
        SqlToken::Mul => "*",
        SqlToken::Div => "/",
        SqlToken::Mod => "%",
        SqlToken::StringConcat => "||",
        SqlToken::Eq => "=",
        SqlToken::Neq => "<>",
        SqlToken::Lt => "<",
        SqlToken::Gt => ">",
        SqlToken::LtEq => "<=",
        SqlToken::GtEq => ">=",
        _ => return None,
    })
}

fn unfinished(sql: &str, error: &TokenizerError) -> Problem {
    let start = position(error.location);
    let end = Position { column: start.column + 1, ..start };
    let message = match error.message.as_str() {
        "Unterminated string literal" => "a text has no closing `'`".to_owned(),
        message if message.contains("close delimiter") => "a quoted name has no closing `\"`".to_owned(),
        message if message.contains("comment") => "found `/*`, a comment starts with `--`".to_owned(),
        message => format!("cannot read the text: {}", message.to_lowercase()),
    };
    Problem::new(sql, Span { start, end }, message)
}

fn position(location: Location) -> Position {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: small(location.line), column: small(location.column) }
}

/// The place after the last character that is not white space.
fn end_of(sql: &str) -> Position {
    let text = sql.trim_end();
    let last_line = text.rsplit('\n').next().unwrap_or("");
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: small(text.matches('\n').count() + 1), column: small(last_line.chars().count() + 1) }
}
