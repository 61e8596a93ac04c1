//! A frame decided with 25 ms of future: a full window centred on it, and two shorter ones ahead.

use super::F0Frame;
use super::candidates::{Column, Scan};
use super::correlation::Correlator;
use super::input::Input;
use super::lattice;
use super::level::Loudest;
use crate::CONTENT_HOP_SAMPLES;

/// Samples after a frame's centre that it sees.
pub(super) const LOOKAHEAD_SAMPLES: usize = 400;

/// Half of the window of a frame: three periods of 65 Hz in all, the length of the offline method at that floor.
pub(super) const FRAME_HALF_SAMPLES: usize = 369;
/// How far ahead of the frame the two shorter windows lie; both end where the look-ahead does.
const AHEAD_SAMPLES: [usize; 2] = [CONTENT_HOP_SAMPLES, 220];
/// Weight of those windows' evidence against that of a full frame.
const AHEAD_WEIGHTS: [f32; 2] = [1.12, 1.38];

/// Decides with the long look-ahead.
pub(super) struct LongPath {
    scan: Scan,
    loudest: Loudest,
    frame_window: Correlator,
    ahead_windows: [Correlator; 2],
    /// The frame before, the frame to be decided, and the two stretches ahead of it.
    previous: Column,
    current: Column,
    ahead: [Column; 2],
}

impl LongPath {
    pub(super) fn new(scan: Scan) -> Self {
        let max_lag_samples = scan.max_lag_samples();
        Self {
            scan,
            loudest: Loudest::new(),
            frame_window: Correlator::new(2 * FRAME_HALF_SAMPLES, max_lag_samples),
            ahead_windows: AHEAD_SAMPLES.map(|ahead| {
                let window_samples = 2 * (LOOKAHEAD_SAMPLES - ahead);
                // Beyond three quarters of the window too little overlaps.
                Correlator::new(window_samples, max_lag_samples.min(window_samples * 3 / 4))
            }),
            previous: Column::default(),
            current: Column::default(),
            ahead: Default::default(),
        }
    }

    pub(super) fn reset(&mut self) {
        self.loudest = Loudest::new();
        self.previous = Column::default();
    }

    pub(super) fn decide(&mut self, input: &Input) -> F0Frame {
        let relative_level = self.loudest.push(input.peak(LOOKAHEAD_SAMPLES));
        let mean = input.mean(LOOKAHEAD_SAMPLES);
        let window = input.around(LOOKAHEAD_SAMPLES, FRAME_HALF_SAMPLES);
        let correlation = self.frame_window.normalised(window, mean);
        self.scan
            .run(correlation, relative_level, &mut self.current);
        lattice::extend(&self.previous, &mut self.current, 1.0, &lattice::LONG);

        for (index, ahead) in AHEAD_SAMPLES.into_iter().enumerate() {
            let half = LOOKAHEAD_SAMPLES - ahead;
            let level = self.loudest.relative(input.peak(half));
            let window = input.around(half, half);
            let correlation = self.ahead_windows[index].normalised(window, input.mean(half));
            let (earlier, later) = self.ahead.split_at_mut(index);
            let before = earlier.last().unwrap_or(&self.current);
            self.scan.run(correlation, level, &mut later[0]);
            lattice::extend(before, &mut later[0], AHEAD_WEIGHTS[index], &lattice::LONG);
        }
        let frame = self.current.frame(lattice::trace(&self.ahead));
        self.current.normalise();
        std::mem::swap(&mut self.previous, &mut self.current);
        frame
    }
}
