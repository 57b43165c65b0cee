//! What a connector says of a row.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What became of one row of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target confirmed the row.
    Ok,
    /// Not settled: send it again, not before `after` if the target said so.
    Retry {
        /// Why it is not settled.
        reason: Reason,
        /// Pause that the target asked for.
        after: Option<Duration>,
    },
    /// The row is at fault; sending it again cannot help. Needs evidence: the target understood the row and refused
    /// it, or the request cannot be built.
    Reject(Reason),
}

impl Outcome {
    /// A retry without a pause of the target's choice.
    pub fn retry(reason: Reason) -> Self {
        Self::Retry { reason, after: None }
    }

    /// A retry of a row that was not tried, because an earlier one has to be settled first. It is no attempt.
    pub fn not_sent(message: impl Into<String>, after: Option<Duration>) -> Self {
        Self::Retry {
            reason: Reason { kind: ReasonKind::NotSent, code: None, message: message.into() },
            after,
        }
    }

    /// Tells whether the row was not tried at all.
    pub fn is_not_sent(&self) -> bool {
        matches!(self, Self::Retry { reason, .. } if reason.kind == ReasonKind::NotSent)
    }

    /// The same outcome for `rows` rows.
    pub fn for_all(outcome: &Self, rows: usize) -> Vec<Self> {
        vec![outcome.clone(); rows]
    }
}

/// Where a reason comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// Refused, reset, closed, timed out, not ready: anything that smells of transport.
    Transport,
    /// The target answered: busy, later, or no.
    Target,
    /// The request could not be built from the row.
    Render,
    /// A fault inside the connector.
    Internal,
    /// Nothing happened yet: the row waits for an earlier one.
    NotSent,
}

/// Why a row was not delivered, for counters, fallbacks and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Where it comes from.
    pub kind: ReasonKind,
    /// The target's code: an HTTP status, an SQLSTATE, an error number.
    pub code: Option<Cow<'static, str>>,
    /// A sentence without secrets, lower case, no full stop.
    pub message: String,
}

impl Reason {
    /// Makes a reason of the transport.
    pub fn transport(message: impl Into<String>) -> Self {
        Self { kind: ReasonKind::Transport, code: None, message: message.into() }
    }

    /// Makes a reason from the target's answer.
    pub fn target(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { kind: ReasonKind::Target, code: Some(code.into()), message: message.into() }
    }

    /// Makes a reason for a request that cannot be built.
    pub fn render(message: impl Into<String>) -> Self {
        Self { kind: ReasonKind::Render, code: None, message: message.into() }
    }

    /// Makes a reason for a fault of our own.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { kind: ReasonKind::Internal, code: None, message: message.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
