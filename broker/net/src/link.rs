//! One connection on its worker: reading, writing, lingering.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker_codec::Decoder;
use broker_core::{CloseReason, Connection, ConnectionKey, Outgoing};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::listener::{Listener, Ticket};
use crate::quota::Throttle;
use crate::stream::{Writer, Written};

/// A connection and its socket.
pub(crate) struct Link {
    pub(crate) key: ConnectionKey,
    pub(crate) writer: Writer,
    pub(crate) state: RefCell<LinkState>,
    /// The tick of the last packet.
    pub(crate) last_seen: Cell<u32>,
    /// Ticks without a packet after which the connection ends; 0 for never.
    pub(crate) silence_limit: Cell<u32>,
    /// The task that reads.
    pub(crate) reading: Cell<Option<AbortHandle>>,
    /// Wakes that task when it is paused and there may be room again.
    room: Notify,
    ticket: Ticket,
}

/// What changes with every packet.
pub(crate) struct LinkState {
    pub(crate) connection: Connection,
    pub(crate) decoder: Decoder,
    /// What could not be written yet.
    pub(crate) out: Outgoing,
    /// The start of a packet whose rest is still to come.
    pub(crate) tail: Vec<u8>,
    /// How many bytes the packet in `tail` needs before it is worth looking at again.
    pub(crate) needed: usize,
    /// In the list of those to be flushed.
    pub(crate) listed: bool,
    /// In the list of those whose acknowledgements are held back.
    pub(crate) holds_acks: bool,
    /// In the list of those that wait for the journal.
    pub(crate) waits_for_journal: bool,
    /// The task that waits until the socket takes more.
    pub(crate) draining: Option<AbortHandle>,
    /// The bytes that were left in `out` when the socket took no more.
    pub(crate) blocked_len: usize,
    /// Bytes of answers that wait for a socket which takes nothing, before nothing more is read from it.
    high_watermark: usize,
    /// What the client pays for its messages with, if there is a limit.
    pub(crate) throttle: Option<Box<Throttle>>,
    /// It has published what is kept while memory is short, and waits until it no longer is.
    pub(crate) held_up: bool,
    /// Nothing is read for now.
    pub(crate) paused: bool,
    pub(crate) closed: bool,
}

/// Bytes of answers that are gathered before they are written.
const ANSWERS_MAX: usize = 64 * 1024;

impl LinkState {
    /// Says whether nothing more should be handled for now, because of what waits for the client or for rules.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.draining.is_some() && self.answers_len() > self.high_watermark || self.connection.is_saturated()
    }

    /// Says whether many answers are to be written now.
    #[inline]
    pub(crate) fn has_many_answers(&self) -> bool {
        self.answers_len() > ANSWERS_MAX && self.draining.is_none()
    }

    /// Returns the bytes in `out` beyond the messages that were there when the socket took no more.
    #[inline]
    fn answers_len(&self) -> usize {
        self.out.len().saturating_sub(self.blocked_len)
    }

    /// Says whether the client is paused until rules have settled, or its quota or memory allows more.
    pub(crate) fn waits_for_us(&self) -> bool {
        self.paused && (self.connection.is_saturated() || self.is_throttled())
    }

    /// Returns the bytes that wait here, in both directions.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.out.len() + self.tail.capacity()
    }

    /// Says whether the client was too fast, or published too much while memory is short.
    fn is_throttled(&self) -> bool {
        self.held_up || self.throttle.as_ref().is_some_and(|throttle| throttle.waits())
    }
}

impl Link {
    pub(crate) fn new(
        key: ConnectionKey,
        writer: Writer,
        connection: Connection,
        decoder: Decoder,
        throttle: Option<Box<Throttle>>,
        ticket: Ticket,
    ) -> Rc<Self> {
        Rc::new(Self {
            key,
            writer,
            state: RefCell::new(LinkState {
                connection,
                decoder,
                out: Outgoing::default(),
                tail: Vec::new(),
                needed: 0,
                listed: false,
                holds_acks: false,
                waits_for_journal: false,
                draining: None,
                blocked_len: 0,
                high_watermark: ticket.listener().settings().config.tcp.high_watermark,
                throttle,
                held_up: false,
                paused: false,
                closed: false,
            }),
            last_seen: Cell::new(0),
            silence_limit: Cell::new(0),
            reading: Cell::new(None),
            room: Notify::new(),
            ticket,
        })
    }

    /// Waits until what the client has sent may be handled again.
    pub(crate) async fn paused(&self) {
        loop {
            {
                let mut state = self.state.borrow_mut();
                state.paused = !state.closed && (state.is_full() || state.is_throttled());
                if !state.paused {
                    return;
                }
            }
            self.room.notified().await;
        }
    }

    /// Has a paused reader look whether there is room again.
    pub(crate) fn wake_reader(&self) {
        if self.state.borrow().paused {
            self.room.notify_one();
        }
    }

    /// Waits until the socket takes more. Gives a reason to end the connection when that is not to be: it is broken, or
    /// took nothing for longer than its listener allows.
    pub(crate) async fn writable(&self) -> Result<(), CloseReason> {
        let writable = self.writer.writable();
        let result = match self.ticket.listener().settings().config.tcp.send_timeout {
            None => writable.await,
            Some(limit) => match tokio::time::timeout(limit, writable).await {
                Ok(result) => result,
                Err(_) => return Err(CloseReason::SendTimeout),
            },
        };
        result.map_err(|_| CloseReason::TcpClosed)
    }

    /// Says whether the connection came in through that listener.
    pub(crate) fn is_of(&self, listener: &Arc<Listener>) -> bool {
        Arc::ptr_eq(self.ticket.listener(), listener)
    }

    /// Writes all of `out`, and what the layers around the socket keep; says whether that was possible.
    async fn write_all(&self, out: &mut Outgoing) -> bool {
        loop {
            match self.writer.write(out) {
                Ok((Written::All, _)) => return true,
                Ok((Written::Blocked, _)) if self.writer.writable().await.is_ok() => {}
                Ok((Written::Blocked, _)) | Err(_) => return false,
            }
        }
    }

    /// Sends the last bytes and gives the peer a moment to read them.
    ///
    /// A socket that is closed with unread bytes in it resets the connection, and the peer never sees why.
    pub(crate) async fn linger(self: Rc<Self>) {
        const LIMIT: Duration = Duration::from_secs(1);
        let _ = tokio::time::timeout(LIMIT, async {
            let mut out = std::mem::take(&mut self.state.borrow_mut().out);
            if !self.write_all(&mut out).await {
                return;
            }
            self.writer.say_goodbye();
            if self.write_all(&mut out).await && self.writer.shut_down().is_ok() {
                let _ = self.writer.drain().await; // however it ends, it has ended
            }
        })
        .await;
    }
}
