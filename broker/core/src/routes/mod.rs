//! From topics to those who want them: sessions, shared groups and rules.

mod share;
mod strategy;
mod table;
mod trie;
mod watch;

pub(crate) use share::{Chosen, ShareGroup, ShareRules, granted, group_of};
pub(crate) use strategy::stable_hash;
pub use strategy::{ShareStrategy, StickyPick};
pub(crate) use table::{Extras, Grant, Own, RouteTable, Routes, Target, TopicKind};
pub(crate) use watch::Watch;
