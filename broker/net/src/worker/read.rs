//! Reading and handling packets.

use std::future::{Future, poll_fn};
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use broker_codec::Step;
use broker_core::{CloseReason, Flow, Identity, Refusal};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::{READ_BUFFER_BYTES, Worker, ticks};
use crate::link::{Link, LinkState};
use crate::stream::Reader;

/// What comes after a read.
enum Next {
    Read,
    /// Read again, but not before others had their turn.
    Yield,
    /// Handle nothing more until there is room for what comes of it.
    Pause,
    Authenticate(Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>),
    /// The client or the broker has ended the connection.
    Close {
        lingers: bool,
    },
    /// The network connection is gone.
    Broken,
    /// What came is no bytes of MQTT, whatever they say.
    Invalid,
}

impl Next {
    #[cold]
    fn after(error: &Error) -> Self {
        if error.kind() == ErrorKind::InvalidData { Self::Invalid } else { Self::Broken }
    }
}

/// A tail beyond this is read into directly instead of being copied before each read.
const TAIL_IN_PLACE_BYTES: usize = 8 * 1024;

/// The most that is reserved for a packet before its bytes have come.
const RESERVE_BYTES: usize = 256 * 1024;

impl Worker {
    /// Reads from a connection until it ends.
    pub(super) async fn run_link(self: Rc<Self>, link: Rc<Link>, mut reader: Reader) {
        loop {
            let next = poll_fn(|task| self.poll_link(task, &link, &mut reader)).await;
            match self.resume(&link, next).await {
                Next::Read | Next::Pause => {}
                Next::Yield => tokio::task::yield_now().await,
                Next::Authenticate(future) => {
                    let result = future.await;
                    self.start_batch();
                    self.step(&link, |connection, context, out| {
                        connection.authenticated(result, context, out)
                    });
                    self.after_connect(&link);
                    if link.state.borrow().closed {
                        return;
                    }
                    let next = self.handle_tail(&link);
                    self.finish_batch();
                    if let Next::Close { lingers } = self.resume(&link, next).await {
                        self.finish(&link, lingers);
                    }
                    self.finish_batch();
                }
                Next::Close { lingers } => {
                    self.finish(&link, lingers);
                    self.finish_batch();
                    return;
                }
                next @ (Next::Broken | Next::Invalid) => {
                    self.start_batch();
                    let is_invalid = matches!(next, Next::Invalid);
                    let reason = if is_invalid { CloseReason::ProtocolError } else { CloseReason::TcpClosed };
                    self.close(&link, reason);
                    self.finish_batch();
                    return;
                }
            }
        }
    }

    /// Waits while the connection is paused, then handles what was left, and says what comes after that.
    async fn resume(self: &Rc<Self>, link: &Rc<Link>, mut next: Next) -> Next {
        while let Next::Pause = next {
            link.paused().await;
            if link.state.borrow().closed {
                return Next::Close { lingers: true };
            }
            self.start_batch();
            next = self.handle_tail(link);
            self.finish_batch();
        }
        next
    }

    fn poll_link(
        self: &Rc<Self>,
        task: &mut TaskContext<'_>,
        link: &Rc<Link>,
        reader: &mut Reader,
    ) -> Poll<Next> {
        let tail_len = link.state.borrow().tail.len();
        if tail_len >= TAIL_IN_PLACE_BYTES {
            return self.poll_large(task, link, reader);
        }
        let mut buffer = self.read_buffer.borrow_mut();
        let mut filled = ReadBuf::new(&mut buffer[tail_len..]);
        match Pin::new(reader).poll_read(task, &mut filled) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Next::after(&error)),
            Poll::Ready(Ok(())) => {}
        }
        let count = filled.filled().len();
        if count == 0 {
            return Poll::Ready(Next::Broken);
        }
        self.start_batch();
        {
            let mut state = link.state.borrow_mut();
            buffer[..tail_len].copy_from_slice(&state.tail);
            state.tail = Vec::new();
        }
        let next = self.handle_bytes(link, &buffer[..tail_len + count], count);
        self.finish_batch();
        let was_full = tail_len + count == READ_BUFFER_BYTES;
        Poll::Ready(if was_full && matches!(next, Next::Read) { Next::Yield } else { next })
    }

    /// Reads the rest of a large packet to where its start is.
    fn poll_large(
        self: &Rc<Self>,
        task: &mut TaskContext<'_>,
        link: &Rc<Link>,
        reader: &mut Reader,
    ) -> Poll<Next> {
        let count = {
            let state = &mut *link.state.borrow_mut();
            let missing = state.needed.saturating_sub(state.tail.len());
            state.tail.reserve_exact(missing.clamp(TAIL_IN_PLACE_BYTES, RESERVE_BYTES.max(state.tail.len())));
            match poll_read_buf(Pin::new(reader), task, &mut state.tail) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Next::Broken),
                Poll::Ready(Err(error)) => return Poll::Ready(Next::after(&error)),
                Poll::Ready(Ok(count)) => count,
            }
        };
        self.start_batch();
        let next = if link.state.borrow().tail.len() < link.state.borrow().needed {
            self.note_life(link);
            link.state.borrow().connection.count_traffic(count as u64, 0, &self.context.borrow());
            Next::Read
        } else {
            let bytes = std::mem::take(&mut link.state.borrow_mut().tail);
            self.handle_bytes(link, &bytes, count)
        };
        self.finish_batch();
        Poll::Ready(next)
    }

    /// Handles what was left unread while the connection waited for its authentication.
    fn handle_tail(self: &Rc<Self>, link: &Rc<Link>) -> Next {
        let bytes = std::mem::take(&mut link.state.borrow_mut().tail);
        self.handle_bytes(link, &bytes, 0)
    }

    /// Handles every complete packet of `bytes` and keeps the rest; `fresh` of them have just come.
    fn handle_bytes(self: &Rc<Self>, link: &Rc<Link>, bytes: &[u8], fresh: usize) -> Next {
        self.note_life(link);
        let mut at = 0;
        let mut packets = 0;
        let is_overloaded = self.broker.is_overloaded();
        if is_overloaded {
            // what was before is not this client's
            self.context.borrow().take_stays();
            self.broker.take_stays_of_calls();
        }
        let is_throttled = is_overloaded || link.state.borrow().throttle.is_some();
        let next = loop {
            let next = if is_throttled {
                self.handle_some::<true>(link, bytes, &mut at, &mut packets)
            } else {
                self.handle_some::<false>(link, bytes, &mut at, &mut packets)
            };
            match next {
                // queues have grown long: send them before they grow longer
                Next::Yield => {
                    self.list_if_unsent(link, &mut link.state.borrow_mut());
                    self.finish_batch();
                    self.flush_all();
                }
                next => break next,
            }
        };
        let state = &mut *link.state.borrow_mut();
        state.connection.count_traffic(fresh as u64, packets, &self.context.borrow());
        if !matches!(next, Next::Close { .. }) && at < bytes.len() {
            state.tail = bytes[at..].to_vec();
        }
        if let Some(throttle) = &mut state.throttle
            && !matches!(next, Next::Pause)
        {
            throttle.rest();
        }
        self.list_if_unsent(link, state);
        self.list_if_awaiting(link, state);
        next
    }

    /// Handles packets until there is none, or queues should be flushed, or the client has to pause.
    fn handle_some<const THROTTLED: bool>(
        self: &Rc<Self>,
        link: &Rc<Link>,
        bytes: &[u8],
        at: &mut usize,
        packets: &mut u64,
    ) -> Next {
        let state = &mut *link.state.borrow_mut();
        let context = &mut *self.context.borrow_mut();
        if state.is_full() {
            return Next::Pause;
        }
        loop {
            match state.decoder.decode_slice(&bytes[*at..]) {
                Ok(Step::Packet { packet, consumed }) => {
                    *at += consumed;
                    *packets += 1;
                    let publishes = THROTTLED && matches!(packet, broker_codec::Packet::Publish(_));
                    let connects = matches!(packet, broker_codec::Packet::Connect(_));
                    match state.connection.handle(packet, context, &mut state.out) {
                        Flow::Continue => {}
                        Flow::Close => return Next::Close { lingers: !state.out.is_empty() },
                        Flow::Authenticate(future) => return Next::Authenticate(future),
                    }
                    if connects {
                        let limit = state.connection.silence_limit_ms().map_or(0, ticks);
                        self.watch(link, limit);
                    }
                    if publishes && self.has_to_pause(link, state, consumed, context) {
                        return Next::Pause;
                    }
                    if state.is_full() {
                        return Next::Pause;
                    }
                    if context.is_urgent() || state.has_many_answers() {
                        return Next::Yield;
                    }
                }
                Ok(Step::Incomplete { needed }) => {
                    state.needed = needed;
                    return Next::Read;
                }
                Err(error) => {
                    let version = state.decoder.version();
                    state.connection.decode_failed(&error, version, context, &mut state.out);
                    return Next::Close { lingers: true };
                }
            }
        }
    }

    /// Notes that the client is there. Before its CONNECT is complete, nothing that it sends gives it more time.
    fn note_life(&self, link: &Link) {
        if link.state.borrow().connection.is_open() {
            link.last_seen.set(self.wheel.borrow().now());
        }
    }

    fn after_connect(&self, link: &Link) {
        let limit = link.state.borrow().connection.silence_limit_ms().map_or(0, ticks);
        self.watch(link, limit);
    }

    /// Lists a connection if something of it waits for the journal.
    pub(super) fn list_if_awaiting(&self, link: &Rc<Link>, state: &mut LinkState) {
        if !state.waits_for_journal && !state.closed && state.connection.waits_for_journal() {
            state.waits_for_journal = true;
            self.awaiting_journal.borrow_mut().push(Rc::clone(link));
        }
    }

    fn list_if_unsent(&self, link: &Rc<Link>, state: &mut LinkState) {
        if state.connection.has_held_acks() && !state.holds_acks {
            state.holds_acks = true;
            self.holding.borrow_mut().push(Rc::clone(link));
        }
        if !state.out.is_empty() && !state.listed && !state.closed {
            state.listed = true;
            let mut to_flush = self.to_flush.borrow_mut();
            to_flush.push(Rc::clone(link));
            if to_flush.len() == 1 {
                self.flush_wanted.notify_one();
            }
        }
    }
}
