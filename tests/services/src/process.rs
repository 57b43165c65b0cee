//! Running programs to their end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::ServiceError;
use crate::account::Account;

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// When it does not start or does not succeed; the error has the last of its output.
pub(crate) fn run(command: &mut Command) -> Result<String, ServiceError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ServiceError::Spawn { program: program.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ServiceError::Failed { program, output: last_lines(&output) })
    }
}

/// A command that runs under `account` in `folder`.
pub(crate) fn command_as(account: &Account, folder: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    account.apply(&mut command);
    command
}

/// Sends a signal to one process; `false` when it is gone.
pub(crate) fn signal(pid: u32, signal: &str) -> bool {
    // the shell's own `kill`: minimal systems lack the program
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Tells whether a process is alive.
pub(crate) fn is_alive(pid: u32) -> bool {
    signal(pid, "0")
}

fn last_lines(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(6)..];
    if last.is_empty() { output.status.to_string() } else { last.join(" | ") }
}
