//! The first weights of a training: random, or those of an imported base where they fit.

use crate::import::StateDict;
use crate::import::weights::CheckpointWeights;
use crate::model::vits::weights::{RandomStart, Start, WeightError, WeightSource};
use crate::random::Random;

/// What a base gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Tensors that were taken.
    pub taken: usize,
    /// Names of tensors the base does not have.
    pub missing: Vec<String>,
    /// Names, expected and found shapes of tensors of another shape.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Taken {
    /// What to tell: one line, and one for each tensor of another shape.
    #[must_use]
    pub fn lines(&self, base: &str) -> Vec<String> {
        let mut lines = vec![format!(
            "{base}: {} tensors taken, {} of another shape, {} not there; the rest starts at random",
            self.taken,
            self.mismatched.len(),
            self.missing.len()
        )];
        for (name, expected, found) in &self.mismatched {
            lines.push(format!("  {name}: expected {expected:?}, found {found:?}"));
        }
        for name in &self.missing {
            lines.push(format!("  {name}: not there"));
        }
        lines
    }
}

/// Weights of a base where name and shape fit, random ones elsewhere.
#[derive(Debug)]
pub struct WarmStart<'a> {
    base: &'a StateDict,
    random: RandomStart,
    /// What was taken so far.
    pub taken: Taken,
}

impl<'a> WarmStart<'a> {
    /// From `base`; what is not there is drawn from `seed`.
    #[must_use]
    pub fn new(base: &'a StateDict, seed: u64) -> Self {
        Self {
            base,
            random: RandomStart(Random::new(seed, 0)),
            taken: Taken::default(),
        }
    }
}

impl WeightSource for WarmStart<'_> {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        match self.base.get(name).map(|tensor| tensor.shape().to_vec()) {
            Some(found) if found == shape => {
                self.taken.taken += 1;
                CheckpointWeights(self.base).tensor(name, shape, start)
            }
            Some(found) => {
                let mismatch = (name.to_owned(), shape.to_vec(), found);
                self.taken.mismatched.push(mismatch);
                self.random.tensor(name, shape, start)
            }
            None => {
                self.taken.missing.push(name.to_owned());
                self.random.tensor(name, shape, start)
            }
        }
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.base.get(name).map(|tensor| tensor.shape().to_vec())
    }
}
