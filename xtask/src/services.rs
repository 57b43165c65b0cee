//! `cargo xtask services`: start and stop what tests talk to.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use tests_services::{
    Addresses, POSTGRES, PYTHON, PostgresServer, ServiceError, ensure_python, is_left_out, remove_abandoned,
};

#[derive(Clone, Copy, Subcommand)]
pub(crate) enum Action {
    /// Install what is missing, start what does not run, and print the addresses.
    Up,
    /// Stop everything, also what a killed test left behind.
    Down,
    /// Tell what runs.
    Status,
}

/// A service: its name in `SLUICE_TEST_WITHOUT`, the variable with its address, and how it comes and goes.
struct Service {
    name: &'static str,
    variable: &'static str,
    up: fn() -> Result<String, ServiceError>,
    down: fn() -> Result<(), ServiceError>,
    is_up: fn(address: &str) -> bool,
}

const SERVICES: &[Service] = &[
    Service {
        name: "postgres",
        variable: POSTGRES,
        up: || {
            PostgresServer::ensure_installed()?;
            let server = PostgresServer::shared()?;
            server.start()?;
            server.url()
        },
        down: || match PostgresServer::shared() {
            Ok(server) => server.stop().and_then(|()| remove_abandoned()),
            Err(ServiceError::NotInstalled { .. }) => Ok(()),
            Err(error) => Err(error),
        },
        is_up: |_| PostgresServer::shared().is_ok_and(|server| server.is_running()),
    },
    Service {
        name: "python",
        variable: PYTHON,
        up: || Ok(ensure_python()?.display().to_string()),
        down: || Ok(()),
        is_up: |interpreter| std::path::Path::new(interpreter).exists(),
    },
];

/// Does what was asked.
pub(crate) fn run(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Up => {
            for (name, address) in up()?.iter() {
                println!("{name}={address}");
            }
        }
        Action::Down => down()?,
        Action::Status => status(),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts all services that are not left out on request.
pub(crate) fn up() -> anyhow::Result<Addresses> {
    let mut addresses = Addresses::load();
    for service in SERVICES.iter().filter(|service| !is_left_out(service.name)) {
        let address =
            (service.up)().with_context(|| format!("cannot start the service `{}`", service.name))?;
        addresses.set(service.variable, address);
    }
    addresses.save()?;
    Ok(addresses)
}

/// Stops all services.
pub(crate) fn down() -> anyhow::Result<()> {
    let mut addresses = Addresses::load();
    for service in SERVICES {
        (service.down)().with_context(|| format!("cannot stop the service `{}`", service.name))?;
        addresses.remove(service.variable);
    }
    addresses.save()?;
    Ok(())
}

/// Names of the services that run now.
pub(crate) fn running() -> Vec<&'static str> {
    let addresses = Addresses::load();
    let runs = |service: &&Service| addresses.get(service.variable).is_some_and(service.is_up);
    SERVICES.iter().filter(runs).map(|service| service.name).collect()
}

/// Tells whether there is a service of that name.
pub(crate) fn exists(name: &str) -> bool {
    SERVICES.iter().any(|service| service.name == name)
}

fn status() {
    let running = running();
    let addresses = Addresses::load();
    for service in SERVICES {
        match addresses.get(service.variable).filter(|_| running.contains(&service.name)) {
            Some(address) => println!("{:<10} up    {address}", service.name),
            None => println!("{:<10} down", service.name),
        }
    }
}
