//! The built-in functions of the rule language (reference, section 14).
//!
//! Each function is one [`FunctionDef`]: its name, arguments, meaning, examples and code. Checking of rules, the
//! reference page and the tests are all read from that table.
//!
//! Functions are pure. Time, randomness, the event's columns, the key-value store and environment variables come
//! in through a [`FunctionContext`]. A bad argument always gives an error that names the function, the argument,
//! what was expected and what was found.

mod aggregates;
mod args;
mod arrays;
mod bits;
mod calendar;
mod compiled;
mod compress;
mod context;
mod convert;
mod definition;
mod encode;
mod fixed_context;
mod format;
mod function_context;
mod hash;
mod identifiers;
mod jq;
mod jq_program;
mod jq_rewrite;
mod maps;
mod math;
mod regular;
mod split;
mod table;
mod term;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod types;

pub use args::Args;
pub use compiled::CompiledCache;
pub use definition::{Arg, Example, FunctionDef, Type};
pub use fixed_context::FixedContext;
pub use function_context::{FunctionContext, JQ_TIME_LIMIT_MS};
pub use jq::JQ_TIME_LIMIT_MS_MAX;
pub use table::{all, lookup, nearest};
