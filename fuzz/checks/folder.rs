//! A folder of this process alone, in memory where the system has such a place.

use std::path::{Path, PathBuf};

/// The folder for `check`, made on the first call.
pub fn folder(check: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    let folder = base.join(format!("timbra-hostile-{check}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
    folder
}
