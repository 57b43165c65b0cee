//! An action at work: its lanes, its channel, its fallbacks.

mod fallback;
mod memory;
mod offer;
mod runtime;

pub(crate) use fallback::Fallback;
pub(crate) use memory::MemoryBudget;
pub(crate) use offer::{RowOrigin, id_seed};
pub(crate) use runtime::{ActionRuntime, ActionSlot, log_change};
