//! Layers as products of matrices, and how values lie in memory.
//!
//! A step has few frames, so that a layer of one sample a frame costs what reading its weights costs. Those are kept
//! `[inputs, outputs]` and multiplied from the right, the form that runtimes pack and read once, and can read in 8 bits;
//! values then lie in *rows*, the channels of a frame side by side. Everything else wants *columns*, the frames of a channel
//! side by side; a value is turned when somebody wants it otherwise, and once.

use timbra_voice::onnx_writer::Attr;

use crate::kernels::Kernels;

use super::{Node, WriteGraph};
use crate::model::causal::to_vec;
use crate::model::vits::layers::Conv;

/// Weights of a layer from which on it is worth turning its input into rows.
const LARGE: usize = 1 << 18;
/// The same where there are only the few frames of a step, and of a convolution's group.
const LARGE_FOR_FEW: usize = 1 << 9;

impl<B: Kernels> WriteGraph<B> {
    /// The value in rows.
    pub(crate) fn rows(&mut self, x: &Node) -> Node {
        self.turned(x, true)
    }

    /// The value in columns.
    pub(super) fn columns(&mut self, x: &Node) -> Node {
        self.turned(x, false)
    }

    /// Whether rows are what such a value had better lie in: it has one sample for each of the few frames of a step.
    pub(super) fn in_few_rows(&self, x: &Node) -> bool {
        self.counting.is_some() && x.unit == 1
    }

    pub(super) fn turned(&mut self, x: &Node, in_rows: bool) -> Node {
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
        let few = self.in_few_rows(x);
        let enough = if few { LARGE_FOR_FEW } else { LARGE };
        let large = x.unit == 1 && shape.inputs * shape.outputs >= enough;
        if !(x.in_rows || large) {
            return None;
        }
        let x = self.rows(x);
        let weight = conv.kernel.weight().reshape([shape.outputs, shape.inputs]);
        let values = to_vec(weight.transpose());
        let kept = [shape.inputs, shape.outputs];
        let weight = self.graph.builder.f32s(&kept, &values);
        let name = self.op("MatMul", &[&x.name, &weight], vec![]);
        let name = self.with_bias(name, conv);
        Some(Node {
            name,
            channels: shape.outputs,
            ..x
        })
    }

    /// What a product in rows is with the layer's bias, if it has one.
    fn with_bias(&mut self, product: String, conv: &Conv<B>) -> String {
        let Some(bias) = &conv.kernel.bias else {
            return product;
        };
        let bias = self.vector(bias);
        self.op("Add", &[&product, &bias], vec![])
    }

    /// The convolution as products of matrices, one for each group of channels, where there are few frames.
    pub(super) fn product(&mut self, x: &Node, conv: &Conv<B>) -> Option<Node> {
        let shape = conv.shape;
        let (inputs, outputs) = (shape.inputs / shape.groups, shape.outputs / shape.groups);
        let large = inputs * shape.kernel * outputs >= LARGE_FOR_FEW;
        let keeps_frames =
            shape.stride == 1 && shape.left + shape.right == (shape.kernel - 1) * shape.dilation;
        if !(large && keeps_frames && self.in_few_rows(x)) {
            return None;
        }
        let x = self.rows(x);
        let (windows, delay) = self.windows(&x, conv);
        let width = shape.kernel * inputs;
        let parts = if shape.groups == 1 {
            vec![self.reshape(&windows, &[1, -1, width as i64])]
        } else {
            let (kernel, groups) = (shape.kernel as i64, shape.groups as i64);
            let apart = self.reshape(&windows, &[-1, kernel, groups, inputs as i64]);
            let apart = self.transpose(&apart, &[2, 0, 1, 3]);
            let apart = self.reshape(&apart, &[groups, -1, width as i64]);
            let group = |this: &mut Self, group: i64| {
                let (start, end) = (this.ints(&[group]), this.ints(&[group + 1]));
                this.slice(&apart, 0, &start, &end)
            };
            (0..groups).map(|n| group(self, n)).collect()
        };
        // [outputs, inputs, taps] as [taps · inputs, outputs].
        let weight = conv.kernel.weight();
        let products: Vec<String> = parts
            .iter()
            .enumerate()
            .map(|(group, part)| {
                let own = weight.clone().narrow(0, group * outputs, outputs);
                let own = to_vec(own.permute([2, 1, 0]).reshape([width, outputs]));
                let own = self.graph.builder.f32s(&[width, outputs], &own);
                self.op("MatMul", &[part, &own], vec![])
            })
            .collect();
        let mut name = products[0].clone();
        if products.len() > 1 {
            let products: Vec<&str> = products.iter().map(String::as_str).collect();
            name = self.op("Concat", &products, vec![Attr::Int("axis", 2)]);
        }
        let name = self.with_bias(name, conv);
        Some(Node {
            name,
            channels: shape.outputs,
            delay,
            ..x
        })
    }

    /// For each frame of a value in rows the frames that the taps of a convolution see, `[1, T, taps, channels]`, and how
    /// late what is made of them is.
    fn windows(&mut self, x: &Node, conv: &Conv<B>) -> (String, Option<usize>) {
        let shape = conv.shape;
        let (left, right) = (shape.left, shape.right);
        let (seen, delay) = match x.delay {
            None => {
                let mut seen = self.carry_provisional(x, left);
                if right > 0 {
                    let nothing = self.once(&format!("nothing {right} {}", x.channels), |this| {
                        let zeros = vec![0.0; right * x.channels];
                        this.graph.builder.f32s(&x.shape(right), &zeros)
                    });
                    let axis = Attr::Int("axis", 1);
                    seen = self.op("Concat", &[&seen, &nothing], vec![axis]);
                }
                (seen, None)
            }
            Some(delay) => {
                let begun = self.begun(x);
                let seen = self.carry_settled(&begun, left + right);
                (seen, Some(delay + right))
            }
        };
        let all = x.delay.is_none();
        let frames = self.numbers(all, 1, 0);
        let key = format!("taps {all} {} {}", shape.kernel, shape.dilation);
        let seen_by = self.once(&key, |this| {
            let taps = (0..shape.kernel).map(|tap| (tap * shape.dilation) as i64);
            let (column, taps) = (this.ints(&[1]), this.ints(&taps.collect::<Vec<i64>>()));
            let frames = this.op("Unsqueeze", &[&frames, &column], vec![]);
            this.op("Add", &[&frames, &taps], vec![])
        });
        let axis = Attr::Int("axis", 1);
        (self.op("Gather", &[&seen, &seen_by], vec![axis]), delay)
    }

    /// A layer of a mixture of rows of a table is the mixture of the layer of each row, which is known beforehand.
    fn of_mixture(&mut self, x: &Node, conv: &Conv<B>) -> Node {
        let (mix, table) = self.mixtures[&x.name].clone();
        let (rows, outputs) = (table.dims()[0], conv.shape.outputs);
        let weight = conv.kernel.weight().reshape([outputs, conv.shape.inputs]);
        if self.in_few_rows(x) {
            let values = to_vec(table.matmul(weight.transpose()));
            let made = self.graph.builder.f32s(&[rows, outputs], &values);
            let mix = self.once(&format!("turned {mix}"), |this| {
                this.transpose(&mix, &[0, 2, 1])
            });
            let name = self.op("MatMul", &[&mix, &made], vec![]);
            let name = self.with_bias(name, conv);
            return Node {
                name,
                channels: outputs,
                in_rows: true,
                ..x.clone()
            };
        }
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
