//! What the table says about a function.

use engine_event::Value;

use crate::EvalError;
use crate::evaluate::{FREE_ITEMS, FREE_TEXT_BYTES, TEXT_BYTES_MAX, own_bytes};

use super::{Args, FunctionContext};

/// A built-in function.
#[derive(Debug)]
pub struct FunctionDef {
    /// Name, lower case.
    pub name: &'static str,
    /// Arguments in order. Optional ones may stand anywhere; of several, the rightmost are left out first.
    pub args: &'static [Arg],
    /// Type of the result.
    pub returns: Type,
    /// What it does, also with undefined, the wrong type and at the ends of its range. One paragraph.
    pub summary: &'static str,
    /// Calls with their results: shown in the reference, run as tests.
    pub examples: &'static [Example],
    /// The code. Call it through [`FunctionDef::call`], which checks the number of arguments.
    pub eval: fn(&Args<'_>) -> Result<Value, EvalError>,
}

impl FunctionDef {
    /// Calls the function.
    ///
    /// # Errors
    /// When the number of arguments is wrong, or the function refuses them.
    pub fn call(&'static self, values: &[Value], context: &dyn FunctionContext) -> Result<Value, EvalError> {
        if !self.accepts(values.len()) {
            return Err(EvalError::ArgumentCount {
                function: self.name,
                expected: self.arity(),
                found: values.len(),
            });
        }
        let args = Args::new(self, values, context);
        let result = (self.eval)(&args)?;
        let is_large = match &result {
            Value::Text(text) => text.len() > FREE_TEXT_BYTES,
            Value::Array(items) => items.len() > FREE_ITEMS || has_long_text(values),
            Value::Map(map) => map.len() > FREE_ITEMS || has_long_text(values),
            _ => false,
        };
        if is_large { count_made(&args, result) } else { Ok(result) }
    }

    /// Tells whether the function can be called with `count` arguments.
    pub fn accepts(&self, count: usize) -> bool {
        count >= self.required() && (count <= self.args.len() || self.is_variadic())
    }

    /// The number of arguments in words: `2`, `1 to 3`, `2 or more`.
    pub fn arity(&self) -> String {
        let (least, most) = (self.required(), self.args.len());
        match (self.is_variadic(), least == most) {
            (true, _) => format!("{least} or more"),
            (false, true) => least.to_string(),
            (false, false) => format!("{least} to {most}"),
        }
    }

    /// The call as the reference prints it: `substr(text, start, [length])`.
    pub fn signature(&self) -> String {
        let args: Vec<String> = self.args.iter().map(Arg::signature).collect();
        format!("{}({})", self.name, args.join(", "))
    }

    fn required(&self) -> usize {
        self.args.iter().filter(|arg| !arg.optional && !arg.variadic).count()
    }

    fn is_variadic(&self) -> bool {
        self.args.last().is_some_and(|arg| arg.variadic)
    }

    /// The name of the argument at `place` of a call with `count` arguments.
    pub(super) fn arg_name(&self, place: usize, count: usize) -> &'static str {
        let mut left_out = self.args.len().saturating_sub(count);
        let mut kept = Vec::with_capacity(self.args.len());
        for arg in self.args.iter().rev() {
            if left_out > 0 && (arg.optional || arg.variadic) {
                left_out -= 1;
            } else {
                kept.push(arg.name);
            }
        }
        kept.reverse();
        kept.get(place).or(kept.last()).copied().unwrap_or("value")
    }
}

/// What is said of a result above [`TEXT_BYTES_MAX`].
pub(super) const TEXT_TOO_LONG: &str = "the result is larger than 64 MiB";

/// Tells whether one of the arguments is a text that much can be made of.
fn has_long_text(values: &[Value]) -> bool {
    values.iter().any(|value| matches!(value, Value::Text(text) if text.len() > FREE_TEXT_BYTES))
}

/// Counts a result that is not small, unless it was there before.
#[cold]
fn count_made(args: &Args<'_>, result: Value) -> Result<Value, EvalError> {
    if let Value::Text(text) = &result
        && text.len() > TEXT_BYTES_MAX
        && !is_long_already(args.values(), text.len())
    {
        return Err(args.fail(TEXT_TOO_LONG));
    }
    args.context().made(own_bytes(&result))?;
    Ok(result)
}

/// Tells whether one of the arguments is a text of that length: then the function did not make it grow.
fn is_long_already(values: &[Value], len: usize) -> bool {
    values.iter().any(|value| matches!(value, Value::Text(text) if text.len() >= len))
}

/// An argument of a function.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Name, for messages and the reference.
    pub name: &'static str,
    /// What it takes.
    pub kind: Type,
    /// May be left out.
    pub optional: bool,
    /// May be given any number of times, or not at all; only the last argument.
    pub variadic: bool,
}

impl Arg {
    /// Makes an argument that must be given.
    pub const fn new(name: &'static str, kind: Type) -> Self {
        Self { name, kind, optional: false, variadic: false }
    }

    /// Makes an argument that takes a value of any type.
    pub const fn any(name: &'static str) -> Self {
        Self::new(name, Type::Any)
    }

    /// Makes an argument that takes a text.
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Type::Text)
    }

    /// Makes an argument that takes an integer.
    pub const fn int(name: &'static str) -> Self {
        Self::new(name, Type::Int)
    }

    /// Makes an argument that takes an integer or a float.
    pub const fn number(name: &'static str) -> Self {
        Self::new(name, Type::Number)
    }

    /// Makes an argument that takes an array.
    pub const fn array(name: &'static str) -> Self {
        Self::new(name, Type::Array)
    }

    /// Makes an argument that takes a map.
    pub const fn map(name: &'static str) -> Self {
        Self::new(name, Type::Map)
    }

    /// Makes the argument one that may be left out.
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Makes the argument one that may be given any number of times.
    pub const fn variadic(self) -> Self {
        Self { variadic: true, ..self }
    }

    fn signature(&self) -> String {
        match (self.optional, self.variadic) {
            (_, true) => format!("{}...", self.name),
            (true, false) => format!("[{}]", self.name),
            (false, false) => self.name.to_owned(),
        }
    }
}

/// The type of an argument or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any value.
    Any,
    /// A boolean.
    Bool,
    /// An integer of any size.
    Int,
    /// A float.
    Float,
    /// An integer or a float.
    Number,
    /// Text or bytes.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
}

impl Type {
    /// The type with its article, as messages print it.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }
}

/// A call and its result, both written in the rule language with literals only.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The call.
    pub sql: &'static str,
    /// The result, or `error` when the call fails.
    pub gives: &'static str,
}

impl Example {
    /// Makes an example that gives a value.
    pub const fn new(sql: &'static str, gives: &'static str) -> Self {
        Self { sql, gives }
    }

    /// Makes an example that fails.
    pub const fn fails(sql: &'static str) -> Self {
        Self { sql, gives: "error" }
    }
}
