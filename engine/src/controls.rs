//! What the user can turn, and how it travels with the audio.

mod note;
mod retune;

pub use note::{HeldKeys, HeldNote};
pub use retune::{
    CONCERT_PITCH_HZ, MAX_RETUNE_MS, REFERENCE_HZ, RetuneControls, RetuneMode, Scale,
};
use serde::{Deserialize, Serialize};
use timbra_voice::manifest::MAX_SPEAKERS;

/// Shortest distance, in host samples, between two positions at which a control is sampled.
///
/// A change is sampled exactly where it is; one that follows closer than this waits. A step of a continuous control
/// takes this time.
pub const GRID_SAMPLES: u64 = 64;

const _: () = assert!(MAX_SPEAKERS == 8, "Controls::speaker_mix has eight weights");

/// Gate threshold at and below which the gate is off, in dBFS.
pub const GATE_OFF_DB: f32 = -100.0;

/// Widest smoothing of F0. Vibrato of 6 Hz keeps 42 % of its depth there, and 95 % at 20 ms.
pub const MAX_F0_SMOOTHING_MS: f32 = 100.0;

/// Most noise of the prior, as a share of the voice's own: beyond twice of it voices are hoarse.
pub const MAX_NOISE_SCALE: f32 = 2.0;

/// How much delay is traded for safety and quality. Decides the latency, so it is part of the stream's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Tier {
    /// For tracking and performing: the shortest delay.
    #[default]
    Live,
    /// For playback and mixing: the host compensates a longer delay.
    Studio,
    /// For the bounce.
    Render,
}

/// Which table the cluster ratio pulls the content towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterMethod {
    /// Centres of the speaker's content, found by k-means.
    #[default]
    KMeans,
    /// The nearest frames of the speaker's own recordings.
    Retrieval,
}

/// What is heard while no voice can sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Nothing: the dry voice never leaks into a mix.
    #[default]
    Silence,
    /// The input, delayed by the reported latency.
    Dry,
}

/// The value of every control at one moment.
///
/// Values outside the ranges given here are brought into them by [`Controls::sane`]; the engine does so itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controls {
    /// Transposition, −24..24, cents resolved.
    pub pitch_semitones: f32,
    /// Formant shift, −12..12; ignored by voices whose graph has no such input.
    pub formant_semitones: f32,
    /// How far the content is pulled towards the speaker's own, 0..1.
    pub cluster_ratio: f32,
    /// Which table it is pulled towards.
    pub cluster_method: ClusterMethod,
    /// Weights of the voice's speakers, 0..1 each; divided by their sum. All zero means the first speaker.
    // A literal length: rustc 1.95 fails on `..controls` inside closures of other crates when it is a constant.
    pub speaker_mix: [f32; 8],
    /// Shift the source into the register of the mixed speakers, in whole semitones.
    pub auto_pitch: bool,
    /// Where F0 comes from: 0 = what is sung, 1 = the voice's own F0 decoder. A number because a switch is sampled once
    /// per frame and a number at its sample. Ignored by voices whose graph has no such decoder.
    pub auto_f0: f32,
    /// Time between the first and the last of the frames that F0 is the mean of, 0..[`MAX_F0_SMOOTHING_MS`]; 0 is off.
    pub f0_smoothing_ms: f32,
    /// Moves F0, after all of the above, to the notes of a scale or to [`Self::note`].
    pub retune: RetuneControls,
    /// The MIDI note that is held, for [`RetuneMode::Midi`]. No switch: it changes at its sample.
    pub note: HeldNote,
    /// Noise of the prior as a share of the voice's own, 0..[`MAX_NOISE_SCALE`]; 1 is what the voice's manifest says.
    /// Ignored by voices whose graph takes none.
    pub noise_scale: f32,
    /// 0 = loudness as the voice makes it, 1 = the output follows the input's envelope.
    pub loudness_match: f32,
    /// How much of the input's articulation is kept, −1..1: 0 = what the manifest says of the voice's speakers, −1 = nothing, 1 = all.
    pub articulation: f32,
    /// Input loudness below which the voice is shut, −100..0 dBFS; [`GATE_OFF_DB`] switches it off.
    pub gate_db: f32,
    /// 0 = the delayed input, 1 = the converted voice.
    pub dry_wet: f32,
    /// Level of the output, −60..12.
    pub output_gain_db: f32,
    /// Which noise the voice breathes with.
    pub seed: u32,
    /// The input, delayed by the reported latency, and nothing else.
    pub bypass: bool,
    /// What is heard while no voice can sound.
    pub fallback: Fallback,
}

impl Default for Controls {
    /// The first speaker, untransposed, fully wet.
    fn default() -> Self {
        let mut speaker_mix = [0.0; MAX_SPEAKERS];
        speaker_mix[0] = 1.0;
        Self {
            pitch_semitones: 0.0,
            formant_semitones: 0.0,
            cluster_ratio: 0.0,
            cluster_method: ClusterMethod::KMeans,
            speaker_mix,
            auto_pitch: false,
            auto_f0: 0.0,
            f0_smoothing_ms: 0.0,
            retune: RetuneControls::default(),
            note: HeldNote::NONE,
            noise_scale: 1.0,
            loudness_match: 0.0,
            articulation: 0.0,
            gate_db: GATE_OFF_DB,
            dry_wet: 1.0,
            output_gain_db: 0.0,
            seed: 0,
            bypass: false,
            fallback: Fallback::Silence,
        }
    }
}

impl Controls {
    /// The nearest controls that are finite and in range.
    ///
    /// Real-time: yes.
    pub fn sane(&self) -> Self {
        Self {
            pitch_semitones: within(self.pitch_semitones, -24.0, 24.0, 0.0),
            formant_semitones: within(self.formant_semitones, -12.0, 12.0, 0.0),
            cluster_ratio: within(self.cluster_ratio, 0.0, 1.0, 0.0),
            speaker_mix: self.speaker_mix.map(|weight| within(weight, 0.0, 1.0, 0.0)),
            auto_f0: within(self.auto_f0, 0.0, 1.0, 0.0),
            f0_smoothing_ms: within(self.f0_smoothing_ms, 0.0, MAX_F0_SMOOTHING_MS, 0.0),
            retune: self.retune.sane(),
            note: self.note.sane(),
            noise_scale: within(self.noise_scale, 0.0, MAX_NOISE_SCALE, 1.0),
            loudness_match: within(self.loudness_match, 0.0, 1.0, 0.0),
            articulation: within(self.articulation, -1.0, 1.0, 0.0),
            gate_db: within(self.gate_db, GATE_OFF_DB, 0.0, GATE_OFF_DB),
            dry_wet: within(self.dry_wet, 0.0, 1.0, 1.0),
            output_gain_db: within(self.output_gain_db, -60.0, 12.0, 0.0),
            ..*self
        }
    }

    /// The controls `fraction` of the way from `self` to `next`: numbers on a straight line, switches as in `self`.
    ///
    /// Real-time: yes.
    pub fn towards(&self, next: &Self, fraction: f32) -> Self {
        let line = |from, to| line(from, to, fraction);
        let mut speaker_mix = self.speaker_mix;
        for (weight, to) in speaker_mix.iter_mut().zip(next.speaker_mix) {
            *weight = line(*weight, to);
        }
        Self {
            pitch_semitones: line(self.pitch_semitones, next.pitch_semitones),
            formant_semitones: line(self.formant_semitones, next.formant_semitones),
            cluster_ratio: line(self.cluster_ratio, next.cluster_ratio),
            speaker_mix,
            auto_f0: line(self.auto_f0, next.auto_f0),
            f0_smoothing_ms: line(self.f0_smoothing_ms, next.f0_smoothing_ms),
            retune: self.retune.towards(&next.retune, fraction),
            note: self.note.towards(&next.note, fraction),
            noise_scale: line(self.noise_scale, next.noise_scale),
            loudness_match: line(self.loudness_match, next.loudness_match),
            articulation: line(self.articulation, next.articulation),
            gate_db: line(self.gate_db, next.gate_db),
            dry_wet: line(self.dry_wet, next.dry_wet),
            output_gain_db: line(self.output_gain_db, next.output_gain_db),
            ..*self
        }
    }

    /// These numbers with the switches of `other`.
    ///
    /// Real-time: yes.
    pub fn with_switches_of(&self, other: &Self) -> Self {
        Self {
            cluster_method: other.cluster_method,
            auto_pitch: other.auto_pitch,
            retune: self.retune.with_switches_of(&other.retune),
            seed: other.seed,
            bypass: other.bypass,
            fallback: other.fallback,
            ..*self
        }
    }

    /// The weights of the first `speakers` speakers, divided by their sum; the first alone when all are zero.
    ///
    /// Real-time: yes.
    pub fn normalised_mix(&self, speakers: usize) -> [f32; MAX_SPEAKERS] {
        let mut mix = [0.0; MAX_SPEAKERS];
        let speakers = speakers.min(MAX_SPEAKERS);
        let total: f32 = self.speaker_mix[..speakers].iter().sum();
        if total > 1e-6 {
            for (weight, &raw) in mix.iter_mut().zip(&self.speaker_mix[..speakers]) {
                *weight = raw / total;
            }
        } else {
            mix[0] = 1.0;
        }
        mix
    }
}

/// A number brought into its range, or what it is otherwise when it is none.
fn within(value: f32, low: f32, high: f32, otherwise: f32) -> f32 {
    if value.is_finite() {
        value.clamp(low, high)
    } else {
        otherwise
    }
}

/// A number on a straight line; to the bit where it does not move.
fn line(from: f32, to: f32, fraction: f32) -> f32 {
    if from == to {
        from
    } else {
        from + (to - from) * fraction
    }
}

/// The controls at one position of the stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ControlFrame {
    /// Input position, in host samples since the stream began.
    pub position: u64,
    /// The values there.
    pub controls: Controls,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_normalised_over_the_speakers_there_are() {
        let mut controls = Controls {
            speaker_mix: [0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            ..Controls::default()
        };
        assert_eq!(controls.normalised_mix(3)[..3], [0.5, 0.5, 0.0]);
        controls.speaker_mix = [0.0; MAX_SPEAKERS];
        assert_eq!(controls.normalised_mix(3)[..3], [1.0, 0.0, 0.0]);
    }

    #[test]
    fn nonsense_is_brought_into_range() {
        let wild = Controls {
            pitch_semitones: f32::NAN,
            dry_wet: 7.0,
            output_gain_db: f32::INFINITY,
            ..Controls::default()
        };
        let sane = wild.sane();
        assert_eq!(
            (sane.pitch_semitones, sane.dry_wet, sane.output_gain_db),
            (0.0, 1.0, 0.0)
        );
    }

    #[test]
    fn numbers_move_on_a_line_and_switches_wait() {
        let from = Controls::default();
        let to = Controls {
            pitch_semitones: 12.0,
            bypass: true,
            ..from
        };
        let half = from.towards(&to, 0.5);
        assert_eq!((half.pitch_semitones, half.bypass), (6.0, false));
    }
}
