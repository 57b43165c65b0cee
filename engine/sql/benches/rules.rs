//! Rules on messages: evaluations per second on one core.

use std::hint::black_box;

mod cpu_time;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine_event::{Event, Map, PublishEvent, Text};
use engine_sql::functions::FixedContext;
use engine_sql::{Env, Plan, RuleSet};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILTER: &str = r##"SELECT payload.temp as t, clientid FROM "s/#" WHERE payload.temp > 30"##;
const EVERYTHING: &str = r##"SELECT * FROM "s/#""##;
const SPLIT: &str = r##"FOREACH payload.d AS e DO e.n AS n, e.v AS v INCASE e.v > 20 FROM "s/#""##;

const FUNCTIONS: &str = r##"SELECT upper(payload.site) AS site, nth(2, split(topic, '/')) AS hall,
    round(payload.temp * 1.8 + 32) AS temp_f, concat(clientid, '-', str(payload.line)) AS machine,
    CASE WHEN payload.temp > 30 THEN 'hot' ELSE 'fine' END AS state, json_encode(payload.loc) AS place,
    md5(payload.dev) AS hash, unix_ts_to_rfc3339(timestamp, 'millisecond') AS at
    FROM "s/#" WHERE regex_match(payload.dev, '^sensor-[0-9]+$')"##;

/// Rules on one topic that differ in a constant.
const ON_ONE_TOPIC: usize = 1000;

fn message(payload: String) -> Event {
    Event::from(PublishEvent {
        id: 1,
        client_id: Text::from_static("device-17"),
        username: None,
        peer: None,
        topic: Text::from_static("s/berlin/17"),
        payload: payload.into(),
        qos: 1,
        retain: false,
        dup: false,
        properties: None,
        received_at_ms: 1_712_000_000_000,
        node: Text::from_static("sluice@127.0.0.1"),
        client_attrs: Map::new(),
        hops: 0,
        republished_by: None,
    })
}

/// About 250 bytes, 14 keys.
fn reading(temp: f64) -> Event {
    message(format!(
        r#"{{"dev":"sensor-0017","site":"berlin-3","line":7,"temp":{temp},"hum":45.25,"volt":3.31,"rssi":-67,"seq":184467,"ok":true,"err":null,"fw":"1.14.2","loc":{{"lat":52.52,"lon":13.405}},"tags":["a","b","c"],"note":"all is well in the third hall"}}"#
    ))
}

fn array() -> Event {
    let items: Vec<String> =
        (0..50).map(|n| format!(r#"{{"n":"dev-{n}","v":{},"unit":"C","ok":true}}"#, n % 40)).collect();
    message(format!(r#"{{"d":[{}]}}"#, items.join(",")))
}

fn rules(criterion: &mut Criterion<CpuTime>) {
    let context = FixedContext::default();
    let env = Env { rule_id: None, context: &context };
    let mut group = criterion.benchmark_group("rules");
    group.throughput(Throughput::Elements(1));
    for (name, sql, event) in [
        ("filter, matches", FILTER, reading(31.5)),
        ("filter, does not match", FILTER, reading(21.5)),
        ("everything", EVERYTHING, reading(21.5)),
        ("split 50", SPLIT, array()),
        ("functions", FUNCTIONS, reading(21.5)),
    ] {
        let plan = Plan::compile(sql).expect("the rule compiles");
        group.bench_function(name, |bencher| {
            bencher.iter(|| plan.run(black_box(&event), &env).expect("the rule runs"));
        });
    }
    for (name, event, condition) in [
        ("1000 on one topic, equality, one matches", reading(31.5), "payload.line = "),
        ("1000 on one topic, equality, none matches", reading(31.5), "payload.seq = "),
        ("1000 on one topic, range, none matches", reading(31.5), "payload.line > 10"),
    ] {
        let sql = |number: usize| {
            format!("SELECT payload.temp AS t, clientid FROM \"s/#\" WHERE {condition}{number}")
        };
        let plans: Vec<Plan> =
            (0..ON_ONE_TOPIC).map(|number| Plan::compile(&sql(number)).expect("compiles")).collect();
        let set = RuleSet::new(&plans.iter().collect::<Vec<_>>(), true);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let event = black_box(&event);
                let slots = set.read(event);
                for place in set.candidates(event, &slots) {
                    let place = place as usize;
                    let rows = plans[place].run_projected(event, set.slots_of(place, &slots), &env);
                    black_box(rows.expect("the rule runs"));
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = rules
}
criterion_main!(benches);
