//! A lane against a simple model: whatever happens, every row is accounted for, rows of a key keep their order, and
//! what can be sent is sent in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use connectors_api::{Capabilities, Delivery, Outcome, Reason};
use engine_event::{Row, Text};
use proptest::prelude::*;
use serde_json::json;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::StopReason;
use super::gate::{Gate, Permit};
use super::schedule::Picked;
use super::state::{End, Ended, Lane, PushLimits, Pushed, Step, StepContext};
use crate::object::resource_opts::{ActionOptions, Overflow, read_action_options};
use crate::queue::{Obligation, QueuedRow, RowTag, Sequence};

const ROW_BYTES: u64 = 100;

fn options(resource_opts: serde_json::Value) -> ActionOptions {
    let capabilities = Capabilities {
        batch_size_default: 1,
        batch_time_ms_default: 0,
        batch_size_limit: 1000,
        keeps_order: false,
    };
    let mut problems = Vec::new();
    let options = read_action_options(Some(&resource_opts), capabilities, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    options
}

/// A row of a key (0: without one) that lives for `ttl_ms`.
fn row(number: u32, key: u64, now: Instant, ttl_ms: Option<u64>) -> QueuedRow {
    QueuedRow {
        delivery: Delivery {
            row: Row::new(),
            delivery_id: Text::default(),
            rule_id: Arc::from("r"),
            key: None,
            attempts: 0,
        },
        tag: RowTag {
            key_hash: key,
            bytes: ROW_BYTES,
            enqueued: now,
            deadline: ttl_ms.map(|ttl| now + Duration::from_millis(ttl)),
            origin: 0,
            index: number,
            id_seed: 0,
            hops: 0,
            alone: false,
            credit: None,
            obligation: Obligation::default(),
            error: None,
        },
    }
}

/// A lane with a target that answers when it is told to.
struct Bench {
    lane: Lane,
    gate: Arc<Gate>,
    options: ActionOptions,
    now: Instant,
    requests: Vec<(Picked, Permit)>,
    pushed: u32,
    ended: Vec<(u32, u64, End)>,
    lane_bytes: u64,
}

impl Bench {
    fn new(resource_opts: serde_json::Value) -> Self {
        let gate = Gate::new();
        let now = Instant::now();
        gate.resume(now);
        Self {
            lane: Lane::default(),
            gate,
            options: options(resource_opts),
            now,
            requests: Vec::new(),
            pushed: 0,
            ended: Vec::new(),
            lane_bytes: u64::MAX,
        }
    }

    fn note(&mut self, ended: Vec<Ended>) {
        self.ended.extend(ended.iter().map(|ended| (ended.row.tag.index, ended.row.tag.key_hash, ended.end)));
    }

    /// Pushes a row; tells whether the task is woken or started.
    fn push(&mut self, key: u64, ttl_ms: Option<u64>) -> bool {
        let mut rows: SmallVec<[QueuedRow; 1]> =
            SmallVec::from_iter([row(self.pushed, key, self.now, ttl_ms)]);
        self.pushed += 1;
        let limits =
            PushLimits { lane_bytes: self.lane_bytes, overflow: Overflow::DropOldest, room: u64::MAX };
        match self.lane.push(&mut rows, limits) {
            Pushed::Taken { ended, start_worker, .. } => {
                self.note(ended);
                start_worker || self.lane.is_woken()
            }
            Pushed::Closed => panic!("nobody closes the lane"),
        }
    }

    /// One step of the task; none when it sent a batch, else how long it would sleep.
    fn step(&mut self) -> Option<Option<Instant>> {
        let context = StepContext {
            now: self.now,
            options: &self.options,
            gate: &self.gate,
            has_channel: true,
            keeps_order: false,
            requests: self.requests.len(),
            draining: false,
            tired: false,
        };
        let (step, ended) = self.lane.next_step(&context);
        self.note(ended);
        match step {
            Step::Send(picked, permit) => {
                self.requests.push((picked, permit));
                None
            }
            Step::Sleep(until) => Some(until),
            Step::Exit => Some(None),
        }
    }

    /// Answers a request; `verdict` says what becomes of each row.
    fn answer(&mut self, which: usize, fault: bool, mut verdict: impl FnMut(usize) -> Outcome) {
        let (picked, permit) = self.requests.swap_remove(which);
        let rows: Vec<(Sequence, QueuedRow)> = picked.rows;
        let outcomes = (0..rows.len()).map(&mut verdict).collect();
        let ended = self.lane.settle(rows, outcomes, fault, &self.options, self.now);
        permit.answered();
        self.note(ended);
    }

    fn check_identity(&self) {
        let snapshot = self.lane.snapshot().expect("not closed");
        let counters = snapshot.counters;
        let ended = counters.success
            + counters.failed
            + counters.dropped_expired
            + counters.dropped_queue_full
            + counters.dropped_resource_stopped
            + counters.late_reply;
        assert_eq!(counters.matched, ended + snapshot.queuing + snapshot.inflight, "{counters:?}");
        assert_eq!(ended, self.ended.len() as u64, "each row ends once");
        assert_eq!(snapshot.queuing_bytes, snapshot.queuing * ROW_BYTES);
    }

    /// The target takes everything from here on: the lane has to become empty.
    fn finish(&mut self) {
        let mut rounds = 0;
        while self.lane.rows() > 0 {
            rounds += 1;
            assert!(rounds < 100_000, "rows are stuck: {:?}", self.lane);
            while !self.requests.is_empty() {
                self.answer(0, false, |_| Outcome::Ok);
            }
            if let Some(until) = self.step() {
                match until {
                    Some(until) => self.now = self.now.max(until),
                    None => assert!(!self.requests.is_empty() || self.lane.rows() == 0, "sleeps for ever"),
                }
            }
        }
        self.check_identity();
        assert_eq!(self.ended.len(), self.pushed as usize);
    }

    /// Rows of one key were confirmed in the order in which they came.
    fn check_order(&self) {
        let mut last: HashMap<u64, u32> = HashMap::new();
        for (number, key, end) in &self.ended {
            if *key == 0 || *end != End::Success {
                continue;
            }
            if let Some(before) = last.insert(*key, *number) {
                assert!(before < *number, "key {key}: {number} after {before}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Push(u64, Option<u64>),
    Step,
    Answer {
        which: usize,
        fault: bool,
        verdicts: Vec<u8>,
    },
    Wait(u64),
    GiveWay(u64),
    Discard,
    /// The action is edited.
    Window(usize),
}

fn any_event() -> impl Strategy<Value = Event> {
    let ttl = prop_oneof![3 => Just(None), 1 => (1_u64..2000).prop_map(Some)];
    prop_oneof![
        6 => (0_u64..4, ttl).prop_map(|(key, ttl)| Event::Push(key, ttl)),
        6 => Just(Event::Step),
        4 => (0_usize..8, prop::bool::weighted(0.1), prop::collection::vec(0_u8..8, 1..6))
            .prop_map(|(which, fault, verdicts)| Event::Answer { which, fault, verdicts }),
        2 => (1_u64..500).prop_map(Event::Wait),
        1 => (1_u64..300).prop_map(Event::GiveWay),
        1 => Just(Event::Discard),
        1 => (1_usize..4).prop_map(Event::Window),
    ]
}

fn outcome_of(verdict: u8) -> Outcome {
    match verdict {
        0 | 1 => Outcome::retry(Reason::transport("busy")),
        2 => Outcome::Retry { reason: Reason::transport("later"), after: Some(Duration::from_millis(300)) },
        3 => Outcome::Reject(Reason::target("1", "no")),
        _ => Outcome::Ok,
    }
}

/// In a batch, what follows a row of the same key that has to be sent again is not confirmed before it: connectors
/// promise that.
fn verdicts_in_order(picked: &Picked, verdicts: &[u8], fault: bool) -> Vec<Outcome> {
    let mut held = Vec::new();
    let rows = picked.rows.iter().enumerate();
    rows.map(|(index, (_, row))| {
        let key = row.tag.key_hash;
        if fault || (key != 0 && held.contains(&key)) {
            return Outcome::not_sent("waits", None);
        }
        let outcome = outcome_of(verdicts[index % verdicts.len()]);
        if matches!(outcome, Outcome::Retry { .. }) {
            held.push(key);
        }
        outcome
    })
    .collect()
}

fn check(resource_opts: serde_json::Value, lane_bytes: u64, events: &[Event]) {
    let mut bench = Bench::new(resource_opts);
    bench.lane_bytes = lane_bytes;
    for event in events {
        match event {
            Event::Push(key, ttl) => drop(bench.push(*key, *ttl)),
            Event::Step => drop(bench.step()),
            Event::Answer { which, fault, verdicts } => {
                if !bench.requests.is_empty() {
                    let which = which % bench.requests.len();
                    let outcomes = verdicts_in_order(&bench.requests[which].0, verdicts, *fault);
                    bench.answer(which, *fault, |index| outcomes[index].clone());
                }
            }
            Event::Wait(ms) => bench.now += Duration::from_millis(*ms),
            Event::Window(window) => bench.options.inflight_window = *window,
            Event::GiveWay(bytes) => {
                let ended = bench.lane.give_way(*bytes);
                bench.note(ended);
            }
            Event::Discard => {
                let ended = bench.lane.set_discard(Some(StopReason::ResourceStopped));
                bench.note(ended);
                bench.lane.set_discard(None);
            }
        }
        bench.check_identity();
    }
    bench.finish();
    bench.check_order();
}

proptest! {
    #[test]
    fn a_lane_loses_nothing_and_keeps_the_order_of_each_key(
        events in prop::collection::vec(any_event(), 0..200),
        window in 1_usize..5,
        batch_size in 1_usize..5,
    ) {
        let resource_opts = json!({
            "inflight_window": window, "batch_size": batch_size,
            "retry_backoff": {"initial": "100ms", "max": "400ms"}
        });
        check(resource_opts.clone(), u64::MAX, &events);
        check(resource_opts, ROW_BYTES * 6, &events);
    }
}

#[test]
fn a_row_that_could_go_wakes_a_full_lane() {
    let mut bench = Bench::new(json!({"batch_size": 2, "batch_time": "1ms"}));
    bench.lane_bytes = ROW_BYTES * 4;
    bench.push(1, None);
    bench.push(2, None);
    assert!(bench.step().is_none(), "sent");
    bench.answer(0, false, |index| outcome_of(if index == 0 { 2 } else { 7 }));
    for _ in 0..6 {
        bench.push(1, None);
        while bench.step().is_none() {}
    }
    assert!(bench.push(2, None), "the first key pauses, the second need not wait for it");
}

#[test]
fn rows_that_were_not_sent_are_not_given_up() {
    let mut bench = Bench::new(json!({
        "batch_size": 2, "batch_time": "1ms", "max_retries": 1, "request_ttl": "10m",
        "retry_backoff": {"initial": "1ms", "max": "1ms"}
    }));
    bench.push(1, None);
    bench.push(1, Some(50));
    for _ in 0..2 {
        while bench.requests.is_empty() {
            bench.now += Duration::from_millis(5);
            bench.step();
        }
        bench.answer(0, false, |index| match index {
            0 => outcome_of(0),
            _ => Outcome::not_sent("waits", None),
        });
    }
    assert_eq!(bench.ended, [(0, 1, End::GaveUp)], "the second was never tried");
    bench.now += Duration::from_millis(100);
    bench.step();
    assert_eq!(bench.ended[1..], [(1, 1, End::Expired)], "no answer to it can be late");
}

#[test]
fn a_wider_window_waits_for_what_is_under_way() {
    let mut bench = Bench::new(json!({"inflight_window": 1}));
    bench.push(1, None);
    bench.push(1, None);
    bench.step();
    bench.options.inflight_window = 2;
    assert!(bench.step().is_some(), "the second would overtake the first if that is to be sent again");
    bench.answer(0, false, |_| outcome_of(0));
    bench.finish();
    bench.check_order();
}
