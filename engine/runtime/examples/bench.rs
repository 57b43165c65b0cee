//! Rows for each second and core from a published message through rule and lane to a sink that takes everything at
//! once. One line of JSON for each scenario.
//!
//! `cargo run --profile load -p engine-runtime --example bench [-- <seconds for each scenario>]`
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::disallowed_methods, reason = "publishers are threads of their own")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connectors_api::{
    Batch, Capabilities, Channel, ChannelContext, ChannelError, Connector, ConnectorDef, Health, Outcome,
    Reason,
};
use engine_event::{
    Event, EventTap as _, ManualClock, Map, NewMessage, PublishError, PublishEvent, PublishReport, Publisher,
    Row, RuleSlot, Text,
};
use engine_runtime::{EditionVerdict, Engine, EngineConfig, Origin, TopicList};
use serde_json::{Value as Json, json};

/// Rows that may be on their way while the bench publishes more.
const ON_THE_WAY_MAX: u64 = 50_000;

/// Clients that publish by turns.
const CLIENTS: usize = 64;

const NULL: ConnectorDef = ConnectorDef {
    kind: "null",
    title: "Null",
    summary: "Takes every row.",
    capabilities: Capabilities {
        batch_size_default: 1,
        batch_time_ms_default: 0,
        batch_size_limit: 10_000,
        keeps_order: false,
    },
    secrets: &[],
    connector_schema: || Json::Null,
    action_schema: || Json::Null,
    check_connector: |_| Ok(()),
    check_action: |_| Ok(()),
    start: |_, _| Box::pin(async { Ok(Arc::new(Null) as Arc<dyn Connector>) }),
};

struct Null;

#[async_trait]
impl Connector for Null {
    async fn check(&self) -> Health {
        Health::Connected
    }

    async fn add_channel(&self, _: ChannelContext, _: &Json) -> Result<Arc<dyn Channel>, ChannelError> {
        Ok(Arc::new(Null))
    }

    async fn stop(&self) {}
}

#[async_trait]
impl Channel for Null {
    async fn deliver(&self, batch: Batch<'_>, _: Instant) -> Vec<Outcome> {
        Outcome::for_all(&Outcome::Ok, batch.len())
    }

    fn render(&self, _: &Row) -> Result<Json, Reason> {
        Ok(Json::Null)
    }
}

/// No rule of the bench republishes.
struct Nobody;

impl Publisher for Nobody {
    fn publish(&self, _: NewMessage) -> Result<PublishReport, PublishError> {
        Err(PublishError::Stopping)
    }
}

struct Scenario {
    name: &'static str,
    sql: &'static str,
    rules: usize,
    batch_size: u32,
    publishers: usize,
    /// Topics, each with a rule of its own beside the `rules` that read all of them; 0: one topic without such a rule.
    topics: usize,
}

const NARROW: &str =
    "SELECT clientid, payload.line AS line, payload.t AS t FROM \"lines/#\" WHERE payload.t > 80";
const FALSE: &str = "SELECT clientid FROM \"lines/#\" WHERE payload.t > 1000";

/// For each rule another number.
const EQUAL: &str = "SELECT clientid, payload.line AS line FROM \"lines/#\" WHERE payload.line = {number}";

const SCENARIOS: [Scenario; 10] = [
    Scenario { name: "one_equality", sql: EQUAL, rules: 1, batch_size: 100, publishers: 1, topics: 0 },
    Scenario {
        name: "thousand_equalities",
        sql: EQUAL,
        rules: 1000,
        batch_size: 100,
        publishers: 1,
        topics: 0,
    },
    Scenario { name: "filter_false", sql: FALSE, rules: 1, batch_size: 1, publishers: 1, topics: 0 },
    Scenario { name: "one_rule", sql: NARROW, rules: 1, batch_size: 1, publishers: 1, topics: 0 },
    Scenario { name: "one_rule_batch_100", sql: NARROW, rules: 1, batch_size: 100, publishers: 1, topics: 0 },
    Scenario {
        name: "one_rule_batch_1000",
        sql: NARROW,
        rules: 1,
        batch_size: 1000,
        publishers: 1,
        topics: 0,
    },
    Scenario {
        name: "select_all_batch_100",
        sql: "SELECT * FROM \"lines/#\"",
        rules: 1,
        batch_size: 100,
        publishers: 1,
        topics: 0,
    },
    Scenario {
        name: "ten_rules_batch_100",
        sql: NARROW,
        rules: 10,
        batch_size: 100,
        publishers: 1,
        topics: 0,
    },
    Scenario {
        name: "two_publishers_batch_100",
        sql: NARROW,
        rules: 1,
        batch_size: 100,
        publishers: 2,
        topics: 0,
    },
    Scenario {
        name: "rule_per_device_batch_100",
        sql: NARROW,
        rules: 1,
        batch_size: 100,
        publishers: 1,
        topics: 2000,
    },
];

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    for scenario in &SCENARIOS {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let line = run(&runtime, scenario, Duration::from_secs_f64(seconds));
        println!("{line}");
    }
}

fn run(runtime: &tokio::runtime::Runtime, scenario: &Scenario, length: Duration) -> Json {
    let (engine, slots) = runtime.block_on(engine(scenario));
    let start = Instant::now();
    let cpu_before = cpu_seconds();
    let (messages, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for publisher in 0..scenario.publishers {
            let (engine, slots, messages, over) = (&engine, &slots, &messages, &over);
            scope.spawn(move || publish(engine, slots, publisher, messages, over));
        }
        std::thread::sleep(length);
        over.store(true, Ordering::Relaxed);
    });
    while !engine.action_metrics("null:a").is_some_and(|metrics| metrics.is_idle()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    let rules = scenario.rules + usize::from(scenario.topics > 0);
    let metrics = engine.action_metrics("null:a").expect("an action");
    assert!(metrics.is_balanced() && metrics.success == metrics.matched, "{metrics:?}");
    runtime.block_on(engine.shutdown(Duration::from_secs(5)));
    let messages = messages.into_inner();
    json!({
        "scenario": scenario.name, "rules": rules, "batch_size": scenario.batch_size,
        "publishers": scenario.publishers, "messages": messages, "rows": metrics.success,
        "seconds": round(elapsed), "cpu_seconds": round(cpu),
        "messages_per_second": (messages as f64 / elapsed) as u64,
        "rows_per_second": (metrics.success as f64 / elapsed) as u64,
        "runs_per_core_second": ((messages * rules as u64) as f64 / cpu.max(0.01)) as u64,
        "rows_per_core_second": (metrics.success as f64 / cpu.max(0.01)) as u64,
    })
}

/// The engine, and the rules of each topic.
async fn engine(scenario: &Scenario) -> (Arc<Engine>, Vec<Vec<RuleSlot>>) {
    let mut config =
        EngineConfig::new("node@bench", Path::new("."), Arc::new(ManualClock::at(1_790_000_000_000)));
    config.definitions = vec![(NULL, EditionVerdict::Allowed)];
    let engine = Engine::new(config);
    let topics = Arc::new(TopicList::new());
    engine.attach(Arc::<TopicList>::clone(&topics), Arc::new(Nobody));
    let connector = json!({"type": "null", "name": "c"});
    engine.create_connector(connector, Origin::Api).await.expect("a connector");
    let action = json!({
        "type": "null", "name": "a", "connector": "c", "parameters": {},
        "resource_opts": {"batch_size": scenario.batch_size, "batch_time": "5ms"}
    });
    engine.create_action(action, Origin::Api).await.expect("an action");
    for number in 0..scenario.rules {
        let sql = scenario.sql.replace("{number}", &number.to_string());
        let rule = json!({"id": format!("r{number}"), "sql": sql, "actions": ["null:a"]});
        engine.create_rule(rule, Origin::Api).expect("a rule");
    }
    for number in 0..scenario.topics {
        let sql = NARROW.replace("lines/#", &topic(number));
        let rule = json!({"id": format!("t{number}"), "sql": sql, "actions": ["null:a"]});
        engine.create_rule(rule, Origin::Api).expect("a rule");
    }
    let slots = (0..scenario.topics.max(1)).map(|number| topics.matching(topic(number).as_bytes()).0);
    (engine, slots.collect())
}

fn topic(number: usize) -> String {
    format!("lines/{number}")
}

/// Publishes until it is over, and never has too many rows on their way.
fn publish(
    engine: &Engine,
    slots: &[Vec<RuleSlot>],
    publisher: usize,
    messages: &AtomicU64,
    over: &AtomicBool,
) {
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| Text::from(format!("client-{publisher}-{client}"))).collect();
    let payload =
        Text::from_static(r#"{"line":7,"t":91.5,"unit":"C","site":"plant-7","ok":true,"seq":123456}"#);
    let topics: Vec<_> = (0..slots.len()).map(|number| Text::from(topic(number))).collect();
    let node = Text::from_static("node@bench");
    let mut published = 0;
    while !over.load(Ordering::Relaxed) {
        for client in &clients {
            published += 1;
            let number = published as usize % topics.len();
            let event = PublishEvent {
                id: (publisher as u128) << 64 | u128::from(published),
                client_id: client.clone(),
                username: None,
                peer: None,
                topic: topics[number].clone(),
                payload: payload.clone(),
                qos: 1,
                retain: false,
                dup: false,
                properties: None,
                received_at_ms: 1_790_000_000_000,
                node: node.clone(),
                client_attrs: Map::new(),
                hops: 0,
                republished_by: None,
            };
            engine.published(&slots[number], Event::from(event), None);
        }
        let waits =
            || engine.action_metrics("null:a").map_or(0, |metrics| metrics.queuing + metrics.inflight);
        while published % 1024 == 0 && waits() > ON_THE_WAY_MAX {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    messages.fetch_add(published, Ordering::Relaxed);
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// User and system time of this process so far, its ended threads included; 0 where there is no `/proc`.
fn cpu_seconds() -> f64 {
    /// Unit of the times in `/proc`: fixed for programs on Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = behind_name.split_whitespace().skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}
