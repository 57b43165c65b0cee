//! A webhook receiver that costs next to nothing: answers every POST at once, counts.
//!
//!   http-sink PORT [DELAY_MS] [STATUS]
//!
//! GET /stats returns {"requests":N,"bytes":N,"rows":N,"conns":N}; rows counts the
//! occurrences of "ts": in the bodies, so batches count as what they hold.
//! DELAY_MS holds every answer back (a slow server), STATUS is answered instead of 200.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

struct C {
    s: TcpStream,
    inb: Vec<u8>,
    out: Vec<u8>,
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let port: u16 = a.get(1).and_then(|p| p.parse().ok()).expect("http-sink PORT [DELAY_MS] [STATUS]");
    let delay = Duration::from_millis(a.get(2).and_then(|p| p.parse().ok()).unwrap_or(0));
    let status: u16 = a.get(3).and_then(|p| p.parse().ok()).unwrap_or(200);
    let answer =
        format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{{}}")
            .into_bytes();
    let l = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    l.set_nonblocking(true).unwrap();
    let ep = unsafe { libc::epoll_create1(0) };
    let add = |fd: i32, ev: i32| unsafe {
        let mut e = libc::epoll_event { events: ev as u32, u64: fd as u64 };
        libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut e);
    };
    add(l.as_raw_fd(), libc::EPOLLIN);
    let lfd = l.as_raw_fd();
    let mut conns: HashMap<i32, C> = HashMap::new();
    let mut late: std::collections::VecDeque<(Instant, i32, Vec<u8>)> = Default::default();
    let (mut reqs, mut bytes, mut rows) = (0u64, 0u64, 0u64);
    let mut evs: Vec<libc::epoll_event> = vec![unsafe { std::mem::zeroed() }; 256];
    let mut buf = vec![0u8; 256 * 1024];
    loop {
        let t = late
            .front()
            .map_or(1000, |d| d.0.saturating_duration_since(Instant::now()).as_millis() as i32 + 1);
        let n = unsafe { libc::epoll_wait(ep, evs.as_mut_ptr(), 256, t) }.max(0) as usize;
        let mut gone = Vec::new();
        while late.front().is_some_and(|d| d.0 <= Instant::now()) {
            let (_, fd, b) = late.pop_front().unwrap();
            if let Some(c) = conns.get_mut(&fd) {
                c.out.extend_from_slice(&b);
                if !push(c) {
                    gone.push(fd);
                }
            }
        }
        for e in evs.iter().take(n) {
            let fd = e.u64 as i32;
            if fd == lfd {
                while let Ok((s, _)) = l.accept() {
                    s.set_nonblocking(true).ok();
                    s.set_nodelay(true).ok();
                    let f = s.as_raw_fd();
                    conns.insert(f, C { s, inb: Vec::new(), out: Vec::new() });
                    add(f, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET);
                }
                continue;
            }
            let n_conns = conns.len();
            let Some(c) = conns.get_mut(&fd) else { continue };
            let mut open = true;
            loop {
                match c.s.read(&mut buf) {
                    Ok(0) => {
                        open = false;
                        break;
                    }
                    Ok(k) => c.inb.extend_from_slice(&buf[..k]),
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        open = false;
                        break;
                    }
                }
            }
            let mut o = 0;
            while let Some((head, body_at, len, chunked)) = request(&c.inb[o..]) {
                let get = head.starts_with(b"GET /stats");
                if head.windows(21).any(|w| w.eq_ignore_ascii_case(b"expect: 100-continue\r"))
                    && c.inb.len() - o == body_at
                {
                    c.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                let end = if chunked {
                    c.inb[o + body_at..].windows(5).position(|w| w == b"0\r\n\r\n").map(|p| p + 5)
                } else {
                    Some(len)
                };
                let Some(len) = end else { break };
                if c.inb.len() - o < body_at + len {
                    break;
                }
                if get {
                    let b = format!(
                        "{{\"requests\":{reqs},\"bytes\":{bytes},\"rows\":{rows},\"conns\":{n_conns}}}"
                    );
                    c.out.extend_from_slice(
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{b}", b.len()).as_bytes(),
                    );
                } else {
                    let body = &c.inb[o + body_at..o + body_at + len];
                    reqs += 1;
                    bytes += len as u64;
                    rows += count_ts(body);
                    if delay.is_zero() {
                        c.out.extend_from_slice(&answer);
                    } else {
                        late.push_back((Instant::now() + delay, fd, answer.clone()));
                    }
                }
                o += body_at + len;
            }
            c.inb.drain(..o);
            if !push(c) || !open {
                gone.push(fd);
            }
        }
        for fd in gone {
            conns.remove(&fd);
        }
    }
}

fn count_ts(b: &[u8]) -> u64 {
    let (mut n, mut i) = (0, 0);
    while i + 5 <= b.len() {
        if b[i] == b'"' && &b[i..i + 5] == b"\"ts\":" {
            n += 1;
            i += 5;
        } else {
            i += 1;
        }
    }
    n
}

fn push(c: &mut C) -> bool {
    while !c.out.is_empty() {
        match c.s.write(&c.out) {
            Ok(n) => {
                c.out.drain(..n);
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// (head, where the body begins, content length, chunked) once the head is whole.
fn request(b: &[u8]) -> Option<(&[u8], usize, usize, bool)> {
    let end = b.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let (mut len, mut chunked) = (0, false);
    for line in b[..end].split(|c| *c == b'\n') {
        let mut it = line.splitn(2, |c| *c == b':');
        let (k, v) = (it.next().unwrap_or(b""), it.next().unwrap_or(b""));
        if k.eq_ignore_ascii_case(b"content-length") {
            len = std::str::from_utf8(v).ok().and_then(|v| v.trim().parse().ok()).unwrap_or(0);
        } else if k.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = v.windows(7).any(|w| w.eq_ignore_ascii_case(b"chunked"));
        }
    }
    Some((&b[..end], end, len, chunked))
}
