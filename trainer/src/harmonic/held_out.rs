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
        let long = |clip: &&VoiceClip| clip.frames() > self.config.frames;
        let mut held: Vec<&VoiceClip> = clips
            .iter()
            .filter(|clip| clip.held_out)
            .filter(long)
            .collect();
        if held.is_empty() {
            held = clips.iter().filter(long).collect();
        }
        if held.is_empty() {
            return Ok((f64::INFINITY, 0.0));
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
                    random.below(clip.frames() - self.config.frames),
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
