//! What the critics and the singer lower.
//!
//! Source: Mao et al., least-squares GAN (1611.04076); Kim et al., VITS (2106.06103) for the rest.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::critics::Maps;

/// Weight of the distance of mel spectrograms.
pub const MEL_WEIGHT: f32 = 45.0;
/// Weight of the distance between posterior and prior.
pub const KL_WEIGHT: f32 = 1.0;
/// Weight of the distance of feature maps.
pub const MAPS_WEIGHT: f32 = 2.0;

fn mean_square<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 1> {
    (x.clone() * x).mean()
}

fn sum<B: Backend>(terms: Vec<Tensor<B, 1>>) -> Tensor<B, 1> {
    Tensor::cat(terms, 0).sum()
}

/// The critics' own loss, summed over them: 1 for recordings, 0 for renderings.
pub fn judge<B: Backend>(recorded: &[Maps<B>], rendered: &[Maps<B>]) -> Tensor<B, 1> {
    let verdict = |maps: &Maps<B>| maps[maps.len() - 1].clone();
    sum(recorded
        .iter()
        .zip(rendered)
        .map(|(real, fake)| mean_square(verdict(real) - 1.0) + mean_square(verdict(fake)))
        .collect())
}

/// What a rendering should lower: (distance of the verdicts from 1, distance of the feature maps), summed.
pub fn persuade<B: Backend>(
    recorded: &[Maps<B>],
    rendered: &[Maps<B>],
) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let (mut verdicts, mut maps) = (Vec::new(), Vec::new());
    for (real, fake) in recorded.iter().zip(rendered) {
        let last = fake.len() - 1;
        verdicts.push(mean_square(fake[last].clone() - 1.0));
        for (real, fake) in real.iter().zip(fake) {
            maps.push((real.clone().detach() - fake.clone()).abs().mean());
        }
    }
    (sum(verdicts), sum(maps))
}

/// Mean and logarithm of the deviation of a normal distribution per place, `[B, C, T]` each.
#[derive(Debug, Clone)]
pub struct Statistics<B: Backend> {
    /// Mean.
    pub mean: Tensor<B, 3>,
    /// Logarithm of the deviation.
    pub log_deviation: Tensor<B, 3>,
}

/// Divergence of the posterior from the prior in nats per frame, by one sample of the posterior seen through the flow,
/// `[B, C, T]`; `mask` `[B, 1, T]`.
pub fn divergence<B: Backend>(
    sample: &Tensor<B, 3>,
    posterior_log_deviation: &Tensor<B, 3>,
    prior: &Statistics<B>,
    mask: &Tensor<B, 3>,
) -> Tensor<B, 1> {
    let distance = sample.clone() - prior.mean.clone();
    let precision = prior.log_deviation.clone().mul_scalar(-2.0).exp();
    let nats = prior.log_deviation.clone() - posterior_log_deviation.clone() - 0.5
        + (distance.clone() * distance * precision).mul_scalar(0.5);
    (nats * mask.clone()).sum() / mask.clone().sum()
}

/// Mean square distance of predicted and true logarithmic F0 over the frames of `mask`; all `[B, 1, T]`.
pub fn f0_distance<B: Backend>(
    predicted: &Tensor<B, 3>,
    truth: &Tensor<B, 3>,
    mask: &Tensor<B, 3>,
) -> Tensor<B, 1> {
    let difference = (predicted.clone() - truth.clone()) * mask.clone();
    (difference.clone() * difference).sum() / mask.clone().sum()
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::ElementConversion as _;

    use super::*;
    use crate::model::causal::from_vec;
    use crate::random::Random;

    #[test]
    fn the_divergence_of_equal_distributions_is_zero_and_of_others_is_known() {
        let device = Default::default();
        let shape = [1, 4, 5_000];
        let mut random = Random::new(3, 0);
        let unit: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let full = |value: f32| from_vec::<Flex, 3>(vec![value; 20_000], shape, &device);
        // Posterior N(1, e^-1), prior N(0, 1): 4 channels of (0 + 1 - 1/2 + (e^-2 + 1) / 2) nats.
        let sample =
            from_vec::<Flex, 3>(unit.clone(), shape, &device).mul_scalar((-1f32).exp()) + 1.0;
        let prior = Statistics {
            mean: full(0.0),
            log_deviation: full(0.0),
        };
        let mask = from_vec::<Flex, 3>(vec![1.0; 5_000], [1, 1, 5_000], &device);
        let found = divergence(&sample, &full(-1.0), &prior, &mask)
            .into_scalar()
            .elem::<f32>();
        let expected = 4.0 * (0.5 + ((-2f32).exp() + 1.0) / 2.0);
        assert!(
            (found / expected - 1.0).abs() < 0.02,
            "{found}, expected {expected}"
        );

        let prior = Statistics {
            mean: full(1.0),
            log_deviation: full(-1.0),
        };
        let found = divergence(&sample, &full(-1.0), &prior, &mask)
            .into_scalar()
            .elem::<f32>();
        assert!(found.abs() < 0.05, "{found}");
    }
}
