//! The account that services run under.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;
use crate::{ServiceError, services_folder};

/// Who a service runs as: ourselves, or an ordinary user when we are root, since PostgreSQL refuses root.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
    other: bool,
}

impl Account {
    /// Chooses the account.
    ///
    /// # Errors
    /// When we are root and there is no ordinary user.
    pub(crate) fn choose() -> Result<Self, ServiceError> {
        let (uid, gid) = own_ids()?;
        if uid != 0 {
            return Ok(Self { uid, gid, other: false });
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| users.lines().find_map(|line| ids_of(line, name)))
            .map(|(uid, gid)| Self { uid, gid, other: true })
            .ok_or(ServiceError::NoAccount)
    }

    /// Makes a command run under the account.
    pub(crate) fn apply(&self, command: &mut Command) {
        if self.other {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Gives a file or folder to the account.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn own(&self, path: &Path) -> Result<(), ServiceError> {
        if self.other {
            chown(path, Some(self.uid), Some(self.gid)).map_err(ServiceError::file("give away", path))?;
        }
        Ok(())
    }

    /// Makes a folder that only the account may enter.
    ///
    /// # Errors
    /// When it cannot be made, or was made by someone else.
    pub(crate) fn make_folder(&self, path: &Path) -> Result<(), ServiceError> {
        match fs::create_dir(path) {
            Ok(()) => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                    .map_err(ServiceError::file("protect", path))?;
                self.own(path)
            }
            Err(_) if path.is_dir() => {
                let owner = path.symlink_metadata().map_err(ServiceError::file("look at", path))?.uid();
                if owner == self.uid { Ok(()) } else { Err(ServiceError::ForeignFolder(path.to_owned())) }
            }
            Err(source) => Err(ServiceError::file("make", path)(source)),
        }
    }

    /// The folder for the data of services: in the target folder, unless the account cannot get there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn data_folder(&self) -> Result<PathBuf, ServiceError> {
        let services = services_folder();
        fs::create_dir_all(&services).map_err(ServiceError::file("make", &services))?;
        let services = services.canonicalize().map_err(ServiceError::file("look at", &services))?;
        if services.ancestors().all(|folder| self.may_enter(folder)) {
            return Ok(services);
        }
        // a checkout below a private home: `/root` lets nobody else in
        let outside = std::env::temp_dir().join(format!("sluice-services-{:016x}", path_number(&services)));
        self.make_folder(&outside)?;
        Ok(outside)
    }

    fn may_enter(&self, folder: &Path) -> bool {
        folder.metadata().is_ok_and(|metadata| {
            let mode = metadata.mode();
            if metadata.uid() == self.uid {
                mode & 0o100 != 0
            } else if metadata.gid() == self.gid {
                mode & 0o010 != 0
            } else {
                mode & 0o001 != 0
            }
        })
    }
}

fn own_ids() -> Result<(u32, u32), ServiceError> {
    let id = |flag| -> Result<u32, ServiceError> {
        let printed = run(Command::new("id").arg(flag))?;
        printed.trim().parse().map_err(|_| ServiceError::Failed { program: "id".to_owned(), output: printed })
    };
    Ok((id("-u")?, id("-g")?))
}

fn ids_of(line: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':');
    (fields.next()? == name).then_some(())?;
    let (uid, gid) = (fields.nth(1)?, fields.next()?);
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// A number that stands for a path: the same in every run.
fn path_number(path: &Path) -> u64 {
    // FNV-1a
    path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_user_table_are_read() {
        assert_eq!(
            ids_of("postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash", "postgres"),
            Some((101, 104))
        );
        assert_eq!(ids_of("postgresql:x:1:2::/:/bin/sh", "postgres"), None);
        assert_eq!(ids_of("nobody", "nobody"), None);
        assert_eq!(ids_of("", "nobody"), None);
    }
}
