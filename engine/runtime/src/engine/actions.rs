//! Operations on actions.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::connectors::{set_enable, until_connected, until_decided, with_identity};
use super::registry::{About, ActionEntry, Registry};
use super::{Engine, allowed, not_found};
use crate::action::{ActionRuntime, Fallback};
use crate::lane::StopReason;
use crate::object::action::{ActionConfig, FallbackConfig};
use crate::object::connector::read_identity;
use crate::object::name::object_id;
use crate::object::secrets;
use crate::{ActionMetrics, ActionView, EngineError, ObjectClass, Origin, StatusReport};

const CLASS: ObjectClass = ObjectClass::Action;

/// How long creating or changing an action waits for its first check.
const FIRST_CHECK_LIMIT: Duration = Duration::from_secs(5);

impl Engine {
    /// Checks an action without creating it. Whether its connector exists is not looked at.
    ///
    /// # Errors
    /// Every problem with its path, or the edition that is needed.
    pub fn check_action(&self, config: &Json) -> Result<(), EngineError> {
        let (kind, name) = read_identity(config)?;
        let (def, verdict) = self.definition(&kind)?;
        ActionConfig::read(config, def, &kind, &name)?;
        allowed(def, verdict)
    }

    /// Creates an action and waits for its first check. A target that is down is no error.
    ///
    /// # Errors
    /// When the configuration is wrong, the name is taken, the connector does not exist, or the type belongs to
    /// another edition.
    pub async fn create_action(&self, config: Json, origin: Origin) -> Result<ActionView, EngineError> {
        let id = {
            let _alone = self.changes.lock().await;
            let about = About::new(origin, config, self.now_ms());
            let lenient = about.origin != Origin::Api;
            self.add_action(about, lenient)?
        };
        self.wait_for_action(&id).await;
        self.action(&id).ok_or_else(|| not_found(CLASS, &id))
    }

    /// Puts a new action in its place. Lenient: its connector may be missing or of another edition.
    pub(super) fn add_action(&self, about: About, lenient: bool) -> Result<String, EngineError> {
        self.refuse_when_stopping()?;
        let (kind, name) = read_identity(&about.given)?;
        let (def, verdict) = self.definition(&kind)?;
        if !lenient {
            allowed(def, verdict)?;
        }
        let mut about = about;
        secrets::restore_all(&mut about.given, None, &[])?;
        let config = ActionConfig::read(&about.given, def, &kind, &name)?;
        let id = object_id(&kind, &name);
        let mut registry = self.registry.lock();
        if registry.actions.contains_key(&id) {
            return Err(EngineError::AlreadyExists { class: CLASS, id });
        }
        if !lenient {
            require_connector(&registry, &config)?;
        }
        let enabled = config.common.enable;
        let runtime =
            ActionRuntime::new(&id, def, config.options.clone(), enabled, Arc::clone(&self.services));
        runtime.set_fallbacks(fallbacks(&mut registry, &config));
        registry.slot(&id).set(Some(Arc::clone(&runtime)));
        let (connector, parameters) = (config.connector_id(), config.parameters.clone());
        registry.actions.insert(id.clone(), ActionEntry { about, config, runtime: Arc::clone(&runtime) });
        drop(registry);
        self.connect_action(&connector, &runtime, &parameters);
        Ok(id)
    }

    /// Replaces the configuration of action `id` (`type:name`). What is queued stays and is rendered anew.
    ///
    /// # Errors
    /// When there is none, it is declared in a file, or the configuration is wrong.
    pub async fn update_action(&self, id: &str, config: Json) -> Result<ActionView, EngineError> {
        {
            let _alone = self.changes.lock().await;
            self.change_action(id, config, &Origin::Api)?;
        }
        self.wait_for_action(id).await;
        self.action(id).ok_or_else(|| not_found(CLASS, id))
    }

    /// Changes an action, without waiting for anything: a caller that goes away leaves nothing half done.
    pub(super) fn change_action(&self, id: &str, config: Json, origin: &Origin) -> Result<(), EngineError> {
        self.refuse_when_stopping()?;
        let (runtime, options, before, after, parameters, enabled) = {
            let mut registry = self.registry.lock();
            let entry = registry.actions.get(id).ok_or_else(|| not_found(CLASS, id))?;
            entry.about.require(origin, CLASS, id)?;
            let (kind, name) = (entry.config.kind.clone(), entry.config.name.clone());
            let (def, _) = self.definition(&kind)?;
            let mut config = with_identity(config, &kind, &name);
            secrets::restore_all(&mut config, Some(&entry.about.given), &[])?;
            let checked = ActionConfig::read(&config, def, &kind, &name)?;
            if *origin == Origin::Api {
                require_connector(&registry, &checked)?;
            }
            let fallbacks = fallbacks(&mut registry, &checked);
            let now_ms = self.now_ms();
            let entry = registry.actions.get_mut(id).ok_or_else(|| not_found(CLASS, id))?;
            entry.runtime.set_fallbacks(fallbacks);
            entry.about = entry.about.changed(config, now_ms);
            if let Origin::File(_) = origin {
                entry.about.origin = origin.clone();
            }
            let before = entry.config.connector_id();
            let (after, parameters) = (checked.connector_id(), checked.parameters.clone());
            let (options, enabled) = (checked.options.clone(), checked.common.enable);
            entry.config = checked;
            (Arc::clone(&entry.runtime), options, before, after, parameters, enabled)
        };
        if before != after {
            self.disconnect_action(&before, id);
        }
        runtime.set_options(options);
        switch(&runtime, enabled);
        self.connect_action(&after, &runtime, &parameters);
        Ok(())
    }

    /// Deletes an action. `also_from_rules`: takes it out of the rules that use it first.
    ///
    /// # Errors
    /// When there is none, it is declared in a file, or rules use it.
    pub async fn delete_action(&self, id: &str, also_from_rules: bool) -> Result<(), EngineError> {
        let _alone = self.changes.lock().await;
        self.remove_action(id, also_from_rules, &Origin::Api)
    }

    pub(super) fn remove_action(
        &self,
        id: &str,
        also_from_rules: bool,
        origin: &Origin,
    ) -> Result<(), EngineError> {
        let (entry, by) = {
            let mut registry = self.registry.lock();
            let entry = registry.actions.get(id).ok_or_else(|| not_found(CLASS, id))?;
            entry.about.require(origin, CLASS, id)?;
            let by = registry.rules_of(id);
            if !by.is_empty() && !also_from_rules && *origin == Origin::Api {
                return Err(EngineError::InUse { class: CLASS, id: id.to_owned(), by });
            }
            if *origin == Origin::Api {
                // a rule of a file cannot be changed here, so it cannot lose its action here
                for rule in &by {
                    if let Some(rule_entry) = registry.rules.get(rule) {
                        rule_entry.about.require(origin, ObjectClass::Rule, rule)?;
                    }
                }
            }
            registry.slot(id).set(None);
            (registry.actions.remove(id), by)
        };
        if also_from_rules {
            for rule in by {
                self.take_action_out(&rule, id);
            }
        }
        if let Some(entry) = entry {
            self.disconnect_action(&entry.config.connector_id(), id);
            entry.runtime.set_stop(Some(StopReason::ResourceNotFound));
            entry.runtime.discard(StopReason::ResourceNotFound);
        }
        self.registry.lock().forget_slot(id);
        Ok(())
    }

    /// Enables or disables an action. Disabling discards what is queued.
    ///
    /// # Errors
    /// When there is none, or it is declared in a file.
    pub async fn enable_action(&self, id: &str, enable: bool) -> Result<(), EngineError> {
        let _alone = self.changes.lock().await;
        let mut config = {
            let registry = self.registry.lock();
            let entry = registry.actions.get(id).ok_or_else(|| not_found(CLASS, id))?;
            entry.about.given.clone()
        };
        set_enable(&mut config, enable);
        self.change_action(id, config, &Origin::Api)
    }

    /// Checks the action now and answers when it is healthy.
    ///
    /// # Errors
    /// When there is none, it is disabled, or still not healthy after a few seconds.
    pub async fn start_action(&self, id: &str) -> Result<(), EngineError> {
        let runtime = {
            let _alone = self.changes.lock().await;
            self.refuse_when_stopping()?;
            let (runtime, connector, parameters) = self.enabled_action(id)?;
            switch(&runtime, true);
            self.connect_action(&connector, &runtime, &parameters);
            if let Some(connector) =
                self.registry.lock().connectors.get(&connector).and_then(|entry| entry.runtime.clone())
            {
                connector.hurry();
            }
            runtime
        };
        until_connected(runtime.status(), FIRST_CHECK_LIMIT).await
    }

    /// Stops an action until it is started again, or the server is; what is queued is discarded.
    ///
    /// # Errors
    /// When there is none, or it is disabled.
    pub async fn stop_action(&self, id: &str) -> Result<(), EngineError> {
        let _alone = self.changes.lock().await;
        let (runtime, connector, _) = self.enabled_action(id)?;
        switch(&runtime, false);
        self.disconnect_action(&connector, id);
        Ok(())
    }

    fn enabled_action(&self, id: &str) -> Result<(Arc<ActionRuntime>, String, Json), EngineError> {
        let registry = self.registry.lock();
        let entry = registry.actions.get(id).ok_or_else(|| not_found(CLASS, id))?;
        if !entry.config.common.enable {
            return Err(EngineError::NotEnabled { class: CLASS });
        }
        Ok((Arc::clone(&entry.runtime), entry.config.connector_id(), entry.config.parameters.clone()))
    }

    /// The action as people see it.
    pub fn action(&self, id: &str) -> Option<ActionView> {
        let registry = self.registry.lock();
        registry.actions.get(id).map(|entry| self.view_action(id, entry, &registry))
    }

    /// Every action, by id.
    pub fn actions(&self) -> Vec<ActionView> {
        let registry = self.registry.lock();
        registry.actions.iter().map(|(id, entry)| self.view_action(id, entry, &registry)).collect()
    }

    fn view_action(&self, id: &str, entry: &ActionEntry, registry: &Registry) -> ActionView {
        let mut config = entry.config.to_json();
        secrets::redact(&mut config, &[]);
        ActionView {
            id: id.to_owned(),
            config,
            origin: entry.about.origin.clone(),
            status: entry.runtime.status().get(),
            node: self.services.node.clone(),
            rules: registry.rules_of(id),
            fallback_of: registry.fallback_of(id),
            created_at_ms: entry.about.created_at_ms,
            last_modified_at_ms: entry.about.last_modified_at_ms,
        }
    }

    /// Counters and gauges of action `id`.
    pub fn action_metrics(&self, id: &str) -> Option<ActionMetrics> {
        Some(self.action_runtime(id)?.metrics())
    }

    /// Sets counters and rates of action `id` to zero, not its gauges.
    ///
    /// # Errors
    /// When there is none.
    pub fn reset_action_metrics(&self, id: &str) -> Result<(), EngineError> {
        let runtime = self.action_runtime(id).ok_or_else(|| not_found(CLASS, id))?;
        runtime.reset_metrics();
        Ok(())
    }

    fn action_runtime(&self, id: &str) -> Option<Arc<ActionRuntime>> {
        self.registry.lock().actions.get(id).map(|entry| Arc::clone(&entry.runtime))
    }

    async fn wait_for_action(&self, id: &str) {
        if let Some(runtime) = self.action_runtime(id) {
            until_decided(runtime.status(), FIRST_CHECK_LIMIT).await;
        }
    }
}

/// Switches an action on or off; off, what is queued is given up.
fn switch(runtime: &Arc<ActionRuntime>, enabled: bool) {
    if enabled == runtime.is_enabled() {
        return;
    }
    if enabled {
        runtime.keep();
        runtime.set_status(StatusReport::connecting(""));
        runtime.set_enabled(true);
    } else {
        runtime.set_enabled(false);
        runtime.set_status(StatusReport::stopped());
        runtime.discard(StopReason::ResourceStopped);
    }
}

fn require_connector(registry: &Registry, config: &ActionConfig) -> Result<(), EngineError> {
    let id = config.connector_id();
    if registry.connectors.contains_key(&id) {
        return Ok(());
    }
    Err(EngineError::invalid(
        "connector",
        format!("connector_not_found_or_wrong_type: there is no connector `{id}`"),
    ))
}

fn fallbacks(registry: &mut Registry, config: &ActionConfig) -> Vec<Fallback> {
    let all = config.fallbacks.iter();
    all.map(|fallback| match fallback {
        FallbackConfig::Action(id) => Fallback::Action(registry.slot(id)),
        FallbackConfig::Republish(args) => Fallback::Republish(args.clone()),
    })
    .collect()
}
