//! What else content can be made good for in training: the sound of the words, in the colour of whoever spoke them.
//!
//! Phone classes alone leave out how a sound was spoken: how far a vowel was from the next, how sharp an /s/. Two people
//! who say the same are told apart by that more than a conversion and its source should be. So a small network must draw,
//! from the content of a clip that was played at another speed and through another microphone, the spectral envelope of
//! the clip as it was. It is told the clip's mean envelope and its spread, so that content need not carry whose voice it is,
//! and since speed and microphone are drawn anew each time, content cannot.
//!
//! Source: the idea of information perturbation, Choi et al., NANSY (2110.14513); there features of a network that was trained
//! elsewhere are perturbed, here the encoder itself learns from it, beside its phones.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::model::causal::{CausalConv, ChannelNorm, ResidualBlock};
use crate::model::mel;

/// Bands of an envelope: pairs of those of the log-mel front end, too wide to show harmonics.
pub const BANDS: usize = mel::BANDS / 2;
/// Numbers that say what a clip's envelopes are like: mean and spread of every band.
pub const COLOUR: usize = 2 * BANDS;
/// Frames that are this much softer than the loudest of their clip do not count.
const ACTIVE_DB: f32 = 45.0;
/// Width of the network that draws envelopes.
const CHANNELS: usize = 192;
const KERNEL: usize = 3;
const DILATIONS: [usize; 2] = [1, 2];

/// The envelope of a log-mel frame without its level.
pub fn envelope(frame: &[f32]) -> [f32; BANDS] {
    let mut bands = [0.0; BANDS];
    for (band, pair) in bands.iter_mut().zip(frame.chunks_exact(2)) {
        *band = 0.5 * (pair[0] + pair[1]);
    }
    let level = bands.iter().sum::<f32>() / BANDS as f32;
    bands.iter_mut().for_each(|band| *band -= level);
    bands
}

/// Mean level of a log-mel frame.
pub fn level(frame: &[f32]) -> f32 {
    frame.iter().sum::<f32>() / frame.len().max(1) as f32
}

/// What a clip sounds like as a whole.
#[derive(Debug, Clone)]
pub struct Colour {
    /// Mean of every band over the frames that count, then its spread.
    pub numbers: Vec<f32>,
    /// Level from which frames count.
    pub active_level: f32,
}

impl Colour {
    /// That of log-mel frames, `[frames, mel::BANDS]` row by row.
    #[must_use]
    pub fn of(frames: &[f32]) -> Self {
        let rows = || frames.chunks_exact(mel::BANDS);
        let loudest = rows().map(level).fold(f32::NEG_INFINITY, f32::max);
        let active_level = loudest - ACTIVE_DB * mel::UNITS_PER_DB;
        let envelopes: Vec<[f32; BANDS]> = rows()
            .filter(|row| level(row) >= active_level)
            .map(envelope)
            .collect();
        let count = envelopes.len().max(1) as f32;
        let mean = |of: &dyn Fn(usize, &[f32; BANDS]) -> f32| -> Vec<f32> {
            (0..BANDS)
                .map(|band| envelopes.iter().map(|e| of(band, e)).sum::<f32>() / count)
                .collect()
        };
        let means = mean(&|band, e| e[band]);
        let spreads = mean(&|band, e| (e[band] - means[band]).abs());
        Self {
            numbers: [means, spreads].concat(),
            active_level,
        }
    }
}

/// The network that draws envelopes.
#[derive(Module, Debug)]
pub struct AcousticHead<B: Backend> {
    entry: CausalConv<B>,
    blocks: Vec<ResidualBlock<B>>,
    norm: ChannelNorm<B>,
    bands: CausalConv<B>,
}

impl<B: Backend> AcousticHead<B> {
    /// A fresh one for `content_channels`.
    pub fn new(content_channels: usize, device: &B::Device) -> Self {
        Self {
            entry: CausalConv::new(content_channels, CHANNELS, KERNEL, 1, device),
            blocks: DILATIONS
                .iter()
                .map(|&dilation| ResidualBlock::new(CHANNELS, KERNEL, dilation, COLOUR, device))
                .collect(),
            norm: ChannelNorm::new(CHANNELS, device),
            bands: CausalConv::zeroed(CHANNELS, BANDS, device),
        }
    }

    /// Content `[C, B, T]` and colour `[COLOUR, B, T]` to what an envelope is above the mean of its clip, `[BANDS, B, T]`.
    pub fn forward(&self, content: Tensor<B, 3>, colour: &Tensor<B, 3>) -> Tensor<B, 3> {
        let mut x = self.entry.forward(content);
        for block in &self.blocks {
            x = block.forward(x, Some(colour));
        }
        self.bands.forward(self.norm.forward(x))
    }
}
