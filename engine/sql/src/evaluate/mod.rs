//! What operators and paths do with values.

mod arithmetic;
mod compare;
mod pattern;
mod read;
mod size;
mod write;

pub(crate) use arithmetic::{arithmetic, negative};
pub(crate) use compare::{compare, is_equal_to_any};
pub(crate) use pattern::{like, matches_topic};
pub(crate) use read::{ReadStep, UNDEFINED, range, range_literal, read};
pub(crate) use size::{FREE_ITEMS, FREE_TEXT_BYTES, RUN_BYTES_MAX, Size, TEXT_BYTES_MAX, own_bytes};
pub(crate) use write::{WriteStep, write};
