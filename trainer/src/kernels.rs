//! Operations whose gradients burn would compute in more passes over memory than they need, and the numbers of a tensor
//! where they lie.
//!
//! Every backend computes them and their gradients with burn's operations unless it knows better; `Autodiff` of any
//! backend records one step for each. Which backends know better is in this folder.

mod autodiff;
mod flex;
#[cfg(feature = "libtorch")]
mod libtorch;

use burn::tensor::backend::{AutodiffBackend, Backend, get_device_settings};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, FloatTensor};
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use rayon::prelude::*;

/// What is computed, and from what.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A convolution: of `x` `[B, C, T]`, weight `[outputs, inputs / groups, kernel]` and, if there is one, bias `[outputs]`.
    Conv(ConvOptions<1>),
    /// A transposed convolution: of `x` `[B, C, T]`, weight `[inputs, outputs / groups, kernel]` and, if there is one, bias
    /// `[outputs]`.
    Upsample(ConvTransposeOptions<1>),
    /// A weight from its direction `[N, …]` and length `[N, 1, 1]`.
    Normed,
    /// x, or this much of it below 0; above 0 itself, so that the result tells where x was below 0.
    Leaky(f32),
}

/// A backend with these operations.
pub trait Kernels: Backend {
    /// The result.
    fn compute(operation: &Operation, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        plain::<Self>(operation, inputs)
    }

    /// The result, and what [`Self::gradients`] needs of it later for the inputs that are `wanted`.
    fn record(
        operation: &Operation,
        inputs: Vec<FloatTensor<Self>>,
        _wanted: &[bool],
    ) -> (FloatTensor<Self>, Vec<FloatTensor<Self>>) {
        if let Operation::Leaky(_) = operation {
            let y = Self::compute(operation, inputs);
            return (y.clone(), vec![y]);
        }
        (Self::compute(operation, inputs.clone()), inputs)
    }

    /// The gradients of the inputs that are `wanted`, from that of the result and what was kept.
    fn gradients(
        operation: &Operation,
        kept: Vec<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        wanted: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>> {
        plain_gradients::<Self>(operation, &kept, gradient, wanted)
    }

    /// The numbers of a tensor in the order of its places, when they lie so in the processor's memory.
    fn numbers(_tensor: &FloatTensor<Self>) -> Option<&[f32]> {
        None
    }

    /// The same to be changed. Other tensors that share them keep what they had.
    fn numbers_mut(_tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]> {
        None
    }
}

/// A backend that networks are trained on.
pub trait TrainingBackend: Kernels + AutodiffBackend<InnerBackend: Kernels> {}

impl<B: Kernels + AutodiffBackend<InnerBackend: Kernels>> TrainingBackend for B {}

#[cfg(feature = "cuda")]
impl Kernels for burn::backend::Cuda {}
#[cfg(feature = "vulkan")]
impl Kernels for burn::backend::Vulkan {}
#[cfg(feature = "metal")]
impl Kernels for burn::backend::Metal {}
#[cfg(feature = "rocm")]
impl Kernels for burn::backend::Rocm {}

fn compute<B: Kernels>(
    operation: &Operation,
    inputs: impl IntoIterator<Item = FloatTensor<B>>,
) -> Tensor<B, 3> {
    wrapped(B::compute(operation, inputs.into_iter().collect()))
}

fn bare<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

fn wrapped<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// [`Operation::Conv`].
pub fn conv<B: Kernels>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 3>,
    bias: Option<Tensor<B, 1>>,
    options: ConvOptions<1>,
) -> Tensor<B, 3> {
    let inputs = [bare(x), bare(weight)].into_iter();
    compute::<B>(&Operation::Conv(options), inputs.chain(bias.map(bare)))
}

/// [`Operation::Upsample`].
pub fn upsample<B: Kernels>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 3>,
    bias: Option<Tensor<B, 1>>,
    options: ConvTransposeOptions<1>,
) -> Tensor<B, 3> {
    let inputs = [bare(x), bare(weight)].into_iter();
    compute::<B>(&Operation::Upsample(options), inputs.chain(bias.map(bare)))
}

/// [`Operation::Normed`].
pub fn normed<B: Kernels>(direction: Tensor<B, 3>, length: Tensor<B, 3>) -> Tensor<B, 3> {
    compute::<B>(&Operation::Normed, [bare(direction), bare(length)])
}

/// [`Operation::Leaky`].
pub fn leaky<B: Kernels>(x: Tensor<B, 3>, slope: f32) -> Tensor<B, 3> {
    compute::<B>(&Operation::Leaky(slope), [bare(x)])
}

/// Length of each slice along the first axis, `[N, 1, 1]`.
pub fn norms<B: Backend>(direction: Tensor<B, 3>) -> Tensor<B, 3> {
    row_sums(direction.clone() * direction).sqrt()
}

/// Sum of each slice along the first axis, `[N, 1, 1]`.
fn row_sums<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let count = x.dims()[0];
    x.reshape([count as i32, -1])
        .sum_dim(1)
        .reshape([count, 1, 1])
}

fn plain<B: Kernels>(operation: &Operation, inputs: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    let mut inputs = inputs.into_iter();
    let x = inputs.next().expect("every operation has an input");
    let mut weight = || inputs.next().expect("all but `Leaky` have two inputs");
    match operation {
        Operation::Conv(options) => B::conv1d(x, weight(), inputs.next(), options.clone()),
        Operation::Upsample(options) => {
            B::conv_transpose1d(x, weight(), inputs.next(), options.clone())
        }
        Operation::Normed => normed_weight::<B>(x, &weight()),
        Operation::Leaky(slope) => B::leaky_relu(x, (*slope).into()),
    }
}

fn plain_gradients<B: Kernels>(
    operation: &Operation,
    kept: &[FloatTensor<B>],
    gradient: FloatTensor<B>,
    wanted: &[bool],
) -> Vec<Option<FloatTensor<B>>> {
    let input = |place: usize| kept[place].clone();
    let of = |place: usize, work: &dyn Fn(FloatTensor<B>) -> FloatTensor<B>| {
        wanted[place].then(|| work(gradient.clone()))
    };
    match operation {
        Operation::Conv(options) => (0..kept.len())
            .map(|place| {
                of(place, &|gradient| match place {
                    0 => B::conv1d_x_backward(input(0), input(1), gradient, options.clone()),
                    1 => B::conv1d_weight_backward(input(0), input(1), gradient, options.clone()),
                    _ => B::conv1d_bias_backward(input(0), input(2), gradient),
                })
            })
            .collect(),
        Operation::Upsample(options) => (0..kept.len())
            .map(|place| {
                of(place, &|gradient| match place {
                    0 => B::conv_transpose1d_x_backward(input(1), gradient, options.clone()),
                    1 => B::conv_transpose1d_weight_backward(
                        input(0),
                        input(1),
                        gradient,
                        options.clone(),
                    ),
                    _ => B::conv_transpose1d_bias_backward(input(0), input(2), gradient),
                })
            })
            .collect(),
        Operation::Normed => {
            let (turned, along) = normed_gradients::<B>(&kept[0], &kept[1], gradient);
            vec![wanted[0].then_some(turned), wanted[1].then_some(along)]
        }
        Operation::Leaky(slope) => vec![Some(leaky_gradient::<B>(&kept[0], gradient, *slope))],
    }
}

/// A weight from its direction v and length.
fn normed_weight<B: Kernels>(
    mut direction: FloatTensor<B>,
    length: &FloatTensor<B>,
) -> FloatTensor<B> {
    if let (Some(v), Some(lengths)) = (B::numbers_mut(&mut direction), B::numbers(length)) {
        let row = v.len() / lengths.len().max(1);
        v.par_chunks_mut(row).zip(lengths).for_each(|(v, length)| {
            let factor = length / sum_of_products(v, v).sqrt();
            v.iter_mut().for_each(|number| *number *= factor);
        });
        return direction;
    }
    let direction = wrapped::<B, 3>(direction);
    let factor = wrapped::<B, 3>(length.clone()) / norms(direction.clone());
    bare(direction * factor)
}

/// The gradients of a weight's direction v and length |w|, from that of the weight w.
fn normed_gradients<B: Kernels>(
    direction: &FloatTensor<B>,
    length: &FloatTensor<B>,
    mut gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    // With u = v / |v|: dL/d|w| = <dL/dw, u>, dL/dv = |w| / |v| · (dL/dw − u · dL/d|w|).
    if let (Some(v), Some(lengths)) = (B::numbers(direction), B::numbers(length))
        && let Some(numbers) = B::numbers_mut(&mut gradient)
    {
        let row = v.len() / lengths.len().max(1);
        let along = (numbers.par_chunks_mut(row).zip(v.par_chunks(row)))
            .zip(lengths)
            .map(|((gradient, v), length)| {
                let inverse = sum_of_products(v, v).sqrt().recip();
                let along = sum_of_products(gradient, v) * inverse;
                let (part, scale) = (along * inverse, length * inverse);
                for (number, v) in gradient.iter_mut().zip(v) {
                    *number = (*number - v * part) * scale;
                }
                along
            })
            .collect();
        let along = TensorData::new::<f32, _>(along, [lengths.len(), 1, 1]);
        let along = B::float_from_data(along, &B::float_device(length));
        return (gradient, along);
    }
    let (direction, length) = (
        wrapped::<B, 3>(direction.clone()),
        wrapped::<B, 3>(length.clone()),
    );
    let gradient = wrapped::<B, 3>(gradient);
    let inverse = norms(direction.clone()).recip();
    let along = row_sums(gradient.clone() * direction.clone()) * inverse.clone();
    let part = direction * (along.clone() * inverse.clone());
    (bare((gradient - part) * (length * inverse)), bare(along))
}

/// Σ aᵢ·bᵢ, in several sums, which a processor adds side by side.
fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.chunks(sums.len()).zip(b.chunks(sums.len())) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// The gradient of a leaky rectifier's input from its result `y` and the result's gradient.
fn leaky_gradient<B: Kernels>(
    y: &FloatTensor<B>,
    mut gradient: FloatTensor<B>,
    slope: f32,
) -> FloatTensor<B> {
    if let (Some(y), Some(numbers)) = (B::numbers(y), B::numbers_mut(&mut gradient)) {
        for (number, &y) in numbers.iter_mut().zip(y) {
            *number *= if y < 0.0 { slope } else { 1.0 };
        }
        return gradient;
    }
    let bools = get_device_settings::<B>(&B::float_device(y)).bool_dtype;
    let below = B::float_lower_elem(y.clone(), 0f32.into(), bools);
    let less = B::float_mul_scalar(gradient.clone(), slope.into());
    B::float_mask_where(gradient, below, less)
}

#[cfg(test)]
mod tests;
