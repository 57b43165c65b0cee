//! MQTT over WebSocket: the handshake, and frames around the bytes.
//!
//! Frames have no meaning for MQTT: a packet may span several, and several packets may share one.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};

use broker_core::Outgoing;
use bytes::{Buf as _, Bytes};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::header::{HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig as FrameConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::config::WebSocketConfig;
use crate::stream::{Port, Wire};

/// Largest request of a handshake.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Bytes of one frame that we send; a large packet takes several.
const FRAME_BYTES: usize = 16 * 1024;

/// Bytes read from the wire at a time.
const READ_BYTES: usize = 8 * 1024;

/// Pieces that are gathered for one frame.
const SLICES_MAX: usize = 16;

/// Why a handshake fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("the connection broke in the WebSocket handshake")]
    Broken(#[from] io::Error),
    #[error("no WebSocket request: {0}")]
    NoRequest(String),
    #[error("WebSocket request refused: {0}")]
    Refused(&'static str),
}

/// A connection that has been upgraded.
pub(crate) struct Upgraded {
    pub(crate) framing: Framing,
    /// Address of the client as a proxy says.
    pub(crate) remote: Option<SocketAddr>,
}

/// What is answered to a request.
enum Answer {
    Accept { response: Vec<u8>, remote: Option<SocketAddr> },
    Refuse { status: &'static str, reason: &'static str },
}

/// Reads the request, answers it, and makes the framing. `frame_bytes_max` limits frames where the configuration does
/// not.
pub(crate) async fn upgrade(
    wire: &mut Wire,
    config: &WebSocketConfig,
    peer: SocketAddr,
    frame_bytes_max: usize,
) -> Result<Upgraded, UpgradeError> {
    let mut bytes = Vec::new();
    let (len, request) = loop {
        let mut room = [0; 1024];
        let count = wire.read_some(&mut room).await?;
        if count == 0 {
            return Err(UpgradeError::Broken(ErrorKind::UnexpectedEof.into()));
        }
        bytes.extend_from_slice(&room[..count]);
        match Request::try_parse(&bytes) {
            Ok(Some(found)) => break found,
            Ok(None) if bytes.len() < REQUEST_BYTES_MAX => {}
            Ok(None) => {
                refuse(wire, "431 Request Header Fields Too Large", "request too large").await?;
                return Err(UpgradeError::NoRequest("too large".to_owned()));
            }
            Err(error) => {
                refuse(wire, "400 Bad Request", "no HTTP request").await?;
                return Err(UpgradeError::NoRequest(error.to_string()));
            }
        }
    };
    match answer(&request, config, peer) {
        Answer::Accept { response, remote } => {
            wire.write_all(&response).await?;
            let limit = config.max_frame_size.unwrap_or(frame_bytes_max);
            let framing = Framing::new(bytes.split_off(len), limit);
            Ok(Upgraded { framing, remote })
        }
        Answer::Refuse { status, reason } => {
            refuse(wire, status, reason).await?;
            Err(UpgradeError::Refused(reason))
        }
    }
}

async fn refuse(wire: &mut Wire, status: &str, reason: &str) -> io::Result<()> {
    let version =
        if status.starts_with("426") { "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {status}\r\n{version}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reason}\n",
        reason.len() + 1
    );
    wire.write_all(text.as_bytes()).await
}

fn answer(request: &Request, config: &WebSocketConfig, peer: SocketAddr) -> Answer {
    let refuse = |status, reason| Answer::Refuse { status, reason };
    if request.uri().path() != config.path {
        return refuse("404 Not Found", "MQTT is on another path");
    }
    let Ok(mut response) = create_response(request) else {
        return refuse("426 Upgrade Required", "no WebSocket request of version 13");
    };
    if !may_connect(request, config) {
        return refuse("403 Forbidden", "this origin may not connect");
    }
    match choose_subprotocol(request, config) {
        Some(subprotocol) => {
            let Ok(value) = HeaderValue::from_str(subprotocol) else {
                return refuse("400 Bad Request", "bad subprotocol");
            };
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        None if config.requires_subprotocol => {
            return refuse("400 Bad Request", "the subprotocol must be `mqtt`");
        }
        None => {}
    }
    let mut text = Vec::new();
    if write_response(&mut text, &response).is_err() {
        return refuse("500 Internal Server Error", "no response");
    }
    Answer::Accept { response: text, remote: remote(request, config, peer) }
}

/// Finds the first of the names that the client offers and that is MQTT.
fn choose_subprotocol<'a>(request: &Request, config: &'a WebSocketConfig) -> Option<&'a str> {
    let lists = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    offered
        .map(str::trim)
        .find_map(|offered| config.subprotocols.iter().find(|known| known.eq_ignore_ascii_case(offered)))
        .map(String::as_str)
}

fn may_connect(request: &Request, config: &WebSocketConfig) -> bool {
    let Some(origins) = &config.origins else { return true };
    match request.headers().get(ORIGIN).map(HeaderValue::to_str) {
        None => config.allows_no_origin,
        Some(Ok(origin)) => origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        Some(Err(_)) => false,
    }
}

/// Finds the address of the client in the headers of a proxy. The last element is the one that the proxy itself has
/// added; what is before it, the client can make up.
fn remote(request: &Request, config: &WebSocketConfig, peer: SocketAddr) -> Option<SocketAddr> {
    let last = |name: &Option<String>| {
        let name: HeaderName = name.as_deref()?.parse().ok()?;
        let value = request.headers().get_all(name).iter().next_back()?;
        value.to_str().ok()?.rsplit(',').next().map(str::trim)
    };
    let address = last(&config.address_header)?;
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Some(address);
    }
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    let port = last(&config.port_header).and_then(|port| port.parse().ok()).unwrap_or(peer.port());
    Some(SocketAddr::new(address, port))
}

/// Frames around the bytes of one connection.
pub(crate) struct Framing {
    context: Box<WebSocketContext>,
    /// What came in a frame and has not been read yet.
    unread: Bytes,
    /// How it ended, to be told once `unread` is read.
    ended: Option<Ended>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The client has closed.
    Closed,
    /// The client has broken the rules, and is told which.
    Broken(CloseCode, &'static str),
    /// The network connection is gone.
    Gone,
}

impl Framing {
    fn new(rest: Vec<u8>, frame_bytes_max: usize) -> Self {
        let config = FrameConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(frame_bytes_max))
            .max_frame_size(Some(frame_bytes_max));
        let context = WebSocketContext::from_partially_read(rest, Role::Server, Some(config));
        Self { context: Box::new(context), unread: Bytes::new(), ended: None }
    }

    /// Takes bytes out of the frames that have come.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has come, `InvalidData` when the client has broken the rules.
    pub(crate) fn read(&mut self, port: &mut Port<'_, '_>, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            let count = self.unread.len().min(room.len() - filled);
            self.unread.copy_to_slice(&mut room[filled..filled + count]);
            filled += count;
            if filled == room.len() || filled > 0 && self.ended.is_some() {
                return Ok(filled);
            }
            match self.ended {
                None => {}
                Some(Ended::Closed | Ended::Gone) => return Ok(0),
                Some(Ended::Broken(_, reason)) => return Err(io::Error::new(ErrorKind::InvalidData, reason)),
            }
            match self.context.read(port) {
                Ok(Message::Binary(bytes)) => self.unread = bytes,
                Ok(Message::Ping(_) | Message::Pong(_)) => {} // the answer goes out with the next read
                Ok(Message::Text(_) | Message::Frame(_)) => {
                    self.ended = Some(Ended::Broken(CloseCode::Unsupported, "MQTT needs binary frames"));
                }
                Ok(Message::Close(_)) => {
                    // the answer; that it is the end is no error
                    let _ = self.context.flush(port);
                    self.ended = Some(Ended::Closed);
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return if filled > 0 { Ok(filled) } else { Err(error) };
                }
                Err(error) => self.ended = Some(ended(&error)),
            }
        }
    }

    /// Puts the start of `out` into a frame, and returns its length.
    pub(crate) fn write(&mut self, port: &mut Port<'_, '_>, out: &Outgoing) -> io::Result<usize> {
        let mut bytes = Vec::with_capacity(out.len().min(FRAME_BYTES));
        let mut add = |slice: &[u8]| {
            let room = FRAME_BYTES - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(room)]);
            bytes.len() < FRAME_BYTES
        };
        match out.contiguous() {
            Some(slice) => {
                add(slice);
            }
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = out.slices(&mut slices);
                // one by one, until the frame is full
                let _ = slices[..count].iter().all(|slice| add(slice));
            }
        }
        let count = bytes.len();
        match self.context.write(port, Message::Binary(bytes.into())) {
            Ok(()) => Ok(count),
            // the frame is kept, and goes with the next flush
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(count),
            Err(error) => Err(into_io(error)),
        }
    }

    /// Sends what is left of frames.
    pub(crate) fn flush(&mut self, port: &mut Port<'_, '_>) -> io::Result<()> {
        match self.context.flush(port) {
            Ok(()) => Ok(()),
            // after our last frame
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => io::Write::flush(port),
            Err(error) => Err(into_io(error)),
        }
    }

    /// Adds a frame that closes, to be sent behind everything else.
    pub(crate) fn say_goodbye(&mut self, port: &mut Port<'_, '_>) {
        let (code, reason) = match self.ended {
            None => (CloseCode::Normal, ""),
            Some(Ended::Broken(code, reason)) => (code, reason),
            Some(Ended::Closed | Ended::Gone) => return,
        };
        // what does not go out now goes with the flush that follows
        let _ = self.context.close(port, Some(CloseFrame { code, reason: reason.into() }));
    }
}

fn ended(error: &Error) -> Ended {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ended::Closed,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => Ended::Gone,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            Ended::Broken(CloseCode::Size, "frame too large")
        }
        Error::Utf8(_) => Ended::Broken(CloseCode::Unsupported, "MQTT needs binary frames"),
        _ => Ended::Broken(CloseCode::Protocol, "no valid frame"),
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::new(ErrorKind::BrokenPipe, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &WebSocketConfig, head: &str, want: &str) -> Option<SocketAddr> {
        let text = format!(
            "GET {head}Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let (_, request) = Request::try_parse(text.as_bytes()).expect("HTTP").expect("whole");
        match answer(&request, config, ([127, 0, 0, 1], 9).into()) {
            Answer::Accept { response, remote } => {
                let text = String::from_utf8(response).expect("text");
                assert!(text.to_lowercase().contains(want), "{text}");
                assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
                remote
            }
            Answer::Refuse { status, .. } => {
                assert_eq!(status.split(' ').next(), Some(want), "{head}");
                None
            }
        }
    }

    #[test]
    fn requests_are_answered() {
        let config = WebSocketConfig::default();
        check(
            &config,
            "/mqtt HTTP/1.1\r\nSec-WebSocket-Protocol: mqtt\r\n",
            "sec-websocket-protocol: mqtt\r\n",
        );
        check(
            &config,
            "/mqtt?x=1 HTTP/1.1\r\nSec-WebSocket-Protocol: stomp, mqttv3.1\r\n",
            "sec-websocket-protocol: mqttv3.1\r\n",
        );
        check(&config, "/mqtt HTTP/1.1\r\nSec-WebSocket-Protocol: stomp\r\n", "400");
        check(&config, "/mqtt HTTP/1.1\r\n", "400");
        check(&config, "/ HTTP/1.1\r\nSec-WebSocket-Protocol: mqtt\r\n", "404");
        let lenient = WebSocketConfig { requires_subprotocol: false, ..config.clone() };
        check(&lenient, "/mqtt HTTP/1.1\r\n", "upgrade: websocket");
        let pages = WebSocketConfig { origins: Some(vec!["https://a.example".to_owned()]), ..config };
        let from = |origin: &str| format!("/mqtt HTTP/1.1\r\nSec-WebSocket-Protocol: mqtt\r\n{origin}");
        check(&pages, &from("Origin: https://a.example\r\n"), "protocol: mqtt");
        check(&pages, &from("Origin: https://b.example\r\n"), "403");
        check(&pages, &from(""), "protocol: mqtt");
        check(&WebSocketConfig { allows_no_origin: false, ..pages }, &from(""), "403");
    }

    #[test]
    fn the_last_proxy_names_the_client() {
        let from = |headers: &str| format!("/mqtt HTTP/1.1\r\nSec-WebSocket-Protocol: mqtt\r\n{headers}");
        let forwarded = from("X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\nX-Forwarded-Port: 77\r\n");
        assert_eq!(check(&WebSocketConfig::default(), &forwarded, "mqtt"), None);
        let config = WebSocketConfig {
            address_header: Some("x-forwarded-for".to_owned()),
            port_header: Some("x-forwarded-port".to_owned()),
            ..WebSocketConfig::default()
        };
        let remote = |head: &str| check(&config, head, "mqtt").map(|address| address.to_string());
        assert_eq!(remote(&forwarded).as_deref(), Some("192.0.2.7:77"));
        assert_eq!(remote(&from("X-Forwarded-For: [::1]:5\r\n")).as_deref(), Some("[::1]:5"));
        assert_eq!(remote(&from("X-Forwarded-For: ::1\r\n")).as_deref(), Some("[::1]:9"));
        assert_eq!(remote(&from("X-Forwarded-For: nobody\r\n")), None);
        assert_eq!(remote(&from("")), None);
    }
}
