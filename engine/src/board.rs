//! What the port, the worker and the watchers of a stream tell each other beside the rings: numbers only.
//!
//! A board may lie in memory shared by two processes. It is made of atomics, so that any bits are a value, and nothing
//! in it is believed further than that.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::status::{F0Point, VoiceState};

/// Points of F0 that are kept: a little more than 5 s.
pub const F0_HISTORY_POINTS: usize = 512;

/// Yes or no. Unlike `AtomicBool` every bit pattern is one of the two.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Flag(AtomicU32);

impl Flag {
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order) != 0
    }

    pub fn store(&self, value: bool, order: Ordering) {
        self.0.store(u32::from(value), order);
    }
}

/// The numbers of a stream that both sides see.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Board {
    /// Positions before this one have been played. Written by the port.
    pub played_until: AtomicU64,
    /// The port sleeps until the worker has caught up.
    pub port_waits: Flag,
    /// The port is gone.
    pub closed: Flag,
    /// Positions before this one are in the ring or never will be. From here on written by the worker.
    pub decided_until: AtomicU64,
    /// From this position on the worker was asked for sound: what is missing there is a gap.
    pub sound_from: AtomicU64,
    /// The worker has a voice.
    pub sounding: Flag,
    /// A voice is being loaded. Set by whoever asks, cleared by the worker's side.
    pub loading: Flag,
    /// A change waits or is about to take over.
    pub has_incoming: Flag,
    /// Counts the voices asked for.
    pub asked: AtomicU64,
    /// The last of them that was settled, and whether it plays.
    pub settled: AtomicU64,
    pub settled_well: Flag,
    pub counters: Counters,
    pub f0: F0History,
}

impl Board {
    /// From zeros to a stream that has not begun.
    pub fn prepare(&self) {
        self.sound_from.store(u64::MAX, Ordering::Release);
    }
}

/// What the worker counts and anybody reads.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Counters {
    voice_state: AtomicU8,
    /// Compute time over audio time.
    pub load_bits: AtomicU32,
    pub skipped_frames: AtomicU64,
    pub replaced_frames: AtomicU64,
    pub asleep: Flag,
}

impl Counters {
    pub fn voice_state(&self) -> VoiceState {
        VoiceState::from_u8(self.voice_state.load(Ordering::Acquire))
    }

    pub fn set_voice_state(&self, state: VoiceState) {
        self.voice_state.store(state as u8, Ordering::Release);
    }
}

/// What the audio thread counts and anybody reads; it outlives a worker.
#[derive(Debug, Default)]
pub(crate) struct PortCounters {
    pub gaps: AtomicU64,
    pub gap_samples: AtomicU64,
    pub bad_input_samples: AtomicU64,
    in_peak_bits: AtomicU32,
    out_peak_bits: AtomicU32,
    pub free_wheeling: Flag,
}

impl PortCounters {
    pub fn raise_peaks(&self, in_peak: f32, out_peak: f32) {
        // Bits of non-negative floats are ordered as the floats are.
        for (bits, peak) in [
            (&self.in_peak_bits, in_peak),
            (&self.out_peak_bits, out_peak),
        ] {
            if peak > 0.0 && peak.is_finite() {
                bits.fetch_max(peak.to_bits(), Ordering::Relaxed);
            }
        }
    }

    /// Largest input and output sample since the last call.
    pub fn take_peaks(&self) -> (f32, f32) {
        let take = |bits: &AtomicU32| f32::from_bits(bits.swap(0, Ordering::Relaxed));
        (take(&self.in_peak_bits), take(&self.out_peak_bits))
    }
}

/// Adds to a counter that is only ever read for show.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// The last few seconds of F0. One writes, any number read, nobody waits; a reader may miss what is being written.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct F0History {
    /// Points written so far.
    count: AtomicU64,
    /// Time in seconds, and the two F0, as bits.
    points: [[AtomicU64; 2]; F0_HISTORY_POINTS],
}

impl F0History {
    pub fn push(&self, point: F0Point) {
        let count = self.count.load(Ordering::Relaxed);
        let place = &self.points[count as usize % F0_HISTORY_POINTS];
        let both = u64::from(point.in_hz.to_bits()) << 32 | u64::from(point.out_hz.to_bits());
        place[0].store(point.time_s.to_bits(), Ordering::Relaxed);
        place[1].store(both, Ordering::Relaxed);
        self.count.store(count.wrapping_add(1), Ordering::Release);
    }

    /// Oldest first.
    pub fn snapshot(&self) -> Vec<F0Point> {
        let count = self.count.load(Ordering::Acquire);
        // The oldest may be overwritten while it is read.
        let kept = count.min(F0_HISTORY_POINTS as u64 - 1);
        (count - kept..count)
            .map(|index| {
                let [time, both] = &self.points[index as usize % F0_HISTORY_POINTS];
                let both = both.load(Ordering::Relaxed);
                F0Point {
                    time_s: f64::from_bits(time.load(Ordering::Relaxed)),
                    in_hz: f32::from_bits((both >> 32) as u32),
                    out_hz: f32::from_bits(both as u32),
                }
            })
            .collect()
    }
}
