//! Gated convolutions with skip connections, conditioned on the speaker: the inside of the couplings and of the posterior
//! encoder.
//!
//! Source: van den Oord et al., WaveNet (1609.03499), as in WaveGlow (1811.00002) and VITS (2106.06103).

use burn::module::Module;
use burn::tensor::backend::Backend;

use super::eval::Eval;
use super::layers::{Conv, ConvShape, MaybeSplit};
use super::weights::{WeightError, WeightSource};

/// Sizes of a stack of gated convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WavenetShape {
    /// Width.
    pub channels: usize,
    /// Kernel in frames; odd.
    pub kernel: usize,
    /// Layers.
    pub layers: usize,
    /// Width of the condition.
    pub condition: usize,
}

/// A stack of gated convolutions.
#[derive(Module, Debug)]
pub struct Wavenet<B: Backend> {
    condition: Conv<B>,
    gated: Vec<MaybeSplit<B>>,
    outs: Vec<Conv<B>>,
    #[module(skip)]
    shape: WavenetShape,
}

impl<B: Backend> Wavenet<B> {
    /// The stack `name` of a source.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        name: &str,
        shape: WavenetShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let channels = shape.channels;
        let all = ConvShape::same(shape.condition, 2 * channels * shape.layers, 1).normed();
        let condition = Conv::load(source, &format!("{name}.cond_layer"), all, device)?;
        let (mut gated, mut outs) = (Vec::new(), Vec::new());
        for n in 0..shape.layers {
            let wide = ConvShape::same(channels, 2 * channels, shape.kernel).normed();
            let inner = format!("{name}.in_layers.{n}");
            gated.push(MaybeSplit::load(source, &inner, wide, device)?);
            let last = n + 1 == shape.layers;
            let width = if last { channels } else { 2 * channels };
            let out = ConvShape::same(channels, width, 1).normed();
            let outer = format!("{name}.res_skip_layers.{n}");
            outs.push(Conv::load(source, &outer, out, device)?);
        }
        Ok(Self {
            condition,
            gated,
            outs,
            shape,
        })
    }

    /// `[B, C, T]` to the same shape; `condition` `[B, G, T]`.
    pub fn forward<E: Eval<B>>(
        &self,
        eval: &mut E,
        x: &E::Value,
        condition: &E::Value,
    ) -> E::Value {
        let channels = self.shape.channels;
        let shifts = eval.conv(condition, &self.condition);
        let mut x = x.clone();
        let mut sum: Option<E::Value> = None;
        for (n, (gated, out)) in self.gated.iter().zip(&self.outs).enumerate() {
            let shift = eval.channels(&shifts, 2 * channels * n, 2 * channels * (n + 1));
            let wide = eval.maybe_split(&x, gated);
            let wide = eval.add(&wide, &shift);
            let y = eval.gate(&wide, channels);
            let y = eval.conv(&y, out);
            let skip = if n + 1 == self.shape.layers {
                y
            } else {
                let rest = eval.channels(&y, 0, channels);
                let next = eval.add(&x, &rest);
                x = eval.mask(&next);
                eval.channels(&y, channels, 2 * channels)
            };
            sum = Some(match sum {
                Some(sum) => eval.add(&sum, &skip),
                None => skip,
            });
        }
        let sum = sum.unwrap_or(x);
        eval.mask(&sum)
    }
}
