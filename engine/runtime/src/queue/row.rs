//! A row on its way through a lane.

use std::sync::Arc;

use connectors_api::{Delivery, Reason};
use engine_event::{Completion, Text};
use tokio::time::Instant;

use crate::metrics::RuleCounters;

/// A row with what the lane has to know of it.
#[derive(Debug)]
pub(crate) struct QueuedRow {
    /// What the connector sees. The delivery id is filled in when the row is leased for the first time.
    pub(crate) delivery: Delivery,
    pub(crate) tag: RowTag,
}

/// What the lane has to know of a row.
#[derive(Debug)]
pub(crate) struct RowTag {
    /// Hash of the key whose rows stay in order; 0 for a row without one.
    pub(crate) key_hash: u64,
    /// Estimated size in memory.
    pub(crate) bytes: u64,
    pub(crate) enqueued: Instant,
    /// None: lives for ever.
    pub(crate) deadline: Option<Instant>,
    /// The message or event that the row comes from.
    pub(crate) origin: u128,
    /// Number of the row among those of its rule and event.
    pub(crate) index: u32,
    /// Stable hash of the rule's and the action's id.
    pub(crate) id_seed: u64,
    /// How many rules republished the message before.
    pub(crate) hops: u8,
    /// Send it in a batch of its own: the last batch it was in ended in a fault of the connector.
    pub(crate) alone: bool,
    /// Counters of the rule; none for a row that came as a fallback.
    pub(crate) credit: Option<Arc<RuleCounters>>,
    pub(crate) obligation: Obligation,
    /// Why the last attempt did not settle it.
    pub(crate) error: Option<Arc<Reason>>,
}

impl QueuedRow {
    /// Fills in the delivery id: the same for every attempt, and for no other row of this action.
    pub(crate) fn identify(&mut self) {
        if self.delivery.delivery_id.is_empty() {
            self.delivery.delivery_id = delivery_id(self.tag.origin, self.tag.id_seed, self.tag.index);
        }
    }

    /// Tells whether the row's time to live has run out.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.tag.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// `<origin>-<seed>-<index>` in hexadecimal digits.
fn delivery_id(origin: u128, seed: u64, index: u32) -> Text {
    let mut text = Vec::with_capacity(58);
    push_hex(&mut text, origin, 32);
    text.push(b'-');
    push_hex(&mut text, u128::from(seed), 16);
    text.push(b'-');
    let digits = (32 - index.leading_zeros()).div_ceil(4).max(1);
    push_hex(&mut text, u128::from(index), digits);
    Text::from(text)
}

fn push_hex(text: &mut Vec<u8>, number: u128, digits: u32) {
    for digit in (0..digits).rev() {
        let nibble = (number >> (digit * 4)) as u8 & 0xF;
        text.push(if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 });
    }
}

/// A row's share of a message's acknowledgement. Unless the row is confirmed, dropping it is a failure.
#[derive(Debug, Default)]
pub(crate) struct Obligation(Option<Completion>);

impl Obligation {
    pub(crate) fn new(completion: Option<Completion>) -> Self {
        Self(completion)
    }

    /// The row is safe.
    pub(crate) fn confirm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Obligation {
    fn drop(&mut self) {
        if let Some(completion) = &self.0 {
            completion.fail();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use engine_event::Settled;

    use super::*;

    #[test]
    fn delivery_ids_name_the_message_the_rule_with_its_action_and_the_row() {
        let id = delivery_id(0xAB, 0x1F, 17);
        assert_eq!(id, "000000000000000000000000000000AB-000000000000001F-11");
        assert_eq!(delivery_id(0, 0, 0), "00000000000000000000000000000000-0000000000000000-0");
    }

    #[test]
    fn a_row_that_is_lost_fails_its_message() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let completion = || {
            let seen = Arc::clone(&seen);
            Completion::new(move |settled| seen.lock().unwrap().push(settled))
        };
        drop(Obligation::new(Some(completion())));
        let mut kept = Obligation::new(Some(completion()));
        kept.confirm();
        drop(kept);
        assert_eq!(*seen.lock().unwrap(), [Settled::Failed, Settled::Ok]);
    }
}
