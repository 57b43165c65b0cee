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

use super::peers::{PEERS, Peer, pause};
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
}

/// What is measured. Payloads have 256 bytes; MQTT 3.1.1.
const SCENARIOS: &[Scenario] = &[
    // ten publishers to one subscriber, as fast as it goes
    Scenario { name: "fanin-0", load: &["fanin", "--qos", "0"] },
    Scenario { name: "fanin-1", load: &["fanin", "--qos", "1"] },
    Scenario { name: "fanin-2", load: &["fanin", "--qos", "2"] },
    // each publisher to a subscriber of its own; a message a write
    Scenario { name: "pairs-0", load: &["pairs", "--pubs", "200", "--batch", "1", "--qos", "0"] },
    Scenario { name: "pairs-1", load: &["pairs", "--pubs", "200", "--batch", "1", "--qos", "1"] },
    // one publisher to a hundred subscribers
    Scenario { name: "fanout-0", load: &["fanout", "--qos", "0"] },
    Scenario { name: "fanout-1", load: &["fanout", "--qos", "1"] },
    // ten publishers to a group of four
    Scenario { name: "shared-0", load: &["shared", "--qos", "0"] },
    Scenario { name: "shared-1", load: &["shared", "--qos", "1"] },
    // a fixed rate, with latencies that count
    Scenario { name: "fanin-0-20k", load: &["fanin", "--qos", "0", "--rate", "20000"] },
    Scenario { name: "fanin-1-10k", load: &["fanin", "--qos", "1", "--rate", "10000"] },
    Scenario { name: "pairs-0-20k", load: &["pairs", "--pubs", "200", "--qos", "0", "--rate", "20000"] },
    // a hundred thousand filters, of which each message matches one
    Scenario { name: "filters-100k", load: &["subs"] },
    // connections as fast as they are taken, then held
    Scenario { name: "connections", load: &["conn", "--conns", "10000", "--src-ips", "2", "--conn-sub"] },
];

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
    let running = peer.start(program)?;
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
