//! The log against a model in memory, with the power cut between any two changes of the storage.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use engine_log::{Durability, Log, LogOptions, Retention};
use fastrand::Rng;
use proptest::prelude::*;
use support::{Memory, open, read_from, small};

#[derive(Clone, Debug)]
enum Step {
    /// Appends records of these lengths, and waits for them.
    Append(Vec<u16>, Durability),
    /// Gives up this share of what is there, in 1/255.
    Done(u8),
    /// Lets so many more changes of the storage succeed, then none.
    CutAfter(u8),
    Crash(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let durability = prop_oneof![Just(Durability::None), Just(Durability::Os), Just(Durability::Fsync)];
    prop_oneof![
        6 => (prop::collection::vec(0..400_u16, 1..8), durability).prop_map(|(l, d)| Step::Append(l, d)),
        2 => prop_oneof![any::<u8>(), Just(255)].prop_map(Step::Done),
        2 => (0..24_u8).prop_map(Step::CutAfter),
        3 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Reopen),
    ]
}

struct Model {
    storage: Arc<Memory>,
    options: LogOptions,
    log: Option<Log>,
    /// Every payload that was ever given to a sequence: without an acknowledgement it may be there or not.
    appended: BTreeMap<u64, Vec<Vec<u8>>>,
    /// What must be there, unless it is done.
    acknowledged: BTreeMap<u64, Vec<u8>>,
    count: u64,
}

impl Model {
    fn new(retention: Retention) -> Self {
        let storage = Memory::with_files(BTreeMap::new());
        let options = LogOptions { retention, ..small() };
        let log = Some(open(&storage, &options).0);
        let (appended, acknowledged) = (BTreeMap::new(), BTreeMap::new());
        Self { storage, options, log, appended, acknowledged, count: 0 }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("open")
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(lengths, durability) => self.append(lengths, *durability),
            Step::Done(share) => self.done(*share),
            Step::CutAfter(steps) => self.storage.faults.steps.store(i64::from(*steps), SeqCst),
            Step::Crash(seed) => {
                // the crash comes before the orderly end
                self.storage.faults.steps.store(0, SeqCst);
                self.log = None;
                self.crash(*seed);
                self.open();
            }
            Step::Reopen => {
                let closed = self.log.take().expect("open").close().is_ok();
                if !closed {
                    self.crash(self.count);
                }
                self.open();
            }
        }
    }

    /// Some crashes are followed by one while the log is opened.
    fn crash(&mut self, seed: u64) {
        self.storage = self.storage.crash(&mut Rng::with_seed(seed));
        if seed.is_multiple_of(4) {
            self.storage.faults.steps.store((seed / 4 % 12) as i64, SeqCst);
        }
    }

    fn append(&mut self, lengths: &[u16], durability: Durability) {
        let mut tickets = Vec::new();
        for length in lengths {
            self.count += 1;
            let mut payload = self.count.to_le_bytes().to_vec();
            payload.resize(8 + usize::from(*length), *length as u8);
            let (head, body) = payload.split_at(payload.len() / 3);
            match self.log().append(head, body, durability) {
                Ok(ticket) => {
                    self.appended.entry(ticket.sequence()).or_default().push(payload.clone());
                    tickets.push((ticket, payload));
                }
                Err(error) => assert!(self.log().stats().broken, "{error}"),
            }
        }
        for (ticket, payload) in tickets {
            if let (Ok(sequence), Durability::Fsync) = (ticket.wait(), durability) {
                let before = self.acknowledged.insert(sequence, payload);
                assert_eq!(before, None, "an acknowledged sequence was given again");
            }
        }
    }

    fn done(&mut self, share: u8) {
        let range = self.log().sequences();
        let mark = range.start + (range.end - range.start) * u64::from(share) / 255;
        let given_up: Vec<u64> = self.acknowledged.range(..mark).map(|(sequence, _)| *sequence).collect();
        match self.options.retention {
            Retention::Mark => self.log().set_mark(mark),
            Retention::References => given_up.iter().for_each(|sequence| {
                assert!(self.log().release(*sequence));
            }),
        }
        for sequence in given_up {
            self.acknowledged.remove(&sequence);
        }
    }

    fn open(&mut self) {
        let (log, report) = loop {
            match Log::open_storage(self.storage.clone(), self.options.clone()) {
                Ok(opened) => break opened,
                Err(error) => assert!(self.storage.faults.steps.load(SeqCst) <= 0, "{error}"),
            }
            self.crash(self.count * 4 + 1);
        };
        let highest = self.acknowledged.keys().next_back().copied().unwrap_or_default();
        assert!(report.next > highest, "{report:?}");
        if self.options.retention == Retention::References {
            for sequence in self.acknowledged.keys() {
                assert!(log.retain(*sequence), "{sequence} is not there: {report:?}");
            }
            log.retained_all();
        }
        self.log = Some(log);
        self.check();
    }

    fn check(&self) {
        let found = read_from(self.log(), 0);
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "out of order");
        for (sequence, payload) in &found {
            let known = self.appended.get(sequence);
            assert!(
                known.is_some_and(|payloads| payloads.contains(payload)),
                "{sequence} was never appended"
            );
        }
        let found: BTreeMap<u64, Vec<u8>> = found.into_iter().collect();
        for (sequence, payload) in &self.acknowledged {
            assert_eq!(found.get(sequence), Some(payload), "{sequence} is lost");
            let read = self.log().read(*sequence).expect("reads");
            assert_eq!(read.as_deref(), Some(payload.as_slice()), "{sequence} is not found alone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost(steps in prop::collection::vec(step(), 1..30), references in any::<bool>()) {
        let mut model = Model::new(if references { Retention::References } else { Retention::Mark });
        for step in &steps {
            model.run(step);
        }
        model.run(&Step::Reopen);
    }

    /// Whatever the files hold, the log opens, reads to the end, and takes a record.
    #[test]
    fn random_bytes_never_panic(
        files in prop::collection::btree_map(file_name(), prop::collection::vec(any::<u8>(), 0..600), 0..4),
        zeros in 0..100_usize,
    ) {
        let files = files.into_iter().map(|(name, mut bytes)| {
            bytes.resize(bytes.len() + zeros, 0);
            (name, bytes)
        });
        survives(files.collect());
    }

    #[test]
    fn damaged_files_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let storage = Memory::with_files(BTreeMap::new());
        let log = open(&storage, &small()).0;
        for length in 0..30 {
            drop(log.append(&[7; 3], &vec![9; length * 5], Durability::None).unwrap());
        }
        log.close().unwrap();
        let mut files = storage.files();
        let total: usize = files.values().map(Vec::len).sum();
        for (index, change) in flips {
            let mut at = index.index(total);
            for bytes in files.values_mut() {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= change;
                    break;
                }
                at -= bytes.len();
            }
        }
        survives(files);
    }
}

fn file_name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0..1000_u64, any::<bool>()).prop_map(|(first, corrupt)| {
            format!("{first:020}.log{}", if corrupt { ".corrupt" } else { "" })
        }),
        1 => Just("mark".to_owned()),
        1 => Just("00000000000000000009.log.tmp".to_owned()),
    ]
}

fn survives(files: BTreeMap<String, Vec<u8>>) {
    let storage = Memory::with_files(files);
    for _ in 0..2 {
        let log = open(&storage, &small()).0;
        let before = read_from(&log, 0);
        let sequence = log.append(b"a", b"b", Durability::Fsync).unwrap().wait().unwrap();
        assert!(before.iter().all(|record| record.0 < sequence));
        assert_eq!(read_from(&log, sequence), [(sequence, b"ab".to_vec())]);
        log.close().unwrap();
    }
}
