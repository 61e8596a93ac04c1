//! Numbers of a tensor of the pure Rust backend.

use burn::backend::Flex;
use burn::tensor::DType;
use burn::tensor::ops::FloatTensor;

use super::Kernels;

impl Kernels for Flex {
    fn numbers(tensor: &FloatTensor<Self>) -> Option<&[f32]> {
        tensor.as_slice()
    }

    fn numbers_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]> {
        let (from, to) = tensor.layout().contiguous_offsets()?;
        (tensor.dtype() == DType::F32).then(|| &mut tensor.storage_mut()[from..to])
    }
}
