//! PostgreSQL's programs on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::SERVICE;
use crate::process::run;
use crate::{ServiceError, packages};

/// The folder with `initdb`, `pg_ctl`, `postgres` and `psql`.
#[derive(Clone, Debug)]
pub(super) struct Binaries(PathBuf);

impl Binaries {
    /// Finds the newest version on the machine.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn find() -> Result<Self, ServiceError> {
        let elsewhere = std::iter::once_with(|| pg_config().into_iter().chain(search_path())).flatten();
        debian_versions().into_iter().chain(elsewhere).find(|folder| is_complete(folder)).map(Self).ok_or(
            ServiceError::NotInstalled {
                service: "PostgreSQL",
                package: "postgresql",
                left_out_name: SERVICE,
            },
        )
    }

    /// Installs the system's package unless PostgreSQL is there.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub(super) fn ensure() -> Result<(), ServiceError> {
        if Self::find().is_err() {
            packages::install(&["postgresql"]);
        }
        Self::find().map(drop)
    }

    /// Path of one of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn is_complete(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|program| folder.join(program).exists())
}

/// Debian keeps each major version in a folder of its own, outside the search path; newest first.
fn debian_versions() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.iter().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))).collect()
}

fn pg_config() -> Option<PathBuf> {
    run(Command::new("pg_config").arg("--bindir")).ok().map(|printed| PathBuf::from(printed.trim()))
}

fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
