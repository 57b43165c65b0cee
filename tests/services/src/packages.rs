//! Installing packages of the system.

use std::path::Path;
use std::process::Command;

use crate::process::run;

/// Installs packages with apt when the system has it and we are root; `false` when that did not work.
pub fn install(packages: &[&str]) -> bool {
    if !Path::new("/usr/bin/apt-get").exists() {
        return false;
    }
    eprintln!("installing {} with apt-get", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments))
    };
    let install = [&["install", "-y", "-q", "--no-install-recommends"], packages].concat();
    // lists of packages may be missing or old: then they are fetched once
    let installed = apt(&install).or_else(|_| apt(&["update", "-q"]).and_then(|_| apt(&install)));
    if let Err(error) = &installed {
        eprintln!("{}", error.chain());
    }
    installed.is_ok()
}
