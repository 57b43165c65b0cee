//! A Python interpreter with the `paho-mqtt` client: the second opinion of whole-server tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::left_out::note_if_left_out;
use crate::process::run;
use crate::{Addresses, PYTHON, ServiceError, packages, services_folder};

const SERVICE: &str = "python";

/// The interpreter with `paho-mqtt`; `None` when it was left out on request.
///
/// # Panics
/// When it is missing, with a line that says how to get it.
pub fn python() -> Option<PathBuf> {
    if note_if_left_out(SERVICE) {
        return None;
    }
    match Addresses::find(PYTHON).map(PathBuf::from) {
        Some(interpreter) if interpreter.exists() => Some(interpreter),
        _ => panic!(
            "this test needs Python with paho-mqtt: run `cargo xtask services up`, \
             or leave it out with SLUICE_TEST_WITHOUT={SERVICE}"
        ),
    }
}

/// Makes the virtual environment with `paho-mqtt` in the target folder, unless it is there, and returns its interpreter.
///
/// # Errors
/// When there is no Python, or the package cannot be fetched.
pub fn ensure_python() -> Result<PathBuf, ServiceError> {
    let folder = services_folder().join("python");
    let interpreter = folder.join("bin/python");
    if has_paho(&interpreter) {
        return Ok(interpreter);
    }
    make_environment(&folder)?;
    run(Command::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .arg("paho-mqtt>=2,<3"))?;
    Ok(interpreter)
}

fn has_paho(interpreter: &Path) -> bool {
    interpreter.exists() && run(Command::new(interpreter).args(["-c", "import paho.mqtt.client"])).is_ok()
}

fn make_environment(folder: &Path) -> Result<(), ServiceError> {
    let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
    match make() {
        Ok(_) => Ok(()),
        Err(_) if packages::install(&["python3", "python3-venv"]) => make().map(drop),
        Err(ServiceError::Spawn { .. }) => Err(ServiceError::NotInstalled {
            service: "Python",
            package: "python3-venv",
            left_out_name: SERVICE,
        }),
        Err(error) => Err(error),
    }
}
