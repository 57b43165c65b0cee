//! What the endpoints work on.

use std::sync::Arc;

use broker_core::Broker;
use connectors_api::ConnectorDef;
use engine_event::Clock;
use engine_runtime::{EditionVerdict, Engine};
use sha2::{Digest, Sha256};

use crate::access::Accounts;
use crate::bans::Bans;
use crate::changes::Changes;
use crate::listeners::ListenerControl;
use crate::slow_subs::SlowSubs;
use crate::store::{Snapshot, Store};
use crate::topic_metrics::CountedTopics;
use crate::traces::TraceControl;

/// What the interface is made of.
pub struct ApiParts {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The rule engine.
    pub engine: Arc<Engine>,
    /// Where users, API keys and objects are kept.
    pub store: Arc<dyn Store>,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// Every connector type of the build, with the verdict of the edition.
    pub definitions: Vec<(ConnectorDef, EditionVerdict)>,
    /// The listeners of MQTT.
    pub listeners: Arc<dyn ListenerControl>,
    /// Traces.
    pub traces: Arc<dyn TraceControl>,
    /// Settings.
    pub settings: ApiSettings,
}

/// What an operator may set, and what the server says of itself.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Name of the node, `sluice@127.0.0.1`.
    pub node: String,
    /// Version of the server.
    pub version: String,
    /// The edition as it is shown, `Opensource` or `Enterprise`: some clients depend on the words.
    pub edition: String,
    /// The directory of the data, shown as the path of the node.
    pub data_dir: String,
    /// A token that counts as administrator, for the command line on the same machine.
    pub local_token: Option<String>,
    /// How long a token of a user lives after its last use, in milliseconds.
    pub token_lifetime_ms: i64,
    /// Whether pages from elsewhere may use the interface.
    pub cors: bool,
    /// Messages on `$SYS/…` run no rules: as the engine was told.
    pub ignore_sys_message: bool,
    /// Time limit of a `jq` call, in milliseconds: as the engine was told.
    pub jq_time_limit_ms: u64,
    /// When a subscription counts as slow stands in the configuration file: it cannot be changed here.
    pub slow_subs_in_file: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            node: "sluice@127.0.0.1".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            edition: "Opensource".to_owned(),
            data_dir: "./data".to_owned(),
            local_token: None,
            token_lifetime_ms: 60 * 60 * 1000,
            cors: true,
            ignore_sys_message: true,
            jq_time_limit_ms: 100,
            slow_subs_in_file: false,
        }
    }
}

/// The management interface; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    broker: Arc<Broker>,
    engine: Arc<Engine>,
    accounts: Accounts,
    bans: Bans,
    changes: Changes,
    counted_topics: CountedTopics,
    slow_subs: SlowSubs,
    clock: Arc<dyn Clock>,
    definitions: Vec<(ConnectorDef, EditionVerdict)>,
    listeners: Arc<dyn ListenerControl>,
    traces: Arc<dyn TraceControl>,
    settings: ApiSettings,
    local_token_digest: Option<[u8; 32]>,
    started_at_ms: i64,
}

impl Api {
    /// Puts the parts together and takes over what `snapshot` has, but for its objects: bringing those back is the
    /// engine's.
    pub fn new(parts: ApiParts, snapshot: &Snapshot) -> Self {
        let ApiParts { broker, engine, store, clock, definitions, listeners, traces, settings } = parts;
        let accounts =
            Accounts::new(Arc::clone(&store), Arc::clone(&clock), settings.token_lifetime_ms, snapshot);
        let local_token_digest = settings.local_token.as_deref().map(digest);
        let started_at_ms = clock.now_ms();
        let bans = Bans::new(Arc::clone(&broker), Arc::clone(&store), snapshot);
        let counted_topics = CountedTopics::new(Arc::clone(&broker), Arc::clone(&store), snapshot);
        let is_fixed = settings.slow_subs_in_file;
        let slow_subs = SlowSubs::new(Arc::clone(&broker), Arc::clone(&store), is_fixed, snapshot);
        Self(Arc::new(Inner {
            broker,
            bans,
            counted_topics,
            slow_subs,
            changes: Changes::new(Arc::clone(&engine), store),
            engine,
            accounts,
            clock,
            definitions,
            listeners,
            traces,
            settings,
            local_token_digest,
            started_at_ms,
        }))
    }

    /// Users and API keys.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// The ban list, stored.
    pub fn bans(&self) -> &Bans {
        &self.0.bans
    }

    /// The topics that are counted, stored.
    pub(crate) fn counted_topics(&self) -> &CountedTopics {
        &self.0.counted_topics
    }

    /// When a subscription counts as slow, stored.
    pub(crate) fn slow_subs(&self) -> &SlowSubs {
        &self.0.slow_subs
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.0.broker
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    pub(crate) fn definitions(&self) -> &[(ConnectorDef, EditionVerdict)] {
        &self.0.definitions
    }

    pub(crate) fn listeners(&self) -> &dyn ListenerControl {
        &*self.0.listeners
    }

    pub(crate) fn traces(&self) -> &dyn TraceControl {
        &*self.0.traces
    }

    pub(crate) fn settings(&self) -> &ApiSettings {
        &self.0.settings
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Milliseconds since the start.
    pub(crate) fn uptime_ms(&self) -> i64 {
        self.now_ms().saturating_sub(self.0.started_at_ms).max(0)
    }

    /// Tells whether a token is the one of the command line on the same machine. Digests are compared, so the time it
    /// takes says nothing about the token.
    pub(crate) fn is_local_token(&self, token: &str) -> bool {
        self.0.local_token_digest.is_some_and(|local| local == digest(token))
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("settings", &self.0.settings.node).finish_non_exhaustive()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
