//! The protocol of connections as clients see it, without sockets: packets in, packets out, and a clock that is moved.
//!
//! A comment such as `[MQTT-3.1.4-3]` names the statement of the standard (5.0 unless said otherwise) that a test
//! proves.

mod alias;
mod anything;
mod banned;
mod connect;
mod delayed;
mod delivery;
mod errors;
mod events;
mod journal;
mod overload;
mod publish;
mod quality;
mod queue;
mod renamed;
mod retained;
mod session;
mod share;
mod slow_subs;
mod subscribe;
mod subscriptions;
mod support;
mod system;
mod topic_metrics;
mod traces;
mod will;
mod zone;
