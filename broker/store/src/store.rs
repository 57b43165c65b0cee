//! The store: a journal in a log, and the thread that keeps it short.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broker_core::{Broker, Journal, Progress, Record, Recovery, RecoveryReport};
use engine_log::{Log, LogOptions, OpenReport, Retention};
use parking_lot::{Condvar, Mutex};
use tracing::{debug, error, info, warn};

use crate::format::{self, BARRIER, FormatError};

/// What "committed" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The kernel has it: it survives the end of the process, not that of the machine.
    Os,
    /// It is on the disk.
    Fsync,
}

/// The limits of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// What "committed" means.
    pub durability: Durability,
    /// Bytes on the disk. What is new is refused from 7/16 of it on.
    pub bytes_max: u64,
    /// Longest time to wait for others before a sync. A lone one does not wait.
    pub commit_window: Duration,
    /// Largest message, with its topic and properties.
    pub message_bytes_max: usize,
    /// The journal is left to grow to this, or a sixteenth of `bytes_max`, before it is written anew.
    pub rewrite_bytes_min: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            bytes_max: 4 << 30,
            commit_window: Duration::from_millis(1),
            message_bytes_max: 1 << 20,
            rewrite_bytes_min: 64 << 20,
        }
    }
}

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log does not open.
    #[error("cannot open the journal of durable sessions")]
    Log(#[from] engine_log::OpenError),
    /// The folder cannot be read.
    #[error("cannot read the journal of durable sessions")]
    Io(#[from] io::Error),
    /// The log cannot be read.
    #[error("cannot read the journal of durable sessions")]
    Read(#[from] engine_log::ReadError),
    /// A record is not known.
    #[error("the journal of durable sessions is from a later version")]
    Format(#[from] FormatError),
    /// A thread does not start.
    #[error("cannot start the thread that keeps the journal short")]
    Thread(#[source] io::Error),
}

/// The durable part of a broker, as long as it runs.
#[derive(Debug)]
pub struct Store {
    journal: Arc<LogJournal>,
    keeper: Option<JoinHandle<()>>,
}

/// Bytes of segments; the journal is given up in such pieces.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Bytes that may wait to be written before connections are paused, before nothing more is admitted, and at most.
const CONGESTED_BYTES: u64 = 32 << 20;
const PENDING_ADMITTED_BYTES: u64 = 128 << 20;
const PENDING_BYTES_MAX: usize = 512 << 20;

/// Bytes that may wait while all is written anew.
const REWRITE_PENDING_BYTES: u64 = 8 << 20;

/// Bytes read at once on opening.
const READ_BYTES: usize = 1 << 20;

/// How often the thread looks, and how long it leaves a failing or full journal alone.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const FULL_INTERVAL: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the journal in a folder, brings back what it says, and has the broker, which nobody uses yet, write into
    /// it from now on.
    ///
    /// # Errors
    /// When the folder cannot be used, or a later version has written it. Damage is no reason: it is logged, and all
    /// that can be read is used.
    pub fn open(
        folder: &Path,
        options: StoreOptions,
        broker: &Arc<Broker>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let record_bytes_max =
            options.message_bytes_max.saturating_add(RECORD_ROOM).min(PENDING_BYTES_MAX / 2);
        let log_options = LogOptions {
            segment_bytes: SEGMENT_BYTES.min(options.bytes_max / 16),
            size_bytes_max: options.bytes_max,
            pending_bytes_max: PENDING_BYTES_MAX,
            record_bytes_max,
            collect_max: options.commit_window,
            retention: Retention::Mark,
            ..LogOptions::default()
        };
        sync_files(folder)?;
        let (log, opened) = Log::open(folder, log_options)?;
        tell_damage(&opened);
        let recovery = read_all(&log)?;
        let stored = log.stats().stored_bytes;
        let journal = LogJournal::new(log, options);
        let report = recovery.finish(broker, Arc::clone(&journal) as _);
        info!(
            sessions = report.sessions,
            subscriptions = report.subscriptions,
            deliveries = report.deliveries,
            retained = report.retained,
            records = opened.records,
            bytes = stored,
            "durable sessions are back"
        );
        if report.lost > 0 {
            error!(deliveries = report.lost, "messages of durable sessions are missing from the journal");
        }
        let keeper = {
            let (journal, broker) = (Arc::clone(&journal), Arc::downgrade(broker));
            thread::Builder::new()
                .name("session-store".to_owned())
                .spawn(move || journal.keep(&broker))
                .map_err(OpenError::Thread)?
        };
        Ok((Self { journal, keeper: Some(keeper) }, report))
    }

    /// Returns how many bytes the journal takes on the disk.
    pub fn stored_bytes(&self) -> u64 {
        self.journal.log.stats().stored_bytes
    }

    /// Has everything that is still of use written anew and the rest given up, and waits for that. Says whether it
    /// worked.
    pub fn rewrite(&self, broker: &Broker) -> bool {
        self.journal.rewrite(broker)
    }

    /// Stops the thread and waits until all that was written down is committed.
    pub fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        *self.journal.stop.lock() = true;
        self.journal.stopped.notify_all();
        if keeper.join().is_err() {
            error!("the thread that keeps the journal short has panicked");
        }
        if self.journal.commit_and_wait().is_none() {
            warn!("not everything of durable sessions could be stored");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Bytes from which on nothing new is admitted: all of that can be written once more, and there is something left.
fn bytes_admitted(options: &StoreOptions) -> u64 {
    options.bytes_max / 16 * 7
}

/// Room for what a record has beside its message: targets, mostly.
const RECORD_ROOM: usize = 32 << 20;

/// Has the disk take what a process that was killed may have left with the kernel only. For before the log is opened: an
/// open one removes files.
fn sync_files(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // the first start
        Err(error) => return Err(error),
    };
    for entry in entries {
        File::open(entry?.path())?.sync_data()?;
    }
    File::open(folder)?.sync_all()
}

fn tell_damage(opened: &OpenReport) {
    if opened.torn_bytes > 0 {
        debug!(bytes = opened.torn_bytes, "cut an append that was interrupted");
    }
    let damaged = opened.corrupt_segments + opened.corrupt_before;
    if damaged > 0 || opened.mark_lost {
        error!(
            segments = damaged,
            unreadable_bytes = opened.unreadable_bytes,
            "the journal of durable sessions is damaged; what can be read is used"
        );
    }
}

fn read_all(log: &Log) -> Result<Recovery, OpenError> {
    let mut recovery = Recovery::new();
    let mut malformed = 0_u64;
    let mut cursor = log.cursor(log.mark());
    loop {
        let batch = cursor.read(READ_BYTES)?;
        if batch.is_empty() {
            break;
        }
        for (_, bytes) in batch.iter() {
            match format::decode(bytes) {
                Ok(record) => recovery.apply(record),
                Err(FormatError::Malformed { .. }) => malformed += 1,
                Err(newer @ FormatError::Version { .. }) => return Err(newer.into()),
            }
        }
    }
    if malformed > 0 {
        error!(records = malformed, "records of durable sessions make no sense and are left out");
    }
    Ok(recovery)
}

/// How the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Health {
    /// Everything that was written down is in the log or on its way.
    Sound = 0,
    /// Something is missing from the log: nothing more is written.
    Failing = 1,
    /// All is being written anew; nothing new is admitted.
    Mending = 2,
}

struct LogJournal {
    this: Weak<Self>,
    log: Log,
    options: StoreOptions,
    health: AtomicU8,
    committed: AtomicU64,
    failed: AtomicU64,
    /// The position of what is thrown away while the journal fails.
    thrown_away: AtomicU64,
    /// Records that the log could not write, when the journal was last sound.
    known_failures: AtomicU64,
    /// Bytes that were appended, and those of them that are written.
    appended_bytes: AtomicU64,
    settled_bytes: AtomicU64,
    /// When so many bytes have been appended, too much is stored for anything new.
    full_at_bytes: AtomicU64,
    /// Records of things that are over, since all was written anew: only then is something gained by that.
    ended: AtomicU64,
    /// It was said in the log that this is so.
    is_full: AtomicBool,
    /// Bytes that writing all anew took the last time.
    live_bytes: AtomicU64,
    /// Held by who rewrites.
    rewriting: Mutex<()>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl std::fmt::Debug for LogJournal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogJournal").field("options", &self.options).finish_non_exhaustive()
    }
}

thread_local! {
    /// Where records are put together.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that has grown beyond this is given back.
const HEAD_BYTES_KEPT: usize = 64 << 10;

impl Journal for LogJournal {
    fn admits(&self, bytes: usize) -> bool {
        self.health() == Health::Sound
            && (bytes == 0 || self.has_room(bytes))
            && self.pending_bytes() < PENDING_ADMITTED_BYTES
    }

    fn append(&self, record: &Record<'_>) -> u64 {
        self.write(record).0
    }

    fn commit(&self, done: Box<dyn FnOnce(bool) + Send>) {
        let mut told = Told(Some(done));
        if self.health() == Health::Failing {
            return; // dropping it tells
        }
        self.barrier(move |committed| told.tell(committed.is_some()));
    }

    fn is_congested(&self) -> bool {
        self.pending_bytes() > CONGESTED_BYTES
    }

    fn progress(&self) -> Progress {
        // in this order: what is committed meanwhile has not failed
        let failed = self.failed.load(Ordering::SeqCst);
        Progress { committed: self.committed.load(Ordering::SeqCst), failed }
    }
}

/// Tells when it is dropped, so that nobody waits for ever for a log that refuses.
struct Told(Option<Box<dyn FnOnce(bool) + Send>>);

impl Told {
    fn tell(&mut self, committed: bool) {
        if let Some(done) = self.0.take() {
            done(committed);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(false);
    }
}

/// The journal while all is written anew: what that takes is given back by its end.
struct Anew<'a>(&'a LogJournal);

impl Journal for Anew<'_> {
    fn admits(&self, bytes: usize) -> bool {
        self.0.admits(bytes)
    }

    fn append(&self, record: &Record<'_>) -> u64 {
        let (position, bytes) = self.0.write(record);
        self.0.full_at_bytes.fetch_add(bytes, Ordering::Relaxed);
        position
    }

    fn commit(&self, done: Box<dyn FnOnce(bool) + Send>) {
        self.0.commit(done);
    }

    fn is_congested(&self) -> bool {
        self.0.is_congested()
    }

    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl LogJournal {
    fn new(log: Log, options: StoreOptions) -> Arc<Self> {
        let stats = log.stats();
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            log,
            health: AtomicU8::new(Health::Sound as u8),
            // all that was read is on the disk
            committed: AtomicU64::new(stats.next - 1),
            failed: AtomicU64::new(0),
            thrown_away: AtomicU64::new(stats.next),
            known_failures: AtomicU64::new(stats.records_failed),
            appended_bytes: AtomicU64::new(0),
            settled_bytes: AtomicU64::new(0),
            full_at_bytes: AtomicU64::new(bytes_admitted(&options).saturating_sub(stats.stored_bytes)),
            ended: AtomicU64::new(1),
            is_full: AtomicBool::new(false),
            live_bytes: AtomicU64::new(0),
            rewriting: Mutex::new(()),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            options,
        })
    }

    /// Appends a record; gives its position and how many bytes it has.
    fn write(&self, record: &Record<'_>) -> (u64, u64) {
        if self.health() == Health::Failing {
            return (self.thrown_away.load(Ordering::SeqCst), 0);
        }
        if record.ends_something() {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        HEAD.with_borrow_mut(|head| {
            let body = format::encode(record, head);
            let bytes = (head.len() + body.len()) as u64;
            let appended = self.log.append_then(head, body, engine_log::Durability::None, |_| ());
            self.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
            if head.capacity() > HEAD_BYTES_KEPT {
                *head = Vec::new();
            }
            match appended {
                Ok(position) => (position, bytes),
                Err(error) => {
                    self.fail(&error);
                    (self.thrown_away.load(Ordering::SeqCst), bytes)
                }
            }
        })
    }

    fn health(&self) -> Health {
        match self.health.load(Ordering::SeqCst) {
            0 => Health::Sound,
            1 => Health::Failing,
            _ => Health::Mending,
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        let appended = self.appended_bytes.load(Ordering::Relaxed);
        appended.saturating_add(bytes as u64) <= self.full_at_bytes.load(Ordering::Relaxed)
    }

    fn pending_bytes(&self) -> u64 {
        let settled = self.settled_bytes.load(Ordering::Relaxed);
        self.appended_bytes.load(Ordering::Relaxed).saturating_sub(settled)
    }

    /// Appends a barrier; `done` hears, on the thread of the log, its position if everything up to it is committed. It
    /// is dropped when the log refuses.
    fn barrier(&self, done: impl FnOnce(Option<u64>) + Send + 'static) {
        let appended_bytes = self.appended_bytes.load(Ordering::Relaxed);
        let durability = match self.options.durability {
            Durability::Os => engine_log::Durability::Os,
            Durability::Fsync => engine_log::Durability::Fsync,
        };
        let journal = Weak::clone(&self.this);
        let result = self.log.append_then(&BARRIER, &[], durability, move |result| {
            let committed = match (journal.upgrade(), result) {
                (Some(journal), Ok(position)) => journal.passed(position, appended_bytes).then_some(position),
                (Some(journal), Err(error)) => {
                    journal.fail(&error);
                    None
                }
                (None, _) => None,
            };
            done(committed);
        });
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    /// Notes that the log has committed a barrier, and says whether that means what it should.
    fn passed(&self, position: u64, appended_bytes: u64) -> bool {
        self.settled_bytes.fetch_max(appended_bytes, Ordering::Relaxed);
        // nobody is told of a record that nobody waits for: one of another write may have failed
        if self.log.stats().records_failed != self.known_failures.load(Ordering::SeqCst) {
            self.fail(&"a write failed");
            return false;
        }
        match self.health() {
            Health::Sound => {
                self.committed.fetch_max(position, Ordering::SeqCst);
                true
            }
            Health::Mending => true,
            Health::Failing => false,
        }
    }

    /// From now on the log lacks something.
    fn fail(&self, error: &dyn std::fmt::Display) {
        if self.health() == Health::Failing {
            return;
        }
        // before anyone throws something away: its position is one that is not committed, and will have failed
        self.thrown_away.fetch_max(self.log.stats().next, Ordering::SeqCst);
        self.failed.store(u64::MAX, Ordering::SeqCst);
        let before = self.health.swap(Health::Failing as u8, Ordering::SeqCst);
        if before == Health::Sound as u8 {
            error!(%error, "durable sessions cannot be stored: what needs that is refused");
        }
    }

    /// Waits until everything that was appended is committed, and returns up to where.
    fn commit_and_wait(&self) -> Option<u64> {
        let (sender, receiver) = mpsc::sync_channel(1);
        if self.health() == Health::Failing {
            return None;
        }
        self.barrier(move |committed| {
            let _ = sender.send(committed); // who waits may have gone
        });
        receiver.recv().ok().flatten()
    }

    /// Looks after the journal until it is told to stop.
    fn keep(&self, broker: &Weak<Broker>) {
        let mut next_try = Instant::now();
        loop {
            {
                let mut stop = self.stop.lock();
                if !*stop {
                    self.stopped.wait_for(&mut stop, LOOK_INTERVAL);
                }
                if *stop {
                    return;
                }
            }
            let Some(broker) = broker.upgrade() else { return };
            // read first: what comes meanwhile counts twice
            let appended = self.appended_bytes.load(Ordering::Relaxed);
            let stats = self.log.stats();
            let room = bytes_admitted(&self.options).saturating_sub(stats.stored_bytes + stats.pending_bytes);
            self.full_at_bytes.store(appended.saturating_add(room), Ordering::Relaxed);
            let is_full = room < self.options.bytes_max / 16;
            let has_ended = self.ended.load(Ordering::Relaxed) > 0;
            if self.is_full.swap(is_full, Ordering::Relaxed) != is_full {
                if is_full {
                    warn!(bytes = stats.stored_bytes, "durable sessions take as much space as they may");
                } else {
                    info!(bytes = stats.stored_bytes, "durable sessions have room again");
                }
            }
            if Instant::now() < next_try {
                continue;
            }
            let failing = self.health() == Health::Failing;
            let live = self.live_bytes.load(Ordering::Relaxed);
            let least = self.options.rewrite_bytes_min.min(self.options.bytes_max / 16);
            let grown = stats.stored_bytes > live.saturating_mul(2).saturating_add(least);
            if failing && stats.broken {
                broker.journal_moved(); // only a restart helps; who came after is told too
                next_try = Instant::now() + RETRY_INTERVAL;
            } else if failing || grown || is_full && has_ended {
                let mended = self.rewrite(&broker);
                let pause = if is_full { FULL_INTERVAL } else { RETRY_INTERVAL };
                next_try = Instant::now() + if mended && !is_full { Duration::ZERO } else { pause };
                if failing {
                    broker.journal_moved();
                }
            }
        }
    }

    /// Writes all anew, gives up what is older, and says whether that worked.
    fn rewrite(&self, broker: &Broker) -> bool {
        let _one = self.rewriting.lock();
        let stats = self.log.stats();
        if self.health() == Health::Failing {
            // what waits hears of its end first: from here on positions count again
            broker.journal_moved();
            self.known_failures.store(stats.records_failed, Ordering::SeqCst);
            self.failed.store(stats.next, Ordering::SeqCst);
            self.health.store(Health::Mending as u8, Ordering::SeqCst);
        }
        let first = self.log.stats().next;
        let before = self.appended_bytes.load(Ordering::Relaxed);
        self.ended.store(0, Ordering::Relaxed);
        let committed =
            if broker.rewrite_journal(&Anew(self), || self.pace()) { self.commit_and_wait() } else { None };
        let Some(position) = committed else {
            self.mending_failed();
            return false;
        };
        let mending = Health::Mending as u8;
        if self.health.load(Ordering::SeqCst) == mending {
            // everything that the broker knows is in the log, whatever was thrown away before
            self.committed.fetch_max(position, Ordering::SeqCst);
            let sound = Health::Sound as u8;
            let sound =
                self.health.compare_exchange(mending, sound, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if !sound {
                return false;
            }
            self.commit_and_wait(); // and what came meanwhile
            info!("durable sessions are stored again");
        }
        self.log.set_mark(first);
        let live = self.appended_bytes.load(Ordering::Relaxed).saturating_sub(before);
        self.live_bytes.store(live, Ordering::Relaxed);
        debug!(bytes = live, "wrote durable sessions anew");
        true
    }

    /// Waits until little waits to be written; ends a rewrite that makes no sense any more.
    fn pace(&self) -> bool {
        if self.health() == Health::Failing || *self.stop.lock() {
            return false;
        }
        self.pending_bytes() < REWRITE_PENDING_BYTES || self.commit_and_wait().is_some()
    }

    fn mending_failed(&self) {
        let (mending, failing) = (Health::Mending as u8, Health::Failing as u8);
        if self.health() == Health::Mending {
            self.thrown_away.fetch_max(self.log.stats().next, Ordering::SeqCst);
            self.failed.store(u64::MAX, Ordering::SeqCst);
            let _ = self.health.compare_exchange(mending, failing, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}
