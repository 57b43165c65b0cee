//! Why a run of a rule failed.

use std::borrow::Cow;
use std::fmt;

use engine_event::Value;

use crate::Position;

/// Why evaluating a rule on an event failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A function was called with the wrong number of arguments.
    #[error("`{function}` takes {expected} arguments, found {found}")]
    ArgumentCount {
        /// Name of the function.
        function: &'static str,
        /// The number it takes, in words.
        expected: String,
        /// The number given.
        found: usize,
    },
    /// An argument of a function is not what it should be.
    #[error("`{function}`, argument {place} (`{name}`): expected {expected}, found {found}")]
    Argument {
        /// Name of the function.
        function: &'static str,
        /// Place of the argument, from 1.
        place: usize,
        /// Name of the argument.
        name: &'static str,
        /// What it should be.
        expected: Cow<'static, str>,
        /// What it is.
        found: String,
    },
    /// A function cannot give a result although each argument is sound.
    #[error("`{function}`: {reason}")]
    Function {
        /// Name of the function.
        function: &'static str,
        /// Why.
        reason: Cow<'static, str>,
    },
    /// No function has that name.
    #[error("no function named `{name}`")]
    UnknownFunction {
        /// The name.
        name: String,
    },
    /// A path steps into a payload that is not JSON.
    #[error("the payload is not JSON: {reason}")]
    PayloadNotJson {
        /// What the decoder said.
        reason: String,
    },
    /// An operator got an operand that it cannot work with.
    #[error("`{operator}`: expected {expected}, found {found}")]
    Operand {
        /// The operator as it is written.
        operator: &'static str,
        /// What the operand should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A number was compared with a text that is not a number.
    #[error("cannot compare {number} with {text}: the text is not a number")]
    Incomparable {
        /// The number.
        number: String,
        /// The text.
        text: String,
    },
    /// A division by zero.
    #[error("`{operator}`: division by zero")]
    DivisionByZero {
        /// The operator as it is written.
        operator: &'static str,
    },
    /// A result that no float can hold.
    #[error("`{operator}`: the result is too large for a float")]
    TooLarge {
        /// The operator as it is written.
        operator: &'static str,
    },
    /// A text or an integer that is larger than any rule needs.
    #[error("`{operator}`: the result is larger than {limit}")]
    ResultLimit {
        /// The operator as it is written.
        operator: &'static str,
        /// The limit in words.
        limit: &'static str,
    },
    /// A value or a row that is larger than any rule needs, with all its copies counted.
    #[error("{what} has more than {limit}")]
    SizeLimit {
        /// What grew.
        what: &'static str,
        /// The limit in words.
        limit: &'static str,
    },
    /// A condition gave something other than a boolean.
    #[error("a condition must give a boolean, found {found}")]
    NotBoolean {
        /// What it gave.
        found: String,
    },
    /// A range was taken of something else than an array.
    #[error("a range `[{first}..{last}]` can only be taken of an array, found {found}")]
    RangeOf {
        /// First place of the range.
        first: i64,
        /// Last place of the range.
        last: i64,
        /// What it was taken of.
        found: String,
    },
    /// A range that selects nothing sensible.
    #[error("range `[{first}..{last}]`: {reason}")]
    Range {
        /// First place of the range.
        first: i64,
        /// Last place of the range.
        last: i64,
        /// Why.
        reason: &'static str,
    },
    /// FOREACH went through a very long array.
    #[error("FOREACH gives more than {limit} rows")]
    TooManyRows {
        /// Rows that one event can give.
        limit: usize,
    },
    /// What went wrong, with the part of the rule where it did.
    #[error("{part}: {error}")]
    In {
        /// The part of the rule.
        part: Part,
        /// What went wrong there.
        error: Box<EvalError>,
    },
}

impl EvalError {
    /// Adds the part of the rule where the error happened.
    #[cold]
    pub(crate) fn in_part(self, part: Part) -> Self {
        Self::In { part, error: Box::new(self) }
    }

    /// The error itself, without the part of the rule.
    pub fn cause(&self) -> &Self {
        match self {
            Self::In { error, .. } => error.cause(),
            _ => self,
        }
    }
}

/// A part of a rule, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A field of SELECT, FOREACH or DO.
    Field {
        /// The keyword of the list.
        list: &'static str,
        /// Place in the list, from 1.
        place: usize,
        /// Where the field begins in the text.
        position: Position,
    },
    /// WHERE.
    Where,
    /// INCASE.
    Incase,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field { list, place, position } => write!(f, "{position}, {list} field {place}"),
            Self::Where => f.write_str("WHERE"),
            Self::Incase => f.write_str("INCASE"),
        }
    }
}

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 40;

/// Type and content of a value, shortened, as messages show it.
#[cold]
pub(crate) fn describe(value: &Value) -> String {
    let mut form = Vec::new();
    engine_event::write_text_form(value, &mut form);
    let form = String::from_utf8_lossy(&form);
    let shown = match form.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &form[..end]),
        None => form.into_owned(),
    };
    match value {
        Value::Undefined | Value::Null => value.type_name().to_owned(),
        Value::Text(_) => format!("text '{shown}'"),
        _ => format!("{} {shown}", value.type_name()),
    }
}
