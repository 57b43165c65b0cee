//! `sluice`: an MQTT server with a SQL rule engine and data integration inside.
//!
//! This crate only reads the configuration, wires the parts, starts and stops them, and has the command line.

mod check;
mod cli;
mod clock;
mod config;
mod connectors;
mod ctl;
mod data_dir;
mod editions;
mod eval;
mod listener_config;
mod listener_desk;
mod memory;
mod memory_guard;
mod messaging;
mod mqtt_client;
mod mqtt_config;
mod output;
mod protection;
mod pub_sub;
mod queue_config;
mod rate;
mod reload;
mod rule_files;
mod rule_tests;
mod server;
mod store;
mod toml_file;
mod traces;
mod watermark;
mod zones;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    rustls::crypto::ring::default_provider().install_default().expect("nobody installed a provider before");
    let result = match cli.command {
        Command::Start(options) => start(&options),
        Command::Check(options) => {
            return on_one_thread(check::run(options)).unwrap_or_else(report);
        }
        Command::Test(options) => {
            return on_one_thread(rule_tests::run(options)).unwrap_or_else(report);
        }
        Command::Eval(options) => eval::run(&options),
        Command::Pub(options) => on_one_thread(pub_sub::publish(options)),
        Command::Sub(options) => on_one_thread(pub_sub::subscribe(options)),
        Command::Ctl(options) => on_one_thread(ctl::run(options)),
    };
    result.map_or_else(report, |()| ExitCode::SUCCESS)
}

fn report(error: anyhow::Error) -> ExitCode {
    if error.is::<output::Closed>() {
        return ExitCode::SUCCESS;
    }
    if !error.is::<output::AlreadySaid>() {
        output::error_line(format_args!("sluice: {error:#}"));
    }
    ExitCode::FAILURE
}

fn start(options: &cli::Start) -> anyhow::Result<()> {
    let config = server::configure(options)?;
    tracing_subscriber::fmt()
        .with_env_filter(log_filter(&config.log.level)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sluice")
        .build()?
        .block_on(server::run(config))
}

/// What is logged: SLUICE_LOG wins over the configuration.
fn log_filter(configured: &str) -> anyhow::Result<EnvFilter> {
    let level = std::env::var("SLUICE_LOG").unwrap_or_else(|_| configured.to_owned());
    EnvFilter::try_new(&level).map_err(|_| {
        let expected = "a level such as `info`, or `info,broker_net=debug`";
        anyhow::anyhow!("SLUICE_LOG: expected {expected}, got `{level}`")
    })
}

fn on_one_thread<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}
