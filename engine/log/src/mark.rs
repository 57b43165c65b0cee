//! The file with the low-water mark and the salt.

use std::io::{self, IoSlice};

use crate::format::{
    BadHeader, FileHeader, HEADER_LEN, MARK_MAGIC, MARK_NAME, TEMPORARY, decode_header, encode_header,
};
use crate::storage::Storage;

/// What the file said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoredMark {
    None,
    Found(FileHeader),
    Bad(BadHeader),
}

pub(crate) fn load(storage: &dyn Storage) -> StoredMark {
    let file = match storage.open(MARK_NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return StoredMark::None,
        Err(_) => return StoredMark::Bad(BadHeader::Damaged),
    };
    let mut bytes = [0; HEADER_LEN];
    match file.read_exact_at(&mut bytes, 0).map(|()| decode_header(MARK_MAGIC, &bytes)) {
        Ok(Ok(header)) => StoredMark::Found(header),
        Ok(Err(bad)) => StoredMark::Bad(bad),
        Err(_) => StoredMark::Bad(BadHeader::Damaged),
    }
}

/// Replaces the file atomically: after a crash the old or the new mark is there, whole.
pub(crate) fn store(storage: &dyn Storage, header: FileHeader) -> io::Result<()> {
    let temporary = format!("{MARK_NAME}{TEMPORARY}");
    let file = storage.create(&temporary)?;
    file.write_all_at(&mut [IoSlice::new(&encode_header(MARK_MAGIC, header))], 0)?;
    file.sync()?;
    storage.rename(&temporary, MARK_NAME)
}
