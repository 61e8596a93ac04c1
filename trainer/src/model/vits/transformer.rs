//! Transformer layers, normalised after each part: those of the prior look both ways, those of the auto-F0 decoder and of
//! the transformer flow only back.
//!
//! Source: Vaswani et al. (1706.03762); relative positions after Shaw et al. (1803.02155), as in VITS (2106.06103).

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::eval::{Eval, Function, Look};
use super::layers::{Conv, ConvShape, LayerNorm, param};
use super::weights::{Start, WeightError, WeightSource};

/// Sizes of a stack of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransformerShape {
    /// Width.
    pub channels: usize,
    /// Width inside the feed-forward part.
    pub filter: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Kernel of the feed-forward part.
    pub kernel: usize,
    /// Frames to either side with a position embedding; none when the stack is causal.
    pub window: Option<usize>,
    /// Width of a condition that gates the input of every layer; 0 without.
    pub condition: usize,
}

/// Attention and feed-forward part of one layer.
#[derive(Module, Debug)]
struct Layer<B: Backend> {
    query: Conv<B>,
    key: Conv<B>,
    value: Conv<B>,
    out: Conv<B>,
    relative_keys: Option<Param<Tensor<B, 3>>>,
    relative_values: Option<Param<Tensor<B, 3>>>,
    norm_attention: LayerNorm<B>,
    widen: Conv<B>,
    narrow: Conv<B>,
    norm_feed: LayerNorm<B>,
}

/// A condition that gates the input of every layer.
#[derive(Module, Debug)]
struct Condition<B: Backend> {
    pre: Conv<B>,
    layers: Conv<B>,
}

/// A stack of transformer layers.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    layers: Vec<Layer<B>>,
    condition: Option<Condition<B>>,
    #[module(skip)]
    shape: TransformerShape,
}

impl<B: Backend> Transformer<B> {
    /// The stack `name` of a source.
    ///
    /// # Errors
    /// The source does not have it.
    pub fn load(
        source: &mut dyn WeightSource,
        name: &str,
        shape: TransformerShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let channels = shape.channels;
        let causal = shape.window.is_none();
        let (attention, norms) = if causal {
            ("self_attn_layers", ["norm_layers_0", "norm_layers_1"])
        } else {
            ("attn_layers", ["norm_layers_1", "norm_layers_2"])
        };
        let point = ConvShape::same(channels, channels, 1);
        let side = |shape: ConvShape| if causal { shape.causal() } else { shape };
        let widen = side(ConvShape::same(channels, shape.filter, shape.kernel));
        let narrow = side(ConvShape::same(shape.filter, channels, shape.kernel));
        let mut layers = Vec::with_capacity(shape.layers);
        for n in 0..shape.layers {
            let of = |part: &str| format!("{name}.{attention}.{n}.{part}");
            let width = channels / shape.heads;
            let mut relative = |part: &str| {
                shape
                    .window
                    .map(|window| {
                        param(
                            source,
                            &of(part),
                            [1, 2 * window + 1, width],
                            Start::Normal((width as f32).powf(-0.5)),
                            device,
                        )
                    })
                    .transpose()
            };
            let relative_keys = relative("emb_rel_k")?;
            let relative_values = relative("emb_rel_v")?;
            layers.push(Layer {
                query: Conv::load(source, &of("conv_q"), point, device)?,
                key: Conv::load(source, &of("conv_k"), point, device)?,
                value: Conv::load(source, &of("conv_v"), point, device)?,
                out: Conv::load(source, &of("conv_o"), point, device)?,
                relative_keys,
                relative_values,
                norm_attention: LayerNorm::load(
                    source,
                    &format!("{name}.{}.{n}", norms[0]),
                    channels,
                    device,
                )?,
                widen: Conv::load(
                    source,
                    &format!("{name}.ffn_layers.{n}.conv_1"),
                    widen,
                    device,
                )?,
                narrow: Conv::load(
                    source,
                    &format!("{name}.ffn_layers.{n}.conv_2"),
                    narrow,
                    device,
                )?,
                norm_feed: LayerNorm::load(
                    source,
                    &format!("{name}.{}.{n}", norms[1]),
                    channels,
                    device,
                )?,
            });
        }
        let condition = (shape.condition > 0)
            .then(|| -> Result<_, WeightError> {
                let all = ConvShape::same(shape.condition, 2 * channels * shape.layers, 1).normed();
                let pre = ConvShape::same(channels, 2 * channels, 1);
                Ok(Condition {
                    layers: Conv::load(source, &format!("{name}.cond_layer"), all, device)?,
                    pre: Conv::load(source, &format!("{name}.cond_pre"), pre, device)?,
                })
            })
            .transpose()?;
        Ok(Self {
            layers,
            condition,
            shape,
        })
    }

    /// `[B, C, T]` to the same shape; `condition` `[B, G, T]` where the stack has one.
    pub fn forward<E: Eval<B>>(
        &self,
        eval: &mut E,
        x: &E::Value,
        condition: Option<&E::Value>,
    ) -> E::Value {
        let channels = self.shape.channels;
        let shifts = match (&self.condition, condition) {
            (Some(layers), Some(condition)) => {
                Some((&layers.pre, eval.conv(condition, &layers.layers)))
            }
            _ => None,
        };
        let mut x = eval.mask(x);
        for (n, layer) in self.layers.iter().enumerate() {
            if let Some((pre, shifts)) = &shifts {
                let shift = eval.channels(shifts, 2 * channels * n, 2 * channels * (n + 1));
                let wide = eval.conv(&x, pre);
                let wide = eval.add(&wide, &shift);
                x = eval.gate(&wide, channels);
            }
            x = self.layer(eval, layer, &x);
        }
        eval.mask(&x)
    }

    fn layer<E: Eval<B>>(&self, eval: &mut E, layer: &Layer<B>, x: &E::Value) -> E::Value {
        let query = eval.conv(x, &layer.query);
        let key = eval.conv(x, &layer.key);
        let value = eval.conv(x, &layer.value);
        let look = Look {
            heads: self.shape.heads,
            causal: self.shape.window.is_none(),
            relative: layer
                .relative_keys
                .as_ref()
                .zip(layer.relative_values.as_ref())
                .map(|(keys, values)| [keys, values]),
        };
        let y = eval.attend(&query, &key, &value, look);
        let y = eval.conv(&y, &layer.out);
        let y = eval.add(x, &y);
        let x = norm(eval, &y, &layer.norm_attention);
        let y = eval.mask(&x);
        let y = eval.conv(&y, &layer.widen);
        let y = eval.apply(&y, Function::Relu);
        let y = eval.mask(&y);
        let y = eval.conv(&y, &layer.narrow);
        let y = eval.mask(&y);
        let y = eval.add(&x, &y);
        norm(eval, &y, &layer.norm_feed)
    }
}

fn norm<B: Backend, E: Eval<B>>(eval: &mut E, x: &E::Value, layer: &LayerNorm<B>) -> E::Value {
    eval.norm(x, &layer.gain, &layer.shift)
}
