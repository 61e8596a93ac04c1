//! The seeds of a check and the inputs that once broke it: `fuzz/seeds/<check>`.
#![allow(dead_code, reason = "every test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// No input may take longer; a second is the promise, the rest is room for a loaded machine.
const HANG: Duration = Duration::from_secs(5);

fn folder(check: &str) -> PathBuf {
    // Another folder of inputs, say `fuzz/corpus` after a run.
    if let Some(inputs) = std::env::var_os("TIMBRA_SEEDS") {
        return PathBuf::from(inputs).join(check);
    }
    // Cargo says where it runs the test from; a target folder may outlive the clone it was compiled in.
    let crate_folder =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(crate_folder)
        .join("../fuzz/seeds")
        .join(check)
}

/// Runs `check` on every seed and every input that once broke it.
pub fn all(name: &str, check: fn(&[u8])) {
    let mut paths: Vec<_> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {name}");
    let mut slowest = (Duration::ZERO, PathBuf::new());
    for path in &paths {
        // The name is seen only when the check fails.
        eprintln!("{}", path.display());
        let bytes = std::fs::read(path).unwrap();
        let start = Instant::now();
        check(&bytes);
        slowest = slowest.max((start.elapsed(), path.clone()));
    }
    let (time, path) = slowest;
    println!(
        "{name}: {} inputs, slowest {time:?}: {}",
        paths.len(),
        path.display()
    );
    assert!(time < HANG, "{} took {time:?}", path.display());
}

/// Where a seed is.
pub fn path(check: &str, name: &str) -> PathBuf {
    folder(check).join(name)
}

/// Writes a seed again.
pub fn write(check: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder(check)).unwrap();
    std::fs::write(path(check, name), bytes).unwrap();
}
