//! `sluice eval`: rules on events from a pipe, without a server.

use std::io::{self, BufRead as _, BufWriter, Write as _};
use std::sync::Arc;

use engine_event::Clock;

use crate::cli::Eval;
use crate::clock::SystemClock;

/// Evaluates each line of standard input and writes one line for it.
///
/// # Errors
/// When standard input cannot be read or standard output written. What is wrong with a line is its answer.
pub(crate) fn run(options: &Eval) -> io::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        writeln!(out, "{}", engine_runtime::eval_line(&line, options.sql.as_deref(), &clock))?;
    }
    out.flush()
}
