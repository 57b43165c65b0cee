//! Fallback actions: where rows go that an action failed or dropped.

use std::sync::Arc;

use engine_event::{Map, Text, Value};
use tokio::time::Instant;

use super::{ActionRuntime, ActionSlot, RowOrigin};
use crate::lane::{End, Ended, StopReason};
use crate::object::republish::RepublishArgs;
use crate::rule::republish::{Source, republish};
use crate::services::Services;

/// Where rows go that an action failed or dropped. One level only.
#[derive(Debug)]
pub(crate) enum Fallback {
    Action(Arc<ActionSlot>),
    Republish(Box<RepublishArgs>),
}

/// Name of the reserved map in the rows of a fallback action.
const RESERVED: &str = "fallback";

/// Gives a row to every fallback, each independently of the others.
pub(super) fn run(failed: &ActionRuntime, fallbacks: &[Fallback], ended: &Ended, now: Instant) {
    let services = failed.services();
    let mut row = ended.row.delivery.row.clone();
    row.insert(RESERVED, describe(services, failed.id(), ended, now));
    for fallback in fallbacks {
        match fallback {
            Fallback::Action(slot) => {
                // a missing or disabled fallback is skipped
                if let Some(action) = slot.action().filter(|action| action.is_enabled()) {
                    let tag = &ended.row.tag;
                    let delivery = &ended.row.delivery;
                    let origin = RowOrigin {
                        rule_id: &delivery.rule_id,
                        credit: None,
                        key: delivery.key.as_ref(),
                        key_hash: tag.key_hash,
                        origin: tag.origin,
                        first_index: tag.index,
                        // another row than the one that the rule itself may give to that action
                        id_seed: super::offer::id_seed([&*delivery.rule_id, failed.id(), action.id()]),
                        hops: tag.hops,
                        completion: None,
                    };
                    action.offer(std::slice::from_ref(&row), &origin, now);
                }
            }
            Fallback::Republish(args) => {
                let rule_id = Text::from(&*ended.row.delivery.rule_id);
                let source =
                    Source { rule_id: &rule_id, hops: ended.row.tag.hops, republished_by: None, event: None };
                if let Err(error) = republish(services, args, &row, &source) {
                    failed.log_fallback_failure(&error);
                }
            }
        }
    }
}

fn describe(services: &Services, action_id: &str, ended: &Ended, now: Instant) -> Map {
    let delivery = &ended.row.delivery;
    let age = now.saturating_duration_since(ended.row.tag.enqueued);
    let first_seen = services.clock.now_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let error = ended.row.tag.error.as_deref();
    let code = error.and_then(|error| error.code.as_deref());
    [
        ("action", Value::from(action_id)),
        ("reason", Value::text(reason_name(ended.end))),
        ("error", error.map_or(Value::Null, |error| Value::from(error.message.as_str()))),
        ("code", code.map_or(Value::Null, |code| Value::Text(Text::from(code)))),
        ("attempts", Value::from(delivery.attempts)),
        ("first_seen", Value::Int(first_seen)),
        ("batch_index", ended.batch_index.map_or(Value::Null, |index| Value::from(index as u64))),
    ]
    .into_iter()
    .collect()
}

/// The word for the reason in `${fallback.reason}` and in log lines.
pub(super) const fn reason_name(end: End) -> &'static str {
    match end {
        End::Success => "success",
        End::Rejected => "rejected",
        End::GaveUp => "max_retries",
        End::Expired => "expired",
        End::LateReply => "late_reply",
        End::QueueFull => "queue_full",
        End::Stopped(StopReason::ResourceStopped) => "resource_stopped",
        End::Stopped(StopReason::ResourceNotFound) => "resource_not_found",
    }
}
