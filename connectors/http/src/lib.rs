//! HTTP sink ("WebHook"): one request for each row.
//!
//! A row counts as confirmed when the target answered with a success status (200–299 unless the action says
//! otherwise). Answers that say "later" and everything that smells of transport are sent again; see `classify`.
//!
//! Each request carries an `Idempotency-Key` header with the row's delivery id, the same at every attempt, so that a
//! receiver can tell a repeated row from a new one.

#![forbid(unsafe_code)]

mod classify;
mod config;
mod definition;
mod dial;
mod headers;
mod request;
mod sink;
mod status_set;
mod tls;
mod url_template;

pub use definition::DEFINITION;
