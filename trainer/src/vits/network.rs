//! A pass of a batch: prior and posterior meet in the flow, and a part of each clip is sung.
//!
//! Source: Kim et al., VITS (2106.06103), with the sine source of so-vits-svc and RVC.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use timbra_dsp::f0::bridge_unvoiced;

use super::batch::{Part, VitsBatch, amplitude};
use super::losses::{Statistics, divergence, f0_distance};
use crate::kernels::Kernels;
use crate::model::causal::{from_vec, to_vec};
use crate::model::vits::eval::{Compute, Eval as _, Function};
use crate::model::vits::prior::PriorInputs;
use crate::model::vits::spec::VitsSpec;
use crate::model::vits::voice::{Posterior, VitsVoice, VoiceInputs};
use crate::model::vits::weights::{WeightError, WeightSource};

/// What is trained: the voice, and the posterior only training needs.
#[derive(Module, Debug)]
pub struct VitsNetwork<B: Backend> {
    /// What sings.
    pub voice: VitsVoice<B>,
    /// What listens to the recording.
    pub posterior: Posterior<B>,
}

/// What a pass gives.
#[derive(Debug, Clone)]
pub struct Pass<B: Backend> {
    /// The parts that were sung, `[B, 1, segment · hop]`.
    pub audio: Tensor<B, 3>,
    /// Divergence of the posterior from the prior in nats per frame.
    pub divergence: Tensor<B, 1>,
    /// Distance of predicted F0, where it is predicted.
    pub f0: Option<Tensor<B, 1>>,
}

impl<B: Kernels> VitsNetwork<B> {
    /// The network of a source.
    ///
    /// # Errors
    /// The source does not have what `spec` says.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        Ok(Self {
            voice: VitsVoice::load(source, spec, device)?,
            posterior: Posterior::load(source, spec, device)?,
        })
    }

    /// A pass of `batch`.
    pub fn pass(&self, spec: &VitsSpec, batch: &VitsBatch, device: &B::Device) -> Pass<B> {
        let (size, frames) = (batch.size, batch.frames);
        let tensor = |values: &[f32], channels: usize| -> Tensor<B, 3> {
            from_vec(values.to_vec(), [size, channels, frames], device)
        };
        let mask: Vec<f32> = batch
            .lengths
            .iter()
            .flat_map(|&length| (0..frames).map(move |frame| f32::from(frame < length)))
            .collect();
        let mask = tensor(&mask, 1);
        let mut eval = Compute {
            frames: Some(mask.clone()),
        };
        let voice = &self.voice;
        let speaker = eval.blend(
            &one_hot(&batch.speakers, spec.speakers, device),
            &voice.speakers,
        );
        let inputs = PriorInputs {
            content: tensor(&batch.content, spec.content_channels),
            f0_hz: tensor(&batch.f0_hz, 1),
            voiced: tensor(&batch.voiced, 1),
            loudness: spec.loudness.then(|| tensor(&batch.loudness, 1)),
        };
        let entered = voice.prior.enter(&mut eval, &inputs);
        let f0 = voice.auto_f0.as_ref().map(|decoder| {
            let factor = from_vec(batch.f0_factor.clone(), [size, 1, 1], device);
            // It listens to the prior and the speakers, and does not teach them.
            let (predicted, truth) = decoder.predict(
                &mut eval,
                &entered.clone().detach(),
                &inputs.f0_hz,
                &inputs.voiced,
                &speaker.clone().detach(),
                Some(&factor),
            );
            f0_distance(&predicted, &truth, &mask)
        });
        let (mean, log_deviation) = voice.prior.statistics(&mut eval, &entered, &inputs.f0_hz);
        let prior = Statistics {
            mean,
            log_deviation,
        };
        let spectrum = tensor(&batch.spectrum, spec.spectrum_bins);
        let (mean, posterior_log_deviation) =
            self.posterior.statistics(&mut eval, &spectrum, &speaker);
        let noise = tensor(&batch.posterior_noise, spec.inter_channels);
        let deviation = eval.apply(&posterior_log_deviation, Function::Exp);
        let latent = eval.mask(&(mean + noise * deviation));
        let seen = voice.flow.forward(&mut eval, &latent, &speaker);
        let divergence = divergence(&seen, &posterior_log_deviation, &prior, &mask);

        let segment = batch.audio.len() / size / spec.hop_samples();
        let noise = from_vec(
            batch.source_noise.clone(),
            [size, 1, segment * spec.hop_samples()],
            device,
        );
        let mut unmasked = Compute::default();
        let audio = voice.decoder.forward(
            &mut unmasked,
            &segments(&latent, &batch.segments, segment),
            &segments(&inputs.f0_hz, &batch.segments, segment),
            &noise,
            &speaker,
        );
        Pass {
            audio,
            divergence,
            f0,
        }
    }
}

/// Weights of the speakers, `[B, S, 1]`.
fn one_hot<B: Backend>(speakers: &[usize], count: usize, device: &B::Device) -> Tensor<B, 3> {
    let weights = speakers
        .iter()
        .flat_map(|&own| (0..count).map(move |speaker| f32::from(speaker == own)))
        .collect();
    from_vec(weights, [speakers.len(), count, 1], device)
}

/// `frames` frames of each clip of `x` `[B, C, T]` from its own first on.
fn segments<B: Backend>(x: &Tensor<B, 3>, firsts: &[usize], frames: usize) -> Tensor<B, 3> {
    let rows = firsts
        .iter()
        .enumerate()
        .map(|(row, &first)| x.clone().narrow(0, row, 1).narrow(2, first, frames));
    Tensor::cat(rows.collect(), 0)
}

/// Sings a part of a clip as it would be played: prior, flow and decoder. Audio of `T · hop` samples.
#[must_use]
pub fn sing<B: Kernels>(
    voice: &VitsVoice<B>,
    spec: &VitsSpec,
    part: &Part,
    speaker: usize,
    (prior_noise, source_noise): (Vec<f32>, Vec<f32>),
    device: &B::Device,
) -> Vec<f32> {
    let frames = part.f0_hz.len();
    let inputs = VoiceInputs {
        prior: prior_inputs(spec, part, device),
        speaker_mix: one_hot(&[speaker], spec.speakers, device).repeat_dim(2, frames),
        prior_noise: from_vec(prior_noise, [1, spec.inter_channels, frames], device),
        source_noise: from_vec(source_noise, [1, 1, frames * spec.hop_samples()], device),
        auto_f0: None,
    };
    let (audio, _) = voice.sing(&mut Compute::default(), &inputs);
    to_vec(audio.reshape([1, frames * spec.hop_samples()]))
}

/// The F0 that `speaker` would choose for a part, a value per frame in Hz and 0 where the part is unvoiced, if the voice has learned to.
#[must_use]
pub fn predicted_f0_hz<B: Kernels>(
    voice: &VitsVoice<B>,
    spec: &VitsSpec,
    part: &Part,
    speaker: usize,
    device: &B::Device,
) -> Option<Vec<f32>> {
    let mut eval = Compute::default();
    let inputs = prior_inputs(spec, part, device);
    let frames = part.f0_hz.len();
    let mix = one_hot(&[speaker], spec.speakers, device).repeat_dim(2, frames);
    let speaker = eval.blend(&mix, &voice.speakers);
    let entered = voice.prior.enter(&mut eval, &inputs);
    let predicted = voice.predicted_f0(&mut eval, &inputs, &entered, &speaker)?;
    let predicted = to_vec(predicted.reshape([1, frames]));
    let voiced = part.f0_hz.iter().map(|&f0| f0 > 0.0);
    Some(
        predicted
            .into_iter()
            .zip(voiced)
            .map(|(f0, voiced)| if voiced { f0 } else { 0.0 })
            .collect(),
    )
}

/// What the prior takes of a part.
fn prior_inputs<B: Backend>(
    spec: &VitsSpec,
    part: &Part,
    device: &B::Device,
) -> PriorInputs<Tensor<B, 3>> {
    let frames = part.f0_hz.len();
    let row = |values: Vec<f32>| from_vec::<B, 3>(values, [1, 1, frames], device);
    let mut f0_hz = part.f0_hz.clone();
    if spec.continuous_f0 {
        bridge_unvoiced(&mut f0_hz, 0.0);
    }
    let voiced = part.f0_hz.iter().map(|&f0| f32::from(f0 > 0.0)).collect();
    let loudness = part.loudness_db.iter().map(|&db| amplitude(db)).collect();
    let content: Tensor<B, 3> = from_vec(
        part.content.clone(),
        [1, frames, spec.content_channels],
        device,
    );
    PriorInputs {
        content: content.swap_dims(1, 2),
        f0_hz: row(f0_hz),
        voiced: row(voiced),
        loudness: spec.loudness.then(|| row(loudness)),
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::GradientsParams;

    use super::super::config::{Size, VoiceShape, spec};
    use super::*;
    use crate::model::vits::weights::RandomStart;
    use crate::random::Random;

    type B = Autodiff<Flex>;

    /// Sum of the magnitudes of a module's gradients.
    struct Lengths<'a>(&'a GradientsParams, f32);

    impl ModuleVisitor<B> for Lengths<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            if let Some(gradient) = self.0.get::<Flex, D>(param.id) {
                self.1 += crate::model::causal::value(&gradient.abs().sum());
            }
        }
    }

    #[test]
    fn predicted_f0_teaches_its_decoder_and_nobody_else() {
        let device = Default::default();
        let shape = VoiceShape {
            content_channels: 4,
            speakers: 2,
            rate_hz: 16_000,
            loudness: true,
            auto_f0: true,
        };
        let spec = spec(Size::Tiny, shape).unwrap();
        let mut start = RandomStart(Random::new(1, 0));
        let network = VitsNetwork::<B>::load(&mut start, &spec, &device).unwrap();
        let (frames, segment) = (40, 16);
        let batch = VitsBatch {
            size: 1,
            frames,
            lengths: vec![frames],
            content: vec![0.3; 4 * frames],
            f0_hz: (0..frames).map(|n| 200.0 + n as f32).collect(),
            voiced: vec![1.0; frames],
            loudness: vec![0.1; frames],
            spectrum: vec![0.1; spec.spectrum_bins * frames],
            audio: vec![0.0; segment * spec.hop_samples()],
            segments: vec![0],
            speakers: vec![1],
            f0_factor: vec![1.0],
            posterior_noise: vec![0.1; spec.inter_channels * frames],
            source_noise: vec![0.1; segment * spec.hop_samples()],
        };
        let pass = network.pass(&spec, &batch, &device);
        let gradients = pass.f0.expect("it is predicted").backward();
        let gradients = GradientsParams::from_grads(gradients, &network);
        let length = |visit: &dyn Fn(&mut Lengths<'_>)| {
            let mut lengths = Lengths(&gradients, 0.0);
            visit(&mut lengths);
            lengths.1
        };
        let all = length(&|lengths| network.visit(lengths));
        let own = length(&|lengths| network.voice.auto_f0.visit(lengths));
        assert!(own > 0.0);
        assert_eq!(all, own, "others learn from it");
    }
}
