//! The bytes of a connection: plain TCP, or TCP with TLS, WebSocket or both around it.
//!
//! Plain TCP takes the short way: its halves belong to who reads and who writes, and nothing is between. The others
//! share one [`Layered`], which is borrowed for one read or one write at a time and never across a wait.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use broker_core::Outgoing;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::websocket::Framing;

/// How far writing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything is out.
    All,
    /// The socket takes nothing more for now.
    Blocked,
}

/// Pieces that one write takes.
const SLICES_MAX: usize = 64;

/// The side of a connection that is written to.
pub(crate) enum Writer {
    Tcp(OwnedWriteHalf),
    Layered(Rc<RefCell<Layered>>),
}

/// The side of a connection that is read from.
pub(crate) enum Reader {
    Tcp(OwnedReadHalf),
    Layered(Rc<RefCell<Layered>>),
}

/// A socket with something around it.
pub(crate) struct Layered {
    wire: Wire,
    framing: Option<Framing>,
}

/// A socket, with TLS or without.
pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

/// Splits plain TCP.
pub(crate) fn plain(socket: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = socket.into_split();
    (Reader::Tcp(reader), Writer::Tcp(writer))
}

/// Makes the two sides of a socket with something around it.
pub(crate) fn layered(wire: Wire, framing: Option<Framing>) -> (Reader, Writer) {
    let shared = Rc::new(RefCell::new(Layered { wire, framing }));
    (Reader::Layered(Rc::clone(&shared)), Writer::Layered(shared))
}

impl AsyncRead for Reader {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(reader) => Pin::new(reader).poll_read(task, buffer),
            Self::Layered(shared) => shared.borrow_mut().poll_read(task, buffer),
        }
    }
}

impl Writer {
    /// Writes as much as the socket takes and returns the number of bytes too.
    #[inline]
    pub(crate) fn write(&self, out: &mut Outgoing) -> io::Result<(Written, usize)> {
        match self {
            Self::Tcp(writer) => write_plain(writer, out),
            Self::Layered(shared) => shared.borrow_mut().write(out),
        }
    }

    /// Waits until the socket takes more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(writer) => writer.writable().await,
            Self::Layered(shared) => poll_fn(|task| shared.borrow().wire.socket.poll_write_ready(task)).await,
        }
    }

    /// Adds what says goodbye in the layers around the socket. What was written goes before it, and nothing after it.
    pub(crate) fn say_goodbye(&self) {
        if let Self::Layered(shared) = self {
            shared.borrow_mut().say_goodbye();
        }
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Tcp(writer) => SockRef::from(writer.as_ref()).shutdown(Shutdown::Write),
            Self::Layered(shared) => SockRef::from(&shared.borrow().wire.socket).shutdown(Shutdown::Write),
        }
    }

    /// Has the system forget what the peer has not taken when the socket is closed.
    pub(crate) fn abort(&self) {
        let at_once = Some(Duration::ZERO);
        // else it keeps the bytes a while longer, and that is all
        let _ = match self {
            Self::Tcp(writer) => SockRef::from(writer.as_ref()).set_linger(at_once),
            Self::Layered(shared) => SockRef::from(&shared.borrow().wire.socket).set_linger(at_once),
        };
    }

    /// Reads away what the peer still sends, until it has closed too.
    pub(crate) async fn drain(&self) -> io::Result<()> {
        let mut rest = [0; 1024];
        loop {
            let read = match self {
                Self::Tcp(writer) => {
                    writer.as_ref().readable().await?;
                    writer.as_ref().try_read(&mut rest)
                }
                Self::Layered(shared) => {
                    poll_fn(|task| shared.borrow().wire.socket.poll_read_ready(task)).await?;
                    shared.borrow().wire.socket.try_read(&mut rest)
                }
            };
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[inline]
fn write_plain(writer: &OwnedWriteHalf, out: &mut Outgoing) -> io::Result<(Written, usize)> {
    let mut total = 0;
    while !out.is_empty() {
        let result = match out.contiguous() {
            Some(bytes) => writer.try_write(bytes),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let filled = out.slices(&mut slices);
                writer.try_write_vectored(&slices[..filled])
            }
        };
        match result {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                total += count;
                out.advance(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((Written::Blocked, total)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((Written::All, total))
}

impl Layered {
    fn poll_read(&mut self, task: &mut TaskContext<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        /// More is not made ready at once, as it is not much more that comes at once.
        const ROOM_BYTES: usize = 64 * 1024;
        let mut port = self.wire.port(Some(task));
        let room = buffer.initialize_unfilled_to(buffer.remaining().min(ROOM_BYTES));
        let result = match &mut self.framing {
            None => read_many(&mut port, room),
            Some(framing) => framing.read(&mut port, room),
        };
        match result {
            Ok(count) => {
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn write(&mut self, out: &mut Outgoing) -> io::Result<(Written, usize)> {
        let mut port = self.wire.port(None);
        let mut total = 0;
        loop {
            let flushed = match &mut self.framing {
                None => port.flush(),
                Some(framing) => framing.flush(&mut port),
            };
            match flushed {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((Written::Blocked, total)),
                Err(error) => return Err(error),
            }
            if out.is_empty() {
                return Ok((Written::All, total));
            }
            let taken = match &mut self.framing {
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let filled = match out.contiguous() {
                        Some(bytes) => {
                            slices[0] = IoSlice::new(bytes);
                            1
                        }
                        None => out.slices(&mut slices),
                    };
                    port.write_vectored(&slices[..filled])
                }
                Some(framing) => framing.write(&mut port, out),
            };
            match taken {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    total += count;
                    out.advance(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((Written::Blocked, total)),
                Err(error) => return Err(error),
            }
        }
    }

    fn say_goodbye(&mut self) {
        if let Some(framing) = &mut self.framing {
            framing.say_goodbye(&mut self.wire.port(None));
        }
        if let Some(tls) = &mut self.wire.tls {
            tls.send_close_notify();
        }
    }
}

/// Reads until `room` is full or nothing more is there.
fn read_many(port: &mut Port<'_, '_>, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match port.read(&mut room[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(_) if filled > 0 => break, // it comes again
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, tls: Option<Box<ServerConnection>>) -> Self {
        Self { socket, tls }
    }

    /// Returns what reads and writes without waiting; who reads is woken when there is more, if it names its task.
    pub(crate) fn port<'a, 'b>(&'a mut self, task: Option<&'a mut TaskContext<'b>>) -> Port<'a, 'b> {
        Port { socket: Socket { socket: &mut self.socket, task }, tls: self.tls.as_deref_mut() }
    }

    /// Reads some bytes; none when the peer has closed.
    pub(crate) async fn read_some(&mut self, room: &mut [u8]) -> io::Result<usize> {
        poll_fn(|task| match self.port(Some(task)).read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        })
        .await
    }

    /// Writes all.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let mut port = self.port(None);
            let result = if bytes.is_empty() { port.flush().map(|()| 0) } else { port.write(bytes) };
            match result {
                Ok(_) if bytes.is_empty() => return Ok(()),
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll_fn(|task| self.socket.poll_write_ready(task)).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The socket alone, without waiting.
struct Socket<'a, 'b> {
    socket: &'a mut TcpStream,
    task: Option<&'a mut TaskContext<'b>>,
}

impl Read for Socket<'_, '_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(task) = &mut self.task else { return self.socket.try_read(room) };
        let mut buffer = ReadBuf::new(room);
        match Pin::new(&mut *self.socket).poll_read(task, &mut buffer) {
            Poll::Ready(result) => result.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket with TLS or without: what MQTT or WebSocket reads and writes, without waiting.
pub(crate) struct Port<'a, 'b> {
    socket: Socket<'a, 'b>,
    tls: Option<&'a mut ServerConnection>,
}

impl Read for Port<'_, '_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(room) };
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            match tls.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // cut off without a goodbye: for MQTT one way to go is like the other
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            tls.read_tls(&mut self.socket)?;
            let processed = tls.process_new_packets();
            if tls.wants_write() {
                // an alert, or the answer to a change of keys; if it does not go now, it goes with the next write
                let _ = tls.write_tls(&mut self.socket);
            }
            processed.map_err(|error| io::Error::new(ErrorKind::ConnectionAborted, error))?;
        }
    }
}

impl Port<'_, '_> {
    /// Encrypts, and writes what the socket takes. What is encrypted counts as written.
    fn write_with(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<usize>) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return write(&mut self.socket) };
        let count = write(&mut tls.writer())?;
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ if count == 0 => Err(ErrorKind::WouldBlock.into()), // full
            _ => Ok(count),
        }
    }
}

impl Write for Port<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(|inner| inner.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|inner| inner.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
