//! The operations as PyTorch's library computes them, and their gradients as it computes those.
//!
//! burn has no convolution's gradient from a backend: it makes one out of further convolutions, that of a weight with kernels as
//! long as the clip. The library's own is not in its bindings either, except through its automatic gradients. So a convolution is
//! recorded there, alone, from copies of its inputs that share their numbers, and the product of its result with the
//! gradient goes back through it.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use burn::tensor::ops::FloatTensor;
use tch::{Device, Kind, Tensor};

use super::{Kernels, Operation, plain, plain_gradients};

impl Kernels for LibTorch {
    fn compute(operation: &Operation, inputs: Vec<TchTensor>) -> TchTensor {
        match operation {
            Operation::Leaky(slope) => TchTensor::new(leaky(&inputs[0].tensor, *slope)),
            Operation::Normed if on_cpu(&inputs) => TchTensor::new(normed(&inputs).0),
            _ => plain::<Self>(operation, inputs),
        }
    }

    fn record(
        operation: &Operation,
        inputs: Vec<TchTensor>,
        wanted: &[bool],
    ) -> (TchTensor, Vec<TchTensor>) {
        match operation {
            Operation::Conv(_) | Operation::Upsample(_) => {
                let leaves: Vec<TchTensor> = inputs
                    .iter()
                    .zip(wanted)
                    .map(|(input, &wanted)| TchTensor {
                        tensor: input.tensor.detach().set_requires_grad(wanted),
                        // While it is held, nobody writes over the numbers.
                        storage: input.storage.clone(),
                    })
                    .collect();
                let result = plain::<Self>(operation, leaves.clone());
                let bare = TchTensor::new(result.tensor.detach());
                (bare, std::iter::once(result).chain(leaves).collect())
            }
            Operation::Normed if on_cpu(&inputs) => {
                let (weight, norms) = normed(&inputs);
                let norms = TchTensor::new(norms);
                let kept = inputs.into_iter().chain(Some(norms)).collect();
                (TchTensor::new(weight), kept)
            }
            Operation::Normed => (Self::compute(operation, inputs.clone()), inputs),
            Operation::Leaky(_) => {
                let y = Self::compute(operation, inputs);
                (y.clone(), vec![y])
            }
        }
    }

    fn gradients(
        operation: &Operation,
        kept: Vec<TchTensor>,
        gradient: TchTensor,
        wanted: &[bool],
    ) -> Vec<Option<TchTensor>> {
        match operation {
            Operation::Conv(_) | Operation::Upsample(_) => {
                let (result, leaves) = kept.split_first().expect("`record` keeps the result");
                let product = result
                    .tensor
                    .reshape([-1])
                    .dot(&gradient.tensor.reshape([-1]));
                let asked: Vec<&Tensor> = leaves
                    .iter()
                    .zip(wanted)
                    .filter_map(|(leaf, &wanted)| wanted.then_some(&leaf.tensor))
                    .collect();
                let mut found = Tensor::run_backward(&[product], &asked, false, false).into_iter();
                let next = |&wanted: &bool| wanted.then(|| found.next()).flatten();
                let found: Vec<_> = wanted.iter().map(next).collect();
                found.into_iter().map(|g| g.map(TchTensor::new)).collect()
            }
            Operation::Normed if kept.len() == 3 => {
                let [direction, length, norms] = [0, 1, 2].map(|n| kept[n].tensor.contiguous());
                let gradient = gradient.tensor.contiguous();
                let (direction, length) = Tensor::internal_weight_norm_interface_backward(
                    &gradient, &direction, &length, &norms, 0,
                );
                let found = [direction, length].into_iter().zip(wanted);
                found
                    .map(|(found, &wanted)| wanted.then(|| TchTensor::new(found)))
                    .collect()
            }
            Operation::Normed => plain_gradients::<Self>(operation, &kept, gradient, wanted),
            Operation::Leaky(slope) => {
                let (y, gradient) = (&kept[0].tensor, &gradient.tensor);
                let found = y.leaky_relu_backward(gradient, f64::from(*slope), true);
                vec![Some(TchTensor::new(found))]
            }
        }
    }

    fn numbers(tensor: &FloatTensor<Self>) -> Option<&[f32]> {
        let bare = &tensor.tensor;
        lies_in_order(bare).then(|| {
            // SAFETY: that many floats lie there in order, and they live and stay the same as long as `tensor` is borrowed:
            // whoever shares the storage copies before writing.
            unsafe { std::slice::from_raw_parts(bare.data_ptr().cast::<f32>(), bare.numel()) }
        })
    }

    fn numbers_mut(tensor: &mut FloatTensor<Self>) -> Option<&mut [f32]> {
        if !lies_in_order(&tensor.tensor) {
            return None;
        }
        if !tensor.can_mut() {
            *tensor = TchTensor::new(tensor.tensor.copy());
        }
        let bare = &tensor.tensor;
        // SAFETY: that many floats lie there in order, and no other tensor sees them.
        Some(unsafe { std::slice::from_raw_parts_mut(bare.data_ptr().cast::<f32>(), bare.numel()) })
    }
}

fn lies_in_order(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu
        && tensor.kind() == Kind::Float
        && tensor.is_contiguous()
        && tensor.numel() > 0
}

fn on_cpu(tensors: &[TchTensor]) -> bool {
    tensors.iter().all(|t| t.tensor.device() == Device::Cpu)
}

/// The rectifier has no slope in the bindings; its gradient has, and with x for the gradient too it is the rectifier.
fn leaky(x: &Tensor, slope: f32) -> Tensor {
    x.leaky_relu_backward(x, f64::from(slope), false)
}

/// The weight, and the lengths of the direction.
fn normed(inputs: &[TchTensor]) -> (Tensor, Tensor) {
    let [direction, length] = [0, 1].map(|n| inputs[n].tensor.contiguous());
    Tensor::internal_weight_norm_interface(&direction, &length, 0)
}
