//! What comes before MQTT: the header of a proxy, TLS, WebSocket. Each has a time limit of its own.

use std::io;
use std::time::Duration;

use broker_core::{Endpoints, PeerCertificate};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::listener::Settings;
use crate::proxy::{self, ProxyError};
use crate::stream::{self, Reader, Wire, Writer};
use crate::tls::Tls;
use crate::websocket::{self, UpgradeError};
use crate::{access_rules, certificate};

/// How long the request of a WebSocket may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a connection does not come as far as MQTT.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0} took too long")]
    TimedOut(&'static str),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("the address may not connect")]
    Address,
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}

/// Brings a new connection as far as MQTT, and notes in `endpoints` what is found out about the client.
pub(crate) async fn shake_hands(
    mut socket: TcpStream,
    settings: &Settings,
    endpoints: &mut Endpoints,
    frame_bytes_max: usize,
) -> Result<(Reader, Writer), HandshakeError> {
    let config = &settings.config;
    if config.proxy_protocol {
        let header = timeout(config.proxy_protocol_timeout, proxy::read_header(&mut socket));
        let proxied =
            header.await.map_err(|_| HandshakeError::TimedOut("the header of the PROXY protocol"))??;
        if let Some((remote, local)) = proxied.addresses {
            (endpoints.remote, endpoints.local) = (remote, local);
        }
        if let Some(name) = proxied.common_name {
            let subject = Some(format!("CN={name}"));
            let certificate =
                PeerCertificate { common_name: Some(name), subject, ..PeerCertificate::default() };
            endpoints.certificate = Some(Box::new(certificate));
        }
        check_address(settings, endpoints)?;
    }
    let wire = match &settings.tls {
        Some(tls) => secure(socket, tls, endpoints).await?,
        None => Wire::new(socket, None),
    };
    let Some(websocket) = &config.websocket else { return Ok(stream::layered(wire, None)) };
    let mut wire = wire;
    let upgrade = websocket::upgrade(&mut wire, websocket, endpoints.remote, frame_bytes_max);
    let upgraded = timeout(UPGRADE_TIMEOUT, upgrade);
    let upgraded = upgraded.await.map_err(|_| HandshakeError::TimedOut("the WebSocket request"))??;
    if let Some(remote) = upgraded.remote {
        endpoints.remote = remote;
    }
    if websocket.address_header.is_some() {
        check_address(settings, endpoints)?;
    }
    Ok(stream::layered(wire, Some(upgraded.framing)))
}

fn check_address(settings: &Settings, endpoints: &Endpoints) -> Result<(), HandshakeError> {
    if access_rules::allows(&settings.config.access_rules, endpoints.remote.ip()) {
        Ok(())
    } else {
        Err(HandshakeError::Address)
    }
}

async fn secure(socket: TcpStream, tls: &Tls, endpoints: &mut Endpoints) -> Result<Wire, HandshakeError> {
    let accepting = TlsAcceptor::from(tls.current()).accept(socket);
    let stream = timeout(tls.config().handshake_timeout, accepting)
        .await
        .map_err(|_| HandshakeError::TimedOut("the TLS handshake"))?
        .map_err(HandshakeError::Tls)?;
    let (socket, connection) = stream.into_inner();
    if let Some(own) = connection.peer_certificates().and_then(|chain| chain.first()) {
        endpoints.certificate = Some(Box::new(certificate::read(own)));
    }
    Ok(Wire::new(socket, Some(Box::new(connection))))
}
