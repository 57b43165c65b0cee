//! What opening makes of the files of a folder, and which of them are deleted.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use engine_log::format::HEADER_LEN;
use engine_log::{Durability, Log, LogOptions, OpenError, OpenReport, Retention};
use support::{Memory, gap, open, sequences, small};

/// A log with ten records of 100 bytes, four to a segment.
fn ten() -> BTreeMap<String, Vec<u8>> {
    let storage = Memory::with_files(BTreeMap::new());
    let log = open(&storage, &small()).0;
    for at in 0..10 {
        log.append(&[at; 4], &[0; 80], Durability::Fsync).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    storage.files()
}

const RECORD: usize = 100;

fn name(first: u64) -> String {
    format!("{first:020}.log")
}

/// Opens the ten records after a change of their files: what is reported, and what is read.
fn opened(change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> (OpenReport, Vec<u64>, Vec<String>) {
    let mut files = ten();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), [name(1), name(5), name(9), "mark".to_owned()]);
    change(&mut files);
    let storage = Memory::with_files(files);
    let (log, report) = open(&storage, &small());
    let found = sequences(&log);
    let next = log.append(b"", b"", Durability::Fsync).unwrap().wait().unwrap();
    assert_eq!(next, report.next);
    log.close().unwrap();
    let again = open(&storage, &small());
    assert_eq!(again.1.corrupt_segments, 0, "damage is found once");
    assert_eq!(sequences(&again.0), [found.as_slice(), &[next]].concat());
    (report, found, storage.files().into_keys().collect())
}

fn all_but(lost: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let lost: Vec<u64> = lost.into_iter().collect();
    (1..=10).filter(|sequence| !lost.contains(sequence)).collect()
}

#[test]
fn an_orderly_end_leaves_nothing_to_report() {
    let (report, found, _) = opened(|_| {});
    let bytes = (3 * HEADER_LEN + 10 * RECORD) as u64;
    let expected = OpenReport { segments: 3, records: 10, bytes, next: 11, ..OpenReport::default() };
    assert_eq!((report, found), (expected, all_but([])));
}

#[test]
fn a_torn_tail_is_cut() {
    for cut in 1..RECORD {
        let (report, found, _) = opened(|files| {
            let last = files.get_mut(&name(9)).unwrap();
            last.truncate(last.len() - cut);
        });
        assert_eq!((report.next, found), (10, all_but([10])), "cut {cut}");
        assert!(report.torn_bytes + report.zero_bytes == (RECORD - cut) as u64, "cut {cut}: {report:?}");
        assert_eq!((report.corrupt_segments, report.gap_count), (0, 0));
    }
}

#[test]
fn zeros_at_an_end_are_cut() {
    let (report, found, _) = opened(|files| {
        files.values_mut().filter(|bytes| bytes.len() > HEADER_LEN).for_each(|bytes| bytes.resize(5000, 0));
    });
    assert_eq!((report.torn_bytes, report.corrupt_segments, found), (0, 0, all_but([])));
    assert_eq!(report.zero_bytes, 15_000 - (3 * HEADER_LEN + 10 * RECORD) as u64);
}

#[test]
fn a_record_with_damage_is_passed_over() {
    // in each of the segments, also the newest
    for (file, at, lost) in [(1, 1, 2), (5, 0, 5), (9, 0, 9)] {
        let (report, found, names) = opened(|files| {
            files.get_mut(&name(file)).unwrap()[HEADER_LEN + at * RECORD + 50] ^= 1;
        });
        assert_eq!((found, report.corrupt_segments), (all_but([lost]), 1));
        assert_eq!((report.gaps, report.unreadable_bytes), (gap(lost..lost + 1), RECORD as u64));
        assert!(names.contains(&format!("{}.corrupt", name(file))), "{names:?}");
    }
}

#[test]
fn a_segment_with_a_damaged_header_is_read_with_the_salt_of_the_log() {
    let (report, found, _) = opened(|files| files.get_mut(&name(5)).unwrap()[3] ^= 1);
    assert_eq!((found, report.corrupt_segments, report.gap_count), (all_but([]), 1, 0));
}

#[test]
fn a_torn_segment_before_the_newest_is_corrupt() {
    let (report, found, _) = opened(|files| files.get_mut(&name(5)).unwrap().truncate(HEADER_LEN + 350));
    assert_eq!((found, report.corrupt_segments, report.gaps), (all_but([8]), 1, gap(8..9)));
}

#[test]
fn a_missing_segment_is_a_gap() {
    let (report, found, _) = opened(|files| drop(files.remove(&name(5))));
    assert_eq!((found, report.corrupt_segments, report.gaps), (all_but(5..9), 0, gap(5..9)));
}

#[test]
fn a_file_that_is_no_segment_is_set_aside() {
    for bytes in [vec![], vec![1; 10], vec![7; 400], vec![0; 400]] {
        let (report, found, names) = opened(|files| drop(files.insert(name(5), bytes.clone())));
        assert_eq!((found, report.corrupt_segments, report.gaps), (all_but(5..9), 1, gap(5..9)));
        assert!(names.contains(&format!("{}.corrupt", name(5))));
    }
}

#[test]
fn a_short_newest_file_is_one_that_was_never_begun() {
    for bytes in [vec![], vec![1; 10], vec![0; 400]] {
        let (report, found, _) = opened(|files| drop(files.insert(name(11), bytes.clone())));
        assert_eq!((found, report.corrupt_segments, report.next), (all_but([]), 0, 11));
    }
}

#[test]
fn sequences_of_an_unreadable_newest_segment_are_not_given_again() {
    let (report, found, _) = opened(|files| files.get_mut(&name(9)).unwrap().fill(7));
    assert_eq!((found, report.corrupt_segments), (all_but([9, 10]), 1));
    assert!(report.next > 10, "{report:?}");
}

#[test]
fn a_copy_of_a_segment_is_set_aside() {
    let (report, found, _) = opened(|files| {
        let copy = files[&name(5)].clone();
        files.insert(name(7), copy);
    });
    assert_eq!((found, report.corrupt_segments), (all_but([]), 1));
}

#[test]
fn temporary_files_go_and_others_stay() {
    let (report, found, names) = opened(|files| {
        files.insert("mark.tmp".to_owned(), vec![1]);
        files.insert(format!("{}.tmp", name(11)), vec![1; 100]);
        files.insert("notes.txt".to_owned(), vec![1; 100]);
    });
    assert_eq!((found, report.temporary_files), (all_but([]), 2));
    assert!(names.contains(&"notes.txt".to_owned()) && !names.iter().any(|name| name.ends_with(".tmp")));
}

#[test]
fn a_lost_mark_means_reading_all_again() {
    let (report, found, _) = opened(|files| files.get_mut("mark").unwrap()[20] ^= 1);
    assert_eq!((found, report.mark_lost, report.mark), (all_but([]), true, 0));
}

#[test]
fn a_later_version_is_refused_and_left_alone() {
    let mut files = ten();
    let header = &mut files.get_mut(&name(5)).unwrap()[..HEADER_LEN];
    header[8] = 2;
    let crc = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    let storage = Memory::with_files(files.clone());
    let refused = Log::open_storage(storage.clone(), small()).err().expect("refused");
    assert!(matches!(refused, OpenError::Version { version: 2, .. }), "{refused}");
    assert_eq!(storage.files(), files);
}

#[test]
fn segments_below_the_mark_are_deleted_and_the_mark_is_kept() {
    let storage = Memory::with_files(ten());
    let log = open(&storage, &small()).0;
    log.set_mark(7);
    log.set_mark(3);
    log.close().unwrap();
    let (log, report) = open(&storage, &small());
    assert_eq!((report.mark, log.mark(), log.sequences()), (7, 7, 5..11));
    assert_eq!(report.gap_count, 0);
    // the newest segment stays while the log is open
    log.set_mark(1000);
    wait_for(&log, |log| log.sequences() == (9..11));
    log.close().unwrap();
    assert!(storage.files().contains_key(&name(9)));
    // all is done: the mark alone says where sequences go on, also for a log that is smaller now
    for _ in 0..2 {
        let smaller = LogOptions { size_bytes_max: 300, ..small() };
        let (log, report) = open(&storage, &smaller);
        assert_eq!((log.mark(), log.sequences(), report.bytes), (11, 11..11, 0));
        log.close().unwrap();
        assert_eq!(storage.files().into_keys().collect::<Vec<_>>(), ["mark"]);
    }
    let log = open(&storage, &small()).0;
    assert_eq!(log.append(b"", b"", Durability::Fsync).unwrap().wait().unwrap(), 11);
}

#[test]
fn first_sequence_is_a_lower_bound() {
    let storage = Memory::with_files(ten());
    for (first_sequence, next) in [(3, 11), (500, 500)] {
        let log = open(&storage, &LogOptions { first_sequence, ..small() }).0;
        assert_eq!(log.sequences().end, next);
    }
}

#[test]
fn segments_without_references_are_deleted() {
    let storage = Memory::with_files(ten());
    let options = LogOptions { retention: Retention::References, ..small() };
    let log = open(&storage, &options).0;
    let references = |log: &Log| log.segments().iter().map(|s| (s.first, s.references)).collect::<Vec<_>>();
    assert!(log.retain(6) && log.retain(6) && log.retain(10) && !log.retain(11));
    assert_eq!(references(&log), [(1, 0), (5, 2), (9, 1)], "nothing goes before all is told");
    log.retained_all();
    wait_for(&log, |log| references(log) == [(5, 2), (9, 1)]);
    // an append is a reference, and may be released before it is written
    let gate = storage.faults.writing.lock().unwrap();
    let eleven = log.append(b"", &[0; 84], Durability::Fsync).unwrap();
    let twelve = log.append(b"", &[0; 84], Durability::Fsync).unwrap();
    assert!(log.release(twelve.sequence()) && log.retain(eleven.sequence()));
    drop(gate);
    let (eleven, twelve) = (eleven.wait().unwrap(), twelve.wait().unwrap());
    assert_eq!((eleven, twelve), (11, 12));
    assert_eq!(references(&log), [(5, 2), (9, 1), (11, 2)]);
    assert!(log.release(6));
    assert_eq!(references(&log), [(5, 1), (9, 1), (11, 2)]);
    assert!(log.release(6) && log.release(11) && log.release(11));
    wait_for(&log, |log| references(log) == [(9, 1), (11, 0)]);
    assert!(log.release(11));
    assert_eq!(log.stats().released_twice, 1);
    assert!(!log.release(6), "its segment is gone");
}

fn wait_for(log: &Log, condition: impl Fn(&Log) -> bool) {
    for _ in 0..5000 {
        if condition(log) {
            return;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{:?}", log.segments());
}

#[test]
fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), small()).unwrap().0;
    assert!(matches!(Log::open(folder.path(), small()), Err(OpenError::InUse { .. })));
    drop(log);
    for round in 1..20 {
        let (log, report) = Log::open(folder.path(), small()).unwrap();
        assert_eq!((report.next, report.records, report.torn_bytes), (round, round - 1, 0));
        log.append(b"h", &[1; 200], Durability::Fsync).unwrap().wait().unwrap();
        assert_eq!(log.read(round).unwrap().unwrap().len(), 201);
    }
}

#[test]
fn version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let (log, report) = Log::open(folder.path(), small()).unwrap();
    assert_eq!((report.records, report.mark, report.next), (20, 3, 21));
    assert_eq!((report.segments, report.torn_bytes, report.corrupt_segments), (7, 0, 0));
    for sequence in 1..=20_u64 {
        let expected = format!("record {sequence}{}", ".".repeat(100)).into_bytes();
        assert_eq!(log.read(sequence).unwrap().as_deref(), Some(expected.as_slice()));
    }
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// Writes the fixture of the present version, once for each version: `SLUICE_WRITE_FIXTURE=1 cargo test -p engine-log`.
#[test]
fn the_fixture_is_written_on_request() {
    if std::env::var_os("SLUICE_WRITE_FIXTURE").is_none() {
        return;
    }
    let log = Log::open(&fixture(), small()).unwrap().0;
    for sequence in 1..=20 {
        let head = format!("record {sequence}");
        log.append(head.as_bytes(), &[b'.'; 100], Durability::Fsync).unwrap().wait().unwrap();
    }
    log.set_mark(3);
    log.close().unwrap();
    fs::remove_file(fixture().join("lock")).unwrap();
}
