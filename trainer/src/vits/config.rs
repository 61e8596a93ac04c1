//! Sizes of networks, and the settings of a run.

use serde::{Deserialize, Serialize};

use crate::model::vits::spec::{
    Activation, Coupling, DecoderSpec, FlowSpec, PUBLISHED_POSTERIOR_LAYERS, Prenet, ResidualKind,
    VitsSpec,
};
use crate::training::checkpoint::kept;
use crate::training::schedule::Schedule;

/// Rate of the published configuration in Hz.
pub const PUBLISHED_RATE_HZ: u32 = 44_100;

/// How large a voice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// About a twentieth of the published one: trains on two CPU cores, plays in a tenth of one
    #[default]
    Tiny,
    /// so-vits-svc 4.1 as published, at 44.1 kHz: wants a GPU
    Published,
}

/// What of a voice is chosen besides its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoiceShape {
    /// Channels of the content.
    pub content_channels: usize,
    /// Speakers.
    pub speakers: usize,
    /// Rate of the recordings in Hz.
    pub rate_hz: u32,
    /// Whether loudness is an input.
    pub loudness: bool,
    /// Whether it learns to predict F0.
    pub auto_f0: bool,
}

/// The network of a size; what, what is expected and what was found when there is none.
///
/// # Errors
/// The rate does not fit the size.
pub fn spec(size: Size, shape: VoiceShape) -> Result<VitsSpec, (String, String, String)> {
    match size {
        Size::Tiny => tiny(shape),
        Size::Published => published(shape),
    }
}

/// Upsampling factors of the small decoder for frames of 10 ms.
fn tiny_rates(rate_hz: u32) -> Option<[usize; 4]> {
    match rate_hz {
        16_000 => Some([8, 5, 2, 2]),
        24_000 => Some([10, 6, 2, 2]),
        32_000 => Some([10, 8, 2, 2]),
        44_100 => Some([7, 7, 3, 3]),
        48_000 => Some([10, 6, 4, 2]),
        _ => None,
    }
}

fn tiny(shape: VoiceShape) -> Result<VitsSpec, (String, String, String)> {
    let Some(rates) = tiny_rates(shape.rate_hz) else {
        return Err((
            "the rate of the recordings".to_owned(),
            "16000, 24000, 32000, 44100 or 48000 Hz".to_owned(),
            format!("{} Hz", shape.rate_hz),
        ));
    };
    let hop: usize = rates.iter().product();
    Ok(VitsSpec {
        prenet: Prenet::SoVits,
        content_channels: shape.content_channels,
        inter_channels: 96,
        hidden_channels: 96,
        filter_channels: 256,
        heads: 2,
        layers: 3,
        kernel: 3,
        attention_window: 4,
        flow: FlowSpec {
            coupling: Coupling::Wavenet,
            couplings: 4,
            layers: 2,
            kernel: 5,
            shared: false,
        },
        decoder: DecoderSpec {
            initial_channels: 256,
            rates: rates.to_vec(),
            // Of the parity of its rate and about twice as long.
            kernels: rates.map(|rate| 2 * rate + rate % 2).to_vec(),
            residual_kernels: vec![3, 7],
            residual_dilations: vec![vec![1, 3]; 2],
            residual: ResidualKind::Paired,
            activation: Activation::Leaky,
            overtones: Some(8),
        },
        speakers: shape.speakers,
        speaker_channels: 64,
        loudness: shape.loudness,
        auto_f0: shape.auto_f0,
        continuous_f0: false,
        row_above: 255,
        spectrum_bins: window_samples(hop) / 2 + 1,
        posterior_layers: 8,
        rate_hz: shape.rate_hz,
    })
}

fn published(shape: VoiceShape) -> Result<VitsSpec, (String, String, String)> {
    if shape.rate_hz != PUBLISHED_RATE_HZ {
        return Err((
            "the rate of the recordings".to_owned(),
            format!("{PUBLISHED_RATE_HZ} Hz for the published size"),
            format!("{} Hz", shape.rate_hz),
        ));
    }
    Ok(VitsSpec {
        prenet: Prenet::SoVits,
        content_channels: shape.content_channels,
        inter_channels: 192,
        hidden_channels: 192,
        filter_channels: 768,
        heads: 2,
        layers: 6,
        kernel: 3,
        attention_window: 4,
        flow: FlowSpec {
            coupling: Coupling::Wavenet,
            couplings: 4,
            layers: 4,
            kernel: 5,
            shared: false,
        },
        decoder: DecoderSpec {
            initial_channels: 512,
            rates: vec![8, 8, 2, 2, 2],
            kernels: vec![16, 16, 4, 4, 4],
            residual_kernels: vec![3, 7, 11],
            residual_dilations: vec![vec![1, 3, 5]; 3],
            residual: ResidualKind::Paired,
            activation: Activation::Leaky,
            overtones: Some(8),
        },
        speakers: shape.speakers,
        speaker_channels: 768,
        loudness: shape.loudness,
        auto_f0: shape.auto_f0,
        continuous_f0: true,
        row_above: 0,
        spectrum_bins: 1025,
        posterior_layers: PUBLISHED_POSTERIOR_LAYERS,
        rate_hz: shape.rate_hz,
    })
}

/// Window of the spectrograms for a hop, in samples: four hops.
#[must_use]
pub fn window_samples(hop_samples: usize) -> usize {
    4 * hop_samples
}

/// The discriminators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CriticSpec {
    /// Periods in samples.
    pub periods: Vec<usize>,
    /// Most channels of a layer.
    pub most_channels: usize,
}

impl CriticSpec {
    /// Those of a size.
    #[must_use]
    pub fn of(size: Size) -> Self {
        Self {
            periods: vec![2, 3, 5, 7, 11],
            most_channels: match size {
                Size::Tiny => 128,
                Size::Published => 1024,
            },
        }
    }
}

/// What decides a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitsFitConfig {
    /// The voice.
    pub network: VitsSpec,
    /// Its critics.
    pub critics: CriticSpec,
    /// Optimiser steps.
    pub steps: u64,
    /// Clips per step.
    pub batch: usize,
    /// Most frames of a clip.
    pub frames: usize,
    /// Frames the decoder makes of each clip.
    pub segment_frames: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which it rises.
    pub warm_up_steps: u64,
    /// How it falls.
    pub schedule: Schedule,
    /// Steps over which the weight of the divergence rises to its own: at full weight from the first step on, a fresh
    /// posterior collapses onto the prior before the decoder has learned to listen to it.
    #[serde(default)]
    pub divergence_steps: u64,
    /// First step of the critics; from `steps` on, never.
    pub critics_from: u64,
    /// Longest gradient.
    pub most_gradient: f32,
    /// Steps the averaged weights look back.
    pub average_steps: u64,
    /// Recordings are made louder or softer by up to this much, in dB.
    pub gain_db: f32,
    /// Recordings are played faster or slower by up to this much, in semitones.
    pub pitch_semitones: f32,
    /// Seed of sampling and augmentation.
    pub seed: u64,
    /// Steps between checkpoints and validations.
    pub save_every: u64,
    /// How many of the newest checkpoints are kept besides the best.
    #[serde(default = "kept")]
    pub keep: usize,
    /// SHA-256 of the encoder whose content it learns; empty where it was not kept.
    #[serde(default)]
    pub encoder_sha256: String,
}

impl VitsFitConfig {
    /// Weight of the divergence after `done` steps, as a share of its own.
    #[must_use]
    pub fn divergence_share(&self, done: u64) -> f32 {
        if done >= self.divergence_steps {
            return 1.0;
        }
        // Quadratic: long low, and never nothing, so that prior and posterior know of each other.
        let share = (done + 1) as f32 / self.divergence_steps as f32;
        (share * share).max(0.01)
    }

    /// The settings of a size. Published: Kim et al., VITS (2106.06103) and the so-vits-svc 4.1 template; learning rate
    /// and schedule of `tiny` by trial on a CPU.
    #[must_use]
    pub fn standard(size: Size, network: VitsSpec) -> Self {
        let tiny = size == Size::Tiny;
        Self {
            network,
            critics: CriticSpec::of(size),
            steps: if tiny { 6_000 } else { 200_000 },
            batch: if tiny { 8 } else { 6 },
            frames: if tiny { 128 } else { 512 },
            segment_frames: if tiny { 16 } else { 20 },
            learning_rate: if tiny { 4e-4 } else { 1e-4 },
            warm_up_steps: if tiny { 100 } else { 0 },
            schedule: if tiny {
                Schedule::Cosine
            } else {
                Schedule::Exponential {
                    factor: 0.999_875,
                    steps: 1_000,
                }
            },
            divergence_steps: if tiny { 2_000 } else { 0 },
            critics_from: if tiny { 2_000 } else { 0 },
            most_gradient: 1_000.0,
            average_steps: if tiny { 300 } else { 1_000 },
            gain_db: 8.0,
            pitch_semitones: 0.0,
            seed: 1,
            save_every: if tiny { 250 } else { 1_000 },
            keep: kept(),
            encoder_sha256: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Tensor;

    use super::*;
    use crate::model::vits::eval::Compute;
    use crate::model::vits::prior::PriorInputs;
    use crate::model::vits::voice::{VitsVoice, VoiceInputs};
    use crate::model::vits::weights::RandomStart;
    use crate::random::Random;

    #[test]
    fn every_rate_has_a_sound_network() {
        for rate_hz in [16_000, 24_000, 32_000, 44_100, 48_000] {
            let shape = VoiceShape {
                content_channels: 64,
                speakers: 2,
                rate_hz,
                loudness: true,
                auto_f0: false,
            };
            let spec = spec(Size::Tiny, shape).unwrap();
            spec.check().unwrap();
            assert_eq!(spec.hop_samples() * 100, rate_hz as usize);
        }
    }

    #[test]
    fn at_every_rate_a_frame_is_a_hop_of_sound() {
        let frames = 4;
        for rate_hz in [16_000, 24_000, 32_000, 44_100, 48_000] {
            let shape = VoiceShape {
                content_channels: 8,
                speakers: 1,
                rate_hz,
                loudness: false,
                auto_f0: false,
            };
            let spec = spec(Size::Tiny, shape).unwrap();
            let device = Default::default();
            let mut start = RandomStart(Random::new(1, 0));
            let voice = VitsVoice::<Flex>::load(&mut start, &spec, &device).unwrap();
            let row = |value: f32| Tensor::full([1, 1, frames], value, &device);
            let inputs = VoiceInputs {
                prior: PriorInputs {
                    content: Tensor::zeros([1, spec.content_channels, frames], &device),
                    f0_hz: row(220.0),
                    voiced: row(1.0),
                    loudness: None,
                },
                speaker_mix: row(1.0),
                prior_noise: Tensor::zeros([1, spec.inter_channels, frames], &device),
                source_noise: Tensor::zeros([1, 1, frames * spec.hop_samples()], &device),
                auto_f0: None,
            };
            let (audio, _) = voice.sing(&mut Compute::default(), &inputs);
            let expected = [1, 1, frames * spec.hop_samples()];
            assert_eq!(audio.dims(), expected, "{rate_hz} Hz");
        }
    }

    #[test]
    fn the_divergence_gains_weight_slowly() {
        let shape = VoiceShape {
            content_channels: 64,
            speakers: 1,
            rate_hz: 24_000,
            loudness: true,
            auto_f0: false,
        };
        let config = VitsFitConfig {
            divergence_steps: 100,
            ..VitsFitConfig::standard(Size::Tiny, spec(Size::Tiny, shape).unwrap())
        };
        let shares: Vec<f32> = [0, 49, 99, 100, 5000]
            .map(|n| config.divergence_share(n))
            .to_vec();
        assert_eq!(shares, [0.01, 0.25, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn the_published_size_wants_its_rate() {
        let shape = VoiceShape {
            content_channels: 768,
            speakers: 1,
            rate_hz: 48_000,
            loudness: true,
            auto_f0: true,
        };
        assert!(
            spec(Size::Published, shape)
                .unwrap_err()
                .1
                .contains("44100")
        );
        let shape = VoiceShape {
            rate_hz: 44_100,
            ..shape
        };
        spec(Size::Published, shape).unwrap().check().unwrap();
    }
}
