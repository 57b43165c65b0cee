//! A connector whose target is a script: it answers, refuses, hangs, panics or is away, as a test says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connectors_api::{
    Batch, Capabilities, Channel, ChannelContext, ChannelError, ConfigError, Connector, ConnectorDef,
    Delivery, Health, Outcome, Reason, StartContext, StartError, StartFuture,
};
use engine_event::Row;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

/// The type `scripted`.
pub const SCRIPTED: ConnectorDef = ConnectorDef {
    kind: "scripted",
    title: "Scripted target",
    summary: "For tests.",
    capabilities: Capabilities {
        batch_size_default: 1,
        batch_time_ms_default: 0,
        batch_size_limit: 10_000,
        keeps_order: false,
    },
    secrets: &["password"],
    connector_schema: || json!({"type": "object"}),
    action_schema: || json!({"type": "object"}),
    check_connector: check_fields,
    check_action: |parameters| match parameters.get("wrong") {
        Some(_) => Err(ConfigError::new("wrong", "no such field")),
        None => Ok(()),
    },
    start: start_scripted,
};

/// What the target says of a row.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An outcome.
    Is(Outcome),
    /// The whole request panics.
    Panic,
    /// The whole request gets one outcome too few.
    TooFew,
    /// The whole request never ends.
    Hang,
}

impl Reply {
    /// The row is taken.
    pub fn ok() -> Self {
        Self::Is(Outcome::Ok)
    }

    /// The row has to be sent again.
    pub fn retry() -> Self {
        Self::Is(Outcome::retry(Reason::target("503", "busy")))
    }

    /// The row has to be sent again after a pause of the target's choice.
    pub fn retry_after(pause: Duration) -> Self {
        Self::Is(Outcome::Retry { reason: Reason::target("429", "slower"), after: Some(pause) })
    }

    /// The row is refused with `code`.
    pub fn reject(code: &'static str) -> Self {
        Self::Is(Outcome::Reject(Reason::target(code, "the row is at fault")))
    }
}

type Script = Arc<dyn Fn(&Delivery) -> Reply + Send + Sync>;

struct State {
    number: u64,
    up: AtomicBool,
    script: Mutex<Script>,
    pause: Mutex<Duration>,
    start_pause: Mutex<Duration>,
    channel_pause: Mutex<Duration>,
    channel_health: Mutex<Health>,
    panics_in_check: AtomicBool,
    accepted: Mutex<Vec<Delivery>>,
    requests: Mutex<Vec<(Instant, Vec<Delivery>)>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    starts: AtomicUsize,
    stops: AtomicUsize,
}

/// A target under the control of a test.
#[derive(Clone)]
pub struct ScriptedTarget(Arc<State>);

static TARGETS: LazyLock<Mutex<BTreeMap<u64, Weak<State>>>> = LazyLock::new(Mutex::default);

impl Default for ScriptedTarget {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedTarget {
    /// Makes a target that is up and takes every row.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State {
            number,
            up: AtomicBool::new(true),
            script: Mutex::new(Arc::new(|_| Reply::ok())),
            pause: Mutex::default(),
            start_pause: Mutex::default(),
            channel_pause: Mutex::default(),
            channel_health: Mutex::new(Health::Connected),
            panics_in_check: AtomicBool::new(false),
            accepted: Mutex::default(),
            requests: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            starts: AtomicUsize::new(0),
            stops: AtomicUsize::new(0),
        });
        let mut targets = TARGETS.lock();
        targets.retain(|_, target| target.strong_count() > 0);
        targets.insert(number, Arc::downgrade(&state));
        Self(state)
    }

    /// The own fields of a connector to this target.
    pub fn connector_fields(&self) -> Json {
        json!({"target": self.0.number, "password": "s3cret"})
    }

    /// Lets the target be there or away. Away, starts and checks fail and rows have to be sent again.
    pub fn set_up(&self, up: bool) {
        self.0.up.store(up, Ordering::SeqCst);
    }

    /// Sets what the target says of each row from now on.
    pub fn answer_with(&self, script: impl Fn(&Delivery) -> Reply + Send + Sync + 'static) {
        *self.0.script.lock() = Arc::new(script);
    }

    /// Sets how long each request takes.
    pub fn set_pause(&self, pause: Duration) {
        *self.0.pause.lock() = pause;
    }

    /// Sets how long a start takes.
    pub fn set_start_pause(&self, pause: Duration) {
        *self.0.start_pause.lock() = pause;
    }

    /// Sets how long it takes to add a channel.
    pub fn set_channel_pause(&self, pause: Duration) {
        *self.0.channel_pause.lock() = pause;
    }

    /// Sets what the check of a channel finds.
    pub fn set_channel_health(&self, health: Health) {
        *self.0.channel_health.lock() = health;
    }

    /// Lets the check of the connector panic.
    pub fn set_panics_in_check(&self, panics: bool) {
        self.0.panics_in_check.store(panics, Ordering::SeqCst);
    }

    /// Every row that was taken, in order.
    pub fn accepted(&self) -> Vec<Delivery> {
        self.0.accepted.lock().clone()
    }

    /// Every request so far with its time, whatever became of it.
    pub fn requests(&self) -> Vec<(Instant, Vec<Delivery>)> {
        self.0.requests.lock().clone()
    }

    /// The most requests that were under way at a time.
    pub fn most_under_way(&self) -> usize {
        self.0.most_under_way.load(Ordering::SeqCst)
    }

    /// How often a connector to this target was started.
    pub fn starts(&self) -> usize {
        self.0.starts.load(Ordering::SeqCst)
    }

    /// How often a connector to this target was stopped.
    pub fn stops(&self) -> usize {
        self.0.stops.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for ScriptedTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedTarget").field("number", &self.0.number).finish_non_exhaustive()
    }
}

fn check_fields(fields: &Json) -> Result<(), ConfigError> {
    match fields.get("target").and_then(Json::as_u64) {
        Some(_) => Ok(()),
        None => Err(ConfigError::new("target", "expected the number of a scripted target")),
    }
}

fn start_scripted(_: StartContext, fields: Json) -> StartFuture {
    Box::pin(async move {
        let number = fields.get("target").and_then(Json::as_u64).unwrap_or_default();
        let found = TARGETS.lock().get(&number).and_then(Weak::upgrade);
        let state = found.ok_or_else(|| ConfigError::new("target", "the target is gone"))?;
        let pause = *state.start_pause.lock();
        tokio::time::sleep(pause).await;
        if !state.up.load(Ordering::SeqCst) {
            return Err(StartError::Target(Reason::transport("connection refused")));
        }
        state.starts.fetch_add(1, Ordering::SeqCst);
        let connector: Arc<dyn Connector> = Arc::new(Scripted(state));
        Ok(connector)
    })
}

struct Scripted(Arc<State>);

#[async_trait]
impl Connector for Scripted {
    async fn check(&self) -> Health {
        assert!(!self.0.panics_in_check.load(Ordering::SeqCst), "scripted panic");
        if self.0.up.load(Ordering::SeqCst) {
            Health::Connected
        } else {
            Health::Disconnected("connection refused".to_owned())
        }
    }

    async fn add_channel(&self, _: ChannelContext, _: &Json) -> Result<Arc<dyn Channel>, ChannelError> {
        let pause = *self.0.channel_pause.lock();
        tokio::time::sleep(pause).await;
        Ok(Arc::new(ScriptedChannel(Arc::clone(&self.0))))
    }

    async fn stop(&self) {
        self.0.stops.fetch_add(1, Ordering::SeqCst);
    }
}

struct ScriptedChannel(Arc<State>);

/// Counts a request for as long as it is under way.
struct UnderWay<'a>(&'a State);

impl<'a> UnderWay<'a> {
    fn new(state: &'a State) -> Self {
        let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_under_way.fetch_max(now, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Channel for ScriptedChannel {
    async fn check(&self) -> Health {
        self.0.channel_health.lock().clone()
    }

    async fn deliver(&self, batch: Batch<'_>, _: Instant) -> Vec<Outcome> {
        let state = &self.0;
        let _under_way = UnderWay::new(state);
        state.requests.lock().push((tokio::time::Instant::now().into_std(), batch.to_vec()));
        let pause = *state.pause.lock();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if !state.up.load(Ordering::SeqCst) {
            let refused = Outcome::retry(Reason::transport("connection refused"));
            return Outcome::for_all(&refused, batch.len());
        }
        let script = Arc::clone(&state.script.lock());
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut taken = Vec::new();
        for delivery in batch {
            match script(delivery) {
                Reply::Is(outcome) => {
                    if outcome == Outcome::Ok {
                        taken.push(delivery.clone());
                    }
                    outcomes.push(outcome);
                }
                Reply::Panic => panic!("scripted panic"),
                Reply::TooFew => return Vec::new(),
                Reply::Hang => std::future::pending::<()>().await,
            }
        }
        state.accepted.lock().append(&mut taken);
        outcomes
    }

    fn render(&self, _: &Row) -> Result<Json, Reason> {
        Ok(Json::Null)
    }
}
