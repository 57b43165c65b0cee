//! What can go wrong, by operation.

use std::io;
use std::sync::Arc;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("{0}")]
    Options(&'static str),
    /// Another log object, perhaps of another process, has this folder open.
    #[error("`{folder}` is in use")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The file was written by a later version. Nothing was changed.
    #[error("`{name}` has format version {version}, this program knows {}", crate::format::VERSION)]
    Version {
        /// The file.
        name: String,
        /// Its version.
        version: u16,
    },
    /// The folder cannot be read or changed.
    #[error("cannot {what} `{name}`")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        name: String,
        /// The answer of the system.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io<'a>(what: &'static str, name: &'a str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { what, name: name.to_owned(), source }
    }
}

/// Why a record was not taken. Nothing was written; the same record may be appended again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The record can never be taken.
    #[error("a record of {bytes} bytes is longer than {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit, `record_bytes_max`.
        bytes_max: usize,
    },
    /// Too much waits to be written: slow down and try again.
    #[error("{pending_bytes} bytes wait to be written")]
    Full {
        /// Bytes that wait.
        pending_bytes: usize,
    },
    /// The log has its full size: there is room when records are done.
    #[error("the log holds its {bytes_max} bytes")]
    LogFull {
        /// The limit, `size_bytes_max`.
        bytes_max: u64,
    },
    /// The file system has less free space than `free_bytes_min`.
    #[error("too little free space on the disk")]
    DiskLow,
    /// A sync has failed: nothing is taken until the log is opened again.
    #[error("the log is broken")]
    Broken(#[source] CommitError),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why an appended record is not durable. It is perhaps found after a crash, perhaps not.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The write failed, for example for want of space. The record is not in the log.
    #[error("cannot write to the log")]
    Write(#[source] Arc<io::Error>),
    /// The sync failed. The log is broken.
    #[error("cannot sync the log")]
    Sync(#[source] Arc<io::Error>),
    /// The writer ended before the record was written.
    #[error("the log has stopped")]
    Stopped,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused. The cursor has not moved; [`Cursor::seek`](crate::Cursor::seek) passes over the place.
    #[error("cannot read `{name}`")]
    Io {
        /// The segment.
        name: String,
        /// The answer of the system.
        #[source]
        source: io::Error,
    },
}
