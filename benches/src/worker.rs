//! One reactor thread: edge-triggered epoll over many MQTT connections.

use crate::hist::Hist;
use crate::mqtt::{self, Kind, Tpl};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

pub const CONNECT: u8 = 0;
pub const WARM: u8 = 1;
pub const MEASURE: u8 = 2;
pub const DRAIN: u8 = 3;
pub const DONE: u8 = 4;

#[derive(Clone)]
pub struct Cfg {
    pub addr: Ipv4Addr,
    pub port: u16,
    pub v5: bool,
    pub durable: bool,
    pub qos: u8,
    pub sub_qos: u8,
    pub kind: Kind,
    pub inflight: u32,
    pub window: u64,
    pub batch: u32,
    pub rate: f64,
    pub fan: f64,
    pub exact: bool,
    pub conn_inflight: usize,
    pub src_ips: u32,
    pub keepalive: u16,
    pub user: Option<String>,
    pub pass: Option<String>,
    pub run_id: u32,
    pub n_pubs: u32,
    pub one_pub: bool,
}

#[derive(Default)]
pub struct Shared {
    pub phase: AtomicU8,
    pub ready: AtomicU64,
    pub failed: AtomicU64,
    pub sent: AtomicU64,
    pub recv: AtomicU64,
    pub written_off: AtomicU64,
    pub last_recv_ns: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Role {
    Pub,
    Sub,
    Idle,
}

pub struct Spec {
    pub role: Role,
    pub idx: u32,
    pub filters: Vec<String>,
    pub topics: Vec<String>,
}

#[derive(Default, Clone)]
pub struct Stats {
    pub m_sent: u64,
    pub m_recv: u64,
    pub dup: u64,
    pub late: u64,
    pub bad: u64,
    pub closed: u64,
    pub stalls: u64,
    pub skipped: u64,
    pub lat: Hist,
    pub conn: Hist,
    pub ack: Hist,
    pub bits: HashMap<u32, Vec<u64>>,
    pub reason: Option<String>,
}

#[derive(PartialEq, Clone, Copy)]
enum St {
    New,
    Connecting,
    Connack,
    Suback,
    Ready,
    Closed,
}

/// What has come from one publisher: the highest number and which of the last 1024.
#[derive(Default, Clone, Copy)]
struct Seq {
    next: u32,
    seen: [u64; 16],
}

struct Conn {
    fd: i32,
    st: St,
    writable: bool,
    dirty: bool,
    out: Vec<u8>,
    out_pos: usize,
    part: Vec<u8>,
    spec: Spec,
    t0: u64,
    next_pid: u16,
    inflight: u32,
    inflight_max: u32,
    recv_max: u32,
    seq: u32,
    tpls: Vec<Tpl>,
    tcur: usize,
    sub_at: usize,
    seqs: Vec<Seq>,
    sent_at: Vec<u64>,
}

#[derive(Clone)]
pub struct Clock {
    t0: Instant,
    base: u64,
}

impl Clock {
    pub fn new() -> Self {
        let base =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        Clock { t0: Instant::now(), base }
    }
    #[inline]
    pub fn now(&self) -> u64 {
        self.base + self.t0.elapsed().as_nanos() as u64
    }
}

pub struct Worker {
    cfg: Arc<Cfg>,
    sh: Arc<Shared>,
    clock: Clock,
    ep: i32,
    tfd: i32,
    tick_ns: u64,
    conns: Vec<Conn>,
    pubs: Vec<usize>,
    rr: usize,
    next_new: usize,
    connecting: usize,
    dirty: Vec<usize>,
    rbuf: Vec<u8>,
    rate: f64,
    ticks: u64,
    rate_t0: u64,
    issued: u64,
    st: Stats,
    sent_local: u64,
    recv_local: u64,
}

const SUB_BATCH: usize = 100;
const RBUF: usize = 512 * 1024;
const OUT_HIGH: usize = 256 * 1024;

impl Worker {
    pub fn new(cfg: Arc<Cfg>, sh: Arc<Shared>, clock: Clock, specs: Vec<Spec>, share: f64) -> Worker {
        let mut conns = Vec::with_capacity(specs.len());
        let mut pubs = Vec::new();
        for s in specs {
            if s.role == Role::Pub {
                pubs.push(conns.len());
            }
            let mut tpls = Vec::new();
            if s.role == Role::Pub {
                let pay = mqtt::payload_tpl(cfg.kind, s.idx);
                tpls = s.topics.iter().map(|t| mqtt::publish_tpl(cfg.v5, t, cfg.qos, &pay)).collect();
            }
            conns.push(Conn {
                fd: -1,
                st: St::New,
                writable: false,
                dirty: false,
                out: Vec::new(),
                out_pos: 0,
                part: Vec::new(),
                t0: 0,
                next_pid: 0,
                inflight: 0,
                inflight_max: cfg.inflight,
                recv_max: 60_000,
                seq: 0,
                tpls,
                tcur: s.idx as usize,
                sub_at: 0,
                seqs: Vec::new(),
                sent_at: if s.role == Role::Pub && cfg.qos > 0 { vec![0; 65536] } else { Vec::new() },
                spec: s,
            });
        }
        let ep = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let tfd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK) };
        let rate = cfg.rate * share;
        let tick_ns = if rate > 0.0 { ((1e9 / rate) as u64).clamp(200_000, 10_000_000) } else { 1_000_000 };
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: u64::MAX };
        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, tfd, &mut ev) };
        Worker {
            cfg,
            sh,
            clock,
            ep,
            tfd,
            tick_ns,
            conns,
            pubs,
            rr: 0,
            next_new: 0,
            connecting: 0,
            dirty: Vec::new(),
            rbuf: vec![0; RBUF],
            rate,
            ticks: 0,
            rate_t0: 0,
            issued: 0,
            st: Stats::default(),
            sent_local: 0,
            recv_local: 0,
        }
    }

    pub fn run(mut self) -> Stats {
        let mut evs: Vec<libc::epoll_event> = vec![unsafe { std::mem::zeroed() }; 1024];
        let mut phase = CONNECT;
        let mut last_progress = self.clock.now();
        loop {
            let p = self.sh.phase.load(Relaxed);
            if p != phase {
                if phase == CONNECT && p == WARM && self.rate > 0.0 && !self.pubs.is_empty() {
                    self.start_timer();
                }
                phase = p;
                last_progress = self.clock.now();
            }
            if phase == DONE {
                break;
            }
            while phase == CONNECT
                && self.next_new < self.conns.len()
                && self.connecting < self.cfg.conn_inflight
            {
                let i = self.next_new;
                self.next_new += 1;
                self.open(i);
            }
            let mut can_go = false;
            if self.rate == 0.0 && (phase == WARM || phase == MEASURE) && !self.pubs.is_empty() {
                let sent0 = self.sent_local;
                self.pump(phase);
                can_go = self.sent_local != sent0;
                if can_go {
                    last_progress = 0;
                } else if self.cfg.window > 0 {
                    // nothing could be sent: a lost message must not stop the run
                    let now = self.clock.now();
                    if last_progress == 0 {
                        last_progress = now;
                    }
                    let idle_since = last_progress.max(self.sh.last_recv_ns.load(Relaxed));
                    if now.saturating_sub(idle_since) > 500_000_000 {
                        let gone = self.outstanding();
                        if gone > 0 {
                            self.sh.written_off.fetch_add(gone, Relaxed);
                            self.st.stalls += 1;
                        }
                        last_progress = now;
                    }
                }
            }
            self.flush();
            let timeout = if can_go {
                0
            } else if phase == CONNECT {
                5
            } else {
                20
            };
            let n = unsafe { libc::epoll_wait(self.ep, evs.as_mut_ptr(), evs.len() as i32, timeout) };
            for ev in evs.iter().take(n.max(0) as usize) {
                let (flags, tok) = (ev.events, ev.u64);
                if tok == u64::MAX {
                    self.on_tick(phase);
                    continue;
                }
                let i = tok as usize;
                if self.conns[i].st == St::Closed {
                    continue;
                }
                if flags & libc::EPOLLOUT as u32 != 0 {
                    self.on_writable(i);
                }
                if flags & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP) as u32 != 0 {
                    self.on_readable(i, phase);
                }
            }
            self.flush();
        }
        for i in 0..self.conns.len() {
            if self.conns[i].st != St::Closed && self.conns[i].fd >= 0 {
                let bye = [0xe0u8, 0];
                unsafe {
                    libc::send(self.conns[i].fd, bye.as_ptr() as *const _, 2, libc::MSG_NOSIGNAL);
                    libc::close(self.conns[i].fd);
                }
            }
        }
        unsafe {
            libc::close(self.tfd);
            libc::close(self.ep);
        }
        self.st
    }

    fn start_timer(&mut self) {
        let spec = |ns: u64| libc::timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        };
        let its = libc::itimerspec { it_interval: spec(self.tick_ns), it_value: spec(self.tick_ns) };
        self.rate_t0 = self.clock.now();
        unsafe { libc::timerfd_settime(self.tfd, 0, &its, std::ptr::null_mut()) };
    }

    /// Fixed-rate mode: every message is stamped with the instant at which its
    /// tick was due, so a late generator or broker shows up in the latency.
    fn on_tick(&mut self, phase: u8) {
        let mut k = 0u64;
        unsafe { libc::read(self.tfd, &mut k as *mut u64 as *mut _, 8) };
        if phase != WARM && phase != MEASURE {
            return;
        }
        for _ in 0..k {
            self.ticks += 1;
            let due = (self.rate * (self.ticks * self.tick_ns) as f64 / 1e9) as u64;
            let at = self.rate_t0 + self.ticks * self.tick_ns;
            let mut n = due.saturating_sub(self.issued);
            self.issued = due;
            let txt = mqtt::ts_text(at);
            let mut tries = 0;
            while n > 0 && tries < self.pubs.len() {
                let c = self.pubs[self.rr % self.pubs.len()];
                self.rr += 1;
                let cap = match self.cfg.qos {
                    0 => u32::MAX,
                    _ if self.cfg.v5 => self.conns[c].recv_max,
                    _ => 60_000,
                };
                if self.conns[c].st != St::Ready
                    || self.conns[c].inflight >= cap
                    || self.conns[c].out.len() > 16 * OUT_HIGH
                {
                    tries += 1;
                    continue;
                }
                tries = 0;
                self.put(c, 1, at, &txt, phase);
                n -= 1;
            }
            self.st.skipped += n;
        }
        self.publish_counts();
    }

    fn outstanding(&self) -> u64 {
        let want = self.sh.sent.load(Relaxed) as f64 * self.cfg.fan;
        let got = (self.sh.recv.load(Relaxed) + self.sh.written_off.load(Relaxed)) as f64;
        (want - got).max(0.0) as u64
    }

    /// Unthrottled mode: fill every window that is open.
    fn pump(&mut self, phase: u8) {
        let mut budget = u64::MAX;
        if self.cfg.window > 0 {
            let out = self.outstanding();
            // refill in lots: one message for each that came would mean one write each
            if out + self.cfg.window / 8 > self.cfg.window {
                return;
            }
            budget = (((self.cfg.window - out) as f64 / self.cfg.fan.max(0.001)) as u64).max(1);
        }
        let now = self.clock.now();
        let txt = mqtt::ts_text(now);
        for _ in 0..self.pubs.len() {
            if budget == 0 {
                break;
            }
            let c = self.pubs[self.rr];
            self.rr = (self.rr + 1) % self.pubs.len();
            let cn = &self.conns[c];
            if cn.st != St::Ready || cn.out.len() - cn.out_pos > OUT_HIGH {
                continue;
            }
            let mut n = (self.cfg.batch as u64).min(budget);
            if self.cfg.qos > 0 {
                let room = cn.inflight_max.saturating_sub(cn.inflight) as u64;
                if room < n.min(cn.inflight_max as u64 / 4) {
                    continue;
                }
                n = n.min(room);
            }
            if n == 0 {
                continue;
            }
            self.put(c, n as u32, now, &txt, phase);
            budget = budget.saturating_sub(n);
        }
        self.publish_counts();
    }

    fn publish_counts(&mut self) {
        if self.recv_local > 0 {
            self.sh.recv.fetch_add(self.recv_local, Relaxed);
            self.recv_local = 0;
        }
    }

    fn put(&mut self, c: usize, n: u32, at: u64, txt: &[u8; mqtt::TS_W], phase: u8) {
        let qos = self.cfg.qos;
        let kind = self.cfg.kind;
        let cn = &mut self.conns[c];
        for _ in 0..n {
            cn.tcur += 1;
            if cn.tcur >= cn.tpls.len() {
                cn.tcur %= cn.tpls.len();
            }
            let t = &cn.tpls[cn.tcur];
            let start = cn.out.len();
            cn.out.extend_from_slice(&t.bytes);
            let m = &mut cn.out[start..];
            if qos > 0 {
                cn.next_pid = if cn.next_pid == u16::MAX { 1 } else { cn.next_pid + 1 };
                m[t.pid_off..t.pid_off + 2].copy_from_slice(&cn.next_pid.to_be_bytes());
                cn.sent_at[cn.next_pid as usize] = at;
            }
            mqtt::stamp(kind, &mut m[t.pay_off..], at, txt, cn.seq);
            cn.seq = cn.seq.wrapping_add(1);
        }
        if qos > 0 {
            cn.inflight += n;
        }
        if !cn.dirty {
            cn.dirty = true;
            self.dirty.push(c);
        }
        self.sent_local += n as u64;
        self.sh.sent.fetch_add(n as u64, Relaxed);
        if phase == MEASURE {
            self.st.m_sent += n as u64;
        }
    }

    fn open(&mut self, i: usize) {
        unsafe {
            let fd =
                libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
            if fd < 0 {
                self.fail(i, "socket");
                return;
            }
            let one: i32 = 1;
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &one as *const i32 as *const _, 4);
            if self.cfg.src_ips > 1 {
                libc::setsockopt(
                    fd,
                    libc::IPPROTO_IP,
                    24, /* IP_BIND_ADDRESS_NO_PORT */
                    &one as *const i32 as *const _,
                    4,
                );
                let a = sockaddr(Ipv4Addr::new(127, 0, 0, 1 + (i as u32 % self.cfg.src_ips) as u8), 0);
                libc::bind(fd, &a as *const _ as *const _, std::mem::size_of_val(&a) as u32);
            }
            let a = sockaddr(self.cfg.addr, self.cfg.port);
            let c = &mut self.conns[i];
            c.fd = fd;
            c.st = St::Connecting;
            c.t0 = self.clock.now();
            self.connecting += 1;
            let mut ev = libc::epoll_event {
                events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
                u64: i as u64,
            };
            libc::epoll_ctl(self.ep, libc::EPOLL_CTL_ADD, fd, &mut ev);
            let r = libc::connect(fd, &a as *const _ as *const _, std::mem::size_of_val(&a) as u32);
            if r < 0 && *libc::__errno_location() != libc::EINPROGRESS {
                self.fail(i, "connect");
            }
        }
    }

    fn fail(&mut self, i: usize, why: &str) {
        let c = &mut self.conns[i];
        let was = c.st;
        c.st = St::Closed;
        if c.fd >= 0 {
            unsafe { libc::close(c.fd) };
        }
        self.st.closed += 1;
        if self.st.reason.is_none() {
            self.st.reason = Some(format!("{:?} {}: {}", c.spec.role, c.spec.idx, why));
        }
        if was != St::Ready {
            self.sh.failed.fetch_add(1, Relaxed);
            if was != St::New {
                self.connecting -= 1;
            }
        }
    }

    fn on_writable(&mut self, i: usize) {
        let c = &mut self.conns[i];
        c.writable = true;
        if c.st == St::Connecting {
            c.st = St::Connack;
            let id = format!(
                "ml{}-{}{}",
                self.cfg.run_id,
                match c.spec.role {
                    Role::Pub => 'p',
                    Role::Sub => 's',
                    Role::Idle => 'i',
                },
                c.spec.idx
            );
            let p = mqtt::connect(
                self.cfg.v5,
                self.cfg.durable && c.spec.role == Role::Sub,
                &id,
                self.cfg.keepalive,
                self.cfg.inflight.min(65535) as u16,
                self.cfg.user.as_deref(),
                self.cfg.pass.as_deref(),
            );
            c.out.extend_from_slice(&p);
        }
        if c.out.len() > c.out_pos && !c.dirty {
            c.dirty = true;
            self.dirty.push(i);
        }
    }

    fn flush(&mut self) {
        for k in 0..self.dirty.len() {
            let i = self.dirty[k];
            let c = &mut self.conns[i];
            c.dirty = false;
            if c.st == St::Closed || !c.writable {
                continue;
            }
            while c.out_pos < c.out.len() {
                let r = unsafe {
                    libc::send(
                        c.fd,
                        c.out[c.out_pos..].as_ptr() as *const _,
                        c.out.len() - c.out_pos,
                        libc::MSG_NOSIGNAL,
                    )
                };
                if r > 0 {
                    c.out_pos += r as usize;
                } else {
                    let e = unsafe { *libc::__errno_location() };
                    if e == libc::EAGAIN {
                        c.writable = false;
                    } else if e != libc::EINTR {
                        self.fail(i, "write");
                    }
                    break;
                }
            }
            let c = &mut self.conns[i];
            if c.out_pos == c.out.len() {
                c.out.clear();
                c.out_pos = 0;
                if c.spec.role == Role::Idle {
                    c.out = Vec::new();
                }
            } else if c.out_pos > OUT_HIGH {
                c.out.drain(..c.out_pos);
                c.out_pos = 0;
            }
        }
        self.dirty.clear();
    }

    fn on_readable(&mut self, i: usize, phase: u8) {
        let mut buf = std::mem::take(&mut self.rbuf);
        loop {
            let c = &mut self.conns[i];
            let keep = c.part.len();
            if keep > 0 {
                buf[..keep].copy_from_slice(&c.part);
                c.part.clear();
            }
            let r = unsafe { libc::recv(c.fd, buf[keep..].as_mut_ptr() as *mut _, buf.len() - keep, 0) };
            if r <= 0 {
                if keep > 0 {
                    c.part.extend_from_slice(&buf[..keep]);
                }
                let e = unsafe { *libc::__errno_location() };
                if r < 0 && (e == libc::EAGAIN || e == libc::EINTR) {
                    break;
                }
                if c.st == St::Connecting && r < 0 {
                    self.fail(i, "refused");
                } else {
                    self.fail(i, "closed by broker");
                }
                break;
            }
            let total = keep + r as usize;
            let now = self.clock.now();
            let used = self.parse(i, &buf[..total], now, phase);
            let c = &mut self.conns[i];
            if c.st == St::Closed {
                break;
            }
            if used < total {
                c.part.extend_from_slice(&buf[used..total]);
            }
            if (r as usize) < buf.len() - keep {
                break;
            }
        }
        self.rbuf = buf;
        if self.recv_local > 0 {
            self.publish_counts();
        }
        let c = &mut self.conns[i];
        if c.out.len() > c.out_pos && !c.dirty && c.st != St::Closed {
            c.dirty = true;
            self.dirty.push(i);
        }
    }

    fn parse(&mut self, i: usize, b: &[u8], now: u64, phase: u8) -> usize {
        let v5 = self.cfg.v5;
        let mut o = 0;
        let mut got = 0u64;
        while let Some((first, h, n)) = mqtt::header(&b[o..]) {
            if b.len() - o < h + n {
                if h + n > RBUF {
                    self.fail(i, "packet too large");
                }
                break;
            }
            let body = &b[o + h..o + h + n];
            o += h + n;
            match first >> 4 {
                3 => {
                    got += 1;
                    let Some((pid, pay)) = mqtt::publish_body(v5, first, body) else {
                        self.st.bad += 1;
                        continue;
                    };
                    match (first >> 1) & 3 {
                        1 => self.conns[i].out.extend_from_slice(&[0x40, 2, (pid >> 8) as u8, pid as u8]),
                        2 => self.conns[i].out.extend_from_slice(&[0x50, 2, (pid >> 8) as u8, pid as u8]),
                        _ => {}
                    }
                    match mqtt::unstamp(self.cfg.kind, pay) {
                        Some((ts, p, s)) => {
                            if phase == MEASURE {
                                self.st.lat.record(now.saturating_sub(ts));
                            }
                            self.track(i, p, s);
                        }
                        None => self.st.bad += 1,
                    }
                }
                4 | 7 if body.len() >= 2 => {
                    let c = &mut self.conns[i];
                    c.inflight = c.inflight.saturating_sub(1);
                    if phase == MEASURE && !c.sent_at.is_empty() {
                        let pid = u16::from_be_bytes([body[0], body[1]]) as usize;
                        self.st.ack.record(now.saturating_sub(c.sent_at[pid]));
                    }
                }
                5 if body.len() >= 2 => {
                    let c = &mut self.conns[i];
                    if v5 && body.len() > 2 && body[2] >= 0x80 {
                        c.inflight = c.inflight.saturating_sub(1);
                        self.st.bad += 1;
                    } else {
                        c.out.extend_from_slice(&[0x62, 2, body[0], body[1]]);
                    }
                }
                6 if body.len() >= 2 => self.conns[i].out.extend_from_slice(&[0x70, 2, body[0], body[1]]),
                2 => {
                    if body.get(1) != Some(&0) {
                        let why = format!("CONNACK code {:?}", body.get(1));
                        self.fail(i, &why);
                        break;
                    }
                    if let Some(m) = v5.then(|| mqtt::receive_maximum(body)).flatten() {
                        let c = &mut self.conns[i];
                        c.recv_max = (m as u32).min(60_000);
                        c.inflight_max = c.inflight_max.min(m as u32);
                    }
                    let t0 = self.conns[i].t0;
                    self.st.conn.record(now.saturating_sub(t0));
                    self.subscribe_more(i);
                }
                9 => {
                    let mut at = 2;
                    if v5 {
                        at += 1 + *body.get(2).unwrap_or(&0) as usize;
                    }
                    if body.get(at..).is_none_or(|c| c.is_empty() || c.iter().any(|c| *c >= 0x80)) {
                        self.fail(i, "subscription refused");
                        break;
                    }
                    self.subscribe_more(i);
                }
                13 => {}
                14 => {
                    let why = format!("DISCONNECT from broker, reason {:?}", body.first());
                    self.fail(i, &why);
                    break;
                }
                t => {
                    let why = format!("unexpected packet type {t}");
                    self.fail(i, &why);
                    break;
                }
            }
        }
        if got > 0 {
            self.recv_local += got;
            self.sh.last_recv_ns.store(now, Relaxed);
            if phase == MEASURE {
                self.st.m_recv += got;
            }
        }
        o
    }

    fn subscribe_more(&mut self, i: usize) {
        let c = &mut self.conns[i];
        let left = c.spec.filters.len() - c.sub_at;
        if left == 0 {
            c.st = St::Ready;
            c.spec.filters = Vec::new();
            self.connecting -= 1;
            self.sh.ready.fetch_add(1, Relaxed);
            return;
        }
        c.st = St::Suback;
        let n = left.min(SUB_BATCH);
        c.next_pid += 1;
        let p = mqtt::subscribe(
            self.cfg.v5,
            c.next_pid,
            &c.spec.filters[c.sub_at..c.sub_at + n],
            self.cfg.sub_qos,
        );
        c.sub_at += n;
        c.out.extend_from_slice(&p);
    }

    #[inline]
    fn track(&mut self, i: usize, p: u32, s: u32) {
        if self.cfg.exact {
            let v = self.st.bits.entry(p).or_default();
            let w = (s / 64) as usize;
            if w > 1 << 24 {
                self.st.bad += 1;
                return;
            }
            if w >= v.len() {
                v.resize(w + 1024, 0);
            }
            let m = 1u64 << (s % 64);
            if v[w] & m != 0 {
                self.st.dup += 1;
            }
            v[w] |= m;
            return;
        }
        let c = &mut self.conns[i];
        let (k, n) = if self.cfg.one_pub { (p.wrapping_sub(c.spec.idx), 1) } else { (p, self.cfg.n_pubs) };
        if k >= n {
            self.st.bad += 1;
            return;
        }
        if c.seqs.is_empty() {
            c.seqs = vec![Seq::default(); n as usize];
        }
        let q = &mut c.seqs[k as usize];
        let at = |s: u32| ((s as usize >> 6) & 15, 1u64 << (s & 63));
        if s >= q.next {
            if s - q.next >= 1024 {
                q.seen = [0; 16];
            } else {
                for x in q.next..s {
                    let (w, m) = at(x);
                    q.seen[w] &= !m;
                }
            }
            q.next = s + 1;
        } else {
            let (w, m) = at(s);
            if q.next - s > 1024 || q.seen[w] & m != 0 {
                self.st.dup += 1;
            } else {
                self.st.late += 1;
            }
        }
        let (w, m) = at(s);
        q.seen[w] |= m;
    }
}

fn sockaddr(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    let mut a: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    a.sin_family = libc::AF_INET as u16;
    a.sin_port = port.to_be();
    a.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
    a
}
