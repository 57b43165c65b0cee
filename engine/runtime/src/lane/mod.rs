//! Lanes: the independent queues of an action, each with a task that sends batches and accounts for every row.

mod backoff;
pub(crate) mod gate;
#[cfg(test)]
mod model_tests;
mod request;
mod schedule;
mod set;
mod state;
mod worker;

pub(crate) use gate::Gate;
pub(crate) use set::LaneSet;
pub(crate) use state::{End, Ended, Lane, PushLimits, Pushed, StopReason};
pub(crate) use worker::run as run_worker;
