//! The life of a connector: started, checked, started again; its channels installed and taken away.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use connectors_api::{
    ChannelContext, ChannelError, Connector, ConnectorDef, Health, StartContext, StartError,
};
use futures::FutureExt as _;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::StatusReport;
use crate::action::ActionRuntime;
use crate::lane::{Gate, StopReason};
use crate::object::connector::ConnectorConfig;
use crate::object::resource_opts::HealthOptions;
use crate::services::Services;
use crate::status::StatusCell;

/// Longest wait for requests under way before a connector is replaced.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for a connector to stop.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A connector at work, owned by one task.
pub(super) struct ConnectorRuntime {
    id: Arc<str>,
    def: ConnectorDef,
    gate: Arc<Gate>,
    status: StatusCell,
    wanted: Mutex<Wanted>,
    wake: Notify,
    /// What is wanted changed: a start or a check under way is of no use any more.
    changed: Notify,
    /// How many times the target was looked at.
    looks: watch::Sender<u64>,
    end: CancellationToken,
    services: Arc<Services>,
}

/// What people want of the connector.
struct Wanted {
    own: Json,
    health: HealthOptions,
    /// Enabled and not told to stop.
    run: bool,
    /// Grows with each change of the configuration and each order to start anew.
    version: u64,
    actions: Vec<WantedAction>,
    actions_version: u64,
}

#[derive(Clone)]
struct WantedAction {
    runtime: Arc<ActionRuntime>,
    parameters: Json,
    version: u64,
}

/// What the task has made of it.
#[derive(Default)]
struct Current {
    connector: Option<(Arc<dyn Connector>, u64)>,
    /// Versions of the installed channels, by action.
    installed: Vec<(Arc<str>, u64)>,
    answers_seen: u64,
}

impl ConnectorRuntime {
    /// Starts the task of a connector.
    pub(super) fn start(
        id: &str,
        def: ConnectorDef,
        config: &ConnectorConfig,
        services: &Arc<Services>,
    ) -> Arc<Self> {
        let run = config.common.enable && config.options.start_after_created;
        let status = if run { StatusReport::connecting("") } else { StatusReport::stopped() };
        let connector = Arc::new(Self {
            id: Arc::from(id),
            def,
            gate: Gate::new(),
            status: StatusCell::new(status),
            wanted: Mutex::new(Wanted {
                own: config.own.clone(),
                health: config.options.health,
                run,
                version: 0,
                actions: Vec::new(),
                actions_version: 0,
            }),
            wake: Notify::new(),
            changed: Notify::new(),
            looks: watch::Sender::new(0),
            end: CancellationToken::new(),
            services: Arc::clone(services),
        });
        services.spawn(Arc::clone(&connector).work());
        connector
    }

    pub(super) fn status(&self) -> &StatusCell {
        &self.status
    }

    /// Takes over another configuration.
    pub(super) fn configure(&self, config: &ConnectorConfig) {
        let mut wanted = self.wanted.lock();
        wanted.own = config.own.clone();
        wanted.health = config.options.health;
        wanted.run = config.common.enable;
        wanted.version += 1;
        self.begin_change(&wanted);
    }

    /// Lets the connector run, or stops it.
    pub(super) fn set_running(&self, run: bool) {
        let mut wanted = self.wanted.lock();
        if wanted.run != run {
            wanted.run = run;
            self.begin_change(&wanted);
        }
    }

    /// Lets the task look at what is wanted at once. Until it has, rows wait for a connector that is to run.
    fn begin_change(&self, wanted: &Wanted) {
        let (stop, report) = match wanted.run {
            true => (None, StatusReport::connecting("")),
            false => (Some(StopReason::ResourceStopped), StatusReport::connecting("stopping")),
        };
        self.status.set(report.clone());
        for action in wanted.actions.iter().filter(|action| action.runtime.is_enabled()) {
            action.runtime.set_stop(stop);
            action.runtime.set_status(report.clone());
        }
        self.changed.notify_one();
        self.wake.notify_one();
    }

    /// Tries to connect, or checks, at once; waits until that is done or joins what is under way, up to `limit`.
    pub(super) async fn look_again(&self, limit: Duration) {
        let mut looks = self.looks.subscribe();
        self.hurry();
        let _ = timeout(limit, looks.changed()).await;
    }

    /// Tries to connect, or checks, at once.
    pub(super) fn hurry(&self) {
        self.gate.hurry(Instant::now());
        self.wake.notify_one();
    }

    /// Installs an action, or takes over its new parameters.
    pub(super) fn put_action(&self, runtime: &Arc<ActionRuntime>, parameters: &Json) {
        let mut wanted = self.wanted.lock();
        wanted.actions_version += 1;
        let version = wanted.actions_version;
        wanted.actions.retain(|action| action.runtime.id() != runtime.id());
        wanted.actions.push(WantedAction {
            runtime: Arc::clone(runtime),
            parameters: parameters.clone(),
            version,
        });
        let (stop, report) = match wanted.run {
            true => (None, StatusReport::connecting("")),
            false => (Some(StopReason::ResourceStopped), StatusReport::stopped()),
        };
        runtime.set_stop(stop);
        runtime.set_status_if_enabled(report);
        runtime.set_gate(Arc::clone(&self.gate));
        self.wake.notify_one();
    }

    /// Takes an action away; its rows stay in its lanes.
    pub(super) fn remove_action(&self, id: &str) {
        let mut wanted = self.wanted.lock();
        let removed: Vec<_> =
            wanted.actions.extract_if(.., |action| action.runtime.id().as_ref() == id).collect();
        // under the lock, so that an installation under way cannot bring the channel back
        for action in removed {
            action.runtime.set_channel(None);
        }
        drop(wanted);
        self.wake.notify_one();
    }

    /// Ends the task; the connector is stopped first.
    pub(super) fn end(&self) {
        self.end.cancel();
    }

    async fn work(self: Arc<Self>) {
        let mut current = Current::default();
        while !self.end.is_cancelled() {
            let (run, version, health, own) = {
                let wanted = self.wanted.lock();
                (wanted.run, wanted.version, wanted.health, wanted.own.clone())
            };
            if current.connector.as_ref().is_some_and(|(_, started)| !run || *started != version) {
                self.take_down(&mut current).await;
            }
            if run {
                let turn = self.turn(&mut current, version, own, health);
                tokio::select! {
                    biased;
                    () = self.end.cancelled() => break,
                    () = self.changed.notified() => continue,
                    () = turn => {}
                }
            } else {
                self.rest();
            }
            self.wait(run, health).await;
        }
        self.take_down(&mut current).await;
        self.rest();
    }

    async fn wait(&self, run: bool, health: HealthOptions) {
        let jitter = health.jitter.mul_f64(fastrand::f64());
        tokio::select! {
            () = self.end.cancelled() => {}
            () = self.wake.notified() => {}
            () = self.gate.suspected(), if run => {
                // several requests fail together; one check answers for all
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            () = tokio::time::sleep(health.interval + jitter), if run => {}
        }
    }

    /// One round: start or check, then the channels. May be dropped at any time.
    async fn turn(&self, current: &mut Current, version: u64, own: Json, health: HealthOptions) {
        let report = match &current.connector {
            None => match self.open(own, health).await {
                Ok(connector) => {
                    // kept before the check, so that it is stopped whatever happens
                    current.connector = Some((Arc::clone(&connector), version));
                    report_of(self.check(connector.as_ref(), health).await)
                }
                Err(report) => report,
            },
            Some((connector, _)) => {
                let answers = self.gate.answers();
                let busy = answers > current.answers_seen && self.status.is_connected();
                current.answers_seen = answers;
                if busy {
                    StatusReport::connected()
                } else {
                    report_of(self.check(connector.as_ref(), health).await)
                }
            }
        };
        let current_still = self.announce(version, &report);
        self.looks.send_modify(|looks| *looks += 1);
        if !current_still {
            return;
        }
        if let Some((connector, _)) = &current.connector
            && report.is_connected()
        {
            let connector = Arc::clone(connector);
            // an action without a channel sends nothing, so a slow installation holds up nobody else
            self.gate.resume(Instant::now());
            self.install_channels(connector.as_ref(), health, &mut current.installed).await;
        }
    }

    /// Sets the status that a round found, unless the configuration changed meanwhile.
    fn announce(&self, version: u64, report: &StatusReport) -> bool {
        let wanted = self.wanted.lock();
        if !wanted.run || wanted.version != version {
            return false;
        }
        if !report.is_connected() {
            self.gate.shut(true);
            for action in wanted.actions.iter().filter(|action| action.runtime.is_enabled()) {
                action.runtime.set_stop(None);
                action.runtime.set_status(report.clone());
            }
        }
        self.set_status(report.clone());
        true
    }

    async fn open(&self, own: Json, health: HealthOptions) -> Result<Arc<dyn Connector>, StatusReport> {
        let context = StartContext { id: Arc::clone(&self.id), data_dir: self.services.data_dir.clone() };
        let starting = guarded(async { (self.def.start)(context, own).await });
        match timeout(health.timeout, starting).await {
            Ok(Some(Ok(connector))) => Ok(connector),
            Ok(Some(Err(StartError::Config(error)))) => Err(StatusReport::disconnected(error.to_string())),
            Ok(Some(Err(StartError::Target(reason)))) => Err(StatusReport::disconnected(reason.to_string())),
            Ok(None) => Err(StatusReport::disconnected("the connector panicked when it was started")),
            Err(_) => Err(StatusReport::disconnected("start timed out")),
        }
    }

    async fn check(&self, connector: &dyn Connector, health: HealthOptions) -> Health {
        checked(health.timeout, connector.check()).await.unwrap_or_else(Health::Disconnected)
    }

    /// Installs and checks the channels, all at the same time.
    async fn install_channels(
        &self,
        connector: &dyn Connector,
        health: HealthOptions,
        installed: &mut Vec<(Arc<str>, u64)>,
    ) {
        let actions = self.wanted.lock().actions.clone();
        let each = actions.iter().map(|action| {
            let known =
                installed.iter().any(|(id, version)| id == action.runtime.id() && *version == action.version);
            async move {
                let here = self.install_one(connector, health, action, known).await;
                here.then(|| (Arc::clone(action.runtime.id()), action.version))
            }
        });
        let now_installed = join_all(each).await.into_iter().flatten().collect();
        *installed = now_installed;
    }

    /// Brings one action to work; tells whether its channel is installed.
    async fn install_one(
        &self,
        connector: &dyn Connector,
        health: HealthOptions,
        action: &WantedAction,
        known: bool,
    ) -> bool {
        let runtime = &action.runtime;
        if !runtime.is_enabled() {
            self.apply(action, || {
                runtime.set_channel(None);
                runtime.set_status(StatusReport::stopped());
            });
            return false;
        }
        if !known && !self.add_channel(connector, action).await {
            return false;
        }
        let Some(channel) = runtime.channel() else { return false };
        let limit = runtime.options().health.timeout;
        let found = checked(limit, channel.check()).await;
        // what is wrong with the channel alone is not cured by waiting: rows are refused until it is healthy
        let unhealthy = matches!(found, Ok(Health::Disconnected(_)))
            && self.check(connector, health).await == Health::Connected;
        let report = report_of(found.unwrap_or_else(Health::Disconnected));
        self.apply(action, || {
            runtime.set_stop(unhealthy.then_some(StopReason::ResourceStopped));
            runtime.set_status(report);
        });
        true
    }

    async fn add_channel(&self, connector: &dyn Connector, action: &WantedAction) -> bool {
        let runtime = &action.runtime;
        let context = ChannelContext { id: Arc::clone(runtime.id()) };
        let adding = guarded(connector.add_channel(context, &action.parameters));
        let (stop, reason) = match timeout(runtime.options().health.timeout, adding).await {
            Ok(Some(Ok(channel))) => {
                return self.apply(action, || {
                    runtime.set_stop(None);
                    runtime.set_channel(Some(channel));
                });
            }
            Ok(Some(Err(ChannelError::Config(error)))) => {
                (Some(StopReason::ResourceStopped), error.to_string())
            }
            Ok(Some(Err(ChannelError::Unhealthy(reason)))) => {
                (Some(StopReason::ResourceStopped), reason.to_string())
            }
            Ok(Some(Err(ChannelError::Target(reason)))) => (None, reason.to_string()),
            Ok(None) => (None, "the connector panicked when the action was installed".to_owned()),
            Err(_) => (None, "installing the action timed out".to_owned()),
        };
        self.apply(action, || {
            runtime.set_channel(None);
            runtime.set_stop(stop);
            runtime.set_status(StatusReport::disconnected(reason));
        });
        false
    }

    /// Makes a change of an action, unless it was changed, taken away or disabled meanwhile; tells whether it was
    /// made.
    fn apply(&self, action: &WantedAction, change: impl FnOnce()) -> bool {
        let wanted = self.wanted.lock();
        let is_same = |other: &WantedAction| {
            Arc::ptr_eq(&other.runtime, &action.runtime) && other.version == action.version
        };
        let same = wanted.run && wanted.actions.iter().any(is_same);
        if same {
            change();
        }
        same
    }

    /// Stops the started connector after the requests under way.
    async fn take_down(&self, current: &mut Current) {
        self.gate.shut(false);
        let _ = timeout(HAND_OVER_LIMIT, self.gate.wait_idle()).await;
        for action in &self.wanted.lock().actions {
            action.runtime.set_channel(None);
        }
        current.installed.clear();
        if let Some((connector, _)) = current.connector.take() {
            let _ = timeout(STOP_LIMIT, guarded(connector.stop())).await;
        }
    }

    /// The connector is disabled, stopped or ended: rows are refused.
    fn rest(&self) {
        let wanted = self.wanted.lock();
        if wanted.run && !self.end.is_cancelled() {
            return;
        }
        self.gate.shut(false);
        self.set_status(StatusReport::stopped());
        for action in wanted.actions.iter().filter(|action| action.runtime.is_enabled()) {
            action.runtime.set_stop(Some(StopReason::ResourceStopped));
            action.runtime.set_status(StatusReport::stopped());
        }
    }

    fn set_status(&self, report: StatusReport) {
        if let Some(before) = self.status.set(report.clone()) {
            crate::action::log_change("connector", &self.id, &before, &report);
        }
    }
}

impl std::fmt::Debug for ConnectorRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectorRuntime").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(super) fn report_of(health: Health) -> StatusReport {
    match health {
        Health::Connected => StatusReport::connected(),
        Health::Connecting(reason) => StatusReport::connecting(reason),
        Health::Disconnected(reason) => StatusReport::disconnected(reason),
    }
}

/// A check that ends. Its error says why there was no answer.
pub(super) async fn checked(limit: Duration, check: impl Future<Output = Health>) -> Result<Health, String> {
    match timeout(limit, guarded(check)).await {
        Ok(Some(health)) => Ok(health),
        Ok(None) => Err("the connector panicked when it was checked".to_owned()),
        Err(_) => Err("health check timed out".to_owned()),
    }
}

/// What a connector answers; none when it panicked.
pub(super) async fn guarded<T>(call: impl Future<Output = T>) -> Option<T> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(answer) => Some(answer),
        Err(_) => {
            tracing::error!("a connector panicked outside of a delivery");
            None
        }
    }
}
