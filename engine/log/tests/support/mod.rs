//! A storage in memory that knows what a power cut would leave, and that fails on demand.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use engine_log::{Log, LogOptions, OpenReport, Storage, StorageFile};
use fastrand::Rng;

type Files = BTreeMap<String, Arc<MemoryFile>>;

#[derive(Default)]
pub(crate) struct Memory {
    /// Names as they are, and as they were when the folder was last synced.
    names: Mutex<(Files, Files)>,
    pub(crate) faults: Arc<Faults>,
}

pub(crate) struct Faults {
    /// So many changes succeed before the power is cut.
    pub(crate) steps: AtomicI64,
    pub(crate) sync_fails: AtomicBool,
    /// Bytes that may still be written.
    pub(crate) free: AtomicU64,
    /// Held by a test to stop the writer.
    pub(crate) writing: Mutex<()>,
    /// Bytes of every file that cannot be read.
    pub(crate) bad: Mutex<Range<u64>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            steps: AtomicI64::new(i64::MAX),
            sync_fails: false.into(),
            free: AtomicU64::new(u64::MAX),
            writing: Mutex::default(),
            bad: Mutex::new(0..0),
        }
    }
}

impl Faults {
    fn step(&self) -> io::Result<()> {
        match self.steps.fetch_sub(1, SeqCst) {
            left if left > 0 => Ok(()),
            _ => Err(io::Error::other("the power is cut")),
        }
    }
}

#[derive(Default)]
pub(crate) struct MemoryFile {
    /// Bytes as they are, and as they were when last synced.
    data: Mutex<(Vec<u8>, Vec<u8>)>,
    faults: Arc<Faults>,
}

impl Memory {
    pub(crate) fn with_files(files: BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let faults = Arc::<Faults>::default();
        let file = |bytes: Vec<u8>| {
            Arc::new(MemoryFile { data: Mutex::new((bytes.clone(), bytes)), faults: Arc::clone(&faults) })
        };
        let files: Files = files.into_iter().map(|(name, bytes)| (name, file(bytes))).collect();
        Arc::new(Self { names: Mutex::new((files.clone(), files)), faults: Arc::clone(&faults) })
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names();
        names.0.iter().map(|(name, file)| (name.clone(), file.data.lock().unwrap().0.clone())).collect()
    }

    /// What is found after the power was cut: all that was synced, and of the rest a part, perhaps damaged.
    pub(crate) fn crash(&self, rng: &mut Rng) -> Arc<Self> {
        let names = self.names();
        let files = if rng.bool() { &names.0 } else { &names.1 };
        Self::with_files(files.iter().map(|(name, file)| (name.clone(), file.after_crash(rng))).collect())
    }

    fn names(&self) -> MutexGuard<'_, (Files, Files)> {
        self.names.lock().unwrap()
    }
}

impl MemoryFile {
    fn after_crash(&self, rng: &mut Rng) -> Vec<u8> {
        let (now, synced) = &*self.data.lock().unwrap();
        if now.len() < synced.len() {
            return if rng.bool() { now.clone() } else { synced.clone() };
        }
        let mut left = now[..rng.usize(synced.len()..=now.len())].to_vec();
        let unsynced = &mut left[synced.len()..];
        match rng.u8(..4) {
            0 if !unsynced.is_empty() => {
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..unsynced.len());
                    unsynced[at] ^= 1 << rng.u8(..8);
                }
            }
            1 => unsynced.fill(0),
            2 => left.resize(now.len() + rng.usize(..100), 0),
            _ => {}
        }
        left
    }
}

impl Storage for Memory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files().into_iter().map(|(name, bytes)| (name, bytes.len() as u64)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.faults.step()?;
        let file = Arc::new(MemoryFile { faults: Arc::clone(&self.faults), ..MemoryFile::default() });
        self.names().0.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.names().0.get(name).cloned();
        Ok(file.ok_or(ErrorKind::NotFound)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.step()?;
        let file = self.names().0.remove(from).ok_or(ErrorKind::NotFound)?;
        self.names().0.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.step()?;
        self.names().0.remove(name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.faults.step()?;
        let mut names = self.names();
        names.1 = names.0.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.faults.free.load(SeqCst))
    }
}

impl StorageFile for MemoryFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (start, end) = (offset, offset + buffer.len() as u64);
        let bad = self.faults.bad.lock().unwrap();
        if start < bad.end && bad.start < end {
            return Err(io::Error::other("bad sector"));
        }
        let data = self.data.lock().unwrap();
        let bytes = data.0.get(start as usize..end as usize).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let _gate = self.faults.writing.lock().unwrap();
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let free = self.faults.free.load(SeqCst);
        let mut result = self.faults.step();
        if result.is_err() {
            bytes.truncate(bytes.len() / 2);
        }
        if bytes.len() as u64 > free {
            bytes.truncate(free as usize);
            result = Err(ErrorKind::StorageFull.into());
        }
        self.faults.free.fetch_sub(bytes.len() as u64, SeqCst);
        let data = &mut self.data.lock().unwrap().0;
        data.truncate(offset as usize);
        data.extend(bytes);
        result
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.step()?;
        if self.faults.sync_fails.load(SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let mut data = self.data.lock().unwrap();
        data.1 = data.0.clone();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.faults.step()?;
        self.data.lock().unwrap().0.resize(length as usize, 0);
        Ok(())
    }
}

/// Small segments, no waiting.
pub(crate) fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 512,
        free_bytes_min: 0,
        sync_interval: std::time::Duration::from_secs(3600),
        mark_interval: std::time::Duration::ZERO,
        ..LogOptions::default()
    }
}

#[track_caller]
pub(crate) fn open(storage: &Arc<Memory>, options: &LogOptions) -> (Log, OpenReport) {
    Log::open_storage(Arc::<Memory>::clone(storage), options.clone()).expect("opens")
}

/// All records from a sequence on.
pub(crate) fn read_from(log: &Log, from: u64) -> Vec<(u64, Vec<u8>)> {
    let mut cursor = log.cursor(from);
    let mut records = Vec::new();
    loop {
        let batch = cursor.read(200).expect("reads");
        if batch.is_empty() {
            return records;
        }
        records.extend(batch.iter().map(|(sequence, payload)| (sequence, payload.to_vec())));
    }
}

/// A report of one gap.
pub(crate) fn gap(range: Range<u64>) -> Vec<Range<u64>> {
    Vec::from([range])
}

/// Sequences of all records.
pub(crate) fn sequences(log: &Log) -> Vec<u64> {
    read_from(log, 0).into_iter().map(|(sequence, _)| sequence).collect()
}
