//! How long a thread has worked, read by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Time spent; its copies show the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopwatch(Arc<AtomicU64>);

/// While it lives, time is counted.
pub(crate) struct Running<'a> {
    stopwatch: &'a Stopwatch,
    started: Instant,
}

impl Stopwatch {
    /// Counts until what is given is dropped.
    pub fn run(&self) -> Running<'_> {
        Running {
            stopwatch: self,
            started: Instant::now(),
        }
    }

    /// Seconds counted since the last call.
    pub fn take_s(&self) -> f32 {
        self.0.swap(0, Ordering::Relaxed) as f32 * 1e-9
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let nanoseconds = self.started.elapsed().as_nanos() as u64;
        self.stopwatch.0.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
