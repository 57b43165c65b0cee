//! Printing for people and for pipes.

use std::fmt;
use std::io::{self, Write as _};

/// The reader of standard output has gone: nobody is left to be told anything.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(crate) struct Closed;

/// A command has failed and has said so on standard output.
#[derive(Debug, thiserror::Error)]
#[error("the command failed")]
pub(crate) struct AlreadySaid;

/// Prints a line to standard output.
///
/// # Errors
/// [`Closed`] when its reader has gone, else why it cannot be written.
pub(crate) fn line(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    written(io::stdout().lock().write_fmt(format_args!("{text}\n")))
}

/// Prints a line to standard error, if anybody reads it.
pub(crate) fn error_line(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(format_args!("{text}\n"));
}

/// Tells a reader that has gone from other failures of writing to standard output.
///
/// # Errors
/// As [`line`].
pub(crate) fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
    }
}

/// Prints a line to standard output, or returns with [`Closed`].
macro_rules! say {
    ($($text:tt)*) => { crate::output::line(format_args!($($text)*))? };
}
pub(crate) use say;
