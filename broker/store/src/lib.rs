//! Durable sessions, their messages and retained messages on disk: the [`Journal`](broker_core::Journal) of the broker
//! in an [`engine_log::Log`].
//!
//! The broker's memory is the truth; the journal says how it came to be. Opening reads the journal once, from its mark
//! on, and hands every record to a [`Recovery`](broker_core::Recovery). What the records mean, and why nothing
//! acknowledged is lost whenever the process ends, is said in `broker-core`, module `durable`; how they are written is
//! said in [`format`].
//!
//! # Group commit
//!
//! Records are appended without anyone waiting for them. A worker that has handled what was ready appends one barrier,
//! and is told when that is on the disk: then so is everything before it. Whether "on the disk" means that the kernel
//! has it or that it is synced is [`Durability`].
//!
//! # Space
//!
//! A thread writes all that is still of use anew when the journal has become twice as long as that, and gives up what is
//! older: see [`Broker::rewrite_journal`](broker_core::Broker::rewrite_journal). Beyond 7/16 of [`StoreOptions::bytes_max`] nothing new
//! is admitted, so that there is room to write all anew; what ends deliveries always is.
//!
//! # When the disk fails
//!
//! When something cannot be written, the store is *failing*: an error is logged once, those who wait are told, nothing
//! new is admitted, and records are thrown away, since the journal has a gap anyway. Every second it is tried to write
//! all that the broker has in memory anew; when that works, the journal is whole again and admits. After a sync that
//! failed nothing is tried: what the disk holds is not known, and only a restart reads it again.

pub mod format;
mod store;

pub use store::{Durability, OpenError, Store, StoreOptions};
