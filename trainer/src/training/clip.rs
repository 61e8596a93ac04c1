//! Gradients as one vector: its length, and a bound on it.
//!
//! Source: Pascanu et al., "On the difficulty of training recurrent neural networks" (1211.5063).

use std::marker::PhantomData;

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion as _, Tensor};

use crate::kernels::{Kernels, TrainingBackend};

/// Adds up squares, all on the device: one number comes back however many parameters there are.
struct Squares<'a, B: AutodiffBackend> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<B::InnerBackend, 1>>,
    /// Of gradients whose numbers can be reached.
    reached: f64,
}

/// Numbers added up in single precision before the sum goes on in double.
const BLOCK: usize = 512;

fn sum_of_squares(numbers: &[f32]) -> f64 {
    let block = |block: &[f32]| -> f32 {
        let (eights, rest) = block.as_chunks::<8>();
        let mut sums = [0f32; 8];
        for eight in eights {
            for (sum, number) in sums.iter_mut().zip(eight) {
                *sum += number * number;
            }
        }
        sums.iter().sum::<f32>() + rest.iter().map(|number| number * number).sum::<f32>()
    };
    numbers.chunks(BLOCK).map(|n| f64::from(block(n))).sum()
}

impl<B: TrainingBackend> ModuleVisitor<B> for Squares<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = self.gradients.get::<B::InnerBackend, D>(param.id) {
            let bare = gradient.clone().into_primitive().tensor();
            if let Some(numbers) = B::InnerBackend::numbers(&bare) {
                self.reached += sum_of_squares(numbers);
                return;
            }
            let square = (gradient.clone() * gradient).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale<'a, B: Backend> {
    gradients: &'a mut GradientsParams,
    factor: f32,
    backend: PhantomData<B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Scale<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = self.gradients.remove::<B::InnerBackend, D>(param.id) {
            let scaled = gradient.mul_scalar(self.factor);
            self.gradients
                .register::<B::InnerBackend, D>(param.id, scaled);
        }
    }
}

/// Bounds the length of the whole gradient of `module` and returns the length it had. A length that is not a number is
/// returned as it is and nothing is scaled: the step must not be taken.
pub fn bound_norm<B: TrainingBackend, M: AutodiffModule<B>>(
    gradients: &mut GradientsParams,
    module: &M,
    most: f32,
) -> f32 {
    let mut squares = Squares::<B> {
        gradients,
        sum: None,
        reached: 0.0,
    };
    module.visit(&mut squares);
    let elsewhere = squares
        .sum
        .map_or(0.0, |sum| sum.into_scalar().elem::<f64>());
    let norm = (squares.reached + elsewhere).sqrt() as f32;
    if norm.is_finite() && norm > most {
        module.visit(&mut Scale::<B> {
            gradients,
            factor: most / norm,
            backend: PhantomData,
        });
    }
    norm
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::{Linear, LinearConfig};

    use super::*;

    type B = Autodiff<Flex>;

    #[test]
    fn the_whole_gradient_is_bounded_and_keeps_its_direction() {
        let device = Default::default();
        let layer: Linear<B> = LinearConfig::new(3, 2).init(&device);
        let x = Tensor::<B, 2>::from_data([[1.0, 2.0, 3.0]], &device);
        let gradients = || {
            let y = layer.forward(x.clone()).sum();
            GradientsParams::from_grads(y.backward(), &layer)
        };
        // Each of two outputs: 1, 2, 3 for the weights and 1 for the bias.
        let norm = 30f32.sqrt();
        let mut kept = gradients();
        assert!((bound_norm(&mut kept, &layer, 100.0) - norm).abs() < 1e-5);
        let mut bounded = gradients();
        assert!((bound_norm(&mut bounded, &layer, 1.0) - norm).abs() < 1e-5);
        let of = |g: &GradientsParams| {
            g.get::<Flex, 2>(layer.weight.id)
                .map(|g| g.into_data().to_vec::<f32>())
        };
        let (kept, bounded) = (of(&kept).unwrap().unwrap(), of(&bounded).unwrap().unwrap());
        for (a, b) in kept.iter().zip(&bounded) {
            assert!((a / norm - b).abs() < 1e-6, "{a} {b}");
        }
    }
}
