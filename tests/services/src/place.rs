//! Where services keep their files.

use std::path::{Path, PathBuf};

/// Cargo's target folder of the running program, be it `cargo xtask` or a test.
///
/// Found from the program's own path, so that it holds with `CARGO_TARGET_DIR` and with `build.target-dir`.
pub fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program
        .ancestors()
        .find(|folder| folder.join(".rustc_info.json").is_file())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), Path::to_path_buf)
}

/// The folder of the services inside the target folder.
pub fn services_folder() -> PathBuf {
    target_folder().join("services")
}
