//! What a connector is: the trait that every sink fills in, the batch it gets, the outcomes it gives.
//!
//! Batching, queues, retry, backoff, order, fallback, counters, status and draining belong to `engine/runtime`. A
//! connector opens a pool, checks it, compiles templates when a channel is added, and says of each row of a batch
//! what became of it.

#![forbid(unsafe_code)]

mod config;
mod connector;
mod definition;
mod delivery;
mod outcome;
mod secret;
mod units;

pub use config::{ConfigError, ConfigProblem, parse_config};
pub use connector::{Channel, ChannelContext, ChannelError, Connector, Health, StartContext, StartError};
pub use definition::{Capabilities, ConnectorDef, StartFuture};
pub use delivery::{Batch, DELIVERY_ID, Delivery, names_delivery_id};
pub use outcome::{Outcome, Reason, ReasonKind};
pub use secret::Secret;
pub use units::{ByteSize, Period, UnitError};
