//! The family `harmonic`: a pulse train and noise, each through a minimum-phase
//! filter that a small causal network steers every 5 ms.
//!
//! Frame `k` (10 ms) yields two half-frames, at times `k − ½` and `k`. Each is a
//! log-amplitude curve over mel-spaced points for the pulses (harmonics) and one
//! for the noise. The excitation is cut into half-overlapping Hann windows of
//! 10 ms centred on those times, filtered in the frequency domain, and added up.
//! The last of them reaches 5 ms past frame `k`: F0 goes on there as it went, so that
//! a frame is heard without waiting for the next.
//!
//! Source: Engel et al., DDSP (2001.04643) for harmonic source plus filtered
//! noise; here the source is a full pulse train (all harmonics equal) and both
//! filters are minimum phase, from the cepstrum of the predicted curve
//! (Oppenheim & Schafer, Discrete-Time Signal Processing, ch. 13), which keeps
//! onsets sharp and needs no look-ahead.

use std::f64::consts::PI;

use anyhow::{Result, ensure};
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use timbra_dsp::mel::hz_to_mel;

use super::causal::{CausalConv, ChannelNorm, ResidualBlock, from_vec, to_vec};
use super::folded_dft::{InverseDft, bin_order};
use super::graph_layers::{GraphLayers, Part};
use crate::data::clips::MOST_SPEAKERS;

/// Output rate.
pub const MODEL_RATE_HZ: usize = 48_000;
/// Samples per frame.
pub const HOP_SAMPLES: usize = MODEL_RATE_HZ / 100;
/// Half-frames per frame.
pub const HALVES: usize = 2;
/// Samples per half-frame: the step of the filter.
pub const STEP_SAMPLES: usize = HOP_SAMPLES / HALVES;
/// Excitation window: two steps.
pub const WINDOW_SAMPLES: usize = 2 * STEP_SAMPLES;
/// Length of a filtered window, and of the DFT.
pub const FFT_SAMPLES: usize = 1024;
/// Bins of the DFT.
pub const BINS: usize = FFT_SAMPLES / 2 + 1;
/// Steps over which one filtered window is spread: `⌈1024 / 240⌉`.
pub const OVERLAP_STEPS: usize = FFT_SAMPLES.div_ceil(STEP_SAMPLES);
/// Points of the harmonic amplitude curve, mel-spaced from 0 Hz to half the rate.
pub const HARMONIC_POINTS: usize = 96;
/// Points of the noise amplitude curve.
pub const NOISE_POINTS: usize = 64;
/// Content, log F0, voiced, loudness.
pub const EXTRA_INPUTS: usize = 3;
/// Nepers of amplitude per decibel.
pub const NEPERS_PER_DB: f32 = std::f32::consts::LN_10 / 20.0;
/// F0 that the network sees as 0.
pub const REFERENCE_F0_HZ: f32 = 220.0;
/// Loudness below which a frame is treated as if it were this loud.
pub const LOUDNESS_FLOOR_DB: f32 = -90.0;
/// The network's outputs are multiplied by this: nepers per unit.
pub const CURVE_SCALE: f32 = 3.0;
/// Where the curves start: harmonics near the level of the input, noise well below.
pub const CURVE_START: [f32; 2] = [0.0, -3.0];
/// Bounds of a curve above the frame's loudness, in nepers.
pub const CURVE_RANGE: (f32, f32) = (-12.0, 5.0);

/// Sizes of a harmonic voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HarmonicConfig {
    /// Width of the residual stack.
    pub channels: usize,
    /// Kernel in frames.
    pub kernel: usize,
    /// One block per entry.
    pub dilations: Vec<usize>,
    /// Content channels (C).
    pub content_channels: usize,
    /// Width of a speaker embedding.
    pub speaker_channels: usize,
    /// Number of speakers (S).
    pub speakers: usize,
}

impl HarmonicConfig {
    /// The shipped sizes for `speakers` speakers on `content_channels` features.
    #[must_use]
    pub fn standard(content_channels: usize, speakers: usize) -> Self {
        Self {
            channels: 256,
            kernel: 3,
            dilations: vec![1, 2, 4, 8, 1, 2, 4, 8],
            content_channels,
            speaker_channels: 64,
            speakers,
        }
    }
}

impl HarmonicConfig {
    /// Whether a network of these sizes can be made: they may come from a file.
    ///
    /// # Errors
    /// A size is none, or beyond any voice.
    pub fn check(&self) -> Result<()> {
        let bounded = [
            ("channels", self.channels, 4096),
            ("kernel", self.kernel, 64),
            ("content_channels", self.content_channels, 4096),
            ("speaker_channels", self.speaker_channels, 4096),
            ("speakers", self.speakers, MOST_SPEAKERS),
            ("the number of dilations", self.dilations.len(), 64),
        ];
        let dilations = self.dilations.iter().map(|&d| ("a dilation", d, 4096));
        for (what, found, most) in bounded.into_iter().chain(dilations) {
            ensure!(
                (1..=most).contains(&found),
                "{what}: expected 1 to {most}, found {found}; take another checkpoint"
            );
        }
        Ok(())
    }
}

/// The steering network.
#[derive(Module, Debug)]
pub struct HarmonicVoice<B: Backend> {
    pub(crate) entry: CausalConv<B>,
    pub(crate) speakers: Param<Tensor<B, 2>>,
    pub(crate) blocks: Vec<ResidualBlock<B>>,
    pub(crate) norm: ChannelNorm<B>,
    pub(crate) curves: CausalConv<B>,
}

/// Amplitude curves of every half-frame, log amplitude in nepers.
#[derive(Debug, Clone)]
pub struct Curves<B: Backend> {
    /// `[B, 2T, HARMONIC_POINTS]`.
    pub harmonic: Tensor<B, 3>,
    /// `[B, 2T, NOISE_POINTS]`.
    pub noise: Tensor<B, 3>,
}

impl<B: Backend> HarmonicVoice<B> {
    /// A fresh voice.
    pub fn new(config: &HarmonicConfig, device: &B::Device) -> Self {
        Self {
            entry: CausalConv::new(
                config.content_channels + EXTRA_INPUTS,
                config.channels,
                config.kernel,
                1,
                device,
            ),
            speakers: Initializer::Normal {
                mean: 0.0,
                std: 0.5,
            }
            .init([config.speakers, config.speaker_channels], device),
            blocks: config
                .dilations
                .iter()
                .map(|&dilation| {
                    ResidualBlock::new(
                        config.channels,
                        config.kernel,
                        dilation,
                        config.speaker_channels,
                        device,
                    )
                })
                .collect(),
            norm: ChannelNorm::new(config.channels, device),
            curves: CausalConv::zeroed(
                config.channels,
                HALVES * (HARMONIC_POINTS + NOISE_POINTS),
                device,
            ),
        }
    }

    /// Content `[B, C, T]`, F0 features `[B, 2, T]` (log2 of F0 over 220 Hz, voiced), loudness in dB
    /// `[B, 1, T]`, mix `[B, S, T]` to curves.
    pub fn curves(
        &self,
        content: Tensor<B, 3>,
        pitch: Tensor<B, 3>,
        loudness_db: Tensor<B, 3>,
        mix: Tensor<B, 3>,
    ) -> Curves<B> {
        let [batch, _, frames] = content.dims();
        let loudness_db = loudness_db.clamp_min(LOUDNESS_FLOOR_DB);
        let loudness_in = loudness_db.clone().add_scalar(40.0).div_scalar(20.0);
        let mut x = self
            .entry
            .forward(Tensor::cat(vec![content, pitch, loudness_in], 1).swap_dims(0, 1));
        let [speakers, speaker_channels] = self.speakers.val().dims();
        // g = Σ w·embedding, frame by frame.
        let mix = mix.swap_dims(0, 1).reshape([speakers, batch * frames]);
        let g =
            self.speakers
                .val()
                .transpose()
                .matmul(mix)
                .reshape([speaker_channels, batch, frames]);
        for block in &self.blocks {
            x = block.forward(x, Some(&g));
        }
        let raw = self.curves.forward(self.norm.forward(x)).permute([1, 2, 0]);
        let points = HARMONIC_POINTS + NOISE_POINTS;
        let raw = raw
            .reshape([batch, frames * HALVES, points])
            .mul_scalar(CURVE_SCALE);
        let level = loudness_db.mul_scalar(NEPERS_PER_DB).swap_dims(1, 2);
        let level = level
            .repeat_dim(2, HALVES)
            .reshape([batch, frames * HALVES, 1]);
        let curve = |first: usize, count: usize, start: f32| {
            let part = raw
                .clone()
                .slice([0..batch, 0..frames * HALVES, first..first + count]);
            part.add_scalar(start).clamp(CURVE_RANGE.0, CURVE_RANGE.1) + level.clone()
        };
        Curves {
            harmonic: curve(0, HARMONIC_POINTS, CURVE_START[0]),
            noise: curve(HARMONIC_POINTS, NOISE_POINTS, CURVE_START[1]),
        }
    }

    /// Replaces the layer that draws the curves.
    pub fn set_curves(&mut self, curves: CausalConv<B>) {
        self.curves = curves;
    }

    /// Takes the weights that [`Self::export`] has written of a voice with `base_speakers` speakers. Speaker `s` becomes
    /// that voice's speaker `rows[s]`; one without a row begins between all of them.
    ///
    /// # Errors
    /// The graph is that of another network.
    pub fn read(
        &mut self,
        layers: &mut GraphLayers,
        base_speakers: usize,
        rows: &[Option<usize>],
    ) -> Result<()> {
        let width = self.speakers.val().dims()[1];
        let base = layers.take(Part::Matrix, &[base_speakers, width])?;
        let of = |speaker: usize| &base[speaker * width..(speaker + 1) * width];
        let mut embeddings = self.speaker_embeddings();
        for (embedding, row) in embeddings.chunks_exact_mut(width).zip(rows) {
            match row {
                Some(row) => embedding.copy_from_slice(of(*row)),
                None => {
                    for (c, value) in embedding.iter_mut().enumerate() {
                        let sum: f32 = (0..base_speakers).map(|speaker| of(speaker)[c]).sum();
                        *value = sum / base_speakers as f32;
                    }
                }
            }
        }
        self.set_speakers(embeddings);
        self.entry.read(layers)?;
        for block in &mut self.blocks {
            block.read(layers)?;
        }
        self.norm.read(layers)?;
        self.curves.read(layers)
    }

    /// The speakers' embeddings, `[S, speaker_channels]` row by row.
    pub fn speaker_embeddings(&self) -> Vec<f32> {
        to_vec(self.speakers.val())
    }

    /// Replaces the speakers and their number: `embeddings` is `[S, speaker_channels]` row by row.
    pub fn set_speakers(&mut self, embeddings: Vec<f32>) {
        let own = self.speakers.val();
        let width = own.dims()[1];
        let shape = [embeddings.len() / width, width];
        self.speakers = Param::from_tensor(from_vec(embeddings, shape, &own.device()));
    }

    /// Keeps the speakers `rows`, in this order.
    pub fn keep_speakers(&mut self, rows: &[usize]) {
        let width = self.speakers.val().dims()[1];
        let all = self.speaker_embeddings();
        let kept = rows
            .iter()
            .flat_map(|&row| all[row * width..(row + 1) * width].iter().copied());
        self.set_speakers(kept.collect());
    }

    /// Frames of the past a frame depends on.
    pub fn receptive_field_frames(&self) -> usize {
        1 + self.entry.context()
            + self
                .blocks
                .iter()
                .map(ResidualBlock::context)
                .sum::<usize>()
    }
}

/// A window of excitation in the frequency domain, `[B, 2T, BINS]` each, even bins first.
#[derive(Debug, Clone)]
pub struct Excitation<B: Backend> {
    /// Real part of the pulses.
    pub pulse_re: Tensor<B, 3>,
    /// Imaginary part of the pulses.
    pub pulse_im: Tensor<B, 3>,
    /// Real part of the noise.
    pub noise_re: Tensor<B, 3>,
    /// Imaginary part of the noise.
    pub noise_im: Tensor<B, 3>,
}

/// The fixed matrices of the filter bank.
#[derive(Debug, Clone)]
pub struct Renderer<B: Backend> {
    harmonic_grid: Tensor<B, 2>,
    harmonic_phase: Tensor<B, 2>,
    noise_grid: Tensor<B, 2>,
    noise_phase: Tensor<B, 2>,
    inverse: InverseDft<B>,
}

impl<B: Backend> Renderer<B> {
    /// The matrices on `device`.
    pub fn new(device: &B::Device) -> Self {
        let phase = minimum_phase_matrix();
        let build = |points: usize| {
            let grid = curve_to_bins(points);
            let phase = multiply(&grid, &phase, points, BINS, BINS);
            (
                from_vec::<B, 2>(grid, [points, BINS], device),
                from_vec::<B, 2>(phase, [points, BINS], device),
            )
        };
        let (harmonic_grid, harmonic_phase) = build(HARMONIC_POINTS);
        let (noise_grid, noise_phase) = build(NOISE_POINTS);
        let inverse = InverseDft::new(FFT_SAMPLES, device);
        Self {
            harmonic_grid,
            harmonic_phase,
            noise_grid,
            noise_phase,
            inverse,
        }
    }

    /// Audio `[B, (2T + OVERLAP_STEPS − 1)·STEP_SAMPLES]`; excitation window `p` starts at sample `p·STEP_SAMPLES` of it.
    pub fn render(&self, curves: Curves<B>, excitation: Excitation<B>) -> Tensor<B, 2> {
        let [batch, steps, _] = curves.harmonic.dims();
        let filter = |curve: Tensor<B, 3>,
                      grid: &Tensor<B, 2>,
                      phase: &Tensor<B, 2>,
                      re: Tensor<B, 3>,
                      im: Tensor<B, 3>| {
            let points = curve.dims()[2];
            let flat = curve.reshape([batch * steps, points]);
            let gain = flat.clone().matmul(grid.clone()).exp();
            let angle = flat.matmul(phase.clone());
            let (h_re, h_im) = (gain.clone() * angle.clone().cos(), gain * angle.sin());
            let shape = [batch * steps, BINS];
            let (re, im) = (re.reshape(shape), im.reshape(shape));
            (
                h_re.clone() * re.clone() - h_im.clone() * im.clone(),
                h_re * im + h_im * re,
            )
        };
        let (a_re, a_im) = filter(
            curves.harmonic,
            &self.harmonic_grid,
            &self.harmonic_phase,
            excitation.pulse_re,
            excitation.pulse_im,
        );
        let (b_re, b_im) = filter(
            curves.noise,
            &self.noise_grid,
            &self.noise_phase,
            excitation.noise_re,
            excitation.noise_im,
        );
        let frames =
            self.inverse
                .windows(a_re + b_re, a_im + b_im)
                .reshape([batch, steps, FFT_SAMPLES]);
        overlap_add(frames)
    }
}

/// `[B, N, FFT_SAMPLES]` frames, one every `STEP_SAMPLES`, to `[B, (N + OVERLAP_STEPS − 1)·STEP_SAMPLES]`.
fn overlap_add<B: Backend>(frames: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, steps, length] = frames.dims();
    let total = steps + OVERLAP_STEPS - 1;
    let mut sum: Option<Tensor<B, 3>> = None;
    for piece in 0..OVERLAP_STEPS {
        let first = piece * STEP_SAMPLES;
        let last = (first + STEP_SAMPLES).min(length);
        let part = frames.clone().slice([0..batch, 0..steps, first..last]);
        // Right-pad the short last piece, and place it `piece` steps later.
        let part = part.pad(
            (
                0,
                STEP_SAMPLES - (last - first),
                piece,
                total - steps - piece,
            ),
            0.0,
        );
        sum = Some(match sum {
            None => part,
            Some(sum) => sum + part,
        });
    }
    sum.expect("OVERLAP_STEPS is not zero")
        .reshape([batch, total * STEP_SAMPLES])
}

/// `[points, BINS]`: linear interpolation of a mel-spaced curve at the DFT's bins, even bins first.
fn curve_to_bins(points: usize) -> Vec<f32> {
    let top = hz_to_mel(MODEL_RATE_HZ as f64 / 2.0);
    let mut matrix = vec![0.0f32; points * BINS];
    for (column, bin) in bin_order(BINS).enumerate() {
        let hz = bin as f64 * MODEL_RATE_HZ as f64 / FFT_SAMPLES as f64;
        let position = hz_to_mel(hz) / top * (points - 1) as f64;
        for point in 0..points {
            matrix[point * BINS + column] = (1.0 - (position - point as f64).abs()).max(0.0) as f32;
        }
    }
    matrix
}

/// `[BINS, BINS]`: log amplitude to minimum phase, through the folded cepstrum; even bins first.
pub fn minimum_phase_matrix() -> Vec<f32> {
    // c[n] = (1/N) Σ_k a_k L[k] cos(2πkn/N), a = 1 at the ends and 2 between;
    // φ[m] = −Σ_{0<n<N/2} 2 c[n] sin(2πmn/N).
    let n_fft = FFT_SAMPLES;
    let cosine: Vec<f64> = (0..n_fft)
        .map(|i| (2.0 * PI * i as f64 / n_fft as f64).cos())
        .collect();
    let sine: Vec<f64> = (0..n_fft)
        .map(|i| (2.0 * PI * i as f64 / n_fft as f64).sin())
        .collect();
    let half = n_fft / 2;
    let mut matrix = vec![0.0f32; BINS * BINS];
    for (row, k) in bin_order(BINS).enumerate() {
        let weight = if k == 0 || k == half { 1.0 } else { 2.0 } / n_fft as f64;
        for (column, m) in bin_order(BINS).enumerate() {
            let sum: f64 = (1..half)
                .map(|n| cosine[k * n % n_fft] * sine[m * n % n_fft])
                .sum();
            matrix[row * BINS + column] = (-2.0 * weight * sum) as f32;
        }
    }
    matrix
}

fn multiply(a: &[f32], b: &[f32], rows: usize, inner: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; rows * columns];
    for row in 0..rows {
        for i in 0..inner {
            let factor = a[row * inner + i];
            if factor != 0.0 {
                for (out, b) in out[row * columns..(row + 1) * columns]
                    .iter_mut()
                    .zip(&b[i * columns..(i + 1) * columns])
                {
                    *out += factor * b;
                }
            }
        }
    }
    out
}
