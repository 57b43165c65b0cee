//! Slow subscriptions: the clients and topics whose messages took longest.
//!
//! While nobody asks, a message costs what it costs anyway: that it is off is noted once for each batch of work, with
//! the events that rules select. While it is on, each message carries its time of arrival ([`Trail`](crate::trail)).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use broker_codec::QoS;
use engine_event::Text;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use crate::broker::Broker;
use crate::session::Queued;

/// When a subscription counts as slow (`slow_subs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowSubsConfig {
    /// Whether times are taken. Default off.
    pub enable: bool,
    /// What took less is not noted, in milliseconds. Default 500.
    pub threshold_ms: u64,
    /// When an entry that does not get slower is forgotten, in milliseconds. Default 5 minutes.
    pub expire_interval_ms: u64,
    /// The most entries: the slowest ones. Default 10.
    pub top_k: usize,
    /// Which time is taken. Default: the whole.
    pub stats: SlowStats,
}

impl Default for SlowSubsConfig {
    fn default() -> Self {
        Self {
            enable: false,
            threshold_ms: 500,
            expire_interval_ms: 300_000,
            top_k: 10,
            stats: SlowStats::default(),
        }
    }
}

/// Which time is taken of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowStats {
    /// From the arrival of the message to its acknowledgement by the subscriber; with QoS 0 until it is sent.
    #[default]
    Whole,
    /// From the arrival of the message until it is first sent to the subscriber.
    Internal,
    /// From its first sending to its acknowledgement.
    Response,
}

/// A subscription that was slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowSubscription {
    /// Client id of the subscriber.
    pub client_id: Text,
    /// Topic of the message.
    pub topic: Box<str>,
    /// The longest time that a message took, in milliseconds.
    pub took_ms: u64,
    /// When that was, Unix milliseconds.
    pub at_ms: i64,
}

type Key = (Text, Box<str>);

/// The slowest subscriptions, and when one counts as such.
#[derive(Debug)]
pub(crate) struct SlowSubs {
    config: RwLock<SlowSubsConfig>,
    /// 0 for off, else one above the number of the time that is taken.
    mode: AtomicU8,
    threshold_ms: AtomicI64,
    /// Once the list is full, what took no longer than this is not among the slowest.
    least_ms: AtomicU64,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Arc<Key>, (u64, i64), RandomState>,
    /// The quickest first.
    by_time: BTreeSet<(u64, Arc<Key>)>,
}

impl Entries {
    fn remove(&mut self, key: &Arc<Key>) {
        if let Some((took_ms, _)) = self.by_key.remove(key) {
            self.by_time.remove(&(took_ms, Arc::clone(key)));
        }
    }

    /// Keeps at most `len` entries, the slowest ones.
    fn shrink_to(&mut self, len: usize) {
        while self.by_key.len() > len
            && let Some((_, key)) = self.by_time.pop_first()
        {
            self.by_key.remove(&key);
        }
    }
}

impl SlowSubs {
    pub(crate) fn new(config: SlowSubsConfig) -> Self {
        let slow = Self {
            config: RwLock::new(config),
            mode: AtomicU8::new(0),
            threshold_ms: AtomicI64::new(0),
            least_ms: AtomicU64::new(0),
            entries: Mutex::default(),
        };
        slow.apply(config);
        slow
    }

    fn apply(&self, config: SlowSubsConfig) {
        let mode = match config.stats {
            _ if !config.enable => 0,
            SlowStats::Whole => 1,
            SlowStats::Internal => 2,
            SlowStats::Response => 3,
        };
        self.threshold_ms.store(i64::try_from(config.threshold_ms).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.mode.store(mode, Ordering::Relaxed);
    }

    /// Returns which time is taken now, if one is.
    pub(crate) fn stats(&self) -> Option<SlowStats> {
        match self.mode.load(Ordering::Relaxed) {
            1 => Some(SlowStats::Whole),
            2 => Some(SlowStats::Internal),
            3 => Some(SlowStats::Response),
            _ => None,
        }
    }

    /// Takes note of a message that goes to a subscriber for the first time.
    pub(crate) fn note_sent(&self, stats: SlowStats, client_id: &Text, queued: &Queued, now_ms: i64) {
        let is_over = match stats {
            SlowStats::Whole => queued.qos == QoS::AtMostOnce,
            SlowStats::Internal => true,
            SlowStats::Response => false,
        };
        if let Some(arrived_at_ms) = arrived_at_ms(queued).filter(|_| is_over) {
            self.note(client_id, queued, now_ms - arrived_at_ms, now_ms);
        }
    }

    /// Takes note of a message that a subscriber has acknowledged. `sent_at_ms` is 0 where that is not known.
    pub(crate) fn note_acked(
        &self,
        stats: SlowStats,
        client_id: &Text,
        queued: &Queued,
        sent_at_ms: i64,
        now_ms: i64,
    ) {
        let began_ms = match stats {
            SlowStats::Whole => arrived_at_ms(queued),
            SlowStats::Response => (sent_at_ms > 0).then_some(sent_at_ms),
            SlowStats::Internal => None,
        };
        if let Some(began_ms) = began_ms {
            self.note(client_id, queued, now_ms - began_ms, now_ms);
        }
    }

    fn note(&self, client_id: &Text, queued: &Queued, took_ms: i64, now_ms: i64) {
        if took_ms < self.threshold_ms.load(Ordering::Relaxed) {
            return;
        }
        let took_ms = took_ms.unsigned_abs(); // the clock may be set back, but not below the threshold
        if took_ms <= self.least_ms.load(Ordering::Relaxed) {
            return;
        }
        let config = self.config.read();
        if !config.enable {
            return; // it was, when this batch of work began
        }
        let key = Arc::new((client_id.clone(), Box::from(queued.publish.topic())));
        let mut entries = self.entries.lock();
        if entries.by_key.get(&key).is_some_and(|(known_ms, _)| *known_ms >= took_ms) {
            return;
        }
        entries.remove(&key);
        entries.by_time.insert((took_ms, Arc::clone(&key)));
        entries.by_key.insert(key, (took_ms, now_ms));
        entries.shrink_to(config.top_k);
        self.set_least(&entries, config.top_k);
    }

    /// Called with the entries locked.
    fn set_least(&self, entries: &Entries, top_k: usize) {
        let is_full = entries.by_key.len() >= top_k;
        let least = entries.by_time.first().filter(|_| is_full);
        self.least_ms.store(least.map_or(0, |(took_ms, _)| *took_ms), Ordering::Relaxed);
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&self, now_ms: i64) {
        if self.stats().is_none() {
            return;
        }
        let config = *self.config.read();
        let expire_ms = i64::try_from(config.expire_interval_ms).unwrap_or(i64::MAX);
        let mut entries = self.entries.lock();
        let old: Vec<_> = entries
            .by_key
            .iter()
            .filter(|(_, (_, at_ms))| now_ms.saturating_sub(*at_ms) >= expire_ms)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in &old {
            entries.remove(key);
        }
        self.set_least(&entries, config.top_k);
    }

    fn clear(&self) {
        let mut entries = self.entries.lock();
        *entries = Entries::default();
        self.least_ms.store(0, Ordering::Relaxed);
    }
}

/// When a message arrived that was published while times are taken; a retained one may have waited for a subscription.
fn arrived_at_ms(queued: &Queued) -> Option<i64> {
    queued.trail.as_ref().filter(|trail| trail.id.is_some()).map(|trail| trail.received_at_ms)
}

impl Broker {
    /// Returns when a subscription counts as slow.
    pub fn slow_subs_config(&self) -> SlowSubsConfig {
        *self.slow_subs.config.read()
    }

    /// Sets when a subscription counts as slow. When another time is taken from now on, or none, the list is emptied.
    pub fn set_slow_subs(&self, config: SlowSubsConfig) {
        let mut known = self.slow_subs.config.write();
        let starts_over = !config.enable || config.stats != known.stats;
        *known = config;
        self.slow_subs.apply(config);
        if starts_over {
            self.slow_subs.clear();
        } else {
            let mut entries = self.slow_subs.entries.lock();
            entries.shrink_to(config.top_k);
            self.slow_subs.set_least(&entries, config.top_k);
        }
    }

    /// Returns the slowest subscriptions, the worst first.
    pub fn slow_subscriptions(&self) -> Vec<SlowSubscription> {
        let entries = self.slow_subs.entries.lock();
        let worst_first = entries.by_time.iter().rev();
        worst_first
            .map(|(took_ms, key)| SlowSubscription {
                client_id: key.0.clone(),
                topic: key.1.clone(),
                took_ms: *took_ms,
                at_ms: entries.by_key.get(key).map_or(0, |(_, at_ms)| *at_ms),
            })
            .collect()
    }

    /// Empties the list of slow subscriptions.
    pub fn clear_slow_subscriptions(&self) {
        self.slow_subs.clear();
    }
}
