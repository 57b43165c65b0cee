//! `cargo xtask fuzz`: hostile input for as long as one likes.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

/// What is fed with hostile input.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The protocol of connections: hostile clients beside healthy ones, without sockets.
    Broker,
    /// The MQTT decoder and encoder, guided by coverage. Needs a nightly compiler and `cargo install cargo-fuzz`.
    Codec,
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// What is tried.
    target: Target,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Where to begin; a failure names its seed. Otherwise a new place each time.
    #[arg(long)]
    seed: Option<u32>,
}

/// Runs a target until it fails or the time is over.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = match arguments.target {
        Target::Broker => broker(arguments),
        Target::Codec => codec(arguments)?,
    };
    let status = command.status().context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn seed(arguments: &Arguments) -> u32 {
    // a hasher begins with a number that is left to chance
    arguments.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() as u32)
}

fn broker(arguments: &Arguments) -> Command {
    let mut command = Command::new(cargo());
    command.args(["test", "-p", "broker-core", "--test", "hostile", "--", "--nocapture"]);
    command.env("SLUICE_FUZZ_SECONDS", arguments.seconds.to_string());
    command.env("SLUICE_FUZZ_SEED", seed(arguments).to_string());
    command
}

fn codec(arguments: &Arguments) -> anyhow::Result<Command> {
    let has_fuzz = Command::new("cargo").args(["fuzz", "--version"]).output();
    if !has_fuzz.is_ok_and(|output| output.status.success()) {
        bail!("cargo-fuzz is not there: `cargo install cargo-fuzz`");
    }
    // not the cargo that runs us: that one has its toolchain already
    let mut command = Command::new("cargo");
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command.args(["+nightly", "fuzz", "run", "decode", "--"]);
    command.arg(format!("-max_total_time={}", arguments.seconds));
    command.arg(format!("-seed={}", seed(arguments)));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in a folder")?;
    command.current_dir(folder.join("broker/codec"));
    Ok(command)
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
