//! Reading rule files at the start, on a signal, and when they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use engine_runtime::{Engine, EngineError, FileObject, SyncReport};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::rule_files::{self, RuleFiles};

/// Files are read this long after the last change, so that an editor's several writes are one, and a file that is still
/// being copied is not taken for a short one.
const SETTLE: Duration = Duration::from_millis(300);

/// Files that keep changing are read this long after the first change.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Keeps the engine's file objects in step with the files.
#[derive(Clone)]
pub(crate) struct RuleReload {
    engine: Arc<Engine>,
    paths: Arc<[PathBuf]>,
    /// One reload at a time.
    running: Arc<Mutex<()>>,
}

/// Watches until it is dropped.
pub(crate) struct Watching {
    task: JoinHandle<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RuleReload {
    /// Prepares to read the files behind `paths`.
    pub(crate) fn new(engine: Arc<Engine>, paths: Vec<PathBuf>) -> Self {
        Self { engine, paths: paths.into(), running: Arc::default() }
    }

    /// Reads the files for the first time. Nothing wrong is accepted: better not to start than to lack a rule.
    ///
    /// # Errors
    /// Every problem with its place.
    pub(crate) async fn first(&self) -> anyhow::Result<()> {
        let files = self.read();
        if !files.problems.is_empty() {
            let lines: Vec<String> = files.problems.iter().map(ToString::to_string).collect();
            bail!("the rule files have problems:\n{}", lines.join("\n"));
        }
        warn_of(&files);
        let report = self.engine.sync_files(objects(files)).await;
        if !report.problems.is_empty() {
            let lines: Vec<String> = report
                .problems
                .iter()
                .map(|problem| {
                    let (file, object) = (problem.path.display(), &problem.object);
                    format!("{file}: {object}: {}{}", problem.error, way_out(&problem.error))
                })
                .collect();
            bail!("the rule files have problems:\n{}", lines.join("\n"));
        }
        log(&report);
        Ok(())
    }

    /// Reads the files again. With a problem in them everything stays as it is, and the problems are logged.
    pub(crate) async fn again(&self, why: &str) {
        let _one_at_a_time = self.running.lock().await;
        let files = self.read();
        if !files.problems.is_empty() {
            for problem in &files.problems {
                error!("{problem}");
            }
            error!(
                why,
                problems = files.problems.len(),
                "rule files not applied: everything stays as it was"
            );
            return;
        }
        info!(why, "rule files read again");
        warn_of(&files);
        log(&self.engine.sync_files(objects(files)).await);
    }

    fn read(&self) -> RuleFiles {
        match rule_files::find(&self.paths) {
            Ok(files) => rule_files::read(&self.engine, &files),
            Err(problem) => RuleFiles { problems: vec![problem], ..RuleFiles::default() },
        }
    }

    /// Reads the files again whenever one changes.
    pub(crate) fn watch(&self) -> Watching {
        let (changed, mut changes) = mpsc::channel(1);
        let watcher = self.watcher(changed);
        if let Err(error) = &watcher {
            warn!(%error, "rule files are not watched; a hang-up signal still reads them again");
        }
        let reload = self.clone();
        let task = tokio::spawn(async move {
            while changes.recv().await.is_some() {
                let latest = Instant::now() + SETTLE_MAX;
                while Instant::now() < latest
                    && let Ok(Some(())) = timeout_at(Instant::now() + SETTLE, changes.recv()).await
                {
                }
                reload.again("files changed").await;
            }
        });
        Watching { task, _watcher: watcher.ok() }
    }

    fn watcher(&self, changed: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // full: a reload is due already
                let _ = changed.try_send(());
            }
        })?;
        for path in self.paths.iter() {
            watcher.watch(rule_files::watched_folder(path), RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}

/// What to do about an object that a file cannot have.
fn way_out(error: &EngineError) -> &'static str {
    match error {
        EngineError::AlreadyExists { .. } => {
            ": it was made through the API; delete it there, or give the one in the file another name"
        }
        _ => "",
    }
}

fn warn_of(files: &RuleFiles) {
    for warning in files.faults.iter().chain(&files.warnings) {
        warn!("{warning}");
    }
}

fn objects(files: RuleFiles) -> Vec<FileObject> {
    files.objects.into_iter().map(|declared| declared.object).collect()
}

fn log(report: &SyncReport) {
    for problem in &report.problems {
        let error = format!("{}{}", problem.error, way_out(&problem.error));
        error!(file = %problem.path.display(), object = problem.object, error, "not applied");
    }
    for (what, objects) in
        [("created", &report.created), ("updated", &report.updated), ("deleted", &report.deleted)]
    {
        if !objects.is_empty() {
            info!(objects = objects.join(", "), "{what} from files");
        }
    }
}
