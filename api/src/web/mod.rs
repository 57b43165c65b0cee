//! How the interface reads requests and writes answers: errors, queries, bodies, paths, pages and times.

mod body;
mod code;
mod error;
mod page;
mod path;
mod query;
mod time;

pub use code::Code;
pub use error::{ApiError, ErrorBody};

pub(crate) use body::{BODY_BYTES_MAX, JsonBody};
pub(crate) use error::Answer;
pub(crate) use page::{Page, PageRequest};
pub(crate) use path::Path;
pub(crate) use query::{NoQuery, Query};
pub(crate) use time::{TimeMs, Until, rfc3339_ms, rfc3339_s};
