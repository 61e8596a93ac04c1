//! The log-mel front end of the content encoder: 80 bands, 20 ms Hann, 10 ms hop, 16 kHz.
//!
//! Training computes it here with an FFT; the exported graph computes the same
//! numbers with a matrix product. Frame `n` is centred on sample `160·n` and
//! needs the hop that starts there.

use std::f64::consts::PI;
use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use realfft::{RealFftPlanner, RealToComplex};
use timbra_dsp::mel::mel_edges_hz;
use timbra_voice::onnx_writer::Attr;

use super::causal::{StreamingGraph, from_vec};
use super::graph_layers::{GraphLayers, Part};

/// Input rate.
pub const RATE_HZ: f64 = 16_000.0;
/// Samples per frame.
pub const HOP_SAMPLES: usize = 160;
/// Samples per window: two hops.
pub const WINDOW_SAMPLES: usize = 320;
/// Mel bands, 0 to 8 kHz.
pub const BANDS: usize = 80;
const FFT_SAMPLES: usize = 512;
const BINS: usize = FFT_SAMPLES / 2 + 1;
/// About the power of a band at −60 dBFS; below it the logarithm flattens.
const FLOOR: f32 = 1e-4;
/// Brings log power (about −9…9) to about −1.5…2.
const SHIFT: f32 = 2.0;
const SCALE: f32 = 0.25;

/// Computes log-mel frames from samples.
pub struct LogMel {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    bands: Vec<Band>,
}

/// The bins a band sees, and how much of each.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

impl Band {
    /// Of a row of the filters.
    fn of(row: &[f32]) -> Self {
        let seen = |&weight: &f32| weight != 0.0;
        let first = row.iter().position(seen).unwrap_or(0);
        let end = row.iter().rposition(seen).map_or(first, |last| last + 1);
        Self {
            first,
            weights: row[first..end].to_vec(),
        }
    }

    /// The power in it, of that in every bin.
    fn power(&self, bins: &[f32]) -> f32 {
        let bins = &bins[self.first..self.first + self.weights.len()];
        self.weights.iter().zip(bins).map(|(w, p)| w * p).sum()
    }
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogMel")
    }
}

impl Default for LogMel {
    fn default() -> Self {
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(FFT_SAMPLES),
            window: window_of(WINDOW_SAMPLES),
            bands: mel_bank().chunks_exact(BINS).map(Band::of).collect(),
        }
    }
}

impl LogMel {
    /// `[frames, BANDS]` row by row; `samples.len() / 160` frames, zeros before the first sample.
    pub fn frames(&self, samples: &[f32]) -> Vec<f32> {
        let frames = samples.len() / HOP_SAMPLES;
        let mut out = vec![0.0; frames * BANDS];
        let mut input = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut power = vec![0.0f32; BINS];
        for (n, row) in out.chunks_exact_mut(BANDS).enumerate() {
            input.fill(0.0);
            for (i, slot) in input[..WINDOW_SAMPLES].iter_mut().enumerate() {
                let position = n * HOP_SAMPLES + i;
                if position >= HOP_SAMPLES {
                    *slot = samples[position - HOP_SAMPLES] * self.window[i];
                }
            }
            self.fft
                .process(&mut input, &mut spectrum)
                .expect("buffers come from the plan");
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = bin.norm_sqr();
            }
            for (value, band) in row.iter_mut().zip(&self.bands) {
                *value = ((band.power(&power) + FLOOR).ln() + SHIFT) * SCALE;
            }
        }
        out
    }
}

/// The same numbers as a tensor through which gradients flow, of audio at a multiple of [`RATE_HZ`].
#[derive(Debug, Clone)]
pub struct TensorLogMel<B: Backend> {
    hop_samples: usize,
    basis: Tensor<B, 2>,
    bank: Tensor<B, 2>,
}

impl<B: Backend> TensorLogMel<B> {
    /// For audio at `times` 16 kHz; what it has above 8 kHz is not looked at.
    pub fn new(times: usize, device: &B::Device) -> Self {
        let (window, fft) = (WINDOW_SAMPLES * times, FFT_SAMPLES * times);
        // Windows are `times` as long, and so are sums over them.
        let hann = window_of(window).into_iter().map(|w| w / times as f32);
        let basis = dft_basis(hann, fft);
        let bank = bank_of_parts();
        Self {
            hop_samples: HOP_SAMPLES * times,
            basis: from_vec(basis, [window, 2 * BINS], device),
            bank: from_vec(bank, [2 * BINS, BANDS], device),
        }
    }

    /// `[B, N hops]` to `[BANDS, B, N − 1]`: the first frame is centred between the first two hops.
    pub fn frames(&self, audio: Tensor<B, 2>) -> Tensor<B, 3> {
        let [batch, samples] = audio.dims();
        let hops = samples / self.hop_samples;
        let audio =
            audio
                .narrow(1, 0, hops * self.hop_samples)
                .reshape([batch, hops, self.hop_samples]);
        let windows = Tensor::cat(
            vec![
                audio.clone().narrow(1, 0, hops - 1),
                audio.narrow(1, 1, hops - 1),
            ],
            2,
        );
        let parts = windows
            .reshape([batch * (hops - 1), 2 * self.hop_samples])
            .matmul(self.basis.clone());
        let mel = (parts.clone() * parts).matmul(self.bank.clone());
        let mel = mel
            .add_scalar(FLOOR)
            .log()
            .add_scalar(SHIFT)
            .mul_scalar(SCALE);
        mel.reshape([batch, hops - 1, BANDS]).permute([2, 0, 1])
    }
}

/// Log-mel units per decibel of level: what a gain adds to every band.
pub const UNITS_PER_DB: f32 = SCALE * std::f32::consts::LN_10 / 10.0;

/// Adds the front end to `graph`: `audio` is `[1, 160·T]`; returns a `[1, T, BANDS]` tensor.
pub fn export(graph: &mut StreamingGraph, audio: &str) -> String {
    let basis = dft_basis(window_of(WINDOW_SAMPLES).into_iter(), FFT_SAMPLES);
    let bank = bank_of_parts();
    let shape = graph.builder.i64s(&[1, -1, HOP_SAMPLES as i64]);
    let hops = graph.builder.op("Reshape", &[audio, &shape], vec![]);
    let joined = graph.carry(&hops, 1, HOP_SAMPLES);
    let before = graph.slice(&joined, 1, 0, -1);
    let g = &mut graph.builder;
    let frames = g.op("Concat", &[&before, &hops], vec![Attr::Int("axis", 2)]);
    let basis = g.f32s(&[WINDOW_SAMPLES, 2 * BINS], &basis);
    let parts = g.op("MatMul", &[&frames, &basis], vec![]);
    let squares = g.op("Mul", &[&parts, &parts], vec![]);
    let bank = g.f32s(&[2 * BINS, BANDS], &bank);
    let mel = g.op("MatMul", &[&squares, &bank], vec![]);
    let floor = g.f32s(&[1], &[FLOOR]);
    let mel = g.op("Add", &[&mel, &floor], vec![]);
    let log = g.op("Log", &[&mel], vec![]);
    let shift = g.f32s(&[1], &[SHIFT]);
    let log = g.op("Add", &[&log, &shift], vec![]);
    let scale = g.f32s(&[1], &[SCALE]);
    g.op("Mul", &[&log, &scale], vec![])
}

/// Leaves the matrices that [`export`] has written behind.
///
/// # Errors
/// The next layers of the graph are others.
pub fn pass_over(layers: &mut GraphLayers) -> anyhow::Result<()> {
    layers.take(Part::Matrix, &[WINDOW_SAMPLES, 2 * BINS])?;
    layers.take(Part::Matrix, &[2 * BINS, BANDS])?;
    Ok(())
}

/// `[window, 2·BINS]`: cosines, then sines, of the lowest bins of a windowed DFT of `fft` samples.
fn dft_basis(window: impl ExactSizeIterator<Item = f32>, fft: usize) -> Vec<f32> {
    let mut basis = vec![0.0f32; window.len() * 2 * BINS];
    for (row, (i, w)) in basis.chunks_exact_mut(2 * BINS).zip(window.enumerate()) {
        for bin in 0..BINS {
            let angle = 2.0 * PI * (i * bin % fft) as f64 / fft as f64;
            row[bin] = (f64::from(w) * angle.cos()) as f32;
            row[BINS + bin] = (f64::from(w) * angle.sin()) as f32;
        }
    }
    basis
}

/// `[2·BINS, BANDS]`: the bank, applied to cosines² and sines² alike, sums them to power.
fn bank_of_parts() -> Vec<f32> {
    let bank = mel_bank();
    let mut transposed = vec![0.0f32; BINS * BANDS];
    for band in 0..BANDS {
        for bin in 0..BINS {
            transposed[bin * BANDS + band] = bank[band * BINS + bin];
        }
    }
    transposed.repeat(2)
}

/// Periodic Hann window.
fn window_of(samples: usize) -> Vec<f32> {
    (0..samples)
        .map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / samples as f64).cos()) as f32)
        .collect()
}

/// Triangular filters, `[BANDS, BINS]`, centres equally spaced in mel. Part of what an encoder is: `dsp`'s filters treat
/// bands narrower than a bin another way.
fn mel_bank() -> Vec<f32> {
    let edges = mel_edges_hz(BANDS, 0.0, RATE_HZ / 2.0);
    let mut bank = vec![0.0f32; BANDS * BINS];
    for band in 0..BANDS {
        let (low, centre, high) = (edges[band], edges[band + 1], edges[band + 2]);
        for bin in 0..BINS {
            let f = bin as f64 * RATE_HZ / FFT_SAMPLES as f64;
            let weight = ((f - low) / (centre - low))
                .min((high - f) / (high - centre))
                .max(0.0);
            bank[band * BINS + bin] = weight as f32;
        }
        // Bands narrower than a bin would be empty: give them their nearest bin.
        if bank[band * BINS..(band + 1) * BINS]
            .iter()
            .all(|&w| w == 0.0)
        {
            let nearest = (centre * FFT_SAMPLES as f64 / RATE_HZ).round() as usize;
            bank[band * BINS + nearest] = 1.0;
        }
    }
    bank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_has_the_power_of_all_bins_by_its_filter() {
        let mut bins = vec![0.0f32; BINS];
        timbra_dsp::noise::fill(1, 0, &mut bins);
        for row in mel_bank().chunks_exact(BINS) {
            let expected: f32 = row.iter().zip(&bins).map(|(w, p)| w * p).sum();
            let band = Band::of(row);
            assert!(band.weights.len() < 40, "{}", band.weights.len());
            assert_eq!(band.power(&bins), expected);
        }
    }
}
