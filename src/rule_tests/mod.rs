//! `sluice test`: rule folders. Each has rules, events, and the rows that each rule is to make of each event.

mod difference;
mod folder;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use crate::check::counted;
use crate::cli::Test;
use crate::output::say;

use folder::Folder;

/// Folders that may stand inside each other.
const DEPTH_MAX: u32 = 8;

/// Runs every rule folder and prints where rows differ from those expected; exit status 1 when some do.
///
/// # Errors
/// When there is no rule folder, or standard output cannot be written.
pub(crate) async fn run(options: Test) -> anyhow::Result<ExitCode> {
    let mut paths = Vec::new();
    for path in &options.folders {
        let before = paths.len();
        collect(path, DEPTH_MAX, &mut paths)?;
        if paths.len() == before {
            bail!("`{}` has no rule folder: one with `{}` and rules", path.display(), folder::EVENTS);
        }
    }
    let mut failed = 0;
    let mut compared = 0;
    for path in &paths {
        let outcome = match Folder::read(path) {
            Ok(folder) if options.accept => folder.accept(path),
            Ok(folder) => Ok(folder.compare()),
            Err(problems) => Err(problems),
        };
        let (count, differences) = match outcome {
            Ok(outcome) => (outcome.compared, outcome.differences),
            Err(problems) => (0, problems),
        };
        compared += count;
        failed += usize::from(!differences.is_empty());
        let verdict = if differences.is_empty() { "ok  " } else { "FAIL" };
        say!("{verdict} {} ({})", path.display(), counted(count, "evaluation"));
        for difference in &differences {
            say!("     {}", difference.replace('\n', "\n     "));
        }
    }
    let all = counted(paths.len(), "folder");
    if failed == 0 {
        let what = if options.accept { "written" } else { "tested" };
        say!("{all} {what}, {}: no differences", counted(compared, "evaluation"));
        return Ok(ExitCode::SUCCESS);
    }
    say!("{all} tested, {}: {failed} failed", counted(compared, "evaluation"));
    Ok(ExitCode::FAILURE)
}

/// Finds rule folders, in order of their names.
fn collect(path: &Path, depth: u32, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if path.join(folder::EVENTS).is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => bail!("cannot read the folder `{}`: {error}", path.display()),
    };
    let mut below: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    below.sort();
    for path in below.iter().filter(|_| depth > 0) {
        collect(path, depth - 1, found)?;
    }
    Ok(())
}
