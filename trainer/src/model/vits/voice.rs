//! A whole VITS voice.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::auto_f0::{AutoF0, to_hz};
use super::decoder::Decoder;
use super::eval::Eval;
use super::flow::Flow;
use super::layers::{Conv, ConvShape, param};
use super::prior::{Prior, PriorInputs};
use super::spec::VitsSpec;
use super::wavenet::{Wavenet, WavenetShape};
use super::weights::{Start, WeightError, WeightSource};

/// Kernel of the posterior encoder, in frames.
const POSTERIOR_KERNEL: usize = 5;

/// The posterior encoder: a linear spectrogram to the latent. Only training needs it.
#[derive(Module, Debug)]
pub struct Posterior<B: Backend> {
    entry: Conv<B>,
    wavenet: Wavenet<B>,
    out: Conv<B>,
    channels: usize,
}

impl<B: Backend> Posterior<B> {
    /// The encoder of a source, under `enc_q`.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let width = spec.hidden_channels;
        let shape = WavenetShape {
            channels: width,
            kernel: POSTERIOR_KERNEL,
            layers: spec.posterior_layers,
            condition: spec.speaker_channels,
        };
        let entry = ConvShape::same(spec.spectrum_bins, width, 1);
        let out = ConvShape::same(width, 2 * spec.inter_channels, 1);
        Ok(Self {
            entry: Conv::load(source, "enc_q.pre", entry, device)?,
            wavenet: Wavenet::load(source, "enc_q.enc", shape, device)?,
            out: Conv::load(source, "enc_q.proj", out, device)?,
            channels: spec.inter_channels,
        })
    }

    /// Mean and logarithm of the deviation of the latent, `[B, C, T]` each, from a spectrogram `[B, bins, T]`.
    pub fn statistics<E: Eval<B>>(
        &self,
        eval: &mut E,
        spectrum: &E::Value,
        speaker: &E::Value,
    ) -> (E::Value, E::Value) {
        let x = eval.conv(spectrum, &self.entry);
        let x = eval.mask(&x);
        let x = self.wavenet.forward(eval, &x, speaker);
        let both = eval.conv(&x, &self.out);
        let both = eval.mask(&both);
        (
            eval.channels(&both, 0, self.channels),
            eval.channels(&both, self.channels, 2 * self.channels),
        )
    }
}

/// What a voice sings from.
#[derive(Debug, Clone)]
pub struct VoiceInputs<V> {
    /// Content, F0, voicing, loudness.
    pub prior: PriorInputs<V>,
    /// Weights of the speakers, `[B, S, T]`.
    pub speaker_mix: V,
    /// Noise of the prior, scaled, `[B, inter, T]`.
    pub prior_noise: V,
    /// Noise of the source, of unit power, `[B, 1, T · hop]`.
    pub source_noise: V,
    /// 1 where F0 is to be predicted, 0 where it is to be taken as it is, `[B, 1, T]`.
    pub auto_f0: Option<V>,
}

/// A VITS voice: everything that sings. The posterior encoder stands beside it.
#[derive(Module, Debug)]
pub struct VitsVoice<B: Backend> {
    /// Embeddings of the speakers, `[S, G]`.
    pub speakers: Param<Tensor<B, 2>>,
    /// The prior encoder.
    pub prior: Prior<B>,
    /// The flow.
    pub flow: Flow<B>,
    /// The decoder.
    pub decoder: Decoder<B>,
    /// The auto-F0 decoder.
    pub auto_f0: Option<AutoF0<B>>,
}

impl<B: Backend> VitsVoice<B> {
    /// The voice of a source.
    ///
    /// # Errors
    /// The source does not have what `spec` says.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let speakers = [spec.speakers, spec.speaker_channels];
        Ok(Self {
            speakers: param(source, "emb_g.weight", speakers, Start::Normal(1.0), device)?,
            prior: Prior::load(source, spec, device)?,
            flow: Flow::load(source, spec, device)?,
            decoder: Decoder::load(source, spec, device)?,
            auto_f0: spec
                .auto_f0
                .then(|| AutoF0::load(source, spec, device))
                .transpose()?,
        })
    }

    /// Sings: audio `[B, 1, T · hop]` and the F0 it has, `[B, 1, T]`.
    pub fn sing<E: Eval<B>>(
        &self,
        eval: &mut E,
        inputs: &VoiceInputs<E::Value>,
    ) -> (E::Value, E::Value) {
        let speaker = eval.blend(&inputs.speaker_mix, &self.speakers);
        let prior = &inputs.prior;
        let entered = self.prior.enter(eval, prior);
        let mut f0_hz = prior.f0_hz.clone();
        if let Some(chosen) = &inputs.auto_f0
            && let Some(predicted) = self.predicted_f0(eval, prior, &entered, &speaker)
        {
            let difference = eval.sub(&predicted, &f0_hz);
            let difference = eval.mul(&difference, chosen);
            f0_hz = eval.add(&f0_hz, &difference);
        }
        let statistics = self.prior.statistics(eval, &entered, &f0_hz);
        let sample = self.prior.sample(eval, &statistics, &inputs.prior_noise);
        let latent = self.flow.inverse(eval, &sample, &speaker);
        let audio = self
            .decoder
            .forward(eval, &latent, &f0_hz, &inputs.source_noise, &speaker);
        (audio, f0_hz)
    }

    /// The F0 the voice would choose, `[B, 1, T]` in Hz, if it has learned to: from the inputs, what the prior has `entered` of them, and
    /// the speaker.
    pub fn predicted_f0<E: Eval<B>>(
        &self,
        eval: &mut E,
        inputs: &PriorInputs<E::Value>,
        entered: &E::Value,
        speaker: &E::Value,
    ) -> Option<E::Value> {
        let decoder = self.auto_f0.as_ref()?;
        let (predicted, _) =
            decoder.predict(eval, entered, &inputs.f0_hz, &inputs.voiced, speaker, None);
        Some(to_hz(eval, &predicted))
    }
}
