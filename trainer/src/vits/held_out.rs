//! How a VITS voice does on recordings it does not learn from, sung as they would be played.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use timbra_dsp::CONTENT_RATE_HZ;
use timbra_dsp::resample::resample_all;
use timbra_engine::Encoder;

use super::batch::{Part, Reading, read};
use super::network::{predicted_f0_hz, sing};
use super::spectrum::LogMel;
use crate::data::audio::{SampleKind, write_wav};
use crate::evaluation::measures::{Timbre, compare_f0, content_distance, f0_track_hz, similarity};
use crate::kernels::Kernels;
use crate::model::causal::{from_vec, value};
use crate::model::vits::spec::VitsSpec;
use crate::model::vits::voice::VitsVoice;
use crate::plot::{Panel, draw_spectrograms};
use crate::random::Random;
use crate::training::clips::VoiceClip;

/// Clips in a validation.
const CLIPS: usize = 8;
/// Seconds of each.
const SECONDS: usize = 3;
/// How much of a speaker's recordings describes the voice.
const REFERENCE_SECONDS: usize = 60;
/// Deviation of the prior's noise: what so-vits-svc sings with.
pub const NOISE_SCALE: f32 = 0.4;
/// Frames quieter than this say nothing about words.
const QUIET_DB: f32 = -50.0;
/// Clips that are kept as sound and picture.
const KEPT: usize = 2;

/// What a validation measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Mean magnitude of the difference of log-mel spectrograms when a speaker sings their own clip, in nepers.
    pub mel: f64,
    /// How alike the next speaker is to their recordings when they sing it (a lone one sings their own), 0..1.
    pub similarity: f64,
    /// Median F0 error of that in cents.
    pub f0_cents: f64,
    /// Share of frames that are voiced in one only.
    pub voicing_error: f64,
    /// Mean of 1 − cosine of its content beside the recording's.
    pub content: f64,
    /// Level of what is sung beside the recordings, in dB.
    pub level_db: f64,
    /// Median error of the F0 that is predicted for a speaker's own clip where it is voiced, in cents; 0 where none is predicted.
    #[serde(default)]
    pub auto_f0_cents: f64,
}

impl Measures {
    /// One number, higher is better: likeness, less what is lost of words, pitch and voicing.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.similarity - self.content - self.voicing_error - self.f0_cents.min(100.0) / 100.0
    }
}

/// Validates voices of one training.
pub struct HeldOut<B: Backend> {
    spec: VitsSpec,
    parts: Vec<(String, usize, Part)>,
    timbres: Vec<Option<Timbre>>,
    encoder: Arc<Encoder>,
    mel: LogMel<B>,
    device: B::Device,
    /// Whether the clips are held out; where none are, it measures on some of the others.
    pub unheard: bool,
}

impl<B: Kernels> HeldOut<B> {
    /// For a training on `clips`.
    ///
    /// # Errors
    /// The rate of the recordings is not supported.
    pub fn new(
        clips: &[VoiceClip],
        spec: &VitsSpec,
        encoder: Arc<Encoder>,
        device: &B::Device,
    ) -> Result<Self> {
        let hop = spec.hop_samples();
        let long = |clip: &&VoiceClip| clip.audio.len() / hop > 50;
        let mut held: Vec<&VoiceClip> = clips.iter().filter(|c| c.held_out).filter(long).collect();
        let unheard = !held.is_empty();
        if !unheard {
            held = clips.iter().filter(long).collect();
        }
        let count = CLIPS.min(held.len());
        let parts = (0..count)
            .map(|n| {
                let clip = held[n * held.len() / count];
                let most = SECONDS * spec.rate_hz as usize / hop;
                let frames = (clip.audio.len() / hop).min(most);
                let part = read(clip, 0, frames, (spec.rate_hz, hop), Reading::PLAIN)?;
                Ok((clip.name.clone(), clip.speaker, part))
            })
            .collect::<Result<_>>()?;
        let timbres = (0..spec.speakers)
            .map(|speaker| {
                let own = clips.iter().filter(|c| c.speaker == speaker && !c.held_out);
                let samples = own.flat_map(|clip| clip.audio.iter().copied());
                let samples: Vec<f32> = samples
                    .take(REFERENCE_SECONDS * spec.rate_hz as usize)
                    .collect();
                (!samples.is_empty())
                    .then(|| Timbre::of(&samples, spec.rate_hz))
                    .transpose()
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            spec: spec.clone(),
            parts,
            timbres,
            encoder,
            mel: LogMel::new(spec.rate_hz, hop, device),
            device: device.clone(),
            unheard,
        })
    }

    /// Measures a voice; the first clips go as sound and picture to `samples`, when it is given.
    ///
    /// # Errors
    /// The encoder fails, or the disk is full.
    pub fn measure(&self, voice: &VitsVoice<B>, samples: Option<&Path>) -> Result<Measures> {
        let (rate_hz, hop) = (self.spec.rate_hz, self.spec.hop_samples());
        let mut sums = Measures::default();
        let mut sung = vec![Vec::new(); self.spec.speakers];
        for (index, (name, own, part)) in self.parts.iter().enumerate() {
            let frames = part.f0_hz.len();
            let mut random = Random::new(0, index as u64);
            let mut normal = |count: usize, scale: f32| -> Vec<f32> {
                (0..count).map(|_| scale * random.normal()).collect()
            };
            let noise = (
                normal(frames * self.spec.inter_channels, NOISE_SCALE),
                normal(frames * hop, 1.0),
            );
            let copied = sing(voice, &self.spec, part, *own, noise.clone(), &self.device);
            let line = |samples: &[f32]| {
                self.mel.of(&from_vec(
                    samples.to_vec(),
                    [1, 1, samples.len()],
                    &self.device,
                ))
            };
            let distance = (line(&copied) - line(&part.audio)).abs().mean();
            sums.mel += f64::from(value(&distance));

            if let Some(predicted) = predicted_f0_hz(voice, &self.spec, part, *own, &self.device) {
                sums.auto_f0_cents += compare_f0(&part.f0_hz, &predicted).cents;
            }

            let next = (*own + 1) % self.spec.speakers;
            let crossed = if next == *own {
                copied
            } else {
                sing(voice, &self.spec, part, next, noise, &self.device)
            };
            sums.level_db += level_db(&crossed) - level_db(&part.audio);
            let agreement = compare_f0(
                &part_f0(part, rate_hz, hop),
                &f0_track_hz(&crossed, rate_hz)?,
            );
            sums.f0_cents += agreement.cents;
            sums.voicing_error += agreement.voicing_error;
            sums.content += self.content(&crossed, &part.audio)?;
            if index < KEPT
                && let Some(folder) = samples
            {
                keep(
                    folder,
                    &format!("{} {name}", index + 1),
                    rate_hz,
                    &part.audio,
                    &crossed,
                )?;
            }
            sung[next].extend(crossed);
        }
        let mut alike = Vec::new();
        for (timbre, samples) in self.timbres.iter().zip(&sung) {
            if let Some(timbre) = timbre
                && !samples.is_empty()
            {
                let heard = Timbre::of(samples, rate_hz)?;
                alike.push(similarity(&timbre.mean_cepstrum(), &heard.mean_cepstrum()));
            }
        }
        let count = self.parts.len().max(1) as f64;
        Ok(Measures {
            mel: sums.mel / count,
            similarity: alike.iter().sum::<f64>() / alike.len().max(1) as f64,
            f0_cents: sums.f0_cents / count,
            voicing_error: sums.voicing_error / count,
            content: sums.content / count,
            level_db: sums.level_db / count,
            auto_f0_cents: sums.auto_f0_cents / count,
        })
    }

    /// Distance of the content of two recordings in time with each other.
    fn content(&self, a: &[f32], b: &[f32]) -> Result<f64> {
        let of = |samples: &[f32]| -> Result<_> {
            let heard = resample_all(samples, self.spec.rate_hz, CONTENT_RATE_HZ)?;
            Ok(timbra_engine::features::extract(&self.encoder, &heard)?)
        };
        let (a, b) = (of(a)?, of(b)?);
        let line = |frames: &[timbra_engine::FeatureFrame]| -> Vec<f32> {
            frames
                .iter()
                .flat_map(|frame| frame.content.iter().copied())
                .collect()
        };
        let loudness_db: Vec<f32> = b.iter().map(|frame| frame.loudness_db).collect();
        let channels = self.encoder.spec().channels;
        Ok(content_distance(
            &line(&a),
            &line(&b),
            channels,
            &loudness_db,
            QUIET_DB,
        ))
    }
}

/// F0 of a part in frames of 10 ms.
fn part_f0(part: &Part, rate_hz: u32, hop: usize) -> Vec<f32> {
    let frames = part.audio.len() * 100 / rate_hz as usize;
    (0..frames)
        .map(|frame| {
            let place = (frame * rate_hz as usize / 100 + hop / 2) / hop;
            part.f0_hz[place.min(part.f0_hz.len() - 1)]
        })
        .collect()
}

fn level_db(samples: &[f32]) -> f64 {
    let power = samples
        .iter()
        .map(|&s| f64::from(s) * f64::from(s))
        .sum::<f64>();
    10.0 * (power / samples.len().max(1) as f64 + 1e-12).log10()
}

fn keep(folder: &Path, name: &str, rate_hz: u32, recorded: &[f32], sung: &[f32]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let name = name.replace(['/', '\\'], "_");
    write_wav(
        &folder.join(format!("{name}.wav")),
        rate_hz,
        &[sung],
        SampleKind::Int16,
    )?;
    draw_spectrograms(
        &folder.join(format!("{name}.png")),
        &[
            Panel::new("recording", recorded, rate_hz),
            Panel::new("sung", sung, rate_hz),
        ],
    )
}
