//! Paths, indices and ranges.

use crate::Problem;

use super::lexer::Token;
use super::statement::Parser;
use super::tree::{Index, Path, Step};
use super::words::{boolean, keyword};

/// Indices that may stand inside each other: `a[b[c]]` has two.
const INDEX_DEPTH_MAX: u32 = 2;

/// Steps that a path may have.
const STEPS_MAX: usize = 64;

/// First and last place of a range, as written.
type Ends = (i64, i64);

/// What stands in brackets after a path.
enum Brackets {
    Index(Index),
    Range(Ends),
}

impl Parser<'_> {
    /// Reads a path, and a range if one ends it. The next token is a name.
    pub(super) fn path(&mut self) -> Result<(Path, Option<Ends>), Problem> {
        let start = self.span();
        let (Token::Word(root) | Token::Quoted(root)) = self.next() else {
            unreachable!("callers look at the token first");
        };
        let mut steps = Vec::new();
        let mut range = None;
        while range.is_none() {
            if self.eat_symbol(".") {
                steps.push(Step::Key(self.key()?));
            } else if self.eat_symbol("[") {
                match self.brackets()? {
                    Brackets::Index(index) => steps.push(Step::Index(index)),
                    Brackets::Range(ends) => range = Some(ends),
                }
            } else {
                break;
            }
            if steps.len() > STEPS_MAX {
                let message = format!("the path has more than {STEPS_MAX} steps");
                return Err(Problem::new(self.sql, start.to(self.last_span()), message));
            }
        }
        Ok((Path { root, steps, span: start.to(self.last_span()) }, range))
    }

    /// Reads the path of an alias. The next token is a name or a keyword.
    pub(super) fn alias_path(&mut self) -> Result<Path, Problem> {
        if self.peek_keyword().is_some() {
            return Err(self.expected("a name after AS"));
        }
        match self.path()? {
            (path, None) => Ok(path),
            (path, Some(_)) => {
                Err(Problem::new(self.sql, path.span, "found a range, expected a name with keys and indices"))
            }
        }
    }

    fn key(&mut self) -> Result<String, Problem> {
        let key = match self.peek() {
            Token::Word(word) if keyword(word).is_none() || boolean(word).is_some() => word.clone(),
            Token::Quoted(key) | Token::Text(key) => key.clone(),
            Token::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let digits = digits.clone();
                let one_number = *self.peek_at(1) == Token::Symbol(".")
                    && matches!(self.peek_at(2), Token::Number(_))
                    && self.lexemes.get(self.at + 2).is_some_and(|next| next.glued);
                if one_number {
                    let problem = self.expected("a key, not a number with a point");
                    return Err(problem.with_hint(format!("write the key in quotes: `.'{digits}'`")));
                }
                digits
            }
            _ => return Err(self.expected("a key name after `.`")),
        };
        self.next();
        Ok(key)
    }

    /// Reads what follows `[` after a path.
    fn brackets(&mut self) -> Result<Brackets, Problem> {
        let opening = self.at - 1;
        let found = match self.peek() {
            Token::Word(word) if keyword(word).is_none() => Brackets::Index(self.path_index()?),
            Token::Quoted(_) => Brackets::Index(self.path_index()?),
            Token::Number(_) | Token::Symbol("+" | "-") => {
                let (negative, digits) = self.signed_digits()?;
                if self.eat_symbol("..") {
                    let first = self.end_of_range(negative, &digits)?;
                    let (negative, digits) = self.signed_digits()?;
                    Brackets::Range((first, self.end_of_range(negative, &digits)?))
                } else {
                    // an index that is too large is out of range in any array
                    let place = digits.parse().unwrap_or(u64::MAX);
                    Brackets::Index(if negative { Index::End(place) } else { Index::Start(place) })
                }
            }
            _ => return Err(self.expected("an integer or a name as index")),
        };
        self.expect_symbol("]", "`]`")?;
        if let Brackets::Range(_) = found {
            self.refuse_spaces(opening)?;
        }
        Ok(found)
    }

    /// A range is one word from its opening bracket, the token at `opening`, to the closing one, which was taken.
    pub(super) fn refuse_spaces(&self, opening: usize) -> Result<(), Problem> {
        match self.lexemes[opening + 1..self.at].iter().find(|lexeme| !lexeme.glued) {
            None => Ok(()),
            Some(after) => {
                let found = after.token.shown();
                let problem = Problem::new(self.sql, after.span, format!("found a space before {found}"));
                Err(problem.with_hint("a range is written without spaces: `[1..4]`"))
            }
        }
    }

    fn path_index(&mut self) -> Result<Index, Problem> {
        if self.index_depth >= INDEX_DEPTH_MAX {
            let message = format!("more than {INDEX_DEPTH_MAX} indices inside each other");
            return Err(Problem::new(self.sql, self.span(), message));
        }
        self.index_depth += 1;
        let (path, range) = self.path()?;
        self.index_depth -= 1;
        match range {
            None => Ok(Index::Path(Box::new(path))),
            Some(_) => Err(Problem::new(self.sql, path.span, "found a range, expected a single index")),
        }
    }

    /// Reads `1..4` inside the brackets of an array, if it stands there.
    pub(super) fn literal_range(&mut self) -> Result<Option<Ends>, Problem> {
        let sign = usize::from(matches!(self.peek(), Token::Symbol("+" | "-")));
        if *self.peek_at(sign + 1) != Token::Symbol("..") {
            return Ok(None);
        }
        let (negative, digits) = self.signed_digits()?;
        let first = self.end_of_range(negative, &digits)?;
        self.next();
        let (negative, digits) = self.signed_digits()?;
        Ok(Some((first, self.end_of_range(negative, &digits)?)))
    }

    fn signed_digits(&mut self) -> Result<(bool, String), Problem> {
        let negative = self.eat_symbol("-");
        if !negative {
            self.eat_symbol("+");
        }
        match self.peek() {
            Token::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let digits = digits.clone();
                self.next();
                Ok((negative, digits))
            }
            _ => Err(self.expected("an integer")),
        }
    }

    fn end_of_range(&self, negative: bool, digits: &str) -> Result<i64, Problem> {
        match digits.parse::<i64>() {
            Ok(end) => Ok(if negative { -end } else { end }),
            Err(_) => {
                Err(Problem::new(self.sql, self.last_span(), format!("`{digits}` is too large for a range")))
            }
        }
    }
}
