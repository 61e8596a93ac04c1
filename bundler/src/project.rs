//! Where the project's folders are.

use std::env;
use std::path::PathBuf;

/// The folder of the workspace's Cargo.toml.
pub fn root() -> PathBuf {
    // Cargo says where it runs the program from; a target folder may outlive the clone it was compiled in.
    let bundler = PathBuf::from(
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()),
    );
    bundler.parent().unwrap_or(&bundler).to_owned()
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
