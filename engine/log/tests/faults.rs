//! What appenders and owners are told when the disk is full, slow or broken, and when limits are met.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use engine_log::{AppendError, CommitError, Durability, Log, LogOptions, OpenError};
use support::{Memory, gap, open, read_from, sequences, small};

fn empty() -> Arc<Memory> {
    Memory::with_files(BTreeMap::new())
}

#[track_caller]
fn append(log: &Log, body: &[u8]) -> Result<u64, CommitError> {
    log.append(b"", body, Durability::Fsync).expect("is taken").wait()
}

#[test]
fn a_full_disk_fails_one_write_and_not_the_log() {
    let storage = empty();
    let log = open(&storage, &small()).0;
    assert_eq!(append(&log, b"one").unwrap(), 1);
    storage.faults.free.store(10, SeqCst);
    let CommitError::Write(error) = append(&log, b"two").unwrap_err() else { panic!("not a write") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    // also when a new segment is needed
    assert!(matches!(append(&log, &[0; 600]), Err(CommitError::Write(_))));
    storage.faults.free.store(1 << 20, SeqCst);
    assert_eq!(append(&log, b"four").unwrap(), 4);
    assert_eq!(read_from(&log, 0), [(1, b"one".to_vec()), (4, b"four".to_vec())]);
    assert_eq!((log.stats().records_failed, log.stats().broken), (2, false));
    log.close().unwrap();
    let report = open(&storage, &small()).1;
    assert_eq!((report.gaps, report.torn_bytes, report.corrupt_segments), (gap(2..4), 0, 0));
}

#[test]
fn little_free_space_refuses_appends_until_there_is_more() {
    let storage = empty();
    storage.faults.free.store(999, SeqCst);
    let options = LogOptions { free_bytes_min: 1000, ..small() };
    let log = open(&storage, &options).0;
    let first = log.append(b"", b"x", Durability::Fsync);
    let refused = |result: Result<_, AppendError>| matches!(result, Err(AppendError::DiskLow));
    // the writer may not have looked yet; then the write fails
    assert!(refused(first.map(|ticket| assert!(ticket.wait().is_err()))) || log.stats().disk_low);
    assert!(refused(log.append(b"", b"x", Durability::None).map(drop)));
    storage.faults.free.store(1 << 20, SeqCst);
    let start = Instant::now();
    while log.append(b"", b"x", Durability::None).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "never looked again");
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_failed_sync_breaks_the_log_until_it_is_opened_again() {
    let storage = empty();
    let log = open(&storage, &small()).0;
    append(&log, b"one").unwrap();
    storage.faults.sync_fails.store(true, SeqCst);
    let waiting: Vec<_> = (0..5).map(|_| log.append(b"", b"more", Durability::Fsync)).collect();
    for ticket in waiting {
        let error = match ticket {
            Ok(ticket) => ticket.wait().unwrap_err(),
            Err(AppendError::Broken(error)) => error,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(
            error.source().map(ToString::to_string).unwrap(),
            io::Error::from_raw_os_error(5).to_string()
        );
    }
    // the disk is well again, but nobody knows what it holds
    storage.faults.sync_fails.store(false, SeqCst);
    for durability in [Durability::None, Durability::Os, Durability::Fsync] {
        assert!(matches!(log.append(b"", b"", durability), Err(AppendError::Broken(CommitError::Sync(_)))));
    }
    assert_eq!(sequences(&log)[0], 1, "reading goes on");
    assert!(log.stats().broken);
    assert!(log.close().is_err());
    let log = open(&storage, &small()).0;
    let sequence = append(&log, b"after").unwrap();
    assert!(sequence > 1 && sequences(&log).contains(&1));
}

#[test]
fn what_waits_is_bounded() {
    let storage = empty();
    let options = LogOptions { record_bytes_max: 1000, pending_bytes_max: 5000, ..small() };
    let log = open(&storage, &options).0;
    assert!(matches!(
        log.append(&[0; 500], &[0; 501], Durability::None),
        Err(AppendError::TooLarge { bytes: 1001, bytes_max: 1000 })
    ));
    let gate = storage.faults.writing.lock().unwrap();
    let mut taken = Vec::new();
    let refused = loop {
        match log.append(&[0; 500], &[0; 500], Durability::Fsync) {
            Ok(ticket) => taken.push(ticket),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert_eq!(taken.len(), 5000 / Log::pending_cost(1000));
    drop(gate);
    for ticket in taken {
        ticket.wait().unwrap();
    }
    let contradiction = LogOptions { record_bytes_max: 5000, ..options };
    assert!(matches!(Log::open_storage(empty(), contradiction), Err(OpenError::Options(_))));
}

#[test]
fn a_full_log_has_room_again_when_the_oldest_is_done() {
    let options = LogOptions { segment_bytes: 1 << 20, size_bytes_max: 4000, ..small() };
    let log = open(&empty(), &options).0;
    let fill = || loop {
        match log.append(b"", &[0; 100], Durability::Fsync) {
            Ok(ticket) => drop(ticket.wait().unwrap()),
            Err(error) => break error,
        }
    };
    for _ in 0..5 {
        assert!(matches!(fill(), AppendError::LogFull { bytes_max: 4000 }));
        let before = log.segments();
        assert!(before.len() >= 4, "{before:?}");
        log.set_mark(before[0].end);
        while log.segments().len() == before.len() {
            thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(log.segments()[0], before[1]);
        while log.stats().stored_bytes > 4000 - before[0].bytes {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

#[test]
fn closures_are_called_in_order_and_their_panics_stay_with_them() {
    let log = open(&empty(), &small()).0;
    let (sender, receiver) = sync_channel(100);
    for at in 0..50 {
        let sender = sender.clone();
        let done = move |result: Result<u64, CommitError>| {
            sender.send(result.unwrap()).unwrap();
            assert!(at != 10, "a closure panics");
        };
        log.append_then(b"", b"x", Durability::Fsync, done).unwrap();
    }
    assert_eq!(receiver.iter().take(50).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    let sequence =
        log.append_then(b"", b"x", Durability::None, move |result| sender.send(result.unwrap()).unwrap());
    assert_eq!(receiver.try_recv().unwrap(), sequence.unwrap(), "without a wait it is called at once");
}

#[test]
fn a_lone_appender_does_not_wait_for_company() {
    let log = open(&empty(), &LogOptions { collect_max: Duration::from_secs(40), ..small() }).0;
    let start = Instant::now();
    for _ in 0..20 {
        append(&log, b"x").unwrap();
        // nobody waits for this one, and it holds nobody up
        drop(log.append(b"", b"y", Durability::None).unwrap());
    }
    log.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn tickets_are_awaited_without_a_runtime() {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let log = open(&empty(), &small()).0;
    let mut ticket = log.append(b"", b"x", Durability::Fsync).unwrap();
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    while std::pin::Pin::new(&mut ticket).poll(&mut context).is_pending() {
        thread::park();
    }
    assert_eq!(ticket.result().unwrap().unwrap(), ticket.sequence());
}

#[test]
fn many_appenders_share_syncs_and_the_last_one_may_drop_the_log() {
    let log = Arc::new(open(&empty(), &LogOptions { segment_bytes: 1 << 20, ..small() }).0);
    let together = Arc::new(Barrier::new(8));
    let appenders = (0..8_u8).map(|appender| {
        let (log, together) = (Arc::clone(&log), Arc::clone(&together));
        thread::spawn(move || {
            together.wait();
            let append = |at: u8| (append(&log, &[appender, at]).unwrap(), vec![appender, at]);
            (0..100).map(append).collect::<Vec<_>>()
        })
    });
    let appenders: Vec<_> = appenders.collect();
    let mut told: Vec<_> = appenders.into_iter().flat_map(|appender| appender.join().unwrap()).collect();
    told.sort();
    assert_eq!(read_from(&log, 0), told);
    assert!(log.stats().syncs < 800, "{:?}", log.stats());
    // a closure may hold the log itself
    let (sender, receiver) = sync_channel(1);
    let own = Arc::clone(&log);
    log.append_then(b"", b"", Durability::Fsync, move |result| {
        sender.send(result).unwrap();
        drop(own);
    })
    .unwrap();
    drop(log);
    receiver.recv().unwrap().unwrap();
}

#[test]
fn a_cursor_follows_the_writer() {
    let log = open(&empty(), &small()).0;
    let mut cursor = log.cursor(0);
    for round in 1..40_u64 {
        assert!(cursor.read(1000).unwrap().is_empty());
        append(&log, &[1; 100]).unwrap();
        let batch = cursor.read(1).unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [(round, [1; 100].as_slice())]);
        assert_eq!((batch.iter_shared().len(), cursor.position()), (1, round + 1));
    }
    cursor.seek(20);
    assert_eq!(cursor.read(1).unwrap().iter().next().unwrap().0, 20);
    assert_eq!(log.read(40).unwrap(), None);
    assert_eq!(log.read(0).unwrap(), None);
}

#[test]
fn records_around_a_bad_sector_are_delivered() {
    let storage = empty();
    let options = LogOptions { segment_bytes: 1 << 20, ..small() };
    let log = open(&storage, &options).0;
    for _ in 0..200 {
        append(&log, &[3; 984]).unwrap();
    }
    log.close().unwrap();
    *storage.faults.bad.lock().unwrap() = 100_000..100_512;
    let (log, report) = open(&storage, &options);
    assert_eq!((report.corrupt_segments, report.gap_count), (1, 1));
    let lost = report.gaps[0].clone();
    assert!(lost.end - lost.start < 8, "{report:?}");
    let expected: Vec<u64> = (1..=200).filter(|sequence| !lost.contains(sequence)).collect();
    assert_eq!(sequences(&log), expected);
    assert_eq!(append(&log, b"more").unwrap(), report.next);
}
