//! A frame decided with 10 ms of future: windows that reach into the past tell which octave it is and whether there is a
//! voice, the newest periods tell the frequency.

use super::F0Frame;
use super::candidates::{Column, Scan, Scoring};
use super::correlation::Correlator;
use super::input::Input;
use super::lattice::{self, Costs};
use super::level::Loudest;
use super::long::FRAME_HALF_SAMPLES;
use super::periods::PeriodMatcher;
use crate::{CONTENT_HOP_SAMPLES, CONTENT_RATE_HZ};

/// Samples after a frame's centre that it sees.
pub(super) const LOOKAHEAD_SAMPLES: usize = CONTENT_HOP_SAMPLES;

/// Weights of the evidence of the newest periods, a frame ago and now, against that of a full window.
const EARLIER_WEIGHT: f32 = 1.0;
const NEWEST_WEIGHT: f32 = 1.5;

/// How a full window is judged.
///
/// These and the constants of this file were tuned as a whole on the synthetic signals of `benches/f0_trackers.py` with
/// other seeds than those it reports, and on eight minutes of recordings against what most offline trackers say.
const WINDOWS: Scoring = Scoring {
    voicing_threshold: 0.4,
    silence_level: 0.037,
    octave_cost: 0.045,
    octave_reference_hz: 700.0,
    low_cost: 0.2,
    repeat_hz: 180.0,
    repeat_weight: 0.4,
    repeat_may_raise: true,
};
/// How the newest periods are: they have fewer repetitions to tell a tone from noise by.
const NEWEST: Scoring = Scoring {
    voicing_threshold: 0.39,
    silence_level: 0.045,
    octave_cost: 0.06,
    repeat_weight: 0.7,
    ..WINDOWS
};
/// Of a step from one full window to the next.
const STEP: Costs = Costs {
    voicing_change: 0.22,
    jump: 0.42,
};
/// Of one to the newest periods.
const SHORT_STEP: Costs = Costs {
    voicing_change: 0.186,
    jump: 0.6,
};

/// A change over a frame that is larger, in octaves, is a jump and no slope.
const STEEPEST_OCTAVES: f32 = 0.16;

/// Decides with the short look-ahead.
///
/// All windows end where the look-ahead does. The best paths run through the full windows, whose middle lies 13 ms before
/// the frame; from there through the newest periods as they were a frame ago to the newest periods, in which the frame is
/// read.
pub(super) struct ShortPath {
    /// For the windows, and for the newest periods.
    scans: [Scan; 2],
    loudest: Loudest,
    full_window: Correlator,
    periods: PeriodMatcher,
    previous: Column,
    current: Column,
    earlier: Column,
    newest: Column,
    /// F0 of the two frames before in Hz, 0 where unvoiced, the later first.
    past_hz: [f32; 2],
    range_hz: (f32, f32),
}

impl ShortPath {
    pub(super) fn new(range_hz: (f32, f32)) -> Self {
        let scans = [WINDOWS, NEWEST].map(|scoring| Scan::new(range_hz.0, range_hz.1, scoring));
        let max_lag_samples = scans[0].max_lag_samples();
        Self {
            scans,
            loudest: Loudest::new(),
            full_window: Correlator::new(2 * FRAME_HALF_SAMPLES, max_lag_samples),
            periods: PeriodMatcher::new(LOOKAHEAD_SAMPLES, max_lag_samples),
            previous: Column::default(),
            current: Column::default(),
            earlier: Column::default(),
            newest: Column::default(),
            past_hz: [0.0; 2],
            range_hz,
        }
    }

    pub(super) fn reset(&mut self) {
        self.loudest = Loudest::new();
        self.previous = Column::default();
        self.earlier = Column::default();
        self.past_hz = [0.0; 2];
    }

    pub(super) fn decide(&mut self, input: &Input) -> F0Frame {
        let newest_level = self.loudest.push(input.peak(LOOKAHEAD_SAMPLES));

        let mean = input.mean(FRAME_HALF_SAMPLES);
        let window = input.around(FRAME_HALF_SAMPLES, FRAME_HALF_SAMPLES);
        let correlation = self.full_window.normalised(window, mean);
        let level = self.loudest.relative(input.peak(FRAME_HALF_SAMPLES));
        self.scans[0].run(correlation, level, &mut self.current);
        lattice::extend(&self.previous, &mut self.current, 1.0, &STEP);

        let mut before = &self.current;
        if !self.earlier.candidates().is_empty() {
            lattice::extend(before, &mut self.earlier, EARLIER_WEIGHT, &SHORT_STEP);
            before = &self.earlier;
        }

        let correlation = self.periods.normalised(input.known());
        self.scans[1].run(correlation, newest_level, &mut self.newest);
        lattice::extend(before, &mut self.newest, NEWEST_WEIGHT, &SHORT_STEP);

        let mut frame = self.newest.frame(self.newest.best());
        let read_hz = frame.f0_hz;
        frame.f0_hz = self.at_centre(read_hz);
        self.past_hz = [read_hz, self.past_hz[0]];
        self.current.normalise();
        std::mem::swap(&mut self.previous, &mut self.current);
        std::mem::swap(&mut self.earlier, &mut self.newest);
        frame
    }

    /// F0 at the frame's centre, from what was read: two long periods lie before it, and the slope of the frames before
    /// says what has changed since.
    fn at_centre(&self, read_hz: f32) -> f32 {
        let [before_hz, earlier_hz] = self.past_hz;
        let smooth =
            |past_hz: f32| past_hz > 0.0 && (read_hz / past_hz).log2().abs() < STEEPEST_OCTAVES;
        if read_hz <= 0.0 || !smooth(before_hz) {
            return read_hz;
        }
        let delay_samples = self.periods.delay_samples(CONTENT_RATE_HZ as f32 / read_hz);
        if delay_samples <= 0.0 {
            return read_hz;
        }
        // Octaves per frame.
        let slope = if smooth(earlier_hz) {
            0.5 * (read_hz / earlier_hz).log2()
        } else {
            (read_hz / before_hz).log2()
        };
        let frames = delay_samples / CONTENT_HOP_SAMPLES as f32;
        (read_hz * (slope * frames).exp2()).clamp(self.range_hz.0, self.range_hz.1)
    }
}
