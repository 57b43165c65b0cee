//! Prints commits per second with 1, 10 and 50 appenders that each wait for their record:
//! `cargo run --release -p engine-log --example commits [-- FOLDER [SECONDS]]`.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use engine_log::{Durability, Log, LogOptions};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(|| std::env::temp_dir().join("sluice-commits"), PathBuf::from);
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    for durability in [Durability::Fsync, Durability::Os] {
        for appenders in [1, 10, 50] {
            run(&folder, appenders, durability, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

fn run(folder: &PathBuf, appenders: u32, durability: Durability, time: Duration) -> io::Result<()> {
    let (log, _) = Log::open(folder, LogOptions::default()).map_err(io::Error::other)?;
    let (stop, records) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..appenders {
            scope.spawn(|| {
                while start.elapsed() < time && !stop.load(Relaxed) {
                    let ticket = log.append(&[1; 44], &[2; 256], durability);
                    match ticket.map(engine_log::Ticket::wait) {
                        Ok(Ok(_)) => records.fetch_add(1, Relaxed),
                        failed => {
                            stop.store(true, Relaxed);
                            println!("{failed:?}");
                            return;
                        }
                    };
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let (records, stats) = (records.load(Relaxed) as f64, log.stats());
    println!(
        "{durability:?}, {appenders:2} appenders: {:8.0} records/s, {:6.0} syncs/s, {:6.0} writes/s, {:5.1} records a write",
        records / seconds,
        stats.syncs as f64 / seconds,
        stats.writes as f64 / seconds,
        records / stats.writes as f64,
    );
    drop(log);
    std::fs::remove_dir_all(folder)
}
