//! Starting and stopping.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use broker_core::{Broker, Endpoints};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};
use tracing::{info, warn};

use crate::config::{ListenerConfig, ServerConfig};
use crate::mailbox::{Accepted, Mailboxes, Stop, Ticket};
use crate::worker::Worker;

/// The listeners and workers that run.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    mailboxes: Arc<Mailboxes>,
    threads: Vec<JoinHandle<()>>,
    broker: Arc<Broker>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use.
    #[error("port taken: `{bind}` of listener `{listener}` is in use; set another `bind` for it")]
    PortTaken {
        /// Name of the listener.
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
        /// Name of the listener.
        listener: String,
        /// The address.
        bind: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A worker thread cannot be started.
    #[error("cannot start worker thread {worker}")]
    Worker {
        /// Number of the worker.
        worker: usize,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Opens the listeners and starts the workers.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread cannot be started. Nothing keeps running then.
    pub fn start(config: ServerConfig, broker: Arc<Broker>) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for listener in &config.listeners {
            let socket = listen(listener).map_err(|source| start_error(listener, source))?;
            addresses.push(socket.local_addr().map_err(|source| start_error(listener, source))?);
            listeners.push((socket, listener.clone()));
        }
        let workers = config.worker_count();
        let mailboxes = Mailboxes::new(workers);
        broker.set_outlets(Arc::clone(&mailboxes) as _);
        let mut server = Self { addresses, mailboxes, threads: Vec::new(), broker };
        for worker in 0..workers {
            let own_listeners = if worker == 0 { std::mem::take(&mut listeners) } else { Vec::new() };
            match server.start_worker(worker, own_listeners, config.idle_timeout) {
                Ok(thread) => server.threads.push(thread),
                Err(source) => {
                    server.stop_threads();
                    return Err(StartError::Worker { worker, source });
                }
            }
        }
        for (listener, address) in config.listeners.iter().zip(&server.addresses) {
            info!(listener = listener.id(), %address, workers, "listening");
        }
        Ok(server)
    }

    fn start_worker(
        &self,
        index: usize,
        listeners: Vec<(StdListener, ListenerConfig)>,
        idle_timeout: Duration,
    ) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = Arc::clone(&self.broker);
        let mailboxes = Arc::clone(&self.mailboxes);
        std::thread::Builder::new().name(format!("mqtt-{index}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let worker = Worker::new(index as u16, broker, Arc::clone(&mailboxes), idle_timeout);
                let accepting: Vec<_> = listeners
                    .into_iter()
                    .map(|(socket, config)| {
                        spawn_local(accept(socket, config, worker.clone(), Arc::clone(&mailboxes)))
                    })
                    .collect();
                let running = worker.run_with(|| accepting.iter().for_each(|task| task.abort()));
                running.await;
            });
        })
    }

    /// Returns the address of the first listener.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Returns the addresses of all listeners, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops: accepts nothing more, tells clients, sends what is to be sent within `grace`, and ends the workers.
    pub async fn shutdown(mut self, grace: Duration) {
        self.broker.stop();
        let workers = self.mailboxes.len() as u16;
        let waiting: Vec<_> = (0..workers).map(|worker| self.tell_stop(worker, grace)).collect();
        for done in waiting {
            let _ = done.await; // a worker that is gone has stopped
        }
        self.join_threads();
    }

    fn tell_stop(&self, worker: u16, grace: Duration) -> oneshot::Receiver<()> {
        let (done, waiting) = oneshot::channel();
        self.mailboxes.of(worker).put(|mail| mail.stop = Some(Stop { grace, done }));
        waiting
    }

    fn stop_threads(&mut self) {
        for worker in 0..self.threads.len() as u16 {
            drop(self.tell_stop(worker, Duration::ZERO));
        }
        self.join_threads();
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a worker thread has panicked");
            }
        }
    }
}

/// A server that is dropped without [`Server::shutdown`] stops at once.
impl Drop for Server {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop_threads();
        }
    }
}

fn listen(config: &ListenerConfig) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(config.bind), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&config.bind.into())?;
    socket.listen(config.backlog)?;
    Ok(socket.into())
}

fn start_error(config: &ListenerConfig, source: io::Error) -> StartError {
    let (listener, bind) = (config.id(), config.bind);
    if source.kind() == io::ErrorKind::AddrInUse {
        StartError::PortTaken { listener, bind, source }
    } else {
        StartError::Listen { listener, bind, source }
    }
}

/// Accepts connections and hands them to the workers in turn.
async fn accept(
    socket: StdListener,
    config: ListenerConfig,
    worker: std::rc::Rc<Worker>,
    mailboxes: Arc<Mailboxes>,
) {
    /// How long to wait when the process is out of file descriptors or memory.
    const RETRY_AFTER: Duration = Duration::from_millis(100);
    let id: Arc<str> = config.id().into();
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(listener = %id, %error, "cannot accept connections");
            return;
        }
    };
    let tickets = Arc::new(());
    let mut turn = 0;
    loop {
        let (socket, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = %id, %error, "cannot accept a connection");
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
        };
        if config.max_connections > 0 && Arc::strong_count(&tickets) > config.max_connections {
            continue; // dropped: closes it
        }
        let Ok(local) = socket.local_addr() else { continue };
        let endpoints = Endpoints { remote, local, listener: Arc::clone(&id) };
        let ticket = Ticket(Arc::clone(&tickets));
        let target = turn;
        turn = (turn + 1) % mailboxes.len() as u16;
        if target == 0 {
            worker.adopt(socket, endpoints, ticket);
        } else if let Ok(socket) = socket.into_std() {
            mailboxes.of(target).put(|mail| mail.sockets.push(Accepted { socket, endpoints, ticket }));
        }
    }
}
