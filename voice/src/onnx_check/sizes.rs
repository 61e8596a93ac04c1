//! The shape of every tensor of a graph, from the shapes of its inputs.

mod shapes;

use std::collections::HashMap;

use self::shapes::output;
use super::{MAX_NUMBERS, MAX_RANK, MAX_WORK, Node, Result, Tensor, limited, refused};
use crate::onnx_writer::{FLOAT16, UINT8};

/// Follows `nodes` in their order; every tensor is within the limits for so many frames, or the graph is refused.
pub fn walk<'a>(
    nodes: &[Node<'a>],
    mut tensors: HashMap<&'a str, Tensor>,
    frames: u64,
) -> Result<()> {
    let most_numbers = MAX_NUMBERS.saturating_mul(frames);
    let most_work = MAX_WORK.saturating_mul(frames);
    let (mut numbers, mut work) = (0u64, 0u64);
    for node in nodes {
        let what = || format!("{} for {}", node.op, node.output);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &name in &node.inputs {
            let tensor = tensors.get(name);
            if tensor.is_none() && !name.is_empty() {
                return Err(refused(&what(), "inputs from nodes before it", name));
            }
            inputs.push(tensor);
        }
        if !OPERATORS.contains(&node.op) && node.op != QUANTISED {
            return Err(refused(&what(), &OPERATORS.join(", "), node.op));
        }
        for (place, input) in inputs.iter().enumerate() {
            let kind = input.and_then(|tensor| tensor.constant);
            let fits = match kind {
                Some(UINT8) => node.op == QUANTISED && place == 1,
                Some(FLOAT16) => node.op == "Cast",
                _ => true,
            };
            if !fits {
                let expected = format!("uint8 in {QUANTISED} alone, float16 in Cast alone");
                return Err(refused(&what(), &expected, node.inputs[place]));
            }
        }
        let output = output(node, &inputs).ok_or_else(|| {
            let shapes: Vec<_> = inputs
                .iter()
                .map(|input| input.map(|tensor| &tensor.shape))
                .collect();
            refused(
                &what(),
                "inputs that fit, of a size known before it runs",
                format!("{shapes:?}"),
            )
        })?;
        limited(
            "extents of a tensor",
            output.shape.len() as u64,
            MAX_RANK as u64,
        )?;
        numbers = numbers.saturating_add(count(&output.shape));
        limited("numbers computed for its frames", numbers, most_numbers)?;
        work = work.saturating_add(multiplications(node, &inputs, &output));
        limited("multiplications for its frames", work, most_work)?;
        if tensors.insert(node.output, output).is_some() {
            return Err(refused("tensors", "each name once", node.output));
        }
    }
    Ok(())
}

/// The one operator that is the runtime's own: a product with weights of 8 bits.
pub const QUANTISED: &str = "MatMulNBits";

/// The operators that graphs of voices use.
pub const OPERATORS: [&str; 56] = [
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Floor",
    "Gather",
    "GatherElements",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Pad",
    "Pow",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Round",
    "Shape",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Numbers of a tensor; an extent of 0 does not hide the others.
fn count(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product: u64, &extent| {
        product.saturating_mul(extent.max(1))
    })
}

fn multiplications(node: &Node<'_>, inputs: &[Option<&Tensor>], output: &Tensor) -> u64 {
    let shape_of = |index: usize| {
        inputs
            .get(index)
            .copied()
            .flatten()
            .map_or(&[][..], |tensor| &tensor.shape[..])
    };
    let (numbers, inner) = match node.op {
        "MatMul" | QUANTISED => (count(&output.shape), shape_of(0).last().copied()),
        "Conv" => (count(&output.shape), shape_of(1).get(1..).map(count)),
        "ConvTranspose" => (count(shape_of(0)), shape_of(1).get(1..).map(count)),
        _ => (count(&output.shape), None),
    };
    numbers.saturating_mul(inner.unwrap_or(1).max(1))
}
