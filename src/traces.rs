//! Traces as the API sees them: made, begun and ended at their time, kept over restarts, and read.

mod archive;
mod format;
mod writer;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use api::{TraceChunk, TraceControl, TraceDefinition, TraceFault, TraceKind, TraceStatus, TraceView};
use async_trait::async_trait;
use broker_codec::topic::validate_topic_filter;
use broker_core::{Broker, TraceSubject};
use engine_event::{Clock, TraceSet};
use engine_runtime::Engine;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::Trace;
use crate::store::SqliteStore;
use format::Format;
use writer::TraceWriter;

/// Folder of the files in the data directory.
const FOLDER: &str = "trace";

/// Traces at most, running or not.
const TRACES_MAX: usize = 30;

/// Bytes of a name at most, of a file name too.
const NAME_BYTES_MAX: usize = 128;

/// How often it is looked whether a trace begins or ends.
const KEEP_EVERY: Duration = Duration::from_millis(200);

/// Pieces of an archive that wait to be sent.
const PIECES: usize = 4;

/// The traces of the server; cheap to clone.
#[derive(Clone)]
pub(crate) struct TraceDesk(Arc<Desk>);

struct Desk {
    folder: PathBuf,
    bytes_max: u64,
    store: SqliteStore,
    broker: Arc<Broker>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    writer: Arc<TraceWriter>,
    traces: Mutex<Entries>,
    /// One change at a time.
    turn: Turn<()>,
    has_ended: AtomicBool,
}

#[derive(Default)]
struct Entries {
    by_name: BTreeMap<String, Entry>,
    next_number: u8,
}

struct Entry {
    definition: TraceDefinition,
    /// Its number while it runs.
    number: Option<u8>,
    has_ended: bool,
}

impl Entries {
    /// Returns a number that no running trace has, and that was not given for the longest time: lines for the one that
    /// had it may still be under way.
    fn free_number(&mut self) -> u8 {
        let is_used = |number: u8| self.by_name.values().any(|entry| entry.number == Some(number));
        let mut number = self.next_number;
        while is_used(number) {
            number = (number + 1) % TraceSet::NUMBERS; // ends: there are more numbers than traces
        }
        self.next_number = (number + 1) % TraceSet::NUMBERS;
        number
    }
}

impl TraceDesk {
    /// Brings the traces of the store back; those that have not ended go on.
    ///
    /// # Errors
    /// When the store cannot be read, or the thread not be started.
    pub(crate) async fn open(
        config: &Trace,
        data_dir: &Path,
        store: SqliteStore,
        broker: &Arc<Broker>,
        engine: &Arc<Engine>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let writer = Arc::new(TraceWriter::start().context("cannot start the thread that writes traces")?);
        broker.set_tracer(Arc::clone(&writer) as _);
        engine.set_tracer(Arc::clone(&writer) as _);
        let mut entries = Entries::default();
        for (name, definition, has_ended) in store.traces().await? {
            match serde_json::from_value::<TraceDefinition>(definition) {
                Ok(definition) => {
                    entries.by_name.insert(name, Entry { definition, number: None, has_ended });
                }
                Err(error) => error!(trace = name, %error, "kept, but not usable"),
            }
        }
        let desk = Self(Arc::new(Desk {
            folder: data_dir.join(FOLDER),
            bytes_max: config.max_file_size.get(),
            store,
            broker: Arc::clone(broker),
            engine: Arc::clone(engine),
            clock,
            writer,
            traces: Mutex::new(entries),
            turn: Turn::default(),
            has_ended: AtomicBool::new(false),
        }));
        desk.keep().await;
        Ok(desk)
    }

    /// Begins the traces whose time has come, and ends those whose time is over or whose files are full.
    async fn keep(&self) {
        let full = self.0.writer.full();
        let now_ms = self.0.clock.now_ms();
        let due: Vec<(String, bool)> = {
            let traces = self.0.traces.lock();
            let due = traces.by_name.iter().filter_map(|(name, entry)| {
                let is_full = entry.number.is_some_and(|number| full.numbers().any(|other| other == number));
                let is_over =
                    is_full || entry.definition.end_at_ms.is_some_and(|end_at_ms| end_at_ms <= now_ms);
                let begins = entry.number.is_none() && entry.definition.start_at_ms <= now_ms;
                (!entry.has_ended && (is_over || begins)).then(|| (name.clone(), is_over))
            });
            due.collect()
        };
        if due.is_empty() {
            return;
        }
        let _turn = self.0.turn.lock().await;
        for (name, is_over) in due {
            let result = if is_over { self.end(&name).await } else { self.begin(&name).await };
            if let Err(fault) = result {
                error!(trace = name, error = %fault, "a trace does not go on");
            }
        }
    }

    /// Has a trace write, with the turn held. One that cannot has ended.
    async fn begin(&self, name: &str) -> Result<(), TraceFault> {
        let desk = Arc::clone(&self.0);
        let of_thread = name.to_owned();
        let begun = blocking(move || desk.begin(&of_thread)).await?;
        if let Err(fault) = begun {
            let _ = self.end(name).await; // why it did not begin says more
            return Err(fault);
        }
        Ok(())
    }

    /// Ends a trace for good, with the turn held.
    async fn end(&self, name: &str) -> Result<(), TraceFault> {
        let desk = Arc::clone(&self.0);
        let of_thread = name.to_owned();
        let Some(definition) = blocking(move || desk.end(&of_thread)).await? else { return Ok(()) };
        self.put(&definition, true).await
    }

    async fn put(&self, definition: &TraceDefinition, has_ended: bool) -> Result<(), TraceFault> {
        let value = serde_json::to_value(definition).map_err(|error| internal(&error))?;
        let put = self.0.store.put_trace(&definition.name, &value, has_ended).await;
        put.map_err(|error| internal(&error))
    }

    fn view(&self, name: &str) -> Result<TraceView, TraceFault> {
        let traces = self.0.traces.lock();
        let entry = traces.by_name.get(name).ok_or_else(|| TraceFault::Unknown(name.to_owned()))?;
        Ok(self.0.describe(entry))
    }
}

fn internal(error: &dyn std::fmt::Display) -> TraceFault {
    TraceFault::Internal(error.to_string())
}

/// Does what waits for the disk, or looks at all clients, on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TraceFault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TraceFault::Internal("the request broke off inside the server".to_owned()))
}

impl Desk {
    fn path_of(&self, definition: &TraceDefinition) -> PathBuf {
        self.folder.join(&definition.file)
    }

    fn describe(&self, entry: &Entry) -> TraceView {
        let path = self.path_of(&entry.definition);
        let file = std::fs::metadata(&path).ok();
        let modified =
            file.as_ref().and_then(|file| file.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok());
        TraceView {
            definition: entry.definition.clone(),
            status: match (entry.has_ended, entry.number) {
                (true, _) => TraceStatus::Stopped,
                (false, Some(_)) => TraceStatus::Running,
                (false, None) => TraceStatus::Waiting,
            },
            log_size: file.map_or(0, |file| file.len()),
            modified_at_s: modified.and_then(|since| i64::try_from(since.as_secs()).ok()),
            path: path.display().to_string(),
        }
    }

    fn begin(&self, name: &str) -> Result<(), TraceFault> {
        let (definition, number) = {
            let mut traces = self.traces.lock();
            let number = traces.free_number();
            let Some(entry) = traces.by_name.get_mut(name).filter(|entry| entry.number.is_none()) else {
                return Ok(());
            };
            entry.number = Some(number);
            (entry.definition.clone(), number)
        };
        let path = self.path_of(&definition);
        let opened = std::fs::create_dir_all(&self.folder)
            .and_then(|()| self.writer.open(number, &path, self.bytes_max, Format::of(&definition)));
        if let Err(error) = opened {
            return Err(TraceFault::Internal(format!("cannot write `{}`: {error}", path.display())));
        }
        match subject(&definition)? {
            Some(subject) => self.broker.start_trace(number, &subject),
            None => self.engine.start_trace(number, &definition.value),
        }
        info!(trace = name, r#type = definition.kind.as_str(), value = definition.value, "a trace begins");
        Ok(())
    }

    /// Ends a trace and returns what it was; nothing when it had ended already.
    fn end(&self, name: &str) -> Option<TraceDefinition> {
        let (number, definition) = {
            let mut traces = self.traces.lock();
            let entry = traces.by_name.get_mut(name).filter(|entry| !entry.has_ended)?;
            entry.has_ended = true;
            (entry.number, entry.definition.clone())
        };
        if let Some(number) = number {
            self.release(number);
            info!(trace = name, "a trace ends");
        }
        // only now: until its file was closed the number was its own
        if let Some(entry) = self.traces.lock().by_name.get_mut(name) {
            entry.number = None;
        }
        Some(definition)
    }

    fn release(&self, number: u8) {
        self.broker.stop_trace(number);
        self.engine.stop_trace(number);
        self.writer.close(number);
    }

    fn read(&self, path: &Path, position: u64, bytes: usize) -> io::Result<(String, u64, bool)> {
        /// Bytes of a character at most.
        const CHARACTER_BYTES: usize = 4;
        let mut file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((String::new(), position, true));
            }
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(position))?;
        let mut read = Vec::new();
        file.take(bytes.max(CHARACTER_BYTES) as u64).read_to_end(&mut read)?;
        // the last character may not be whole
        if let Err(error) = std::str::from_utf8(&read)
            && error.error_len().is_none()
            && error.valid_up_to() > 0
        {
            read.truncate(error.valid_up_to());
        }
        let next = position + read.len() as u64;
        Ok((String::from_utf8_lossy(&read).into_owned(), next, next >= len))
    }
}

/// Returns whom the broker follows for a trace; none for one that follows a rule.
fn subject(definition: &TraceDefinition) -> Result<Option<TraceSubject>, TraceFault> {
    let value = definition.value.as_str();
    let invalid = |message: String| TraceFault::Invalid { field: definition.kind.as_str(), message };
    if value.is_empty() {
        return Err(invalid("expected a value, got none".to_owned()));
    }
    Ok(match definition.kind {
        TraceKind::ClientId => Some(TraceSubject::ClientId(value.to_owned())),
        TraceKind::Topic => {
            validate_topic_filter(value).map_err(|error| invalid(format!("`{value}`: {error}")))?;
            Some(TraceSubject::Topic(value.to_owned()))
        }
        TraceKind::IpAddress => {
            let address: IpAddr = value
                .parse()
                .map_err(|_| invalid(format!("expected an address such as `10.0.0.7`, got `{value}`")))?;
            Some(TraceSubject::Peer(address.to_canonical()))
        }
        TraceKind::RuleId => None,
    })
}

/// Checks a name, which becomes part of a path.
fn check_name(field: &'static str, name: &str, others: &[u8]) -> Result<(), TraceFault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(());
    }
    let others: String = others.iter().map(|byte| format!(", `{}`", char::from(*byte))).collect();
    Err(TraceFault::Invalid {
        field,
        message: format!(
            "expected 1 to {NAME_BYTES_MAX} letters, digits{others}, a letter or digit first, got `{name}`"
        ),
    })
}

#[async_trait]
impl TraceControl for TraceDesk {
    fn list(&self) -> Vec<TraceView> {
        let traces = self.0.traces.lock();
        let mut list: Vec<_> = traces.by_name.values().map(|entry| self.0.describe(entry)).collect();
        list.sort_by_key(|view| std::cmp::Reverse(view.definition.start_at_ms));
        list
    }

    async fn create(&self, definition: TraceDefinition) -> Result<TraceView, TraceFault> {
        check_name("name", &definition.name, b"-_")?;
        check_name("file", &definition.file, b"-_.")?;
        subject(&definition)?;
        let name = definition.name.clone();
        let _turn = self.0.turn.lock().await;
        {
            let traces = self.0.traces.lock();
            if traces.by_name.contains_key(&name) {
                return Err(TraceFault::Exists(name));
            }
            if traces.by_name.len() >= TRACES_MAX {
                return Err(TraceFault::Full(TRACES_MAX));
            }
            if let Some(other) =
                traces.by_name.values().find(|entry| entry.definition.file == definition.file)
            {
                let message = format!("trace `{}` writes into `{}`", other.definition.name, definition.file);
                return Err(TraceFault::Invalid { field: "file", message });
            }
        }
        self.put(&definition, false).await?;
        let path = self.0.path_of(&definition);
        let begins = definition.start_at_ms <= self.0.clock.now_ms();
        let entry = Entry { definition, number: None, has_ended: false };
        self.0.traces.lock().by_name.insert(name.clone(), entry);
        // of an earlier trace whose deletion broke off
        let _ = blocking(move || std::fs::remove_file(path)).await?;
        if begins && let Err(fault) = self.begin(&name).await {
            self.0.traces.lock().by_name.remove(&name);
            let _ = self.0.store.delete_trace(&name).await; // why it did not begin says more
            return Err(fault);
        }
        self.view(&name)
    }

    async fn stop(&self, name: &str) -> Result<TraceView, TraceFault> {
        let _turn = self.0.turn.lock().await;
        self.view(name)?;
        self.end(name).await?;
        self.view(name)
    }

    async fn delete(&self, name: &str) -> Result<(), TraceFault> {
        let _turn = self.0.turn.lock().await;
        let path = PathBuf::from(self.view(name)?.path);
        self.end(name).await?;
        self.0.store.delete_trace(name).await.map_err(|error| internal(&error))?;
        self.0.traces.lock().by_name.remove(name);
        match blocking(move || std::fs::remove_file(path)).await? {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(TraceFault::Internal(format!("the file of the trace is left: {error}")))
            }
            _ => Ok(()),
        }
    }

    async fn read(&self, name: &str, position: u64, bytes: usize) -> Result<TraceChunk, TraceFault> {
        if self.0.has_ended.load(Ordering::Relaxed) {
            return Err(TraceFault::Internal("the server stops".to_owned()));
        }
        // before the file is read: what a trace has written is there when it is said to have ended
        let TraceView { status, path, .. } = self.view(name)?;
        let desk = Arc::clone(&self.0);
        let read = blocking(move || desk.read(Path::new(&path), position, bytes)).await?;
        let (text, position, is_end) = read.map_err(|error| internal(&error))?;
        Ok(TraceChunk { text, position, is_end, status })
    }

    async fn archive(&self, name: &str) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, TraceFault> {
        let TraceView { path, modified_at_s, definition, .. } = self.view(name)?;
        let inner = format!("{}-{}", self.0.broker.config().node, definition.file);
        let file = blocking(move || match std::fs::File::open(path) {
            Ok(file) => file.metadata().map(|about| Some((file, about.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None), // it has not begun
            Err(error) => Err(error),
        });
        let file = file.await?.map_err(|error| internal(&error))?;
        let (pieces, archive) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            let content: Box<dyn io::Read> = match file {
                Some((file, len)) => Box::new(file.take(len)),
                None => Box::new(io::empty()),
            };
            let take = |piece| pieces.blocking_send(Ok(piece)).is_ok();
            if let Err(error) = archive::zip(&inner, modified_at_s.unwrap_or(0), content, take) {
                let _ = pieces.blocking_send(Err(error)); // who reads may have gone
            }
        });
        Ok(archive)
    }
}

/// Begins and ends traces at their time.
pub(crate) struct TraceKeeper {
    desk: TraceDesk,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl TraceKeeper {
    pub(crate) fn start(desk: &TraceDesk) -> Self {
        let stop = CancellationToken::new();
        let (stopped, of_task) = (stop.clone(), desk.clone());
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(KEEP_EVERY);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stopped.run_until_cancelled(interval.tick()).await.is_some() {
                of_task.keep().await;
            }
        });
        Self { desk: desk.clone(), stop, task }
    }

    /// Ends streams of lines: the server stops.
    pub(crate) fn end_streams(&self) {
        self.desk.0.has_ended.store(true, Ordering::Relaxed);
    }

    /// Writes what waits. Traces that have not ended go on with the next start.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await; // a panic has been printed
        let writer = Arc::clone(&self.desk.0.writer);
        let _ = blocking(move || writer.end()).await; // it was logged
    }
}
