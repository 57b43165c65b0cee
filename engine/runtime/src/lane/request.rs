//! One request: a batch on its way, and its answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use connectors_api::{Channel, Delivery, Outcome, Reason};
use futures::FutureExt as _;
use tokio::time::Instant;

use super::gate::Permit;
use crate::queue::{QueuedRow, RowTag, Sequence};

/// Longest time that one attempt may take, however long its rows live.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);

/// What a connector may take beyond the deadline before it is cut off.
const GRACE: Duration = Duration::from_secs(1);

/// The answer to a request: one outcome for each row.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) rows: Vec<(Sequence, QueuedRow)>,
    pub(super) outcomes: Vec<Outcome>,
    /// The connector panicked or broke its contract: any of the rows may be the cause.
    pub(super) fault: bool,
    pub(super) permit: Permit,
}

/// What an answer says about the target.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It took a row or refused one.
    Alive,
    /// Every row has to be sent again; the pause that it asked for.
    Down(Option<Duration>),
    /// Nothing: the connector is at fault.
    Unknown,
}

impl Answer {
    pub(super) fn verdict(&self) -> Verdict {
        if self.fault {
            return Verdict::Unknown;
        }
        let mut longest = None;
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Retry { after, .. } => longest = longest.max(*after),
                Outcome::Ok | Outcome::Reject(_) => return Verdict::Alive,
            }
        }
        Verdict::Down(longest)
    }
}

/// Sends a batch and waits for the answer. A panic, a wrong number of outcomes and silence are retries.
pub(super) async fn send(
    channel: Arc<dyn Channel>,
    rows: Vec<(Sequence, QueuedRow)>,
    permit: Permit,
    now: Instant,
) -> Answer {
    let deadline = deadline_of(&rows, now);
    let mut places: Vec<(Sequence, RowTag)> = Vec::with_capacity(rows.len());
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(rows.len());
    for (at, row) in rows {
        places.push((at, row.tag));
        deliveries.push(row.delivery);
    }
    let attempt = AssertUnwindSafe(channel.deliver(&deliveries, deadline.into_std())).catch_unwind();
    let (outcomes, fault) = match tokio::time::timeout_at(deadline + GRACE, attempt).await {
        Ok(Ok(outcomes)) if outcomes.len() == deliveries.len() => (outcomes, false),
        Ok(Ok(outcomes)) => {
            let message = format!("{} outcomes for {} rows", outcomes.len(), deliveries.len());
            (retry_all(&Reason::internal(message), deliveries.len()), true)
        }
        Ok(Err(panic)) => (retry_all(&Reason::internal(panic_text(&*panic)), deliveries.len()), true),
        Err(_) => (retry_all(&Reason::transport("no answer by the deadline"), deliveries.len()), false),
    };
    let rows =
        places.into_iter().zip(deliveries).map(|((at, tag), delivery)| (at, QueuedRow { delivery, tag }));
    Answer { rows: rows.collect(), outcomes, fault, permit }
}

/// The time by which the youngest row has to be answered for.
fn deadline_of(rows: &[(Sequence, QueuedRow)], now: Instant) -> Instant {
    let latest = now + ATTEMPT_MAX;
    let youngest = rows.iter().map(|(_, row)| row.tag.deadline.unwrap_or(latest)).max();
    youngest.map_or(latest, |youngest| youngest.min(latest))
}

fn retry_all(reason: &Reason, rows: usize) -> Vec<Outcome> {
    Outcome::for_all(&Outcome::retry(reason.clone()), rows)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the connector panicked: {}", text.unwrap_or("no message"))
}
