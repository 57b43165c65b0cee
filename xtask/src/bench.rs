//! `cargo xtask bench`: the table of benchmarks.

use std::process::ExitCode;

use anyhow::bail;
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

const BENCHES: &[Bench] = &[];

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
