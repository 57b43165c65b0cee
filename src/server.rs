//! The server: the parts, wired, started in order and stopped in the opposite one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::{Api, ApiParts, ApiSettings, FirstUser, ListenerControl, Store as _};
use broker_core::{Broker, BrokerConfig};
use engine_event::Clock;
use engine_runtime::{Engine, EngineConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cli::Start;
use crate::clock::SystemClock;
use crate::config::{self, Config, Durability};
use crate::data_dir::{Control, DataDir};
use crate::editions::Edition;
use crate::listener_config::{Bind, Listeners};
use crate::listener_desk::ListenerDesk;
use crate::memory_guard::MemoryGuard;
use crate::protection::BanKeeper;
use crate::reload::{RuleReload, Watching};
use crate::store::SqliteStore;
use crate::traces::{TraceDesk, TraceKeeper};
use crate::{connectors, memory, messaging, protection, zones};

/// Reads the configuration: defaults, then the file, then environment and flags.
///
/// # Errors
/// Every problem of the file.
pub(crate) fn configure(options: &Start) -> anyhow::Result<Config> {
    let mut config = match &options.config {
        None => Config::default(),
        Some(path) => config::read(path).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", lines.join("\n"))
        })?,
    };
    if let Some(data_dir) = &options.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(edition) = options.edition {
        config.edition = edition;
    }
    if let Some(bind) = options.mqtt {
        let default = config.listeners.tcp.entry("default".to_owned()).or_default();
        (default.bind, default.enable) = (Some(Bind(bind)), true);
        config.mqtt_flag = Some(bind);
    }
    if let Some(bind) = options.api {
        config.api.bind = bind;
    }
    if let Some(path) = &options.api_keys {
        config.api.api_keys = Some(path.clone());
    }
    config.rules.extend(options.rules.iter().cloned());
    Ok(config)
}

/// Starts the server, runs it until it is told to stop, and stops it.
///
/// # Errors
/// When it cannot start; what was started is stopped again.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    // before the first of them can come: who reads `ctl.json` may send one at once
    let signals = Signals::new()?;
    let server = Server::start(config).await?;
    server.run(signals).await
}

struct Server {
    config: Config,
    data_dir: DataDir,
    store: SqliteStore,
    broker: Arc<Broker>,
    sessions: Option<broker_store::Store>,
    engine: Arc<Engine>,
    network: broker_net::Server,
    reload: RuleReload,
    watching: Watching,
    ban_keeper: BanKeeper,
    memory_guard: Option<MemoryGuard>,
    trace_keeper: TraceKeeper,
    api: Option<ApiTask>,
}

struct ApiTask {
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(config: Config) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&config.data_dir)?;
        info!(
            version = env!("CARGO_PKG_VERSION"),
            edition = %config.edition,
            node = config.node,
            data_dir = %data_dir.path().display(),
            "sluice starts"
        );
        let store = SqliteStore::open(data_dir.path()).await?;
        let snapshot = store.load().await?;
        let api_keys = read_api_keys(&config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (desk, listeners) = ListenerDesk::open(&config, store.clone()).await?;
        let broker = Broker::new(broker_config(&config, &desk), Arc::clone(&clock));
        let engine = Engine::new(engine_config(&config, &data_dir, &clock));
        broker.set_tap(Arc::clone(&engine) as _);
        engine.attach(Arc::clone(&broker) as _, Arc::clone(&broker) as _);

        for (object, error) in engine.load(snapshot.objects.clone()).await {
            error!(object, %error, "kept, but not usable");
        }
        let reload = RuleReload::new(Arc::clone(&engine), config.rules.clone());
        // before the first reading, so that no change falls between the two
        let watching = reload.watch();
        reload.first().await?;

        // with the rules in place: wills that became due are messages like others
        let sessions = open_sessions(&config, &data_dir, &broker).await?;

        let traces = TraceDesk::open(
            &config.trace,
            data_dir.path(),
            store.clone(),
            &broker,
            &engine,
            Arc::clone(&clock),
        )
        .await?;

        // the API before the listeners: a port that is taken is found before a client is accepted
        let api_listener = if config.api.enable { Some(bind_api(config.api.bind).await?) } else { None };
        let parts = Parts {
            config: &config,
            data_dir: &data_dir,
            store: &store,
            clock,
            broker: &broker,
            engine: &engine,
            traces: &traces,
        };
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let api = parts.make_api(&snapshot, &token, Arc::clone(&desk) as _);
        load_api_keys(&api, &config, api_keys.as_deref()).await?;
        let ban_keeper = BanKeeper::start(api.clone(), &broker);
        let memory_guard = MemoryGuard::start(&config.overload_protection, &broker);
        let trace_keeper = TraceKeeper::start(&traces);

        let network = broker_net::Server::start(network_config(&config, &listeners), Arc::clone(&broker))
            .context("cannot start the MQTT listeners (--mqtt for `tcp:default`, `bind` of a listener)")?;
        desk.attach(network.listeners().clone()).await;
        announce_access(&config);
        let api = match api_listener {
            Some(listener) => Some(start_api(api, listener, &network, &data_dir, token).await?),
            None => None,
        };
        info!(rules = engine.rules().len(), "sluice is ready");
        Ok(Self {
            config,
            data_dir,
            store,
            broker,
            sessions,
            engine,
            network,
            reload,
            watching,
            ban_keeper,
            memory_guard,
            trace_keeper,
            api,
        })
    }

    async fn run(self, signals: Signals) -> anyhow::Result<()> {
        let signal = wait_for_stop(signals, &self.reload, self.network.listeners()).await;
        info!(signal, "sluice stops");
        self.stop().await;
        Ok(())
    }

    /// Stops in the order of the flow: no new messages, then the rows on their way, then the rest.
    async fn stop(self) {
        let limit = self.config.shutdown_timeout.duration().min(Duration::from_secs(3600));
        self.data_dir.remove_control();
        self.trace_keeper.end_streams();
        drop(self.watching);
        if let Some(api) = &self.api {
            api.stop.cancel();
        }
        self.network.shutdown(limit.min(Duration::from_secs(5))).await;
        self.broker.stop();
        let report = self.engine.shutdown(limit).await;
        for (action, rows) in &report.left {
            warn!(action, rows, "rows were left undelivered");
        }
        self.ban_keeper.stop().await;
        if let Some(guard) = self.memory_guard {
            guard.stop().await;
        }
        self.trace_keeper.stop().await;
        if let Some(api) = self.api
            && let Ok(Err(error)) = api.task.await
        {
            error!(%error, "the management interface failed");
        }
        if let Some(sessions) = self.sessions {
            let _ = tokio::task::spawn_blocking(move || sessions.close()).await;
        }
        self.store.close().await;
        info!(drained = report.drained, "sluice has stopped");
    }
}

/// What the API is made of.
struct Parts<'a> {
    config: &'a Config,
    data_dir: &'a DataDir,
    store: &'a SqliteStore,
    clock: Arc<dyn Clock>,
    broker: &'a Arc<Broker>,
    engine: &'a Arc<Engine>,
    traces: &'a TraceDesk,
}

impl Parts<'_> {
    /// Makes the management interface; nobody can reach it yet.
    fn make_api(self, snapshot: &api::Snapshot, token: &str, listeners: Arc<dyn ListenerControl>) -> Api {
        let rule_engine = &self.config.rule_engine;
        let settings = ApiSettings {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            edition: edition_label(self.config.edition).to_owned(),
            data_dir: self.data_dir.path().display().to_string(),
            local_token: Some(token.to_owned()),
            token_lifetime_ms: i64::try_from(self.config.api.token_expired_time.duration().as_millis())
                .unwrap_or(i64::MAX),
            ignore_sys_message: rule_engine.ignore_sys_message,
            slow_subs_in_file: self.config.slow_subs.is_some(),
            jq_time_limit_ms: millis(rule_engine.jq_function_default_timeout),
            ..ApiSettings::default()
        };
        Api::new(
            ApiParts {
                broker: Arc::clone(self.broker),
                engine: Arc::clone(self.engine),
                store: Arc::new(self.store.clone()),
                clock: self.clock,
                definitions: connectors::definitions(self.config.edition),
                listeners,
                traces: Arc::new(self.traces.clone()),
                settings,
            },
            snapshot,
        )
    }
}

/// Opens the management interface.
async fn start_api(
    api: Api,
    listener: TcpListener,
    network: &broker_net::Server,
    data_dir: &DataDir,
    token: String,
) -> anyhow::Result<ApiTask> {
    prepare_administrator(&api).await?;
    let control = Control {
        api: format!("http://{}", reachable(listener.local_addr()?)),
        mqtt: network.local_addrs().iter().map(ToString::to_string).collect(),
        token,
        pid: std::process::id(),
    };
    data_dir.write_control(&control).context("cannot write the control file into the data directory")?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(api::serve(listener, api::router(api), stop.clone()));
    Ok(ApiTask { stop, task })
}

/// Makes the administrator at the first start.
async fn prepare_administrator(api: &Api) -> anyhow::Result<()> {
    let given = std::env::var("SLUICE_ADMIN_PASSWORD").ok();
    match api
        .accounts()
        .ensure_first_user(given.as_deref())
        .await
        .map_err(|error| anyhow::anyhow!("{}", error.message()))?
    {
        FirstUser::Present => {}
        FirstUser::MadeWithGivenPassword => {
            info!("made the user `admin` with the password of SLUICE_ADMIN_PASSWORD");
        }
        FirstUser::MadeWithRandomPassword(password) => {
            // shown once and never logged: only its hash is kept
            eprintln!("\n    First start: log in as `admin` with the password {password}\n");
        }
    }
    Ok(())
}

/// Reads the file of API keys.
fn read_api_keys(config: &Config) -> anyhow::Result<Option<String>> {
    let Some(path) = config.api.api_keys.as_ref().filter(|_| config.api.enable) else { return Ok(None) };
    let text = std::fs::read_to_string(path);
    text.map(Some).with_context(|| format!("cannot read the API keys in `{}` (--api-keys)", path.display()))
}

async fn load_api_keys(api: &Api, config: &Config, text: Option<&str>) -> anyhow::Result<()> {
    let (Some(path), Some(text)) = (&config.api.api_keys, text) else { return Ok(()) };
    let keys = api
        .accounts()
        .load_key_file(text)
        .await
        .with_context(|| format!("cannot load the API keys in `{}` (--api-keys)", path.display()))?;
    info!(keys, "API keys loaded");
    Ok(())
}

async fn bind_api(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "the port of the management API, {address}, is taken: choose another with --api or `api.bind`"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address} (--api, `api.bind`)")),
    }
}

/// An address that a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v6.port()))
        }
        address => address,
    }
}

fn announce_access(config: &Config) {
    if config.access.allow_anonymous {
        warn!("clients need no password, from everywhere (access.allow_anonymous)");
    } else {
        info!(
            "clients are accepted from this machine only, their passwords are not checked; access.allow_anonymous = true opens to all"
        );
    }
}

/// The words that some clients of the API depend on.
fn edition_label(edition: Edition) -> &'static str {
    match edition {
        Edition::Community => "Opensource",
        Edition::Enterprise => "Enterprise",
    }
}

/// Brings durable sessions back, and has the broker store them from now on.
async fn open_sessions(
    config: &Config,
    data_dir: &DataDir,
    broker: &Arc<Broker>,
) -> anyhow::Result<Option<broker_store::Store>> {
    let durable = &config.durable_sessions;
    let folder = data_dir.path().join("sessions");
    let durability = match durable.durability {
        Durability::Os if durable.enable => broker_store::Durability::Os,
        Durability::Fsync if durable.enable => broker_store::Durability::Fsync,
        _ => {
            if folder.exists() {
                warn!(folder = %folder.display(), "durable sessions are off: those of before are left where they are");
            }
            return Ok(None);
        }
    };
    let options = broker_store::StoreOptions {
        durability,
        bytes_max: durable.max_bytes.get(),
        commit_window: durable.commit_window.duration(),
        message_bytes_max: zones::largest_packet(config),
        ..broker_store::StoreOptions::default()
    };
    let broker = Arc::clone(broker);
    let opening = tokio::task::spawn_blocking(move || {
        let (store, _) = broker_store::Store::open(&folder, options, &broker)?;
        broker.catch_up();
        Ok::<_, broker_store::OpenError>(store)
    });
    Ok(Some(opening.await??))
}

fn broker_config(config: &Config, desk: &ListenerDesk) -> BrokerConfig {
    let mqtt = &config.mqtt;
    let mut broker = BrokerConfig {
        node: config.node.clone(),
        allow_anonymous: config.access.allow_anonymous,
        max_retained_messages: mqtt.max_retained_messages as usize,
        flapping: protection::flapping(&config.flapping_detect),
        force_shutdown: protection::force_shutdown(&config.force_shutdown),
        slow_subs: config.slow_subs.unwrap_or_default().config(),
        ..BrokerConfig::default()
    };
    messaging::complete(&mut broker, config);
    mqtt.complete(&mut broker);
    zones::complete(&mut broker, &config.resolved_zones);
    broker.listener_zones = desk.zones();
    broker
}

fn millis(period: connectors_api::Period) -> u64 {
    u64::try_from(period.duration().as_millis()).unwrap_or(u64::MAX)
}

fn engine_config(config: &Config, data_dir: &DataDir, clock: &Arc<dyn Clock>) -> EngineConfig {
    let mut engine = EngineConfig::new(config.node.clone(), data_dir.path(), Arc::clone(clock));
    engine.definitions = connectors::definitions(config.edition);
    engine.queue_bytes_limit = match config.rule_engine.queue_memory.get() {
        0 => memory::total_bytes() / 4,
        bytes => bytes,
    };
    engine.ignore_sys_message = config.rule_engine.ignore_sys_message;
    engine.jq_time_limit_ms = millis(config.rule_engine.jq_function_default_timeout);
    engine
}

/// The signals that the server understands, from when it is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for a signal to stop; a hang-up reads the rule files and the certificates again.
async fn wait_for_stop(
    mut signals: Signals,
    reload: &RuleReload,
    listeners: &broker_net::Listeners,
) -> &'static str {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return "terminate",
            _ = signals.interrupt.recv() => return "interrupt",
            _ = signals.hang_up.recv() => {
                let listeners = listeners.clone();
                // reads files; the log says what came of it
                let _ = tokio::task::spawn_blocking(move || listeners.reload_certificates(true)).await;
                reload.again("hang-up signal").await;
            }
        }
    }
}

/// What the network part is started with; `listeners` are those of the file and of the API together.
fn network_config(config: &Config, listeners: &Listeners) -> broker_net::ServerConfig {
    let mut all: Vec<_> =
        listeners.all().map(|(kind, name, listener)| listener.to_network(kind, name)).collect();
    // the one that everybody expects comes first, in `ctl.json` too
    all.sort_by_key(|listener| listener.id() != "tcp:default");
    broker_net::ServerConfig {
        listeners: all,
        workers: listeners.workers.into(),
        idle_timeout: config.mqtt.idle_timeout.duration(),
        quotas: protection::publish_quotas(config),
        zones: zones::to_network(&config.resolved_zones),
    }
}
