//! Streaming fundamental frequency.
//!
//! Source: Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
//! sampled sound" (IFA Proceedings 17, 1993): candidates are peaks of the autocorrelation divided by that of the
//! window, and the cheapest path through them is the contour. What is ours, because a stream has no future: the path
//! ends a frame and a half ahead in two shorter windows that reach as far as the look-ahead allows; the loudest level
//! is remembered instead of known; a candidate at a short lag must also hold at twice and three times that lag; low
//! frequencies pay for the hum that is often found there.
//!
//! Every constant with no other source was tuned against that method's own offline contour (Praat's autocorrelation,
//! 65 to 1200 Hz) on 29 minutes of open speech and singing and on synthetic glides, and checked on recordings that were
//! not used for it.

mod bridge;
mod candidates;
mod correlation;
mod lattice;
mod level;

pub use bridge::bridge_unvoiced;

use crate::CONTENT_HOP_SAMPLES;
use candidates::{Column, Scan};
use correlation::Correlator;
use level::{Loudest, RumbleFilter};

/// Lowest and highest frequency a tracker can be asked for, in Hz.
const RANGE_HZ: (f32, f32) = (50.0, 1400.0);

/// How an [`F0Tracker`] behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct F0Config {
    /// Lowest frequency that is looked for, in Hz; below 50 counts as 50.
    pub min_hz: f32,
    /// Highest frequency that is looked for, in Hz; above 1400 counts as 1400.
    pub max_hz: f32,
}

impl Default for F0Config {
    /// The whole range of voices, 50 to 1400 Hz.
    fn default() -> Self {
        Self {
            min_hz: RANGE_HZ.0,
            max_hz: RANGE_HZ.1,
        }
    }
}

/// Fundamental frequency of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct F0Frame {
    /// Fundamental frequency in Hz, 0 where the frame is unvoiced.
    pub f0_hz: f32,
    /// How periodic the frame is, from 0 (noise) to 1 (exactly periodic); meaningful for unvoiced frames too.
    pub periodicity: f32,
}

/// Samples kept: half of the longest window, and three hops of future.
const HISTORY_SAMPLES: usize = 960;
/// Hops that must be in after a frame's centre: the look-ahead, rounded up.
const FUTURE_SAMPLES: usize = F0Tracker::LOOKAHEAD_SAMPLES.next_multiple_of(CONTENT_HOP_SAMPLES);
/// Where the centre of the frame to be decided lies in the history.
const CENTRE: usize = HISTORY_SAMPLES - FUTURE_SAMPLES;

/// Where the look-ahead ends in the history.
const END: usize = CENTRE + F0Tracker::LOOKAHEAD_SAMPLES;

/// Half of the window of a frame: three periods of 65 Hz in all, the length of the offline method at that floor.
const FRAME_HALF_SAMPLES: usize = 369;
/// Half of the stretches that the mean and the peak are taken over: one period of 65 Hz, and half of one.
const MEAN_HALF_SAMPLES: usize = 246;
const PEAK_HALF_SAMPLES: usize = 123;
/// How far ahead of the frame the two shorter windows lie; both end where the look-ahead does.
const AHEAD_SAMPLES: [usize; 2] = [CONTENT_HOP_SAMPLES, 220];
/// Weight of those windows' evidence against that of a full frame.
const AHEAD_WEIGHTS: [f32; 2] = [1.12, 1.38];

/// Streaming F0 tracker on 16 kHz audio.
///
/// Deterministic: a frame depends on the samples up to [`Self::LOOKAHEAD_SAMPLES`] after its centre and nothing else.
/// Samples that are not finite count as silence.
///
/// Real-time: nothing allocates after construction.
pub struct F0Tracker {
    scan: Scan,
    /// The last samples, and the same without rumble and hum.
    history: Vec<f32>,
    clean: Vec<f32>,
    rumble_filter: RumbleFilter,
    loudest: Loudest,
    frame_window: Correlator,
    ahead_windows: [Correlator; 2],
    /// The frame before, the frame to be decided, and the two stretches ahead of it.
    previous: Column,
    current: Column,
    ahead: [Column; 2],
    received_hops: usize,
}

impl std::fmt::Debug for F0Tracker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("F0Tracker")
            .field("scan", &self.scan)
            .finish_non_exhaustive()
    }
}

impl F0Tracker {
    /// Samples after a frame's centre that must be in before the frame appears (25 ms).
    pub const LOOKAHEAD_SAMPLES: usize = 400;

    /// Pushes that return nothing at the start of a stream.
    const PRIMING_HOPS: usize = FUTURE_SAMPLES / CONTENT_HOP_SAMPLES - 1;

    /// A tracker at the start of a stream; what lies before the stream counts as silence.
    pub fn new(config: F0Config) -> Self {
        let min_hz = config.min_hz.clamp(RANGE_HZ.0, RANGE_HZ.1);
        let max_hz = config.max_hz.clamp(min_hz, RANGE_HZ.1);
        let scan = Scan::new(min_hz, max_hz);
        let max_lag_samples = scan.max_lag_samples();
        Self {
            scan,
            history: vec![0.0; HISTORY_SAMPLES],
            clean: vec![0.0; HISTORY_SAMPLES],
            rumble_filter: RumbleFilter::new(),
            loudest: Loudest::new(),
            frame_window: Correlator::new(2 * FRAME_HALF_SAMPLES, max_lag_samples),
            ahead_windows: AHEAD_SAMPLES.map(|ahead| {
                let window_samples = 2 * (Self::LOOKAHEAD_SAMPLES - ahead);
                // Beyond three quarters of the window too little overlaps.
                Correlator::new(window_samples, max_lag_samples.min(window_samples * 3 / 4))
            }),
            previous: Column::default(),
            current: Column::default(),
            ahead: Default::default(),
            received_hops: 0,
        }
    }

    /// Takes the next hop at 16 kHz; the first two calls return nothing, call `n` (from 0) returns frame `n − 2`.
    pub fn push(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> Option<F0Frame> {
        self.take(hop);
        if self.received_hops < Self::PRIMING_HOPS {
            self.received_hops += 1;
            return None;
        }
        Some(self.decide())
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        self.clean.fill(0.0);
        self.rumble_filter = RumbleFilter::new();
        self.loudest = Loudest::new();
        self.previous = Column::default();
        self.received_hops = 0;
    }

    fn take(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) {
        let start = HISTORY_SAMPLES - CONTENT_HOP_SAMPLES;
        self.history.copy_within(CONTENT_HOP_SAMPLES.., 0);
        self.clean.copy_within(CONTENT_HOP_SAMPLES.., 0);
        let slots = self.history[start..]
            .iter_mut()
            .zip(&mut self.clean[start..]);
        for ((raw, clean), &sample) in slots.zip(hop) {
            // Far above full scale a sample would only spoil the remembered level.
            *raw = if sample.is_finite() {
                sample.clamp(-8.0, 8.0)
            } else {
                0.0
            };
            *clean = self.rumble_filter.push(*raw);
        }
    }

    fn decide(&mut self) -> F0Frame {
        let (mean, peak) = self.surroundings(CENTRE);
        let relative_level = self.loudest.push(peak);
        let window = &self.history[CENTRE - FRAME_HALF_SAMPLES..CENTRE + FRAME_HALF_SAMPLES];
        let correlation = self.frame_window.normalised(window, mean);
        self.scan
            .run(correlation, relative_level, &mut self.current);
        lattice::extend(&self.previous, &mut self.current, 1.0);

        for index in 0..AHEAD_SAMPLES.len() {
            let centre = CENTRE + AHEAD_SAMPLES[index];
            let (mean, peak) = self.surroundings(centre);
            let half = END - centre;
            let window = &self.history[centre - half..END];
            let correlation = self.ahead_windows[index].normalised(window, mean);
            let (earlier, later) = self.ahead.split_at_mut(index);
            let before = earlier.last().unwrap_or(&self.current);
            self.scan
                .run(correlation, self.loudest.relative(peak), &mut later[0]);
            lattice::extend(before, &mut later[0], AHEAD_WEIGHTS[index]);
        }
        let frame = self.current.frame(lattice::trace(&self.ahead));
        self.current.normalise();
        std::mem::swap(&mut self.previous, &mut self.current);
        frame
    }

    /// Mean of the signal and peak of the clean one near `centre`, as far as the look-ahead lets see.
    fn surroundings(&self, centre: usize) -> (f32, f32) {
        let around = |half: usize| {
            let half = half.min(END - centre);
            centre - half..centre + half
        };
        let near = &self.history[around(MEAN_HALF_SAMPLES)];
        let mean = near.iter().sum::<f32>() / near.len() as f32;
        (
            mean,
            crate::level::peak(&self.clean[around(PEAK_HALF_SAMPLES)]),
        )
    }
}
