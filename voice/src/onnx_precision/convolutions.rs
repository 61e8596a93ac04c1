//! Convolutions as products of whole numbers of 8 bits.
//!
//! What goes into a layer is rounded with one scale, which is found anew every step, so that nothing has to be known beforehand
//! of what a voice sings. The samples that the taps of a result see are then laid side by side, and the layer is one product
//! `[samples, taps · inputs] · [taps · inputs, outputs]` with a scale for every output. On processors with instructions for
//! such products that is several times as fast as the convolution in float32; the runtime's own convolutions in 8 bits are
//! either slower than that (`ConvInteger`) or want the scale of what comes out beforehand (`QLinearConv`).
//!
//! A transposed convolution whose taps are a multiple of its stride is one product too: what every sample gives to the ones after it,
//! of which those that meet are added.
//!
//! Only layers that keep or raise the rate become such products. Those that lower it, an encoder's first ones, want a scale for every frame
//! and few weights, and have that where there is an operator for it (`own/front`).
//!
//! Source: ONNX operators (`Conv`, `ConvTranspose`, `DynamicQuantizeLinear`).

use std::collections::{HashMap, HashSet};

use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{Attribute, GraphError, Node, RUNTIME_DOMAIN, node, operator_set};
use crate::onnx_writer::{Attr, bytes_field};

use super::own::{Front, OwnConvolutions, OwnMatrices, Surroundings, Together};
use super::products::{Products, turn};
use super::{
    Constant, OWN_DOMAIN, OWN_OPSET, Operators, constant, copy, domain, domain_of_runtime,
    raw_constant,
};

/// Layers with fewer weights stay as they are: what lies around the product costs more than it spares.
const LEAST_WEIGHTS: usize = 1 << 12;
/// The same of transposed convolutions.
const LEAST_WEIGHTS_UP: usize = 1 << 17;
/// Layers with more taps stay as they are: as many copies are made of what goes in.
pub(super) const MOST_TAPS: usize = 16;
/// The same of transposed convolutions, whose taps are not copied.
const MOST_TAPS_UP: usize = 64;

/// The model in `bytes` with its convolutions as products, where they are worth it.
///
/// # Errors
/// It is no model with a graph that a voice may have.
pub(super) fn as_products(bytes: &[u8], by: Operators) -> Result<Vec<u8>, GraphError> {
    let mut out = Vec::new();
    let mut model = Fields::new(bytes, "the model", &[7]);
    let (mut changed, mut knows_domain) = (false, false);
    while let Some((field, value)) = model.next()? {
        match (field, value) {
            (7, Field::Bytes(graph)) => match rewritten(graph, by)? {
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
    if changed && by == Operators::Own {
        domain(&mut out, OWN_DOMAIN, OWN_OPSET);
    }
    Ok(out)
}

/// The graph with its products; `None` if it has no such layer.
fn rewritten(graph: &[u8], by: Operators) -> Result<Option<Vec<u8>>, GraphError> {
    let mut constants = HashMap::new();
    let mut nodes = Vec::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => nodes.push((node(bytes)?, bytes)),
            (5, Field::Bytes(bytes)) => {
                if let Some((name, constant)) = constant(bytes)? {
                    constants.insert(name, constant);
                }
            }
            _ => {}
        }
    }
    let layers: Vec<Option<Layer<'_>>> = nodes
        .iter()
        .map(|(node, _)| Layer::of(node, &constants))
        .collect();
    let surroundings = Surroundings::of(graph, &nodes)?;
    let (mut own, mut front) = (OwnConvolutions::default(), Front::default());
    let (mut matrices, mut together) = (OwnMatrices::default(), Together::default());
    if by == Operators::Own {
        own = OwnConvolutions::of(&surroundings, &layers);
        front = Front::of(&surroundings, &constants, &own);
        matrices = OwnMatrices::of(graph, &surroundings, &|n| own.takes(n) || front.takes(n))?;
        together = Together::of(&surroundings, &matrices, &|n| {
            own.takes(n) || front.takes(n) || matrices.takes(n)
        });
    }
    let mut products = Products::default();
    // Constants that are still read as they are.
    let mut read = HashSet::new();
    let mut replaced = HashSet::new();
    for (n, (node, bytes)) in nodes.iter().enumerate() {
        own.write_at(n, &layers, &mut products, &mut replaced);
        front.write_at(n, &mut products, &mut replaced);
        together.write_at(n, &mut products);
        if own.takes(n) || front.takes(n) || matrices.takes(n) || together.takes(n) {
            continue;
        }
        match layers[n].as_ref().filter(|layer| layer.is_worth_it()) {
            Some(layer) => {
                layer.write(&mut products);
                if replaced.insert(layer.name) {
                    layer.keep(&mut products);
                }
            }
            None if matrices.write(n, &mut products, &mut replaced) => {}
            None => {
                read.extend(node.inputs.iter().copied());
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
            (5, Field::Bytes(bytes)) => {
                let (name, ..) = raw_constant(bytes)?;
                replaced.contains(name) && !read.contains(name)
            }
            _ => false,
        };
        if !is_left_out {
            copy(&mut out, field, value);
        }
    }
    Ok(Some(out))
}

/// A layer that becomes a product.
pub(super) struct Layer<'a> {
    pub(super) kind: Kind,
    pub(super) input: &'a str,
    /// Of its weights.
    pub(super) name: &'a str,
    pub(super) weights: &'a Constant<'a>,
    pub(super) bias: &'a str,
    pub(super) output: &'a str,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) taps: usize,
    /// Zeros before and after what goes in, or samples of what comes out that are left away.
    pub(super) pads: [i64; 2],
}

/// What kind of layer it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A convolution.
    Plain { dilation: usize },
    /// A transposed one.
    Up { stride: usize },
}

impl<'a> Layer<'a> {
    /// The layer that a node is, if it can be a product.
    fn of(node: &Node<'a>, constants: &'a HashMap<&'a str, Constant<'a>>) -> Option<Self> {
        let &[input, name, ..] = &node.inputs[..] else {
            return None;
        };
        let weights = constants.get(name)?;
        let &[first, second, taps] = &weights.shape[..] else {
            return None;
        };
        let is_up = match node.op {
            "Conv" => false,
            "ConvTranspose" => true,
            _ => return None,
        };
        let (mut dilation, mut stride, mut pads) = (1, 1, [0, 0]);
        for (name, attribute) in &node.attributes {
            match (*name, attribute) {
                ("dilations", Attribute::Ints(found)) if found.len() == 1 => dilation = found[0],
                ("strides", Attribute::Ints(found)) if found.len() == 1 => stride = found[0],
                ("pads", Attribute::Ints(found)) if found.len() == 2 => pads = [found[0], found[1]],
                ("group", Attribute::Int(1)) | ("kernel_shape", _) => {}
                _ => return None,
            }
        }
        let known = |number: i64| usize::from(u16::try_from(number).unwrap_or(0));
        let (dilation, stride) = (known(dilation), known(stride));
        let (kind, inputs, outputs) = match (is_up, dilation, stride) {
            (false, 1.., 1) => (Kind::Plain { dilation }, second, first),
            (true, 1, 1..) if taps % stride == 0 => (Kind::Up { stride }, first, second),
            _ => return None,
        };
        let in_bounds = taps > 0
            && pads
                .iter()
                .all(|&pad| (0..=i64::from(u16::MAX)).contains(&pad));
        in_bounds.then_some(Self {
            kind,
            input,
            name,
            weights,
            bias: node.inputs.get(2).copied().unwrap_or_default(),
            output: node.output,
            inputs,
            outputs,
            taps,
            pads,
        })
    }

    /// Whether the product is cheaper.
    pub(super) fn is_worth_it(&self) -> bool {
        let (least, most_taps) = match self.kind {
            Kind::Plain { .. } => (LEAST_WEIGHTS, MOST_TAPS),
            Kind::Up { .. } => (LEAST_WEIGHTS_UP, MOST_TAPS_UP),
        };
        self.taps <= most_taps
            && self.outputs > 1
            && self.outputs * self.inputs * self.taps >= least
    }

    fn own(&self, what: &str) -> String {
        format!("8 bits {} {what}", self.output)
    }

    /// `[1, inputs, samples]` to `[1, outputs, samples]`.
    fn write(&self, products: &mut Products) {
        match self.kind {
            Kind::Plain { dilation } => self.write_plain(products, dilation),
            Kind::Up { stride } => self.write_up(products, stride),
        }
    }

    fn write_plain(&self, products: &mut Products, dilation: usize) {
        let mut input = self.input.to_owned();
        if self.pads != [0, 0] {
            let pads = products.ints(&[0, 0, self.pads[0], 0, 0, self.pads[1]]);
            let padded = self.own("padded");
            products.op("Pad", &[&input, &pads], &[&padded], &[]);
            input = padded;
        }
        let rounded = products.rounded(&input, self.output);
        let mut rows = rounded.rows.clone();
        if self.taps > 1 {
            let axis = products.ints(&[1]);
            let reach = (self.taps - 1) * dilation;
            let parts: Vec<String> = (0..self.taps)
                .map(|tap| {
                    let start = (tap * dilation) as i64;
                    let missing = start - reach as i64;
                    let start = products.ints(&[start]);
                    let end = products.ints(&[if missing < 0 { missing } else { i64::MAX }]);
                    let part = self.own(&format!("tap {tap}"));
                    products.op("Slice", &[&rows, &start, &end, &axis], &[&part], &[]);
                    part
                })
                .collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let joined = self.own("taps");
            products.op("Concat", &parts, &[&joined], &[Attr::Int("axis", 2)]);
            rows = joined;
        }
        let product = self.own("product");
        products.product(&rows, &rounded, self.name, self.bias, &product);
        products.op("Transpose", &[&product], &[self.output], &[turn()]);
    }

    fn write_up(&self, products: &mut Products, stride: usize) {
        let rounded = products.rounded(self.input, self.output);
        let product = self.own("product");
        products.product(&rounded.rows, &rounded, self.name, "", &product);
        // Of every sample `stride` results at once, then those that come `stride` later, and so on.
        let (width, meeting) = ((stride * self.outputs) as i64, (self.taps / stride) as i64);
        let axis = products.ints(&[2]);
        let mut sum = String::new();
        for n in 0..meeting {
            let (start, end) = (
                products.ints(&[n * width]),
                products.ints(&[(n + 1) * width]),
            );
            let pads = products.ints(&[0, n, 0, 0, meeting - 1 - n, 0]);
            let (part, late) = (
                self.own(&format!("part {n}")),
                self.own(&format!("late {n}")),
            );
            products.op("Slice", &[&product, &start, &end, &axis], &[&part], &[]);
            products.op("Pad", &[&part, &pads], &[&late], &[]);
            if n == 0 {
                sum = late;
                continue;
            }
            let next = self.own(&format!("sum {n}"));
            products.op("Add", &[&sum, &late], &[&next], &[]);
            sum = next;
        }
        let (rows, kept) = (self.own("all"), self.own("kept"));
        let shape = products.ints(&[1, -1, self.outputs as i64]);
        products.op("Reshape", &[&sum, &shape], &[&rows], &[]);
        let [before, after] = self.pads;
        let (axis, start) = (products.ints(&[1]), products.ints(&[before]));
        let end = products.ints(&[if after > 0 { -after } else { i64::MAX }]);
        products.op("Slice", &[&rows, &start, &end, &axis], &[&kept], &[]);
        let mut result = kept;
        if !self.bias.is_empty() {
            let biased = self.own("with bias");
            products.op("Add", &[&result, self.bias], &[&biased], &[]);
            result = biased;
        }
        products.op("Transpose", &[&result], &[self.output], &[turn()]);
    }

    /// A weight as it is kept.
    pub(super) fn weight(&self, n: usize) -> f32 {
        f32::from_le_bytes(self.weights.raw.as_chunks::<4>().0[n])
    }

    /// Keeps its weights as the product wants them.
    fn keep(&self, products: &mut Products) {
        let at = |n: usize| self.weight(n);
        let (inputs, outputs, taps) = (self.inputs, self.outputs, self.taps);
        match self.kind {
            // [outputs, inputs, taps] as [taps · inputs, outputs].
            Kind::Plain { .. } => {
                products.keep(self.name, [taps * inputs, outputs], |n, output| {
                    at((output * inputs + n % inputs) * taps + n / inputs)
                })
            }
            // [inputs, outputs, taps] as [inputs, taps · outputs].
            Kind::Up { .. } => products.keep(self.name, [inputs, taps * outputs], |input, n| {
                at((input * outputs + n % outputs) * taps + n / outputs)
            }),
        }
    }
}
