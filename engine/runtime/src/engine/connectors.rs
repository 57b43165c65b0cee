//! Operations on connectors.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::{Instant, timeout};

use super::registry::{About, ConnectorEntry};
use super::supervisor::ConnectorRuntime;
use super::{Engine, allowed, not_found};
use crate::action::ActionRuntime;
use crate::lane::StopReason;
use crate::object::connector::{ConnectorConfig, read_identity};
use crate::object::name::object_id;
use crate::object::secrets;
use crate::status::StatusCell;
use crate::{ConnectorView, EditionVerdict, EngineError, ObjectClass, Origin, Status, StatusReport};

const CLASS: ObjectClass = ObjectClass::Connector;

impl Engine {
    /// Checks a connector without creating it.
    ///
    /// # Errors
    /// Every problem with its path, or the edition that is needed.
    pub fn check_connector(&self, config: &Json) -> Result<(), EngineError> {
        let (kind, name) = read_identity(config)?;
        let (def, verdict) = self.definition(&kind)?;
        ConnectorConfig::read(config, def, &kind, &name)?;
        allowed(def, verdict)
    }

    /// Creates a connector and waits up to its `start_timeout` for it to connect. A target that is down is no error.
    ///
    /// # Errors
    /// When the configuration is wrong, the name is taken, or the type belongs to another edition.
    pub async fn create_connector(&self, config: Json, origin: Origin) -> Result<ConnectorView, EngineError> {
        let (id, limit) = {
            let _alone = self.changes.lock().await;
            let about = About::new(origin, config, self.now_ms());
            let lenient = about.origin != Origin::Api;
            self.add_connector(about, lenient)?
        };
        self.wait_for_connector(&id, limit).await;
        self.connector(&id).ok_or_else(|| not_found(CLASS, &id))
    }

    /// Puts a new connector in its place. Lenient: one of another edition is kept with its reason.
    pub(super) fn add_connector(
        &self,
        about: About,
        lenient: bool,
    ) -> Result<(String, Duration), EngineError> {
        self.refuse_when_stopping()?;
        let (kind, name) = read_identity(&about.given)?;
        let (def, verdict) = self.definition(&kind)?;
        if !lenient {
            allowed(def, verdict)?;
        }
        let mut about = about;
        secrets::restore_all(&mut about.given, None, def.secrets)?;
        let config = ConnectorConfig::read(&about.given, def, &kind, &name)?;
        let id = object_id(&kind, &name);
        let limit = config.options.start_timeout;
        let mut registry = self.registry.lock();
        if registry.connectors.contains_key(&id) {
            return Err(EngineError::AlreadyExists { class: CLASS, id });
        }
        let (runtime, refused) = match verdict {
            EditionVerdict::Allowed => {
                (Some(ConnectorRuntime::start(&id, *def, &config, &self.services)), None)
            }
            EditionVerdict::Refused { .. } => {
                (None, allowed(def, verdict).err().map(|error| error.to_string()))
            }
        };
        registry.connectors.insert(id.clone(), ConnectorEntry { about, config, runtime, refused });
        drop(registry);
        self.connect_actions_of(&id);
        Ok((id, limit))
    }

    /// Replaces the configuration of connector `id` (`type:name`); `******` keeps a secret.
    ///
    /// # Errors
    /// When there is none, it is declared in a file, or the configuration is wrong.
    pub async fn update_connector(&self, id: &str, config: Json) -> Result<ConnectorView, EngineError> {
        let limit = {
            let _alone = self.changes.lock().await;
            self.change_connector(id, config, &Origin::Api)?
        };
        self.wait_for_connector(id, limit).await;
        self.connector(id).ok_or_else(|| not_found(CLASS, id))
    }

    pub(super) fn change_connector(
        &self,
        id: &str,
        config: Json,
        origin: &Origin,
    ) -> Result<Duration, EngineError> {
        self.refuse_when_stopping()?;
        let mut registry = self.registry.lock();
        let entry = registry.connectors.get_mut(id).ok_or_else(|| not_found(CLASS, id))?;
        entry.about.require(origin, CLASS, id)?;
        let (kind, name) = (entry.config.kind.clone(), entry.config.name.clone());
        let (def, _) = self.definition(&kind)?;
        let mut config = with_identity(config, &kind, &name);
        secrets::restore_all(&mut config, Some(&entry.about.given), def.secrets)?;
        let checked = ConnectorConfig::read(&config, def, &kind, &name)?;
        let limit = checked.options.start_timeout;
        if let Some(runtime) = &entry.runtime {
            runtime.configure(&checked);
        }
        entry.about = entry.about.changed(config, self.now_ms());
        if let Origin::File(_) = origin {
            entry.about.origin = origin.clone();
        }
        entry.config = checked;
        Ok(limit)
    }

    /// Deletes a connector that no action uses.
    ///
    /// # Errors
    /// When there is none, it is in use, or declared in a file.
    pub async fn delete_connector(&self, id: &str) -> Result<(), EngineError> {
        let _alone = self.changes.lock().await;
        self.remove_connector(id, &Origin::Api)
    }

    pub(super) fn remove_connector(&self, id: &str, origin: &Origin) -> Result<(), EngineError> {
        let mut registry = self.registry.lock();
        let entry = registry.connectors.get(id).ok_or_else(|| not_found(CLASS, id))?;
        entry.about.require(origin, CLASS, id)?;
        let by: Vec<_> =
            registry.actions_of(id).iter().map(|name| object_id(&entry.config.kind, name)).collect();
        if !by.is_empty() {
            return Err(EngineError::InUse { class: CLASS, id: id.to_owned(), by });
        }
        if let Some(runtime) = registry.connectors.remove(id).and_then(|entry| entry.runtime) {
            runtime.end();
        }
        Ok(())
    }

    /// Enables or disables a connector.
    ///
    /// # Errors
    /// When there is none, or it is declared in a file.
    pub async fn enable_connector(&self, id: &str, enable: bool) -> Result<(), EngineError> {
        let _alone = self.changes.lock().await;
        let mut config = {
            let registry = self.registry.lock();
            let entry = registry.connectors.get(id).ok_or_else(|| not_found(CLASS, id))?;
            entry.about.given.clone()
        };
        set_enable(&mut config, enable);
        self.change_connector(id, config, &Origin::Api).map(|_| ())
    }

    /// Tries to connect now and answers when the connector is healthy.
    ///
    /// # Errors
    /// When there is none, it is disabled, or still not healthy after its `start_timeout`.
    pub async fn start_connector(&self, id: &str) -> Result<(), EngineError> {
        let (runtime, limit) = self.running_connector(id)?;
        let begun = Instant::now();
        runtime.set_running(true);
        // the status of before says nothing about now
        runtime.look_again(limit).await;
        until_connected(runtime.status(), limit.saturating_sub(begun.elapsed())).await
    }

    /// Stops a connector until it is started again, or the server is.
    ///
    /// # Errors
    /// When there is none, or it is disabled.
    pub async fn stop_connector(&self, id: &str) -> Result<(), EngineError> {
        let (runtime, limit) = self.running_connector(id)?;
        runtime.set_running(false);
        let mut status = runtime.status().watch();
        let _ = timeout(limit, status.wait_for(|report| report.status == Status::Stopped)).await;
        Ok(())
    }

    fn running_connector(&self, id: &str) -> Result<(Arc<ConnectorRuntime>, Duration), EngineError> {
        let registry = self.registry.lock();
        let entry = registry.connectors.get(id).ok_or_else(|| not_found(CLASS, id))?;
        if !entry.config.common.enable {
            return Err(EngineError::NotEnabled { class: CLASS });
        }
        match &entry.runtime {
            Some(runtime) => Ok((Arc::clone(runtime), entry.config.options.start_timeout)),
            None => Err(EngineError::Unhealthy { reason: entry.refused.clone().unwrap_or_default() }),
        }
    }

    /// The connector as people see it.
    pub fn connector(&self, id: &str) -> Option<ConnectorView> {
        let registry = self.registry.lock();
        let entry = registry.connectors.get(id)?;
        Some(self.view_connector(id, entry, registry.actions_of(id)))
    }

    /// Every connector, by id.
    pub fn connectors(&self) -> Vec<ConnectorView> {
        let registry = self.registry.lock();
        let all = registry.connectors.iter();
        all.map(|(id, entry)| self.view_connector(id, entry, registry.actions_of(id))).collect()
    }

    fn view_connector(&self, id: &str, entry: &ConnectorEntry, actions: Vec<String>) -> ConnectorView {
        let mut config = entry.config.to_json();
        if let Ok((def, _)) = self.definition(&entry.config.kind) {
            secrets::redact(&mut config, def.secrets);
        }
        ConnectorView {
            id: id.to_owned(),
            config,
            origin: entry.about.origin.clone(),
            status: status_of(entry),
            node: self.services.node.clone(),
            actions,
            created_at_ms: entry.about.created_at_ms,
            last_modified_at_ms: entry.about.last_modified_at_ms,
        }
    }

    /// Puts an action behind its connector, or notes why it has none.
    pub(super) fn connect_action(&self, connector: &str, action: &Arc<ActionRuntime>, parameters: &Json) {
        let registry = self.registry.lock();
        match registry.connectors.get(connector) {
            Some(ConnectorEntry { runtime: Some(runtime), .. }) => {
                runtime.put_action(action, parameters);
            }
            Some(entry) => {
                action.set_stop(Some(StopReason::ResourceStopped));
                action.set_status_if_enabled(status_of(entry));
            }
            None => {
                action.set_stop(Some(StopReason::ResourceNotFound));
                let report = StatusReport::disconnected(format!("connector `{connector}` not found"));
                action.set_status_if_enabled(report);
            }
        }
    }

    /// Takes an action away from its connector.
    pub(super) fn disconnect_action(&self, connector: &str, action: &str) {
        let registry = self.registry.lock();
        if let Some(runtime) = registry.connectors.get(connector).and_then(|entry| entry.runtime.as_ref()) {
            runtime.remove_action(action);
        }
    }

    fn connect_actions_of(&self, connector: &str) {
        let actions: Vec<_> = {
            let registry = self.registry.lock();
            let on_it = registry.actions.values().filter(|entry| entry.config.connector_id() == connector);
            on_it.map(|entry| (Arc::clone(&entry.runtime), entry.config.parameters.clone())).collect()
        };
        for (action, parameters) in actions {
            self.connect_action(connector, &action, &parameters);
        }
    }

    async fn wait_for_connector(&self, id: &str, limit: Duration) {
        let runtime = {
            let registry = self.registry.lock();
            registry.connectors.get(id).and_then(|entry| entry.runtime.clone())
        };
        if let Some(runtime) = runtime {
            until_decided(runtime.status(), limit).await;
        }
    }
}

fn status_of(entry: &ConnectorEntry) -> StatusReport {
    match (&entry.runtime, &entry.refused) {
        (Some(runtime), _) => runtime.status().get(),
        (None, refused) => StatusReport::disconnected(refused.clone().unwrap_or_default()),
    }
}

/// Waits until the status is no longer `connecting`.
pub(super) async fn until_decided(status: &StatusCell, limit: Duration) {
    let mut status = status.watch();
    let _ = timeout(limit, status.wait_for(|report| report.status != Status::Connecting)).await;
}

/// Waits until the status is decided, and tells why it is not `connected`.
pub(super) async fn until_connected(status: &StatusCell, limit: Duration) -> Result<(), EngineError> {
    until_decided(status, limit).await;
    let StatusReport { status, reason } = status.get();
    match status {
        Status::Connected => Ok(()),
        _ if reason.is_empty() => Err(EngineError::Unhealthy { reason: "not connected in time".to_owned() }),
        _ => Err(EngineError::Unhealthy { reason }),
    }
}

/// A configuration without `type` and `name` gets those of the object.
pub(super) fn with_identity(mut config: Json, kind: &str, name: &str) -> Json {
    if let Some(object) = config.as_object_mut() {
        object.insert("type".to_owned(), kind.into());
        object.insert("name".to_owned(), name.into());
    }
    config
}

pub(super) fn set_enable(config: &mut Json, enable: bool) {
    if let Some(object) = config.as_object_mut() {
        object.insert("enable".to_owned(), enable.into());
    }
}
