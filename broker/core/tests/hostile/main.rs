//! Hostile clients against the protocol of connections, without sockets: right packets in the wrong order, wrong packets,
//! noise, half packets, clients that do not read, that take each other over and never say goodbye, while healthy
//! clients exchange messages.
//!
//! Nothing may panic; healthy clients lose nothing and get nothing twice; whatever any client is sent keeps to the
//! standard; a broken packet is answered with the code of the standard; in the end nothing is left, and all memory is
//! given back.
//!
//! A run is a seed. `cargo xtask fuzz broker --seconds 3600` tries one after the other; a failure names its seed, and
//! `SLUICE_FUZZ_SEED=<seed>` begins there.

mod around;
mod healthy;
mod link;
mod memory;
mod packets;
mod view;
mod world;

use std::time::{Duration, Instant};

use link::Counts;
use world::World;

/// Steps of one world.
const STEPS: u32 = 1500;

/// Names the seed when a check fails.
struct Running {
    seed: u64,
    step: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SLUICE_FUZZ_SEED={} fails after {} steps", self.seed, self.step);
        }
    }
}

fn run(seed: u64) -> Counts {
    let mut running = Running { seed, step: 0 };
    let mut world = World::new(seed);
    for step in 0..STEPS {
        running.step = step;
        world.step();
    }
    world.end()
}

/// Runs a world, and checks that all memory is given back.
fn run_counted(seed: u64) -> Counts {
    let before = memory::in_use();
    let counts = run(seed);
    let after = memory::in_use();
    assert_eq!(after, before, "seed {seed}: memory is not given back");
    counts
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, expected a number")))
}

#[test]
fn hostile_clients_harm_nobody_and_leave_nothing() {
    let first = number("SLUICE_FUZZ_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(number("SLUICE_FUZZ_SECONDS").unwrap_or(0));
    run(first); // what is made once for the process is made now
    let mut total = Counts::default();
    let mut seed = first;
    let mut said = Instant::now();
    while seed < first + 20 || Instant::now() < end {
        let counts = run_counted(seed);
        total.packets_in += counts.packets_in;
        total.packets_out += counts.packets_out;
        total.refused += counts.refused;
        seed += 1;
        if said.elapsed() >= Duration::from_secs(60) {
            said = Instant::now();
            eprintln!("seeds {first} to {seed}: {total:?}");
        }
    }
    eprintln!("seeds {first} to {seed}: {total:?}");
    assert!(total.packets_in > 20_000 && total.refused > 200, "{total:?}");
}
