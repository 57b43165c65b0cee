//! What every part of the engine shares.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use engine_event::{Clock, Publisher, Text};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::EngineConfig;
use crate::action::{ActionRuntime, MemoryBudget};
use crate::traces::RuleTraces;

/// Runtime, clock, limits and the way back into the broker.
pub(crate) struct Services {
    pub(crate) node: String,
    pub(crate) data_dir: std::path::PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ignore_sys_message: bool,
    pub(crate) republish_hops_limit: u8,
    pub(crate) handle: Handle,
    /// Owns every task of the engine.
    pub(crate) tasks: TaskTracker,
    /// Ends every lane at once.
    pub(crate) cut_off: CancellationToken,
    /// Limit over the memory queues of all actions.
    pub(crate) memory: MemoryBudget,
    /// Rules that somebody follows.
    pub(crate) traces: RuleTraces,
    key_hasher: foldhash::quality::RandomState,
    publisher: RwLock<Option<Arc<dyn Publisher>>>,
    actions: RwLock<Vec<Weak<ActionRuntime>>>,
    /// One search for the oldest rows at a time.
    relieving: Mutex<()>,
    draining: AtomicBool,
}

impl Services {
    pub(crate) fn new(config: &EngineConfig, handle: Handle) -> Self {
        Self {
            node: config.node.clone(),
            data_dir: config.data_dir.clone(),
            clock: Arc::clone(&config.clock),
            ignore_sys_message: config.ignore_sys_message,
            republish_hops_limit: config.republish_hops_limit,
            handle,
            tasks: TaskTracker::new(),
            cut_off: CancellationToken::new(),
            memory: MemoryBudget::new(config.queue_bytes_limit),
            traces: RuleTraces::default(),
            key_hasher: foldhash::quality::RandomState::default(),
            publisher: RwLock::new(None),
            actions: RwLock::new(Vec::new()),
            relieving: Mutex::new(()),
            draining: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_publisher(&self, publisher: Arc<dyn Publisher>) {
        *self.publisher.write() = Some(publisher);
    }

    pub(crate) fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        self.publisher.read().clone()
    }

    /// No new rows and no new objects from here on; what is queued is sent without waiting for batches to fill.
    pub(crate) fn begin_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Hash of a key whose rows stay in order; never 0.
    pub(crate) fn key_hash(&self, key: &Text) -> u64 {
        self.key_hasher.hash_one(key.as_bytes()).max(1)
    }

    /// Lets the action's queues take part in the server's memory limit.
    pub(crate) fn enlist(&self, action: &Arc<ActionRuntime>) {
        let mut actions = self.actions.write();
        actions.retain(|action| action.strong_count() > 0);
        actions.push(Arc::downgrade(action));
    }

    /// Drops the oldest rows of all queues while the server is over its limit. Does nothing when another thread is at
    /// it: that one goes on until it is enough.
    pub(crate) fn relieve(&self, now: Instant) {
        if self.memory.excess() == 0 {
            return;
        }
        let Some(_alone) = self.relieving.try_lock() else { return };
        loop {
            let excess = self.memory.excess();
            if excess == 0 {
                return;
            }
            let actions: Vec<_> = self.actions.read().iter().filter_map(Weak::upgrade).collect();
            let oldest = actions.iter().filter_map(|action| Some((action.oldest_waiting()?, action)));
            let Some((_, action)) = oldest.min_by_key(|(since, _)| *since) else { return };
            if !action.drop_oldest(excess, now) {
                return;
            }
        }
    }

    /// Runs a task that the engine joins at its end.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        self.tasks.spawn_on(task, &self.handle)
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("node", &self.node).finish_non_exhaustive()
    }
}
