//! An engine with a made-up broker around it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connectors_api::ConnectorDef;
use engine_event::{
    Clock, Completion, Event, EventTap as _, ManualClock, NewMessage, PublishError, PublishEvent,
    PublishReport, Publisher, Text,
};
use engine_runtime::{ActionMetrics, EditionVerdict, Engine, EngineConfig, Origin, RuleMetrics, TopicList};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

/// How often a condition that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// An engine with topics and a publisher as a broker would give it. Published messages come back to the rules.
#[derive(Debug)]
pub struct Harness {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Wall time of the engine; stands unless moved.
    pub clock: Arc<ManualClock>,
    broker: Arc<Broker>,
}

#[derive(Debug)]
struct Broker {
    topics: Arc<TopicList>,
    engine: Mutex<Option<Arc<Engine>>>,
    published: Mutex<Vec<NewMessage>>,
    next_id: AtomicU64,
}

impl Harness {
    /// Makes an engine with these connector types, all allowed.
    pub fn new(definitions: impl IntoIterator<Item = ConnectorDef>, data_dir: &Path) -> Self {
        let all = definitions.into_iter().map(|def| (def, EditionVerdict::Allowed));
        Self::with(|config| config.definitions = all.collect(), data_dir)
    }

    /// Makes an engine with a configuration of one's own.
    pub fn with(configure: impl FnOnce(&mut EngineConfig), data_dir: &Path) -> Self {
        let clock = Arc::new(ManualClock::at(1_790_000_000_000));
        let as_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let mut config = EngineConfig::new("node@test", data_dir, as_clock);
        configure(&mut config);
        let engine = Engine::new(config);
        let broker = Arc::new(Broker {
            topics: Arc::new(TopicList::new()),
            engine: Mutex::new(Some(Arc::clone(&engine))),
            published: Mutex::default(),
            next_id: AtomicU64::new(1),
        });
        engine.attach(Arc::<TopicList>::clone(&broker.topics), Arc::<Broker>::clone(&broker));
        Self { engine, clock, broker }
    }

    /// Creates a connector of type and name with its own `fields`.
    ///
    /// # Panics
    /// When the engine refuses it.
    pub async fn connector(&self, def: &ConnectorDef, name: &str, fields: Json, options: Json) {
        let mut config = fields;
        config["type"] = def.kind.into();
        config["name"] = name.into();
        config["resource_opts"] = options;
        self.engine.create_connector(config, Origin::Api).await.expect("a connector");
    }

    /// Creates an action of type and name on the connector of `connector`.
    ///
    /// # Panics
    /// When the engine refuses it.
    pub async fn action(&self, def: &ConnectorDef, name: &str, connector: &str, more: Json) {
        let mut config = json!({"type": def.kind, "name": name, "connector": connector, "parameters": {}});
        for (field, value) in more.as_object().expect("an object") {
            config[field] = value.clone();
        }
        self.engine.create_action(config, Origin::Api).await.expect("an action");
    }

    /// Creates a rule.
    ///
    /// # Panics
    /// When the engine refuses it.
    pub fn rule(&self, id: &str, sql: &str, actions: Json) {
        let config = json!({"id": id, "sql": sql, "actions": actions});
        self.engine.create_rule(config, Origin::Api).expect("a rule");
    }

    /// Publishes a message of a client.
    pub fn publish(&self, client: &str, topic: &str, payload: &Json) {
        self.publish_with(client, topic, payload, None);
    }

    /// As [`Harness::publish`], with an acknowledgement that waits.
    pub fn publish_with(&self, client: &str, topic: &str, payload: &Json, completion: Option<Completion>) {
        let event = self.broker.event(client, topic, payload.to_string());
        let (rules, wants) = self.broker.topics.matching(topic.as_bytes());
        if !rules.is_empty() {
            self.engine.published(&rules, event.into(), completion.filter(|_| wants));
        }
    }

    /// Every message that rules and fallbacks published, in order.
    pub fn published(&self) -> Vec<NewMessage> {
        self.broker.published.lock().clone()
    }

    /// Counters of an action.
    ///
    /// # Panics
    /// When there is none of that id.
    pub fn metrics(&self, action: &str) -> ActionMetrics {
        self.engine.action_metrics(action).expect("an action")
    }

    /// Counters of a rule.
    ///
    /// # Panics
    /// When there is none of that id.
    pub fn rule_metrics(&self, rule: &str) -> RuleMetrics {
        self.engine.rule_metrics(rule).expect("a rule")
    }

    /// The word for the status of an action.
    pub fn action_status(&self, id: &str) -> String {
        self.engine.action(id).map(|view| view.status.status.to_string()).unwrap_or_default()
    }

    /// Waits until no row of the action is on its way, and checks that its counters and those of the rule add up.
    ///
    /// # Panics
    /// When rows are still on their way after `limit`, or the counters do not add up.
    pub async fn settled(&self, action: &str, rule: &str, limit: Duration) {
        until(&format!("{action} is idle"), limit, || self.metrics(action).is_idle()).await;
        self.assert_balanced(action);
        until(&format!("{rule} is settled: {:?}", self.rule_metrics(rule)), limit, || {
            self.rule_metrics(rule).is_settled()
        })
        .await;
    }

    /// Checks that the counters of an action add up.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn assert_balanced(&self, action: &str) {
        let metrics = self.metrics(action);
        assert!(metrics.is_balanced(), "{action} does not add up: {metrics:?}");
    }

    /// Stops the engine.
    pub async fn shutdown(&self, limit: Duration) -> engine_runtime::ShutdownReport {
        let report = self.engine.shutdown(limit).await;
        *self.broker.engine.lock() = None;
        report
    }
}

impl Broker {
    fn event(&self, client: &str, topic: &str, payload: String) -> PublishEvent {
        PublishEvent {
            id: u128::from(self.next_id.fetch_add(1, Ordering::Relaxed)),
            client_id: Text::from(client),
            username: None,
            peer: None,
            topic: Text::from(topic),
            payload: Text::from(payload),
            qos: 1,
            retain: false,
            dup: false,
            properties: None,
            received_at_ms: 1_790_000_000_000,
            node: Text::from("node@test"),
            client_attrs: engine_event::Map::new(),
            hops: 0,
            republished_by: None,
        }
    }
}

impl Publisher for Broker {
    fn publish(&self, message: NewMessage) -> Result<PublishReport, PublishError> {
        self.published.lock().push(message.clone());
        let mut event = self.event("", "", String::new());
        let id = event.id;
        event.client_id = message.client_id;
        event.topic = message.topic;
        event.payload = message.payload;
        event.hops = message.hops;
        event.republished_by = message.republished_by;
        let (rules, _) = self.topics.matching(event.topic.as_bytes());
        let engine = self.engine.lock().clone();
        if let Some(engine) = engine.filter(|_| !message.skip_rules && !rules.is_empty()) {
            engine.published(&rules, Event::from(event), None);
        }
        Ok(PublishReport { id, subscribers: 0 })
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `limit`.
pub async fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + limit;
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
