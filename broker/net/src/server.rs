//! Starting and stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use broker_core::Broker;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::ServerConfig;
use crate::listeners::{ListenError, Listeners, Prepared};
use crate::mailbox::{Mailboxes, Stop};
use crate::worker::Worker;
use crate::zone::Zones;

/// How often the files of certificates are looked at.
const CERTIFICATES_PERIOD: Duration = Duration::from_secs(2);

/// The listeners and workers that run.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    listeners: Listeners,
    mailboxes: Arc<Mailboxes>,
    threads: Vec<JoinHandle<()>>,
    /// Ends the thread that watches certificates when it is dropped.
    watching: Option<(SyncSender<()>, JoinHandle<()>)>,
    broker: Arc<Broker>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener does not start.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`")]
    Thread {
        /// Its name.
        thread: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Opens the listeners and starts the workers.
    ///
    /// # Errors
    /// When a listener cannot be opened, or a thread cannot be started. Nothing keeps running then.
    pub fn start(config: ServerConfig, broker: Arc<Broker>) -> Result<Self, StartError> {
        let workers = config.worker_count();
        let zones = Arc::new(Zones::new(&config, Instant::now()));
        let prepared: Vec<Prepared> =
            config.listeners.into_iter().map(Prepared::new).collect::<Result<_, _>>()?;
        let addresses = prepared.iter().filter_map(Prepared::address).collect();
        let mailboxes = Mailboxes::new(workers);
        broker.set_outlets(Arc::clone(&mailboxes) as _);
        let listeners = Listeners::new(Arc::clone(&mailboxes));
        let mut server =
            Self { addresses, listeners, mailboxes, threads: Vec::new(), watching: None, broker };
        for worker in 0..workers {
            let thread = server.start_worker(worker, &zones);
            let thread =
                thread.map_err(|source| StartError::Thread { thread: format!("mqtt-{worker}"), source })?;
            server.threads.push(thread);
        }
        let watching = watch_certificates(server.listeners.clone());
        let watching =
            watching.map_err(|source| StartError::Thread { thread: "mqtt-files".to_owned(), source })?;
        server.watching = Some(watching);
        prepared.into_iter().for_each(|listener| server.listeners.install(listener));
        info!(workers, "MQTT workers started");
        Ok(server)
    }

    fn start_worker(&self, index: usize, zones: &Arc<Zones>) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = Arc::clone(&self.broker);
        let mailboxes = Arc::clone(&self.mailboxes);
        let zones = Arc::clone(zones);
        std::thread::Builder::new().name(format!("mqtt-{index}")).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                Worker::new(index as u16, broker, mailboxes, zones).run().await;
            });
        })
    }

    /// Returns the address of the first listener.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Returns the addresses of the listeners that were opened at the start, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the listeners, to look at and to change.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
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
        let watching = self.watching.take().map(|(stop, thread)| {
            drop(stop);
            thread
        });
        for thread in self.threads.drain(..).chain(watching) {
            if thread.join().is_err() {
                warn!("a thread has panicked");
            }
        }
    }
}

/// A server that is dropped without [`Server::shutdown`] stops at once.
impl Drop for Server {
    fn drop(&mut self) {
        if !self.threads.is_empty() || self.watching.is_some() {
            self.stop_threads();
        }
    }
}

/// Looks at the files of certificates until the sender is dropped. A thread of its own: reading files would hold up
/// whom it shares one with.
fn watch_certificates(listeners: Listeners) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel::<()>(0);
    let thread = std::thread::Builder::new().name("mqtt-files".to_owned()).spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(CERTIFICATES_PERIOD) {
            listeners.reload_certificates(false);
        }
    })?;
    Ok((stop, thread))
}
