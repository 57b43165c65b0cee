//! What operators and paths do with values.

mod arithmetic;
mod compare;
mod pattern;
mod read;
mod write;

pub(crate) use arithmetic::{TEXT_BYTES_MAX, arithmetic, negative};
pub(crate) use compare::{compare, is_equal_to_any};
pub(crate) use pattern::{like, matches_topic};
pub(crate) use read::{ReadStep, UNDEFINED, range, range_literal, read};
pub(crate) use write::{WriteStep, write};
