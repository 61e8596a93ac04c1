//! AdamW in one pass over memory where a backend's numbers can be reached, and burn's own elsewhere.
//!
//! Both take the same step with the same state, so a checkpoint of one goes on with the other.
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (1711.05101).

use burn::optim::{
    AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, LearningRate, SimpleOptimizer,
};
use burn::tensor::{Tensor, TensorPrimitive};
use rayon::prelude::*;

use crate::kernels::Kernels;

/// Numbers a thread works on at once.
const CHUNK: usize = 1 << 16;

/// The settings of an [`AdamWOnePass`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// What is kept of the mean gradient in a step.
    pub beta_1: f32,
    /// What is kept of the mean squared gradient in a step.
    pub beta_2: f32,
    /// Added to the root of the latter.
    pub epsilon: f32,
    /// Share of a weight taken off in a step, per learning rate.
    pub weight_decay: f32,
}

/// The optimiser.
#[derive(Clone)]
pub struct AdamWOnePass {
    settings: AdamWSettings,
    elsewhere: AdamW,
}

impl AdamWOnePass {
    /// With these settings.
    #[must_use]
    pub fn new(settings: AdamWSettings) -> Self {
        let elsewhere = AdamWConfig::new()
            .with_beta_1(settings.beta_1)
            .with_beta_2(settings.beta_2)
            .with_epsilon(settings.epsilon)
            .with_weight_decay(settings.weight_decay)
            .build();
        Self {
            settings,
            elsewhere,
        }
    }

    /// Steps `weights` and both moments for the `time`th time.
    fn one_pass(
        &self,
        rate: LearningRate,
        time: usize,
        [weights, moments_1, moments_2]: [&mut [f32]; 3],
        gradients: &[f32],
    ) {
        let AdamWSettings {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
        } = self.settings;
        let kept = (1.0 - rate * f64::from(weight_decay)) as f32;
        let rate = rate as f32;
        // What is missing of either moment, which began at 0.
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        let (share_1, share_2) = (1.0 - beta_1.powi(time), 1.0 - beta_2.powi(time));
        weights
            .par_chunks_mut(CHUNK)
            .zip(moments_1.par_chunks_mut(CHUNK))
            .zip(moments_2.par_chunks_mut(CHUNK))
            .zip(gradients.par_chunks(CHUNK))
            .for_each(|(((weights, moments_1), moments_2), gradients)| {
                let places = weights.iter_mut().zip(moments_1).zip(moments_2);
                for (((weight, moment_1), moment_2), &gradient) in places.zip(gradients) {
                    *moment_1 = *moment_1 * beta_1 + gradient * (1.0 - beta_1);
                    *moment_2 = *moment_2 * beta_2 + gradient * gradient * (1.0 - beta_2);
                    let step = *moment_1 / share_1 / ((*moment_2 / share_2).sqrt() + epsilon);
                    *weight = *weight * kept - step * rate;
                }
            });
    }
}

impl<B: Kernels> SimpleOptimizer<B> for AdamWOnePass {
    type State<const D: usize> = AdamWState<B, D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<B, D>,
        gradient: Tensor<B, D>,
        state: Option<AdamWState<B, D>>,
    ) -> (Tensor<B, D>, Option<AdamWState<B, D>>) {
        let mut state = state.unwrap_or_else(|| {
            let zeros = || Tensor::zeros(tensor.dims(), &tensor.device());
            AdamWState::new(AdaptiveMomentumState::new(0, zeros(), zeros()))
        });
        let bare = |tensor: Tensor<B, D>| tensor.into_primitive().tensor();
        let AdaptiveMomentumState {
            time,
            moment_1,
            moment_2,
            ..
        } = state.momentum;
        let (mut weights, gradients) = (bare(tensor), bare(gradient));
        let (mut moment_1, mut moment_2) = (bare(moment_1), bare(moment_2));
        let in_place = match (
            B::numbers_mut(&mut weights),
            B::numbers_mut(&mut moment_1),
            B::numbers_mut(&mut moment_2),
            B::numbers(&gradients),
        ) {
            (Some(weights), Some(first), Some(second), Some(gradients)) => {
                self.one_pass(rate, time + 1, [weights, first, second], gradients);
                true
            }
            _ => false,
        };
        let whole = |bare| Tensor::from_primitive(TensorPrimitive::Float(bare));
        state.momentum = AdaptiveMomentumState::new(time, whole(moment_1), whole(moment_2));
        if in_place {
            state.momentum.time += 1;
            return (whole(weights), Some(state));
        }
        self.elsewhere
            .step(rate, whole(weights), whole(gradients), Some(state))
    }

    fn to_device<const D: usize>(state: AdamWState<B, D>, device: &B::Device) -> AdamWState<B, D> {
        <AdamW as SimpleOptimizer<B>>::to_device(state, device)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn one_pass_takes_the_steps_that_burn_takes() {
        let device = Default::default();
        let settings = AdamWSettings {
            beta_1: 0.8,
            beta_2: 0.99,
            epsilon: 1e-9,
            weight_decay: 0.01,
        };
        let optimizer = AdamWOnePass::new(settings);
        let random = || Tensor::<Flex, 2>::random([7, 9], Distribution::Normal(0.0, 1.0), &device);
        let start = random();
        let (mut one, mut other) = ((start.clone(), None), (start.clone(), None));
        for _ in 0..5 {
            let gradient = random();
            one = optimizer.step(1e-2, one.0, gradient.clone(), one.1);
            other = optimizer.elsewhere.step(1e-2, other.0, gradient, other.1);
        }
        let numbers = |tensor: &Tensor<Flex, 2>| tensor.to_data().to_vec::<f32>().unwrap();
        for (found, expected) in numbers(&one.0).iter().zip(numbers(&other.0)) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{found}, expected {expected}"
            );
        }
        assert_ne!(numbers(&one.0), numbers(&start));
        assert_eq!(one.1.unwrap().momentum.time, 5);
    }
}
