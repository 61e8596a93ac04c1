//! A state dictionary as the source of a network's weights.

use super::{StateDict, split};
use crate::model::vits::weights::{Start, WeightError, WeightSource, checked};

/// Reads tensors from a checkpoint when the network asks for them.
#[derive(Debug)]
pub struct CheckpointWeights<'a>(pub &'a StateDict);

impl WeightSource for CheckpointWeights<'_> {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        _start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        if !self.0.contains_key(name) && split::shape(self.0, name).is_some() {
            let values = split::folded(self.0, name, shape)?;
            return checked(name, shape, shape, values);
        }
        values(self.0, name, shape)
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let tensor = self.0.get(name).map(|tensor| tensor.shape().to_vec());
        tensor.or_else(|| split::shape(self.0, name))
    }

    fn splits(&self, name: &str) -> bool {
        split::is_split(self.0, name)
    }
}

/// The values of the tensor `name`.
///
/// # Errors
/// It is not there, of another shape, or cannot be read.
pub(super) fn values(
    weights: &StateDict,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, WeightError> {
    let Some(tensor) = weights.get(name) else {
        return Err(WeightError::Missing {
            name: name.to_owned(),
            expected: shape.to_vec(),
        });
    };
    if tensor.shape() != shape {
        return Err(WeightError::Shape {
            name: name.to_owned(),
            expected: shape.to_vec(),
            found: tensor.shape().to_vec(),
        });
    }
    let values = tensor.to_f32().map_err(|error| WeightError::Unreadable {
        name: name.to_owned(),
        reason: error.to_string(),
    })?;
    checked(name, shape, tensor.shape(), values)
}
