//! The listeners of a running server: looked at, started, stopped and changed at run time.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Mutex as Turn, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{ListenerConfig, ListenerKind, TcpOptions};
use crate::listener::{Listener, Listening, Settings};
use crate::mailbox::Mailboxes;
use crate::tls::{Reloaded, TlsError};

/// The listeners of a server; cheap to clone.
#[derive(Debug, Clone)]
pub struct Listeners(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mailboxes: Arc<Mailboxes>,
    all: Mutex<BTreeMap<String, Entry>>,
    /// Changes wait for each other: a socket has to be closed before its port can be used again.
    turn: Turn<()>,
}

#[derive(Debug)]
struct Entry {
    listener: Arc<Listener>,
    open: Option<Open>,
}

/// A socket that is accepted on.
#[derive(Debug)]
struct Open {
    address: SocketAddr,
    stop: CancellationToken,
    closed: oneshot::Receiver<()>,
}

/// A listener as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerStatus {
    /// `tcp:default`.
    pub id: String,
    /// Its type.
    pub kind: ListenerKind,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: ListenerConfig,
    /// Whether it accepts connections.
    pub running: bool,
    /// Where it listens; nothing while it does not run.
    pub address: Option<SocketAddr>,
    /// Connections now.
    pub current_connections: usize,
    /// Connections since the start.
    pub accepted: u64,
    /// Connections closed because there were too many.
    pub refused_full: u64,
    /// Connections closed because of their address.
    pub refused_address: u64,
    /// Connections closed in a handshake of PROXY, TLS or WebSocket.
    pub failed_handshakes: u64,
    /// Times that accepting has paused because of the rate.
    pub pauses: u64,
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is in use.
    #[error("port taken: `{bind}` of listener `{listener}` is in use; set another `bind` for it")]
    PortTaken {
        /// Id of the listener.
        listener: String,
        /// The address.
        bind: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{bind}`, the `bind` of listener `{listener}`")]
    Listen {
        /// Id of the listener.
        listener: String,
        /// The address.
        bind: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be used.
    #[error("listener `{listener}` has no usable TLS")]
    Tls {
        /// Id of the listener.
        listener: String,
        /// What is wrong.
        #[source]
        source: TlsError,
    },
}

/// Why a listener is not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of that id.
    #[error("there is no listener `{0}`")]
    Unknown(String),
    /// There is one of that id.
    #[error("there is a listener `{0}` already")]
    Exists(String),
    /// It does not start.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A listener that is ready to be accepted on.
pub(crate) struct Prepared {
    listener: Arc<Listener>,
    socket: Option<(StdListener, SocketAddr)>,
}

impl Prepared {
    /// Reads the files of a listener, and opens its socket if it is enabled.
    pub(crate) fn new(config: ListenerConfig) -> Result<Self, ListenError> {
        let id = config.id();
        let settings = Settings::new(config).map_err(|source| ListenError::Tls { listener: id, source })?;
        let socket = if settings.config.enable { Some(listen(&settings.config)?) } else { None };
        Ok(Self { listener: Listener::new(settings), socket })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.as_ref().map(|(_, address)| *address)
    }
}

impl Listeners {
    pub(crate) fn new(mailboxes: Arc<Mailboxes>) -> Self {
        Self(Arc::new(Shared { mailboxes, all: Mutex::default(), turn: Turn::default() }))
    }

    /// Takes a listener in, and has it accept if it has a socket.
    pub(crate) fn install(&self, prepared: Prepared) {
        let Prepared { listener, socket } = prepared;
        let id = listener.id().to_string();
        let open = socket.map(|(socket, address)| self.accept(&listener, socket, address));
        self.0.all.lock().insert(id, Entry { listener, open });
    }

    fn accept(&self, listener: &Arc<Listener>, socket: StdListener, address: SocketAddr) -> Open {
        let stop = CancellationToken::new();
        let (closing, closed) = oneshot::channel();
        let listening =
            Listening { socket, listener: Arc::clone(listener), stop: stop.clone(), closed: closing };
        listener.set_running(true);
        self.0.mailboxes.of(0).put(|mail| mail.listening.push(listening));
        info!(listener = %listener.id(), %address, "listening");
        Open { address, stop, closed }
    }

    /// Returns every listener, in the order of ids.
    pub fn list(&self) -> Vec<ListenerStatus> {
        self.0.all.lock().values().map(Entry::status).collect()
    }

    /// Returns one listener.
    pub fn get(&self, id: &str) -> Option<ListenerStatus> {
        self.0.all.lock().get(id).map(Entry::status)
    }

    /// Has a listener accept connections, if it does not already.
    ///
    /// # Errors
    /// When there is none, or its address cannot be listened on.
    pub async fn start(&self, id: &str) -> Result<(), ChangeError> {
        let _turn = self.0.turn.lock().await;
        self.open(id)
    }

    /// Has a listener accept nothing more. Its clients stay.
    ///
    /// # Errors
    /// When there is none.
    pub async fn stop(&self, id: &str) -> Result<(), ChangeError> {
        let _turn = self.0.turn.lock().await;
        self.close(id).await
    }

    /// Drops the clients of a listener, and opens it anew.
    ///
    /// # Errors
    /// When there is none, or its address cannot be listened on; it is stopped then.
    pub async fn restart(&self, id: &str) -> Result<(), ChangeError> {
        let _turn = self.0.turn.lock().await;
        self.close(id).await?;
        self.drop_clients(&self.find(id)?);
        self.open(id)
    }

    /// Adds a listener, and starts it if it is enabled.
    ///
    /// # Errors
    /// When there is one of its id, or it does not start; it is not added then.
    pub async fn add(&self, config: ListenerConfig) -> Result<(), ChangeError> {
        let _turn = self.0.turn.lock().await;
        if self.find(&config.id()).is_ok() {
            return Err(ChangeError::Exists(config.id()));
        }
        self.install(Prepared::new(config)?);
        Ok(())
    }

    /// Changes a listener. Its clients stay; another address, or being enabled or not, counts at once, and the rest for
    /// new connections.
    ///
    /// # Errors
    /// When there is none, or it would not start; it stays as it was then.
    pub async fn update(&self, config: ListenerConfig) -> Result<(), ChangeError> {
        let _turn = self.0.turn.lock().await;
        let id = config.id();
        let listener = self.find(&id)?;
        let old = listener.settings();
        let settings =
            Settings::new(config).map_err(|source| ListenError::Tls { listener: id.clone(), source })?;
        let new = &settings.config;
        if !new.enable {
            listener.set_settings(settings);
            return self.close(&id).await;
        }
        let address = self.get(&id).and_then(|status| status.address);
        let is_open = address.is_some();
        let stays = address == Some(new.bind) || old.config.bind == new.bind;
        let moves = !stays || old.config.tcp.backlog != new.tcp.backlog;
        if is_open && !stays && address.map(|address| address.port()) != Some(new.bind.port()) {
            // first the new one: if it cannot be opened, nothing has changed
            let (socket, address) = listen(new)?;
            self.close(&id).await?;
            listener.set_settings(settings);
            let open = self.accept(&listener, socket, address);
            self.put_open(&id, open);
            return Ok(());
        }
        if is_open && moves {
            self.close(&id).await?;
        }
        listener.set_settings(settings);
        let opened = self.open(&id);
        if opened.is_err() {
            listener.set_settings(Settings {
                config: old.config.clone(),
                tls: old.tls.clone(),
                mountpoint: old.mountpoint.clone(),
                zone: old.zone.clone(),
                buckets: Arc::clone(&old.buckets),
            });
            if is_open && let Err(error) = self.open(&id) {
                warn!(listener = id, %error, "a listener could not be brought back");
            }
        }
        opened
    }

    /// Removes a listener and drops its clients.
    ///
    /// # Errors
    /// When there is none.
    pub async fn remove(&self, id: &str) -> Result<(), ChangeError> {
        let _turn = self.0.turn.lock().await;
        self.close(id).await?;
        let removed = self.0.all.lock().remove(id);
        if let Some(entry) = removed {
            self.drop_clients(&entry.listener);
        }
        Ok(())
    }

    /// Reads the files of TLS listeners again. Running connections stay; files that cannot be used leave what is there,
    /// with a line in the log. `again` repeats that line although nothing has changed.
    pub fn reload_certificates(&self, again: bool) {
        let listeners: Vec<_> = self.0.all.lock().values().map(|entry| Arc::clone(&entry.listener)).collect();
        for listener in listeners {
            let Some(tls) = listener.settings().tls.clone() else { continue };
            match tls.reload(again) {
                Reloaded::Unchanged => {}
                Reloaded::Changed => info!(listener = %listener.id(), "certificates read again"),
                Reloaded::Kept(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(listener = %listener.id(), %error, cause, "the new certificates cannot be used, the old ones stay");
                }
            }
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Listener>, ChangeError> {
        let found = self.0.all.lock().get(id).map(|entry| Arc::clone(&entry.listener));
        found.ok_or_else(|| ChangeError::Unknown(id.to_owned()))
    }

    fn put_open(&self, id: &str, open: Open) {
        if let Some(entry) = self.0.all.lock().get_mut(id) {
            entry.open = Some(open);
        }
    }

    fn open(&self, id: &str) -> Result<(), ChangeError> {
        let listener = self.find(id)?;
        if listener.is_running() {
            return Ok(());
        }
        let (socket, address) = listen(&listener.settings().config)?;
        let open = self.accept(&listener, socket, address);
        self.put_open(id, open);
        Ok(())
    }

    async fn close(&self, id: &str) -> Result<(), ChangeError> {
        /// A worker that does not close a socket for so long has other troubles.
        const LIMIT: Duration = Duration::from_secs(5);
        let open = match self.0.all.lock().get_mut(id) {
            Some(entry) => entry.open.take().inspect(|_| entry.listener.set_running(false)),
            None => return Err(ChangeError::Unknown(id.to_owned())),
        };
        let Some(open) = open else { return Ok(()) };
        open.stop.cancel();
        if tokio::time::timeout(LIMIT, open.closed).await.is_err() {
            warn!(listener = id, "the socket is still open");
        }
        info!(listener = id, "stopped listening");
        Ok(())
    }

    fn drop_clients(&self, listener: &Arc<Listener>) {
        listener.renew();
        for worker in 0..self.0.mailboxes.len() as u16 {
            self.0.mailboxes.of(worker).put(|mail| mail.dropped.push(Arc::clone(listener)));
        }
    }
}

impl Entry {
    fn status(&self) -> ListenerStatus {
        let settings = self.listener.settings();
        let counters = self.listener.counters();
        ListenerStatus {
            id: self.listener.id().to_string(),
            kind: settings.config.kind(),
            name: settings.config.name.clone(),
            config: settings.config.clone(),
            running: self.listener.is_running(),
            address: self.open.as_ref().map(|open| open.address),
            current_connections: counters.current.load(Ordering::Relaxed),
            accepted: counters.accepted.load(Ordering::Relaxed),
            refused_full: counters.refused_full.load(Ordering::Relaxed),
            refused_address: counters.refused_address.load(Ordering::Relaxed),
            failed_handshakes: counters.failed_handshakes.load(Ordering::Relaxed),
            pauses: counters.pauses.load(Ordering::Relaxed),
        }
    }
}

fn listen(config: &ListenerConfig) -> Result<(StdListener, SocketAddr), ListenError> {
    try_listen(config.bind, &config.tcp).map_err(|source| {
        let (listener, bind) = (config.id(), config.bind);
        if source.kind() == io::ErrorKind::AddrInUse {
            ListenError::PortTaken { listener, bind, source }
        } else {
            ListenError::Listen { listener, bind, source }
        }
    })
}

fn try_listen(bind: SocketAddr, options: &TcpOptions) -> io::Result<(StdListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(bind), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // before the first connection, so that its window can be as large
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(&bind.into())?;
    socket.listen(options.backlog)?;
    let socket = StdListener::from(socket);
    let address = socket.local_addr()?;
    Ok((socket, address))
}
