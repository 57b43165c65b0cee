//! The listeners as the API sees them: changes are checked, applied to the network and kept, or nothing happens.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::{ListenerControl, ListenerFault, ListenerView};
use async_trait::async_trait;
use broker_net::{ChangeError, ListenerConfig, ListenerKind, ListenerStatus, Listeners as Network};
use connectors_api::{ConfigProblem, parse_config};
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::sync::Mutex as Turn;
use tracing::error;

use crate::config::Config;
use crate::listener_config::{Bind, KINDS, Listener, Listeners, MaxRate, WebSocket, kind_of};
use crate::store::SqliteStore;
use crate::zones::{self, Zone};

/// The listener that is there without being named.
const DEFAULT: &str = "tcp:default";

/// Changes listeners and keeps what was changed.
pub(crate) struct ListenerDesk {
    store: SqliteStore,
    /// There once the network has started.
    network: OnceLock<Network>,
    listeners: Mutex<Listeners>,
    /// The zones that listeners may name.
    zones: BTreeMap<String, Zone>,
    /// One change at a time.
    turn: Turn<()>,
}

impl ListenerDesk {
    /// Puts the listeners of the store beside those of the file, and returns those that the server cannot start
    /// without. What stands in the file wins.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn open(config: &Config, store: SqliteStore) -> anyhow::Result<(Arc<Self>, Listeners)> {
        let mut listeners = config.listeners.clone();
        for (id, stored) in store.listeners().await? {
            if listeners.declared.contains(&id) {
                continue;
            }
            match read(&id, stored, &config.zones) {
                Ok((kind, name, listener)) => {
                    listeners.of_mut(kind).insert(name, listener);
                }
                Err(error) => error!(listener = id, %error, "kept, but not usable"),
            }
        }
        if let Some(bind) = config.mqtt_flag {
            let default = listeners.tcp.entry("default".to_owned()).or_default();
            (default.bind, default.enable) = (Some(Bind(bind)), true);
        }
        let mut needed = listeners.clone();
        for kind in KINDS {
            needed.of_mut(kind).retain(|name, _| is_needed(&listeners, kind, name));
        }
        let desk = Self {
            store,
            network: OnceLock::new(),
            listeners: Mutex::new(listeners),
            zones: config.zones.clone(),
            turn: Turn::default(),
        };
        Ok((Arc::new(desk), needed))
    }

    /// Gives it the network, which has started with the listeners of [`ListenerDesk::open`], and adds the others. One
    /// that cannot be opened is shown as not running, with a line in the log.
    pub(crate) async fn attach(&self, network: Network) {
        let _turn = self.turn.lock().await;
        let others: Vec<_> = {
            let listeners = self.listeners.lock();
            let others = listeners.all().filter(|(kind, name, _)| !is_needed(&listeners, *kind, name));
            others.map(|(kind, name, listener)| listener.to_network(kind, name)).collect()
        };
        for config in others {
            let listener = config.id();
            if let Err(error) = network.add(config).await {
                error!(listener, error = %fault(error), "a listener is not started");
            }
        }
        // twice only by a mistake of ours, and then the first stays
        let _ = self.network.set(network);
    }

    /// Returns the zones that listeners name, by the ids of those.
    pub(crate) fn zones(&self) -> BTreeMap<String, String> {
        let listeners = self.listeners.lock();
        let all = listeners.all().filter(|(.., listener)| listener.zone != zones::DEFAULT);
        all.map(|(kind, name, listener)| (format!("{}:{name}", kind.as_str()), listener.zone.clone()))
            .collect()
    }

    fn find(&self, id: &str) -> Result<(ListenerKind, String, Listener), ListenerFault> {
        let listeners = self.listeners.lock();
        let found = id.split_once(':').and_then(|(kind, name)| {
            let kind = kind_of(kind)?;
            Some((kind, name.to_owned(), listeners.of(kind).get(name)?.clone()))
        });
        found.ok_or_else(|| ListenerFault::Unknown(id.to_owned()))
    }

    /// Changes a listener of the network, or adds it when it could not be opened before.
    async fn apply(&self, config: ListenerConfig) -> Result<(), ListenerFault> {
        let network = self.network()?;
        let known = network.get(&config.id()).is_some();
        let result = if known { network.update(config).await } else { network.add(config).await };
        result.map_err(fault)
    }

    fn network(&self) -> Result<&Network, ListenerFault> {
        self.network
            .get()
            .ok_or_else(|| ListenerFault::Failed("the listeners are not started yet".to_owned()))
    }

    fn check_writable(&self, id: &str) -> Result<(), ListenerFault> {
        if self.listeners.lock().declared.contains(id) {
            return Err(ListenerFault::ReadOnly(id.to_owned()));
        }
        Ok(())
    }

    async fn keep(&self, id: &str, listener: &Listener) -> Result<(), ListenerFault> {
        let internal = |error: &dyn std::fmt::Display| ListenerFault::Internal(error.to_string());
        let config = serde_json::to_value(listener).map_err(|error| internal(&error))?;
        self.store.put_listener(id, &config).await.map_err(|error| internal(&error))
    }

    fn put(&self, kind: ListenerKind, name: String, listener: Listener) {
        self.listeners.lock().of_mut(kind).insert(name, listener);
    }
}

/// The listeners of the file, and the one that is always there.
fn is_needed(listeners: &Listeners, kind: ListenerKind, name: &str) -> bool {
    let id = format!("{}:{name}", kind.as_str());
    id == DEFAULT || listeners.declared.contains(&id)
}

/// Reads a listener and checks it.
fn read(
    id: &str,
    config: Json,
    zones: &BTreeMap<String, Zone>,
) -> Result<(ListenerKind, String, Listener), ListenerFault> {
    let bad_id = || ListenerFault::BadId(id.to_owned());
    let (kind, name) = id.split_once(':').ok_or_else(bad_id)?;
    let kind = kind_of(kind).ok_or_else(bad_id)?;
    let listener: Listener =
        parse_config(&config).map_err(|error| ListenerFault::Invalid(error.to_string()))?;
    let mut problems = listener.problems(kind, name);
    if let Err(message) = zones::check_name(&listener.zone, zones) {
        problems.push(ConfigProblem::new("zone", message));
    }
    if problems.is_empty() {
        return Ok((kind, name.to_owned(), listener));
    }
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{path}: {}", problem.message),
        })
        .collect();
    Err(ListenerFault::Invalid(texts.join("; ")))
}

/// Shows a listener; `status` is nothing for one that could not be opened.
fn view(kind: ListenerKind, name: &str, own: &Listener, status: Option<ListenerStatus>) -> ListenerView {
    let has_websocket = matches!(kind, ListenerKind::Ws | ListenerKind::Wss);
    let shown = Listener {
        bind: Some(Bind(own.address(kind))),
        max_conn_rate: Some(own.rate(kind)),
        websocket: own.websocket.clone().or_else(|| has_websocket.then(WebSocket::default)),
        ..own.clone()
    };
    let config = match serde_json::to_value(&shown) {
        Ok(Json::Object(config)) => config,
        _ => Map::new(), // it was read from JSON
    };
    let status = status.as_ref();
    let count = |of: fn(&ListenerStatus) -> u64| status.map_or(0, of);
    ListenerView {
        kind: kind.as_str().to_owned(),
        name: name.to_owned(),
        config,
        running: status.is_some_and(|status| status.running),
        listen_on: status.and_then(|status| status.address).map(|address| address.to_string()),
        current_connections: count(|status| status.current_connections as u64),
        counters: vec![
            ("accepted", count(|status| status.accepted)),
            ("refused_full", count(|status| status.refused_full)),
            ("refused_address", count(|status| status.refused_address)),
            ("failed_handshakes", count(|status| status.failed_handshakes)),
            ("rate_pauses", count(|status| status.pauses)),
        ],
    }
}

fn fault(error: ChangeError) -> ListenerFault {
    match error {
        ChangeError::Unknown(id) => ListenerFault::Unknown(id),
        ChangeError::Exists(id) => ListenerFault::Exists(id),
        error @ ChangeError::Listen(_) => ListenerFault::Failed(format!("{:#}", anyhow::Error::new(error))),
    }
}

#[async_trait]
impl ListenerControl for ListenerDesk {
    fn list(&self) -> Vec<ListenerView> {
        let Ok(network) = self.network() else { return Vec::new() };
        let listeners = self.listeners.lock();
        let mut views: Vec<_> = listeners
            .all()
            .map(|(kind, name, own)| view(kind, name, own, network.get(&format!("{}:{name}", kind.as_str()))))
            .collect();
        views.sort_by_key(ListenerView::id);
        views
    }

    async fn create(&self, id: &str, config: Map<String, Json>) -> Result<(), ListenerFault> {
        let _turn = self.turn.lock().await;
        let (kind, name, listener) = read(id, config.into(), &self.zones)?;
        if self.find(id).is_ok() {
            return Err(ListenerFault::Exists(id.to_owned()));
        }
        let network = self.network()?;
        network.add(listener.to_network(kind, &name)).await.map_err(fault)?;
        if let Err(fault) = self.keep(id, &listener).await {
            let _ = network.remove(id).await; // it was there a moment ago
            return Err(fault);
        }
        self.put(kind, name, listener);
        Ok(())
    }

    async fn update(&self, id: &str, config: Map<String, Json>) -> Result<(), ListenerFault> {
        let _turn = self.turn.lock().await;
        self.check_writable(id)?;
        let (kind, name, mut listener) = read(id, config.into(), &self.zones)?;
        let (.., before) = self.find(id)?;
        // what was a default, and comes back as it was shown, stays a default
        if before.bind.is_none() && listener.bind.map(|bind| bind.0) == Some(before.address(kind)) {
            listener.bind = None;
        }
        let shown: MaxRate = before.rate(kind);
        if before.max_conn_rate.is_none() && listener.max_conn_rate == Some(shown) {
            listener.max_conn_rate = None;
        }
        self.apply(listener.to_network(kind, &name)).await?;
        if let Err(fault) = self.keep(id, &listener).await {
            if let Err(error) = self.apply(before.to_network(kind, &name)).await {
                error!(listener = id, %error, "a change could neither be kept nor taken back");
            }
            return Err(fault);
        }
        self.put(kind, name, listener);
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), ListenerFault> {
        let _turn = self.turn.lock().await;
        self.check_writable(id)?;
        let (kind, name, _) = self.find(id)?;
        if id == DEFAULT {
            // it would come back by itself: it is kept as one that is off
            let off = Listener { enable: false, ..Listener::default() };
            self.keep(id, &off).await?;
        } else {
            let deleted = self.store.delete_listener(id).await;
            deleted.map_err(|error| ListenerFault::Internal(error.to_string()))?;
        }
        self.listeners.lock().of_mut(kind).remove(&name);
        match self.network()?.remove(id).await {
            Ok(()) | Err(ChangeError::Unknown(_)) => Ok(()), // it could not be opened
            Err(error) => Err(fault(error)),
        }
    }

    async fn start(&self, id: &str) -> Result<(), ListenerFault> {
        let _turn = self.turn.lock().await;
        let (kind, name, listener) = self.find(id)?;
        if self.network()?.get(id).is_none() {
            self.apply(listener.to_network(kind, &name)).await?;
        }
        self.network()?.start(id).await.map_err(fault)
    }

    async fn stop(&self, id: &str) -> Result<(), ListenerFault> {
        self.network()?.stop(id).await.map_err(fault)
    }

    async fn restart(&self, id: &str) -> Result<(), ListenerFault> {
        self.network()?.restart(id).await.map_err(fault)
    }
}
