//! The streaming parts do not touch the heap once they are built.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use timbra_dsp::Lookahead;
use timbra_dsp::delay::DelayLine;
use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::gate::{Gate, GateConfig};
use timbra_dsp::loudness::LoudnessMeter;
use timbra_dsp::resample::StreamResampler;

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // The cell is gone while its thread ends; nothing is measured then.
    let _ = REQUESTS.try_with(|requests| requests.set(requests.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting touches a cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the pointer came from `System` by `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn requests_during(work: impl FnOnce()) -> usize {
    let before = REQUESTS.get();
    work();
    REQUESTS.get() - before
}

#[test]
fn the_counter_counts() {
    assert!(requests_during(|| drop(std::hint::black_box(vec![0u8; 100]))) >= 2);
}

#[test]
fn streaming_parts_do_not_allocate() {
    let mut signal = vec![0.0; 48_000];
    timbra_dsp::noise::fill(1, 0, &mut signal);
    for (n, sample) in signal.iter_mut().enumerate() {
        *sample = 0.1 * *sample + 0.5 * (n as f32 * 0.07).sin();
    }
    let lookaheads = [Lookahead::Long, Lookahead::Short];
    let mut trackers = lookaheads.map(|lookahead| {
        F0Tracker::new(F0Config {
            lookahead,
            ..F0Config::default()
        })
    });
    let mut meters = lookaheads.map(LoudnessMeter::with_lookahead);
    let mut gate = Gate::new(GateConfig::default(), 48_000);
    let mut line = DelayLine::new(1000);
    let mut resamplers = [
        (48_000, 16_000),
        (44_100, 48_000),
        (47_999, 16_000),
        (48_000, 48_000),
    ]
    .map(|(from, to)| StreamResampler::new(from, to).unwrap());
    let mut output = vec![0.0; 8_000];
    let requests = requests_during(|| {
        for hop in signal.as_chunks().0 {
            for (tracker, meter) in trackers.iter_mut().zip(&mut meters) {
                tracker.push(hop);
                meter.push(hop);
            }
        }
        for resampler in &mut resamplers {
            for block in signal.chunks(1000) {
                resampler.push(block, &mut output);
            }
            resampler.push(&signal[..1], &mut output);
            resampler.reset();
        }
        gate.process(&mut signal);
        line.process(&mut signal);
        timbra_dsp::noise::fill(1, 77, &mut signal);
        for (tracker, meter) in trackers.iter_mut().zip(&mut meters) {
            tracker.reset();
            meter.reset();
        }
    });
    assert_eq!(requests, 0);
}
