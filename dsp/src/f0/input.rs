//! What a tracker keeps of its signal.

use super::level::RumbleFilter;
use crate::CONTENT_HOP_SAMPLES;

/// Samples kept: half of the longest window of the long look-ahead, and three hops of future.
const HISTORY_SAMPLES: usize = 960;

/// Half of the stretches that the mean and the peak are taken over: one period of 65 Hz, and half of one.
const MEAN_HALF_SAMPLES: usize = 246;
const PEAK_HALF_SAMPLES: usize = 123;

/// The last samples, and the same without rumble and hum.
pub(super) struct Input {
    history: Vec<f32>,
    clean: Vec<f32>,
    rumble_filter: RumbleFilter,
    /// Where the look-ahead of the frame to be decided ends in the history.
    end: usize,
}

impl Input {
    /// An input whose next frame lies `future_samples` before the newest sample and uses `lookahead_samples` of them.
    pub(super) fn new(future_samples: usize, lookahead_samples: usize) -> Self {
        Self {
            history: vec![0.0; HISTORY_SAMPLES],
            clean: vec![0.0; HISTORY_SAMPLES],
            rumble_filter: RumbleFilter::new(),
            end: HISTORY_SAMPLES - future_samples + lookahead_samples,
        }
    }

    pub(super) fn reset(&mut self) {
        self.history.fill(0.0);
        self.clean.fill(0.0);
        self.rumble_filter = RumbleFilter::new();
    }

    pub(super) fn take(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) {
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

    /// All that may be used of the signal, up to where the look-ahead ends.
    pub(super) fn known(&self) -> &[f32] {
        &self.history[..self.end]
    }

    /// The stretch of `2 * half_samples` whose middle lies `before_end_samples` before the look-ahead's end.
    pub(super) fn around(&self, before_end_samples: usize, half_samples: usize) -> &[f32] {
        let centre = self.end - before_end_samples;
        &self.history[centre - half_samples..centre + half_samples]
    }

    /// Mean of the signal near a place, as far as the look-ahead lets see.
    pub(super) fn mean(&self, before_end_samples: usize) -> f32 {
        let near = self.around(
            before_end_samples,
            MEAN_HALF_SAMPLES.min(before_end_samples),
        );
        near.iter().sum::<f32>() / near.len() as f32
    }

    /// Peak of the clean signal near a place, as far as the look-ahead lets see.
    pub(super) fn peak(&self, before_end_samples: usize) -> f32 {
        let centre = self.end - before_end_samples;
        let half = PEAK_HALF_SAMPLES.min(before_end_samples);
        crate::level::peak(&self.clean[centre - half..centre + half])
    }
}
