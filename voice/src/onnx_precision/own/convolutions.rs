//! Convolutions of whole numbers of 8 bits as one operator of our own.
//!
//! It takes in what lies around a convolution in a decoder: the leaky rectifier before it, the samples of the past that a step puts
//! before its own and hands on, and the sum of what comes out with something else. What is rounded, and how, is what
//! `DynamicQuantizeLinear` and the weights of `products` say.

use std::collections::{HashMap, HashSet};

use crate::onnx_writer::{Attr, bytes_field, node_message};

use super::OWN_DOMAIN;
use super::surroundings::{Mask, OUTSIDE, Surroundings};
use crate::onnx_precision::convolutions::{Kind, Layer, MOST_TAPS};
use crate::onnx_precision::products::{Products, rounded, scale_of, scales, whole};

/// The operator: a convolution of whole numbers of 8 bits.
pub const OWN_CONVOLUTION: &str = "Convolution8";
/// Outputs whose weights lie together; a convolution has a multiple of them.
pub const OWN_ROWS: usize = 8;
/// Inputs whose weights lie together.
const QUAD: usize = 4;
/// What becomes of the nodes of a graph.
#[derive(Default)]
pub(in crate::onnx_precision) struct OwnConvolutions<'a> {
    /// Where each is written, and what.
    placed: HashMap<usize, Fused<'a>>,
    /// Nodes that are in one of them.
    taken: HashSet<usize>,
}

/// A convolution and what lies around it.
struct Fused<'a> {
    /// The node it is.
    layer: usize,
    dilation: usize,
    input: &'a str,
    bias: &'a str,
    slope: f32,
    /// What every new sample is multiplied with.
    mask: Option<Mask<'a>>,
    /// The samples of the past, and those of the next step.
    past: Option<[&'a str; 2]>,
    /// Where those begin in both together, if not with what is new.
    from: &'a str,
    /// What is added.
    more: &'a str,
    /// The samples of the past that are added before it, and those of the next step.
    more_past: Option<[&'a str; 2]>,
    output: &'a str,
}

impl<'a> OwnConvolutions<'a> {
    /// What becomes of the nodes of a graph, of which some are layers.
    pub(in crate::onnx_precision) fn of(
        surroundings: &Surroundings<'a>,
        layers: &[Option<Layer<'a>>],
    ) -> Self {
        let mut own = Self::default();
        for (n, layer) in layers.iter().enumerate() {
            let Some(layer) = layer else { continue };
            let Kind::Plain { dilation } = layer.kind else {
                continue;
            };
            if layer.inputs % QUAD != 0 || layer.outputs % OWN_ROWS != 0 {
                continue;
            }
            let carried = (layer.pads[0] == 0)
                .then(|| surroundings.carried(n, layer.input, 2))
                .flatten();
            // What lies around a small one costs more than itself: with it, it is worth it.
            if !layer.is_worth_it() && (carried.is_none() || layer.taps > MOST_TAPS) {
                continue;
            }
            let mut fused = Fused {
                layer: n,
                dilation,
                input: layer.input,
                bias: layer.bias,
                slope: 1.0,
                mask: None,
                past: None,
                from: "",
                more: "",
                more_past: None,
                output: layer.output,
            };
            own.taken.insert(n);
            if let Some(carried) = carried {
                fused.past = Some([carried.past, carried.next]);
                fused.input = carried.new;
                fused.from = carried.from.unwrap_or_default();
                own.taken.extend(carried.nodes);
            }
            if let Some((mask, input)) = surroundings.masked(fused.input) {
                (fused.mask, fused.input) = (Some(mask), input);
            }
            if let Some((slope, input)) = surroundings.bent(fused.input) {
                (fused.slope, fused.input) = (slope, input);
            }
            let mut at = n;
            if let Some((sum, more)) = surroundings.summed(n, fused.output)
                && !own.taken.contains(&sum)
            {
                fused.more = more;
                fused.output = surroundings.nodes[sum].0.output;
                own.taken.insert(sum);
                at = sum;
                if let Some((slice, delayed)) = surroundings.delayed(sum, more) {
                    fused.more_past = Some([delayed.past, delayed.next]);
                    fused.more = delayed.new;
                    own.taken.insert(slice);
                    own.taken.extend(delayed.nodes);
                }
            }
            own.placed.insert(at, fused);
        }
        // What is masked is bent before.
        own.leave_out_unread("Mul", surroundings);
        own.leave_out_unread("LeakyRelu", surroundings);
        own.leave_out_unread("Clip", surroundings);
        own.leave_out_unread("Sub", surroundings);
        own
    }

    /// Nodes of this kind that nobody reads any more.
    fn leave_out_unread(&mut self, op: &str, surroundings: &Surroundings<'a>) {
        let nodes = surroundings.nodes.iter().enumerate();
        let left = nodes.filter(|(n, _)| !self.taken.contains(n));
        let mut read: HashSet<&str> = left
            .flat_map(|(_, (node, _))| node.inputs.iter().copied())
            .collect();
        for fused in self.placed.values() {
            read.extend([fused.input, fused.more, fused.bias, fused.from]);
            read.extend(fused.mask.map(|mask| mask.place));
        }
        for (n, (node, _)) in surroundings.nodes.iter().enumerate() {
            let leaves = surroundings.readers(node.output).contains(&OUTSIDE);
            if node.op == op && !leaves && !read.contains(node.output) {
                self.taken.insert(n);
            }
        }
    }

    /// Whether a node is written as part of another one.
    pub(in crate::onnx_precision) fn takes(&self, node: usize) -> bool {
        self.taken.contains(&node)
    }

    /// Writes what is to be written in place of a node.
    pub(in crate::onnx_precision) fn write_at(
        &self,
        node: usize,
        layers: &[Option<Layer<'a>>],
        products: &mut Products,
        kept: &mut HashSet<&'a str>,
    ) {
        let Some(fused) = self.placed.get(&node) else {
            return;
        };
        let Some(layer) = &layers[fused.layer] else {
            return;
        };
        let (weights, scales) = (whole(layer.name), scales(layer.name));
        let [past, next] = fused.past.unwrap_or_default();
        let [more_past, more_next] = fused.more_past.unwrap_or_default();
        let inputs: [&str; 9] = [
            fused.input,
            &weights,
            &scales,
            layer.bias,
            past,
            fused.more,
            fused.mask.map_or("", |mask| mask.place),
            more_past,
            fused.from,
        ];
        let outputs = [fused.output, next, more_next];
        let given = |names: &[&str]| names.iter().rposition(|name| !name.is_empty());
        let inputs = &inputs[..=given(&inputs).unwrap_or(0)];
        let outputs = &outputs[..=given(&outputs).unwrap_or(0)];
        let attributes = [
            Attr::Int("dilation", fused.dilation as i64),
            Attr::Ints("pads", layer.pads.to_vec()),
            Attr::Float("slope", fused.slope),
            Attr::Float("missing", fused.mask.map_or(0.0, |mask| mask.missing)),
        ];
        let name = format!("{OWN_CONVOLUTION} {}", fused.output);
        let mut message = node_message(OWN_CONVOLUTION, &name, inputs, outputs, &attributes);
        bytes_field(&mut message, 7, OWN_DOMAIN.as_bytes());
        bytes_field(&mut products.graph, 1, &message);
        if kept.insert(layer.name) {
            keep(layer, products);
        }
    }
}

/// Keeps weights `[outputs, inputs, taps]` as `[outputs / OWN_ROWS, taps, inputs / 4, OWN_ROWS, 4]`.
fn keep(layer: &Layer<'_>, products: &mut Products) {
    let (inputs, outputs, taps) = (layer.inputs, layer.outputs, layer.taps);
    let of =
        |output: usize| (0..inputs * taps).map(move |n| layer.weight(output * inputs * taps + n));
    let scale: Vec<f32> = (0..outputs).map(|output| scale_of(of(output))).collect();
    let mut kept = Vec::with_capacity(outputs * inputs * taps);
    for group in 0..outputs / OWN_ROWS {
        for tap in 0..taps {
            for quad in 0..inputs / QUAD {
                let rows = scale.iter().enumerate().skip(group * OWN_ROWS);
                for (output, &scale) in rows.take(OWN_ROWS) {
                    for input in quad * QUAD..(quad + 1) * QUAD {
                        let weight = layer.weight((output * inputs + input) * taps + tap);
                        kept.push(rounded(weight, scale));
                    }
                }
            }
        }
    }
    let shape = [outputs / OWN_ROWS, taps, inputs / QUAD, OWN_ROWS, QUAD];
    products.keep_rounded(layer.name, &shape, &kept, &scale);
}
