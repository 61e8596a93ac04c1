//! The parameters: what a host sees, automates and saves.
//!
//! Ids are frozen: a project saved with one version must play in the next. The
//! golden list in this file's tests fails when one changes.

pub mod retune;
pub mod text;

use std::sync::Arc;

use nice_plug::prelude::*;
use timbra_engine::Controls;
use timbra_engine::controls::{GATE_OFF_DB, HeldNote, MAX_F0_SMOOTHING_MS, MAX_NOISE_SCALE};
use timbra_voice::manifest::MAX_SPEAKERS;

use self::retune::RetuneParams;
use crate::state::{EditorSize, StateNotice, VoiceSlot};

/// How much delay is traded for quality. Changing it restarts the plugin in the host.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// For tracking and performing: the shortest delay.
    #[id = "live"]
    #[name = "Live"]
    Live,
    /// For playback and mixing: the host compensates a longer delay.
    #[id = "studio"]
    #[name = "Studio"]
    Studio,
    /// For the bounce: everything the voice can do.
    #[id = "render"]
    #[name = "Render"]
    Render,
}

/// Which table the cluster ratio pulls the content towards.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterMethod {
    /// Centres of the speaker's content, found by k-means.
    #[id = "kmeans"]
    #[name = "K-means"]
    KMeans,
    /// The nearest frames of the speaker's own recordings.
    #[id = "retrieval"]
    #[name = "Retrieval"]
    Retrieval,
}

/// What is heard while no voice can sound.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the dry voice never leaks into a mix.
    #[id = "silence"]
    #[name = "Silence"]
    Silence,
    /// The input, delayed by the reported latency.
    #[id = "dry"]
    #[name = "Dry"]
    Dry,
}

/// Weights of a voice's speakers, 0..1 each; the engine divides by their sum.
#[derive(Params)]
#[allow(missing_docs, reason = "eight times the same field")]
pub struct SpeakerMix {
    #[id = "mix_1"]
    pub mix_1: FloatParam,
    #[id = "mix_2"]
    pub mix_2: FloatParam,
    #[id = "mix_3"]
    pub mix_3: FloatParam,
    #[id = "mix_4"]
    pub mix_4: FloatParam,
    #[id = "mix_5"]
    pub mix_5: FloatParam,
    #[id = "mix_6"]
    pub mix_6: FloatParam,
    #[id = "mix_7"]
    pub mix_7: FloatParam,
    #[id = "mix_8"]
    pub mix_8: FloatParam,
}

impl SpeakerMix {
    fn new() -> Self {
        let weight = |number: usize| {
            ratio(
                format!("Speaker {number}"),
                if number == 1 { 1.0 } else { 0.0 },
            )
        };
        Self {
            mix_1: weight(1),
            mix_2: weight(2),
            mix_3: weight(3),
            mix_4: weight(4),
            mix_5: weight(5),
            mix_6: weight(6),
            mix_7: weight(7),
            mix_8: weight(8),
        }
    }

    /// The weights in speaker order.
    pub fn all(&self) -> [&FloatParam; MAX_SPEAKERS] {
        [
            &self.mix_1,
            &self.mix_2,
            &self.mix_3,
            &self.mix_4,
            &self.mix_5,
            &self.mix_6,
            &self.mix_7,
            &self.mix_8,
        ]
    }
}

/// Everything that is saved with a project.
#[derive(Params)]
pub struct TimbraParams {
    /// The voice the project wants.
    #[persist = "voice"]
    pub voice: VoiceSlot,
    /// Size and zoom of the editor.
    #[persist = "editor"]
    pub editor: EditorSize,
    /// What the last loaded state had that this version does not know.
    #[persist = "notice"]
    pub notice: StateNotice,

    /// Trade of delay for quality.
    #[id = "tier"]
    pub tier: EnumParam<Tier>,
    /// Transposition in semitones.
    #[id = "pitch"]
    pub pitch: FloatParam,
    /// Formant shift in semitones.
    #[id = "formant"]
    pub formant: FloatParam,
    /// How far the content is pulled towards the speaker's own, 0..1.
    #[id = "cluster_ratio"]
    pub cluster_ratio: FloatParam,
    /// Which table it is pulled towards.
    #[id = "cluster_method"]
    pub cluster_method: EnumParam<ClusterMethod>,
    /// Weights of the voice's speakers.
    #[nested(group = "Speakers")]
    pub mix: SpeakerMix,
    /// Shift the source into the speakers' register.
    #[id = "auto_pitch"]
    pub auto_pitch: BoolParam,
    /// How far the output follows the input's loudness, 0..1.
    #[id = "loudness_match"]
    pub loudness_match: FloatParam,
    /// Input level below which nothing is synthesised, in dBFS.
    #[id = "gate"]
    pub gate: FloatParam,
    /// 0 = the delayed input, 1 = the converted voice.
    #[id = "dry_wet"]
    pub dry_wet: FloatParam,
    /// Level of the output in dB.
    #[id = "output_gain"]
    pub output_gain: FloatParam,
    /// Which noise the voice breathes with.
    #[id = "seed"]
    pub seed: IntParam,
    /// What is heard while no voice can sound.
    #[id = "fallback"]
    pub fallback: EnumParam<Fallback>,
    /// The host's bypass: the input, delayed by the reported latency.
    #[id = "bypass"]
    pub bypass: BoolParam,
    /// F0 from the voice's own F0 decoder instead of the one that is sung.
    #[id = "auto_f0"]
    pub auto_f0: BoolParam,
    /// Time over which F0 is averaged, in milliseconds.
    #[id = "f0_smoothing"]
    pub f0_smoothing: FloatParam,
    /// Noise of the prior as a share of the voice's own, 0..2.
    ///
    /// A share, not the deviation itself: voices differ in it (0.4 from so-vits-svc, 0.667 from RVC), and a saved
    /// project or an automation lane then means the same with every voice.
    #[id = "noise_scale"]
    pub noise_scale: FloatParam,
    /// F0 to the notes of a scale or to MIDI notes.
    #[nested(group = "Retune")]
    pub retune: RetuneParams,
    /// How much of the input's articulation is kept, −1..1; 0 is what the voice asks for by itself.
    #[id = "articulation"]
    pub articulation: FloatParam,
}

fn semitones(name: &str, range: f32) -> FloatParam {
    FloatParam::new(
        name,
        0.0,
        FloatRange::Linear {
            min: -range,
            max: range,
        },
    )
    .with_unit(" st")
    .with_value_to_string(Arc::new(text::semitones_to_text))
    .with_string_to_value(Arc::new(text::text_to_semitones))
}

fn ratio(name: impl Into<String>, default: f32) -> FloatParam {
    share(name, default, 1.0)
}

fn share(name: impl Into<String>, default: f32, max: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min: 0.0, max })
        .with_unit(" %")
        .with_value_to_string(Arc::new(text::ratio_to_text))
        .with_string_to_value(Arc::new(text::text_to_ratio))
}

/// A share that goes either way from what the voice has.
fn around(name: &str) -> FloatParam {
    let range = FloatRange::Linear {
        min: -1.0,
        max: 1.0,
    };
    FloatParam::new(name, 0.0, range)
        .with_unit(" %")
        .with_value_to_string(Arc::new(text::ratio_to_text))
        .with_string_to_value(Arc::new(text::text_to_ratio))
}

fn milliseconds(name: &str, default: f32, max: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min: 0.0, max })
        .with_unit(" ms")
        .with_value_to_string(Arc::new(text::milliseconds_to_text))
        .with_string_to_value(Arc::new(text::text_to_milliseconds))
}

fn switch(name: &str, default: bool) -> BoolParam {
    BoolParam::new(name, default)
        .with_value_to_string(Arc::new(text::switch_to_text))
        .with_string_to_value(Arc::new(text::text_to_switch))
}

impl TimbraParams {
    /// The values the host has set for the block at hand, as the engine takes them, without the MIDI note: `process`
    /// knows which one is held.
    ///
    /// Real-time: yes.
    pub fn controls(&self) -> Controls {
        Controls {
            pitch_semitones: self.pitch.value(),
            formant_semitones: self.formant.value(),
            cluster_ratio: self.cluster_ratio.value(),
            cluster_method: self.cluster_method.value().into(),
            speaker_mix: self.mix.all().map(FloatParam::value),
            auto_pitch: self.auto_pitch.value(),
            auto_f0: f32::from(u8::from(self.auto_f0.value())),
            f0_smoothing_ms: self.f0_smoothing.value(),
            retune: self.retune.controls(),
            note: HeldNote::NONE,
            noise_scale: self.noise_scale.value(),
            loudness_match: self.loudness_match.value(),
            articulation: self.articulation.value(),
            gate_db: self.gate.value(),
            dry_wet: self.dry_wet.value(),
            output_gain_db: self.output_gain.value(),
            seed: self.seed.value().unsigned_abs(),
            bypass: self.bypass.value(),
            fallback: self.fallback.value().into(),
        }
    }
}

impl From<Tier> for timbra_engine::Tier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Live => Self::Live,
            Tier::Studio => Self::Studio,
            Tier::Render => Self::Render,
        }
    }
}

impl From<ClusterMethod> for timbra_engine::ClusterMethod {
    fn from(method: ClusterMethod) -> Self {
        match method {
            ClusterMethod::KMeans => Self::KMeans,
            ClusterMethod::Retrieval => Self::Retrieval,
        }
    }
}

impl From<Fallback> for timbra_engine::Fallback {
    fn from(fallback: Fallback) -> Self {
        match fallback {
            Fallback::Silence => Self::Silence,
            Fallback::Dry => Self::Dry,
        }
    }
}

impl Default for TimbraParams {
    fn default() -> Self {
        Self {
            voice: VoiceSlot::default(),
            editor: EditorSize::default(),
            notice: StateNotice::default(),
            // A restart in the middle of a lane would click, so hosts do not offer one.
            tier: EnumParam::new("Tier", Tier::Live).non_automatable(),
            pitch: semitones("Pitch", 24.0),
            formant: semitones("Formant", 12.0),
            cluster_ratio: ratio("Cluster ratio", 0.0),
            cluster_method: EnumParam::new("Cluster method", ClusterMethod::KMeans),
            mix: SpeakerMix::new(),
            auto_pitch: switch("Auto-pitch", false),
            loudness_match: ratio("Loudness match", 0.0),
            gate: FloatParam::new(
                "Gate",
                GATE_OFF_DB,
                FloatRange::Linear {
                    min: GATE_OFF_DB,
                    max: 0.0,
                },
            )
            .with_unit(" dB")
            .with_value_to_string(Arc::new(text::decibels_to_text))
            .with_string_to_value(Arc::new(text::text_to_gate)),
            dry_wet: ratio("Dry/wet", 1.0),
            output_gain: FloatParam::new(
                "Output gain",
                0.0,
                FloatRange::Linear {
                    min: -60.0,
                    max: 12.0,
                },
            )
            .with_unit(" dB")
            .with_value_to_string(Arc::new(text::decibels_to_text))
            .with_string_to_value(Arc::new(text::text_to_decibels)),
            seed: IntParam::new("Seed", 0, IntRange::Linear { min: 0, max: 9999 })
                .with_string_to_value(Arc::new(text::text_to_integer)),
            fallback: EnumParam::new("Fallback", Fallback::Silence),
            bypass: switch("Bypass", false).make_bypass(),
            auto_f0: switch("Auto-F0", false),
            f0_smoothing: milliseconds("F0 smoothing", 0.0, MAX_F0_SMOOTHING_MS),
            noise_scale: share("Noise scale", 1.0, MAX_NOISE_SCALE),
            retune: RetuneParams::default(),
            articulation: around("Articulation"),
        }
    }
}
