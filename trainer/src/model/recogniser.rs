//! The encoder of a speech recogniser, to hear with what a listener would understand of a rendering.
//!
//! Moonshine's: three strided convolutions over the waveform (384 samples a frame), then transformer layers with rotary
//! positions. It was trained on the words of very many people, so what it makes of a clip says much of the words and little of
//! whose voice it is. Only its numbers are used; nothing of it is in a voice.
//!
//! Source: Jeffries et al., Moonshine (2410.15608); Su et al., RoFormer (2104.09864).

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::module::conv1d;
use burn::tensor::ops::{ConvOptions, PaddedConvOptions};

use super::causal::from_vec;
use super::vits::weights::{Start, WeightSource};
use crate::import::read_state_dict;
use crate::import::weights::CheckpointWeights;

/// Input rate.
pub const RATE_HZ: usize = 16_000;
/// Samples from one frame to the next.
pub const FRAME_SAMPLES: usize = 384;
/// The sample in the middle of what the convolutions see of the first frame.
pub const FIRST_CENTRE: usize = 447;
/// Fewest samples that make a frame.
pub const LEAST_SAMPLES: usize = 895;
/// Strides of the convolutions.
const STRIDES: [usize; 3] = [64, 3, 2];
/// Heads of every layer, in all sizes there are.
const HEADS: usize = 8;
/// How many of a head's channels turn with the position, in all sizes there are.
const TURNING: usize = 32;
/// Most layers that are looked for.
const MOST_LAYERS: usize = 64;
const NORM_EPSILON: f64 = 1e-5;
/// What the weights' names begin with in a file of the whole recogniser, and in one of the encoder.
const PREFIXES: [&str; 2] = ["model.encoder.", ""];

#[derive(Debug, Clone)]
struct Layer<B: Backend> {
    norm_attention: Tensor<B, 1>,
    query: Tensor<B, 2>,
    key: Tensor<B, 2>,
    value: Tensor<B, 2>,
    out: Tensor<B, 2>,
    norm_feed: Tensor<B, 1>,
    widen: (Tensor<B, 2>, Tensor<B, 1>),
    narrow: (Tensor<B, 2>, Tensor<B, 1>),
}

/// The encoder; its weights stay what they are.
#[derive(Debug, Clone)]
pub struct Recogniser<B: Backend> {
    /// Kernels `[outputs, inputs, taps]` and biases.
    front: Vec<(Tensor<B, 3>, Option<Tensor<B, 1>>)>,
    /// Gain and shift `[1, channels, 1]` after the first convolution.
    front_norm: (Tensor<B, 3>, Tensor<B, 3>),
    layers: Vec<Layer<B>>,
}

/// Reads weights one by one.
struct Reader<'a, B: Backend> {
    source: &'a mut dyn WeightSource,
    prefix: &'static str,
    device: &'a B::Device,
}

impl<B: Backend> Reader<'_, B> {
    fn shape(&self, name: &str) -> Result<Vec<usize>> {
        let found = self.source.shape(&format!("{}{name}", self.prefix));
        found.with_context(|| {
            format!(
                "the tensor \"{name}\": expected an encoder of Moonshine, found none of that name; give the model.safetensors of \
                 moonshine-tiny or moonshine-base, or what models/recipe/recogniser.py writes"
            )
        })
    }

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<B, D>> {
        let name = format!("{}{name}", self.prefix);
        let values = self.source.tensor(&name, &shape, Start::Constant(0.0))?;
        Ok(from_vec(values, shape, self.device))
    }

    /// The matrix of a linear layer, ready to be multiplied from the right.
    fn matrix(&mut self, name: &str, [outputs, inputs]: [usize; 2]) -> Result<Tensor<B, 2>> {
        let matrix = self.tensor(&format!("{name}.weight"), [outputs, inputs])?;
        Ok(matrix.transpose())
    }

    fn layer(&mut self, index: usize, channels: usize) -> Result<Layer<B>> {
        let name = |part: &str| format!("layers.{index}.{part}");
        let [width, _] = pair(&self.shape(&name("mlp.fc1.weight"))?)?;
        let square = [channels, channels];
        Ok(Layer {
            norm_attention: self.tensor(&name("input_layernorm.weight"), [channels])?,
            query: self.matrix(&name("self_attn.q_proj"), square)?,
            key: self.matrix(&name("self_attn.k_proj"), square)?,
            value: self.matrix(&name("self_attn.v_proj"), square)?,
            out: self.matrix(&name("self_attn.o_proj"), square)?,
            norm_feed: self.tensor(&name("post_attention_layernorm.weight"), [channels])?,
            widen: (
                self.matrix(&name("mlp.fc1"), [width, channels])?,
                self.tensor(&name("mlp.fc1.bias"), [width])?,
            ),
            narrow: (
                self.matrix(&name("mlp.fc2"), [channels, width])?,
                self.tensor(&name("mlp.fc2.bias"), [channels])?,
            ),
        })
    }
}

fn pair(shape: &[usize]) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(shape)
        .with_context(|| format!("expected a matrix, found shape {shape:?}"))
}

impl<B: Backend> Recogniser<B> {
    /// The encoder of a source that uses the original's names.
    ///
    /// # Errors
    /// The source has none, or of a shape that none has.
    pub fn load(source: &mut dyn WeightSource, device: &B::Device) -> Result<Self> {
        let first = |prefix: &&str| source.shape(&format!("{prefix}conv1.weight")).is_some();
        let prefix = PREFIXES.into_iter().find(first).unwrap_or("");
        let mut reader = Reader {
            source,
            prefix,
            device,
        };
        let mut front = Vec::new();
        let mut inputs = 1;
        for index in 0..STRIDES.len() {
            let name = format!("conv{}", index + 1);
            let shape = reader.shape(&format!("{name}.weight"))?;
            let &[outputs, _, taps] = &shape[..] else {
                anyhow::bail!("the tensor \"{name}.weight\": expected three axes, found {shape:?}");
            };
            let weight = reader.tensor(&format!("{name}.weight"), [outputs, inputs, taps])?;
            let bias = (index > 0)
                .then(|| reader.tensor(&format!("{name}.bias"), [outputs]))
                .transpose()?;
            front.push((weight, bias));
            inputs = outputs;
        }
        let channels = inputs;
        ensure!(
            channels % HEADS == 0 && channels / HEADS >= TURNING,
            "the tensor \"conv3.weight\": expected a multiple of {HEADS} channels, {} or more, found {channels}; only \
             moonshine-tiny and moonshine-base are read",
            HEADS * TURNING
        );
        let [middle, _, _] = front[0].0.dims();
        let norm = |reader: &mut Reader<'_, B>, part: &str| -> Result<Tensor<B, 3>> {
            let values = reader.tensor(&format!("groupnorm.{part}"), [middle])?;
            Ok(values.reshape([1, middle, 1]))
        };
        let front_norm = (norm(&mut reader, "weight")?, norm(&mut reader, "bias")?);
        let count = (0..MOST_LAYERS)
            .take_while(|n| reader.shape(&format!("layers.{n}.mlp.fc1.weight")).is_ok())
            .count();
        let layers = (0..count.max(1))
            .map(|index| reader.layer(index, channels))
            .collect::<Result<_>>()?;
        Ok(Self {
            front,
            front_norm,
            layers,
        })
    }

    /// The encoder in a `.safetensors` file (or one of torch).
    ///
    /// # Errors
    /// The file, which is named, cannot be read, or as [`Self::load`].
    pub fn read(path: &Path, device: &B::Device) -> Result<Self> {
        let named = || path.display().to_string();
        let tensors = read_state_dict(path).with_context(named)?;
        Self::load(&mut CheckpointWeights(&tensors), device).with_context(named)
    }

    /// What the middle third of the layers makes of audio at [`RATE_HZ`], `[B, samples]` of at least [`LEAST_SAMPLES`]: each
    /// `[B, T, channels]`, every frame with a mean of 0 and a variance of 1. Before it sounds are not told apart yet, after it
    /// frames are of words more than of what sounds when.
    pub fn heard(&self, audio: Tensor<B, 2>) -> Vec<Tensor<B, 3>> {
        let mut x = self.front(audio).swap_dims(1, 2);
        let turn = turns(x.dims()[1], &x.device());
        let (early, late) = (self.layers.len() / 3, (2 * self.layers.len()).div_ceil(3));
        let mut heard = Vec::new();
        for (layer, number) in self.layers[..late].iter().zip(1..) {
            x = layer.forward(x, &turn);
            if number >= early {
                heard.push(normed(x.clone()));
            }
        }
        heard
    }

    fn front(&self, audio: Tensor<B, 2>) -> Tensor<B, 3> {
        let mut x: Tensor<B, 3> = audio.unsqueeze_dim(1);
        for (index, ((weight, bias), stride)) in self.front.iter().zip(STRIDES).enumerate() {
            let options = ConvOptions::new([stride], [0], [1], 1);
            x = conv1d(
                x,
                weight.clone(),
                bias.clone(),
                PaddedConvOptions::from(options),
            );
            x = if index == 0 {
                let x = x.tanh();
                let [batch, channels, frames] = x.dims();
                // One group: mean and variance of all channels and frames.
                let flat = normed(x.reshape([batch, 1, channels * frames]));
                let (gain, shift) = self.front_norm.clone();
                flat.reshape([batch, channels, frames]) * gain + shift
            } else {
                gelu(x)
            };
        }
        x
    }
}

impl<B: Backend> Layer<B> {
    fn forward(&self, x: Tensor<B, 3>, turn: &[Tensor<B, 5>; 2]) -> Tensor<B, 3> {
        let [batch, frames, channels] = x.dims();
        let width = channels / HEADS;
        let product = |x: &Tensor<B, 3>, matrix: &Tensor<B, 2>| {
            let columns = matrix.dims()[1];
            x.clone()
                .reshape([batch * frames, channels])
                .matmul(matrix.clone())
                .reshape([batch, frames, columns])
        };
        let y = normed(x.clone()) * self.norm_attention.clone().reshape([1, 1, channels]);
        let heads = |matrix| product(&y, matrix).reshape([batch, frames, HEADS, width]);
        let query = turned(heads(&self.query), turn).swap_dims(1, 2);
        let key = turned(heads(&self.key), turn).swap_dims(1, 2);
        let value = heads(&self.value).swap_dims(1, 2);
        let score = query
            .matmul(key.swap_dims(2, 3))
            .div_scalar((width as f64).sqrt());
        let y = softmax(score, 3).matmul(value).swap_dims(1, 2);
        let x = x + product(&y.reshape([batch, frames, channels]), &self.out);
        let y = normed(x.clone()) * self.norm_feed.clone().reshape([1, 1, channels]);
        let (widen, shift) = &self.widen;
        let inner = widen.dims()[1];
        let y = gelu(product(&y, widen) + shift.clone().reshape([1, 1, inner]));
        let (narrow, shift) = &self.narrow;
        let y = y
            .reshape([batch * frames, inner])
            .matmul(narrow.clone())
            .reshape([batch, frames, channels]);
        x + y + shift.clone().reshape([1, 1, channels])
    }
}

/// The last axis with a mean of 0 and a variance of 1.
fn normed<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let x = x.clone() - x.mean_dim(2);
    let variance = (x.clone() * x.clone()).mean_dim(2);
    x / variance.add_scalar(NORM_EPSILON).sqrt()
}

/// Cosines and sines by which the channels of each frame turn, `[1, T, 1, pairs, 1]`.
fn turns<B: Backend>(frames: usize, device: &B::Device) -> [Tensor<B, 5>; 2] {
    let pairs = TURNING / 2;
    let angle = |n: usize, pair: usize| n as f64 / 10_000f64.powf(pair as f64 / pairs as f64);
    [f64::cos, f64::sin].map(|of| {
        let values: Vec<f32> = (0..frames * pairs)
            .map(|i| of(angle(i / pairs, i % pairs)) as f32)
            .collect();
        from_vec(values, [1, frames, 1, pairs, 1], device)
    })
}

/// `[B, T, heads, width]` with the first channels of each head turned pair by pair.
fn turned<B: Backend>(x: Tensor<B, 4>, [cos, sin]: &[Tensor<B, 5>; 2]) -> Tensor<B, 4> {
    let [batch, frames, heads, width] = x.dims();
    let pairs: Tensor<B, 5> =
        x.clone()
            .narrow(3, 0, TURNING)
            .reshape([batch, frames, heads, TURNING / 2, 2]);
    let (even, odd) = (pairs.clone().narrow(4, 0, 1), pairs.narrow(4, 1, 1));
    let (cos, sin) = (cos.clone(), sin.clone());
    let turned = Tensor::cat(
        vec![
            even.clone() * cos.clone() - odd.clone() * sin.clone(),
            odd * cos + even * sin,
        ],
        4,
    );
    let turned = turned.reshape([batch, frames, heads, TURNING]);
    if width == TURNING {
        return turned;
    }
    let rest = x.narrow(3, TURNING, width - TURNING);
    Tensor::cat(vec![turned, rest], 3)
}
