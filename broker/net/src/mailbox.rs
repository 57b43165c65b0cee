//! What other threads want from a worker.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use broker_core::{CloseReason, ConnectionKey, Endpoints, Outlets};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::listener::{Listener, Listening, Ticket};

/// The mailboxes of all workers.
#[derive(Debug)]
pub(crate) struct Mailboxes(Box<[Mailbox]>);

/// What other threads have put down for one worker.
///
/// Bounded by what exists: a connection is named once until it is flushed, is closed once, and has at most its Receive
/// Maximum of acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

/// The contents of a mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) flush: Vec<ConnectionKey>,
    pub(crate) close: Vec<(ConnectionKey, CloseReason)>,
    pub(crate) settled: Vec<(ConnectionKey, u64, Settled)>,
    /// The journal has moved.
    pub(crate) committed: bool,
    pub(crate) sockets: Vec<Accepted>,
    pub(crate) listening: Vec<Listening>,
    /// Listeners whose clients are dropped.
    pub(crate) dropped: Vec<Arc<Listener>>,
    pub(crate) stop: Option<Stop>,
}

pub(crate) type Settled = broker_core::Settled;

/// A socket on its way from the listener to its worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: TcpStream,
    pub(crate) endpoints: Endpoints,
    pub(crate) ticket: Ticket,
    /// A place among the handshakes under way.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// The order to stop.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) grace: Duration,
    pub(crate) done: oneshot::Sender<()>,
}

impl Mailboxes {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Mailbox::default()).collect()))
    }

    pub(crate) fn of(&self, worker: u16) -> &Mailbox {
        &self.0[usize::from(worker)]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Mailbox {
    /// Puts something down, and wakes the worker unless it has been woken.
    pub(crate) fn put(&self, put: impl FnOnce(&mut Mail)) {
        put(&mut self.mail.lock());
        self.arrived.notify_one();
    }

    /// Waits for mail and takes it.
    pub(crate) async fn take(&self) -> Mail {
        self.arrived.notified().await;
        std::mem::take(&mut *self.mail.lock())
    }
}

impl Outlets for Mailboxes {
    fn flush(&self, connections: &[ConnectionKey]) {
        for (worker, mailbox) in self.0.iter().enumerate() {
            let mut own = connections.iter().filter(|key| usize::from(key.worker) == worker).peekable();
            if own.peek().is_some() {
                mailbox.put(|mail| mail.flush.extend(own));
            }
        }
    }

    fn close(&self, connection: ConnectionKey, reason: CloseReason) {
        self.of(connection.worker).put(|mail| mail.close.push((connection, reason)));
    }

    fn committed(&self, worker: Option<u16>) {
        let (first, count) = worker.map_or((0, self.0.len()), |worker| (usize::from(worker), 1));
        for mailbox in self.0.iter().skip(first).take(count) {
            mailbox.put(|mail| mail.committed = true);
        }
    }

    fn settled(&self, connection: ConnectionKey, ack: u64, settled: Settled) {
        self.of(connection.worker).put(|mail| mail.settled.push((connection, ack, settled)));
    }
}
