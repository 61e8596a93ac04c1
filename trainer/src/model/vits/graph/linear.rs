//! Linear layers as nodes, and how values lie in memory.
//!
//! A step has few frames, so that a linear layer costs what reading its weights costs. Those are kept `[inputs, outputs]`
//! and multiplied from the right, the form that runtimes pack and read once; values then lie in *rows*, the channels of
//! a frame side by side. Everything else wants *columns*, the frames of a channel side by side; a value is turned when
//! somebody wants it otherwise, and once.

use crate::kernels::Kernels;

use super::{Node, WriteGraph};
use crate::model::causal::to_vec;
use crate::model::vits::layers::Conv;

/// Weights of a layer from which on it is worth turning its input into rows.
const LARGE: usize = 1 << 18;

impl<B: Kernels> WriteGraph<B> {
    /// The value in rows.
    pub(crate) fn rows(&mut self, x: &Node) -> Node {
        self.turned(x, true)
    }

    /// The value in columns.
    pub(super) fn columns(&mut self, x: &Node) -> Node {
        self.turned(x, false)
    }

    fn turned(&mut self, x: &Node, in_rows: bool) -> Node {
        if x.in_rows == in_rows {
            return x.clone();
        }
        let name = self.once(&format!("turned {}", x.name), |this| {
            this.transpose(&x.name, &[0, 2, 1])
        });
        self.known.insert(format!("turned {name}"), x.name.clone());
        Node {
            name,
            in_rows,
            ..x.clone()
        }
    }

    /// The layer as a product of matrices, where it is one and that is the better form.
    pub(super) fn linear(&mut self, x: &Node, conv: &Conv<B>) -> Option<Node> {
        let shape = conv.shape;
        let is_linear = (shape.kernel, shape.stride, shape.groups) == (1, 1, 1)
            && shape.left + shape.right == 0;
        if !is_linear {
            return None;
        }
        if self.mixtures.contains_key(&x.name) {
            return Some(self.of_mixture(x, conv));
        }
        let large = x.unit == 1 && shape.inputs * shape.outputs >= LARGE;
        if !(x.in_rows || large) {
            return None;
        }
        let x = self.rows(x);
        let weight = conv.kernel.weight().reshape([shape.outputs, shape.inputs]);
        let values = to_vec(weight.transpose());
        let kept = [shape.inputs, shape.outputs];
        let weight = self.graph.builder.f32s(&kept, &values);
        let mut name = self.op("MatMul", &[&x.name, &weight], vec![]);
        if let Some(bias) = &conv.kernel.bias {
            let bias = self.vector(bias);
            name = self.op("Add", &[&name, &bias], vec![]);
        }
        Some(Node {
            name,
            channels: shape.outputs,
            ..x
        })
    }

    /// A layer of a mixture of rows of a table is the mixture of the layer of each row, which is known beforehand.
    fn of_mixture(&mut self, x: &Node, conv: &Conv<B>) -> Node {
        let (mix, table) = self.mixtures[&x.name].clone();
        let (rows, outputs) = (table.dims()[0], conv.shape.outputs);
        let weight = conv.kernel.weight().reshape([outputs, conv.shape.inputs]);
        let values = to_vec(weight.matmul(table.transpose()));
        let made = self.graph.builder.f32s(&[outputs, rows], &values);
        let mut name = self.op("MatMul", &[&made, &mix], vec![]);
        if let Some(bias) = &conv.kernel.bias {
            let values = to_vec(bias.val());
            let bias = self.graph.builder.f32s(&[outputs, 1], &values);
            name = self.op("Add", &[&name, &bias], vec![]);
        }
        Node {
            name,
            channels: outputs,
            ..x.clone()
        }
    }
}
