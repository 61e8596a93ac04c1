//! The worker threads: each looks at every stream in turn and steps the one that has work and nobody else is at.
//!
//! They poll. Waking a thread is a system call, which the audio thread does not make; a look at a ring is two atomic
//! loads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Job, Slot, State, loader};
use crate::error::EngineError;
use crate::worker::Step;

/// Between two looks while something sounds. Well within the slack of the live tier.
const SOUNDING: Duration = Duration::from_micros(500);
/// While all streams are silent.
const SILENT: Duration = Duration::from_millis(2);
/// While no host calls.
const IDLE: Duration = Duration::from_millis(10);
/// A host that has not called for so long is idle.
const IDLE_AFTER: Duration = Duration::from_secs(5);
/// So long before a silent host's next call, as far as it can be foretold, looks begin again.
const EARLY: Duration = Duration::from_micros(1500);
/// Longest rest between two calls of a silent host: another stream may begin to play meanwhile.
const REST: Duration = Duration::from_millis(6);

/// How often a host calls, as looks have seen it: between two calls there is nothing to look for.
struct Rhythm {
    called: Instant,
    /// Times between the last calls, in no order.
    gaps: [Duration; 8],
    next: usize,
}

impl Rhythm {
    fn new(now: Instant) -> Self {
        Self {
            called: now,
            gaps: [Duration::ZERO; 8],
            next: 0,
        }
    }

    /// A look at `now` has seen that the host has called.
    fn call(&mut self, now: Instant) {
        self.gaps[self.next] = now.duration_since(self.called);
        self.next = (self.next + 1) % self.gaps.len();
        self.called = now;
    }

    /// How long at `now` until it is time to look again.
    fn rest(&self, now: Instant) -> Duration {
        let least = self.gaps.iter().min().copied().unwrap_or_default();
        (self.called + least)
            .saturating_duration_since(now + EARLY)
            .clamp(SILENT, REST)
    }
}

pub(super) fn run(state: &State, index: usize) {
    let mut seen = u64::MAX;
    let mut slots: Vec<Arc<Slot>> = Vec::new();
    let mut played = 0u64;
    let mut rhythm = Rhythm::new(Instant::now());
    while !state.stop.load(Ordering::Acquire) {
        let generation = state.generation.load(Ordering::Acquire);
        if generation != seen {
            seen = generation;
            let streams = state.streams.lock().clone();
            for slot in std::mem::replace(&mut slots, streams) {
                // Whoever lets go last frees it, which takes longer than the others have.
                if !slots.iter().any(|kept| Arc::ptr_eq(kept, &slot)) {
                    let _ = state.jobs.send(Job::Free(Box::new(slot)));
                }
            }
        }
        let mut worked = false;
        let mut waited_for = false;
        let mut silent = true;
        let mut total = 0u64;
        for turn in 0..slots.len() {
            let slot = &slots[(turn + index) % slots.len()];
            if slot.shared.closed.load(Ordering::Acquire) {
                close(state, slot);
                continue;
            }
            worked |= visit(state, slot);
            let shared = &slot.shared;
            waited_for |= shared.port_waits.load(Ordering::Acquire);
            silent &= shared.counters.asleep.load(Ordering::Relaxed)
                || !shared.sounding.load(Ordering::Acquire);
            total = total.wrapping_add(shared.played_until.load(Ordering::Acquire));
        }
        if total != played {
            played = total;
            rhythm.call(Instant::now());
        }
        if worked {
            continue;
        }
        if waited_for {
            // A host that renders waits: be there at once.
            std::thread::yield_now();
        } else if rhythm.called.elapsed() > IDLE_AFTER {
            std::thread::sleep(IDLE);
        } else if silent {
            std::thread::sleep(rhythm.rest(Instant::now()));
        } else {
            // As many threads as there are streams look often; the others are there when one of those is held up.
            std::thread::sleep(if index >= slots.len() {
                SILENT
            } else {
                SOUNDING
            });
        }
    }
}

/// Steps a stream once, unless another thread is at it.
fn visit(state: &State, slot: &Slot) -> bool {
    let Some(mut worker) = slot.worker.try_lock() else {
        return false;
    };
    let worked = match catch_unwind(AssertUnwindSafe(|| worker.step())) {
        Ok(Ok(step)) => step == Step::Worked,
        Ok(Err(error)) => {
            tracing::error!("{error}");
            false
        }
        Err(panic) => {
            let error = EngineError::Panic(loader::panic_text(panic.as_ref()));
            tracing::error!("{error}");
            worker.fail(&error);
            false
        }
    };
    while let Some(pipeline) = worker.take_left() {
        // The loader lives as long as the workers.
        let _ = state.jobs.send(Job::Free(pipeline));
    }
    worked
}

/// Takes a stream whose port is gone off the list.
fn close(state: &State, slot: &Arc<Slot>) {
    let mut streams = state.streams.lock();
    let before = streams.len();
    streams.retain(|other| !Arc::ptr_eq(other, slot));
    if streams.len() != before {
        state.generation.fetch_add(1, Ordering::Release);
        let _ = state.jobs.send(Job::Free(Box::new(Arc::clone(slot))));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::*;
    use crate::board::PortCounters;
    use crate::controls::Tier;
    use crate::port::StreamConfig;
    use crate::ring;
    use crate::status::VoiceState;
    use crate::worker::Worker;

    #[test]
    fn between_the_calls_of_a_silent_host_a_worker_rests_and_looks_before_the_next() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut rhythm = Rhythm::new(start);
        // Before it is known how often the host calls, and when it calls often, looks are as close as ever.
        rhythm.call(at(10));
        assert_eq!(rhythm.rest(at(10)), SILENT);
        for call in 2..10 {
            rhythm.call(at(10 * call));
        }
        assert_eq!(rhythm.rest(at(90)), REST);
        assert_eq!(rhythm.rest(at(96)), Duration::from_micros(2500));
        assert_eq!(rhythm.rest(at(99)), SILENT);
        // One call that comes early is enough.
        rhythm.call(at(92));
        for call in 10..14 {
            rhythm.call(at(10 * call));
        }
        assert_eq!(rhythm.rest(at(130)), SILENT);
    }

    #[test]
    fn a_panic_of_the_worker_is_caught_told_and_over() {
        let config = StreamConfig {
            host_rate_hz: 48_000,
            max_block_samples: 64,
            channels: 1,
            tier: Tier::Live,
        };
        let (shared, _port, ends) = ring::stream(config, 2000);
        let mut worker = Worker::new(Arc::clone(&shared), ends);
        worker.panics = true;
        let slot = Slot {
            worker: Mutex::new(worker),
            shared,
            voice: Mutex::new(None),
        };
        let (jobs, _work) = mpsc::channel();
        let state = State {
            streams: Mutex::default(),
            generation: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            jobs,
        };
        assert!(!visit(&state, &slot));
        let status = slot.shared.snapshot(&PortCounters::default());
        assert_eq!(status.voice_state, VoiceState::Failed);
        assert!(
            status.message.contains("a test asked for this panic"),
            "{}",
            status.message
        );
        slot.worker.lock().panics = false;
        assert!(!visit(&state, &slot), "idle again");
    }
}
