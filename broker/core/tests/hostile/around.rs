//! What surrounds the broker: rules that take their time, a slow disk, judges, and the mail between connections.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use broker_codec::ReasonCode;
use broker_core::{
    Action, Authenticator, Authorizer, CloseReason, ConnectionKey, Identity, Journal, Judgement, Login,
    Outlets, Progress, Record, Refusal, Requester, Settled, Verdict,
};
use engine_event::{Completion, Event, EventKind, EventTap, Interest, RuleSlot};

use crate::packets::FORBIDDEN;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

/// What the broker wants of connections.
#[derive(Default)]
pub(crate) struct Mailbox(Mutex<Mail>);

#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) flush: Vec<ConnectionKey>,
    pub(crate) close: Vec<(ConnectionKey, CloseReason)>,
    pub(crate) settled: Vec<(ConnectionKey, u64, Settled)>,
    pub(crate) committed: bool,
}

impl Mail {
    pub(crate) fn is_empty(&self) -> bool {
        self.flush.is_empty() && self.close.is_empty() && self.settled.is_empty() && !self.committed
    }
}

impl Mailbox {
    pub(crate) fn take(&self) -> Mail {
        std::mem::take(&mut lock(&self.0))
    }
}

impl Outlets for Mailbox {
    fn flush(&self, connections: &[ConnectionKey]) {
        lock(&self.0).flush.extend_from_slice(connections);
    }

    fn close(&self, connection: ConnectionKey, reason: CloseReason) {
        lock(&self.0).close.push((connection, reason));
    }

    fn committed(&self, _worker: Option<u16>) {
        lock(&self.0).committed = true;
    }

    fn settled(&self, connection: ConnectionKey, ack: u64, settled: Settled) {
        lock(&self.0).settled.push((connection, ack, settled));
    }
}

/// Rules that hold what they are given until they are told to let go.
#[derive(Default)]
pub(crate) struct SlowRules {
    interest: AtomicU32,
    held: Mutex<Vec<Completion>>,
}

impl SlowRules {
    pub(crate) fn with_interest(bits: u32) -> Self {
        Self { interest: AtomicU32::new(bits), held: Mutex::default() }
    }

    /// Lets go of up to so many, the first that came first; some as failed.
    pub(crate) fn settle(&self, count: usize, fails: bool) {
        let mut held = lock(&self.held);
        let count = count.min(held.len());
        let settled: Vec<_> = held.drain(..count).collect();
        drop(held);
        if fails {
            settled.iter().for_each(Completion::fail);
        }
    }
}

impl EventTap for SlowRules {
    fn interest(&self) -> Interest {
        Interest::from_bits(self.interest.load(Ordering::Relaxed))
    }

    fn published(&self, _rules: &[RuleSlot], _event: Event, completion: Option<Completion>) {
        lock(&self.held).extend(completion);
    }

    fn happened(&self, _kind: EventKind, _event: Event) {}
}

type Done = Box<dyn FnOnce(bool) + Send>;

/// A disk that is asked to write and does so later, or fails to.
#[derive(Default)]
pub(crate) struct SlowDisk {
    appended: AtomicU64,
    committed: AtomicU64,
    failed: AtomicU64,
    is_full: AtomicBool,
    waiting: Mutex<Vec<Done>>,
}

impl SlowDisk {
    /// Commits all that was appended.
    pub(crate) fn commit_all(&self) {
        self.committed.store(self.appended.load(Ordering::Relaxed), Ordering::Relaxed);
        self.tell(true);
    }

    /// Loses all that was appended and not committed.
    pub(crate) fn fail_all(&self) {
        self.failed.store(self.appended.load(Ordering::Relaxed), Ordering::Relaxed);
        self.tell(false);
    }

    /// Takes nothing new any more, or does again.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    fn tell(&self, is_committed: bool) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(|done| done(is_committed));
    }
}

impl Journal for SlowDisk {
    fn admits(&self, _bytes: usize) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    fn append(&self, _record: &Record<'_>) -> u64 {
        self.appended.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn commit(&self, done: Done) {
        lock(&self.waiting).push(done);
    }

    fn is_congested(&self) -> bool {
        lock(&self.waiting).len() > 100
    }

    fn progress(&self) -> Progress {
        Progress {
            committed: self.committed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// Says yes or no, at once or later, as the user name wants it.
pub(crate) struct Judge;

impl Authenticator for Judge {
    fn authenticate(&self, login: &Login<'_>) -> Judgement {
        let refusal = Refusal { code: ReasonCode::BAD_USER_NAME_OR_PASSWORD, reason: "no" };
        match login.username {
            Some("later") => Judgement::Later(Box::pin(std::future::ready(Ok(Identity::default())))),
            Some("never later") => Judgement::Later(Box::pin(std::future::ready(Err(refusal)))),
            Some("never") => Judgement::Now(Err(refusal)),
            _ => Judgement::Now(Ok(Identity { is_anonymous: true, ..Identity::default() })),
        }
    }
}

/// Forbids one topic.
pub(crate) struct Forbids;

impl Authorizer for Forbids {
    fn authorize(&self, _client: &Requester<'_>, action: Action<'_>) -> Verdict {
        let (Action::Publish { topic: name, .. } | Action::Subscribe { filter: name, .. }) = action;
        if name == FORBIDDEN { Verdict::Deny } else { Verdict::Allow }
    }
}

/// What belongs to one broker.
pub(crate) struct Around {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) rules: Arc<SlowRules>,
    pub(crate) disk: Option<Arc<SlowDisk>>,
    /// The disk fails now and then: nobody is promised anything.
    pub(crate) disk_fails: bool,
}
