//! Convolutions of whole numbers of 8 bits as one operator of our own.
//!
//! It takes in what lies around a convolution in a decoder: the leaky rectifier before it, the samples of the past that a step puts
//! before its own and hands on, and the sum of what comes out with something else. What is rounded, and how, is what
//! `DynamicQuantizeLinear` and the weights of `products` say.

use std::collections::{HashMap, HashSet};

use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{Attribute, GraphError, Node};
use crate::onnx_writer::{Attr, INT64, bytes_field, node_message};

use super::OWN_DOMAIN;
use crate::onnx_precision::convolutions::{Kind, Layer, MOST_TAPS};
use crate::onnx_precision::products::{Products, rounded, scale_of, scales, whole};
use crate::onnx_precision::{constant, raw_constant, text};

/// The operator: a convolution of whole numbers of 8 bits.
pub const OWN_CONVOLUTION: &str = "Convolution8";
/// Outputs whose weights lie together; a convolution has a multiple of them.
pub const OWN_ROWS: usize = 8;
/// Inputs whose weights lie together.
const QUAD: usize = 4;
/// Who reads what leaves the graph.
const OUTSIDE: usize = usize::MAX;

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
    slope: f32,
    /// What every new sample is multiplied with, `[samples]`.
    mask: &'a str,
    /// The samples of the past, and those of the next step.
    past: Option<[&'a str; 2]>,
    /// What is added.
    more: &'a str,
    /// The samples of the past that are added before it, and those of the next step.
    more_past: Option<[&'a str; 2]>,
    output: &'a str,
}

impl<'a> OwnConvolutions<'a> {
    /// What becomes of the nodes of `graph`, of which some are layers.
    ///
    /// # Errors
    /// It is no graph that a voice may have.
    pub(in crate::onnx_precision) fn of(
        graph: &'a [u8],
        nodes: &'a [(Node<'a>, &'a [u8])],
        layers: &[Option<Layer<'a>>],
    ) -> Result<Self, GraphError> {
        let surroundings = Surroundings::of(graph, nodes)?;
        let mut own = Self::default();
        for (n, layer) in layers.iter().enumerate() {
            let Some(layer) = layer else { continue };
            let Kind::Plain { dilation } = layer.kind else {
                continue;
            };
            if layer.inputs % QUAD != 0 || layer.outputs % OWN_ROWS != 0 {
                continue;
            }
            let carried = (layer.pads == [0, 0])
                .then(|| surroundings.carried(n, layer.input))
                .flatten();
            // What lies around a small one costs more than itself: with it, it is worth it.
            if !layer.is_worth_it() && (carried.is_none() || layer.taps > MOST_TAPS) {
                continue;
            }
            let mut fused = Fused {
                layer: n,
                dilation,
                input: layer.input,
                slope: 1.0,
                mask: "",
                past: None,
                more: "",
                more_past: None,
                output: layer.output,
            };
            own.taken.insert(n);
            if let Some(carried) = carried {
                fused.past = Some([carried.past, carried.next]);
                fused.input = carried.new;
                own.taken.extend(carried.nodes);
            }
            if let Some((mask, input)) = surroundings.masked(fused.input) {
                (fused.mask, fused.input) = (mask, input);
            }
            if let Some((slope, input)) = surroundings.bent(fused.input) {
                (fused.slope, fused.input) = (slope, input);
            }
            let mut at = n;
            if let Some((sum, more)) = surroundings.summed(n, fused.output) {
                fused.more = more;
                fused.output = nodes[sum].0.output;
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
        own.leave_out_unread("Mul", &surroundings);
        own.leave_out_unread("LeakyRelu", &surroundings);
        Ok(own)
    }

    /// Nodes of this kind that nobody reads any more.
    fn leave_out_unread(&mut self, op: &str, surroundings: &Surroundings<'a>) {
        let nodes = surroundings.nodes.iter().enumerate();
        let left = nodes.filter(|(n, _)| !self.taken.contains(n));
        let mut read: HashSet<&str> = left
            .flat_map(|(_, (node, _))| node.inputs.iter().copied())
            .collect();
        for fused in self.placed.values() {
            read.extend([fused.input, fused.mask, fused.more]);
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
        let inputs: [&str; 8] = [
            fused.input,
            &weights,
            &scales,
            layer.bias,
            past,
            fused.more,
            fused.mask,
            more_past,
        ];
        let outputs = [fused.output, next, more_next];
        let given = |names: &[&str]| names.iter().rposition(|name| !name.is_empty());
        let inputs = &inputs[..=given(&inputs).unwrap_or(0)];
        let outputs = &outputs[..=given(&outputs).unwrap_or(0)];
        let attributes = [
            Attr::Int("dilation", fused.dilation as i64),
            Attr::Ints("pads", layer.pads.to_vec()),
            Attr::Float("slope", fused.slope),
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

/// Who makes and reads what.
struct Surroundings<'a> {
    nodes: &'a [(Node<'a>, &'a [u8])],
    makers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
    /// Constants of whole numbers.
    numbers: HashMap<&'a str, Vec<i64>>,
    /// Constants that are one float.
    scalars: HashMap<&'a str, f32>,
    /// What comes from outside at every step.
    inputs: HashSet<&'a str>,
}

/// Samples of the past that are put before those of a step.
struct Carried<'a> {
    past: &'a str,
    new: &'a str,
    next: &'a str,
    nodes: [usize; 3],
}

impl<'a> Surroundings<'a> {
    fn of(graph: &'a [u8], nodes: &'a [(Node<'a>, &'a [u8])]) -> Result<Self, GraphError> {
        let mut makers = HashMap::new();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, (node, _)) in nodes.iter().enumerate() {
            makers.insert(node.output, n);
            for input in &node.inputs {
                readers.entry(input).or_default().push(n);
            }
        }
        let (mut numbers, mut scalars, mut inputs) =
            (HashMap::new(), HashMap::new(), HashSet::new());
        let mut fields = Fields::new(graph, "the graph", &[]);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (5, Field::Bytes(bytes)) => {
                    numbers.extend(whole_numbers(bytes)?);
                    if let Some((name, constant)) = constant(bytes)?
                        && let &[one] = constant.raw.as_chunks::<4>().0
                    {
                        scalars.insert(name, f32::from_le_bytes(one));
                    }
                }
                (11, Field::Bytes(bytes)) => {
                    inputs.insert(name_of(bytes)?);
                }
                (12, Field::Bytes(bytes)) => {
                    readers.entry(name_of(bytes)?).or_default().push(OUTSIDE);
                }
                _ => {}
            }
        }
        Ok(Self {
            nodes,
            makers,
            readers,
            numbers,
            scalars,
            inputs,
        })
    }

    fn readers(&self, name: &str) -> &[usize] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    fn maker(&self, name: &str) -> Option<(usize, &'a Node<'a>)> {
        let &n = self.makers.get(name)?;
        Some((n, &self.nodes[n].0))
    }

    /// The past that is put before what node `reader` sees as `input`, if nobody else sees it and the end of both is the next past.
    fn carried(&self, reader: usize, input: &str) -> Option<Carried<'a>> {
        let (joined, concat) = self.maker(input)?;
        let &[past, new] = &concat.inputs[..] else {
            return None;
        };
        let in_time = concat.attributes.get("axis") == Some(&Attribute::Int(2));
        if concat.op != "Concat" || !in_time || !self.inputs.contains(past) {
            return None;
        }
        let slice = match *self.readers(input) {
            [a, b] if a == reader => b,
            [a, b] if b == reader => a,
            _ => return None,
        };
        let kept = &self.nodes.get(slice)?.0;
        let &[from, start, end, axis] = &kept.inputs[..] else {
            return None;
        };
        let is = |name: &str, expected: &dyn Fn(i64) -> bool| matches!(self.numbers.get(name).map(Vec::as_slice), Some(&[number]) if expected(number));
        let is_end = is(start, &|start| start < 0)
            && is(end, &|end| end == i64::MAX)
            && is(axis, &|axis| axis == 2);
        if kept.op != "Slice" || from != input || !is_end {
            return None;
        }
        let &[handed_on] = self.readers(kept.output) else {
            return None;
        };
        let identity = &self.nodes.get(handed_on)?.0;
        if identity.op != "Identity" || self.readers(identity.output) != [OUTSIDE] {
            return None;
        }
        Some(Carried {
            past,
            new,
            next: identity.output,
            nodes: [joined, slice, handed_on],
        })
    }

    /// The mask that `name` has been multiplied with, and what it was before. Masks of samples go by their making: they are clipped.
    fn masked(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let (_, product) = self.maker(name)?;
        let &[a, b] = &product.inputs[..] else {
            return None;
        };
        let is_mask = |name: &str| {
            let maker = self.maker(name);
            maker.is_some_and(|(_, node)| {
                let &[numbers, low, high] = &node.inputs[..] else {
                    return false;
                };
                let is = |name: &str, number: f32| self.scalars.get(name) == Some(&number);
                // Numbers of samples: a vector, whatever comes in.
                let is_vector = self
                    .maker(numbers)
                    .is_some_and(|(_, node)| node.op == "Sub");
                node.op == "Clip" && is_vector && is(low, 0.0) && is(high, 1.0)
            })
        };
        match (product.op, is_mask(a), is_mask(b)) {
            ("Mul", true, false) => Some((a, b)),
            ("Mul", false, true) => Some((b, a)),
            _ => None,
        }
    }

    /// A value that node `sum` adds, late by what is carried of it: the slice that picks its samples, and what it picks from.
    fn delayed(&self, sum: usize, name: &str) -> Option<(usize, Carried<'a>)> {
        let (n, slice) = self.maker(name)?;
        let &[joined, start, _, axis] = &slice.inputs[..] else {
            return None;
        };
        let is = |name: &str, number: i64| {
            let found = self.numbers.get(name).map(Vec::as_slice);
            found == Some(&[number])
        };
        let is_start = slice.op == "Slice" && is(start, 0) && is(axis, 2);
        if !is_start || self.readers(name) != [sum] {
            return None;
        }
        Some((n, self.carried(n, joined)?))
    }

    /// The slope of the rectifier that makes `name`, and what goes into it.
    fn bent(&self, name: &str) -> Option<(f32, &'a str)> {
        let (_, node) = self.maker(name)?;
        match (node.op, node.attributes.get("alpha"), &node.inputs[..]) {
            ("LeakyRelu", Some(&Attribute::Float(slope)), &[input])
                if (0.0..=1.0).contains(&slope) =>
            {
                Some((slope, input))
            }
            _ => None,
        }
    }

    /// The sum that is all that becomes of `name`, which node `n` makes, and what is added.
    fn summed(&self, n: usize, name: &str) -> Option<(usize, &'a str)> {
        let &[sum] = self.readers(name) else {
            return None;
        };
        let node = &self.nodes.get(sum)?.0;
        let more = match node.inputs[..] {
            [a, more] | [more, a] if a == name && more != name => more,
            _ => return None,
        };
        // A constant may be of any shape.
        let is_made = self.makers.contains_key(more) || self.inputs.contains(more);
        (node.op == "Add" && sum > n && is_made).then_some((sum, more))
    }
}

/// A constant of whole numbers with its name; `None` for others.
fn whole_numbers(bytes: &[u8]) -> Result<Option<(&str, Vec<i64>)>, GraphError> {
    let (name, kind, raw) = raw_constant(bytes)?;
    let numbers = raw.as_chunks::<8>().0.iter().copied();
    let numbers = (kind == INT64).then(|| numbers.map(i64::from_le_bytes).collect());
    Ok(numbers.map(|numbers| (name, numbers)))
}

/// The name of an input or output.
fn name_of(bytes: &[u8]) -> Result<&str, GraphError> {
    let mut fields = Fields::new(bytes, "an input or output", &[]);
    while let Some((field, value)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (field, value) {
            return text(bytes);
        }
    }
    Ok("")
}
