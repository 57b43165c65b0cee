//! Configuration of the objects: raw in, checked out, every problem at once.

pub(crate) mod action;
pub(crate) mod connector;
pub(crate) mod fields;
pub(crate) mod name;
pub(crate) mod republish;
pub(crate) mod resource_opts;
pub(crate) mod rule;
pub(crate) mod secrets;
