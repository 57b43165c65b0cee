//! When memory is short: nobody new is let in, who publishes what has to be kept is paused, and in the end those who owe
//! most are disconnected.
//!
//! How much memory there is, and how much is in use, is for others to know: see [`Broker::set_overloaded`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use broker_codec::Connect;
use engine_event::Text;

use crate::broker::Broker;
use crate::context::ConnectionKey;
use crate::reason::CloseReason;
use crate::session::Session;

/// Whether memory is short.
#[derive(Debug, Default)]
pub(crate) struct Overload {
    is_short: AtomicBool,
    give_back: OnceLock<fn()>,
}

/// What is kept in memory for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Whose it is.
    pub client_id: Text,
    /// Bytes of messages that wait or are under way, and of its connection.
    pub bytes: usize,
    /// Those of them that the end of its connection sets free.
    pub freed_bytes: usize,
}

/// Who has less than this is left alone: it would not help.
const WORTH_BYTES: usize = 64 * 1024;

/// Connections ended in one go, before memory is looked at again.
const SHED_MAX: usize = 64;

impl Broker {
    /// Says whether memory is short. Who owns the sockets then pauses clients whose messages have to be kept.
    #[inline]
    pub fn is_overloaded(&self) -> bool {
        self.overload.is_short.load(Ordering::Relaxed)
    }

    /// Notes that memory is short, or that there is enough again. While it is, new clients are refused.
    pub fn set_overloaded(&self, is_overloaded: bool) {
        self.overload.is_short.store(is_overloaded, Ordering::Relaxed);
    }

    /// Sets how a thread gives the system back what it has freed. The first call counts.
    pub fn set_give_back(&self, give_back: fn()) {
        let _ = self.overload.give_back.set(give_back);
    }

    /// Gives the system back what this thread has freed, as far as its allocator has kept it. Each thread that handles
    /// messages calls it about every second while memory is short: else what has become free stays in use.
    pub fn give_back_memory(&self) {
        if let Some(give_back) = self.overload.give_back.get() {
            give_back();
        }
    }

    /// Says whether a CONNECT is one too many. A client that has a session may come and fetch what waits in it.
    pub(crate) fn is_too_much(&self, connect: &Connect) -> bool {
        self.is_overloaded() && self.registry.get(&connect.client_id).is_none()
    }

    /// Returns the clients for whom most is kept in memory, the largest first. Looks at every session.
    pub fn largest_holdings(&self, limit: usize) -> Vec<Holding> {
        let mut holdings: Vec<Holding> = self
            .registry
            .all()
            .iter()
            .map(|session| holding(session).0)
            .filter(|one| one.bytes > 0)
            .collect();
        holdings.sort_unstable_by_key(|holding| std::cmp::Reverse(holding.bytes));
        holdings.truncate(limit);
        holdings
    }

    /// Ends the connections whose ends set most memory free, the largest first, until about `bytes` are; returns whose
    /// they were. Looks at every session.
    ///
    /// What waits in a session that outlives its connection stays, and so those connections do too.
    pub fn shed(&self, bytes: usize) -> Vec<Holding> {
        let Some(outlets) = self.outlets() else { return Vec::new() };
        let mut holdings: Vec<(Holding, ConnectionKey)> = Vec::new();
        for session in self.registry.all() {
            if let (holding, Some(connection)) = holding(&session)
                && holding.freed_bytes >= WORTH_BYTES
            {
                holdings.push((holding, connection));
            }
        }
        holdings.sort_unstable_by_key(|(holding, _)| std::cmp::Reverse(holding.freed_bytes));
        let mut ended = Vec::new();
        let mut freed = 0;
        for (holding, connection) in holdings.into_iter().take(SHED_MAX) {
            if freed >= bytes {
                break;
            }
            freed += holding.freed_bytes;
            outlets.close(connection, CloseReason::Overload);
            ended.push(holding);
        }
        ended
    }
}

/// Adds up what is kept for a session; returns its connection too.
fn holding(session: &Arc<Session>) -> (Holding, Option<ConnectionKey>) {
    let buffered = session.traffic().buffered_bytes.load(Ordering::Relaxed) as usize;
    let state = session.state();
    let messages = state.queue.bytes() + state.inflight.bytes();
    let freed_bytes = if state.expiry_interval_s == 0 { messages + buffered } else { buffered };
    let holding = Holding { client_id: session.client_id().clone(), bytes: messages + buffered, freed_bytes };
    (holding, state.live.as_ref().map(|live| live.outlet))
}
