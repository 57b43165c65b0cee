//! `sluice eval` in pipes: a line out for each line in, at once, whatever the line holds and whoever stops reading.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use support::sluice;

fn start() -> Child {
    sluice()
        .args(["eval", "--sql", "SELECT topic FROM \"t/#\""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("eval starts")
}

/// Runs `input` through and returns what came out.
#[track_caller]
fn check(input: &[u8], want: &str) {
    let mut child = start();
    child.stdin.take().expect("a pipe").write_all(input).expect("written");
    let output = child.wait_with_output().expect("eval ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), want, "{said}");
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

const EVENT: &str = r#"{"event":"message.publish","topic":"t/1"}"#;
const ROW: &str = "{\"output\":[{\"topic\":\"t/1\"}]}\n";

#[test]
fn lines_of_any_kind_are_answered() {
    check(b"", "");
    check(b"\n \r\n\n", "");
    check(EVENT.as_bytes(), ROW);
    check(format!("\u{feff}{EVENT}\r\n{EVENT}\n").as_bytes(), &format!("{ROW}{ROW}"));
    let mut input = b"{\"event\":\"\xff\"}\n".to_vec();
    input.extend_from_slice(EVENT.as_bytes());
    let refused = "{\"error\":\"input\",\"message\":\"the line is not UTF-8 at byte 11\"}\n";
    check(&input, &format!("{refused}{ROW}"));
}

#[test]
fn an_answer_does_not_wait_for_the_next_line() {
    let mut child = start();
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    for _ in 0..3 {
        writeln!(input, "{EVENT}").expect("written");
        let mut line = String::new();
        output.read_line(&mut line).expect("an answer while the input is open");
        assert_eq!(line, ROW);
    }
    drop(input);
    assert!(child.wait().expect("eval ends").success());
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mut child = start();
    drop(child.stdout.take());
    let mut input = child.stdin.take().expect("a pipe");
    // it may have gone before everything is written
    let _ = input.write_all(format!("{EVENT}\n").repeat(10_000).as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("eval ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
