//! Services that a person asked to leave out, and the tests that did not run for it.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use crate::services_folder;

const VARIABLE: &str = "SLUICE_TEST_WITHOUT";

/// A test that returned early because its service was left out on request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The service.
    pub service: String,
    /// The test.
    pub test: String,
}

/// Names of the services that `SLUICE_TEST_WITHOUT` lists.
pub fn left_out_services() -> Vec<String> {
    let list = std::env::var(VARIABLE).unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Tells whether a service is left out on request.
pub fn is_left_out(service: &str) -> bool {
    left_out_services().iter().any(|name| name == service)
}

/// The tests that were left out since the last [`clear_left_out`].
pub fn left_out_tests() -> Vec<LeftOut> {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines.map(|(service, test)| LeftOut { service: service.to_owned(), test: test.to_owned() }).collect()
}

/// Forgets the tests that were left out.
pub fn clear_left_out() {
    // nothing to forget is fine
    let _ = fs::remove_file(file());
}

/// Tells whether `service` is left out, and then notes the current test for the summary.
pub(crate) fn note_if_left_out(service: &str) -> bool {
    if !is_left_out(service) {
        return false;
    }
    let thread = std::thread::current();
    let line = format!("{service}\t{}\n", thread.name().unwrap_or("a test"));
    let written = fs::create_dir_all(services_folder())
        .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(file()))
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        eprintln!("cannot note a test that was left out: {error}");
    }
    true
}

fn file() -> PathBuf {
    services_folder().join("left-out")
}
