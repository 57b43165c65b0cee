//! Status of connectors and actions.

use std::fmt;

use tokio::sync::watch;

/// Whether a connector or an action takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Takes work.
    Connected,
    /// Starting, or not yet.
    Connecting,
    /// Start or check failed; tried again at each interval.
    Disconnected,
    /// Disabled or told to stop. Shown as `disconnected`: the documented interface has no such word.
    Stopped,
}

impl Status {
    /// The word of the interface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Disconnected | Self::Stopped => "disconnected",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// The status.
    pub status: Status,
    /// A short sentence without secrets; empty when connected.
    pub reason: String,
}

impl StatusReport {
    /// Takes work.
    pub fn connected() -> Self {
        Self { status: Status::Connected, reason: String::new() }
    }

    /// Not yet.
    pub fn connecting(reason: impl Into<String>) -> Self {
        Self { status: Status::Connecting, reason: reason.into() }
    }

    /// Does not take work.
    pub fn disconnected(reason: impl Into<String>) -> Self {
        Self { status: Status::Disconnected, reason: reason.into() }
    }

    /// Disabled or told to stop.
    pub fn stopped() -> Self {
        Self { status: Status::Stopped, reason: "resource is stopped or disabled".to_owned() }
    }

    /// Tells whether it takes work.
    pub fn is_connected(&self) -> bool {
        self.status == Status::Connected
    }
}

/// A status that can be waited for.
#[derive(Debug)]
pub(crate) struct StatusCell(watch::Sender<StatusReport>);

impl StatusCell {
    pub(crate) fn new(report: StatusReport) -> Self {
        Self(watch::Sender::new(report))
    }

    pub(crate) fn get(&self) -> StatusReport {
        self.0.borrow().clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.0.borrow().is_connected()
    }

    /// Sets the status; returns the one before when it was another.
    pub(crate) fn set(&self, report: StatusReport) -> Option<StatusReport> {
        let mut before = None;
        self.0.send_if_modified(|current| {
            if *current == report {
                return false;
            }
            before = Some(std::mem::replace(current, report));
            true
        });
        before
    }

    pub(crate) fn watch(&self) -> watch::Receiver<StatusReport> {
        self.0.subscribe()
    }
}
