//! Events and hops as they lie in a ring: words of which any bits are a value.

use timbra_voice::manifest::MAX_SPEAKERS;

use super::{Event, Hop, Placed};
use crate::controls::{
    ClusterMethod, Controls, Fallback, HeldNote, RetuneControls, RetuneMode, Scale,
};

/// A placed event: kind, position, then what the kind has.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct PlacedWords {
    position: u64,
    resume: u64,
    kind: u32,
    switches: u32,
    seed: u32,
    numbers: [f32; NUMBERS],
}

/// Where the weights of the speakers begin among the numbers, and how many numbers there are.
const MIX: usize = 17;
const NUMBERS: usize = MIX + MAX_SPEAKERS;

const RESTART: u32 = 1;
const AUTO_PITCH: u32 = 1;
const BYPASS: u32 = 2;
const RETRIEVAL: u32 = 4;
const DRY: u32 = 8;
const SCALES: u32 = 16;
const MIDI: u32 = 32;
/// From these bits on, key and scale, as numbers of four bits.
const KEY_SHIFT: u32 = 8;
const SCALE_SHIFT: u32 = 12;
const FOUR_BITS: u32 = 0xf;

impl From<Placed> for PlacedWords {
    fn from(placed: Placed) -> Self {
        let empty = Self {
            position: placed.position,
            resume: 0,
            kind: 0,
            switches: 0,
            seed: 0,
            numbers: [0.0; NUMBERS],
        };
        match placed.event {
            Event::Restart { resume } => Self {
                kind: RESTART,
                resume,
                ..empty
            },
            Event::Controls(controls) => {
                let switch = |on: bool, bit: u32| if on { bit } else { 0 };
                let retune = &controls.retune;
                let (note_share, note) = controls.note.share_and_note();
                let mut numbers = [0.0; NUMBERS];
                numbers[..MIX].copy_from_slice(&[
                    controls.pitch_semitones,
                    controls.formant_semitones,
                    controls.cluster_ratio,
                    controls.loudness_match,
                    controls.gate_db,
                    controls.dry_wet,
                    controls.output_gain_db,
                    controls.auto_f0,
                    controls.f0_smoothing_ms,
                    controls.noise_scale,
                    retune.speed_ms,
                    retune.humanise,
                    retune.amount,
                    retune.reference_hz,
                    note_share,
                    note,
                    controls.articulation,
                ]);
                numbers[MIX..].copy_from_slice(&controls.speaker_mix);
                Self {
                    switches: switch(controls.auto_pitch, AUTO_PITCH)
                        | switch(controls.bypass, BYPASS)
                        | switch(
                            controls.cluster_method == ClusterMethod::Retrieval,
                            RETRIEVAL,
                        )
                        | switch(controls.fallback == Fallback::Dry, DRY)
                        | switch(retune.mode == RetuneMode::Scale, SCALES)
                        | switch(retune.mode == RetuneMode::Midi, MIDI)
                        | (u32::from(retune.key) & FOUR_BITS) << KEY_SHIFT
                        | (retune.scale as u32 & FOUR_BITS) << SCALE_SHIFT,
                    seed: controls.seed,
                    numbers,
                    ..empty
                }
            }
        }
    }
}

impl From<PlacedWords> for Placed {
    fn from(words: PlacedWords) -> Self {
        let event = if words.kind == RESTART {
            Event::Restart {
                resume: words.resume,
            }
        } else {
            let has = |bit: u32| words.switches & bit != 0;
            let four_bits = |shift: u32| words.switches >> shift & FOUR_BITS;
            let scale = Scale::ALL.get(four_bits(SCALE_SHIFT) as usize);
            let mut speaker_mix = [0.0; 8];
            speaker_mix.copy_from_slice(&words.numbers[MIX..]);
            let controls = Controls {
                pitch_semitones: words.numbers[0],
                formant_semitones: words.numbers[1],
                cluster_ratio: words.numbers[2],
                cluster_method: if has(RETRIEVAL) {
                    ClusterMethod::Retrieval
                } else {
                    ClusterMethod::KMeans
                },
                speaker_mix,
                auto_pitch: has(AUTO_PITCH),
                auto_f0: words.numbers[7],
                f0_smoothing_ms: words.numbers[8],
                retune: RetuneControls {
                    mode: if has(SCALES) {
                        RetuneMode::Scale
                    } else if has(MIDI) {
                        RetuneMode::Midi
                    } else {
                        RetuneMode::Off
                    },
                    key: (four_bits(KEY_SHIFT) % 12) as u8,
                    scale: scale.copied().unwrap_or_default(),
                    speed_ms: words.numbers[10],
                    humanise: words.numbers[11],
                    amount: words.numbers[12],
                    reference_hz: words.numbers[13],
                },
                note: HeldNote::from_share_and_note(words.numbers[14], words.numbers[15]),
                noise_scale: words.numbers[9],
                loudness_match: words.numbers[3],
                articulation: words.numbers[16],
                gate_db: words.numbers[4],
                dry_wet: words.numbers[5],
                output_gain_db: words.numbers[6],
                seed: words.seed,
                bypass: has(BYPASS),
                fallback: if has(DRY) {
                    Fallback::Dry
                } else {
                    Fallback::Silence
                },
            };
            Event::Controls(controls)
        };
        Self {
            position: words.position,
            event,
        }
    }
}

/// A stretch of output.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct HopWords {
    start: u64,
    samples: u64,
}

impl From<Hop> for HopWords {
    fn from(hop: Hop) -> Self {
        Self {
            start: hop.start,
            samples: u64::from(hop.samples),
        }
    }
}

impl From<HopWords> for Hop {
    fn from(words: HopWords) -> Self {
        Self {
            start: words.start,
            samples: words.samples as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_come_out_as_they_went_in() {
        let controls = Controls {
            pitch_semitones: -3.5,
            formant_semitones: 1.25,
            cluster_ratio: 0.3,
            cluster_method: ClusterMethod::Retrieval,
            speaker_mix: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
            auto_pitch: true,
            auto_f0: 0.625,
            f0_smoothing_ms: 30.0,
            retune: RetuneControls {
                mode: RetuneMode::Scale,
                key: 11,
                scale: Scale::WholeTone,
                speed_ms: 12.5,
                humanise: 0.75,
                amount: 0.5,
                reference_hz: 442.0,
            },
            note: HeldNote::of(64),
            noise_scale: 1.75,
            loudness_match: 0.9,
            articulation: -0.75,
            gate_db: -55.0,
            dry_wet: 0.25,
            output_gain_db: -6.0,
            seed: u32::MAX,
            bypass: true,
            fallback: Fallback::Dry,
        };
        let mut all = vec![controls, Controls::default()];
        for (number, scale) in Scale::ALL.into_iter().enumerate() {
            let mut of_scale = controls;
            of_scale.retune.mode = RetuneMode::Midi;
            of_scale.retune.key = number as u8 % 12;
            of_scale.retune.scale = scale;
            all.push(of_scale);
        }
        for controls in all {
            let placed = Placed {
                position: u64::MAX - 1,
                event: Event::Controls(controls),
            };
            let back = Placed::from(PlacedWords::from(placed));
            assert_eq!(back.position, u64::MAX - 1);
            assert!(matches!(back.event, Event::Controls(found) if found == controls));
        }
    }
}
