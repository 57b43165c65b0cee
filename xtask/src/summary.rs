//! What a test run came to.

use std::fmt;

use tests_services::LeftOut;

/// Counts and names, read from the output of `cargo test`.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) cargo_succeeded: bool,
    pub(crate) left_out_services: Vec<String>,
    pub(crate) left_out_tests: Vec<LeftOut>,
    passed: u32,
    failed: Vec<String>,
    ignored: Vec<String>,
}

impl Summary {
    /// Takes in a line such as `test tests::some_name ... ok`.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some((name, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match verdict {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            _ if verdict.starts_with("ignored") => self.ignored.push(name.to_owned()),
            _ => {}
        }
    }

    /// Nothing failed, and cargo says so too.
    pub(crate) fn is_success(&self) -> bool {
        self.cargo_succeeded && self.failed.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a test that returned early for a service that was left out counts as passed in cargo's output
        let passed = self.passed.saturating_sub(u32::try_from(self.left_out_tests.len()).unwrap_or(u32::MAX));
        writeln!(f, "\nsummary: {passed} passed, {} failed", self.failed.len())?;
        for name in &self.failed {
            writeln!(f, "  failed: {name}")?;
        }
        if !self.cargo_succeeded && self.failed.is_empty() {
            writeln!(f, "  cargo failed before or outside the tests: see above")?;
        }
        for name in &self.ignored {
            writeln!(f, "  ignored: {name}")?;
        }
        if self.left_out_services.is_empty() && self.ignored.is_empty() {
            return f.write_str("skipped: nothing");
        }
        for service in &self.left_out_services {
            let tests = self.left_out_tests.iter().filter(|left_out| left_out.service == *service).count();
            writeln!(f, "skipped on request: {tests} tests that need `{service}`")?;
        }
        write!(f, "skipped: {} tests", self.left_out_tests.len() + self.ignored.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Summary {
        let mut summary = Summary { cargo_succeeded: true, ..Summary::default() };
        lines.iter().for_each(|line| summary.read_line(line));
        summary
    }

    #[test]
    fn tests_are_counted_by_their_verdict() {
        let summary = read(&[
            "running 3 tests",
            "test a::b ... ok",
            "test src/lib.rs - (line 6) - compile ... ok",
            "test c ... FAILED",
            "test d ... ignored, needs a week",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored",
        ]);
        assert_eq!(summary.passed, 2);
        assert_eq!(summary.failed, ["c"]);
        assert_eq!(summary.ignored, ["d"]);
        assert!(!summary.is_success());
    }

    #[test]
    fn a_clean_run_says_that_nothing_was_skipped() {
        assert_eq!(read(&["test a ... ok"]).to_string(), "\nsummary: 1 passed, 0 failed\nskipped: nothing");
    }

    #[test]
    fn what_was_left_out_on_request_is_not_passed() {
        let mut summary = read(&["test a ... ok", "test b ... ok"]);
        summary.left_out_services = vec!["postgres".to_owned()];
        summary.left_out_tests = vec![LeftOut { service: "postgres".to_owned(), test: "b".to_owned() }];
        assert_eq!(
            summary.to_string(),
            "\nsummary: 1 passed, 0 failed\nskipped on request: 1 tests that need `postgres`\nskipped: 1 tests"
        );
    }
}
