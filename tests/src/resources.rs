//! What this process holds of the system (Linux).

use crate::worker;

/// Memory, files and threads at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Memory that would be free without the process.
    pub memory_bytes: u64,
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: usize,
}

impl Resources {
    /// What it holds now.
    #[must_use]
    pub fn now() -> Self {
        let count =
            |folder| std::fs::read_dir(format!("/proc/self/{folder}")).map_or(0, Iterator::count);
        Self {
            memory_bytes: worker::proportional_bytes(std::process::id()),
            files: count("fd"),
            threads: count("task"),
        }
    }
}
