//! `cargo xtask …`: every chore of this repository in one place.

#![forbid(unsafe_code)]

mod bench;
mod fuzz;
mod services;
mod summary;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Start the services, run the tests, say what was left out, stop the services.
    Test(test::Arguments),
    /// The real databases and brokers that tests talk to: private instances in the target folder.
    #[command(subcommand)]
    Services(services::Action),
    /// Run a benchmark; without a name, list them. Prints one JSON line per scenario.
    Bench(bench::Arguments),
    /// Feed a part of the server with hostile input, for as long as you like.
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Services(action) => services::run(action),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
