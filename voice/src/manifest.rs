//! `voice.json` and `encoder.json`: what a package says about itself.
//!
//! A manifest is data only. [`crate::package`] checks it against the files
//! beside it; `timbra-engine` checks it against the graphs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::{ENCODER_HOP_SAMPLES, MAX_STEP_FRAMES};

/// The package format this build writes and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Most speakers a voice may mix, and so the number of mix parameters.
pub const MAX_SPEAKERS: usize = 8;

/// How a voice makes sound; decides which synthesis controls it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Family {
    /// Harmonic source and filtered noise steered by a small causal network.
    Harmonic,
    /// VITS with an NSF-HiFiGAN decoder.
    Vits,
    /// Glow-TTS decoder to mel and a vocoder.
    Glow,
    /// Shallow diffusion on mel and a vocoder.
    Diffusion,
}

/// The axis along which a ring's rows lie: `[1, heads, rows, width]`.
pub const RING_AXIS: usize = 2;

/// A tensor that a graph carries from one step to the next.
///
/// The graph has an input called `name` and an output called `name_next`, both
/// of `shape`; the first step feeds zeros. Of a *ring* the output has only the
/// rows along [`RING_AXIS`] that are new: whoever runs the graph writes them over the
/// oldest ones, from the first row on and around, so that the rest need not be copied
/// every step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTensor {
    /// Input name; the output is the same with `_next`.
    pub name: String,
    /// Fixed shape, every extent at least 1.
    pub shape: Vec<usize>,
    /// Whether it is a ring, of four extents.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ring: bool,
}

/// One ONNX graph of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphSpec {
    /// File name inside the package.
    pub file: String,
    /// Names of the non-state inputs, in the graph's order.
    pub inputs: Vec<String>,
    /// Names of the non-state outputs.
    pub outputs: Vec<String>,
    /// Carried tensors.
    pub states: Vec<StateTensor>,
    /// In what a CPU keeps the weights while it runs the graph, where that is not what the file has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weights: Option<CpuWeights>,
}

/// Fewer bits than a graph's file has: what a step of a few frames costs is reading the weights, and products of 8 bits are
/// several times as fast as those of float32.
///
/// The file stays as it was trained, so that a GPU runs it as it is and a training can begin with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuWeights {
    /// Whole numbers of 8 bits: of matrices with a scale for every 128 of them or less, of convolutions for every output.
    Int8,
}

/// How a synthesis graph is stepped that makes several frames at a time and sees some of the future.
///
/// A step takes `frames + lookahead_frames` frames and gives the audio of the first `frames`; the next step begins with
/// those that follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Samples at the model rate per frame of the graph.
    pub frame_samples: usize,
    /// Frames a step makes audio for.
    pub frames: usize,
    /// Frames of the future it sees beside them.
    pub lookahead_frames: usize,
    /// Samples at the model rate by which its audio is late beside that.
    pub delay_samples: usize,
    /// Channels of the prior's noise; 0 when it takes none.
    pub noise_channels: usize,
    /// Deviation of the prior's noise where the user says nothing.
    pub noise_scale: f32,
    /// Deviation of the source's noise; 1 is what voices are trained with.
    pub source_noise_scale: f32,
    /// Whether F0 goes on between voiced stretches, and voicing is an input of its own.
    pub continuous_f0: bool,
    /// Beside an encoder that makes several frames at a time: whether the graph makes a step with each of the encoder's, of
    /// the frames that are known then, instead of `frames`. So nobody waits for two steps to fill up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_encoder: bool,
}

impl StepSpec {
    /// Samples at the model rate by which the graph's audio lags its controls in all.
    #[must_use]
    pub fn lag_samples(&self) -> usize {
        (self.frames + self.lookahead_frames)
            .saturating_sub(1)
            .saturating_mul(self.frame_samples)
            .saturating_add(self.delay_samples)
    }

    /// Most frames of a step that follows steps of `encoder`, in a voice with hops of `hop_samples` per 10 ms.
    #[must_use]
    pub fn most_frames_beside(&self, encoder: &EncoderStep, hop_samples: usize) -> usize {
        let samples = encoder.hops().saturating_mul(hop_samples);
        samples.div_ceil(self.frame_samples.max(1))
    }
}

/// How an encoder's graph is stepped that makes several frames of its own length at a time and sees some of the future.
///
/// A step takes the audio of `frames + lookahead_frames` frames and gives the content of the first `frames`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderStep {
    /// Input samples per frame of the graph: 320 for HuBERT and its kin.
    pub frame_samples: usize,
    /// Frames a step gives.
    pub frames: usize,
    /// Frames of the future it sees beside them.
    pub lookahead_frames: usize,
}

impl EncoderStep {
    /// Frames of 10 ms that the frames of a step hold for.
    #[must_use]
    pub fn hops(&self) -> usize {
        (self.frames.saturating_mul(self.frame_samples)) / ENCODER_HOP_SAMPLES
    }

    /// Samples after a frame's beginning that must be in, at the worst, before it is there.
    #[must_use]
    pub fn lag_samples(&self) -> usize {
        self.frames
            .saturating_add(self.lookahead_frames)
            .saturating_mul(self.frame_samples)
    }
}

/// A content encoder: audio at `rate_hz` to `channels` features every `hop_samples`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncoderSpec {
    /// Stable name, e.g. `timbra-content-1`.
    pub id: String,
    /// SHA-256 of the graph file in lower-case hex; voices find their encoder by it.
    pub sha256: String,
    /// Input rate; 16000.
    pub rate_hz: u32,
    /// Input samples per frame; 160.
    pub hop_samples: usize,
    /// Features per frame (C).
    pub channels: usize,
    /// Samples after a frame's centre that must be in before it can be computed.
    pub lookahead_samples: usize,
    /// How it is stepped, when not one frame of 10 ms at a time. Each of its frames then holds for as many of 10 ms as it
    /// is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<EncoderStep>,
    /// The graph; its `file` exists in the package only when the encoder is embedded.
    pub graph: GraphSpec,
}

/// The manifest of a stand-alone encoder package (`encoder.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderManifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The encoder itself.
    pub encoder: EncoderSpec,
    /// SPDX licence expression of the weights.
    pub licence: String,
    /// Who must be named.
    pub attribution: Vec<String>,
    /// How it was trained.
    #[serde(default)]
    pub training: TrainingSummary,
    /// Every other file of the package.
    pub files: BTreeMap<String, FileEntry>,
}

/// One speaker of a voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    /// Lower-case name used on the command line and on screen.
    pub name: String,
    /// BCP 47 tags of the recordings' languages.
    pub languages: Vec<String>,
    /// SPDX licence of the recordings.
    pub licence: String,
    /// Who must be named; may be empty for CC0.
    pub attribution: String,
    /// Statement of the speaker's consent, or of the licence that stands for it.
    pub consent: String,
    /// Median F0 of the recordings.
    pub f0_median_hz: f32,
    /// 5th percentile of F0.
    pub f0_low_hz: f32,
    /// 95th percentile of F0.
    pub f0_high_hz: f32,
    /// Median loudness of voiced frames in dBFS.
    pub loudness_median_db: f32,
    /// How much of the input's articulation is kept where no control says otherwise, 0 to 1: levels in eight broad bands are brought
    /// so far towards those of what is sung. More words are understood so, and the speaker is a little further away.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub articulation: f32,
}

/// Size and hash of one file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Lower-case hex SHA-256.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// What the trainer did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// Program and version.
    pub trainer: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Minutes of recordings.
    pub minutes: f64,
    /// Hours of wall time.
    pub hours: f64,
    /// Backend, e.g. `flex`.
    pub backend: String,
    /// Held-out loss at the end.
    pub held_out_loss: f64,
    /// Free text.
    #[serde(default)]
    pub notes: String,
}

/// Measured on held-out clips when the voice was exported.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Similarity of resynthesised held-out clips to the speaker: mean-MFCC cosine, 0..1.
    pub similarity: f64,
    /// Median absolute F0 error in cents.
    pub f0_cents: f64,
    /// Share of frames with the wrong voiced/unvoiced decision.
    pub voicing_error: f64,
    /// Content distance between held-out source and its resynthesis, 0 is the same.
    pub content_distance: f64,
    /// Algorithmic latency at 48 kHz without the host's block.
    pub latency_ms: f64,
    /// compute seconds per audio second, one core.
    pub load: f64,
    /// The machine the load was measured on.
    pub machine: String,
}

/// Everything a voice package says about itself (`voice.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Name shown to the user.
    pub name: String,
    /// Synthesis family.
    pub family: Family,
    /// Speakers in the order of `speaker_mix`, 1 to [`MAX_SPEAKERS`].
    pub speakers: Vec<Speaker>,
    /// SPDX licence expression of the package.
    pub licence: String,
    /// Who must be named.
    pub attribution: Vec<String>,
    /// Output rate of the synthesis graph.
    pub model_rate_hz: u32,
    /// Output samples per frame; `model_rate_hz / 100`.
    pub hop_samples: usize,
    /// Samples at model rate by which the graph's audio lags its controls.
    pub delay_samples: usize,
    /// Frames of the past that can still be heard (tail and receptive field).
    pub receptive_field_frames: usize,
    /// Whether its sound is made as loud as the loudness it is given, so that peaks far above the input's are none of the
    /// singer's; the engine then keeps them near.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follows_level: bool,
    /// Lowest F0 the voice was trained for.
    pub f0_min_hz: f32,
    /// Highest F0 the voice accepts.
    pub f0_max_hz: f32,
    /// The content encoder this voice was trained on.
    pub encoder: EncoderSpec,
    /// The synthesis graph.
    pub synthesis: GraphSpec,
    /// How it is stepped, when not one frame of 10 ms at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepSpec>,
    /// `clusters.safetensors`: one `[K, C]` table per speaker, named as the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<String>,
    /// `retrieval.safetensors`: one `[N, C]` table per speaker, named as the speaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<String>,
    /// How far content is pulled to retrieved frames where no control asks for it, 0 to 1: a voice may be clearer and nearer
    /// to its speaker so.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retrieval_ratio: f32,
    /// Share of what retrieval pulls by that frames without a voice in them are pulled by, 0 to 1: consonants and breaths stay
    /// the singer's own where a speaker's table has few. RVC's protect, which is 1 where it is .5 or more.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub retrieval_unvoiced: f32,
    /// Every other file of the package.
    pub files: BTreeMap<String, FileEntry>,
    /// How it was trained.
    #[serde(default)]
    pub training: TrainingSummary,
    /// What it reached, when it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn whole() -> f32 {
    1.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_whole(share: &f32) -> bool {
    *share >= 1.0
}

fn is_zero(ratio: &f32) -> bool {
    *ratio == 0.0
}

impl Manifest {
    /// The steps of the encoder that the graph follows, where it does: not where they are longer than a step may be.
    #[must_use]
    pub fn followed(&self) -> Option<&EncoderStep> {
        let step = self.step.as_ref().filter(|step| step.follows_encoder)?;
        let encoder = self.encoder.step.as_ref()?;
        let most = step.most_frames_beside(encoder, self.hop_samples);
        (1..=MAX_STEP_FRAMES).contains(&most).then_some(encoder)
    }

    /// How much of the input's articulation speakers of these weights, which sum to 1, keep by themselves, 0 to 1.
    #[must_use]
    pub fn articulation(&self, mix: &[f32]) -> f32 {
        let shares = self.speakers.iter().map(|speaker| speaker.articulation);
        shares.zip(mix).map(|(share, weight)| share * weight).sum()
    }

    /// Whether the synthesis graph has an input of this name.
    #[must_use]
    pub fn takes(&self, input: &str) -> bool {
        self.synthesis.inputs.iter().any(|name| name == input)
    }
}
