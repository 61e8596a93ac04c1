//! Whether a rendering says what its recording said: a network hears both.
//!
//! A spectral distance weighs every bin alike, wherever the words are; and there is no recording of one speaker's words in
//! another's voice to be near to. The content encoder hears both, and content is what it should be told by: the same words, the
//! same way, whoever says them. A speech recogniser knows better what is a word and less whose voice it is.
//!
//! Source: losses of features that a network hears, Johnson et al. (1603.08155); for conversion between speakers without
//! parallel recordings, Kaneko and Kameoka, StarGAN-VC (1806.02169), whose classes are phones and speakers.

use std::path::Path;

use anyhow::Result;
use burn::module::Module as _;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv1d;
use burn::tensor::ops::{ConvOptions, PaddedConvOptions};
use timbra_voice::package::EncoderPackage;

use crate::model::causal::from_vec;
use crate::model::content::{ContentConfig, ContentEncoder};
use crate::model::graph_layers::GraphLayers;
use crate::model::harmonic::MODEL_RATE_HZ;
use crate::model::mel::{RATE_HZ, TensorLogMel};
use crate::model::recogniser::{self, Recogniser};

/// Samples of a rendering for one that the recogniser hears.
const DECIMATION: usize = MODEL_RATE_HZ / recogniser::RATE_HZ;
/// Taps of the low-pass before it.
const LOW_PASS_TAPS: usize = 16 * DECIMATION + 1;

/// Which network listens, by its file.
#[derive(Debug, Clone, Copy)]
pub enum Listener<'a> {
    /// The content encoder of the voice: a package of `trainer encoder`.
    Encoder(&'a Path),
    /// A speech recogniser: a file as [`Recogniser::read`] wants it.
    Recogniser(&'a Path),
}

/// Added to the variance of what is recorded, so that silence stays finite; frames have a variance of 1.
const LEAST_SPREAD: f32 = 0.01;

/// What listens, as part of a voice's loss.
#[derive(Debug)]
pub enum Words<B: Backend> {
    /// The content encoder of the voice.
    Content {
        /// The encoder.
        encoder: Box<ContentEncoder<B>>,
        /// Its front end.
        mel: TensorLogMel<B>,
    },
    /// A speech recogniser.
    Recogniser {
        /// Its encoder.
        encoder: Recogniser<B>,
        /// Low-pass `[1, 1, taps]` before its rate.
        low_pass: Tensor<B, 3>,
    },
}

impl<B: Backend> Words<B> {
    /// The network of `listener`.
    ///
    /// # Errors
    /// The file, which is named, cannot be read; the encoder is none of the trainer's own or of other widths; the recogniser is
    /// none that is known.
    pub fn new(listener: Listener<'_>, device: &B::Device) -> Result<Self> {
        match listener {
            Listener::Encoder(package) => Self::by_encoder(package, device),
            Listener::Recogniser(weights) => Ok(Self::Recogniser {
                encoder: Recogniser::read(weights, device)?,
                low_pass: from_vec(low_pass(), [1, 1, LOW_PASS_TAPS], device),
            }),
        }
    }

    fn by_encoder(package: &Path, device: &B::Device) -> Result<Self> {
        let package = EncoderPackage::read(package)?;
        let config = ContentConfig {
            content_channels: package.manifest.encoder.channels,
            ..ContentConfig::default()
        };
        let mut encoder = ContentEncoder::new(&config, 1, device);
        encoder.read(&mut GraphLayers::of(
            &package.path,
            package.graph().to_vec(),
        )?)?;
        Ok(Self::Content {
            encoder: Box::new(encoder.no_grad()),
            mel: TensorLogMel::new(MODEL_RATE_HZ / RATE_HZ as usize, device),
        })
    }

    /// Mean distance of what is heard of `rendered` to what is heard of `recorded`, audio `[B, samples]`; before it counts as
    /// silence. Of a recogniser: one less the correlation of a channel over what is recorded, about 0 to 1.
    pub fn distance(&self, rendered: Tensor<B, 2>, recorded: Tensor<B, 2>) -> Tensor<B, 1> {
        match self {
            Self::Content { encoder, mel } => {
                let heard = |audio| encoder.content_channels_first(mel.frames(audio));
                let recorded = heard(recorded).detach();
                (heard(rendered) - recorded).abs().mean()
            }
            Self::Recogniser { encoder, low_pass } => {
                let heard = |audio| encoder.heard(decimated(audio, low_pass));
                let recorded = heard(recorded);
                let layers = recorded.len() as f32;
                let distances = heard(rendered)
                    .into_iter()
                    .zip(recorded)
                    .map(|(rendered, recorded)| in_spreads(rendered, recorded.detach()));
                let sum = distances.reduce(|sum, distance| sum + distance);
                sum.expect("a recogniser has layers")
                    .div_scalar(2.0 * layers)
            }
        }
    }
}

/// Mean square distance of frames `[B, T, channels]`, each channel in standard deviations of what was recorded: most of a
/// frame is the same whatever is said.
fn in_spreads<B: Backend>(rendered: Tensor<B, 3>, recorded: Tensor<B, 3>) -> Tensor<B, 1> {
    let mean = recorded.clone().mean_dim(0).mean_dim(1);
    let apart = recorded.clone() - mean;
    let spread = (apart.clone() * apart).mean_dim(0).mean_dim(1);
    let missed = rendered - recorded;
    let missed = (missed.clone() * missed).mean_dim(0).mean_dim(1);
    (missed / spread.add_scalar(LEAST_SPREAD)).mean()
}

/// Audio `[B, samples]` at the recogniser's rate.
fn decimated<B: Backend>(audio: Tensor<B, 2>, low_pass: &Tensor<B, 3>) -> Tensor<B, 2> {
    let options = ConvOptions::new([DECIMATION], [LOW_PASS_TAPS / 2], [1], 1);
    let audio = audio.unsqueeze_dim::<3>(1);
    conv1d(
        audio,
        low_pass.clone(),
        None,
        PaddedConvOptions::from(options),
    )
    .squeeze_dim(1)
}

/// A windowed sinc that passes what is below nine tenths of half the recogniser's rate.
fn low_pass() -> Vec<f32> {
    let cutoff = 0.9 / DECIMATION as f64;
    let middle = (LOW_PASS_TAPS / 2) as f64;
    let taps: Vec<f64> = (0..LOW_PASS_TAPS)
        .map(|n| {
            let (x, turn) = (n as f64 - middle, std::f64::consts::PI);
            let sinc = if x == 0.0 {
                cutoff
            } else {
                (turn * cutoff * x).sin() / (turn * x)
            };
            sinc * (0.5 + 0.5 * (turn * x / (middle + 1.0)).cos())
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| (tap / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::causal::to_vec;

    #[test]
    fn the_recogniser_hears_what_its_rate_holds_and_nothing_folded_from_above() {
        let device = Default::default();
        let filter = from_vec::<Flex, 3>(low_pass(), [1, 1, LOW_PASS_TAPS], &device);
        let level_db = |hz: f32| {
            let turn = std::f32::consts::TAU * hz / MODEL_RATE_HZ as f32;
            let tone: Vec<f32> = (0..4_800).map(|n| (turn * n as f32).sin()).collect();
            let heard = to_vec(decimated(from_vec(tone, [1, 4_800], &device), &filter));
            assert_eq!(heard.len(), 1_600);
            let inner = &heard[100..1_500];
            let power = inner.iter().map(|s| s * s).sum::<f32>() / inner.len() as f32;
            10.0 * (2.0 * power).log10()
        };
        for hz in [100.0, 1_000.0, 4_000.0, 6_000.0] {
            assert!(level_db(hz).abs() < 0.5, "{hz} Hz: {} dB", level_db(hz));
        }
        for hz in [9_500.0, 12_000.0, 15_000.0, 20_000.0] {
            assert!(level_db(hz) < -35.0, "{hz} Hz: {} dB", level_db(hz));
        }
    }
}
