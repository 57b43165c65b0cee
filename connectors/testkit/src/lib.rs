//! What tests of connectors share: faults on request, scripted targets, a connector without an engine, an engine
//! without a broker, and the cases that every connector has to pass.

#![forbid(unsafe_code)]

pub mod conformance;
pub mod direct;
mod fault_proxy;
mod harness;
mod http_server;
mod target;

pub use fault_proxy::{Fault, FaultProxy};
pub use harness::{Harness, until};
pub use http_server::{Answer, HttpServer, Request};
pub use target::{Reply, SCRIPTED, ScriptedTarget};
