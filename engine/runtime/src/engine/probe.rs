//! Trying a configuration without keeping it.

use std::sync::Arc;

use connectors_api::{
    ChannelContext, ChannelError, Connector, ConnectorDef, Health, StartContext, StartError,
};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::supervisor::{STOP_LIMIT, checked, guarded};
use super::{Engine, allowed, not_found};
use crate::object::action::ActionConfig;
use crate::object::connector::{ConnectorConfig, read_identity};
use crate::object::name::object_id;
use crate::object::secrets;
use crate::services::Services;
use crate::{EngineError, ObjectClass};

/// A throw-away connector. It is stopped however the probe ends, also when its caller goes away.
struct Probe {
    connector: Arc<dyn Connector>,
    services: Arc<Services>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let connector = Arc::clone(&self.connector);
        self.services.spawn(async move {
            let _ = timeout(STOP_LIMIT, guarded(connector.stop())).await;
        });
    }
}

impl Engine {
    /// Starts a throw-away connector, checks it and stops it; nothing of it stays.
    ///
    /// # Errors
    /// When the configuration is wrong, or the target is not healthy.
    pub async fn probe_connector(&self, config: Json) -> Result<(), EngineError> {
        let (def, config) = self.probe_config(config)?;
        let probe = self.open_probe(&def, &config).await?;
        healthy(checked(config.options.health.timeout, probe.connector.check()).await)
    }

    /// Starts a throw-away action on a throw-away connector like the action's own, checks and stops them.
    ///
    /// # Errors
    /// When the configuration is wrong, there is no such connector, or the target is not healthy.
    pub async fn probe_action(&self, config: Json) -> Result<(), EngineError> {
        let (kind, name) = read_identity(&config)?;
        let (def, verdict) = self.definition(&kind)?;
        allowed(def, verdict)?;
        let mut config = config;
        let stored = {
            let registry = self.registry.lock();
            registry.actions.get(&object_id(&kind, &name)).map(|entry| entry.about.given.clone())
        };
        secrets::restore_all(&mut config, stored.as_ref(), &[])?;
        let action = ActionConfig::read(&config, def, &kind, &name)?;
        let connector_id = action.connector_id();
        let connector_config = {
            let registry = self.registry.lock();
            let entry = registry.connectors.get(&connector_id);
            entry.ok_or_else(|| not_found(ObjectClass::Connector, &connector_id))?.config.clone()
        };
        let probe = self.open_probe(def, &connector_config).await?;
        let trying = guarded(try_channel(probe.connector.as_ref(), &action));
        match timeout(action.options.health.timeout, trying).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(unhealthy("the connector panicked when the action was tried")),
            Err(_) => Err(unhealthy("timed out")),
        }
    }

    fn probe_config(&self, mut config: Json) -> Result<(ConnectorDef, ConnectorConfig), EngineError> {
        let (kind, name) = read_identity(&config)?;
        let (def, verdict) = self.definition(&kind)?;
        allowed(def, verdict)?;
        let stored = {
            let registry = self.registry.lock();
            registry.connectors.get(&object_id(&kind, &name)).map(|entry| entry.about.given.clone())
        };
        secrets::restore_all(&mut config, stored.as_ref(), def.secrets)?;
        Ok((*def, ConnectorConfig::read(&config, def, &kind, &name)?))
    }

    async fn open_probe(&self, def: &ConnectorDef, config: &ConnectorConfig) -> Result<Probe, EngineError> {
        self.refuse_when_stopping()?;
        let context = StartContext { id: Arc::from("probe"), data_dir: self.services.data_dir.clone() };
        let starting = guarded(async { (def.start)(context, config.own.clone()).await });
        match timeout(config.options.start_timeout, starting).await {
            Ok(Some(Ok(connector))) => Ok(Probe { connector, services: Arc::clone(&self.services) }),
            Ok(Some(Err(StartError::Config(error)))) => Err(error.into()),
            Ok(Some(Err(StartError::Target(reason)))) => Err(unhealthy(reason)),
            Ok(None) => Err(unhealthy("the connector panicked when it was started")),
            Err(_) => Err(unhealthy("start timed out")),
        }
    }
}

async fn try_channel(connector: &dyn Connector, action: &ActionConfig) -> Result<(), EngineError> {
    healthy(Ok(connector.check().await))?;
    let context = ChannelContext { id: Arc::from("probe") };
    match connector.add_channel(context, &action.parameters).await {
        Ok(channel) => healthy(Ok(channel.check().await)),
        Err(ChannelError::Config(error)) => Err(error.into()),
        Err(ChannelError::Unhealthy(reason) | ChannelError::Target(reason)) => Err(unhealthy(reason)),
    }
}

fn healthy(found: Result<Health, String>) -> Result<(), EngineError> {
    match found {
        Ok(Health::Connected) => Ok(()),
        Ok(Health::Connecting(reason) | Health::Disconnected(reason)) | Err(reason) => Err(unhealthy(reason)),
    }
}

fn unhealthy(reason: impl std::fmt::Display) -> EngineError {
    EngineError::Unhealthy { reason: reason.to_string() }
}
