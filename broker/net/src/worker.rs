//! A thread that owns connections.

mod flush;
mod pause;
mod read;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use broker_codec::Decoder;
use broker_core::{Broker, CloseReason, Connection, ConnectionKey, Context, Endpoints, Flow};
use slab::Slab;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::config::TcpOptions;
use crate::handshake::shake_hands;
use crate::link::Link;
use crate::listener::{Ticket, accept};
use crate::mailbox::{Mail, Mailboxes, Stop};
use crate::stream::{self, Reader, Writer};
use crate::wheel::Wheel;
use crate::zone::Zones;
use pause::Pauses;

/// What belongs to one worker thread. Nothing of it is shared with another.
pub(crate) struct Worker {
    index: u16,
    broker: Arc<Broker>,
    mailboxes: Arc<Mailboxes>,
    zones: Arc<Zones>,
    pauses: Pauses,
    context: RefCell<Context>,
    links: RefCell<Slab<Rc<Link>>>,
    next_generation: Cell<u32>,
    /// One buffer to read into, for all connections.
    read_buffer: RefCell<Box<[u8]>>,
    /// Buffers to write from, not in use.
    spare_buffers: RefCell<Vec<Vec<u8>>>,
    /// Connections to be flushed after what is ready now has been read.
    to_flush: RefCell<Vec<Rc<Link>>>,
    flush_wanted: Notify,
    /// Connections whose acknowledgements are held back by rules.
    holding: RefCell<Vec<Rc<Link>>>,
    /// Connections of which something waits for the journal.
    awaiting_journal: RefCell<Vec<Rc<Link>>>,
    wheel: RefCell<Wheel<(u32, u32)>>,
    lingering: RefCell<JoinSet<()>>,
    /// New connections that are not as far as MQTT.
    arriving: RefCell<JoinSet<()>>,
    /// Listeners; of worker 0 only.
    accepting: RefCell<JoinSet<()>>,
}

/// Length of a tick of the wheel.
const TICK: Duration = Duration::from_millis(250);

/// Ticks after which routes and retained messages are looked through.
const SWEEP_TICKS: u32 = 40;

/// Ticks after which it is looked what is kept for each connection, if that matters.
const WEIGH_TICKS: u32 = 4;

/// The least that the largest frame of a WebSocket is.
const FRAME_BYTES_LEAST: usize = 1024 * 1024;

/// Bytes read at once.
const READ_BUFFER_BYTES: usize = 64 * 1024;

impl Worker {
    pub(crate) fn new(
        index: u16,
        broker: Arc<Broker>,
        mailboxes: Arc<Mailboxes>,
        zones: Arc<Zones>,
    ) -> Rc<Self> {
        let context = broker.worker_context();
        Rc::new(Self {
            index,
            broker,
            mailboxes,
            zones,
            pauses: Pauses::default(),
            context: RefCell::new(context),
            links: RefCell::default(),
            next_generation: Cell::new(0),
            read_buffer: RefCell::new(vec![0; READ_BUFFER_BYTES].into_boxed_slice()),
            spare_buffers: RefCell::default(),
            to_flush: RefCell::default(),
            flush_wanted: Notify::new(),
            holding: RefCell::default(),
            awaiting_journal: RefCell::default(),
            wheel: RefCell::new(Wheel::new()),
            lingering: RefCell::default(),
            arriving: RefCell::default(),
            accepting: RefCell::default(),
        })
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(self: Rc<Self>) {
        let flusher = spawn_local(keep_running("flusher", Rc::clone(&self), Self::run_flusher));
        let ticker = spawn_local(keep_running("ticker", Rc::clone(&self), Self::run_ticker));
        let waker = spawn_local(keep_running("waker", Rc::clone(&self), Self::run_waker));
        let stop = loop {
            let mail = self.mailboxes.of(self.index).take().await;
            if let Some(stop) = self.handle_mail(mail) {
                break stop;
            }
        };
        self.accepting.borrow_mut().abort_all();
        self.arriving.borrow_mut().abort_all();
        flusher.abort();
        ticker.abort();
        waker.abort();
        self.stop(stop.grace).await;
        let _ = stop.done.send(()); // who waits may have gone
    }

    fn handle_mail(self: &Rc<Self>, mail: Mail) -> Option<Stop> {
        self.start_batch();
        for listening in mail.listening {
            let mut accepting = self.accepting.borrow_mut();
            while accepting.try_join_next().is_some() {}
            accepting.spawn_local(accept(listening, Rc::clone(self), Arc::clone(&self.mailboxes)));
        }
        for accepted in mail.sockets {
            match TcpStream::from_std(accepted.socket) {
                Ok(socket) => self.take_in(socket, accepted.endpoints, accepted.ticket, accepted.permit),
                Err(error) => warn!(%error, "cannot take a new connection"),
            }
        }
        for listener in mail.dropped {
            let links = self.links.borrow();
            let of_it = links.iter().filter(|(_, link)| link.is_of(&listener));
            let of_it: Vec<Rc<Link>> = of_it.map(|(_, link)| Rc::clone(link)).collect();
            drop(links);
            of_it.iter().for_each(|link| self.close(link, CloseReason::ServerShutdown));
        }
        for key in mail.flush {
            self.list_key(key);
        }
        for (key, reason) in mail.close {
            if let Some(link) = self.link(key) {
                self.close(&link, reason);
            }
        }
        for (key, ack, settled) in mail.settled {
            if let Some(link) = self.link(key) {
                self.step(&link, |connection, context, out| connection.settled(ack, settled, context, out));
            }
        }
        if mail.committed {
            self.release_committed();
        }
        self.finish_batch();
        mail.stop
    }

    /// Takes a new connection in: at once, or after what comes before MQTT.
    pub(crate) fn take_in(
        self: &Rc<Self>,
        socket: TcpStream,
        mut endpoints: Endpoints,
        ticket: Ticket,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let settings = ticket.listener().settings();
        if let Err(error) = set_options(&socket, &settings.config.tcp) {
            debug!(%error, "connection broke before it was taken");
            return;
        }
        if !settings.has_handshake() {
            return self.adopt(stream::plain(socket), endpoints, ticket);
        }
        let worker = Rc::clone(self);
        let mut arriving = self.arriving.borrow_mut();
        while arriving.try_join_next().is_some() {}
        arriving.spawn_local(async move {
            let frame_bytes_max =
                (worker.broker.zone_config(endpoints.zone.as_deref()).max_packet_size as usize * 2)
                    .max(FRAME_BYTES_LEAST);
            let shaken = shake_hands(socket, &settings, &mut endpoints, frame_bytes_max).await;
            drop(permit);
            match shaken {
                Ok(sides) => {
                    worker.broker.trace_handshake(endpoints.remote, &endpoints.listener, Ok(()));
                    worker.adopt(sides, endpoints, ticket);
                }
                Err(error) => {
                    worker.broker.trace_handshake(endpoints.remote, &endpoints.listener, Err(&error));
                    let counters = ticket.listener().counters();
                    counters.failed_handshakes.fetch_add(1, Ordering::Relaxed);
                    debug!(listener = %endpoints.listener, peer = %endpoints.remote, %error, "no connection");
                }
            }
        });
    }

    /// Begins to read from a new connection.
    fn adopt(self: &Rc<Self>, (reader, writer): (Reader, Writer), endpoints: Endpoints, ticket: Ticket) {
        if !ticket.is_current() {
            return; // its listener has dropped its clients since
        }
        let mut links = self.links.borrow_mut();
        let entry = links.vacant_entry();
        let generation = self.next_generation.get();
        self.next_generation.set(generation.wrapping_add(1));
        let key = ConnectionKey { worker: self.index, slot: entry.key() as u32, generation };
        let settings = ticket.listener().settings();
        let zone = self.zones.get(endpoints.zone.as_deref());
        let throttle = zone.buckets.throttle(&settings.buckets, Instant::now());
        let max_packet_size = self.broker.zone_config(endpoints.zone.as_deref()).max_packet_size;
        let connection = Connection::new(Arc::clone(&self.broker), key, endpoints);
        let decoder = Decoder::server(max_packet_size);
        let link = Link::new(key, writer, connection, decoder, throttle, ticket);
        entry.insert(Rc::clone(&link));
        drop(links);
        self.watch(&link, zone.idle_ticks);
        let task = spawn_local(Rc::clone(self).run_link(Rc::clone(&link), reader));
        link.reading.set(Some(task.abort_handle()));
    }

    fn link(&self, key: ConnectionKey) -> Option<Rc<Link>> {
        self.links.borrow().get(key.slot as usize).filter(|link| link.key == key).cloned()
    }

    /// Sets after how many ticks without a packet a connection ends.
    fn watch(&self, link: &Link, silence_limit: u32) {
        let mut wheel = self.wheel.borrow_mut();
        link.last_seen.set(wheel.now());
        link.silence_limit.set(silence_limit);
        if silence_limit > 0 {
            let due = wheel.now().wrapping_add(silence_limit);
            wheel.add(due, (link.key.slot, link.key.generation));
        }
    }

    /// Does something with a connection outside of its reading, and what follows from it.
    fn step(
        self: &Rc<Self>,
        link: &Rc<Link>,
        act: impl FnOnce(&mut Connection, &mut Context, &mut broker_core::Outgoing) -> Flow,
    ) {
        let flow = {
            let state = &mut *link.state.borrow_mut();
            if state.closed {
                return;
            }
            act(&mut state.connection, &mut self.context.borrow_mut(), &mut state.out)
        };
        self.list(link);
        if matches!(flow, Flow::Close) {
            self.finish(link, true);
        }
        link.wake_reader();
    }

    /// Ends a connection for a reason of ours.
    pub(crate) fn close(self: &Rc<Self>, link: &Rc<Link>, reason: CloseReason) {
        {
            let state = &mut *link.state.borrow_mut();
            if state.closed {
                return;
            }
            state.connection.close(reason, &mut self.context.borrow_mut(), &mut state.out);
        }
        if reason == CloseReason::SendTimeout {
            link.writer.abort();
        }
        self.finish(link, !matches!(reason, CloseReason::TcpClosed | CloseReason::SendTimeout));
    }

    /// Lets go of a connection that has ended; `lingers` when the peer should see the last packet.
    fn finish(self: &Rc<Self>, link: &Rc<Link>, lingers: bool) {
        {
            let mut state = link.state.borrow_mut();
            if std::mem::replace(&mut state.closed, true) {
                return;
            }
            if let Some(draining) = state.draining.take() {
                draining.abort();
            }
        }
        self.links.borrow_mut().try_remove(link.key.slot as usize);
        if let Some(reading) = link.reading.take() {
            reading.abort();
        }
        if lingers {
            let mut lingering = self.lingering.borrow_mut();
            while lingering.try_join_next().is_some() {}
            lingering.spawn_local(Rc::clone(link).linger());
        }
    }

    async fn run_ticker(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut ticks_to_sweep, mut ticks_to_weigh) = (SWEEP_TICKS, WEIGH_TICKS);
        loop {
            interval.tick().await;
            self.start_batch();
            self.end_silent();
            self.expire_acks();
            self.end_hold_ups();
            if self.index == 0 {
                self.broker.run_timers(&mut self.context.borrow_mut());
            }
            ticks_to_weigh -= 1;
            if ticks_to_weigh == 0 {
                ticks_to_weigh = WEIGH_TICKS;
                self.watch_memory();
                self.end_heavy();
            }
            ticks_to_sweep -= 1;
            if ticks_to_sweep == 0 {
                ticks_to_sweep = SWEEP_TICKS;
                self.context.borrow_mut().forget_stale_routes(&self.broker);
                self.broker.forget_stale_routes();
                if self.index == 0 {
                    self.broker.purge_retained();
                }
            }
            self.finish_batch();
        }
    }

    /// Ends the connections that have been silent for too long.
    fn end_silent(self: &Rc<Self>) {
        let due = self.wheel.borrow_mut().turn();
        for (slot, generation) in due {
            let Some(link) = self.link(ConnectionKey { worker: self.index, slot, generation }) else {
                continue;
            };
            let limit = link.silence_limit.get();
            if limit == 0 {
                continue;
            }
            let now = self.wheel.borrow().now();
            if link.state.borrow().waits_for_us() {
                link.last_seen.set(now); // it may have sent what we do not read
            }
            let due = link.last_seen.get().wrapping_add(limit);
            // ticks wrap around: what is due lies in the past half
            if now.wrapping_sub(due) < u32::MAX / 2 {
                let is_open = link.state.borrow().connection.is_open();
                self.close(
                    &link,
                    if is_open { CloseReason::KeepAliveTimeout } else { CloseReason::IdleTimeout },
                );
            } else {
                self.wheel.borrow_mut().add(due, (slot, generation));
            }
        }
    }

    fn expire_acks(self: &Rc<Self>) {
        if self.holding.borrow().is_empty() {
            return;
        }
        // not within the `for`, which would keep the list borrowed to its end
        let holding = std::mem::take(&mut *self.holding.borrow_mut());
        for link in holding {
            self.step(&link, |connection, context, out| connection.expire_acks(context, out));
            let mut state = link.state.borrow_mut();
            state.holds_acks = !state.closed && state.connection.has_held_acks();
            if state.holds_acks {
                self.holding.borrow_mut().push(Rc::clone(&link));
            }
        }
    }

    /// Sends what the journal has committed by now.
    fn release_committed(self: &Rc<Self>) {
        let waiting = std::mem::take(&mut *self.awaiting_journal.borrow_mut());
        for link in waiting {
            link.state.borrow_mut().waits_for_journal = false;
            self.step(&link, |connection, context, out| connection.committed(context, out));
            self.await_journal(&link);
        }
    }

    /// Lists a connection if something of it waits for the journal.
    fn await_journal(&self, link: &Rc<Link>) {
        self.list_if_awaiting(link, &mut link.state.borrow_mut());
    }

    async fn stop(self: Rc<Self>, grace: Duration) {
        self.start_batch();
        let links: Vec<Rc<Link>> = self.links.borrow().iter().map(|(_, link)| Rc::clone(link)).collect();
        self.release_committed();
        for link in links {
            self.flush_last(&link);
            self.close(&link, CloseReason::ServerShutdown);
        }
        self.finish_batch();
        self.flush_all();
        self.commit();
        let mut lingering = std::mem::take(&mut *self.lingering.borrow_mut());
        let all = async { while lingering.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            warn!("some clients did not read their last packets in time");
        }
    }
}

fn set_options(socket: &TcpStream, options: &TcpOptions) -> std::io::Result<()> {
    socket.set_nodelay(options.nodelay)?;
    if let Some(keepalive) = options.keepalive {
        let keepalive = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.probes);
        SockRef::from(socket).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// Runs a task that never ends, and starts it again should it panic: without it every connection of the worker would
/// hang, and nobody would see why.
async fn keep_running<F>(task: &'static str, worker: Rc<Worker>, run: fn(Rc<Worker>) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let mut running = JoinSet::new(); // ends it when it is dropped
    loop {
        running.spawn_local(run(Rc::clone(&worker)));
        if let Some(Err(error)) = running.join_next().await {
            error!(worker = worker.index, task, %error, "a task of a worker has panicked and starts again");
        }
    }
}

/// Milliseconds as ticks: never early, whatever part of a tick has passed.
pub(crate) fn ticks(milliseconds: u64) -> u32 {
    let ticks = milliseconds.div_ceil(TICK.as_millis() as u64) + 1;
    u32::try_from(ticks).unwrap_or(u32::MAX / 4)
}
