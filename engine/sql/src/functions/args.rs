//! The arguments of a call, read with their types checked.

use std::borrow::Cow;

use engine_event::{Map, Text, Value};
use num_bigint::BigInt;
use num_traits::ToPrimitive as _;

use crate::EvalError;

use super::{FunctionContext, FunctionDef, Type};

static TRUE: Text = Text::from_static("true");
static FALSE: Text = Text::from_static("false");

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 40;

/// Size of a text that any part of it may keep alive.
const SHARED_BYTES_MAX: usize = 1024;

/// The arguments of a call and the surroundings of the run.
///
/// Places count from 0 here and from 1 in messages. Reading a place that was not given acts like undefined.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    def: &'static FunctionDef,
    values: &'a [Value],
    context: &'a dyn FunctionContext,
}

impl<'a> Args<'a> {
    /// Makes the arguments of a call of `def`. The number of values has been checked.
    pub(super) fn new(
        def: &'static FunctionDef,
        values: &'a [Value],
        context: &'a dyn FunctionContext,
    ) -> Self {
        Self { def, values, context }
    }

    /// Number of arguments given.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The surroundings of the run.
    pub fn context(&self) -> &'a dyn FunctionContext {
        self.context
    }

    /// All arguments.
    pub fn values(&self) -> &'a [Value] {
        self.values
    }

    /// An argument of any type.
    pub fn value(&self, place: usize) -> &'a Value {
        self.values.get(place).unwrap_or(&Value::Undefined)
    }

    /// A text as bytes. A boolean counts as its word.
    pub fn text(&self, place: usize) -> Result<&'a Text, EvalError> {
        match self.value(place) {
            Value::Text(text) => Ok(text),
            Value::Bool(true) => Ok(&TRUE),
            Value::Bool(false) => Ok(&FALSE),
            _ => Err(self.wrong(place, Type::Text.expected())),
        }
    }

    /// A text that is UTF-8. A boolean counts as its word.
    pub fn str(&self, place: usize) -> Result<&'a str, EvalError> {
        self.text(place)?.as_str().ok_or_else(|| self.wrong(place, "a text in UTF-8"))
    }

    /// A text, if the argument was given.
    pub fn optional_str(&self, place: usize) -> Result<Option<&'a str>, EvalError> {
        if place < self.len() { self.str(place).map(Some) } else { Ok(None) }
    }

    /// An integer of 64 bits.
    pub fn int(&self, place: usize) -> Result<i64, EvalError> {
        match self.value(place) {
            Value::Int(value) => Ok(*value),
            Value::BigInt(_) => Err(self.wrong(place, "an integer of at most 64 bits")),
            _ => Err(self.wrong(place, Type::Int.expected())),
        }
    }

    /// An integer that is not negative.
    pub fn size(&self, place: usize) -> Result<usize, EvalError> {
        match usize::try_from(self.int(place)?) {
            Ok(value) => Ok(value),
            Err(_) => Err(self.wrong(place, "an integer that is not negative")),
        }
    }

    /// An integer of any size.
    pub fn big_int(&self, place: usize) -> Result<Cow<'a, BigInt>, EvalError> {
        match self.value(place) {
            Value::Int(value) => Ok(Cow::Owned(BigInt::from(*value))),
            Value::BigInt(value) => Ok(Cow::Borrowed(value)),
            _ => Err(self.wrong(place, Type::Int.expected())),
        }
    }

    /// A number as a float.
    pub fn float(&self, place: usize) -> Result<f64, EvalError> {
        let value = match self.value(place) {
            Value::Int(value) => *value as f64,
            Value::Float(value) => *value,
            Value::BigInt(value) => value.to_f64().unwrap_or(f64::INFINITY),
            _ => return Err(self.wrong(place, Type::Number.expected())),
        };
        if value.is_finite() { Ok(value) } else { Err(self.wrong(place, "a number that fits a float")) }
    }

    /// An array.
    pub fn array(&self, place: usize) -> Result<&'a [Value], EvalError> {
        match self.value(place) {
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong(place, Type::Array.expected())),
        }
    }

    /// A map.
    pub fn map(&self, place: usize) -> Result<&'a Map, EvalError> {
        match self.value(place) {
            Value::Map(map) => Ok(map),
            _ => Err(self.wrong(place, Type::Map.expected())),
        }
    }

    /// One of several words, as its place in `words`.
    pub fn one_of(&self, place: usize, words: &[&str]) -> Result<usize, EvalError> {
        let word = self.text(place)?;
        words
            .iter()
            .position(|candidate| *word == **candidate)
            .ok_or_else(|| self.wrong(place, format!("one of '{}'", words.join("', '"))))
    }

    /// A part of a text argument as a value. Shares the memory of the argument unless a small part would keep a
    /// large text alive.
    pub fn part(&self, place: usize, part: impl AsRef<[u8]>) -> Value {
        let part = part.as_ref();
        match self.value(place) {
            Value::Text(whole) if whole.len() <= part.len().saturating_mul(2).max(SHARED_BYTES_MAX) => {
                Value::Text(whole.bytes().slice_ref(part).into())
            }
            _ => Value::Text(Text::copy_from(part)),
        }
    }

    /// The error of an argument that is not what it should be.
    #[cold]
    pub fn wrong(&self, place: usize, expected: impl Into<Cow<'static, str>>) -> EvalError {
        EvalError::Argument {
            function: self.def.name,
            place: place + 1,
            name: self.def.arg_name(place, self.len()),
            expected: expected.into(),
            found: describe(self.value(place)),
        }
    }

    /// The error of a call that cannot give a result although each argument is sound.
    #[cold]
    pub fn fail(&self, reason: impl Into<Cow<'static, str>>) -> EvalError {
        EvalError::Function { function: self.def.name, reason: reason.into() }
    }
}

/// Type and content of a value, shortened.
fn describe(value: &Value) -> String {
    match value {
        Value::Undefined | Value::Null => value.type_name().to_owned(),
        Value::Text(text) => format!("text '{}'", shorten(&text.to_str_lossy())),
        _ => {
            let mut form = Vec::new();
            engine_event::write_text_form(value, &mut form);
            format!("{} {}", value.type_name(), shorten(&String::from_utf8_lossy(&form)))
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
