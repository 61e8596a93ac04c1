//! What a harmonic voice is trained on.

use crate::model::excitation::{Analyser, pulses};
use crate::model::harmonic::{BINS, HALVES, HOP_SAMPLES, REFERENCE_F0_HZ};
use crate::random::Random;
use crate::training::clips::VoiceClip;

/// Standard deviation of the noise added to content in training: other singers'
/// content never matches the target's exactly.
const CONTENT_NOISE: f32 = 0.08;
/// The network's view of F0 is moved by up to this much, so that it does not
/// bind a timbre to a pitch and sings outside the range of the recordings.
const F0_VIEW_OCTAVES: f32 = 0.25;
/// Recordings are made louder or softer by up to this much.
const GAIN_DB: f32 = 8.0;
/// Standard deviation of what is added to the loudness of a crop's unvoiced frames alone: how bright
/// a singer's microphone and sibilants are says nothing about how bright the target's should be.
const UNVOICED_DB: f32 = 8.0;

/// How unvoiced the surroundings of frame `k` are, 0..1: a gain that follows it does not jump.
fn unvoiced_share(f0_hz: &[f32], k: usize) -> f32 {
    let near = &f0_hz[k.saturating_sub(1).min(f0_hz.len())..(k + 2).min(f0_hz.len())];
    near.iter().filter(|&&f0| f0 <= 0.0).count() as f32 / near.len().max(1) as f32
}

/// A batch as flat arrays; shapes as in [`crate::model::harmonic`].
#[derive(Debug, Clone, Default)]
pub struct VoiceBatch {
    /// Number of crops.
    pub size: usize,
    /// Frames per crop.
    pub frames: usize,
    /// `[B, T, C]`.
    pub content: Vec<f32>,
    /// `[B, T, 2]`.
    pub pitch: Vec<f32>,
    /// `[B, T, 1]`.
    pub loudness_db: Vec<f32>,
    /// Speaker of each crop.
    pub speakers: Vec<usize>,
    /// `[B, 2T, BINS]`.
    pub pulse_re: Vec<f32>,
    /// `[B, 2T, BINS]`.
    pub pulse_im: Vec<f32>,
    /// `[B, 2T, BINS]`.
    pub noise_re: Vec<f32>,
    /// `[B, 2T, BINS]`.
    pub noise_im: Vec<f32>,
    /// `[B, T·HOP_SAMPLES]`.
    pub audio: Vec<f32>,
}

/// Who sings a crop, and how high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Singing {
    /// Speaker.
    pub speaker: usize,
    /// F0 against that of the clip.
    pub f0_ratio: f32,
}

impl VoiceBatch {
    /// Appends a crop of `clip` that starts at frame `first`; `plain` turns augmentation off.
    pub fn push(
        &mut self,
        clip: &VoiceClip,
        first: usize,
        analyser: &Analyser,
        random: &mut Random,
        plain: bool,
    ) {
        let own = Singing {
            speaker: clip.speaker,
            f0_ratio: 1.0,
        };
        self.push_sung_by(own, clip, first, analyser, random, plain);
    }

    /// As [`Self::push`], but sung by another. The audio stays that of the clip.
    pub fn push_sung_by(
        &mut self,
        singing: Singing,
        clip: &VoiceClip,
        first: usize,
        analyser: &Analyser,
        random: &mut Random,
        plain: bool,
    ) {
        let frames = self.frames;
        let channels = clip.contents[0].len() / clip.frames().max(1);
        let gain_db = if plain {
            0.0
        } else {
            random.uniform(-GAIN_DB, GAIN_DB)
        };
        let gain = 10f32.powf(gain_db / 20.0);
        let f0_shift = if plain {
            0.0
        } else {
            random.uniform(-F0_VIEW_OCTAVES, F0_VIEW_OCTAVES)
        };
        let reading = if plain {
            0
        } else {
            random.below(clip.contents.len())
        };
        let unvoiced_db = if plain {
            0.0
        } else {
            UNVOICED_DB * random.normal()
        };
        let mut f0 = Vec::with_capacity(frames);
        for k in first..first + frames {
            let row = clip.contents[reading].get(k * channels..(k + 1) * channels);
            for c in 0..channels {
                let noise = if plain {
                    0.0
                } else {
                    CONTENT_NOISE * random.normal()
                };
                self.content.push(row.map_or(0.0, |row| row[c]) + noise);
            }
            let f0_hz = singing.f0_ratio * clip.f0_hz.get(k).copied().unwrap_or(0.0);
            let voiced = f0_hz > 0.0;
            self.pitch.push(if voiced {
                (f0_hz / REFERENCE_F0_HZ).log2() + f0_shift
            } else {
                0.0
            });
            self.pitch.push(f32::from(voiced));
            self.loudness_db
                .push(clip.loudness_db.get(k).map_or(-100.0, |db| {
                    db + gain_db + unvoiced_db * unvoiced_share(&clip.f0_hz, k)
                }));
            f0.push(f0_hz);
        }
        self.speakers.push(singing.speaker);
        let samples = frames * HOP_SAMPLES;
        let pulses = pulses(&f0, f64::from(random.unit()));
        let noise: Vec<f32> = (0..samples)
            .map(|_| random.uniform(-1.0, 1.0) * 3f32.sqrt())
            .collect();
        let (re, im) = analyser.spectra(&pulses);
        self.pulse_re.extend(re);
        self.pulse_im.extend(im);
        let (re, im) = analyser.spectra(&noise);
        self.noise_re.extend(re);
        self.noise_im.extend(im);
        // The windows of crop frame i cover time (first + i − 1 … first + i + ½)·10 ms.
        let start = (first * HOP_SAMPLES) as isize - HOP_SAMPLES as isize;
        self.audio.extend((0..samples as isize).map(|i| {
            let position = start + i;
            usize::try_from(position)
                .ok()
                .and_then(|p| clip.audio.get(p))
                .copied()
                .unwrap_or(0.0)
                * gain
        }));
        self.size += 1;
        debug_assert_eq!(self.pulse_re.len(), self.size * frames * HALVES * BINS);
    }

    /// An empty batch for crops of `frames`.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self {
            frames,
            ..Self::default()
        }
    }
}
