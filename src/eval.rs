//! `sluice eval`: rules on events from a pipe, without a server.

use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::sync::Arc;

use engine_event::Clock;

use crate::cli::Eval;
use crate::clock::SystemClock;
use crate::output::written;

/// Bytes of a line; the rest of a longer one is skipped.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// Evaluates each line of standard input and writes one line for it, at once when no further line is waiting.
///
/// # Errors
/// When standard input cannot be read or standard output written. What is wrong with a line is its answer.
pub(crate) fn run(options: &Eval) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut input = BufReader::with_capacity(READ_BYTES, io::stdin().lock());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        if !line.trim_ascii().is_empty() {
            written(writeln!(out, "{}", answer(&line, options, &clock)))?;
        }
        if input.buffer().is_empty() {
            written(out.flush())?;
        }
    }
    written(out.flush())
}

fn answer(line: &[u8], options: &Eval, clock: &Arc<dyn Clock>) -> String {
    if line.len() > LINE_BYTES_MAX {
        return r#"{"error":"input","message":"the line has more than 64 MiB"}"#.to_owned();
    }
    match std::str::from_utf8(line) {
        // editors of some systems begin a file with this mark
        Ok(line) => engine_runtime::eval_line(
            line.strip_prefix('\u{feff}').unwrap_or(line),
            options.sql.as_deref(),
            clock,
        ),
        Err(error) => {
            let byte = error.valid_up_to() + 1;
            format!(r#"{{"error":"input","message":"the line is not UTF-8 at byte {byte}"}}"#)
        }
    }
}

/// Reads the next line without its end, and at most one byte more than [`LINE_BYTES_MAX`] of it. Returns whether there
/// was one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut found = false;
    loop {
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            return Ok(found);
        }
        found = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_their_ends() {
        let mut input = BufReader::with_capacity(3, &b"abcd\n\nef\xff\r\nlast"[..]);
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while read_line(&mut input, &mut line).unwrap() {
            lines.push(line.clone());
        }
        assert_eq!(lines, [&b"abcd"[..], b"", b"ef\xff\r", b"last"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_answered_and_the_next_one_read() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 5];
        text.extend_from_slice(b"\nnext");
        let mut input = BufReader::new(&text[..]);
        let mut line = Vec::new();
        assert!(read_line(&mut input, &mut line).unwrap());
        assert_eq!(line.len(), LINE_BYTES_MAX + 1);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        assert!(answer(&line, &Eval { sql: None }, &clock).contains("more than 64 MiB"));
        assert!(read_line(&mut input, &mut line).unwrap());
        assert_eq!(line, b"next");
    }
}
