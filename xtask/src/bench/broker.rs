//! `cargo xtask bench broker`: load on the whole server, alternately with other brokers.
//!
//! Every run has a freshly started broker; the brokers take turns within a scenario, so that a machine that slows down
//! slows all of them. Each run prints the line of the load generator (`benches/`), each scenario a line of medians for
//! each broker, ours with its ratios to the others. CPU seconds per million messages is the figure to look at: it
//! depends least on what else the machine does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use serde_json::{Value as Json, json};
use tests_services::target_folder;

use super::peers::{PEERS, Peer, Setup, pause};
use super::report::{self, Runs};

/// Load on the whole server, alternately with other brokers.
#[derive(Parser)]
#[command(name = "cargo xtask bench broker")]
struct Arguments {
    /// Scenarios; all of them when none is named. See `--list`.
    scenarios: Vec<String>,
    /// Tell the scenarios.
    #[arg(long)]
    list: bool,
    /// Runs of each broker in each scenario.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measured seconds of a run.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Brokers beside ours, separated by commas: mosquitto, rumqttd; nothing for none.
    #[arg(long, default_value = "mosquitto")]
    against: String,
    /// Repeat a run beside which other programs took more cores than this.
    #[arg(long, default_value_t = 0.6)]
    quiet_cores: f64,
}

/// A scenario and what the load generator is told.
struct Scenario {
    name: &'static str,
    load: &'static [&'static str],
    setup: Setup,
}

impl Scenario {
    const fn new(name: &'static str, load: &'static [&'static str]) -> Self {
        Self { name, load, setup: Setup::Plain }
    }

    /// Sessions are kept on disk; brokers that cannot do this are left out.
    const fn durable(name: &'static str, load: &'static [&'static str]) -> Self {
        Self { name, load, setup: Setup::Durable }
    }

    /// With rules: ours alone.
    const fn rules(name: &'static str, load: &'static [&'static str], rules: fn() -> String) -> Self {
        Self { name, load, setup: Setup::Rules(rules) }
    }
}

/// What is measured. Payloads have 256 bytes unless the name says otherwise; MQTT 3.1.1.
const SCENARIOS: &[Scenario] = &[
    // ten publishers to one subscriber, as fast as it goes
    Scenario::new("fanin-0", &["fanin", "--qos", "0"]),
    Scenario::new("fanin-1", &["fanin", "--qos", "1"]),
    Scenario::new("fanin-2", &["fanin", "--qos", "2"]),
    Scenario::new("fanin-0-16b", &["fanin", "--qos", "0", "--payload", "16"]),
    Scenario::new("fanin-0-1kib", &["fanin", "--qos", "0", "--payload", "1024"]),
    Scenario::new("fanin-1-1kib", &["fanin", "--qos", "1", "--payload", "1024"]),
    Scenario::new("fanin-1-v5", &["fanin", "--qos", "1", "--v5"]),
    // each publisher to a subscriber of its own; a message a write
    Scenario::new("pairs-0", &["pairs", "--pubs", "200", "--batch", "1", "--qos", "0"]),
    Scenario::new("pairs-1", &["pairs", "--pubs", "200", "--batch", "1", "--qos", "1"]),
    Scenario::new("pairs-2", &["pairs", "--pubs", "200", "--batch", "1", "--qos", "2"]),
    // one publisher to a hundred subscribers
    Scenario::new("fanout-0", &["fanout", "--qos", "0"]),
    Scenario::new("fanout-1", &["fanout", "--qos", "1"]),
    Scenario::new("fanout-2", &["fanout", "--qos", "2"]),
    // ten publishers to a group of four
    Scenario::new("shared-0", &["shared", "--qos", "0"]),
    Scenario::new("shared-1", &["shared", "--qos", "1"]),
    Scenario::new("shared-2", &["shared", "--qos", "2"]),
    // a fixed rate, with latencies that count
    Scenario::new("fanin-0-20k", &["fanin", "--qos", "0", "--rate", "20000"]),
    Scenario::new("fanin-1-10k", &["fanin", "--qos", "1", "--rate", "10000"]),
    Scenario::new("pairs-0-20k", &["pairs", "--pubs", "200", "--qos", "0", "--rate", "20000"]),
    Scenario::new("fanout-0-20k", &["fanout", "--qos", "0", "--rate", "200"]),
    // a thousand and a hundred thousand filters, of which each message matches one
    Scenario::new("filters-1k", &["subs", "--filters", "1000"]),
    Scenario::new("filters-100k", &["subs"]),
    // fifty publishers to a session that outlives a crash: nothing is acknowledged before it is on disk
    Scenario::durable("durable-1", &["fanin", "--pubs", "50", "--qos", "1", "--durable"]),
    Scenario::durable("durable-2", &["fanin", "--pubs", "50", "--qos", "2", "--durable"]),
    // what rules cost: none, ten thousand that are about something else, and one that sends each message on
    Scenario::rules("rules-none", &["fanin", "--qos", "0", "--payload", "json"], String::new),
    Scenario::rules("rules-10k-others", &["fanin", "--qos", "0", "--payload", "json"], rules_for_others),
    Scenario::rules(
        "rules-republish",
        &["fanin", "--qos", "0", "--payload", "json", "--sub-filter", "rule/out"],
        republishing_rule,
    ),
    // connections as fast as they are taken, then held
    Scenario::new("connections", &["conn", "--conns", "10000", "--src-ips", "2", "--conn-sub"]),
];

fn rules_for_others() -> String {
    (0..10_000)
        .map(|number| {
            format!(
                "[rules.r{number}]\nsql = 'SELECT payload.temp AS t, clientid FROM \"other/{number}/+\" WHERE \
                 payload.temp > 30'\nactions = [{{ function = \"console\" }}]\n"
            )
        })
        .collect()
}

fn republishing_rule() -> String {
    "[rules.on]\nsql = 'SELECT payload FROM \"t/#\"'\n\
     [[rules.on.actions]]\nfunction = \"republish\"\n\
     [rules.on.actions.args]\ntopic = \"rule/out\"\npayload = \"${payload}\"\nqos = 0\n"
        .to_owned()
}

/// Runs what was asked for.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let program = "cargo xtask bench broker".to_owned();
    let arguments = Arguments::parse_from(std::iter::once(&program).chain(arguments));
    if arguments.list {
        SCENARIOS.iter().for_each(|scenario| println!("{:<14} {}", scenario.name, scenario.load.join(" ")));
        return Ok(());
    }
    let scenarios = chosen(&arguments.scenarios)?;
    super::cargo(&["build", "--release", "--quiet", "-p", "benches"])?;
    let load = target_folder().join("release").join("mqtt-load");
    let brokers = brokers(&arguments.against)?;
    for scenario in scenarios {
        measure(scenario, &brokers, &load, &arguments)?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .with_context(|| format!("no scenario named `{name}`: see --list"))
    };
    names.iter().map(find).collect()
}

/// Ours and the others, with their programs.
fn brokers(against: &str) -> anyhow::Result<Vec<(&'static Peer, PathBuf)>> {
    let others = against.split(',').map(str::trim).filter(|name| !name.is_empty());
    std::iter::once(PEERS[0].name)
        .chain(others)
        .map(|name| {
            let Some(peer) = PEERS.iter().find(|peer| peer.name == name) else {
                let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
                bail!("no broker named `{name}`; there are: {}", names.join(", "));
            };
            Ok((peer, peer.program()?))
        })
        .collect()
}

fn measure(
    scenario: &Scenario,
    brokers: &[(&'static Peer, PathBuf)],
    load: &Path,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let brokers: Vec<_> = brokers.iter().filter(|(peer, _)| peer.can(scenario.setup)).collect();
    let mut all: Vec<Runs> =
        brokers.iter().map(|(peer, _)| Runs { broker: peer.name, lines: Vec::new() }).collect();
    for _ in 0..arguments.runs.max(1) {
        for ((peer, program), runs) in brokers.iter().zip(&mut all) {
            let line = quiet_run(scenario, peer, program, load, arguments)?;
            println!("{line}");
            runs.lines.push(line);
        }
    }
    report::lines(scenario.name, &all).iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// One run, repeated when the machine was busy with other things.
fn quiet_run(
    scenario: &Scenario,
    peer: &Peer,
    program: &Path,
    load: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Json> {
    const TRIES: usize = 3;
    for left in (0..TRIES).rev() {
        let line = one_run(scenario, peer, program, load, arguments)?;
        let busy = line["other_cores"].as_f64().unwrap_or(0.0);
        if left == 0 || busy <= arguments.quiet_cores {
            return Ok(line);
        }
        eprintln!("{}, {}: {busy} cores busy with other things, once more", scenario.name, peer.name);
        pause(Duration::from_secs(5));
    }
    bail!("no run")
}

fn one_run(
    scenario: &Scenario,
    peer: &Peer,
    program: &Path,
    load: &Path,
    arguments: &Arguments,
) -> anyhow::Result<Json> {
    let running = peer.start(program, scenario.setup)?;
    // what a start leaves to be done later is not what is measured
    pause(Duration::from_secs(1));
    let output = Command::new(load)
        .args(scenario.load)
        .args(["--port", &running.port.to_string(), "--pid", &running.pid().to_string()])
        .args(["--duration", &arguments.seconds.to_string(), "--label", peer.name])
        .output()
        .context("cannot run the load generator")?;
    drop(running);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut line: Json = serde_json::from_str(text.trim()).with_context(|| {
        format!("{}, {}: no result: {}", scenario.name, peer.name, String::from_utf8_lossy(&output.stderr))
    })?;
    line["scenario"] = json!(scenario.name);
    Ok(line)
}
