//! Looks how much memory the server uses, and has the broker act when it is too much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::{Broker, Holding};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::OverloadProtection;
use crate::memory;

/// Looks after memory until it is stopped.
#[derive(Debug)]
pub(crate) struct MemoryGuard {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Where it matters how much memory is in use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    /// Below this there is enough again.
    low: u64,
    /// From here on it is short.
    high: u64,
    /// From here on connections are ended.
    limit: u64,
}

impl Marks {
    fn of(high: u64) -> Self {
        Self { low: high / 10 * 9, high, limit: high.saturating_add(high / 5) }
    }
}

/// Memory that may be filled between two looks, and the shortest and the longest time between them.
const BYTES_PER_MS: u64 = 1024 * 1024;
const LOOK_MS_MIN: u64 = 20;
const LOOK_MS_MAX: u64 = 1000;

/// Time for connections to end, before more are.
const SHED_EVERY: Duration = Duration::from_secs(1);

/// Time in which something must get better while memory is short: clients are paused meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients that are named in the log.
const NAMED: usize = 3;

impl MemoryGuard {
    /// Begins to look, if there is a limit and the system says how much is used.
    pub(crate) fn start(config: &OverloadProtection, broker: &Arc<Broker>) -> Option<Self> {
        let total = memory::total_bytes();
        let marks = Marks::of(config.memory_high_watermark.bytes(total)?);
        if memory::used_bytes().is_none() {
            warn!(
                "the system does not say how much memory is used: there is no protection against using too much"
            );
            return None;
        }
        info!(total, watermark = marks.high, "memory");
        broker.set_give_back(memory::give_back);
        let stop = CancellationToken::new();
        let (stopped, broker) = (stop.clone(), Arc::clone(broker));
        let task = tokio::spawn(async move {
            let mut lookout = Lookout { broker, marks, checked: None };
            let mut wait = Duration::ZERO;
            while stopped.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
                wait = lookout.look(memory::used_bytes().unwrap_or(0)).await;
            }
        });
        Some(Self { stop, task })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await; // a panic has been printed
    }
}

/// What is known while memory is looked at.
struct Lookout {
    broker: Arc<Broker>,
    marks: Marks,
    /// When it was looked last whether it gets better, and how much was in use then; while memory is short.
    checked: Option<(Instant, u64)>,
}

impl Lookout {
    /// Looks once, acts, and returns when to look again: the sooner, the less is left.
    async fn look(&mut self, used: u64) -> Duration {
        let marks = self.marks;
        let Some((checked_at, used_then)) = self.checked else {
            if used >= marks.high {
                self.checked = Some((Instant::now(), used));
                self.begin(used).await;
            }
            return next_look(used, marks);
        };
        if used < marks.low {
            self.checked = None;
            self.broker.set_overloaded(false);
            info!(used, "memory is no longer short: clients may connect and publish");
        } else if used >= marks.limit {
            self.shed(used, used - marks.high).await;
            return SHED_EVERY;
        } else if checked_at.elapsed() >= PATIENCE {
            self.checked = Some((Instant::now(), used));
            // not for ever should many wait for one who takes nothing
            if used + (marks.high - marks.low) / 10 > used_then {
                self.shed(used, 1).await;
            }
        }
        next_look(used, marks)
    }

    async fn begin(&self, used: u64) {
        self.broker.set_overloaded(true);
        let largest = self.on_all_sessions(|broker| broker.largest_holdings(NAMED)).await;
        error!(
            used,
            watermark = self.marks.high,
            largest = names(&largest),
            "memory is short: new clients are refused, and clients whose messages have to wait are paused"
        );
    }

    /// Ends the largest connections, for about so many bytes.
    async fn shed(&self, used: u64, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let ended = self.on_all_sessions(move |broker| broker.shed(bytes)).await;
        if !ended.is_empty() {
            let (count, largest) = (ended.len(), names(&ended[..ended.len().min(NAMED)]));
            error!(used, count, largest, "memory is short, and the largest connections are ended");
        }
    }

    /// Does something that looks at every session, which takes time when there are very many.
    async fn on_all_sessions(
        &self,
        act: impl FnOnce(&Broker) -> Vec<Holding> + Send + 'static,
    ) -> Vec<Holding> {
        let broker = Arc::clone(&self.broker);
        tokio::task::spawn_blocking(move || act(&broker)).await.unwrap_or_default()
    }
}

fn next_look(used: u64, marks: Marks) -> Duration {
    let next = if used < marks.high { marks.high } else { marks.limit };
    let left_ms = next.saturating_sub(used) / BYTES_PER_MS;
    Duration::from_millis(left_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX))
}

fn names(holdings: &[Holding]) -> String {
    let each = holdings.iter().map(|holding| format!("{} ({} bytes)", holding.client_id, holding.bytes));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_left_the_sooner_it_looks_again() {
        const MIB: u64 = 1 << 20;
        let marks = Marks::of(10_000 * MIB);
        assert_eq!((marks.low, marks.limit), (9_000 * MIB, 12_000 * MIB));
        for (used, ms) in
            [(0, 1000), (9_800 * MIB, 200), (9_999 * MIB, 20), (10_000 * MIB, 1000), (11_900 * MIB, 100)]
        {
            assert_eq!(next_look(used, marks), Duration::from_millis(ms), "{used}");
        }
    }
}
