//! Loudness of a frame.

use crate::CONTENT_HOP_SAMPLES;

/// Length of the Hann window, in samples at 16 kHz (30 ms).
const WINDOW_SAMPLES: usize = 480;
/// The window and what has come in after its end: hops are longer than what the look-ahead needs of the last one.
const HISTORY_SAMPLES: usize = 560;
const _: () = assert!(
    HISTORY_SAMPLES
        == WINDOW_SAMPLES / 2
            + LoudnessMeter::LOOKAHEAD_SAMPLES.next_multiple_of(CONTENT_HOP_SAMPLES)
);

/// Added to the mean square: silence reads −100 dBFS.
const FLOOR: f64 = 1e-10;

/// Streaming loudness: `10·log10(mean square + 1e-10)` dBFS over a Hann-weighted 30 ms window centred on each frame.
///
/// Frame `k` weighs samples `160k − 240 + n` with `0.5 − 0.5·cos(2πn/480)`, `n = 0..480`; the weights are divided by
/// their sum, so a constant of 1 reads 0 dBFS and a sine of amplitude 1 reads −3.01 dBFS.
///
/// Real-time: no allocation after construction.
#[derive(Debug, Clone)]
pub struct LoudnessMeter {
    weights: [f64; WINDOW_SAMPLES],
    history: [f32; HISTORY_SAMPLES],
    received_hops: u8,
}

impl LoudnessMeter {
    /// Samples after a frame's centre that must be in before the frame appears.
    pub const LOOKAHEAD_SAMPLES: usize = WINDOW_SAMPLES / 2;

    /// Pushes that return nothing at the start of a stream.
    const PRIMING_HOPS: u8 = Self::LOOKAHEAD_SAMPLES.div_ceil(CONTENT_HOP_SAMPLES) as u8 - 1;

    /// A meter at the start of a stream; what lies before the stream counts as silence.
    pub fn new() -> Self {
        let mut weights = [0.0; WINDOW_SAMPLES];
        for (n, weight) in weights.iter_mut().enumerate() {
            let phase = std::f64::consts::TAU * n as f64 / WINDOW_SAMPLES as f64;
            // The sum of a periodic Hann window is half its length.
            *weight = (0.5 - 0.5 * phase.cos()) / (WINDOW_SAMPLES as f64 / 2.0);
        }
        Self {
            weights,
            history: [0.0; HISTORY_SAMPLES],
            received_hops: 0,
        }
    }

    /// Takes the next hop at 16 kHz; the first call returns nothing, call `n` (from 0) returns frame `n − 1` in dBFS.
    ///
    /// Samples that are not finite count as silence.
    pub fn push(&mut self, hop: &[f32; CONTENT_HOP_SAMPLES]) -> Option<f32> {
        self.history.copy_within(CONTENT_HOP_SAMPLES.., 0);
        self.history[HISTORY_SAMPLES - CONTENT_HOP_SAMPLES..].copy_from_slice(hop);
        if self.received_hops < Self::PRIMING_HOPS {
            self.received_hops += 1;
            return None;
        }
        let mean_square: f64 = self
            .weights
            .iter()
            .zip(&self.history)
            .map(|(&weight, &sample)| {
                let power = weight * f64::from(sample) * f64::from(sample);
                if power.is_finite() { power } else { 0.0 }
            })
            .sum();
        Some((10.0 * (mean_square + FLOOR).log10()) as f32)
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        self.received_hops = 0;
    }
}

impl Default for LoudnessMeter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Loudness of every frame of `signal`, which is read as if silence followed it.
    fn frames(signal: &[f32]) -> Vec<f32> {
        let mut meter = LoudnessMeter::new();
        let hops = signal.len() / CONTENT_HOP_SAMPLES;
        let mut levels = Vec::new();
        for index in 0..hops + 1 {
            let mut hop = [0.0; CONTENT_HOP_SAMPLES];
            if index < hops {
                hop.copy_from_slice(&signal[index * CONTENT_HOP_SAMPLES..][..CONTENT_HOP_SAMPLES]);
            }
            levels.extend(meter.push(&hop));
        }
        levels
    }

    #[test]
    fn sine_reads_its_rms_and_silence_the_floor() {
        let sine: Vec<f32> = (0..16_000)
            .map(|i| (i as f32 * std::f32::consts::TAU * 437.0 / 16_000.0).sin())
            .collect();
        let levels = frames(&sine);
        assert_eq!(levels.len(), 100);
        for level in &levels[3..97] {
            assert!((level + 3.0103).abs() < 0.02, "{level}");
        }
        assert!(frames(&[0.0; 1600]).iter().all(|&level| level == -100.0));
    }

    #[test]
    fn a_frame_is_centred_on_its_time() {
        // An impulse at 160k is heard loudest, at weight 1, by frame k and equally by both neighbours.
        let mut signal = vec![0.0; 3200];
        signal[1600] = 1.0;
        let levels = frames(&signal);
        let loudest = (0..levels.len())
            .max_by(|&a, &b| levels[a].total_cmp(&levels[b]))
            .unwrap();
        assert_eq!(loudest, 10);
        assert!((levels[9] - levels[11]).abs() < 1e-4);
        assert!((levels[10] - 10.0 * (1.0f32 / 240.0).log10()).abs() < 1e-4);
    }

    #[test]
    fn nan_counts_as_silence() {
        assert!(
            frames(&[f32::NAN; 1600])
                .iter()
                .all(|&level| level == -100.0)
        );
    }
}
