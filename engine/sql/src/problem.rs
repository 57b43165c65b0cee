//! What is wrong with the text of a rule, and where.

use std::fmt;

/// A place in the text of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A stretch of the text of a rule. The end is the place after the last character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

impl Span {
    /// From the start of this one to the end of `last`.
    pub fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }
}

/// One problem: where it is, what was found, what was expected, and the line it is in.
///
/// Prints as
///
/// ```text
/// line 2, column 7: no function named `lowr`
///   WHERE lowr(payload.site) = 'berlin'
///         ^^^^  did you mean `lower`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub span: Span,
    /// What was found, and what was expected.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// The line of the text, shortened around the place when it is long.
    snippet: Snippet,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can come of it.
    Error,
    /// It may be meant, but hardly so.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    line: String,
    indent: usize,
    width: usize,
}

/// Characters of a line that a message shows.
const SNIPPET_CHARS_MAX: usize = 100;

impl Problem {
    /// Describes a problem of `sql` at `span`.
    pub(crate) fn new(sql: &str, span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            hint: None,
            severity: Severity::Error,
            snippet: Snippet::of(sql, span),
        }
    }

    /// Makes it a warning.
    pub(crate) fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Adds what may help.
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the nearest right spelling, if there is one.
    pub(crate) fn did_you_mean(self, nearest: Option<&str>) -> Self {
        match nearest {
            Some(nearest) => self.with_hint(format!("did you mean `{nearest}`?")),
            None => self,
        }
    }

    /// Where it begins.
    pub fn position(&self) -> Position {
        self.span.start
    }
}

impl Snippet {
    fn of(sql: &str, span: Span) -> Self {
        let line_at = span.start.line.saturating_sub(1) as usize;
        let line = sql.split('\n').nth(line_at).unwrap_or("").trim_end_matches('\r');
        let column = span.start.column.saturating_sub(1) as usize;
        let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let column = column.min(chars.len());
        let end = match span.end.line == span.start.line {
            true => (span.end.column.saturating_sub(1) as usize).clamp(column, chars.len()),
            false => chars.len(),
        };
        let leading = chars.iter().take_while(|c| c.is_whitespace()).count().min(column);
        let first =
            leading.max((column + SNIPPET_CHARS_MAX / 2).min(end + 10).saturating_sub(SNIPPET_CHARS_MAX));
        let first = first.min(column);
        let last = chars.len().min(first + SNIPPET_CHARS_MAX);
        Self {
            line: chars[first..last].iter().collect::<String>().trim_end().to_owned(),
            indent: column - first,
            width: end.min(last).saturating_sub(column).max(1),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snippet { line, indent, width } = &self.snippet;
        write!(f, "{}: {}", self.span.start, self.message)?;
        if !line.is_empty() {
            write!(f, "\n  {line}\n  {:indent$}{:^<width$}", "", "")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "  {hint}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a rule: at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlErrors(Vec<Problem>);

impl SqlErrors {
    /// All problems, in the order of the text.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for SqlErrors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Vec<Problem>> for SqlErrors {
    fn from(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        Self(problems)
    }
}

impl fmt::Display for SqlErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlErrors {}
