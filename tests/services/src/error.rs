//! Why a service is not there.

use std::io;
use std::path::PathBuf;

/// Why a service could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its programs are not on this machine and could not be installed.
    #[error(
        "{service} is not installed: install it ({package} on Debian and Ubuntu), or leave it out with SLUICE_TEST_WITHOUT={left_out_name}"
    )]
    NotInstalled {
        /// Name for people.
        service: &'static str,
        /// Package of Debian and Ubuntu.
        package: &'static str,
        /// Its name in `SLUICE_TEST_WITHOUT`.
        left_out_name: &'static str,
    },
    /// A program did not start.
    #[error("cannot run `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{program}` failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// The last of what it printed.
        output: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {what} `{path}`")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder that others could have prepared for us.
    #[error("`{0}` belongs to another user: remove it")]
    ForeignFolder(PathBuf),
    /// A root user without any account to run a service under.
    #[error("services do not run as root, and there is neither a user `postgres` nor a user `nobody`")]
    NoAccount,
    /// A service that was expected to run does not.
    #[error("{0} does not run: start it with `cargo xtask services up`")]
    NotRunning(&'static str),
}

impl ServiceError {
    /// Makes a closure that names what was tried with a file.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// The error and its causes on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
