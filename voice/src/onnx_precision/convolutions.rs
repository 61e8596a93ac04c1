//! Convolutions as products of whole numbers of 8 bits.
//!
//! What goes into a layer is rounded with one scale, which is found anew every step, so that nothing has to be known beforehand
//! of what a voice sings. The samples that the taps of a result see are then laid side by side, and the layer is one product
//! `[samples, taps · inputs] · [taps · inputs, outputs]` with a scale for every output. On processors with instructions for
//! such products that is several times as fast as the convolution in float32; the runtime's own convolutions in 8 bits are
//! either slower than that (`ConvInteger`) or want the scale of what comes out beforehand (`QLinearConv`).
//!
//! Only layers that keep the rate are taken: a decoder's, not the first ones of an encoder, which see the recording itself.
//!
//! Source: ONNX operators (`DynamicQuantizeLinear`), ONNX Runtime, contributed operators (`MatMulIntegerToFloat`).

use std::collections::{HashMap, HashSet};

use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{Attribute, GraphError, RUNTIME_DOMAIN, node, operator_set};
use crate::onnx_writer::{Attr, FLOAT, INT8, INT64, bytes_field, node_message, tensor};

use super::{Constant, constant, copy, domain_of_runtime};

/// Layers with fewer weights stay as they are: what lies around the product costs more than it spares.
const LEAST_WEIGHTS: usize = 1 << 12;
/// Layers with more taps stay as they are: as many copies are made of what goes in.
const MOST_TAPS: usize = 16;
/// Largest whole number of a weight. Two of its products with 255 are within 16 bits, in which processors without
/// instructions for such products add them up.
const MOST: f32 = 64.0;

/// A convolution that becomes a product.
struct Layer<'a> {
    input: &'a str,
    weights: &'a str,
    bias: &'a str,
    output: &'a str,
    taps: usize,
    dilation: usize,
    /// Zeros before and after.
    pads: [i64; 2],
}

/// The model in `bytes` with its convolutions as products, where they are worth it.
///
/// # Errors
/// It is no model with a graph that a voice may have.
pub(super) fn as_products(bytes: &[u8]) -> Result<Vec<u8>, GraphError> {
    let mut out = Vec::new();
    let mut model = Fields::new(bytes, "the model", &[7]);
    let (mut changed, mut knows_domain) = (false, false);
    while let Some((field, value)) = model.next()? {
        match (field, value) {
            (7, Field::Bytes(graph)) => match rewritten(graph)? {
                Some(graph) => {
                    changed = true;
                    bytes_field(&mut out, 7, &graph);
                }
                None => copy(&mut out, field, value),
            },
            (8, Field::Bytes(opset)) => {
                knows_domain |= operator_set(opset)?.0 == RUNTIME_DOMAIN;
                copy(&mut out, field, value);
            }
            _ => copy(&mut out, field, value),
        }
    }
    if changed && !knows_domain {
        domain_of_runtime(&mut out);
    }
    Ok(out)
}

/// The graph with its products; `None` if it has no such layer.
fn rewritten(graph: &[u8]) -> Result<Option<Vec<u8>>, GraphError> {
    let mut constants = HashMap::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        if let (5, Field::Bytes(bytes)) = (field, value)
            && let Some((name, constant)) = constant(bytes)?
        {
            constants.insert(name, constant);
        }
    }
    let mut products = Products::default();
    // Constants that are still read as they are.
    let mut read = HashSet::new();
    let mut replaced = HashSet::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        let (1, Field::Bytes(bytes)) = (field, value) else {
            continue;
        };
        match layer(bytes, &constants)? {
            Some(layer) => {
                products.add(&layer);
                if let Some(weights) = constants.get(layer.weights)
                    && replaced.insert(layer.weights)
                {
                    products.keep(layer.weights, weights);
                }
            }
            None => {
                read.extend(node(bytes)?.inputs);
                bytes_field(&mut products.graph, 1, bytes);
            }
        }
    }
    if replaced.is_empty() {
        return Ok(None);
    }
    let mut out = products.graph;
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        let is_left_out = match (field, value) {
            (1, _) => true,
            (5, Field::Bytes(bytes)) => constant(bytes)?
                .is_some_and(|(name, _)| replaced.contains(name) && !read.contains(name)),
            _ => false,
        };
        if !is_left_out {
            copy(&mut out, field, value);
        }
    }
    Ok(Some(out))
}

/// The layer that a node is, if it becomes a product.
fn layer<'a>(
    bytes: &'a [u8],
    constants: &HashMap<&'a str, Constant<'a>>,
) -> Result<Option<Layer<'a>>, GraphError> {
    let node = node(bytes)?;
    let &[input, weights, ..] = &node.inputs[..] else {
        return Ok(None);
    };
    let Some(&[outputs, inputs, taps]) = constants.get(weights).map(|found| &found.shape[..])
    else {
        return Ok(None);
    };
    let (mut dilation, mut pads, mut is_plain) = (1, [0, 0], node.op == "Conv");
    for (name, attribute) in &node.attributes {
        match (*name, attribute) {
            ("dilations", Attribute::Ints(found)) if found.len() == 1 => dilation = found[0],
            ("pads", Attribute::Ints(found)) if found.len() == 2 => pads = [found[0], found[1]],
            ("strides", Attribute::Ints(found)) if found[..] == [1] => {}
            ("group", Attribute::Int(1)) | ("kernel_shape", _) => {}
            _ => is_plain = false,
        }
    }
    let is_taken = is_plain
        && (1..=MOST_TAPS).contains(&taps)
        && (1..=i64::from(u16::MAX)).contains(&dilation)
        && pads.iter().all(|&pad| pad >= 0)
        && outputs > 1
        && outputs * inputs * taps >= LEAST_WEIGHTS;
    Ok(is_taken.then(|| Layer {
        input,
        weights,
        bias: node.inputs.get(2).copied().unwrap_or_default(),
        output: node.output,
        taps,
        dilation: dilation as usize,
        pads,
    }))
}

/// The nodes and constants of the products.
#[derive(Default)]
struct Products {
    graph: Vec<u8>,
    /// Whole numbers that are there already.
    ints: HashSet<Vec<i64>>,
}

impl Products {
    fn op(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[Attr]) {
        let name = format!("{op} {}", outputs[0]);
        let node = node_message(op, &name, inputs, outputs, attrs);
        bytes_field(&mut self.graph, 1, &node);
    }

    /// Whole numbers as a constant, which is made once.
    fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("8 bits {values:?}");
        if self.ints.insert(values.to_vec()) {
            let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let constant = tensor(&name, &[values.len()], INT64, &raw);
            bytes_field(&mut self.graph, 5, &constant);
        }
        name
    }

    /// `[1, inputs, samples]` to `[1, outputs, samples]`.
    fn add(&mut self, layer: &Layer<'_>) {
        let output = layer.output;
        let own = |what: &str| format!("8 bits {output} {what}");
        let mut input = layer.input.to_owned();
        if layer.pads != [0, 0] {
            let pads = self.ints(&[0, 0, layer.pads[0], 0, 0, layer.pads[1]]);
            let padded = own("padded");
            self.op("Pad", &[&input, &pads], &[&padded], &[]);
            input = padded;
        }
        let (rounded, scale, zero) = (own("rounded"), own("scale"), own("zero"));
        self.op(
            "DynamicQuantizeLinear",
            &[&input],
            &[&rounded, &scale, &zero],
            &[],
        );
        let turn = [Attr::Ints("perm", vec![0, 2, 1])];
        let mut rows = own("rows");
        self.op("Transpose", &[&rounded], &[&rows], &turn);
        if layer.taps > 1 {
            let axis = self.ints(&[1]);
            let reach = (layer.taps - 1) * layer.dilation;
            let parts: Vec<String> = (0..layer.taps)
                .map(|tap| {
                    let start = (tap * layer.dilation) as i64;
                    let missing = start - reach as i64;
                    let start = self.ints(&[start]);
                    let end = self.ints(&[if missing < 0 { missing } else { i64::MAX }]);
                    let part = own(&format!("tap {tap}"));
                    self.op("Slice", &[&rows, &start, &end, &axis], &[&part], &[]);
                    part
                })
                .collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let joined = own("taps");
            self.op("Concat", &parts, &[&joined], &[Attr::Int("axis", 2)]);
            rows = joined;
        }
        let product = own("product");
        let (weights, scales) = (whole(layer.weights), scales(layer.weights));
        let inputs: [&str; 7] = [&rows, &weights, &scale, &scales, &zero, "", layer.bias];
        let inputs = &inputs[..if layer.bias.is_empty() { 5 } else { 7 }];
        let name = own("product node");
        let mut node = node_message("MatMulIntegerToFloat", &name, inputs, &[&product], &[]);
        bytes_field(&mut node, 7, RUNTIME_DOMAIN.as_bytes());
        bytes_field(&mut self.graph, 1, &node);
        self.op("Transpose", &[&product], &[output], &turn);
    }

    /// Weights `[outputs, inputs, taps]` as whole numbers `[taps · inputs, outputs]`, and a scale for every output.
    fn keep(&mut self, name: &str, weights: &Constant<'_>) {
        let &[outputs, inputs, taps] = &weights.shape[..] else {
            return;
        };
        let words = weights.raw.as_chunks::<4>().0;
        let at = |output: usize, input: usize, tap: usize| {
            f32::from_le_bytes(words[(output * inputs + input) * taps + tap])
        };
        let scale: Vec<f32> = words
            .chunks(inputs * taps)
            .map(|own| {
                let largest = own.iter().fold(0.0f32, |most, &word| {
                    most.max(f32::from_le_bytes(word).abs())
                });
                if largest > 0.0 { largest / MOST } else { 1.0 }
            })
            .collect();
        let mut kept = Vec::with_capacity(words.len());
        for tap in 0..taps {
            for input in 0..inputs {
                kept.extend((0..outputs).map(|output| {
                    let rounded = (at(output, input, tap) / scale[output]).round();
                    (rounded as i8).to_le_bytes()[0]
                }));
            }
        }
        let raw: Vec<u8> = scale.iter().flat_map(|v| v.to_le_bytes()).collect();
        let kept = tensor(&whole(name), &[taps * inputs, outputs], INT8, &kept);
        bytes_field(&mut self.graph, 5, &kept);
        let scale = tensor(&scales(name), &[outputs], FLOAT, &raw);
        bytes_field(&mut self.graph, 5, &scale);
    }
}

fn whole(weights: &str) -> String {
    format!("8 bits {weights}")
}

fn scales(weights: &str) -> String {
    format!("8 bits {weights} scales")
}
