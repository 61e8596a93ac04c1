//! Where the project's folders are.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    // The manifest folder at compile time: xtask is built where it is used.
    let bundler = Path::new(env!("CARGO_MANIFEST_DIR"));
    bundler.parent().unwrap_or(bundler).to_owned()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|v| !v.is_empty()) {
        Some(path) => env::current_dir().unwrap_or_else(|_| root()).join(path),
        None => root().join("target"),
    }
}

/// The cargo that runs this program.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
