//! The thread that writes traces into their files, behind a bounded queue.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use engine_event::{TraceEvent, TraceLevel, TraceSet, Tracer, Value};
use parking_lot::Mutex;
use tracing::error;

use super::format::Format;

/// Lines that wait to be written at most, and their bytes.
const QUEUE_LINES: usize = 16 * 1024;
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Lines written before the files are flushed.
const BATCH: usize = 1024;

/// How soon lost lines are told of when nothing else is written.
const TICK: Duration = Duration::from_millis(250);

const NUMBERS: usize = TraceSet::NUMBERS as usize;

/// Takes lines from every thread, and has them written by one.
#[derive(Debug)]
pub(super) struct TraceWriter {
    queue: SyncSender<Work>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes of the lines that wait.
    waiting: AtomicUsize,
    /// Lines that there was no room for and that nobody was told of, by number of the trace.
    lost: [AtomicU64; NUMBERS],
    /// The traces that can write no more, as bits.
    full: AtomicU64,
    files: Mutex<[Option<TraceFile>; NUMBERS]>,
}

#[derive(Debug)]
enum Work {
    Line(TraceSet, Box<TraceEvent>, usize),
    /// Close the file of a trace, and tell when that is done.
    Close(u8, SyncSender<()>),
    End,
}

/// The file of a trace.
#[derive(Debug)]
struct TraceFile {
    out: BufWriter<File>,
    bytes: u64,
    bytes_max: u64,
    format: Format,
    has_ended: bool,
}

/// Room for the last line of a full file.
const LAST_LINE_BYTES: u64 = 512;

impl TraceWriter {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (queue, work) = sync_channel(QUEUE_LINES);
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            lost: std::array::from_fn(|_| AtomicU64::new(0)),
            full: AtomicU64::new(0),
            files: Mutex::new(std::array::from_fn(|_| None)),
        });
        let of_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("trace-files".to_owned()).spawn(move || of_thread.run(&work))?;
        Ok(Self { queue, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Opens the file of a trace, behind what it has already. Nothing is written before.
    pub(super) fn open(&self, number: u8, path: &Path, bytes_max: u64, format: Format) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let bytes = file.metadata()?.len();
        let number = usize::from(number);
        self.shared.lost[number].store(0, Ordering::Relaxed);
        self.shared.full.fetch_and(!(1 << number), Ordering::Relaxed);
        let file = TraceFile { out: BufWriter::new(file), bytes, bytes_max, format, has_ended: false };
        self.shared.files.lock()[number] = Some(file);
        Ok(())
    }

    /// Writes what waits and closes the file of a trace that takes no more lines. Waits for the disk.
    pub(super) fn close(&self, number: u8) {
        let (done, closed) = sync_channel(1);
        if self.queue.send(Work::Close(number, done)).is_ok() {
            let _ = closed.recv(); // an error: the thread has ended, and with it the file
        }
    }

    /// Returns the traces that can write no more: their files are full, or cannot be written.
    pub(super) fn full(&self) -> TraceSet {
        TraceSet::from_bits(self.shared.full.load(Ordering::Relaxed))
    }

    /// Writes what waits and ends the thread. Waits for the disk.
    pub(super) fn end(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        let _ = self.queue.send(Work::End);
        if thread.join().is_err() {
            error!("the thread that writes traces broke off");
        }
    }
}

impl Tracer for TraceWriter {
    fn trace(&self, to: TraceSet, event: TraceEvent) {
        let size = event.size_bytes();
        let waiting = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        let is_taken = waiting <= QUEUE_BYTES
            && match self.queue.try_send(Work::Line(to, Box::new(event), size)) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !is_taken {
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            for number in to.numbers() {
                self.shared.lost[usize::from(number)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Shared {
    fn run(&self, work: &Receiver<Work>) {
        let mut last_ms = 0;
        loop {
            let mut next = match work.recv_timeout(TICK) {
                Ok(next) => Some(next),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut files = self.files.lock();
            let mut left = BATCH;
            while let Some(taken) = next.take() {
                match taken {
                    Work::Line(to, event, size) => {
                        last_ms = event.at_ms;
                        for number in to.numbers() {
                            self.write(&mut files, number, &event);
                        }
                        self.waiting.fetch_sub(size, Ordering::Relaxed);
                    }
                    Work::Close(number, done) => {
                        self.tell_lost(&mut files, number, last_ms);
                        if let Some(mut file) = files[usize::from(number)].take() {
                            let _ = file.out.flush(); // what cannot be written is lost with the disk
                        }
                        let _ = done.send(()); // who waits may have gone
                    }
                    Work::End => {
                        files.iter_mut().flatten().for_each(|file| drop(file.out.flush()));
                        return;
                    }
                }
                left -= 1;
                if left > 0 {
                    next = work.try_recv().ok();
                }
            }
            for number in 0..TraceSet::NUMBERS {
                self.tell_lost(&mut files, number, last_ms);
                self.flush(&mut files, number);
            }
        }
    }

    fn write(&self, files: &mut [Option<TraceFile>; NUMBERS], number: u8, event: &TraceEvent) {
        self.tell_lost(files, number, event.at_ms);
        let Some(file) = &mut files[usize::from(number)] else { return };
        if let Err(error) = file.write(event) {
            self.give_up(file, number, &error);
        } else if file.has_ended {
            self.full.fetch_or(1 << number, Ordering::Relaxed);
        }
    }

    /// Writes how many lines there was no room for since the last one.
    fn tell_lost(&self, files: &mut [Option<TraceFile>; NUMBERS], number: u8, at_ms: i64) {
        let lost = &self.lost[usize::from(number)];
        if lost.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(file) = &mut files[usize::from(number)] else { return };
        let lines = lost.swap(0, Ordering::Relaxed);
        let event = TraceEvent::new(at_ms, "TRACE", "lines_lost").level(TraceLevel::Error);
        let event = event.with("lines", lines).with("reason", Value::text("the queue was full"));
        if let Err(error) = file.write(&event) {
            self.give_up(file, number, &error);
        }
    }

    fn flush(&self, files: &mut [Option<TraceFile>; NUMBERS], number: u8) {
        let Some(file) = &mut files[usize::from(number)] else { return };
        if !file.has_ended
            && let Err(error) = file.out.flush()
        {
            self.give_up(file, number, &error);
        }
    }

    fn give_up(&self, file: &mut TraceFile, number: u8, error: &io::Error) {
        if !std::mem::replace(&mut file.has_ended, true) {
            error!(%error, "a trace cannot be written and ends");
        }
        self.full.fetch_or(1 << number, Ordering::Relaxed);
    }
}

impl TraceFile {
    fn write(&mut self, event: &TraceEvent) -> io::Result<()> {
        if self.has_ended {
            return Ok(());
        }
        let mut line = String::new();
        self.format.write(event, &mut line);
        if self.bytes + line.len() as u64 + LAST_LINE_BYTES > self.bytes_max {
            self.has_ended = true;
            line.clear();
            let last = TraceEvent::new(event.at_ms, "TRACE", "size_limit_reached").level(TraceLevel::Error);
            self.format.write(&last.with("bytes", self.bytes_max), &mut line);
        }
        self.bytes += line.len() as u64;
        self.out.write_all(line.as_bytes())?;
        if self.has_ended { self.out.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use api::{PayloadEncode, TraceDefinition, TraceFormatter, TraceKind, TraceVerbosity};

    use super::*;

    fn format() -> Format {
        Format::of(&TraceDefinition {
            name: "t".into(),
            kind: TraceKind::ClientId,
            value: "c".into(),
            start_at_ms: 0,
            end_at_ms: None,
            payload_encode: PayloadEncode::Text,
            payload_limit: 0,
            formatter: TraceFormatter::Text,
            level: TraceVerbosity::Debug,
            file: "t.log".into(),
        })
    }

    fn line(number: u64) -> TraceEvent {
        TraceEvent::new(0, "MQTT", "ping").with("n", number)
    }

    #[test]
    fn lines_are_in_their_files_when_these_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let writer = TraceWriter::start().unwrap();
        for number in 0..2 {
            writer.open(number, &folder.path().join(number.to_string()), 1 << 20, format()).unwrap();
        }
        let both = TraceSet::of(0).and(TraceSet::of(1));
        for n in 0..100 {
            writer.trace(if n % 2 == 0 { both } else { TraceSet::of(1) }, line(n));
        }
        writer.close(0);
        writer.trace(TraceSet::of(0), line(100));
        writer.end();
        let lines = |number: u8| {
            let text = std::fs::read_to_string(folder.path().join(number.to_string())).unwrap();
            (text.lines().count(), text.lines().last().unwrap().to_owned())
        };
        assert_eq!(lines(1).0, 100);
        assert_eq!(lines(0).0, 50);
        assert!(lines(0).1.ends_with("msg: ping, n: 98"), "{:?}", lines(0));
    }

    #[test]
    fn what_there_was_no_room_for_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let writer = TraceWriter::start().unwrap();
        writer.open(5, &path, 1 << 30, format()).unwrap();
        let sent = 200;
        {
            // while the files are held, nothing is written: the queue fills up
            let _held = writer.shared.files.lock();
            let big = engine_event::Text::from(vec![b'x'; QUEUE_BYTES / 100]);
            for n in 0..sent {
                writer.trace(TraceSet::of(5), line(n).payload("payload", big.clone()));
            }
        }
        writer.close(5);
        let text = std::fs::read_to_string(&path).unwrap();
        let written = text.lines().filter(|line| line.contains("msg: ping")).count() as u64;
        let told: u64 = text
            .lines()
            .filter_map(|line| {
                line.split_once("msg: lines_lost, lines: ")?.1.split(',').next()?.parse::<u64>().ok()
            })
            .sum();
        assert!(written < sent && told > 0, "{written} {told}");
        assert_eq!(written + told, sent);
        assert_eq!(writer.shared.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_ends_at_its_limit_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let writer = TraceWriter::start().unwrap();
        writer.open(0, &path, 4096, format()).unwrap();
        assert!(writer.full().is_empty());
        for n in 0..1000 {
            writer.trace(TraceSet::of(0), line(n));
        }
        writer.close(0);
        assert_eq!(writer.full(), TraceSet::of(0));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 4096 && text.len() > 3000, "{}", text.len());
        assert!(text.ends_with("msg: size_limit_reached, bytes: 4096\n"), "{text}");
        writer.open(0, &folder.path().join("u"), 4096, format()).unwrap();
        assert!(writer.full().is_empty(), "another one begins anew");
    }
}
