//! The engine: objects, their life, and the operations on them.

mod actions;
mod connectors;
mod files;
mod probe;
mod registry;
mod rules;
mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connectors_api::{ConfigError, ConnectorDef};
use engine_event::{Completion, Event, EventKind, EventTap, Interest, Publisher, RuleSlot, RuleTopics};
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::warn;

use self::registry::Registry;
use crate::metrics::TICK;
use crate::object::connector::unknown_type;
use crate::rule::{Environment, Rules};
use crate::services::Services;
use crate::{EditionVerdict, EngineConfig, EngineError, ObjectClass};

/// An object declared in a file, with its secrets: they are not printed.
#[derive(Clone, PartialEq)]
pub struct FileObject {
    /// What it is.
    pub class: ObjectClass,
    /// The whole configuration; connectors and actions with `type` and `name`, rules with `id`.
    pub config: Json,
    /// The file.
    pub path: PathBuf,
}

impl std::fmt::Debug for FileObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileObject")
            .field("class", &self.class)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a reload of the files changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncReport {
    /// Objects that are new, as `class id`.
    pub created: Vec<String>,
    /// Objects with another configuration than before.
    pub updated: Vec<String>,
    /// Objects that no file declares any more.
    pub deleted: Vec<String>,
    /// Objects that were left alone.
    pub unchanged: usize,
    /// Objects that could not be applied; what was there before stays.
    pub problems: Vec<SyncProblem>,
}

/// Why an object of a file was not applied.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncProblem {
    /// The file.
    pub path: PathBuf,
    /// `class id`.
    pub object: String,
    /// Why.
    pub error: EngineError,
}

/// What was left when the engine stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Rows that were still waiting or in flight, for each action that had some.
    pub left: Vec<(String, u64)>,
    /// Whether everything was delivered within the limit.
    pub drained: bool,
}

/// Why a dry run of a rule gave no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// The SQL or the context is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// FROM does not match, or WHERE is false.
    #[error("SQL Not Match")]
    NotMatch,
    /// The run failed.
    #[error("{0}")]
    Failed(String),
}

/// Pause between two looks at what is left while the engine drains.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Longest wait for connectors and tasks to end after the drain.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The rule engine: connectors, actions and rules, and the rows between them.
pub struct Engine {
    services: Arc<Services>,
    definitions: Vec<(ConnectorDef, EditionVerdict)>,
    rules: Arc<Rules>,
    registry: Arc<Mutex<Registry>>,
    topics: parking_lot::RwLock<Option<Arc<dyn RuleTopics>>>,
    /// The slot that gets messages of every topic while somebody looks at a rule.
    everything: std::sync::OnceLock<RuleSlot>,
    listening: Arc<Mutex<()>>,
    /// Operations that wait for targets, one at a time for each object would do; one at a time is simple and safe.
    changes: tokio::sync::Mutex<()>,
}

impl Engine {
    /// Makes an engine that runs on the current tokio runtime. Without [`Engine::attach`] rules get no messages.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(config: EngineConfig) -> Arc<Self> {
        let services = Arc::new(Services::new(&config, Handle::current()));
        let environment = Environment::new(Arc::clone(&config.clock), config.jq_time_limit_ms);
        let engine = Arc::new(Self {
            services,
            definitions: config.definitions,
            rules: Arc::new(Rules::new(environment)),
            registry: Arc::default(),
            topics: parking_lot::RwLock::new(None),
            everything: std::sync::OnceLock::new(),
            listening: Arc::default(),
            changes: tokio::sync::Mutex::new(()),
        });
        engine.start_ticks();
        engine
    }

    /// Connects the engine with the broker: registers the rules' topic filters, now and later, and publishes
    /// through `publisher`.
    pub fn attach(&self, topics: Arc<dyn RuleTopics>, publisher: Arc<dyn Publisher>) {
        self.services.set_publisher(publisher);
        let registry = self.registry.lock();
        *self.topics.write() = Some(topics);
        for rule in registry.rules.values() {
            self.register_topics(rule);
        }
    }

    /// Refuses new work, drains the lanes within `drain_limit`, stops every connector and joins every task.
    pub async fn shutdown(&self, drain_limit: Duration) -> ShutdownReport {
        self.services.begin_draining();
        let _alone = self.changes.lock().await;
        let actions: Vec<_> =
            self.registry.lock().actions.values().map(|entry| Arc::clone(&entry.runtime)).collect();
        actions.iter().for_each(|action| action.wake());
        let until = Instant::now().checked_add(drain_limit);
        // twice: between two lanes a row on its way to a fallback is in neither for a moment
        let mut empty_looks = 0;
        while empty_looks < 2 && until.is_none_or(|until| Instant::now() < until) {
            let empty = actions.iter().all(|action| action.rows() == 0);
            empty_looks = if empty { empty_looks + 1 } else { 0 };
            if empty_looks < 2 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        }
        self.services.cut_off.cancel();
        let connectors: Vec<_> =
            self.registry.lock().connectors.values().filter_map(|entry| entry.runtime.clone()).collect();
        connectors.iter().for_each(|connector| connector.end());
        self.services.tasks.close();
        if tokio::time::timeout(END_LIMIT, self.services.tasks.wait()).await.is_err() {
            warn!(tasks = self.services.tasks.len(), "tasks of the engine did not end in time");
        }
        // only now: until its task had ended, a lane could still settle rows or give them to a fallback
        let left: Vec<_> = actions
            .iter()
            .map(|action| (action.id().to_string(), action.rows()))
            .filter(|(_, rows)| *rows > 0)
            .collect();
        ShutdownReport { drained: left.is_empty(), left }
    }

    /// Reads the counters every few seconds, for the rates.
    fn start_ticks(&self) {
        let registry = Arc::clone(&self.registry);
        let services = Arc::clone(&self.services);
        let cut_off = self.services.cut_off.clone();
        self.services.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            while cut_off.run_until_cancelled(ticks.tick()).await.is_some() {
                registry.lock().tick(services.clock.now_ms());
            }
        });
    }

    fn refuse_when_stopping(&self) -> Result<(), EngineError> {
        if self.services.is_draining() { Err(EngineError::Stopping) } else { Ok(()) }
    }

    /// The definition of a connector type.
    fn definition(&self, kind: &str) -> Result<&(ConnectorDef, EditionVerdict), EngineError> {
        self.definitions
            .iter()
            .find(|(def, _)| def.kind == kind)
            .ok_or_else(|| unknown_type(kind, self.definitions.iter().map(|(def, _)| def.kind)).into())
    }

    fn now_ms(&self) -> i64 {
        self.services.clock.now_ms()
    }
}

/// The error of a type that belongs to another edition.
fn allowed(def: &ConnectorDef, verdict: &EditionVerdict) -> Result<(), EngineError> {
    match verdict {
        EditionVerdict::Allowed => Ok(()),
        EditionVerdict::Refused { edition } => {
            Err(EngineError::EditionRequired { kind: def.kind.to_owned(), edition: edition.clone() })
        }
    }
}

fn not_found(class: ObjectClass, id: &str) -> EngineError {
    EngineError::NotFound { class, id: id.to_owned() }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("node", &self.services.node).finish_non_exhaustive()
    }
}

impl EventTap for Engine {
    fn interest(&self) -> Interest {
        self.rules.interest()
    }

    fn published(&self, rules: &[RuleSlot], event: Event, completion: Option<Completion>) {
        let sys = event.publish().is_some_and(|message| message.topic.as_bytes().starts_with(b"$SYS/"));
        if sys && self.services.ignore_sys_message {
            return;
        }
        if self.services.is_draining() {
            if let Some(completion) = completion {
                completion.fail();
            }
            return;
        }
        self.rules.run(&self.services, rules, &event, completion.as_ref());
    }

    fn happened(&self, kind: EventKind, event: Event) {
        if self.services.is_draining() {
            return;
        }
        self.rules.happened(&self.services, kind, &event);
    }
}
