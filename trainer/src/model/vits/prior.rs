//! Content, pitch, loudness and noise to a sample of the prior.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::eval::{Eval, Function, LEAK};
use super::layers::{Conv, ConvShape, param};
use super::spec::{Prenet, VitsSpec};
use super::transformer::{Transformer, TransformerShape};
use super::weights::{Start, WeightError, WeightSource};

/// Layers, kernels and names of what stands before the prior's transformer.
#[derive(Module, Debug)]
pub struct Entry<B: Backend> {
    /// Content in: a convolution (so-vits-svc) or a linear map (RVC).
    content: Conv<B>,
    /// Embedding of voicing, `[2, C]`.
    voicing: Option<Param<Tensor<B, 2>>>,
    /// Loudness in.
    loudness: Option<Conv<B>>,
    /// Embedding of F0, `[256, C]`.
    pitch: Option<Param<Tensor<B, 2>>>,
}

/// What the prior is made from; all `[B, ·, T]`.
#[derive(Debug, Clone)]
pub struct PriorInputs<V> {
    /// `[B, C, T]`.
    pub content: V,
    /// Hz, 0 where unvoiced, `[B, 1, T]`.
    pub f0_hz: V,
    /// 1 where voiced, `[B, 1, T]`.
    pub voiced: V,
    /// Root mean square, `[B, 1, T]`.
    pub loudness: Option<V>,
}

/// The prior encoder.
#[derive(Module, Debug)]
pub struct Prior<B: Backend> {
    entry: Entry<B>,
    transformer: Transformer<B>,
    out: Conv<B>,
    channels: usize,
    /// Row of the embedding of F0 for what is above its range.
    row_above: usize,
    /// Factor on the sum of the embeddings; RVC's square root of the width.
    rvc_scale: Option<f64>,
}

impl<B: Backend> Prior<B> {
    /// The prior of a source.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let width = spec.hidden_channels;
        let has_f0 = spec.decoder.overtones.is_some();
        let table = |source: &mut dyn WeightSource, name: &str, rows: usize| {
            param(source, name, [rows, width], Start::Normal(1.0), device)
        };
        let (entry, stack) = match spec.prenet {
            Prenet::SoVits => {
                let shape = ConvShape::same(spec.content_channels, width, 5);
                let content = Conv::load(source, "pre", shape, device)?;
                let voicing = Some(table(source, "emb_uv.weight", 2)?);
                let loudness = spec
                    .loudness
                    .then(|| Conv::linear(source, "emb_vol", 1, width, device))
                    .transpose()?;
                let pitch = Some(table(source, "enc_p.f0_emb.weight", 256)?);
                let entry = Entry {
                    content,
                    voicing,
                    loudness,
                    pitch,
                };
                (entry, "enc_p.enc_")
            }
            Prenet::Rvc => {
                let name = "enc_p.emb_phone";
                let content = Conv::linear(source, name, spec.content_channels, width, device)?;
                let pitch = has_f0
                    .then(|| table(source, "enc_p.emb_pitch.weight", 256))
                    .transpose()?;
                let entry = Entry {
                    content,
                    voicing: None,
                    loudness: None,
                    pitch,
                };
                (entry, "enc_p.encoder")
            }
        };
        let shape = TransformerShape {
            channels: width,
            filter: spec.filter_channels,
            heads: spec.heads,
            layers: spec.layers,
            kernel: spec.kernel,
            window: Some(spec.attention_window),
            condition: 0,
        };
        Ok(Self {
            entry,
            transformer: Transformer::load(source, stack, shape, device)?,
            out: Conv::load(
                source,
                "enc_p.proj",
                ConvShape::same(width, 2 * spec.inter_channels, 1),
                device,
            )?,
            channels: spec.inter_channels,
            row_above: spec.row_above,
            rvc_scale: (spec.prenet == Prenet::Rvc).then(|| (width as f64).sqrt()),
        })
    }

    /// What the auto-F0 decoder sees too: everything but the embedding of F0, `[B, C, T]`.
    pub fn enter<E: Eval<B>>(&self, eval: &mut E, inputs: &PriorInputs<E::Value>) -> E::Value {
        let x = eval.conv(&inputs.content, &self.entry.content);
        let mut x = eval.mask(&x);
        if let Some(table) = &self.entry.voicing {
            let y = eval.embed(&inputs.voiced, table);
            x = eval.add(&x, &y);
        }
        if let (Some(layer), Some(loudness)) = (&self.entry.loudness, &inputs.loudness) {
            let y = eval.conv(loudness, layer);
            x = eval.add(&x, &y);
        }
        x
    }

    /// Mean and logarithm of the deviation, `[B, C, T]` each, from [`Self::enter`]'s result and F0.
    pub fn statistics<E: Eval<B>>(
        &self,
        eval: &mut E,
        entered: &E::Value,
        f0_hz: &E::Value,
    ) -> (E::Value, E::Value) {
        let mut x = entered.clone();
        if let Some(table) = &self.entry.pitch {
            let row = eval.coarse(f0_hz, self.row_above);
            let y = eval.embed(&row, table);
            x = eval.add(&x, &y);
        }
        if let Some(scale) = self.rvc_scale {
            let y = eval.affine(&x, scale as f32, 0.0);
            x = eval.apply(&y, Function::Leaky(LEAK));
        }
        let x = self.transformer.forward(eval, &x, None);
        let both = eval.conv(&x, &self.out);
        let both = eval.mask(&both);
        (
            eval.channels(&both, 0, self.channels),
            eval.channels(&both, self.channels, 2 * self.channels),
        )
    }

    /// A sample: mean + noise · deviation; `noise` `[B, C, T]` is scaled already.
    pub fn sample<E: Eval<B>>(
        &self,
        eval: &mut E,
        (mean, log_deviation): &(E::Value, E::Value),
        noise: &E::Value,
    ) -> E::Value {
        let deviation = eval.apply(log_deviation, Function::Exp);
        let y = eval.mul(noise, &deviation);
        let y = eval.add(mean, &y);
        eval.mask(&y)
    }
}
