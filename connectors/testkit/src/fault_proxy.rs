//! A TCP proxy on 127.0.0.1 that fails on request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything on.
    Pass,
    /// Cuts open connections and refuses new ones, as if the target was not running.
    Refuse,
    /// Keeps connections open and takes new ones, but passes nothing on: a link that lost its packets.
    BlackHole,
    /// Resets open connections and each new one.
    Reset,
    /// Passes everything on, each piece after a pause.
    Delay(Duration),
}

/// A TCP proxy that fails on request. Its task ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and passes on to `target`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let fault = watch::Sender::new(Fault::Pass);
        let task = tokio::spawn(run(listener, address, target, fault.subscribe()));
        Ok(Self { address, fault, task })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the proxy does, for open connections too.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut fault: watch::Receiver<Fault>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let now = *fault.borrow_and_update();
        if now == Fault::Refuse {
            listener = None;
            if fault.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            listener = listen_again(address);
        }
        let Some(open) = &listener else {
            // the port is taken for the moment
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::select! {
            changed = fault.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(pass_on(stream, target, fault.clone()));
            },
        }
        while connections.try_join_next().is_some() {}
    }
}

fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(address).ok()?;
    socket.listen(1024).ok()
}

async fn pass_on(mut client: TcpStream, target: SocketAddr, fault: watch::Receiver<Fault>) {
    let mut cut = fault.clone();
    if !is_cut(*fault.borrow())
        && let Ok(mut server) = TcpStream::connect(target).await
    {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            _ = cut.wait_for(|fault| is_cut(*fault)) => {}
            () = copy(from_client, to_server, fault.clone()) => {}
            () = copy(from_server, to_client, fault) => {}
        }
    }
    if is_cut(*cut.borrow()) {
        // closing sends a reset; at an ordinary end it would destroy what the client has not read yet
        let _reset = client.set_zero_linger();
    }
}

fn is_cut(fault: Fault) -> bool {
    matches!(fault, Fault::Refuse | Fault::Reset)
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut fault: watch::Receiver<Fault>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        if fault.wait_for(|fault| *fault != Fault::BlackHole).await.is_err() {
            return;
        }
        let pause = match *fault.borrow() {
            Fault::Delay(pause) => Some(pause),
            _ => None,
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
