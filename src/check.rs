//! `sluice check`: every problem of configuration and rule files, with its place, without starting anything.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use engine_runtime::{Engine, EngineConfig};

use crate::cli::Check;
use crate::clock::SystemClock;
use crate::editions::Edition;
use crate::output::{error_line, say};
use crate::toml_file::{Problem, TomlFile};
use crate::{config, connectors, rule_files};

/// Checks the files and prints what is wrong to standard error; exit status 1 when something is.
///
/// A rule that the server would take although it cannot work (it calls a function that does not exist, say) counts as
/// wrong; what is only doubtful is printed as a warning.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) async fn run(options: Check) -> anyhow::Result<ExitCode> {
    let (checked, problems, warnings) = check(&options.files).await;
    let checked = counted(checked, "file");
    for warning in &warnings {
        error_line(format_args!("warning: {warning}"));
    }
    if problems.is_empty() && !warnings.is_empty() {
        say!("{checked} checked: no problems, {}", counted(warnings.len(), "warning"));
        return Ok(ExitCode::SUCCESS);
    }
    if problems.is_empty() {
        say!("{checked} checked: no problems");
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &problems {
        error_line(format_args!("{problem}"));
    }
    error_line(format_args!("{checked} checked: {}", counted(problems.len(), "problem")));
    Ok(ExitCode::FAILURE)
}

pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

async fn check(paths: &[PathBuf]) -> (usize, Vec<Problem>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut rules = Vec::new();
    let mut checked = 0;
    for path in paths {
        if path.is_dir() {
            match rule_files::find(std::slice::from_ref(path)) {
                Ok(files) => rules.extend(files),
                Err(problem) => problems.push(problem),
            }
            continue;
        }
        match TomlFile::read(path) {
            Ok(file) if is_config(&file) => {
                checked += 1;
                problems.extend(config::check(&file).err().into_iter().flatten());
            }
            Ok(_) => rules.push(path.clone()),
            Err(problem) => {
                checked += 1;
                problems.push(problem);
            }
        }
    }
    checked += rules.len();
    let engine = offline_engine();
    let files = rule_files::read(&engine, &rules);
    problems.extend(files.problems);
    problems.extend(files.faults);
    let mut warnings = files.warnings;
    // as they stand in the files, and the files as they were named
    let order: Vec<PathBuf> = rules;
    for list in [&mut problems, &mut warnings] {
        list.sort_by_key(|problem| {
            (order.iter().position(|path| *path == problem.file), problem.line, problem.column)
        });
        list.dedup();
    }
    (checked, problems, warnings)
}

/// A file is the server's configuration unless it has one of the tables of rule files.
fn is_config(file: &TomlFile) -> bool {
    !rule_files::is_rule_file(file)
}

/// An engine with every connector type of the build that is never attached: it only checks.
pub(crate) fn offline_engine() -> Arc<Engine> {
    let mut config = EngineConfig::new("check", ".", Arc::new(SystemClock));
    config.definitions = connectors::definitions(Edition::Enterprise);
    Engine::new(config)
}
