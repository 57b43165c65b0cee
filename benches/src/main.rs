//! mqtt-load: drives one MQTT broker on the loopback and prints one JSON line.

mod hist;
mod mqtt;
mod procstat;
mod worker;

use mqtt::Kind;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use worker::{Cfg, Clock, Role, Shared, Spec, Stats, Worker};

const HELP: &str = "\
mqtt-load SCENARIO [--key value]...

SCENARIO
  fanin    --pubs P publishers on PREFIX/i/k, --subs S subscribers on PREFIX/#   (10, 1)
  fanout   --pubs P publishers on PREFIX/0/k, --subs N subscribers on PREFIX/0/# (1, 100)
  pairs    --pubs N publishers, each to its own subscriber on PREFIX/i/#         (100)
  shared   --pubs P publishers, --subs M consumers on $share/g/PREFIX/#          (10, 4)
  conn     --conns C connections as fast as they are taken, then held --hold s   (5000)
  subs     --filters F filters over --subs S connections, one match a message    (100000, 10)

WHAT IS SENT
  --qos 0|1|2        QoS of PUBLISH (0)          --sub-qos Q       QoS of SUBSCRIBE (= --qos)
  --payload N|json   payload bytes, 16 at least, or a JSON reading of about 270 bytes (256)
  --topics K         topics for each publisher (1; 1000 for subs)
  --durable          subscribers' sessions stay when their connections end
  --v5               MQTT 5.0 (else 3.1.1)       --prefix T        topic prefix (t)
  --pub-topic T      one topic for all publishers (else PREFIX/i/k)
  --sub-filter F     what subscribers ask for (a rule's output topic, for instance)
  --expect R         deliveries expected for each message, where the scenario can't know it

HOW
  --rate R           messages a second in all; 0: as fast as the windows allow (0)
  --window W         unthrottled: most deliveries under way at once; 0: no limit (4000, or 40 x fan)
  --inflight W       QoS 1/2: unacknowledged messages of one publisher (100)
  --batch B          unthrottled: most messages in one write (32)
  --duration S --warmup S   measured and unmeasured seconds (5, 1)
  --threads T        reactor threads (1)
  --conn-inflight N  handshakes under way at once (128)
  --src-ips K        source addresses 127.0.0.1.. to connect from (1)
  --conn-sub         conn: each connection subscribes to one topic of its own
  --hold S           conn: seconds held idle (3)
  --keepalive S      (600)

WHO
  --host H --port P  a loopback IPv4 address only (127.0.0.1, 1883)
  --user U --pass P
  --pid P[,P]        broker processes to watch; their children are included
  --label L          copied into the output
";

struct Args(HashMap<String, String>);

impl Args {
    fn get<T: std::str::FromStr>(&self, k: &str, d: T) -> T {
        match self.0.get(k) {
            None => d,
            Some(v) => v.parse().unwrap_or_else(|_| die(&format!("--{k} {v}: not understood"))),
        }
    }
    fn str(&self, k: &str) -> Option<String> {
        self.0.get(k).cloned()
    }
}

fn die(m: &str) -> ! {
    eprintln!("mqtt-load: {m}");
    std::process::exit(2)
}

fn main() {
    let mut it = std::env::args().skip(1);
    let scenario = it.next().unwrap_or_default();
    if scenario.is_empty() || scenario.contains("help") || scenario == "-h" {
        print!("{HELP}");
        return;
    }
    if !["fanin", "fanout", "pairs", "shared", "conn", "subs"].contains(&scenario.as_str()) {
        die(&format!("no scenario {scenario}"));
    }
    const KEYS: &str = " pubs subs qos sub-qos payload topics prefix pub-topic sub-filter expect rate window inflight batch \
        duration warmup threads conn-inflight src-ips conns hold keepalive host port user pass pid label filters ";
    let mut m = HashMap::new();
    while let Some(k) = it.next() {
        let k = k.strip_prefix("--").unwrap_or_else(|| die(&format!("what is {k}?"))).to_string();
        let v = match k.as_str() {
            "v5" | "conn-sub" | "durable" => "1".to_string(),
            _ if KEYS.contains(&format!(" {k} ")) => {
                it.next().unwrap_or_else(|| die(&format!("--{k} needs a value")))
            }
            _ => die(&format!("no option --{k}")),
        };
        m.insert(k, v);
    }
    let a = Args(m);

    let addr: Ipv4Addr = match a.str("host").as_deref() {
        None | Some("localhost") => Ipv4Addr::LOCALHOST,
        Some(h) => h.parse().unwrap_or_else(|_| die("--host: an IPv4 address")),
    };
    if !addr.is_loopback() {
        die("only loopback addresses are driven");
    }
    let qos: u8 = a.get("qos", 0u8).min(2);
    let kind = match a.str("payload").as_deref() {
        None => Kind::Bin(256),
        Some("json") => Kind::Json,
        Some(n) => Kind::Bin(n.parse::<usize>().unwrap_or_else(|_| die("--payload")).max(16)),
    };
    let prefix = a.str("prefix").unwrap_or("t".into());
    let threads: usize = a.get("threads", 1usize).clamp(1, 64);
    let (dp, ds) = match scenario.as_str() {
        "fanin" => (10, 1),
        "fanout" => (1, 100),
        "pairs" => (100, 100),
        "shared" => (10, 4),
        "subs" => (4, 10),
        _ => (0, 0),
    };
    let n_pubs: u32 = a.get("pubs", dp);
    let n_subs: u32 = if scenario == "pairs" { n_pubs } else { a.get("subs", ds) };
    let topics: u32 = a.get("topics", if scenario == "subs" { 1000 } else { 1 }).max(1);
    let filters: u32 = a.get("filters", 100_000u32).max(1);
    let conns: u32 = a.get("conns", 5000u32);
    let default_fan = match scenario.as_str() {
        "fanin" | "fanout" => n_subs as f64,
        "conn" => 0.0,
        _ => 1.0,
    };
    let fan: f64 = a.get("expect", default_fan);
    let rate: f64 = a.get("rate", 0.0);
    let duration: f64 = a.get("duration", 5.0);
    let warmup: f64 = a.get("warmup", 1.0);

    // connections
    let mut specs: Vec<Spec> = Vec::new();
    let sub_filter = a.str("sub-filter");
    let pub_topic = a.str("pub-topic");
    for i in 0..n_subs {
        let f = match scenario.as_str() {
            "fanin" => vec![format!("{prefix}/#")],
            "fanout" => vec![format!("{prefix}/0/#")],
            "pairs" => vec![format!("{prefix}/{i}/#")],
            "shared" => vec![format!("$share/g/{prefix}/#")],
            "subs" => (0..filters).filter(|k| k % n_subs == i).map(|k| sub_name(&prefix, k).0).collect(),
            _ => vec![],
        };
        let f = sub_filter.clone().map(|s| vec![s]).unwrap_or(f);
        specs.push(Spec { role: Role::Sub, idx: i, filters: f, topics: vec![] });
    }
    for i in 0..n_pubs {
        let t: Vec<String> = match scenario.as_str() {
            "fanout" => (0..topics).map(|k| format!("{prefix}/0/{k}")).collect(),
            "subs" => (0..topics)
                .map(|k| {
                    sub_name(
                        &prefix,
                        ((k as u64 * 7919 + i as u64 * 104_729 + k as u64 * filters as u64 / topics as u64)
                            % filters as u64) as u32,
                    )
                    .1
                })
                .collect(),
            _ => (0..topics).map(|k| format!("{prefix}/{i}/{k}")).collect(),
        };
        let t = pub_topic.clone().map(|s| vec![s]).unwrap_or(t);
        specs.push(Spec { role: Role::Pub, idx: i, filters: vec![], topics: t });
    }
    if scenario == "conn" {
        let with_sub = a.0.contains_key("conn-sub");
        for i in 0..conns {
            let f = if with_sub { vec![format!("{prefix}/dev/{i}/cmd")] } else { vec![] };
            specs.push(Spec { role: Role::Idle, idx: i, filters: f, topics: vec![] });
        }
    }
    let total_conns = specs.len() as u64;
    raise_nofile(total_conns + 256);

    let cfg = Arc::new(Cfg {
        addr,
        port: a.get("port", 1883),
        v5: a.0.contains_key("v5"),
        durable: a.0.contains_key("durable"),
        qos,
        sub_qos: a.get("sub-qos", qos).min(2),
        kind,
        inflight: a.get("inflight", 100u32).clamp(1, 60_000),
        window: a.get("window", (40.0 * fan).max(4000.0) as u64),
        batch: a.get("batch", 32u32).max(1),
        rate,
        fan,
        exact: matches!(scenario.as_str(), "shared" | "subs"),
        conn_inflight: (a.get("conn-inflight", 128usize) / threads).max(1),
        src_ips: a.get("src-ips", 1u32).clamp(1, 250),
        keepalive: a.get("keepalive", 600),
        user: a.str("user"),
        pass: a.str("pass"),
        run_id: std::process::id(),
        n_pubs,
        one_pub: scenario == "pairs" && sub_filter.is_none(),
    });

    // publishers and subscribers spread evenly over the threads
    let mut per: Vec<Vec<Spec>> = (0..threads).map(|_| Vec::new()).collect();
    let (mut np, mut ns) = (0usize, 0usize);
    let mut pubs_per = vec![0u32; threads];
    for s in specs {
        let n = if s.role == Role::Pub { &mut np } else { &mut ns };
        let t = *n % threads;
        *n += 1;
        if s.role == Role::Pub {
            pubs_per[t] += 1;
        }
        per[t].push(s);
    }

    let watched: Vec<u32> =
        a.str("pid").unwrap_or_default().split(',').filter_map(|p| p.parse().ok()).collect();
    let pids = procstat::tree(&watched);
    let rss0 = procstat::rss_kib(&pids);
    let cpu_begin = procstat::cpu_s(&pids);
    let sh = Arc::new(Shared::default());
    let clock = Clock::new();
    let handles: Vec<_> = per
        .into_iter()
        .zip(&pubs_per)
        .map(|(specs, n)| {
            let share = *n as f64 / n_pubs.max(1) as f64;
            let (c, s, k) = (cfg.clone(), sh.clone(), clock.clone());
            std::thread::spawn(move || Worker::new(c, s, k, specs, share).run())
        })
        .collect();

    let mut peak = rss0;
    let t_conn = Instant::now();
    let mut stuck = (0u64, Instant::now());
    loop {
        let (r, f) = (sh.ready.load(Relaxed), sh.failed.load(Relaxed));
        if r + f >= total_conns {
            break;
        }
        if r + f != stuck.0 {
            stuck = (r + f, Instant::now());
        }
        if stuck.1.elapsed() > Duration::from_secs(60) {
            break;
        }
        peak = peak.max(procstat::rss_kib(&pids));
        std::thread::sleep(Duration::from_millis(2));
    }
    let conn_s = t_conn.elapsed().as_secs_f64();
    let cpu_conn = procstat::cpu_s(&pids) - cpu_begin;
    let (ready, failed) = (sh.ready.load(Relaxed), sh.failed.load(Relaxed));

    let wait = |s: f64, peak: &mut u64| {
        let end = Instant::now() + Duration::from_secs_f64(s);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            std::thread::sleep(left.min(Duration::from_millis(50)));
            *peak = (*peak).max(procstat::rss_kib(&pids));
        }
    };

    let mut o = Out::default();
    o.s("label", &a.str("label").unwrap_or_default());
    o.s("scenario", &scenario);
    o.s("proto", if cfg.v5 { "5.0" } else { "3.1.1" });
    o.n("qos", qos as f64, 0);
    o.s("payload", &a.str("payload").unwrap_or("256".into()));
    o.n("pubs", n_pubs as f64, 0);
    o.n("subs", n_subs as f64, 0);
    o.n("rate", rate, 0);

    let rss_conn;
    let (mut bc, mut gc, mut secs) = (0.0, 0.0, 0.0);
    let (mut mb, mut mt) = (0, 0);
    let ok = failed == 0 && ready == total_conns;
    if scenario == "conn" {
        let c0 = procstat::cpu_s(&pids);
        let t0 = Instant::now();
        wait(a.get("hold", 3.0), &mut peak);
        secs = t0.elapsed().as_secs_f64();
        bc = procstat::cpu_s(&pids) - c0;
        rss_conn = procstat::rss_kib(&pids);
    } else {
        std::thread::sleep(Duration::from_millis(200));
        rss_conn = procstat::rss_kib(&pids);
        if ok {
            sh.phase.store(worker::WARM, Relaxed);
            wait(warmup, &mut peak);
            let me = [std::process::id()];
            let (c0, g0, m0) = (procstat::cpu_s(&pids), procstat::cpu_s(&me), procstat::machine_ticks());
            let t0 = Instant::now();
            sh.phase.store(worker::MEASURE, Relaxed);
            wait(duration, &mut peak);
            sh.phase.store(worker::DRAIN, Relaxed);
            secs = t0.elapsed().as_secs_f64();
            bc = procstat::cpu_s(&pids) - c0;
            gc = procstat::cpu_s(&me) - g0;
            let m1 = procstat::machine_ticks();
            (mb, mt) = (m1.0 - m0.0, m1.1 - m0.1);
            // until everything is in, or nothing has come for a second
            let t = Instant::now();
            let mut last = (sh.recv.load(Relaxed), Instant::now());
            while t.elapsed() < Duration::from_secs(15) {
                std::thread::sleep(Duration::from_millis(20));
                let r = sh.recv.load(Relaxed);
                if r != last.0 {
                    last = (r, Instant::now());
                }
                if r as f64 >= sh.sent.load(Relaxed) as f64 * fan || last.1.elapsed() > Duration::from_secs(1)
                {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
            peak = peak.max(procstat::rss_kib(&pids));
        }
    }
    let n_threads = procstat::threads(&pids);
    sh.phase.store(worker::DONE, Relaxed);
    let mut st = Stats::default();
    for h in handles {
        let s = h.join().expect("worker");
        st.m_sent += s.m_sent;
        st.m_recv += s.m_recv;
        st.dup += s.dup;
        st.late += s.late;
        st.bad += s.bad;
        st.closed += s.closed;
        st.stalls += s.stalls;
        st.skipped += s.skipped;
        st.lat.merge(&s.lat);
        st.conn.merge(&s.conn);
        st.ack.merge(&s.ack);
        st.reason = st.reason.or(s.reason);
        for (p, v) in s.bits {
            let e = st.bits.entry(p).or_default();
            if v.len() > e.len() {
                e.resize(v.len(), 0);
            }
            for (a, b) in e.iter_mut().zip(v) {
                st.dup += (*a & b).count_ones() as u64;
                *a |= b;
            }
        }
    }

    let (sent, recv) = (sh.sent.load(Relaxed), sh.recv.load(Relaxed));
    let us = |v: u64| v as f64 / 1000.0;
    o.n("conns", ready as f64, 0);
    o.n("failed", failed as f64, 0);
    o.n("conn_per_s", ready as f64 / conn_s, 0);
    o.n("connect_p50_us", us(st.conn.quantile(0.5)), 0);
    o.n("connect_p99_us", us(st.conn.quantile(0.99)), 0);
    o.n("cpu_s_connect", cpu_conn, 3);
    if scenario == "subs" {
        o.n("filters", filters as f64, 0);
        o.n("filters_per_s", filters as f64 / conn_s, 0);
        o.n("bytes_per_filter", rss_conn.saturating_sub(rss0) as f64 * 1024.0 / filters as f64, 0);
    }
    o.n("rss_start_kib", rss0 as f64, 0);
    o.n("rss_connected_kib", rss_conn as f64, 0);
    o.n("rss_peak_kib", peak as f64, 0);
    o.n("bytes_per_conn", (rss_conn.saturating_sub(rss0)) as f64 * 1024.0 / ready.max(1) as f64, 0);
    o.n("broker_threads", n_threads as f64, 0);
    o.n("secs", secs, 3);
    if scenario == "conn" {
        o.n("cpu_s_per_1k_conns", cpu_conn * 1000.0 / ready.max(1) as f64, 4);
        o.n("idle_cpu_pct", if secs > 0.0 { bc / secs * 100.0 } else { 0.0 }, 2);
    } else {
        o.n("sent_per_s", st.m_sent as f64 / secs.max(1e-9), 0);
        o.n("recv_per_s", st.m_recv as f64 / secs.max(1e-9), 0);
        o.n("p50_us", us(st.lat.quantile(0.5)), 0);
        o.n("p99_us", us(st.lat.quantile(0.99)), 0);
        o.n("p999_us", us(st.lat.quantile(0.999)), 0);
        o.n("max_us", us(st.lat.max), 0);
        if qos > 0 {
            o.n("ack_p50_us", us(st.ack.quantile(0.5)), 0);
            o.n("ack_p99_us", us(st.ack.quantile(0.99)), 0);
        }
        o.n("broker_cpu_s", bc, 3);
        o.n("cpu_s_per_M", if st.m_recv > 0 { bc * 1e6 / st.m_recv as f64 } else { 0.0 }, 3);
        o.n("cpu_s_per_M_sent", if st.m_sent > 0 { bc * 1e6 / st.m_sent as f64 } else { 0.0 }, 3);
        o.n("broker_cores", bc / secs.max(1e-9), 2);
        o.n("gen_cores", gc / secs.max(1e-9), 2);
        let spare = mt.saturating_sub(mb) as f64 / mt.max(1) as f64;
        let busy_s = mb as f64 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        o.n("idle_share", spare, 2);
        o.n("other_cores", ((busy_s - bc - gc) / secs.max(1e-9)).max(0.0), 2);
        o.n("sent", sent as f64, 0);
        o.n("received", recv as f64, 0);
        o.n("lost", (sent as f64 * fan - (recv - st.dup.min(recv)) as f64).max(0.0).round(), 0);
        o.n("dup", st.dup as f64, 0);
        o.n("late", st.late as f64, 0);
        o.n("bad", st.bad as f64, 0);
        o.n("stalls", st.stalls as f64, 0);
        o.n("skipped", st.skipped as f64, 0);
    }
    o.n("closed", st.closed as f64, 0);
    if let Some(r) = &st.reason {
        o.s("reason", r);
    }
    println!("{{{}}}", o.0);
    if !ok {
        std::process::exit(1);
    }
}

/// The k-th filter of the `subs` scenario and a topic that matches it alone.
fn sub_name(p: &str, k: u32) -> (String, String) {
    let topic = format!("{p}/{k}/dev/state");
    match k % 4 {
        0 => (format!("{p}/{k}/+/state"), topic),
        1 => (format!("{p}/{k}/#"), topic),
        2 => (format!("{p}/+/k{k}/state"), format!("{p}/any/k{k}/state")),
        _ => (topic.clone(), topic),
    }
}

fn raise_nofile(need: u64) {
    unsafe {
        let mut r: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut r);
        if r.rlim_cur < need {
            r.rlim_cur = need.min(r.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &r);
        }
        if r.rlim_cur < need {
            eprintln!("mqtt-load: only {} open files are allowed, {need} wanted", r.rlim_cur);
        }
    }
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn key(&mut self, k: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&format!("\"{k}\":"));
    }
    fn s(&mut self, k: &str, v: &str) {
        self.key(k);
        self.0.push_str(&format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    fn n(&mut self, k: &str, v: f64, d: usize) {
        self.key(k);
        self.0.push_str(&format!("{v:.d$}"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn help_names_every_scenario() {
        for s in ["fanin", "fanout", "pairs", "shared", "conn", "subs"] {
            assert!(super::HELP.contains(&format!("\n  {s} ")));
        }
    }

    fn matches(f: &str, t: &str) -> bool {
        let (mut f, mut t) = (f.split('/'), t.split('/'));
        loop {
            match (f.next(), t.next()) {
                (Some("#"), _) => return true,
                (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn each_topic_matches_one_filter() {
        let all: Vec<_> = (0..200).map(|k| super::sub_name("t", k)).collect();
        for (_, topic) in &all {
            assert_eq!(all.iter().filter(|(f, _)| matches(f, topic)).count(), 1, "{topic}");
        }
    }
}
