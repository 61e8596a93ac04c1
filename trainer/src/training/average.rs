//! A running average of a network's weights, which sings steadier than the weights of any one step.
//!
//! Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; exponential, as is usual.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};

use crate::kernels::Kernels;

/// Tensors by the parameter they belong to.
#[derive(Default)]
struct Gathered {
    tensors: HashMap<ParamId, Box<dyn Any>>,
}

impl<B: Backend> ModuleVisitor<B> for Gathered {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.tensors.insert(param.id, Box::new(param.val()));
    }
}

/// Moves every parameter a share of the way to another network's.
struct Mover {
    to: Gathered,
    share: f64,
}

impl<B: Kernels> ModuleMapper<B> for Mover {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let there = self
            .to
            .tensors
            .remove(&id)
            .and_then(|there| there.downcast::<Tensor<B, D>>().ok());
        let tensor = match there {
            Some(there) => between(tensor, *there, self.share),
            None => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// `share` of the way from one tensor to another.
fn between<B: Kernels, const D: usize>(
    from: Tensor<B, D>,
    to: Tensor<B, D>,
    share: f64,
) -> Tensor<B, D> {
    let (mut from, to) = (from.into_primitive().tensor(), to.into_primitive().tensor());
    let whole = |bare| Tensor::<B, D>::from_primitive(TensorPrimitive::Float(bare));
    if let (Some(numbers), Some(to)) = (B::numbers_mut(&mut from), B::numbers(&to)) {
        let (kept, share) = ((1.0 - share) as f32, share as f32);
        for (number, to) in numbers.iter_mut().zip(to) {
            *number = *number * kept + to * share;
        }
        return whole(from);
    }
    whole(from).mul_scalar(1.0 - share) + whole(to).mul_scalar(share)
}

/// The share of the newest weights in an average over about `horizon` steps after `step` steps: early, when there is
/// little to average, it is large.
#[must_use]
pub fn share(step: u64, horizon: u64) -> f64 {
    1.0 / (horizon.max(1) as f64).min(1.0 + step as f64 / 10.0)
}

/// `average`, moved `share` of the way to `newest`; both have the same parameters.
#[must_use]
pub fn moved<B: Kernels, M: Module<B>>(average: M, newest: &M, share: f64) -> M {
    let mut to = Gathered::default();
    newest.visit(&mut to);
    average.map(&mut Mover { to, share })
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::nn::{Linear, LinearConfig};

    use super::*;

    #[test]
    fn an_average_moves_by_its_share() {
        let device = Default::default();
        let newest: Linear<Flex> = LinearConfig::new(3, 2).init(&device);
        let zero = newest.clone().map(&mut Zero);
        let sum = |layer: &Linear<Flex>| layer.weight.val().sum().into_scalar();
        assert_eq!(sum(&zero), 0.0);
        let quarter = moved(zero, &newest, 0.25);
        assert!((sum(&quarter) - 0.25 * sum(&newest)).abs() < 1e-6);
        assert!(share(0, 1000) > 0.99 && share(1_000_000, 1000) < 0.0011);
    }

    struct Zero;

    impl<B: Backend> ModuleMapper<B> for Zero {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let (id, tensor, mapper) = param.consume();
            Param::from_mapped_value(id, tensor.mul_scalar(0.0), mapper)
        }
    }
}
