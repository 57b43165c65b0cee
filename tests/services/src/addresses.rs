//! Where running services listen: environment variables, and a file for tests that are run without `cargo xtask`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use crate::{ServiceError, services_folder};

/// Variable with the URL of the shared PostgreSQL instance.
pub const POSTGRES: &str = "SLUICE_TEST_POSTGRES";
/// Variable with the path of a Python interpreter that has `paho-mqtt`.
pub const PYTHON: &str = "SLUICE_TEST_PYTHON";

/// Addresses by the name of their environment variable.
#[derive(Clone, Debug, Default)]
pub struct Addresses(BTreeMap<String, String>);

impl Addresses {
    /// Reads the file that `cargo xtask services up` wrote; empty when there is none.
    pub fn load() -> Self {
        let text = fs::read_to_string(file()).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Writes the file, readable by its owner only: addresses hold passwords.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> Result<(), ServiceError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = file();
        let text: String = self.0.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::create_dir_all(services_folder())
            .and_then(|()| {
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)
            })
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(ServiceError::file("write", &path))
    }

    /// Sets an address.
    pub fn set(&mut self, name: &str, address: impl Into<String>) {
        self.0.insert(name.to_owned(), address.into());
    }

    /// Forgets an address.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The address under `name` in these.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, address)| (name.as_str(), address.as_str()))
    }

    /// The address under `name`: from the environment, else from the file.
    pub fn find(name: &str) -> Option<String> {
        match std::env::var(name) {
            Ok(address) if !address.is_empty() => Some(address),
            _ => Self::load().0.remove(name),
        }
    }
}

fn file() -> PathBuf {
    services_folder().join("env")
}
