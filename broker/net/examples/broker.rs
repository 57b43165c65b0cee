//! A broker without rules or a management API, for conformance suites and load tests.
//!
//! `broker [--listen ADDR:PORT] [--workers N] [--max-inflight N] [--max-queue N]`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker_core::{Broker, BrokerConfig};
use broker_net::{Server, ServerConfig};
use engine_event::Clock;

/// The system's time.
struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the clock that the broker is given")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut listen = "127.0.0.1:1883".to_owned();
    let mut config = BrokerConfig::default();
    let mut workers = 0;
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--listen" => listen = value,
            "--workers" => workers = value.parse()?,
            "--max-inflight" => config.max_inflight = value.parse()?,
            "--max-queue" => config.max_queue_len = value.parse()?,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let broker = Broker::new(config, Arc::new(SystemClock));
    let server = Server::start(ServerConfig { workers, ..ServerConfig::tcp(listen.parse()?) }, broker)?;
    println!("{}", server.local_addr());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::signal::ctrl_c().await?;
        server.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
