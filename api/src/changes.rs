//! Changes of connectors, actions and rules: applied by the engine and stored, or neither.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use connectors_api::ConfigError;
use engine_runtime::{Engine, EngineError, ObjectClass, Origin, StoredObject};
use http::StatusCode;
use serde_json::{Value as Json, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::access::store_failed;
use crate::store::{Change, Store};
use crate::web::{Answer, ApiError, Code};

/// Changes that may be under way at once, if they are about different objects.
const TURNS: usize = 64;

/// Applies changes of objects, each object one at a time: creating a connector waits for its target, and that must
/// hold up nobody else.
pub(crate) struct Changes {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    turns: [Mutex<()>; TURNS],
}

/// Which object.
type Key<'a> = (ObjectClass, &'a str);

impl Changes {
    pub(crate) fn new(engine: Arc<Engine>, store: Arc<dyn Store>) -> Self {
        Self { engine, store, turns: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Creates an object and returns it as the interface shows it.
    pub(crate) async fn create(&self, class: ObjectClass, config: Json) -> Answer<Json> {
        let _turns = self.turns([(class, given_id(class, &config).as_str())]).await;
        let (id, view) = self.apply_new(class, config).await?;
        if let Err(error) = self.put(class, &id).await {
            self.undo(class, &id, self.apply_delete(class, &id, false).await);
            return Err(error);
        }
        Ok(view)
    }

    /// Replaces an object and returns it as the interface shows it.
    pub(crate) async fn update(&self, class: ObjectClass, id: &str, config: Json) -> Answer<Json> {
        let _turns = self.turns([(class, id)]).await;
        self.check_writable(class, id)?;
        let before = self.stored(class, id)?;
        let view = self.apply_update(class, id, config).await?;
        if let Err(error) = self.put(class, id).await {
            self.undo(class, id, self.apply_update(class, id, before.config).await);
            return Err(error);
        }
        Ok(view)
    }

    /// Enables or disables a connector or an action.
    pub(crate) async fn enable(&self, class: ObjectClass, id: &str, enable: bool) -> Answer<()> {
        let _turns = self.turns([(class, id)]).await;
        self.check_writable(class, id)?;
        let before = self.stored(class, id)?;
        self.apply_enable(class, id, enable).await?;
        if let Err(error) = self.put(class, id).await {
            let was_enabled = before.config.get("enable").and_then(Json::as_bool).unwrap_or(true);
            self.undo(class, id, self.apply_enable(class, id, was_enabled).await);
            return Err(error);
        }
        Ok(())
    }

    /// Deletes an object that nobody uses.
    ///
    /// The store comes first: bringing a record back loses nothing, bringing an action back would lose its queue.
    pub(crate) async fn delete(&self, class: ObjectClass, id: &str) -> Answer<()> {
        let _turns = self.turns([(class, id)]).await;
        self.delete_stored(class, id, Vec::new(), false).await
    }

    /// Takes an action out of the rules that use it, and deletes it.
    pub(crate) async fn delete_action_with_uses(&self, id: &str) -> Answer<()> {
        let rules = self.engine.action(id).map(|action| action.rules).unwrap_or_default();
        let keys = rules.iter().map(|rule| (ObjectClass::Rule, rule.as_str()));
        let _turns = self.turns(keys.chain([(ObjectClass::Action, id)])).await;
        let mut before = Vec::with_capacity(rules.len());
        for rule in &rules {
            self.check_writable(ObjectClass::Rule, rule)?;
            before.push(self.stored(ObjectClass::Rule, rule)?);
        }
        self.delete_stored(ObjectClass::Action, id, before, true).await
    }

    /// Deletes an object in the store and then in the engine; `users` are the rules that lose it.
    async fn delete_stored(
        &self,
        class: ObjectClass,
        id: &str,
        users: Vec<StoredObject>,
        also_from_users: bool,
    ) -> Answer<()> {
        self.check_writable(class, id)?;
        let before = self.stored(class, id)?;
        if !also_from_users {
            self.check_unused(class, id)?;
        }
        let mut changes = vec![Change::DeleteObject { class, id: id.to_owned() }];
        changes.extend(users.iter().map(|rule| Change::PutObject(without_action(rule, id))));
        self.store.apply(&changes).await.map_err(store_failed)?;
        let Err(refused) = self.apply_delete(class, id, also_from_users).await else { return Ok(()) };
        let undo: Vec<_> = users.into_iter().chain([before]).map(Change::PutObject).collect();
        if let Err(error) = self.store.apply(&undo).await {
            tracing::error!(%class, id, error = %error, "an object runs but is no longer stored");
        }
        Err(refused.into())
    }

    /// Refuses what is declared in a file.
    fn check_writable(&self, class: ObjectClass, id: &str) -> Result<(), EngineError> {
        let origin = match class {
            ObjectClass::Connector => self.engine.connector(id).map(|connector| connector.origin),
            ObjectClass::Action => self.engine.action(id).map(|action| action.origin),
            ObjectClass::Rule => self.engine.rule(id).map(|rule| rule.origin),
        };
        match origin.ok_or_else(|| not_found(class, id))? {
            Origin::Api => Ok(()),
            origin @ Origin::File(_) => Err(EngineError::ReadOnly { class, id: id.to_owned(), origin }),
        }
    }

    /// Refuses early, before the store is touched, to delete what is used.
    fn check_unused(&self, class: ObjectClass, id: &str) -> Result<(), EngineError> {
        let by: Vec<String> = match class {
            ObjectClass::Connector => {
                let kind = id.split(':').next().unwrap_or_default();
                let names = self.engine.connector(id).map(|connector| connector.actions).unwrap_or_default();
                names.iter().map(|name| format!("{kind}:{name}")).collect()
            }
            ObjectClass::Action => self.engine.action(id).map(|action| action.rules).unwrap_or_default(),
            ObjectClass::Rule => Vec::new(),
        };
        if by.is_empty() { Ok(()) } else { Err(EngineError::InUse { class, id: id.to_owned(), by }) }
    }

    fn stored(&self, class: ObjectClass, id: &str) -> Result<StoredObject, EngineError> {
        self.engine.stored(class, id).ok_or_else(|| not_found(class, id))
    }

    async fn put(&self, class: ObjectClass, id: &str) -> Answer<()> {
        let object = self.stored(class, id)?;
        self.store.apply(&[Change::PutObject(object)]).await.map_err(store_failed)
    }

    fn undo<T>(&self, class: ObjectClass, id: &str, result: Result<T, EngineError>) {
        if let Err(error) = result {
            tracing::error!(%class, id, error = %error, "a change that could not be stored could not be undone");
        }
    }

    /// Waits until no other change is under way for these objects. Turns are taken in one order, so nobody waits for
    /// somebody who waits.
    async fn turns<'a>(&self, keys: impl IntoIterator<Item = Key<'a>>) -> Vec<MutexGuard<'_, ()>> {
        let slots: BTreeSet<usize> = keys.into_iter().map(slot_of).collect();
        let mut turns = Vec::with_capacity(slots.len());
        for slot in slots {
            turns.push(self.turns[slot].lock().await);
        }
        turns
    }

    async fn apply_new(&self, class: ObjectClass, config: Json) -> Result<(String, Json), EngineError> {
        match class {
            ObjectClass::Connector => {
                let view = self.engine.create_connector(config, Origin::Api).await?;
                Ok((view.id.clone(), view.to_json()))
            }
            ObjectClass::Action => {
                let view = self.engine.create_action(config, Origin::Api).await?;
                Ok((view.id.clone(), view.to_json()))
            }
            ObjectClass::Rule => {
                let view = self.engine.create_rule(config, Origin::Api)?;
                Ok((view.id.clone(), view.to_json()))
            }
        }
    }

    async fn apply_update(&self, class: ObjectClass, id: &str, config: Json) -> Result<Json, EngineError> {
        Ok(match class {
            ObjectClass::Connector => self.engine.update_connector(id, config).await?.to_json(),
            ObjectClass::Action => self.engine.update_action(id, config).await?.to_json(),
            ObjectClass::Rule => self.engine.update_rule(id, config)?.to_json(),
        })
    }

    async fn apply_enable(&self, class: ObjectClass, id: &str, enable: bool) -> Result<(), EngineError> {
        match class {
            ObjectClass::Connector => self.engine.enable_connector(id, enable).await,
            ObjectClass::Action => self.engine.enable_action(id, enable).await,
            ObjectClass::Rule => {
                Err(ConfigError::new("enable", "a rule is enabled by its whole configuration").into())
            }
        }
    }

    async fn apply_delete(
        &self,
        class: ObjectClass,
        id: &str,
        also_from_users: bool,
    ) -> Result<(), EngineError> {
        match class {
            ObjectClass::Connector => self.engine.delete_connector(id).await,
            ObjectClass::Action => self.engine.delete_action(id, also_from_users).await,
            ObjectClass::Rule => self.engine.delete_rule(id),
        }
    }
}

fn slot_of(key: Key<'_>) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % TURNS as u64) as usize // fits: smaller than TURNS
}

fn not_found(class: ObjectClass, id: &str) -> EngineError {
    EngineError::NotFound { class, id: id.to_owned() }
}

/// The id that a configuration gives; empty when it gives none.
fn given_id(class: ObjectClass, config: &Json) -> String {
    let field = |name| config.get(name).and_then(Json::as_str).unwrap_or_default();
    match class {
        ObjectClass::Connector | ObjectClass::Action => format!("{}:{}", field("type"), field("name")),
        ObjectClass::Rule => field("id").to_owned(),
    }
}

/// The rule without the action.
fn without_action(rule: &StoredObject, action: &str) -> StoredObject {
    let mut rule = rule.clone();
    if let Some(Json::Array(actions)) = rule.config.get_mut("actions") {
        actions.retain(|output| output.as_str() != Some(action));
    }
    rule
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            // EMQX has the code ALREADY_EXISTS for the other two only
            EngineError::AlreadyExists { class: ObjectClass::Rule, .. } => Self::bad_request(message),
            EngineError::AlreadyExists { .. } => Self::new(Code::AlreadyExists, message),
            EngineError::NotFound { .. } => Self::new(Code::NotFound, message),
            EngineError::InUse { class: ObjectClass::Connector, by, .. } => Self::bad_request(
                "Cannot delete connector while there are active channels defined for this connector",
            )
            .with("actions", by)
            .with("sources", json!([])),
            EngineError::InUse { by, .. } => {
                Self::bad_request("Cannot delete action while active rules are depending on it")
                    .with("rules", by)
            }
            EngineError::EditionRequired { kind, edition } => {
                Self::new(Code::EditionRequired, message).with("type", kind).with("edition", edition)
            }
            EngineError::ReadOnly { .. } => Self::new(Code::Conflict, message),
            EngineError::NotEnabled { class } => {
                Self::bad_request(format!("Forbidden operation, {class} not enabled"))
            }
            EngineError::Invalid(_) | EngineError::Unhealthy { .. } => Self::bad_request(message),
            EngineError::Stopping => {
                Self::new(Code::ServiceUnavailable, message).with_status(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_taken_out_of_a_rule() {
        let rule = StoredObject {
            class: ObjectClass::Rule,
            id: "r".to_owned(),
            config: json!({"sql": "…", "actions": ["http:a", {"function": "console"}, "http:b"]}),
            created_at_ms: 1,
            last_modified_at_ms: 2,
        };
        let rule = without_action(&rule, "http:a");
        assert_eq!(rule.config["actions"], json!([{"function": "console"}, "http:b"]));
    }
}
