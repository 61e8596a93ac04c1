//! What a frame could be: unvoiced, or one of the peaks of its autocorrelation.

use super::F0Frame;
use super::correlation::LAGS_PER_SAMPLE;
use crate::CONTENT_RATE_HZ;

/// What makes a candidate good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scoring {
    /// Score of the unvoiced candidate: a peak must be this high to be a period.
    pub(super) voicing_threshold: f32,
    /// Level, relative to the loudest, below which a frame is rather taken for silence.
    pub(super) silence_level: f32,
    /// What a candidate loses per octave below the reference: of peaks alike the shortest period is the true one.
    pub(super) octave_cost: f32,
    pub(super) octave_reference_hz: f32,
    /// What it loses besides per octave below 90 Hz, where hum lies and the periods of a rough voice pair up.
    pub(super) low_cost: f32,
    /// From this frequency on, and fully from twice of it, a period must repeat: the noise of fricatives has peaks at
    /// short lags that die out, a tone has not. The score moves by this part to the mean at twice and three times the
    /// lag.
    pub(super) repeat_hz: f32,
    pub(super) repeat_weight: f32,
    /// Whether that mean may also be higher than the peak: both err by chance, and a tone shall not pay for it.
    pub(super) repeat_may_raise: bool,
}

/// With the long look-ahead.
pub(super) const LONG: Scoring = Scoring {
    voicing_threshold: 0.42,
    silence_level: 0.037,
    octave_cost: 0.027,
    octave_reference_hz: 1180.0,
    low_cost: 0.2,
    repeat_hz: 375.0,
    repeat_weight: 0.8,
    repeat_may_raise: false,
};

const LOW_HZ: f32 = 90.0;
/// How far outside the range a peak may lie and still count as the range's end.
const RANGE_MARGIN: f32 = 1.04;

/// Candidates of one frame, the unvoiced one included.
const CAPACITY: usize = 16;

/// One candidate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Candidate {
    /// Frequency, 0 for the unvoiced candidate.
    pub(super) f0_hz: f32,
    /// Height of the peak, at most 1.
    periodicity: f32,
    /// How good it is by itself.
    pub(super) strength: f32,
    /// How good the best path that ends in it is.
    pub(super) score: f32,
    /// The candidate of the frame before on that path.
    pub(super) from: usize,
}

/// The candidates of one frame; the first is the unvoiced one. Empty before the first frame.
#[derive(Debug, Clone, Default)]
pub(super) struct Column {
    candidates: [Candidate; CAPACITY],
    count: usize,
}

impl Column {
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates[..self.count]
    }

    pub(super) fn candidates_mut(&mut self) -> &mut [Candidate] {
        &mut self.candidates[..self.count]
    }

    /// Index of the candidate in which the best path ends.
    pub(super) fn best(&self) -> usize {
        let scores = self.candidates().iter().map(|candidate| candidate.score);
        let top = scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        top.map_or(0, |(index, _)| index)
    }

    /// Lowers all scores so that the best is 0: they would grow for ever.
    pub(super) fn normalise(&mut self) {
        let top = self.candidates[self.best()].score;
        for candidate in self.candidates_mut() {
            candidate.score -= top;
        }
    }

    /// The frame, if candidate `chosen` is the right one.
    pub(super) fn frame(&self, chosen: usize) -> F0Frame {
        let Candidate {
            f0_hz, periodicity, ..
        } = self.candidates[chosen];
        let highest = self
            .candidates()
            .iter()
            .fold(0.0, |top: f32, candidate| top.max(candidate.periodicity));
        F0Frame {
            f0_hz,
            periodicity: if f0_hz > 0.0 { periodicity } else { highest }.clamp(0.0, 1.0),
        }
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds a candidate, in place of the weakest if there is no room.
    fn add(&mut self, candidate: Candidate) {
        if self.count < CAPACITY {
            self.candidates[self.count] = candidate;
            self.count += 1;
        } else if let Some(weakest) = self.candidates[1..]
            .iter_mut()
            .min_by(|a, b| a.strength.total_cmp(&b.strength))
            && weakest.strength < candidate.strength
        {
            *weakest = candidate;
        }
    }
}

/// Finds the candidates within a range of frequencies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    min_hz: f32,
    max_hz: f32,
    scoring: Scoring,
}

/// Lags of the grid per second.
const LAG_RATE_HZ: f32 = (CONTENT_RATE_HZ as usize * LAGS_PER_SAMPLE) as f32;

impl Scan {
    pub(super) fn new(min_hz: f32, max_hz: f32, scoring: Scoring) -> Self {
        Self {
            min_hz,
            max_hz,
            scoring,
        }
    }

    /// The longest lag it looks at.
    pub(super) fn max_lag_samples(&self) -> usize {
        (CONTENT_RATE_HZ as f32 * RANGE_MARGIN / self.min_hz) as usize + 2
    }

    /// Fills `column` from a normalised autocorrelation and the frame's level relative to the loudest.
    pub(super) fn run(&self, correlation: &[f32], relative_level: f32, column: &mut Column) {
        column.clear();
        // The closer to silence, the likelier unvoiced, up to certainty.
        let Scoring {
            voicing_threshold,
            silence_level,
            ..
        } = self.scoring;
        let silence = (2.0 - relative_level * (1.0 + voicing_threshold) / silence_level).max(0.0);
        column.add(Candidate {
            strength: voicing_threshold + silence,
            ..Candidate::default()
        });
        let shortest = (LAG_RATE_HZ / (self.max_hz * RANGE_MARGIN)) as usize;
        let longest = (LAG_RATE_HZ * RANGE_MARGIN / self.min_hz) as usize;
        for lag in shortest.max(1)..=longest.min(correlation.len().saturating_sub(2)) {
            let (left, middle, right) =
                (correlation[lag - 1], correlation[lag], correlation[lag + 1]);
            if middle > 0.5 * voicing_threshold && middle > left && middle >= right {
                self.add_peak(correlation, lag, column);
            }
        }
    }

    fn add_peak(&self, correlation: &[f32], lag: usize, column: &mut Column) {
        let (left, middle, right) = (correlation[lag - 1], correlation[lag], correlation[lag + 1]);
        // Vertex of the parabola through the three.
        let offset = 0.5 * (left - right) / (left - 2.0 * middle + right);
        let height = middle - 0.25 * (left - right) * offset;
        // Near the window's length the division by its autocorrelation can overshoot.
        let height = if height > 1.0 { 1.0 / height } else { height };
        let true_lag = lag as f32 + offset;
        let frequency_hz = LAG_RATE_HZ / true_lag;
        if !(self.min_hz / RANGE_MARGIN..=self.max_hz * RANGE_MARGIN).contains(&frequency_hz) {
            return;
        }
        let f0_hz = frequency_hz.clamp(self.min_hz, self.max_hz);
        let periodicity = self.scoring.repeated(correlation, true_lag, f0_hz, height);
        let Scoring {
            octave_cost,
            octave_reference_hz,
            low_cost,
            ..
        } = self.scoring;
        let cost = octave_cost * (octave_reference_hz / f0_hz).log2()
            + low_cost * (LOW_HZ / f0_hz).max(1.0).log2();
        column.add(Candidate {
            f0_hz,
            periodicity,
            strength: periodicity - cost,
            ..Candidate::default()
        });
    }
}

impl Scoring {
    /// Height of a peak, lowered if it is not repeated at twice and three times its lag.
    fn repeated(&self, correlation: &[f32], lag: f32, f0_hz: f32, height: f32) -> f32 {
        if f0_hz <= self.repeat_hz {
            return height;
        }
        let at = |position: f32| {
            let below = position as usize;
            let fraction = position.fract();
            match correlation.get(below..below + 2) {
                Some(pair) => pair[0] * (1.0 - fraction) + pair[1] * fraction,
                None => height,
            }
        };
        let repeats = 0.5 * (at(2.0 * lag) + at(3.0 * lag));
        let repeats = if self.repeat_may_raise {
            repeats
        } else {
            height.min(repeats)
        };
        let weight = self.repeat_weight * (f0_hz / self.repeat_hz).log2().min(1.0);
        height * (1.0 - weight) + repeats * weight
    }
}
