//! The data directory: one server process at a time, and the files that others find it by.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Name of the file that holds the address of the API and the token of `sluice ctl`.
const CONTROL_FILE: &str = "ctl.json";

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked until dropped.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// It cannot be made or written.
    #[error("cannot use the data directory `{}`: choose another with --data-dir", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("another server is running on the data directory `{}`: choose another with --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the directory if need be and locks it.
    ///
    /// # Errors
    /// When it cannot be made or written, or another server holds it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let fail = |source| DataDirError::Io { path: path.to_owned(), source };
        create_private(path).map_err(fail)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        Ok(Self { path: path.canonicalize().map_err(fail)?, _lock: lock })
    }

    /// The directory, as an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file by which `sluice ctl` on this machine finds the server; only the owner may read it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_control(&self, control: &Control) -> io::Result<()> {
        let target = self.path.join(CONTROL_FILE);
        let temporary = self.path.join("ctl.json.new");
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(serde_json::to_string(control)?.as_bytes())?;
        std::fs::rename(temporary, target)
    }

    /// Takes the control file away, so that `ctl` does not ask a server that is gone.
    pub(crate) fn remove_control(&self) {
        let _ = std::fs::remove_file(self.path.join(CONTROL_FILE));
    }
}

/// Makes a directory that only its owner can look into, if there is none: it will hold the secrets of connectors.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// How `sluice ctl` reaches the server of a data directory.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Control {
    /// Base address of the API, `http://127.0.0.1:18083`.
    pub(crate) api: String,
    /// Addresses of the MQTT listeners.
    #[serde(default)]
    pub(crate) mqtt: Vec<String>,
    /// Bearer token with all rights, good for the life of the process.
    pub(crate) token: String,
    /// Process id of the server.
    pub(crate) pid: u32,
}

impl Control {
    /// Reads the control file of a data directory.
    ///
    /// # Errors
    /// When there is none: no server runs there, or it belongs to another user.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(data_dir.join(CONTROL_FILE))?;
        Ok(serde_json::from_str(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        let second = DataDir::open(folder.path()).unwrap_err();
        assert!(matches!(second, DataDirError::InUse { .. }), "{second}");
        drop(first);
        DataDir::open(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_is_made_is_the_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/data");
        DataDir::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn only_the_owner_reads_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path()).unwrap();
        let control =
            Control { api: "http://127.0.0.1:1".into(), mqtt: Vec::new(), token: "t".into(), pid: 1 };
        dir.write_control(&control).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = folder.path().join(CONTROL_FILE).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(Control::read(folder.path()).unwrap().token, "t");
    }
}
