//! An HTTP/1.1 server on 127.0.0.1 that answers as a script says and keeps what it got.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request that the server got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query string.
    pub path: String,
    /// Headers, names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// What the server does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers beside `content-length`.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Pause before the answer.
    pub pause: Duration,
    /// Closes the connection without an answer.
    pub cut: bool,
}

impl Answer {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), pause: Duration::ZERO, cut: false }
    }

    /// Closes the connection without an answer.
    pub fn cut() -> Self {
        Self { cut: true, ..Self::status(0) }
    }

    /// The same answer with a header more.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same answer with a body.
    pub fn with_body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// The same answer after a pause.
    pub fn after(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

type Script = Box<dyn Fn(&Request) -> Answer + Send>;

struct State {
    script: Mutex<Script>,
    /// Each request with the status that it was answered with; 0 when the connection was cut.
    requests: Mutex<Vec<(Request, u16)>>,
    connections: Mutex<usize>,
}

/// A scripted server. Its task ends when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Listens on a free port of 127.0.0.1 and answers each request with 200.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::listen(None).await
    }

    /// As [`HttpServer::start`], with TLS.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start_tls(config: ServerConfig) -> io::Result<Self> {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            script: Mutex::new(Box::new(|_| Answer::status(200))),
            requests: Mutex::default(),
            connections: Mutex::default(),
        });
        let task = tokio::spawn(run(listener, tls, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what the server answers from now on.
    pub fn answer_with(&self, script: impl Fn(&Request) -> Answer + Send + 'static) {
        *self.state.script.lock() = Box::new(script);
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().iter().map(|(request, _)| request.clone()).collect()
    }

    /// Every request so far that was answered with success, in the order of arrival.
    pub fn accepted(&self) -> Vec<Request> {
        let requests = self.state.requests.lock();
        let accepted = requests.iter().filter(|(_, status)| (200..300).contains(status));
        accepted.map(|(request, _)| request.clone()).collect()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        *self.state.connections.lock()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _sent_at_once = stream.set_nodelay(true);
        *state.connections.lock() += 1;
        let state = Arc::clone(&state);
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => serve(stream, &state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &state).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let answer = (state.script.lock())(&request);
        let status = if answer.cut { 0 } else { answer.status };
        state.requests.lock().push((request, status));
        tokio::time::sleep(answer.pause).await;
        if answer.cut || stream.write_all(&encode(&answer)).await.is_err() {
            return;
        }
    }
}

fn encode(answer: &Answer) -> Vec<u8> {
    let mut head =
        format!("HTTP/1.1 {} scripted\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), &answer.body].concat()
}

/// Reads a request with a `content-length` body; none at the end of the connection or when it makes no sense.
async fn read_request(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Request> {
    let head_length = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_length]).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    while buffer.len() < head_length + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_length..head_length + length].to_vec();
    buffer.drain(..head_length + length);
    Some(Request { method, path, headers, body })
}
