//! A broker without rules or a management API, for conformance suites and load tests.
//!
//! `broker [--listen ADDR:PORT] [--workers N] [--max-inflight N] [--max-queue N] [--max-keep-alive SECONDS]
//! [--deny FILTER]`
//!
//! Eclipse's `paho.mqtt.testing` wants `--max-keep-alive 60` and `--deny test/nosubscribe`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker_core::{Action, AnonymousOnly, Authorizer, Broker, BrokerConfig, Requester, Verdict};
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

/// Refuses subscriptions to one filter.
struct Denies(String);

impl Authorizer for Denies {
    fn authorize(&self, _client: &Requester<'_>, action: Action<'_>) -> Verdict {
        match action {
            Action::Subscribe { filter, .. } if filter == self.0 => Verdict::Deny,
            _ => Verdict::Allow,
        }
    }

    fn allows_everything(&self) -> bool {
        self.0.is_empty()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut listen = "127.0.0.1:1883".to_owned();
    let mut config = BrokerConfig::default();
    let mut workers = 0;
    let mut denied = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--listen" => listen = value,
            "--workers" => workers = value.parse()?,
            "--max-inflight" => config.max_inflight = value.parse()?,
            "--max-queue" => config.max_queue_len = value.parse()?,
            "--max-keep-alive" => config.max_keep_alive_s = Some(value.parse()?),
            "--deny" => denied = value,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let authenticator = Arc::new(AnonymousOnly { from_everywhere: config.allow_anonymous });
    let broker = Broker::with_access(config, Arc::new(SystemClock), authenticator, Arc::new(Denies(denied)));
    let server = Server::start(ServerConfig { workers, ..ServerConfig::tcp(listen.parse()?) }, broker)?;
    println!("{}", server.local_addr());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::signal::ctrl_c().await?;
        server.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
