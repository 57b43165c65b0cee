//! How many messages and bytes clients may publish in a time. Who is over it is paused, nothing is dropped.
//!
//! Tokens are reserved ahead: a connection that runs out takes the next few, the bucket goes into debt, and the
//! connection waits for as long as it takes to pay. So those that share a bucket come in turn, none is woken in vain,
//! and a message that is larger than the bucket passes and is paid for afterwards.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So much in a time: messages, or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How much; also what may come at once.
    pub amount: u64,
    /// In which time.
    pub interval: Duration,
}

impl Rate {
    fn per_second(self) -> f64 {
        self.amount.max(1) as f64 / self.interval.as_secs_f64().max(0.001)
    }
}

/// A rate, and what may come on top of it now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What always may come.
    pub rate: Rate,
    /// A second supply for times when the first is empty; it fills more slowly.
    pub burst: Option<Rate>,
}

/// What clients may publish. Default: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Messages.
    pub messages: Option<Quota>,
    /// Bytes of their PUBLISH packets.
    pub bytes: Option<Quota>,
}

/// What the clients of one listener may publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerQuotas {
    /// Each of them.
    pub each: Quotas,
    /// All of them together.
    pub all: Quotas,
}

/// What clients may publish, whichever listener they come through. Default: no limit.
///
/// These, and what their listener allows ([`ListenerQuotas`]), must all allow a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishQuotas {
    /// All clients together.
    pub node: Quotas,
    /// Each client.
    pub each: Quotas,
}

/// A connection that waits is given what comes in this time, so that it need not be woken for each message.
const TURN: Duration = Duration::from_millis(50);

/// Which tokens a message costs.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Messages,
    Bytes,
}

/// Tokens that come back with time.
#[derive(Debug)]
struct Bucket {
    supply: Supply,
    burst: Option<Supply>,
    filled_at: Instant,
    /// Connections that wait for it.
    waiting: u32,
}

#[derive(Debug)]
struct Supply {
    tokens: f64,
    capacity: f64,
    per_second: f64,
}

impl Supply {
    fn full(rate: Rate) -> Self {
        let per_second = rate.per_second();
        // what comes while one waits for its turn must fit
        let capacity = (rate.amount as f64).max(per_second * TURN.as_secs_f64() * 2.0);
        Self { tokens: capacity, capacity, per_second }
    }

    fn fill(&mut self, seconds: f64) {
        self.tokens = (self.tokens + self.per_second * seconds).min(self.capacity);
    }
}

impl Bucket {
    fn full(quota: Quota, now: Instant) -> Self {
        let burst = quota.burst.map(Supply::full);
        Self { supply: Supply::full(quota.rate), burst, filled_at: now, waiting: 0 }
    }

    /// Takes what `debt` asks for and a bit for the next messages; returns how much, and how long it is until that has
    /// come.
    fn reserve(&mut self, debt: f64, now: Instant) -> (f64, Duration) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.supply.fill(seconds);
        let turn = (self.supply.per_second * TURN.as_secs_f64() / f64::from(self.waiting + 1)).max(1.0);
        let amount = debt + turn;
        let mut rest = amount;
        if let Some(burst) = &mut self.burst {
            burst.fill(seconds);
            let extra = (amount - self.supply.tokens.max(0.0)).clamp(0.0, burst.tokens.max(0.0));
            burst.tokens -= extra;
            rest -= extra;
        }
        self.supply.tokens -= rest;
        let wait_s = (-self.supply.tokens / self.supply.per_second).max(0.0);
        (amount, Duration::try_from_secs_f64(wait_s).unwrap_or(WAIT_MAX).min(WAIT_MAX))
    }

    fn give_back(&mut self, amount: f64) {
        self.supply.tokens = (self.supply.tokens + amount).min(self.supply.capacity);
    }
}

/// The longest wait, whatever the debt.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

type Shared = Arc<Mutex<Bucket>>;

/// What all clients pay from.
#[derive(Debug)]
pub(crate) struct Buckets {
    node: Vec<(Unit, Shared)>,
    each: Quotas,
}

/// What the clients of one listener pay from, beside that.
#[derive(Debug)]
pub(crate) struct ListenerBuckets {
    all: Vec<(Unit, Shared)>,
    each: Quotas,
}

impl ListenerBuckets {
    pub(crate) fn new(quotas: &ListenerQuotas, now: Instant) -> Self {
        Self { all: shared(&quotas.all, now), each: quotas.each }
    }
}

impl Buckets {
    pub(crate) fn new(quotas: &PublishQuotas, now: Instant) -> Self {
        Self { node: shared(&quotas.node, now), each: quotas.each }
    }

    /// Makes what a new connection of a listener pays from; nothing when there is no limit.
    pub(crate) fn throttle(&self, listener: &ListenerBuckets, now: Instant) -> Option<Box<Throttle>> {
        let own = [self.each, listener.each].into_iter().flat_map(|quotas| shared(&quotas, now));
        let all = listener.all.iter().chain(&self.node).cloned();
        let purses: Vec<Purse> = own.chain(all).map(Purse::new).collect();
        (!purses.is_empty()).then(|| Box::new(Throttle { purses, waits: false }))
    }
}

fn shared(quotas: &Quotas, now: Instant) -> Vec<(Unit, Shared)> {
    let units = [(Unit::Messages, quotas.messages), (Unit::Bytes, quotas.bytes)];
    let some = units.into_iter().filter_map(|(unit, quota)| Some((unit, quota?)));
    some.map(|(unit, quota)| (unit, Arc::new(Mutex::new(Bucket::full(quota, now))))).collect()
}

/// What one connection has reserved of one bucket.
#[derive(Debug)]
struct Purse {
    unit: Unit,
    bucket: Shared,
    tokens: f64,
    waits: bool,
}

impl Purse {
    fn new((unit, bucket): (Unit, Shared)) -> Self {
        Self { unit, bucket, tokens: 0.0, waits: false }
    }

    fn pay(&mut self, bytes: usize, now: Instant) -> Duration {
        self.tokens -= match self.unit {
            Unit::Messages => 1.0,
            Unit::Bytes => bytes as f64,
        };
        if self.tokens >= 1.0 {
            return Duration::ZERO;
        }
        let mut bucket = self.bucket.lock();
        let (amount, wait) = bucket.reserve((-self.tokens).max(0.0), now);
        self.tokens += amount;
        if !wait.is_zero() && !self.waits {
            self.waits = true;
            bucket.waiting += 1;
        }
        wait
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.bucket.lock().waiting -= 1;
        }
    }

    fn give_back(&mut self) {
        if self.tokens > 0.0 {
            self.bucket.lock().give_back(std::mem::take(&mut self.tokens));
        }
    }
}

/// What a connection pays for its messages with.
#[derive(Debug)]
pub(crate) struct Throttle {
    purses: Vec<Purse>,
    waits: bool,
}

impl Throttle {
    /// Pays for a message; returns until when nothing more may be read, if the client was too fast.
    pub(crate) fn pay(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let wait = self.purses.iter_mut().map(|purse| purse.pay(bytes, now)).max()?;
        if wait.is_zero() {
            return None;
        }
        self.waits = true;
        Some(now + wait.max(WAIT_MIN))
    }

    /// Says whether the client is paused because it was too fast.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Ends the pause.
    pub(crate) fn resume(&mut self) {
        self.waits = false;
        self.purses.iter_mut().for_each(Purse::stop_waiting);
    }

    /// Lets others have what the client does not need now.
    pub(crate) fn rest(&mut self) {
        self.purses.iter_mut().for_each(Purse::give_back);
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.resume();
        self.rest();
    }
}

/// Shorter pauses are not worth a timer.
const WAIT_MIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(amount: u64, interval_ms: u64) -> Quota {
        Quota { rate: Rate { amount, interval: Duration::from_millis(interval_ms) }, burst: None }
    }

    /// Makes throttles of connections of one listener.
    fn throttles(
        each: Quotas,
        all: Quotas,
        node: Quotas,
        now: Instant,
    ) -> impl Fn(Instant) -> Option<Box<Throttle>> {
        let buckets = Buckets::new(&PublishQuotas { node, ..PublishQuotas::default() }, now);
        let listener = ListenerBuckets::new(&ListenerQuotas { each, all }, now);
        move |now| buckets.throttle(&listener, now)
    }

    /// Lets clients publish as fast as they may, and returns how much each got through.
    fn run(throttles: &mut [Box<Throttle>], start: Instant, lasts: Duration) -> Vec<u32> {
        let mut passed = vec![0; throttles.len()];
        let mut due = vec![start; throttles.len()];
        while let Some((at, index)) = due.iter().enumerate().map(|(index, at)| (*at, index)).min()
            && at < start + lasts
        {
            throttles[index].resume();
            loop {
                passed[index] += 1;
                if let Some(until) = throttles[index].pay(1, at) {
                    due[index] = until;
                    break;
                }
            }
        }
        passed
    }

    #[test]
    fn a_client_gets_its_rate_and_no_more() {
        let now = Instant::now();
        for (amount, interval_ms) in
            [(10, 1000), (1000, 1000), (100_000, 1000), (1, 1000), (5, 10), (600, 60_000)]
        {
            let messages = Some(quota(amount, interval_ms));
            let throttle =
                throttles(Quotas { messages, bytes: None }, Quotas::default(), Quotas::default(), now);
            let throttle = throttle(now).expect("limited");
            let got = f64::from(run(&mut [throttle], now, Duration::from_secs(60))[0]);
            let per_minute = amount as f64 * 60_000.0 / interval_ms as f64;
            let most = per_minute * 1.1 + amount as f64;
            assert!(
                (per_minute * 0.9..=most).contains(&got),
                "{amount} in {interval_ms} ms: {got} in a minute"
            );
        }
    }

    #[test]
    fn what_comes_at_once_is_the_amount_of_the_rate() {
        let now = Instant::now();
        let messages = Some(quota(10, 1000));
        let throttle = throttles(Quotas { messages, bytes: None }, Quotas::default(), Quotas::default(), now);
        let mut throttle = throttle(now).expect("limited");
        for _ in 0..9 {
            assert_eq!(throttle.pay(1, now), None);
        }
        let until = throttle.pay(1, now).expect("the tenth empties the bucket");
        assert_eq!((until - now).as_millis(), 100);
        assert!(throttle.waits());
    }

    #[test]
    fn a_message_larger_than_the_bucket_passes_and_is_paid_for() {
        let now = Instant::now();
        let bytes = Some(quota(1000, 1000));
        let throttle = throttles(Quotas { messages: None, bytes }, Quotas::default(), Quotas::default(), now);
        let mut throttle = throttle(now).expect("limited");
        let until = throttle.pay(5000, now).expect("it is too large");
        assert!((4000..4200).contains(&(until - now).as_millis()));
    }

    #[test]
    fn those_who_share_a_bucket_get_the_same() {
        let now = Instant::now();
        let all = Quotas { messages: Some(quota(1000, 1000)), bytes: None };
        for (all, node) in [(all, Quotas::default()), (Quotas::default(), all)] {
            let throttle = throttles(Quotas::default(), all, node, now);
            let mut throttles: Vec<_> = (0..20).map(|_| throttle(now).expect("limited")).collect();
            let passed = run(&mut throttles, now, Duration::from_secs(100));
            let sum: u32 = passed.iter().sum();
            assert!((100_000..104_000).contains(&sum), "{sum}");
            // the first may have had the whole bucket at the start
            let (least, most) = (passed.iter().min(), passed[1..].iter().max());
            assert!(least >= Some(&4000) && most <= Some(&6000), "{passed:?}");
        }
    }

    #[test]
    fn what_one_does_not_need_another_gets() {
        let mut now = Instant::now();
        let all = Quotas { messages: Some(quota(100, 1000)), bytes: None };
        let throttle = throttles(Quotas::default(), all, Quotas::default(), now);
        let take = |now| throttle(now).expect("limited");
        for _ in 0..1000 {
            let mut idle = take(now);
            assert_eq!(idle.pay(1, now), None);
            idle.rest();
            now += Duration::from_millis(10);
            drop(idle);
        }
        let mut throttle = take(now);
        assert!((0..95).all(|_| throttle.pay(1, now).is_none()), "nothing was lost");
    }

    #[test]
    fn a_burst_comes_on_top_once() {
        let now = Instant::now();
        let rate = quota(10, 1000).rate;
        let burst = Some(Rate { amount: 100, interval: Duration::from_secs(3600) });
        let messages = Some(Quota { rate, burst });
        let throttle = throttles(Quotas { messages, bytes: None }, Quotas::default(), Quotas::default(), now);
        let mut throttle = throttle(now).expect("limited");
        let at_once = (1..).find(|_| throttle.pay(1, now).is_some());
        assert_eq!(at_once, Some(110));
        let now = now + Duration::from_secs(10);
        throttle.resume();
        assert_eq!((1..).find(|_| throttle.pay(1, now).is_some()), Some(11), "one of them was paid for");
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_pay() {
        let now = Instant::now();
        let none = Quotas::default();
        assert!(throttles(none, none, none, now)(now).is_none());
    }

    #[test]
    fn every_bucket_must_allow_a_message() {
        let now = Instant::now();
        let some = |amount| Quotas { messages: Some(quota(amount, 1000)), bytes: None };
        // each client, each of the listener, all of the listener, all of the node: the least of them counts
        for least in 0..4 {
            let of = |place| some(if place == least { 10 } else { 1000 });
            let buckets = Buckets::new(&PublishQuotas { each: of(0), node: of(3) }, now);
            let listener = ListenerBuckets::new(&ListenerQuotas { each: of(1), all: of(2) }, now);
            let throttle = buckets.throttle(&listener, now).expect("limited");
            let got = run(&mut [throttle], now, Duration::from_secs(60))[0];
            assert!((540..700).contains(&got), "{least}: {got}");
        }
    }
}
