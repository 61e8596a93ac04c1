//! Numbers of a tensor of the pure Rust backend.

use burn::backend::Flex;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;

use super::{Kernels, Operation, plain_gradients};

impl Kernels for Flex {
    fn gradients(
        operation: &Operation,
        kept: Vec<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        wanted: &[bool],
    ) -> Vec<Option<FloatTensor<Self>>> {
        // A weight's gradient comes with its axes exchanged, and what is not in order is walked through number by number.
        let gradient = match operation {
            Operation::Normed => in_order(gradient),
            _ => gradient,
        };
        plain_gradients::<Self>(operation, &kept, gradient, wanted)
    }

    fn numbers(tensor: &FloatTensor<Self>) -> Option<&[f32]> {
        tensor.as_slice()
    }

    fn numbers_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]> {
        let (from, to) = tensor.layout().contiguous_offsets()?;
        (tensor.dtype() == DType::F32).then(|| &mut tensor.storage_mut()[from..to])
    }
}

/// The same tensor, its numbers in the order of their places.
fn in_order(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() || tensor.dtype() != DType::F32 {
        return tensor;
    }
    let layout = tensor.layout();
    let (&[rows, columns, run], &[row, column, 1]) = (layout.shape().as_slice(), layout.strides())
    else {
        return tensor.to_contiguous();
    };
    let numbers: &[f32] = tensor.storage();
    let mut ordered = Vec::with_capacity(rows * columns * run);
    for r in 0..rows {
        for c in 0..columns {
            let start = layout.start_offset() as isize + r as isize * row + c as isize * column;
            ordered.extend_from_slice(&numbers[start as usize..][..run]);
        }
    }
    FlexTensor::from_data(TensorData::new(ordered, [rows, columns, run]))
}
