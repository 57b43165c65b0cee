//! `kill -9` at random moments: whatever was acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use engine_log::{Durability, Log, LogOptions};

const FOLDER: &str = "ENGINE_LOG_KILLED_FOLDER";
const ROUNDS: u64 = 20;

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, free_bytes_min: 0, ..LogOptions::default() }
}

/// Says what record the appender wrote, so that a mix-up is seen.
fn payload(appender: u64, count: u64) -> Vec<u8> {
    let mut payload = format!("{appender} {count} ").into_bytes();
    payload.resize(payload.len() + (count * 37 % 600) as usize, b'x');
    payload
}

/// The process that is killed. It does nothing when run as a test among others.
#[test]
fn killed_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let log = Arc::new(Log::open(folder.as_ref(), options()).unwrap().0);
    let appenders: Vec<_> = (0..4)
        .map(|appender| {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for count in 0.. {
                    let ticket = log.append(b"", &payload(appender, count), Durability::Fsync).unwrap();
                    let sequence = ticket.wait().unwrap();
                    writeln!(std::io::stdout(), "acked {sequence} {appender} {count}").unwrap();
                }
            })
        })
        .collect();
    appenders.into_iter().for_each(|appender| appender.join().unwrap());
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, u64, u64)> = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(folder.path().to_str().unwrap()));
        let (log, report) = Log::open(folder.path(), options()).unwrap();
        assert_eq!((report.corrupt_segments, report.gap_count), (0, 0), "round {round}: {report:?}");
        for (sequence, appender, count) in &acknowledged {
            let found = log.read(*sequence).unwrap();
            assert_eq!(
                found.as_deref(),
                Some(payload(*appender, *count).as_slice()),
                "round {round}: {sequence}"
            );
        }
    }
    assert!(acknowledged.len() as u64 >= ROUNDS, "only {} records", acknowledged.len());
}

fn run_and_kill(folder: &str) -> Vec<(u64, u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_process", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            // the test harness prints before the first of them, on the same line
            let Some((_, numbers)) = line.split_once("acked ") else { continue };
            let numbers: Vec<u64> = numbers.split(' ').map_while(|number| number.parse().ok()).collect();
            if let [sequence, appender, count] = numbers[..] {
                acknowledged.push((sequence, appender, count));
            }
        }
        acknowledged
    });
    thread::park_timeout(Duration::from_millis(50 + fastrand::u64(..150)));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}
