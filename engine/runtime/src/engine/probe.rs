//! Trying a configuration without keeping it.

use std::sync::Arc;

use connectors_api::{
    ChannelContext, ChannelError, Connector, ConnectorDef, Health, StartContext, StartError,
};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::{Engine, allowed, not_found};
use crate::object::action::ActionConfig;
use crate::object::connector::{ConnectorConfig, read_identity};
use crate::object::name::object_id;
use crate::object::secrets;
use crate::{EngineError, ObjectClass};

impl Engine {
    /// Starts a throw-away connector, checks it and stops it; nothing of it stays.
    ///
    /// # Errors
    /// When the configuration is wrong, or the target is not healthy.
    pub async fn probe_connector(&self, config: Json) -> Result<(), EngineError> {
        let (def, config) = self.probe_config(config)?;
        let connector = self.open_probe(&def, &config).await?;
        let healthy = healthy(timeout(config.options.health.timeout, connector.check()).await.ok());
        connector.stop().await;
        healthy
    }

    /// Starts a throw-away action on a throw-away connector like the action's own, checks and stops them.
    ///
    /// # Errors
    /// When the configuration is wrong, there is no such connector, or the target is not healthy.
    pub async fn probe_action(&self, config: Json) -> Result<(), EngineError> {
        let (kind, name) = read_identity(&config)?;
        let (def, verdict) = self.definition(&kind)?;
        allowed(def, verdict)?;
        let action = ActionConfig::read(&config, def, &kind, &name)?;
        let connector_id = action.connector_id();
        let connector_config = {
            let registry = self.registry.lock();
            let entry = registry.connectors.get(&connector_id);
            entry.ok_or_else(|| not_found(ObjectClass::Connector, &connector_id))?.config.clone()
        };
        let connector = self.open_probe(def, &connector_config).await?;
        let result = timeout(action.options.health.timeout, try_channel(connector.as_ref(), &action)).await;
        connector.stop().await;
        result.unwrap_or_else(|_| Err(unhealthy("timed out")))
    }

    fn probe_config(&self, mut config: Json) -> Result<(ConnectorDef, ConnectorConfig), EngineError> {
        let (kind, name) = read_identity(&config)?;
        let (def, verdict) = self.definition(&kind)?;
        allowed(def, verdict)?;
        let stored = {
            let registry = self.registry.lock();
            registry.connectors.get(&object_id(&kind, &name)).map(|entry| entry.about.given.clone())
        };
        let mut problems = Vec::new();
        secrets::restore(&mut config, stored.as_ref(), def.secrets, &mut problems);
        EngineError::unless_empty(problems)?;
        Ok((*def, ConnectorConfig::read(&config, def, &kind, &name)?))
    }

    async fn open_probe(
        &self,
        def: &ConnectorDef,
        config: &ConnectorConfig,
    ) -> Result<Arc<dyn Connector>, EngineError> {
        let context = StartContext { id: Arc::from("probe"), data_dir: self.services.data_dir.clone() };
        match timeout(config.options.start_timeout, (def.start)(context, config.own.clone())).await {
            Ok(Ok(connector)) => Ok(connector),
            Ok(Err(StartError::Config(error))) => Err(error.into()),
            Ok(Err(StartError::Target(reason))) => Err(unhealthy(reason)),
            Err(_) => Err(unhealthy("start timed out")),
        }
    }
}

async fn try_channel(connector: &dyn Connector, action: &ActionConfig) -> Result<(), EngineError> {
    healthy(Some(connector.check().await))?;
    let context = ChannelContext { id: Arc::from("probe") };
    match connector.add_channel(context, &action.parameters).await {
        Ok(channel) => healthy(Some(channel.check().await)),
        Err(ChannelError::Config(error)) => Err(error.into()),
        Err(ChannelError::Unhealthy(reason) | ChannelError::Target(reason)) => Err(unhealthy(reason)),
    }
}

fn healthy(health: Option<Health>) -> Result<(), EngineError> {
    match health {
        Some(Health::Connected) => Ok(()),
        Some(Health::Connecting(reason) | Health::Disconnected(reason)) => Err(unhealthy(reason)),
        None => Err(unhealthy("health check timed out")),
    }
}

fn unhealthy(reason: impl std::fmt::Display) -> EngineError {
    EngineError::Unhealthy { reason: reason.to_string() }
}
