//! The spectrograms of a VITS training.
//!
//! Frame `k` is the window around the middle of hop `k`; before the first and after the last sample the signal is
//! mirrored, so that `T` hops have `T` frames.
//!
//! Source: Kong et al., HiFi-GAN (2010.05646); mel scale and band areas after Slaney, "Auditory Toolbox" (1998).

use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use realfft::{RealFftPlanner, RealToComplex};

use super::config::window_samples;
use crate::model::causal::from_vec;
use crate::model::folded_dft::{PowerDft, bin_order};

/// Mel bands.
pub const BANDS: usize = 80;
/// Added to a power before the root.
const POWER_FLOOR: f32 = 1e-6;
/// Smallest band before the logarithm.
const BAND_FLOOR: f32 = 1e-5;

/// Linear magnitude spectrograms, without gradients.
#[derive(Clone)]
pub struct LinearSpectrum {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    hop_samples: usize,
}

impl std::fmt::Debug for LinearSpectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinearSpectrum")
            .field("hop_samples", &self.hop_samples)
            .finish()
    }
}

impl LinearSpectrum {
    /// For a hop.
    #[must_use]
    pub fn new(hop_samples: usize) -> Self {
        let window = window_samples(hop_samples);
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(window),
            window: hann(window),
            hop_samples,
        }
    }

    /// Bins of a frame.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.window.len() / 2 + 1
    }

    /// `[bins, frames]`, bin by bin, of `frames · hop` samples.
    #[must_use]
    pub fn of(&self, samples: &[f32]) -> Vec<f32> {
        let (length, hop, bins) = (self.window.len(), self.hop_samples, self.bins());
        let frames = samples.len() / hop;
        let side = (length - hop) / 2;
        let mut out = vec![0.0; bins * frames];
        let mut input = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        for frame in 0..frames {
            for (n, (slot, weight)) in input.iter_mut().zip(&self.window).enumerate() {
                let place = (frame * hop + n) as isize - side as isize;
                *slot = samples[mirrored(place, samples.len())] * weight;
            }
            self.fft
                .process(&mut input, &mut spectrum)
                .expect("buffers come from the plan");
            for (bin, value) in spectrum.iter().enumerate() {
                out[bin * frames + frame] = (value.norm_sqr() + POWER_FLOOR).sqrt();
            }
        }
        out
    }
}

/// `place` mirrored at the first and last of `length` samples.
fn mirrored(place: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last <= 0 {
        return 0;
    }
    let turned = place.rem_euclid(2 * last);
    if turned <= last {
        turned as usize
    } else {
        (2 * last - turned) as usize
    }
}

/// Periodic Hann window.
fn hann(length: usize) -> Vec<f32> {
    let turn = std::f64::consts::TAU / length as f64;
    (0..length)
        .map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32)
        .collect()
}

/// Log-mel spectrograms, with gradients.
#[derive(Debug, Clone)]
pub struct LogMel<B: Backend> {
    hop_samples: usize,
    dft: PowerDft<B>,
    /// Power of the window, which the transform has been divided by.
    window_power: f32,
    bank: Tensor<B, 2>,
}

impl<B: Backend> LogMel<B> {
    /// For a rate and a hop.
    pub fn new(rate_hz: u32, hop_samples: usize, device: &B::Device) -> Self {
        let window = window_samples(hop_samples);
        let bins = window / 2 + 1;
        let bank = slaney_bank(rate_hz, window, BANDS);
        let mut rows = vec![0.0; bins * BANDS];
        for (row, bin) in bin_order(bins).enumerate() {
            for band in 0..BANDS {
                rows[row * BANDS + band] = bank[band * bins + bin];
            }
        }
        Self {
            hop_samples,
            dft: PowerDft::new(window, bins, device),
            window_power: hann(window).iter().map(|w| w * w).sum(),
            bank: from_vec(rows, [bins, BANDS], device),
        }
    }

    /// `[B, 1, T · hop]` to natural logarithms `[B, T, BANDS]`.
    pub fn of(&self, audio: &Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, _, samples] = audio.dims();
        let hop = self.hop_samples;
        let overlap = window_samples(hop) / hop;
        let frames = samples / hop;
        let side = (overlap - 1) * hop / 2;
        let line: Tensor<B, 2> = audio.clone().reshape([batch, samples]);
        let before = line.clone().narrow(1, 1, side).flip([1]);
        let after = line.clone().narrow(1, samples - 1 - side, side).flip([1]);
        let blocks =
            Tensor::cat(vec![before, line, after], 1).reshape([batch, frames + overlap - 1, hop]);
        let parts = (0..overlap)
            .map(|n| blocks.clone().narrow(1, n, frames))
            .collect();
        let windows = Tensor::cat(parts, 2).reshape([batch * frames, overlap * hop]);
        let magnitude = self
            .dft
            .power(windows)
            .mul_scalar(self.window_power)
            .add_scalar(POWER_FLOOR)
            .sqrt();
        magnitude
            .matmul(self.bank.clone())
            .clamp_min(BAND_FLOOR)
            .log()
            .reshape([batch, frames, BANDS])
    }
}

/// Triangles of equal area over a scale that is linear below 1 kHz and logarithmic above: `[bands, bins]`.
fn slaney_bank(rate_hz: u32, window: usize, bands: usize) -> Vec<f32> {
    let corner_mel = 15.0;
    let octave = 6.4f64.ln() / 27.0;
    let to_mel = |hz: f64| {
        if hz < 1_000.0 {
            hz * corner_mel / 1_000.0
        } else {
            corner_mel + (hz / 1_000.0).ln() / octave
        }
    };
    let to_hz = |mel: f64| {
        if mel < corner_mel {
            mel * 1_000.0 / corner_mel
        } else {
            1_000.0 * ((mel - corner_mel) * octave).exp()
        }
    };
    let bins = window / 2 + 1;
    let top = to_mel(f64::from(rate_hz) / 2.0);
    let edge = |n: usize| to_hz(top * n as f64 / (bands + 1) as f64);
    let mut bank = vec![0.0; bands * bins];
    for (band, row) in bank.chunks_exact_mut(bins).enumerate() {
        let (low, centre, high) = (edge(band), edge(band + 1), edge(band + 2));
        for (bin, weight) in row.iter_mut().enumerate() {
            let hz = bin as f64 * f64::from(rate_hz) / window as f64;
            let height = ((hz - low) / (centre - low)).min((high - hz) / (high - centre));
            *weight = (height.max(0.0) * 2.0 / (high - low)) as f32;
        }
    }
    bank
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    #[test]
    fn a_signal_is_mirrored_at_its_ends() {
        let places: Vec<usize> = (-3..7).map(|place| mirrored(place, 4)).collect();
        assert_eq!(places, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(mirrored(5, 1), 0);
    }

    #[test]
    fn both_spectrograms_see_the_same_tone() {
        let (rate_hz, hop, frames) = (24_000u32, 240, 12);
        let turn = std::f32::consts::TAU * 1_500.0 / rate_hz as f32;
        let tone: Vec<f32> = (0..hop * frames)
            .map(|n| 0.5 * (turn * n as f32).sin())
            .collect();
        let linear = LinearSpectrum::new(hop).of(&tone);
        let bin = 1_500 * window_samples(hop) / rate_hz as usize;
        // A sine of amplitude a has magnitude a / 2 · sum of the window in its bin.
        let expected = 0.25 * window_samples(hop) as f32 / 2.0;
        assert!((linear[bin * frames + 6] / expected - 1.0).abs() < 1e-3);

        let device = Default::default();
        let mel = LogMel::<Flex>::new(rate_hz, hop, &device);
        let bands = mel.of(&from_vec(tone, [1, 1, hop * frames], &device));
        let bands = bands.into_data().to_vec::<f32>().unwrap();
        let bank = slaney_bank(rate_hz, window_samples(hop), BANDS);
        let bins = window_samples(hop) / 2 + 1;
        for band in 0..BANDS {
            let sum: f32 = (0..bins)
                .map(|bin| bank[band * bins + bin] * linear[bin * frames + 6])
                .sum();
            let expected = sum.max(BAND_FLOOR).ln();
            let found = bands[6 * BANDS + band];
            assert!(
                (found - expected).abs() < 2e-2,
                "{band}: {found}, expected {expected}"
            );
        }
    }
}
