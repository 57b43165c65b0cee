//! Counters of single topics, for those that an operator has named.
//!
//! A named topic or filter stands beside the routes ([`Watch`]) and is found with them: what nobody has named costs a
//! message the one look that tells so. A message of a named topic takes its counters along, so that its deliveries
//! are counted without another look-up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use broker_codec::QoS;
use broker_codec::topic::{TopicError, level_count, validate_topic_filter};
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::routes::Watch;

/// Topics and filters at most.
pub(crate) const METERS_MAX: usize = 512;

/// Milliseconds between two readings of the counters.
const READ_EVERY_MS: i64 = 1000;

/// Readings that a rate goes back.
const READINGS: usize = 5;

/// What is counted of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TopicCounter {
    /// Messages published to it.
    In,
    /// Of these, with QoS 0.
    InQos0,
    /// Of these, with QoS 1.
    InQos1,
    /// Of these, with QoS 2.
    InQos2,
    /// Messages sent to subscribers, each copy.
    Out,
    /// Of these, with QoS 0.
    OutQos0,
    /// Of these, with QoS 1.
    OutQos1,
    /// Of these, with QoS 2.
    OutQos2,
    /// Messages that were refused, had expired, or that nobody had subscribed to.
    Dropped,
}

impl TopicCounter {
    /// Every counter.
    pub const ALL: [Self; 9] = [
        Self::In,
        Self::InQos0,
        Self::InQos1,
        Self::InQos2,
        Self::Out,
        Self::OutQos0,
        Self::OutQos1,
        Self::OutQos2,
        Self::Dropped,
    ];

    /// Returns the name, `messages.qos1.in`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "messages.in",
            Self::InQos0 => "messages.qos0.in",
            Self::InQos1 => "messages.qos1.in",
            Self::InQos2 => "messages.qos2.in",
            Self::Out => "messages.out",
            Self::OutQos0 => "messages.qos0.out",
            Self::OutQos1 => "messages.qos1.out",
            Self::OutQos2 => "messages.qos2.out",
            Self::Dropped => "messages.dropped",
        }
    }
}

const COUNTERS: usize = TopicCounter::ALL.len();

type Counts = [u64; COUNTERS];

/// The counters of one topic or filter.
#[derive(Debug)]
pub(crate) struct TopicMeter {
    filter: Box<str>,
    created_at_ms: i64,
    /// 0 for never.
    reset_at_ms: AtomicI64,
    counters: [AtomicU64; COUNTERS],
    /// What the counters were, with the time, the oldest first.
    readings: Mutex<VecDeque<(i64, Counts)>>,
}

impl TopicMeter {
    fn new(filter: &str, created_at_ms: i64, now_ms: i64) -> Self {
        Self {
            filter: filter.into(),
            created_at_ms,
            reset_at_ms: AtomicI64::new(0),
            counters: Default::default(),
            readings: Mutex::new([(now_ms, [0; COUNTERS])].into()),
        }
    }

    fn add(&self, counter: TopicCounter) {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that was published.
    pub(crate) fn count_in(&self, qos: QoS) {
        self.add(TopicCounter::In);
        self.add(match qos {
            QoS::AtMostOnce => TopicCounter::InQos0,
            QoS::AtLeastOnce => TopicCounter::InQos1,
            QoS::ExactlyOnce => TopicCounter::InQos2,
        });
    }

    /// Counts a message that goes to a subscriber.
    pub(crate) fn count_out(&self, qos: QoS) {
        self.add(TopicCounter::Out);
        self.add(match qos {
            QoS::AtMostOnce => TopicCounter::OutQos0,
            QoS::AtLeastOnce => TopicCounter::OutQos1,
            QoS::ExactlyOnce => TopicCounter::OutQos2,
        });
    }

    /// Counts a message that goes no further.
    pub(crate) fn count_dropped(&self) {
        self.add(TopicCounter::Dropped);
    }

    fn counts(&self) -> Counts {
        std::array::from_fn(|counter| self.counters[counter].load(Ordering::Relaxed))
    }

    fn read(&self, now_ms: i64) {
        let counts = self.counts();
        let mut readings = self.readings.lock();
        if readings.back().is_some_and(|(at_ms, _)| now_ms - at_ms < READ_EVERY_MS) {
            return;
        }
        if readings.len() > READINGS {
            readings.pop_front();
        }
        readings.push_back((now_ms, counts));
    }

    fn reset(&self, now_ms: i64) {
        let mut readings = self.readings.lock();
        for counter in &self.counters {
            counter.store(0, Ordering::Relaxed);
        }
        *readings = [(now_ms, [0; COUNTERS])].into();
        self.reset_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// What was counted for each second between the first and the last reading.
    fn rates(&self) -> [f64; COUNTERS] {
        let readings = self.readings.lock();
        let (Some((from_ms, first)), Some((to_ms, last))) = (readings.front(), readings.back()) else {
            return [0.0; COUNTERS];
        };
        let seconds = (to_ms - from_ms) as f64 / 1000.0;
        if seconds <= 0.0 {
            return [0.0; COUNTERS];
        }
        // a reset may have come between a reading and its end
        std::array::from_fn(|counter| last[counter].saturating_sub(first[counter]) as f64 / seconds)
    }

    fn describe(&self) -> TopicMetrics {
        let reset_at_ms = self.reset_at_ms.load(Ordering::Relaxed);
        TopicMetrics {
            filter: self.filter.clone(),
            created_at_ms: self.created_at_ms,
            reset_at_ms: (reset_at_ms != 0).then_some(reset_at_ms),
            counts: self.counts(),
            rates: self.rates(),
        }
    }
}

/// The topics that are counted, in their order.
#[derive(Debug, Default)]
pub(crate) struct TopicMeters(Mutex<Vec<Arc<TopicMeter>>>);

impl TopicMeters {
    /// Reads the counters, if it is time for that.
    pub(crate) fn read(&self, now_ms: i64) {
        for meter in &*self.0.lock() {
            meter.read(now_ms);
        }
    }
}

/// The counters of a topic or filter at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicMetrics {
    /// The topic or filter.
    pub filter: Box<str>,
    /// When it was named first, Unix milliseconds.
    pub created_at_ms: i64,
    /// When the counters were set to zero, Unix milliseconds.
    pub reset_at_ms: Option<i64>,
    counts: Counts,
    rates: [f64; COUNTERS],
}

impl TopicMetrics {
    /// Returns a counter.
    pub fn count(&self, counter: TopicCounter) -> u64 {
        self.counts[counter as usize]
    }

    /// Returns what was counted for each second of the last five.
    pub fn rate(&self, counter: TopicCounter) -> f64 {
        self.rates[counter as usize]
    }
}

/// Why a topic is not counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicMetricsError {
    /// It is neither a topic nor a filter.
    #[error("`{filter}` is not a topic filter")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: TopicError,
    },
    /// It has more levels than topics may have.
    #[error("`{filter}` has more than {max} levels")]
    Levels {
        /// What was given.
        filter: String,
        /// The most that topics may have.
        max: usize,
    },
    /// It is counted already.
    #[error("`{filter}` is counted already")]
    Exists {
        /// What was given.
        filter: String,
    },
    /// There are too many.
    #[error("{METERS_MAX} topics are counted, which is the most")]
    Full,
}

impl Broker {
    /// Counts the messages of a topic, or of all topics that a filter matches, from now on.
    ///
    /// # Errors
    /// When the filter is not one or is counted already, or when there are 512.
    pub fn add_topic_metrics(&self, filter: &str, created_at_ms: i64) -> Result<(), TopicMetricsError> {
        let given = || filter.to_owned();
        validate_topic_filter(filter)
            .map_err(|source| TopicMetricsError::Filter { filter: given(), source })?;
        let max = self.config().max_topic_levels;
        if level_count(filter) > max {
            return Err(TopicMetricsError::Levels { filter: given(), max });
        }
        let mut meters = self.topic_meters.0.lock();
        let place = match meters.binary_search_by(|meter| (*meter.filter).cmp(filter)) {
            Ok(_) => return Err(TopicMetricsError::Exists { filter: given() }),
            Err(_) if meters.len() >= METERS_MAX => return Err(TopicMetricsError::Full),
            Err(place) => place,
        };
        let meter = Arc::new(TopicMeter::new(filter, created_at_ms, self.now_ms()));
        self.routes().watch(filter, |watchers| watchers.meter = Some(Arc::clone(&meter)));
        meters.insert(place, meter);
        Ok(())
    }

    /// Counts a topic or filter no longer, and says whether it was.
    pub fn remove_topic_metrics(&self, filter: &str) -> bool {
        let mut meters = self.topic_meters.0.lock();
        let Ok(place) = meters.binary_search_by(|meter| (*meter.filter).cmp(filter)) else { return false };
        meters.remove(place);
        self.routes().watch(filter, |watchers| watchers.meter = None);
        true
    }

    /// Sets the counters of one topic or filter, or of all, to zero, and says whether there is one.
    pub fn reset_topic_metrics(&self, filter: Option<&str>) -> bool {
        let meters = self.topic_meters.0.lock();
        let now_ms = self.now_ms();
        let named = meters.iter().filter(|meter| filter.is_none_or(|filter| *meter.filter == *filter));
        named.map(|meter| meter.reset(now_ms)).count() > 0
    }

    /// Returns the counters of every topic and filter that is counted, in their order.
    pub fn topic_metrics(&self) -> Vec<TopicMetrics> {
        self.topic_meters.0.lock().iter().map(|meter| meter.describe()).collect()
    }

    /// Returns the counters of one topic or filter.
    pub fn topic_metrics_of(&self, filter: &str) -> Option<TopicMetrics> {
        let meters = self.topic_meters.0.lock();
        let place = meters.binary_search_by(|meter| (*meter.filter).cmp(filter)).ok()?;
        Some(meters[place].describe())
    }

    /// Counts a message that goes no further, if its topic is counted.
    #[cold]
    pub(crate) fn count_topic_dropped(&self, topic: &str) {
        if let Some(watch) = self.routes().watch_of(topic) {
            watch.count_dropped();
        }
    }
}

impl Watch {
    /// Counts a message that was published.
    pub(crate) fn count_in(&self, qos: QoS) {
        self.meters.iter().for_each(|meter| meter.count_in(qos));
    }

    /// Counts a message that goes to a subscriber.
    pub(crate) fn count_out(&self, qos: QoS) {
        self.meters.iter().for_each(|meter| meter.count_out(qos));
    }

    /// Counts a message that goes no further.
    pub(crate) fn count_dropped(&self) {
        self.meters.iter().for_each(|meter| meter.count_dropped());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let meter = TopicMeter::new("t", 0, 0);
        let rate = |meter: &TopicMeter| meter.rates()[TopicCounter::In as usize];
        assert_eq!(rate(&meter), 0.0);
        for _ in 0..20 {
            meter.count_in(QoS::AtMostOnce);
        }
        meter.read(500);
        assert_eq!(rate(&meter), 0.0, "a second is not over");
        meter.read(2000);
        assert_eq!(rate(&meter), 10.0);
        for second in 3..=6 {
            meter.read(second * 1000);
        }
        assert_eq!(rate(&meter), 20.0 / 6.0);
        meter.read(7000);
        assert_eq!(rate(&meter), 0.0, "they came too long ago");
        meter.count_in(QoS::AtMostOnce);
        meter.read(8000);
        meter.reset(8500);
        assert_eq!(rate(&meter), 0.0);
    }
}
