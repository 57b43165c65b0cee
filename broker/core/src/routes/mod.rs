//! From topics to those who want them: sessions, shared groups and rules.

mod share;
mod table;
mod trie;

pub(crate) use share::{ShareGroup, away_members, granted, group_of};
pub(crate) use table::{Extras, Own, RouteTable, Routes, Target};
