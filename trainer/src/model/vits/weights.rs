//! Where the weights of a network come from: a checkpoint, or a random start.

use crate::random::Random;

/// How a tensor starts when there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// All the same.
    Constant(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Uniform within ± this.
    Uniform(f32),
    /// Normal with this standard deviation, the same along the last axis but for a raised cosine over it.
    Swelling(f32),
}

/// Why weights can not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// The checkpoint does not have the tensor.
    #[error(
        "the tensor \"{name}\": expected one of shape {expected:?}, found none of that name; give a whole checkpoint, and the \
         settings it was trained with (config.json; RVC's are inside)"
    )]
    Missing {
        /// Its name.
        name: String,
        /// Its shape by the configuration.
        expected: Vec<usize>,
    },
    /// It has another shape.
    #[error(
        "the tensor \"{name}\": expected shape {expected:?} by the settings, found {found:?}; give the checkpoint with the \
         settings it was trained with (config.json; RVC's are inside)"
    )]
    Shape {
        /// Its name.
        name: String,
        /// Its shape by the configuration.
        expected: Vec<usize>,
        /// Its shape in the checkpoint.
        found: Vec<usize>,
    },
    /// It can not be read.
    #[error("the tensor \"{name}\" can not be read: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// It is not finite.
    #[error(
        "the tensor \"{name}\": expected finite numbers, found infinite ones or none at all; the training failed or the file is \
         damaged: give an earlier checkpoint, or copy or download it again"
    )]
    NotFinite {
        /// Its name.
        name: String,
    },
}

/// Gives tensors by the names of the original implementations.
pub trait WeightSource {
    /// The values of `name`, last axis fastest.
    ///
    /// # Errors
    /// There is no such tensor of that shape.
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>, WeightError>;

    /// The shape of `name`, when it is known to be there; `None` for a random start.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// Whether the convolution `name` is kept in two parts, depth-wise and point-wise.
    fn splits(&self, _name: &str) -> bool {
        false
    }
}

/// A random start, the same for the same seed.
#[derive(Debug)]
pub struct RandomStart(pub Random);

impl WeightSource for RandomStart {
    fn tensor(
        &mut self,
        _name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        let count = shape.iter().product();
        if let Start::Swelling(deviation) = start {
            let length = shape.last().copied().unwrap_or(1);
            let turn = std::f32::consts::TAU / length as f32;
            let swell = |n: usize| 0.5 - 0.5 * (turn * (n as f32 + 0.5)).cos();
            return Ok((0..count / length.max(1))
                .flat_map(|_| {
                    let level = deviation * self.0.normal();
                    (0..length).map(move |n| level * swell(n))
                })
                .collect());
        }
        Ok((0..count)
            .map(|_| match start {
                Start::Constant(value) => value,
                Start::Normal(deviation) => deviation * self.0.normal(),
                Start::Uniform(bound) => self.0.uniform(-bound, bound),
                Start::Swelling(_) => 0.0,
            })
            .collect())
    }

    fn shape(&self, _name: &str) -> Option<Vec<usize>> {
        None
    }
}

/// `values` when they have the expected shape and are finite.
///
/// # Errors
/// They do not, or are not.
pub fn checked(
    name: &str,
    expected: &[usize],
    found: &[usize],
    values: Vec<f32>,
) -> Result<Vec<f32>, WeightError> {
    if expected != found {
        return Err(WeightError::Shape {
            name: name.to_owned(),
            expected: expected.to_vec(),
            found: found.to_vec(),
        });
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(WeightError::NotFinite {
            name: name.to_owned(),
        });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swelling_kernels_of_half_overlap_keep_what_is_constant() {
        let mut start = RandomStart(Random::new(1, 0));
        let (stride, kernel) = (10, 20);
        let taps = start
            .tensor("up", &[3, 2, kernel], Start::Swelling(1.0))
            .unwrap();
        for row in taps.chunks_exact(kernel) {
            let sums: Vec<f32> = (0..stride).map(|n| row[n] + row[n + stride]).collect();
            for sum in &sums {
                assert!(
                    (sum - sums[0]).abs() < 1e-6 * sums[0].abs().max(1.0),
                    "{sums:?}"
                );
            }
        }
        assert_ne!(taps[5], taps[kernel + 5]);
    }
}
