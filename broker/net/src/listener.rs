//! One listener: its settings, its counters, and the task that accepts.

use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use broker_core::Endpoints;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::access_rules;
use crate::config::ListenerConfig;
use crate::mailbox::{Accepted, Mailboxes};
use crate::quota::ListenerBuckets;
use crate::rate::Bucket;
use crate::tls::{Tls, TlsError};
use crate::worker::Worker;

/// Connections of one listener whose handshakes are under way; more wait in the backlog.
const HANDSHAKES_MAX: usize = 1024;

/// A listener, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Listener {
    id: Arc<str>,
    settings: ArcSwap<Settings>,
    counters: Counters,
    running: AtomicBool,
    /// Grows when its clients are dropped: a connection of before that is not taken any more.
    generation: AtomicU32,
    handshakes: Arc<Semaphore>,
}

/// What new connections of a listener are given.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: ListenerConfig,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Template of the prefix of topics.
    pub(crate) mountpoint: Option<Arc<str>>,
    /// The zone of clients.
    pub(crate) zone: Option<Arc<str>>,
    /// What clients pay for their messages from.
    pub(crate) buckets: Arc<ListenerBuckets>,
}

/// What has become of connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) current: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    /// Closed because there were too many.
    pub(crate) refused_full: AtomicU64,
    /// Closed because of their address.
    pub(crate) refused_address: AtomicU64,
    /// Closed in a handshake of PROXY, TLS or WebSocket.
    pub(crate) failed_handshakes: AtomicU64,
    /// Times that accepting has paused because of the rate.
    pub(crate) pauses: AtomicU64,
}

/// A place among the connections of a listener, free again when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    listener: Arc<Listener>,
    generation: u32,
}

/// The order to accept on a socket until `stop`, and to tell `closed` when the socket is closed.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) socket: StdListener,
    pub(crate) listener: Arc<Listener>,
    pub(crate) stop: CancellationToken,
    pub(crate) closed: oneshot::Sender<()>,
}

impl Settings {
    pub(crate) fn new(config: ListenerConfig) -> Result<Self, TlsError> {
        let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let mountpoint = (!config.mountpoint.is_empty()).then(|| config.mountpoint.as_str().into());
        let buckets = Arc::new(ListenerBuckets::new(&config.quotas, tokio::time::Instant::now()));
        let zone = (!config.zone.is_empty()).then(|| config.zone.as_str().into());
        Ok(Self { config, tls, mountpoint, zone, buckets })
    }

    /// Says whether something comes before MQTT.
    pub(crate) fn has_handshake(&self) -> bool {
        self.config.proxy_protocol || self.tls.is_some() || self.config.websocket.is_some()
    }

    /// Says whether a proxy tells the addresses of clients.
    fn is_behind_proxy(&self) -> bool {
        let header = self.config.websocket.as_ref().and_then(|websocket| websocket.address_header.as_ref());
        self.config.proxy_protocol || header.is_some()
    }
}

impl Listener {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            id: settings.config.id().into(),
            settings: ArcSwap::from_pointee(settings),
            counters: Counters::default(),
            running: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        })
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Has these settings hold for new connections. Quotas that stay the same are still shared with older ones.
    pub(crate) fn set_settings(&self, mut settings: Settings) {
        let old = self.settings();
        if old.config.quotas == settings.config.quotas {
            settings.buckets = Arc::clone(&old.buckets);
        }
        self.settings.store(Arc::new(settings));
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }

    /// Begins a new generation of connections.
    pub(crate) fn renew(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ticket {
    fn new(listener: &Arc<Listener>) -> Self {
        listener.counters.current.fetch_add(1, Ordering::Relaxed);
        listener.counters.accepted.fetch_add(1, Ordering::Relaxed);
        Self { listener: Arc::clone(listener), generation: listener.generation.load(Ordering::Relaxed) }
    }

    pub(crate) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Says whether the clients of that time are still welcome.
    pub(crate) fn is_current(&self) -> bool {
        self.generation == self.listener.generation.load(Ordering::Relaxed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.listener.counters.current.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections and hands them to the workers in turn.
pub(crate) async fn accept(listening: Listening, worker: Rc<Worker>, mailboxes: Arc<Mailboxes>) {
    let Listening { socket, listener, stop, closed } = listening;
    match TcpListener::from_std(socket) {
        Ok(socket) => {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept_all(&socket, &listener, &worker, &mailboxes) => {}
            }
            drop(socket);
        }
        Err(error) => warn!(listener = %listener.id, %error, "cannot accept connections"),
    }
    let _ = closed.send(()); // who waits may have gone
}

async fn accept_all(
    socket: &TcpListener,
    listener: &Arc<Listener>,
    worker: &Rc<Worker>,
    mailboxes: &Mailboxes,
) {
    let mut bucket = Bucket::new(Instant::now());
    let mut turn = 0;
    loop {
        let permit = wait_for_turn(listener, &mut bucket).await;
        let Some((socket, endpoints)) = accept_one(socket, listener).await else { continue };
        let ticket = Ticket::new(listener);
        let target = turn;
        turn = (turn + 1) % mailboxes.len() as u16;
        if target == 0 {
            worker.take_in(socket, endpoints, ticket, permit);
        } else if let Ok(socket) = socket.into_std() {
            let accepted = Accepted { socket, endpoints, ticket, permit };
            mailboxes.of(target).put(|mail| mail.sockets.push(accepted));
        }
    }
}

/// Waits until the rate, and the number of handshakes under way, let another connection in.
async fn wait_for_turn(listener: &Arc<Listener>, bucket: &mut Bucket) -> Option<OwnedSemaphorePermit> {
    /// A changed rate counts after that long.
    const PAUSE_MAX: Duration = Duration::from_secs(1);
    let settings = loop {
        let settings = listener.settings();
        let Some(rate) = settings.config.max_conn_rate else { break settings };
        match bucket.take(rate, Instant::now()) {
            Ok(()) => break settings,
            Err(wait) => {
                listener.counters.pauses.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(wait.min(PAUSE_MAX)).await;
            }
        }
    };
    if !settings.has_handshake() {
        return None;
    }
    Arc::clone(&listener.handshakes).acquire_owned().await.ok() // it is never closed
}

/// Accepts a connection, unless there are too many or its address is not welcome.
async fn accept_one(socket: &TcpListener, listener: &Arc<Listener>) -> Option<(TcpStream, Endpoints)> {
    /// How long to wait when the process is out of file descriptors or memory.
    const RETRY_AFTER: Duration = Duration::from_millis(100);
    let (socket, remote) = match socket.accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            warn!(listener = %listener.id, %error, "cannot accept a connection");
            tokio::time::sleep(RETRY_AFTER).await;
            return None;
        }
    };
    // what is not returned is dropped, and so closed
    let settings = listener.settings();
    let max = settings.config.max_connections;
    if max > 0 && listener.counters.current.load(Ordering::Relaxed) >= max {
        listener.counters.refused_full.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    if !settings.is_behind_proxy() && !access_rules::allows(&settings.config.access_rules, remote.ip()) {
        listener.counters.refused_address.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    let local = socket.local_addr().ok()?;
    let mut endpoints = Endpoints::new(remote, local, Arc::clone(&listener.id));
    endpoints.mountpoint.clone_from(&settings.mountpoint);
    endpoints.zone.clone_from(&settings.zone);
    Some((socket, endpoints))
}
