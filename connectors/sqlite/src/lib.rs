//! SQLite sink: rows into a table of a database file.
//!
//! A batch is one transaction, and a row counts as confirmed when its transaction is committed. Values are always
//! bound, never part of the statement's text. When a row of a batch is refused (a constraint, a type), it is found by
//! halving inside savepoints, rejected with SQLite's code and message, and the others are committed.
//!
//! SQLite has one writer at a time, so a connector writes over one connection; batches of several lanes queue for it.

#![forbid(unsafe_code)]

mod bind;
mod classify;
mod config;
mod database;
mod definition;
mod sink;
mod sql_text;
mod statement;
mod table;
mod write;

pub use definition::DEFINITION;
