//! The text of a rule as a tree, and the tree as text.
//!
//! `sqlparser` supplies the tokenizer (strings, quoted names, comments, places); the grammar is our own. Its Pratt
//! parser is not used: about a third of the grammar (paths, indices, ranges, `=~`, FOREACH, aliases that are paths)
//! would have to go through its hooks, its trees carry no places for most nodes, and everything that it accepts
//! beyond our language (casts, subqueries, `INTERVAL`, functions with syntax of their own, `timestamp` as the start
//! of a literal) would have to be refused again. A Pratt parser of the eight levels that we have is shorter than
//! that.

mod expression;
mod lexer;
mod path;
mod print;
mod statement;
mod tree;
mod words;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::rule as tests_rule;

pub use statement::parse;
pub use tree::{Body, Branch, Expr, ExprKind, Field, FieldKind, Index, Op, Path, Rule, SourceName, Step};
