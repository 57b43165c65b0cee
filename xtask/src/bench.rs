//! `cargo xtask bench`: the table of benchmarks.

mod broker;
mod criterion;
mod peers;
mod report;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the benchmark.
    name: Option<String>,
    /// What is passed on to it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A benchmark: one line here, one function in a module of its own.
struct Bench {
    name: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "broker",
        summary: "messages through the whole server, alternately with other brokers (`--help` for scenarios)",
        run: broker::run,
    },
    Bench {
        name: "engine",
        summary: "rules on messages: evaluations per second and core",
        run: criterion::engine,
    },
    Bench {
        name: "codec",
        summary: "PUBLISH decoded and encoded, beside another codec",
        run: criterion::codec,
    },
    Bench {
        name: "runtime",
        summary: "rows from a publish through rule and lane to a sink that takes everything",
        run: criterion::runtime,
    },
];

/// Runs the benchmark that was asked for, or lists them.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(name) = &arguments.name else {
        for bench in BENCHES {
            println!("{:<10} {}", bench.name, bench.summary);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!("no benchmark named `{name}`; there are: {}", names.join(", "));
    };
    (bench.run)(&arguments.arguments)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs cargo and expects success.
fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program).args(arguments).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}
