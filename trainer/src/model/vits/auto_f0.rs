//! Predicts F0 from content and speaker (so-vits-svc's automatic F0).

use burn::module::Module;
use burn::tensor::backend::Backend;

use super::eval::{Eval, Function};
use super::layers::{Conv, ConvShape};
use super::spec::VitsSpec;
use super::transformer::{Transformer, TransformerShape};
use super::weights::{WeightError, WeightSource};

/// A logarithmic F0 of 1 is this many mels.
const MELS: f32 = 500.0;
/// Mels per decade.
const DECADE: f32 = 2595.0;
/// Where the mel scale turns from linear to logarithmic.
const CORNER_HZ: f32 = 700.0;

/// The auto-F0 decoder.
#[derive(Module, Debug)]
pub struct AutoF0<B: Backend> {
    prenet: Conv<B>,
    decoder: Transformer<B>,
    out: Conv<B>,
    f0_prenet: Conv<B>,
    condition: Conv<B>,
}

impl<B: Backend> AutoF0<B> {
    /// The decoder of a source, under `f0_decoder`.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &VitsSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let width = spec.hidden_channels;
        let shape = TransformerShape {
            channels: width,
            filter: spec.filter_channels,
            heads: spec.heads,
            layers: spec.layers,
            kernel: spec.kernel,
            window: None,
            condition: 0,
        };
        let mut conv =
            |name: &str, shape| Conv::load(source, &format!("f0_decoder.{name}"), shape, device);
        Ok(Self {
            prenet: conv("prenet", ConvShape::same(width, width, 3))?,
            out: conv("proj", ConvShape::same(width, 1, 1))?,
            f0_prenet: conv("f0_prenet", ConvShape::same(1, width, 3))?,
            condition: conv("cond", ConvShape::same(spec.speaker_channels, width, 1))?,
            decoder: Transformer::load(source, "f0_decoder.decoder", shape, device)?,
        })
    }

    /// Predicted logarithmic F0 and the input's, `[B, 1, T]` each, from what the prior has entered, the F0 and voicing of
    /// the input, and the speaker. Training scales the line the decoder sees by a `factor` `[B, 1, 1]`, so that it does not
    /// copy it.
    pub fn predict<E: Eval<B>>(
        &self,
        eval: &mut E,
        entered: &E::Value,
        f0_hz: &E::Value,
        voiced: &E::Value,
        speaker: &E::Value,
        factor: Option<&E::Value>,
    ) -> (E::Value, E::Value) {
        let target = logarithmic(eval, f0_hz);
        let mut normal = eval.centre(&target, voiced);
        if let Some(factor) = factor {
            normal = eval.mul(&normal, factor);
        }
        let normal = eval.mask(&normal);
        let y = eval.conv(speaker, &self.condition);
        let x = eval.add(entered, &y);
        let y = eval.conv(&normal, &self.f0_prenet);
        let x = eval.add(&x, &y);
        let x = eval.conv(&x, &self.prenet);
        let x = eval.mask(&x);
        let x = self.decoder.forward(eval, &x, None);
        let x = eval.conv(&x, &self.out);
        (eval.mask(&x), target)
    }
}

/// Hz to the decoder's logarithmic scale.
fn logarithmic<B: Backend, E: Eval<B>>(eval: &mut E, f0_hz: &E::Value) -> E::Value {
    let x = eval.affine(f0_hz, 1.0 / CORNER_HZ, 1.0);
    let x = eval.apply(&x, Function::Log);
    eval.affine(&x, DECADE / std::f32::consts::LN_10 / MELS, 0.0)
}

/// The decoder's logarithmic scale to Hz.
pub fn to_hz<B: Backend, E: Eval<B>>(eval: &mut E, x: &E::Value) -> E::Value {
    let x = eval.affine(x, MELS * std::f32::consts::LN_10 / DECADE, 0.0);
    let x = eval.apply(&x, Function::Exp);
    eval.affine(&x, CORNER_HZ, -CORNER_HZ)
}
