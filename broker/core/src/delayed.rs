//! Messages that are published later: `$delayed/<seconds>/<topic>`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::Publish;
use engine_event::{EventKind, Map, Text};
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::context::Context;
use crate::metrics::Metric;
use crate::publishing::{Origin, Will};

/// What the topics of delayed messages begin with.
pub(crate) const PREFIX: &str = "$delayed/";

/// From this number on, seconds are Unix time, not from now.
const UNIX_TIME_FROM_S: i64 = 42_949_670;

/// Messages released in one turn: very many may be due at once.
const RELEASED_MAX: usize = 4096;

/// What a topic asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delay<'a> {
    pub(crate) due_ms: i64,
    pub(crate) topic: &'a str,
}

/// Reads `$delayed/<seconds>/<topic>`; none when it is not written like that.
pub(crate) fn parse(topic: &str, now_ms: i64) -> Option<Delay<'_>> {
    let (number, topic) = topic.strip_prefix(PREFIX)?.split_once('/')?;
    if topic.is_empty() || topic.starts_with(PREFIX) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = number.parse().ok()?;
    let given_ms = seconds.checked_mul(1000)?;
    let due_ms = if seconds < UNIX_TIME_FROM_S { now_ms.checked_add(given_ms)? } else { given_ms };
    Some(Delay { due_ms, topic })
}

/// The limits of what waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DelayedLimits {
    /// 0 is no limit.
    pub(crate) max_len: usize,
    pub(crate) max_bytes: usize,
}

/// There is no room for another message.
#[derive(Debug)]
pub(crate) struct Full;

/// The messages that wait for their time, in its order. In memory: what is to outlive a restart takes this one's place.
#[derive(Debug, Default)]
pub(crate) struct DelayedStore(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_time: BTreeMap<(i64, u128), Arc<Waiting>>,
    bytes: usize,
    max_len: usize,
}

/// A message that waits for its time.
#[derive(Debug)]
pub(crate) struct Waiting {
    publish: Publish,
    client_id: Text,
    username: Option<Text>,
    peer: Option<SocketAddr>,
    session: u64,
    attributes: Map,
    hops: u8,
    republished_by: Option<Text>,
    runs_rules: bool,
    accepted_at_ms: i64,
    id: u128,
}

impl DelayedStore {
    fn put(&self, due_ms: i64, waiting: Waiting, limits: DelayedLimits) -> Result<(), Full> {
        let mut entries = self.0.lock();
        let bytes = entries.bytes.saturating_add(waiting.publish.frame_len());
        if limits.max_len > 0 && entries.by_time.len() >= limits.max_len || bytes > limits.max_bytes {
            return Err(Full);
        }
        entries.bytes = bytes;
        entries.by_time.insert((due_ms, waiting.id), Arc::new(waiting));
        entries.max_len = entries.max_len.max(entries.by_time.len());
        Ok(())
    }

    fn take_due(&self, now_ms: i64) -> Vec<Arc<Waiting>> {
        let mut entries = self.0.lock();
        let mut due = Vec::new();
        while due.len() < RELEASED_MAX
            && let Some(entry) = entries.by_time.first_entry()
            && entry.key().0 <= now_ms
        {
            let waiting = entry.remove();
            entries.bytes -= waiting.publish.frame_len();
            due.push(waiting);
        }
        due
    }

    fn remove(&self, id: u128) -> bool {
        let mut entries = self.0.lock();
        let Some(key) = entries.by_time.keys().find(|key| key.1 == id).copied() else { return false };
        if let Some(removed) = entries.by_time.remove(&key) {
            entries.bytes -= removed.publish.frame_len();
        }
        true
    }

    fn list(&self, limit: usize) -> Vec<(i64, Arc<Waiting>)> {
        let entries = self.0.lock();
        entries.by_time.iter().take(limit).map(|(key, waiting)| (key.0, Arc::clone(waiting))).collect()
    }

    /// Returns how many messages wait, and the most that there have been.
    pub(crate) fn len(&self) -> (usize, usize) {
        let entries = self.0.lock();
        (entries.by_time.len(), entries.max_len)
    }
}

/// A message that waits for its time, for operators.
#[derive(Debug, Clone)]
pub struct DelayedInfo {
    /// The message id.
    pub id: u128,
    /// The message, with the topic that it will be published to.
    pub publish: Publish,
    /// Who published it.
    pub client_id: Text,
    /// User name of the publisher.
    pub username: Option<Text>,
    /// When it was accepted, Unix milliseconds.
    pub accepted_at_ms: i64,
    /// When it is published, Unix milliseconds.
    pub due_ms: i64,
}

impl Broker {
    /// Keeps a message, whose topic no longer says so, until its time has come; returns its id.
    pub(crate) fn delay(
        &self,
        publish: Publish,
        due_ms: i64,
        origin: &Origin<'_>,
        context: &Context,
    ) -> Result<u128, Full> {
        let config = self.config();
        let limits =
            DelayedLimits { max_len: config.max_delayed_messages, max_bytes: config.max_delayed_bytes };
        let id = origin.message_id.unwrap_or_else(|| self.next_message_id(context.now_ms()));
        let waiting = Waiting {
            publish,
            client_id: origin.client_id.clone(),
            username: origin.username.cloned(),
            peer: origin.peer,
            session: origin.session,
            attributes: origin.attributes.clone(),
            hops: origin.hops,
            republished_by: origin.republished_by.cloned(),
            runs_rules: origin.runs_rules,
            accepted_at_ms: context.now_ms(),
            id,
        };
        self.delayed.put(due_ms, waiting, limits)?;
        context.count(Metric::MessagesDelayed, 1);
        context.note_stays();
        Ok(id)
    }

    /// Publishes the messages whose time has come.
    pub(crate) fn release_delayed(&self, context: &mut Context) {
        for waiting in self.delayed.take_due(context.now_ms()) {
            let origin = Origin {
                client_id: &waiting.client_id,
                username: waiting.username.as_ref(),
                peer: waiting.peer,
                session: waiting.session,
                attributes: &waiting.attributes,
                hops: waiting.hops,
                republished_by: waiting.republished_by.as_ref(),
                runs_rules: waiting.runs_rules,
                message_id: Some(waiting.id),
                accepted_at_ms: Some(waiting.accepted_at_ms),
            };
            let expires_at_ms = self.expires_at_ms(&waiting.publish, waiting.accepted_at_ms);
            if expires_at_ms > context.now_ms() {
                // one that cannot be stored is lost with those that wait in memory
                let _ = self.publish_inside(waiting.publish.clone(), &origin, Will::Not, context);
                continue;
            }
            context.count(Metric::MessagesDropped, 1);
            context.count(Metric::MessagesDroppedExpired, 1);
            self.count_topic_dropped(waiting.publish.topic());
            if context.wants(EventKind::MessageDropped) {
                self.tell_message_dropped(&waiting.publish, &origin, "expired", context);
            }
        }
    }

    /// Returns the messages that wait for their time, at most `limit`, the next ones first.
    pub fn delayed_messages(&self, limit: usize) -> Vec<DelayedInfo> {
        let list = self.delayed.list(limit).into_iter();
        list.map(|(due_ms, waiting)| DelayedInfo {
            id: waiting.id,
            publish: waiting.publish.clone(),
            client_id: waiting.client_id.clone(),
            username: waiting.username.clone(),
            accepted_at_ms: waiting.accepted_at_ms,
            due_ms,
        })
        .collect()
    }

    /// Forgets a message that waits for its time, and says whether there was one.
    pub fn delete_delayed(&self, id: u128) -> bool {
        self.delayed.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_as_clients_write_them() {
        const NOW: i64 = 1_000_000;
        for (topic, want) in [
            ("$delayed/5/a/b", Some((NOW + 5000, "a/b"))),
            ("$delayed/0/a", Some((NOW, "a"))),
            ("$delayed/5//", Some((NOW + 5000, "/"))),
            ("$delayed/42949669/a", Some((NOW + 42_949_669_000, "a"))),
            ("$delayed/42949670/a", Some((42_949_670_000, "a"))),
            ("$delayed/1764120600/a", Some((1_764_120_600_000, "a"))),
            ("$delayed/5", None),
            ("$delayed/5/", None),
            ("$delayed//a", None),
            ("$delayed/-5/a", None),
            ("$delayed/+5/a", None),
            ("$delayed/1.5/a", None),
            ("$delayed/x/a", None),
            ("$delayed/99999999999999999999/a", None),
            ("$delayed/9223372036854775807/a", None),
            ("$delayed/1/$delayed/2/a", None),
        ] {
            let got = parse(topic, NOW).map(|delay| (delay.due_ms, delay.topic));
            assert_eq!(got, want, "{topic}");
        }
    }
}
