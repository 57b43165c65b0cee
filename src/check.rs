//! `sluice check`: every problem of configuration and rule files, with its place, without starting anything.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use engine_runtime::{Engine, EngineConfig};

use crate::cli::Check;
use crate::clock::SystemClock;
use crate::editions::Edition;
use crate::toml_file::{Problem, TomlFile};
use crate::{config, connectors, rule_files};

/// Checks the files and prints what is wrong to standard error; exit status 1 when something is.
pub(crate) async fn run(options: Check) -> ExitCode {
    let (checked, problems) = check(&options.files).await;
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        println!("{checked} {} checked: no problems", if checked == 1 { "file" } else { "files" });
        ExitCode::SUCCESS
    } else {
        eprintln!(
            "{checked} {} checked: {} problems",
            if checked == 1 { "file" } else { "files" },
            problems.len()
        );
        ExitCode::FAILURE
    }
}

async fn check(paths: &[PathBuf]) -> (usize, Vec<Problem>) {
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
    problems.extend(rule_files::read(&engine, &rules).problems);
    (checked, problems)
}

/// A file is the server's configuration unless it has one of the tables of rule files.
fn is_config(file: &TomlFile) -> bool {
    !rule_files::is_rule_file(file)
}

/// An engine with every connector type of the build that is never attached: it only checks.
fn offline_engine() -> Arc<Engine> {
    let mut config = EngineConfig::new("check", ".", Arc::new(SystemClock));
    config.definitions = connectors::definitions(Edition::Enterprise);
    Engine::new(config)
}
