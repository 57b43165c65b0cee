//! Opening connections: the health check, and names that differ from the URL's host.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where the connections of a connector go.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// Host to be resolved.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// TLS and the name of the target in it; none for plain HTTP.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Longest time to open a connection.
    pub(crate) timeout: Duration,
}

impl Dial {
    /// Opens a connection and closes it again; sends no request.
    pub(crate) async fn probe(&self) -> Result<(), String> {
        match tokio::time::timeout(self.timeout, self.open()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no connection to {}:{} within {:?}", self.host, self.port, self.timeout)),
        }
    }

    async fn open(&self) -> Result<(), String> {
        let Self { host, port, .. } = self;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        match &self.tls {
            Some((config, name)) => TlsConnector::from(Arc::clone(config))
                .connect(name.clone(), stream)
                .await
                .map(drop)
                .map_err(|error| format!("TLS handshake with {host}:{port} failed: {error}")),
            None => stays_open(&stream).await.map_err(|error| format!("{host}:{port} {error}")),
        }
    }
}

/// How long a connection has to stay open.
const OPEN_FOR: Duration = Duration::from_millis(50);

/// A balancer without servers behind it takes connections and closes them at once.
async fn stays_open(stream: &TcpStream) -> Result<(), String> {
    match tokio::time::timeout(OPEN_FOR, stream.peek(&mut [0])).await {
        Ok(Ok(0)) => Err("closes connections at once".to_owned()),
        Ok(Err(error)) => Err(format!("does not keep connections: {error}")),
        // whoever speaks first is there
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_closes_at_once_is_no_target() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let dial = Dial { host: "127.0.0.1".to_owned(), port, tls: None, timeout: Duration::from_secs(5) };
        let (probed, ()) = tokio::join!(dial.probe(), async {
            drop(listener.accept().await.expect("a connection"));
        });
        assert!(probed.is_err_and(|message| message.contains("closes connections at once")));
        let (probed, kept) = tokio::join!(dial.probe(), listener.accept());
        assert_eq!(probed, Ok(()));
        drop(kept);
    }
}

/// Resolves every name to the addresses of one host: connections that are called by another name in TLS.
#[derive(Debug)]
pub(crate) struct ResolveTo(pub(crate) String);

impl Resolve for ResolveTo {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
