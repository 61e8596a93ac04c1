//! How a harmonic voice does on recordings it does not learn from.

use anyhow::Result;
use burn::tensor::backend::Backend;

use super::dataset::VoiceBatch;
use super::fit::{VoiceFitConfig, heard, render};
use super::loss::SpectralLoss;
use crate::evaluation::measures::{Timbre, similarity};
use crate::model::causal::{from_vec, to_vec, value};
use crate::model::excitation::Analyser;
use crate::model::harmonic::{HOP_SAMPLES, HarmonicVoice, MODEL_RATE_HZ, Renderer};
use crate::random::Random;
use crate::training::clips::VoiceClip;

/// Crops in a validation.
const CROPS: usize = 24;
/// How much of a speaker's recordings describes the voice.
const REFERENCE_SECONDS: usize = 60;

/// Validates voices of one training.
#[derive(Debug)]
pub struct HeldOut<B: Backend> {
    loss: SpectralLoss<B>,
    renderer: Renderer<B>,
    analyser: Analyser,
    config: VoiceFitConfig,
    /// Timbre of every speaker's recordings; `None` for a speaker without any.
    speakers: Vec<Option<Timbre>>,
    /// Whether any clip is held out; else it is measured on those it learns from.
    pub(super) unheard: bool,
    device: B::Device,
}

impl<B: Backend> HeldOut<B> {
    /// For a training on `clips`.
    ///
    /// # Errors
    /// The rate of the recordings is not supported.
    pub fn new(clips: &[VoiceClip], config: &VoiceFitConfig, device: &B::Device) -> Result<Self> {
        let speakers = (0..config.network.speakers)
            .map(|speaker| {
                let own = clips
                    .iter()
                    .filter(|clip| clip.speaker == speaker && !clip.held_out);
                let samples = own.flat_map(|clip| clip.audio.iter().copied());
                let samples: Vec<f32> = samples.take(REFERENCE_SECONDS * MODEL_RATE_HZ).collect();
                if samples.is_empty() {
                    Ok(None)
                } else {
                    Timbre::of(&samples, MODEL_RATE_HZ as u32).map(Some)
                }
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            loss: SpectralLoss::new(device),
            renderer: Renderer::new(device),
            analyser: Analyser::default(),
            config: config.clone(),
            speakers,
            unheard: clips.iter().any(|clip| clip.held_out && clip.frames() > 0),
            device: device.clone(),
        })
    }

    /// Timbre of every speaker's recordings; `None` for a speaker without any.
    pub fn timbres(&self) -> &[Option<Timbre>] {
        &self.speakers
    }

    /// The spectral distance of crops to their recordings in nepers, and how similar the same crops,
    /// sung by the next speaker, are to that speaker (0..1). A lone speaker sings their own.
    ///
    /// # Errors
    /// The rate is not supported.
    pub fn measure(&self, model: &HarmonicVoice<B>, clips: &[VoiceClip]) -> Result<(f64, f64)> {
        // Those that fill a crop, where there are any; what is shorter is filled up with silence, as in training.
        let least = |frames: usize| -> Vec<&VoiceClip> {
            let counts = clips.iter().filter(|clip| clip.held_out == self.unheard);
            counts.filter(|clip| clip.frames() > frames).collect()
        };
        let mut held = least(self.config.frames);
        if held.is_empty() {
            held = least(0);
        }
        let groups = CROPS.div_ceil(self.config.batch);
        let crops = groups * self.config.batch;
        let mut distance = 0.0;
        let mut sung = vec![Vec::new(); self.speakers.len()];
        for group in 0..groups {
            let mut batch = VoiceBatch::new(self.config.frames);
            for row in 0..self.config.batch {
                let index = group * self.config.batch + row;
                let mut random = Random::new(0, index as u64);
                let clip = held[index * held.len() / crops];
                batch.push(
                    clip,
                    random.below((clip.frames().saturating_sub(self.config.frames)).max(1)),
                    &self.analyser,
                    &mut random,
                    true,
                );
            }
            let audio = from_vec(
                batch.audio.clone(),
                [batch.size, batch.frames * HOP_SAMPLES],
                &self.device,
            );
            let recorded = self.loss.spectra(&heard(audio));
            let spectra = self
                .loss
                .spectra(&render(model, &self.renderer, &batch, &self.device));
            distance += f64::from(value(&self.loss.distance(&spectra, &recorded)));

            for speaker in &mut batch.speakers {
                *speaker = (*speaker + 1) % self.speakers.len();
            }
            let crossed = render(model, &self.renderer, &batch, &self.device);
            let samples = crossed.dims()[1];
            for (crop, &speaker) in to_vec(crossed).chunks_exact(samples).zip(&batch.speakers) {
                sung[speaker].extend_from_slice(crop);
            }
        }
        let mut similarities = Vec::new();
        for (timbre, samples) in self.speakers.iter().zip(&sung) {
            if let Some(timbre) = timbre
                && !samples.is_empty()
            {
                let heard = Timbre::of(samples, MODEL_RATE_HZ as u32)?;
                similarities.push(similarity(&timbre.mean_cepstrum(), &heard.mean_cepstrum()));
            }
        }
        let mean = similarities.iter().sum::<f64>() / similarities.len().max(1) as f64;
        Ok((distance / groups as f64, mean))
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    /// A clip of noise that is shorter than a crop.
    fn clip(held_out: bool) -> VoiceClip {
        let frames = 30;
        let mut random = Random::new(7, u64::from(held_out));
        VoiceClip {
            speaker: 0,
            name: "syllable".to_owned(),
            contents: vec![(0..frames * 2).map(|_| random.normal()).collect()],
            f0_hz: vec![220.0; frames],
            loudness_db: vec![-20.0; frames],
            audio: (0..frames * HOP_SAMPLES).map(|_| random.normal()).collect(),
            held_out,
        }
    }

    #[test]
    fn clips_shorter_than_a_crop_are_measured_too() {
        let device = Default::default();
        let config = VoiceFitConfig {
            batch: 4,
            ..VoiceFitConfig::standard(2, 1)
        };
        let model = HarmonicVoice::<Flex>::new(&config.network, &device);
        for clips in [vec![clip(false), clip(true)], vec![clip(false)]] {
            let held_out = HeldOut::<Flex>::new(&clips, &config, &device).unwrap();
            assert_eq!(held_out.unheard, clips.len() == 2);
            let (distance, _) = held_out.measure(&model, &clips).unwrap();
            assert!(distance.is_finite() && distance > 0.0, "{distance}");
        }
    }
}
