//! One recorded step for each operation.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::{Kernels, Operation};

/// An operation with `N` inputs.
#[derive(Debug)]
struct Recorded<const N: usize>;

impl<B: Kernels, const N: usize> Backward<B, N> for Recorded<N> {
    type State = (Operation, Vec<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (operation, kept) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = B::gradients(&operation, kept, gradient, &wanted);
        for (parent, gradient) in ops.parents.iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn compute(operation: &Operation, inputs: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        let inputs = match <[_; 1]>::try_from(inputs) {
            Ok(inputs) => return recorded::<B, C, 1>(operation, inputs),
            Err(inputs) => inputs,
        };
        let inputs = match <[_; 2]>::try_from(inputs) {
            Ok(inputs) => return recorded::<B, C, 2>(operation, inputs),
            Err(inputs) => inputs,
        };
        let inputs = <[_; 3]>::try_from(inputs);
        recorded::<B, C, 3>(operation, inputs.expect("no operation has more inputs"))
    }
}

fn recorded<B: Kernels, C: CheckpointStrategy, const N: usize>(
    operation: &Operation,
    inputs: [FloatTensor<Autodiff<B, C>>; N],
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let wanted = inputs.each_ref().map(|input| input.is_tracked());
    let inputs = inputs.map(|input| input.primitive).into();
    match Recorded::<N>.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let (result, kept) = B::record(operation, inputs, &wanted);
            step.finish((operation.clone(), kept), result)
        }
        OpsKind::UnTracked(step) => step.finish(B::compute(operation, inputs)),
    }
}
