//! A network connection without a network: what the thread that owns sockets does, and the client at the other end.

use std::future::Future;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker};

use broker_codec::{DecodeError, Decoder, Packet, ReasonCode, Step, Version};
use broker_core::{CloseReason, Connection, ConnectionKey, Context, Flow, Identity, Outgoing, Refusal};

use crate::view::View;

type Judging = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>;

/// One connection of a client.
pub(crate) struct Link {
    pub(crate) key: ConnectionKey,
    connection: Connection,
    decoder: Decoder,
    /// What came and was not handled yet.
    tail: Vec<u8>,
    out: Outgoing,
    pub(crate) view: View,
    /// What the client was sent and has not looked at.
    pub(crate) inbox: Vec<Packet>,
    judging: Option<Judging>,
    pub(crate) closed: bool,
    /// The client takes nothing from its socket.
    pub(crate) is_deaf: bool,
    last_seen_ms: i64,
}

/// What a worker has seen, for the report.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) refused: u64,
}

impl Link {
    pub(crate) fn new(connection: Connection, key: ConnectionKey, max_packet_size: u32, now_ms: i64) -> Self {
        Self {
            key,
            connection,
            decoder: Decoder::server(max_packet_size),
            tail: Vec::new(),
            out: Outgoing::default(),
            view: View::default(),
            inbox: Vec::new(),
            judging: None,
            closed: false,
            is_deaf: false,
            last_seen_ms: now_ms,
        }
    }

    /// Takes bytes from the client and handles them as far as that goes now.
    pub(crate) fn receive(&mut self, bytes: &[u8], context: &mut Context, counts: &mut Counts) {
        if !self.closed {
            self.tail.extend_from_slice(bytes);
            self.last_seen_ms = context.now_ms();
            self.handle(context, counts);
        }
    }

    /// Handles what came, unless the connection is to wait.
    pub(crate) fn handle(&mut self, context: &mut Context, counts: &mut Counts) {
        while !self.closed && self.judging.is_none() && !self.connection.is_saturated() {
            match self.decoder.decode_slice(&self.tail) {
                Ok(Step::Packet { packet, consumed }) => {
                    counts.packets_in += 1;
                    self.tail.drain(..consumed);
                    self.view.note_sent(&packet);
                    match self.connection.handle(packet, context, &mut self.out) {
                        Flow::Continue => {}
                        Flow::Close => self.finish(counts),
                        Flow::Authenticate(judging) => self.judging = Some(judging),
                    }
                }
                Ok(Step::Incomplete { .. }) => return,
                Err(error) => self.refuse(&error, context, counts),
            }
        }
    }

    /// Bytes that are no packet: whoever sent them is told why, if the standard has a way, and let go.
    fn refuse(&mut self, error: &DecodeError, context: &mut Context, counts: &mut Counts) {
        counts.refused += 1;
        let version = self.decoder.version();
        if self.view.version().is_none()
            && let Some(version) = version
        {
            self.view.set_version(version);
        }
        let was_open = self.connection.is_open();
        self.is_deaf = false;
        self.write(counts);
        // a CONNACK that waits for the disk never goes out then
        let was_told = self.view.is_accepted();
        self.view.told = None;
        self.connection.decode_failed(error, version, context, &mut self.out);
        assert!(!self.connection.is_open());
        self.finish(counts);
        // DISCONNECT or CONNACK has three bytes at least, and CONNACK five
        let room = self.view.maximum_packet_size();
        let unsupported = matches!(error, DecodeError::UnsupportedVersion { .. });
        let want = match version {
            _ if unsupported || error.closes_silently() => None,
            Some(Version::V5) if was_open => (was_told && room >= 3).then(|| error.reason_code()),
            Some(Version::V5) => (room >= 5).then(|| error.reason_code()),
            _ => None,
        };
        assert_eq!(self.view.told, want, "{error}");
    }

    /// Sends what waits for the client.
    pub(crate) fn fill(&mut self, context: &mut Context, counts: &mut Counts) {
        if self.closed {
            return;
        }
        if self.is_deaf {
            self.connection.block();
            return;
        }
        loop {
            let more = self.connection.fill(4096, context, &mut self.out);
            self.write(counts);
            if !more {
                return;
            }
        }
    }

    /// Moves what was written to the client, unless it takes nothing.
    pub(crate) fn write(&mut self, counts: &mut Counts) {
        if self.is_deaf {
            return;
        }
        let mut bytes = Vec::new();
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = self.out.slices(&mut slices);
            let before = bytes.len();
            slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
            let count = bytes.len() - before;
            self.out.advance(count);
        }
        let packets = self.view.receive(&bytes);
        counts.packets_out += packets.len() as u64;
        self.inbox.extend(packets);
    }

    /// The client begins to read again.
    pub(crate) fn listen(&mut self, context: &mut Context, counts: &mut Counts) {
        self.is_deaf = false;
        self.write(counts);
        self.fill(context, counts);
    }

    /// Ends the connection for a reason of the broker or the network.
    pub(crate) fn close(&mut self, reason: CloseReason, context: &mut Context, counts: &mut Counts) {
        if !self.closed {
            self.connection.close(reason, context, &mut self.out);
            self.finish(counts);
        }
    }

    fn finish(&mut self, counts: &mut Counts) {
        self.write(counts);
        self.closed = true;
        self.judging = None;
    }

    /// Goes on with a CONNECT that waited to be judged.
    pub(crate) fn judge(&mut self, context: &mut Context, counts: &mut Counts) {
        let Some(judging) = self.judging.take() else { return };
        let mut task = TaskContext::from_waker(Waker::noop());
        let Poll::Ready(result) = pin!(judging).poll(&mut task) else {
            panic!("it is ready from the beginning")
        };
        if matches!(self.connection.authenticated(result, context, &mut self.out), Flow::Close) {
            self.finish(counts);
        }
        self.handle(context, counts);
    }

    /// Takes the news that rules are done with a message.
    pub(crate) fn settled(
        &mut self,
        (ack, settled): (u64, broker_core::Settled),
        context: &mut Context,
        counts: &mut Counts,
    ) {
        if !self.closed
            && matches!(self.connection.settled(ack, settled, context, &mut self.out), Flow::Close)
        {
            self.finish(counts);
        }
        self.handle(context, counts);
    }

    /// Takes the news that the disk has written.
    pub(crate) fn committed(&mut self, context: &mut Context, counts: &mut Counts) {
        if self.closed || !self.connection.waits_for_journal() {
            return;
        }
        if matches!(self.connection.committed(context, &mut self.out), Flow::Close) {
            self.finish(counts);
        }
        self.handle(context, counts);
        self.fill(context, counts);
    }

    /// Looks whether something has taken too long.
    pub(crate) fn tick(&mut self, context: &mut Context, counts: &mut Counts) {
        if self.closed {
            return;
        }
        if self.connection.has_held_acks()
            && matches!(self.connection.expire_acks(context, &mut self.out), Flow::Close)
        {
            self.finish(counts);
            return;
        }
        let silent_ms = (context.now_ms() - self.last_seen_ms) as u64;
        if self.connection.silence_limit_ms().is_some_and(|limit_ms| silent_ms > limit_ms) {
            self.close(CloseReason::KeepAliveTimeout, context, counts);
        }
        self.handle(context, counts);
    }

    /// Whether the broker has nothing more to do for what the client sent.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.closed && self.judging.is_none() && self.tail.is_empty() && !self.connection.waits_for_journal()
    }

    /// The code that the client was told last.
    pub(crate) fn told(&self) -> Option<ReasonCode> {
        self.view.told
    }
}
