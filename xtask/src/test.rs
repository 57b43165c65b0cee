//! `cargo xtask test`: the one test command.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use tests_services::{clear_left_out, left_out_services, left_out_tests};

use crate::services;
use crate::summary::Summary;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Leave the services running.
    #[arg(long)]
    keep: bool,
    /// Passed on to `cargo test` instead of `--workspace`, such as `-p engine-sql where_`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_arguments: Vec<String>,
}

/// Runs the tests with their services.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let left_out = left_out_services();
    if let Some(unknown) = left_out.iter().find(|name| !services::exists(name)) {
        bail!("SLUICE_TEST_WITHOUT names `{unknown}`, which is no service");
    }
    clear_left_out();
    // services that ran before stay
    let keep = arguments.keep || !services::running().is_empty();
    let summary = services::up().and_then(|_| run_tests(&arguments.cargo_arguments));
    if !keep {
        services::down()?;
    }
    let mut summary = summary?;
    summary.left_out_services = left_out;
    summary.left_out_tests = left_out_tests();
    println!("{summary}");
    Ok(if summary.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_tests(arguments: &[String]) -> anyhow::Result<Summary> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--no-fail-fast"]);
    if arguments.is_empty() {
        command.arg("--workspace");
    }
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo's output is not there")?;
    let mut summary = Summary::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read cargo's output")?;
        println!("{line}");
        summary.read_line(&line);
    }
    summary.cargo_succeeded = child.wait().context("cannot wait for cargo")?.success();
    Ok(summary)
}
