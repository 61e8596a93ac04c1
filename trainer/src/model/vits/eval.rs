//! The operations a VITS voice is written in.
//!
//! The network is described once, over values `[B, C, T]` of whoever evaluates it: burn computes numbers (and
//! gradients), the exporter writes nodes of a graph. What both compute is the same because they walk the same
//! description.

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, sigmoid, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::module::{conv_transpose1d, conv1d, embedding};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, PaddedConvOptions};
use burn::tensor::{Int, TensorData};

use super::layers::{Conv, MaybeSplit, Upsample};
use crate::kernels::{self, Kernels};

/// Slope of the leaky rectifiers.
pub const LEAK: f32 = 0.1;
/// Slope before the decoder's last convolution.
pub const LAST_LEAK: f32 = 0.01;
/// Added to the variance before the root.
pub const NORM_EPSILON: f32 = 1e-5;
/// What a forbidden place of an attention scores.
pub const FORBIDDEN: f32 = -1e4;
/// Taps of the filters around a snake.
pub const SNAKE_TAPS: usize = 12;
/// Added to a snake's magnitude before it divides.
pub const SNAKE_EPSILON: f32 = 1e-9;
/// Amplitude of a source's sines.
pub const SINE_LEVEL: f32 = 0.1;
/// Standard deviation of the noise on voiced frames.
pub const VOICED_NOISE: f32 = 0.003;
/// F0 range of the embedding, in Hz.
pub const COARSE_F0_HZ: (f32, f32) = (50.0, 1100.0);
/// Rows of the embedding of F0.
pub const COARSE_ROWS: usize = 256;

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// max(x, 0).
    Relu,
    /// x, or this much of x below 0.
    Leaky(f32),
    /// Hyperbolic tangent.
    Tanh,
    /// x times the normal distribution's share below x.
    Gelu,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// 1 above 0, else 0.
    Positive,
}

/// How an attention looks around.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a, B: Backend> {
    /// Heads.
    pub heads: usize,
    /// Only at itself and the past.
    pub causal: bool,
    /// Embeddings of keys and values by relative position, `[1, 2w + 1, C / heads]` each.
    pub relative: Option<[&'a Param<Tensor<B, 3>>; 2]>,
}

/// Evaluates the operations.
pub trait Eval<B: Backend> {
    /// A value `[B, C, T]`.
    type Value: Clone;

    /// Convolution.
    fn conv(&mut self, x: &Self::Value, conv: &Conv<B>) -> Self::Value;
    /// Transposed convolution.
    fn upsample(&mut self, x: &Self::Value, up: &Upsample<B>) -> Self::Value;
    /// a + b; a value with one frame or one channel holds for all.
    fn add(&mut self, a: &Self::Value, b: &Self::Value) -> Self::Value;
    /// a − b.
    fn sub(&mut self, a: &Self::Value, b: &Self::Value) -> Self::Value;
    /// a · b.
    fn mul(&mut self, a: &Self::Value, b: &Self::Value) -> Self::Value;
    /// x · factor + shift.
    fn affine(&mut self, x: &Self::Value, factor: f32, shift: f32) -> Self::Value;
    /// A function of every number.
    fn apply(&mut self, x: &Self::Value, function: Function) -> Self::Value;
    /// Of 2C channels, tanh of the first half times the logistic function of the second.
    fn gate(&mut self, x: &Self::Value, channels: usize) -> Self::Value;
    /// Normalisation over channels.
    fn norm(
        &mut self,
        x: &Self::Value,
        gain: &Param<Tensor<B, 1>>,
        shift: &Param<Tensor<B, 1>>,
    ) -> Self::Value;
    /// Normalisation of every channel over time.
    fn norm_over_time(
        &mut self,
        x: &Self::Value,
        gain: &Param<Tensor<B, 1>>,
        shift: &Param<Tensor<B, 1>>,
    ) -> Self::Value;
    /// Channels `from..to`.
    fn channels(&mut self, x: &Self::Value, from: usize, to: usize) -> Self::Value;
    /// Channels of a, then those of b.
    fn join(&mut self, a: &Self::Value, b: &Self::Value) -> Self::Value;
    /// Channels in reverse order.
    fn flip(&mut self, x: &Self::Value, channels: usize) -> Self::Value;
    /// Attention of queries to keys and values of as many frames.
    fn attend(
        &mut self,
        query: &Self::Value,
        key: &Self::Value,
        value: &Self::Value,
        look: Look<'_, B>,
    ) -> Self::Value;
    /// Rows of a table `[N, C]` by index `[B, 1, T]`.
    fn embed(&mut self, index: &Self::Value, table: &Param<Tensor<B, 2>>) -> Self::Value;
    /// Weighted sum of the rows of a table `[S, C]`; weights `[B, S, T]`.
    fn blend(&mut self, weights: &Self::Value, table: &Param<Tensor<B, 2>>) -> Self::Value;
    /// Row of the embedding of F0 for an F0 in Hz; `above` for what is above its range.
    fn coarse(&mut self, f0_hz: &Self::Value, above: usize) -> Self::Value;
    /// `x` minus its mean over the frames with a `weight` of 1; both `[B, 1, T]`.
    fn centre(&mut self, x: &Self::Value, weight: &Self::Value) -> Self::Value;
    /// Nothing where a clip of the batch is over.
    fn mask(&mut self, x: &Self::Value) -> Self::Value;
    /// Anti-aliased snake; logarithms of frequency and magnitude per channel.
    fn snake(
        &mut self,
        x: &Self::Value,
        frequency: &Param<Tensor<B, 1>>,
        magnitude: &Param<Tensor<B, 1>>,
    ) -> Self::Value;
    /// The sine source: fundamental and overtones of an F0 `[B, 1, T]`, weighted by `merge`, with `noise` of unit power
    /// `[B, 1, T · hop]`.
    fn source(
        &mut self,
        f0_hz: &Self::Value,
        noise: &Self::Value,
        merge: &Conv<B>,
        form: SourceForm,
    ) -> Self::Value;
    /// What comes before may be computed anew when more of the future is known; what comes after is computed once.
    fn settle(&mut self, x: &Self::Value) -> Self::Value;

    /// A convolution that may be split.
    fn maybe_split(&mut self, x: &Self::Value, conv: &MaybeSplit<B>) -> Self::Value {
        let y = self.conv(x, &conv.first);
        match &conv.point {
            Some(point) => self.conv(&y, point),
            None => y,
        }
    }
}

/// Sizes of a sine source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceForm {
    /// Sines: the fundamental and its overtones.
    pub sines: usize,
    /// Samples per frame.
    pub hop: usize,
    /// Output rate.
    pub rate_hz: f32,
}

/// The low-pass filter around a snake: a Kaiser-windowed sinc with its cut-off at a quarter of the doubled rate.
#[must_use]
pub fn snake_filter() -> [f32; SNAKE_TAPS] {
    let half = SNAKE_TAPS as f64 / 2.0;
    let cutoff = 0.25;
    // Transition width 4 · 0.3 of the doubled rate; Kaiser's formulas for attenuation and shape.
    let attenuation = 2.285 * (half - 1.0) * std::f64::consts::PI * 1.2 + 7.95;
    let shape = if attenuation > 50.0 {
        0.1102 * (attenuation - 8.7)
    } else {
        0.5842 * (attenuation - 21.0).powf(0.4) + 0.07886 * (attenuation - 21.0)
    };
    let taps: [f64; SNAKE_TAPS] = std::array::from_fn(|n| {
        let place = n as f64 - half + 0.5;
        let across = 2.0 * n as f64 / (SNAKE_TAPS as f64 - 1.0) - 1.0;
        let window = bessel_i0(shape * (1.0 - across * across).max(0.0).sqrt()) / bessel_i0(shape);
        let angle = std::f64::consts::PI * 2.0 * cutoff * place;
        2.0 * cutoff * window * angle.sin() / angle
    });
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| (tap / sum) as f32)
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..64 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

/// Parameters of the embedding of F0: row = mel(F0) · scale + shift.
#[must_use]
pub fn coarse_line() -> (f32, f32) {
    let mel = |hz: f32| 1127.0 * (1.0 + hz / 700.0).ln();
    let (low, high) = (mel(COARSE_F0_HZ.0), mel(COARSE_F0_HZ.1));
    let scale = (COARSE_ROWS - 2) as f32 / (high - low);
    (scale, 1.0 - low * scale)
}

/// Computes with burn.
#[derive(Debug, Default)]
pub struct Compute<B: Backend> {
    /// 1 where a clip is, 0 after its end, `[B, 1, T]`; all is, when there is none.
    pub frames: Option<Tensor<B, 3>>,
}

impl<B: Kernels> Eval<B> for Compute<B> {
    type Value = Tensor<B, 3>;

    fn conv(&mut self, x: &Tensor<B, 3>, conv: &Conv<B>) -> Tensor<B, 3> {
        let shape = conv.shape;
        let weight = conv.kernel.weight();
        let bias = conv.kernel.bias.as_ref().map(|bias| bias.val());
        let [batch, channels, frames] = x.dims();
        // Frames after the last whole stride change nothing, but burn's gradient of grouped weights trips over them.
        let reach = shape.dilation * (shape.kernel - 1) + 1;
        let rest = (frames + shape.left + shape.right).saturating_sub(reach) % shape.stride;
        let (x, padding) = if shape.left == shape.right && rest == 0 {
            (x.clone(), shape.left)
        } else {
            let zeros = |frames| Tensor::zeros([batch, channels, frames], &x.device());
            let kept = frames - rest.saturating_sub(shape.right);
            let padded = vec![
                zeros(shape.left),
                x.clone().narrow(2, 0, kept),
                zeros(shape.right.saturating_sub(rest)),
            ];
            let padded = padded.into_iter().filter(|part| part.dims()[2] > 0);
            (Tensor::cat(padded.collect(), 2), 0)
        };
        let options = ConvOptions::new([shape.stride], [padding], [shape.dilation], shape.groups);
        kernels::conv(x, weight, bias, options)
    }

    fn upsample(&mut self, x: &Tensor<B, 3>, up: &Upsample<B>) -> Tensor<B, 3> {
        let options = ConvTransposeOptions::new([up.stride], [up.trim], [0], [1], up.groups);
        let bias = up.kernel.bias.as_ref().map(|bias| bias.val());
        let y = kernels::upsample(x.clone(), up.kernel.weight(), bias, options);
        match &up.point {
            Some(point) => self.conv(&y, point),
            None => y,
        }
    }

    fn add(&mut self, a: &Tensor<B, 3>, b: &Tensor<B, 3>) -> Tensor<B, 3> {
        a.clone() + b.clone()
    }

    fn sub(&mut self, a: &Tensor<B, 3>, b: &Tensor<B, 3>) -> Tensor<B, 3> {
        a.clone() - b.clone()
    }

    fn mul(&mut self, a: &Tensor<B, 3>, b: &Tensor<B, 3>) -> Tensor<B, 3> {
        a.clone() * b.clone()
    }

    fn affine(&mut self, x: &Tensor<B, 3>, factor: f32, shift: f32) -> Tensor<B, 3> {
        x.clone().mul_scalar(factor).add_scalar(shift)
    }

    fn apply(&mut self, x: &Tensor<B, 3>, function: Function) -> Tensor<B, 3> {
        let x = x.clone();
        match function {
            Function::Relu => relu(x),
            Function::Leaky(slope) => kernels::leaky(x, slope),
            Function::Tanh => x.tanh(),
            Function::Gelu => gelu(x),
            Function::Exp => x.exp(),
            Function::Log => x.log(),
            Function::Positive => x.greater_elem(0.0).float(),
        }
    }

    fn gate(&mut self, x: &Tensor<B, 3>, channels: usize) -> Tensor<B, 3> {
        let first = self.channels(x, 0, channels);
        let second = self.channels(x, channels, 2 * channels);
        first.tanh() * sigmoid(second)
    }

    fn norm(
        &mut self,
        x: &Tensor<B, 3>,
        gain: &Param<Tensor<B, 1>>,
        shift: &Param<Tensor<B, 1>>,
    ) -> Tensor<B, 3> {
        let channels = x.dims()[1];
        let mean = x.clone().mean_dim(1);
        let centred = x.clone() - mean;
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let normal = centred / variance.add_scalar(NORM_EPSILON).sqrt();
        let column = |param: &Param<Tensor<B, 1>>| param.val().reshape([1, channels, 1]);
        normal * column(gain) + column(shift)
    }

    fn norm_over_time(
        &mut self,
        x: &Tensor<B, 3>,
        gain: &Param<Tensor<B, 1>>,
        shift: &Param<Tensor<B, 1>>,
    ) -> Tensor<B, 3> {
        let channels = x.dims()[1];
        let centred = x.clone() - x.clone().mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let column = |param: &Param<Tensor<B, 1>>| param.val().reshape([1, channels, 1]);
        centred / variance.add_scalar(NORM_EPSILON).sqrt() * column(gain) + column(shift)
    }

    fn channels(&mut self, x: &Tensor<B, 3>, from: usize, to: usize) -> Tensor<B, 3> {
        x.clone().narrow(1, from, to - from)
    }

    fn join(&mut self, a: &Tensor<B, 3>, b: &Tensor<B, 3>) -> Tensor<B, 3> {
        Tensor::cat(vec![a.clone(), b.clone()], 1)
    }

    fn flip(&mut self, x: &Tensor<B, 3>, _channels: usize) -> Tensor<B, 3> {
        x.clone().flip([1])
    }

    fn attend(
        &mut self,
        query: &Tensor<B, 3>,
        key: &Tensor<B, 3>,
        value: &Tensor<B, 3>,
        look: Look<'_, B>,
    ) -> Tensor<B, 3> {
        let [batch, channels, frames] = query.dims();
        let width = channels / look.heads;
        let device = query.device();
        // [B, heads, T, width]
        let split = |x: &Tensor<B, 3>| {
            x.clone()
                .reshape([batch, look.heads, width, frames])
                .swap_dims(2, 3)
        };
        let query = split(query).mul_scalar(1.0 / (width as f32).sqrt());
        let mut scores = query.clone().matmul(split(key).swap_dims(2, 3));
        if let Some([keys, _]) = look.relative {
            let rows = spread(keys.val(), frames);
            // [B, heads, T, 1, width] against [T, T, width] would be large: go by distance instead.
            scores = scores + by_distance(query, rows, frames);
        }
        if look.causal {
            let ones: Tensor<B, 2> = Tensor::ones([frames, frames], &device);
            let future = ones.triu(1).reshape([1, 1, frames, frames]);
            scores = scores.mask_fill(
                future.expand([batch, look.heads, frames, frames]).bool(),
                FORBIDDEN,
            );
        }
        if let Some(mask) = &self.frames {
            let columns = mask.clone().swap_dims(1, 2).matmul(mask.clone());
            let over = columns
                .reshape([batch, 1, frames, frames])
                .expand([batch, look.heads, frames, frames])
                .equal_elem(0.0);
            scores = scores.mask_fill(over, FORBIDDEN);
        }
        let weights = softmax(scores, 3);
        let mut out = weights.clone().matmul(split(value));
        if let Some([_, values]) = look.relative {
            out = out + from_distance(weights, spread(values.val(), frames), frames);
        }
        out.swap_dims(2, 3).reshape([batch, channels, frames])
    }

    fn embed(&mut self, index: &Tensor<B, 3>, table: &Param<Tensor<B, 2>>) -> Tensor<B, 3> {
        let [batch, _, frames] = index.dims();
        let index: Tensor<B, 2, Int> = index.clone().reshape([batch, frames]).int();
        embedding(table.val(), index).swap_dims(1, 2)
    }

    fn blend(&mut self, weights: &Tensor<B, 3>, table: &Param<Tensor<B, 2>>) -> Tensor<B, 3> {
        let [rows, channels] = table.val().dims();
        let table = table.val().transpose().reshape([1, channels, rows]);
        let batch = weights.dims()[0];
        table
            .expand([batch, channels, rows])
            .matmul(weights.clone())
    }

    fn coarse(&mut self, f0_hz: &Tensor<B, 3>, above: usize) -> Tensor<B, 3> {
        let (scale, shift) = coarse_line();
        let mel = f0_hz
            .clone()
            .div_scalar(700.0)
            .add_scalar(1.0)
            .log()
            .mul_scalar(1127.0);
        let raised = mel.clone().mul_scalar(scale).add_scalar(shift);
        let rows = raised
            .mask_where(mel.clone().lower_equal_elem(0.0), mel)
            .round()
            .clamp_min(1.0);
        let beyond = rows.clone().greater_equal_elem(COARSE_ROWS as f32);
        rows.mask_fill(beyond, above as f32)
    }

    fn centre(&mut self, x: &Tensor<B, 3>, weight: &Tensor<B, 3>) -> Tensor<B, 3> {
        let count = weight.clone().sum_dim(2).clamp_min(1e-4);
        let mean = (x.clone() * weight.clone()).sum_dim(2) / count;
        x.clone() - mean
    }

    fn mask(&mut self, x: &Tensor<B, 3>) -> Tensor<B, 3> {
        match &self.frames {
            Some(frames) => x.clone() * frames.clone(),
            None => x.clone(),
        }
    }

    fn snake(
        &mut self,
        x: &Tensor<B, 3>,
        frequency: &Param<Tensor<B, 1>>,
        magnitude: &Param<Tensor<B, 1>>,
    ) -> Tensor<B, 3> {
        let [_, channels, frames] = x.dims();
        let device = x.device();
        let taps = snake_filter();
        let filter = |gain: f32| {
            let taps: Vec<f32> = (0..channels)
                .flat_map(|_| taps.map(|tap| tap * gain))
                .collect();
            Tensor::<B, 3>::from_data(TensorData::new(taps, [channels, 1, SNAKE_TAPS]), &device)
        };
        let column = |param: &Param<Tensor<B, 1>>| param.val().exp().reshape([1, channels, 1]);
        // Doubled rate: 5 edge samples at either side give 5 · 2 + 5 results too many at either end.
        let padded = edges(x.clone(), SNAKE_TAPS / 2 - 1, SNAKE_TAPS / 2 - 1);
        let options = ConvTransposeOptions::new([2], [0], [0], [1], channels);
        let high = conv_transpose1d(padded, filter(2.0), None, options);
        let high = high.narrow(2, 15, 2 * frames);
        let wave = (high.clone() * column(frequency)).sin();
        let high = high + wave.clone() * wave / column(magnitude).add_scalar(SNAKE_EPSILON);
        let padded = edges(high, SNAKE_TAPS / 2 - 1, SNAKE_TAPS / 2);
        let options = ConvOptions::new([2], [0], [1], channels);
        conv1d(padded, filter(1.0), None, PaddedConvOptions::from(options))
    }

    fn source(
        &mut self,
        f0_hz: &Tensor<B, 3>,
        noise: &Tensor<B, 3>,
        merge: &Conv<B>,
        form: SourceForm,
    ) -> Tensor<B, 3> {
        let [batch, _, frames] = f0_hz.dims();
        let device = f0_hz.device();
        let hop = form.hop;
        let step = f0_hz.clone().div_scalar(form.rate_hz);
        // Cycles before each frame, without the whole ones of each frame, then within it.
        let whole = step.clone().mul_scalar(hop as f32);
        let whole = whole.clone() - whole.floor();
        let before = whole.clone().cumsum(2) - whole;
        let before = before.clone() - before.floor();
        let ramp: Tensor<B, 1, Int> = Tensor::arange(1..hop as i64 + 1, &device);
        let ramp = ramp.float().reshape([1, 1, 1, hop]);
        let fine = |x: Tensor<B, 3>| x.reshape([batch, 1, frames, 1]);
        let cycles = fine(before) + fine(step) * ramp;
        let cycles = cycles.clone() - cycles.floor();
        let cycles = cycles.reshape([batch, 1, frames * hop]);
        let orders: Tensor<B, 1, Int> = Tensor::arange(1..form.sines as i64 + 1, &device);
        let orders = orders.float().reshape([1, form.sines, 1]);
        let sines = (cycles * orders)
            .mul_scalar(std::f32::consts::TAU)
            .sin()
            .mul_scalar(SINE_LEVEL);
        let voiced = f0_hz.clone().greater_elem(0.0).float();
        let voiced = fine(voiced)
            .expand([batch, 1, frames, hop])
            .reshape([batch, 1, frames * hop]);
        let weight = merge.kernel.weight();
        let power = (weight.clone() * weight).sum().sqrt().reshape([1, 1, 1]);
        let level = voiced.clone().mul_scalar(VOICED_NOISE)
            + voiced
                .clone()
                .neg()
                .add_scalar(1.0)
                .mul_scalar(SINE_LEVEL / 3.0);
        let merged = self.conv(&(sines * voiced), merge) + noise.clone() * level * power;
        merged.tanh()
    }

    fn settle(&mut self, x: &Tensor<B, 3>) -> Tensor<B, 3> {
        x.clone()
    }
}

/// Rows for the distances −(T − 1)…T − 1 of a table `[1, 2w + 1, width]`: `[2T − 1, width]`, zero beyond the window.
fn spread<B: Backend>(table: Tensor<B, 3>, frames: usize) -> Tensor<B, 2> {
    let [_, rows, width] = table.dims();
    let window = rows / 2;
    let table: Tensor<B, 2> = table.reshape([rows, width]);
    if frames > window {
        let side = frames - 1 - window;
        if side == 0 {
            return table;
        }
        let zeros = || Tensor::zeros([side, width], &table.device());
        Tensor::cat(vec![zeros(), table.clone(), zeros()], 0)
    } else {
        table.narrow(0, window + 1 - frames, 2 * frames - 1)
    }
}

/// Products of each query with the row of each distance, laid out by place: `[B, heads, T, T]`.
fn by_distance<B: Backend>(query: Tensor<B, 4>, rows: Tensor<B, 2>, frames: usize) -> Tensor<B, 4> {
    let [batch, heads, _, _] = query.dims();
    let device = query.device();
    let rows = rows.transpose().unsqueeze::<4>();
    let [_, _, width, count] = rows.dims();
    let logits = query.matmul(rows.expand([batch, heads, width, count]));
    // Row t holds distances from −(T − 1) on, and place s of it is distance s − t: a shear.
    let column = Tensor::zeros([batch, heads, frames, 1], &device);
    let flat = Tensor::cat(vec![logits, column], 3).reshape([batch, heads, 2 * frames * frames]);
    let rest = Tensor::zeros([batch, heads, frames - 1], &device);
    Tensor::cat(vec![flat, rest], 2)
        .reshape([batch, heads, frames + 1, 2 * frames - 1])
        .narrow(2, 0, frames)
        .narrow(3, frames - 1, frames)
}

/// The sum over places of weights `[B, heads, T, T]` times the row of the distance: `[B, heads, T, width]`.
fn from_distance<B: Backend>(
    weights: Tensor<B, 4>,
    rows: Tensor<B, 2>,
    frames: usize,
) -> Tensor<B, 4> {
    let [batch, heads, _, _] = weights.dims();
    let device = weights.device();
    let column = Tensor::zeros([batch, heads, frames, frames - 1], &device);
    let flat =
        Tensor::cat(vec![weights, column], 3).reshape([batch, heads, frames * (2 * frames - 1)]);
    let front = Tensor::zeros([batch, heads, frames], &device);
    let sheared = Tensor::cat(vec![front, flat], 2)
        .reshape([batch, heads, frames, 2 * frames])
        .narrow(3, 1, 2 * frames - 1);
    let rows = rows.unsqueeze::<4>();
    let [_, _, count, width] = rows.dims();
    sheared.matmul(rows.expand([batch, heads, count, width]))
}

/// `x` with its first and last frame repeated.
fn edges<B: Backend>(x: Tensor<B, 3>, left: usize, right: usize) -> Tensor<B, 3> {
    let [batch, channels, frames] = x.dims();
    let first = x.clone().narrow(2, 0, 1).expand([batch, channels, left]);
    let last = x
        .clone()
        .narrow(2, frames - 1, 1)
        .expand([batch, channels, right]);
    Tensor::cat(vec![first, x, last], 2)
}
