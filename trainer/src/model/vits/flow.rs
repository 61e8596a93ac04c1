//! The flow between prior and latent: couplings that shift one half of the channels by what the other half says.
//!
//! Source: Dinh et al., RealNVP (1605.08803), volume-preserving as in VITS (2106.06103).

use burn::module::Module;
use burn::tensor::backend::Backend;

use super::eval::Eval;
use super::layers::{Conv, ConvShape};
use super::spec::{Coupling, VitsSpec};
use super::transformer::{Transformer, TransformerShape};
use super::wavenet::{Wavenet, WavenetShape};
use super::weights::{WeightError, WeightSource};

/// What predicts a shift.
#[derive(Module, Debug)]
struct Inner<B: Backend> {
    wavenet: Option<Wavenet<B>>,
    transformer: Option<Transformer<B>>,
}

impl<B: Backend> Inner<B> {
    fn load(
        source: &mut dyn WeightSource,
        name: &str,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let flow = &spec.flow;
        let wavenet = (flow.coupling == Coupling::Wavenet).then(|| {
            let shape = WavenetShape {
                channels: spec.hidden_channels,
                kernel: flow.kernel,
                layers: flow.layers,
                condition: spec.speaker_channels,
            };
            Wavenet::load(source, name, shape, device)
        });
        let wavenet = wavenet.transpose()?;
        let transformer = (flow.coupling == Coupling::Transformer).then(|| {
            let shape = TransformerShape {
                channels: spec.hidden_channels,
                filter: spec.filter_channels,
                heads: spec.heads,
                layers: flow.layers,
                kernel: flow.kernel,
                window: None,
                condition: spec.speaker_channels,
            };
            Transformer::load(source, name, shape, device)
        });
        Ok(Self {
            wavenet,
            transformer: transformer.transpose()?,
        })
    }

    fn forward<E: Eval<B>>(&self, eval: &mut E, x: &E::Value, speaker: &E::Value) -> E::Value {
        if let Some(wavenet) = &self.wavenet {
            wavenet.forward(eval, x, speaker)
        } else if let Some(transformer) = &self.transformer {
            transformer.forward(eval, x, Some(speaker))
        } else {
            x.clone()
        }
    }
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    pre: Conv<B>,
    /// Nothing when all layers share one.
    inner: Option<Inner<B>>,
    post: Conv<B>,
}

/// The whole flow.
#[derive(Module, Debug)]
pub struct Flow<B: Backend> {
    layers: Vec<Layer<B>>,
    shared: Option<Inner<B>>,
    channels: usize,
}

impl<B: Backend> Flow<B> {
    /// The flow of a source, under `flow`.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let half = spec.inter_channels / 2;
        let shared = spec
            .flow
            .shared
            .then(|| Inner::load(source, "flow.wn", spec, device))
            .transpose()?;
        let mut layers = Vec::new();
        for n in 0..spec.flow.couplings {
            // Every other entry of the list is a reversal of channels.
            let name = format!("flow.flows.{}", 2 * n);
            let inner = (!spec.flow.shared)
                .then(|| Inner::load(source, &format!("{name}.enc"), spec, device))
                .transpose()?;
            layers.push(Layer {
                pre: Conv::load(
                    source,
                    &format!("{name}.pre"),
                    ConvShape::same(half, spec.hidden_channels, 1),
                    device,
                )?,
                inner,
                post: Conv::load(
                    source,
                    &format!("{name}.post"),
                    ConvShape::same(spec.hidden_channels, half, 1).silent(),
                    device,
                )?,
            });
        }
        Ok(Self {
            layers,
            shared,
            channels: spec.inter_channels,
        })
    }

    fn shift<E: Eval<B>>(
        &self,
        eval: &mut E,
        layer: &Layer<B>,
        x: &E::Value,
        speaker: &E::Value,
    ) -> E::Value {
        let y = eval.conv(x, &layer.pre);
        let mut y = eval.mask(&y);
        if let Some(inner) = layer.inner.as_ref().or(self.shared.as_ref()) {
            y = inner.forward(eval, &y, speaker);
        }
        let y = eval.conv(&y, &layer.post);
        eval.mask(&y)
    }

    /// From the latent to the prior's space; `[B, C, T]`, speaker `[B, G, T]`.
    pub fn forward<E: Eval<B>>(&self, eval: &mut E, x: &E::Value, speaker: &E::Value) -> E::Value {
        let half = self.channels / 2;
        let mut x = x.clone();
        for layer in &self.layers {
            let kept = eval.channels(&x, 0, half);
            let moved = eval.channels(&x, half, self.channels);
            let shift = self.shift(eval, layer, &kept, speaker);
            let moved = eval.add(&moved, &shift);
            let moved = eval.mask(&moved);
            let both = eval.join(&kept, &moved);
            x = eval.flip(&both, self.channels);
        }
        x
    }

    /// From the prior's space to the latent.
    pub fn inverse<E: Eval<B>>(&self, eval: &mut E, x: &E::Value, speaker: &E::Value) -> E::Value {
        let half = self.channels / 2;
        let mut x = x.clone();
        for layer in self.layers.iter().rev() {
            let both = eval.flip(&x, self.channels);
            let kept = eval.channels(&both, 0, half);
            let moved = eval.channels(&both, half, self.channels);
            let shift = self.shift(eval, layer, &kept, speaker);
            let moved = eval.sub(&moved, &shift);
            let moved = eval.mask(&moved);
            x = eval.join(&kept, &moved);
        }
        x
    }
}
