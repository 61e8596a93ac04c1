//! The first layers of an encoder, which lower the rate, as products with rows of frames.
//!
//! What they see is the recording itself, so they are rounded as matrices are: every frame and every 128 or 64 channels with a scale of their
//! own. (One scale for a step, as `convolutions` has, moves content six times as far.)

use std::collections::{HashMap, HashSet};

use crate::onnx_check::{Attribute, Node};
use crate::onnx_precision::Constant;
use crate::onnx_precision::matrices::{BLOCKS, rounded};
use crate::onnx_precision::products::{Products, turn};
use crate::onnx_writer::{Attr, bytes_field};

use super::matrices::{LEAST_BLOCK, OWN_COLUMNS, OWN_PRODUCT, Sizes, keep};
use super::surroundings::Surroundings;
use super::together::{gelu_of, message};
use super::{OWN_DOMAIN, OwnConvolutions};
use crate::onnx_check::RUNTIME_DOMAIN;

/// What becomes of the nodes of a graph.
#[derive(Default)]
pub(in crate::onnx_precision) struct Front<'a> {
    /// Where each chain of layers is written.
    placed: HashMap<usize, Chain<'a>>,
    /// Nodes that are in one of them.
    taken: HashSet<usize>,
}

/// Layers one after the other, which nobody else reads.
struct Chain<'a> {
    /// `[1, channels, samples]`.
    input: &'a str,
    layers: Vec<Strided<'a>>,
    output: &'a str,
    /// Whether what comes out is wanted as rows.
    in_rows: bool,
}

/// A layer, and the GELU after it.
struct Strided<'a> {
    output: &'a str,
    name: &'a str,
    weights: &'a Constant<'a>,
    bias: &'a str,
    inputs: usize,
    outputs: usize,
    taps: usize,
    stride: usize,
    /// Zeros after what goes in.
    after: usize,
    block: usize,
    is_bent: bool,
}

impl<'a> Front<'a> {
    /// What becomes of the nodes of a graph.
    pub(in crate::onnx_precision) fn of(
        surroundings: &Surroundings<'a>,
        constants: &'a HashMap<&'a str, Constant<'a>>,
        convolutions: &OwnConvolutions<'a>,
    ) -> Self {
        let mut front = Self::default();
        for n in 0..surroundings.nodes.len() {
            if front.taken.contains(&n) || convolutions.takes(n) {
                continue;
            }
            let Some((last, nodes, chain)) = Chain::at(surroundings, constants, n) else {
                continue;
            };
            front.taken.extend(nodes);
            front.placed.insert(last, chain);
        }
        front
    }

    /// Whether a node is written as part of another one.
    pub(in crate::onnx_precision) fn takes(&self, node: usize) -> bool {
        self.taken.contains(&node)
    }

    /// Writes what is to be written in place of a node.
    pub(in crate::onnx_precision) fn write_at(
        &self,
        node: usize,
        products: &mut Products,
        replaced: &mut HashSet<&'a str>,
    ) {
        if let Some(chain) = self.placed.get(&node) {
            chain.write(products, replaced);
        }
    }
}

impl<'a> Chain<'a> {
    /// The chain that begins at node `n`, its last node and all of them.
    fn at(
        surroundings: &Surroundings<'a>,
        constants: &'a HashMap<&'a str, Constant<'a>>,
        n: usize,
    ) -> Option<(usize, Vec<usize>, Self)> {
        let first = surroundings.node(n)?;
        let &input = first.inputs.first()?;
        let mut chain = Self {
            input,
            layers: Vec::new(),
            output: input,
            in_rows: false,
        };
        let (mut nodes, mut last) = (Vec::new(), n);
        let mut next = Some((n, first));
        while let Some((n, node)) = next {
            let Some(mut layer) = Strided::of(node, constants) else {
                break;
            };
            nodes.push(n);
            (last, chain.output) = (n, layer.output);
            if let Some((own, output)) = gelu_of(surroundings, layer.output) {
                last = last.max(own.iter().copied().max()?);
                nodes.extend(own);
                (layer.is_bent, chain.output) = (true, output);
            }
            chain.layers.push(layer);
            next = surroundings.reader(chain.output);
            if let Some((n, node)) = next
                && node.op == "Transpose"
                && node.attributes.get("perm") == Some(&Attribute::Ints(vec![0, 2, 1]))
            {
                nodes.push(n);
                (last, chain.output, chain.in_rows) = (n, node.output, true);
                break;
            }
        }
        (!chain.layers.is_empty()).then_some((last, nodes, chain))
    }

    fn write(&self, products: &mut Products, replaced: &mut HashSet<&'a str>) {
        let own = |what: &str, of: &str| format!("8 bits {of} {what}");
        let mut rows = own(
            "turned",
            self.layers.first().map_or("", |layer| layer.output),
        );
        products.op("Transpose", &[self.input], &[&rows], &[turn()]);
        for (n, layer) in self.layers.iter().enumerate() {
            let is_last = n + 1 == self.layers.len();
            let result = match is_last && self.in_rows {
                true => self.output.to_owned(),
                false => own("rows", layer.output),
            };
            let straight = match layer.is_bent {
                true => own("straight", layer.output),
                false => result.clone(),
            };
            layer.write(&rows, &straight, products);
            if replaced.insert(layer.name) {
                layer.keep(products);
            }
            if layer.is_bent {
                let bent = message(RUNTIME_DOMAIN, "Gelu", &[&straight], &[&result], &[]);
                bytes_field(&mut products.graph, 1, &bent);
            }
            rows = result;
        }
        if !self.in_rows {
            products.op("Transpose", &[&rows], &[self.output], &[turn()]);
        }
    }
}

impl<'a> Strided<'a> {
    /// The layer that a node is, if it is one.
    fn of(node: &Node<'a>, constants: &'a HashMap<&'a str, Constant<'a>>) -> Option<Self> {
        let &[_, name, ..] = &node.inputs[..] else {
            return None;
        };
        let weights = constants.get(name)?;
        let &[outputs, inputs, taps] = &weights.shape[..] else {
            return None;
        };
        let ints = |name: &str| match node.attributes.get(name) {
            Some(Attribute::Ints(found)) => Some(&found[..]),
            _ => None,
        };
        let known = |number: i64| usize::from(u16::try_from(number).unwrap_or(0));
        let &[stride] = ints("strides")? else {
            return None;
        };
        let after = match ints("pads") {
            None => 0,
            Some(&[0, after]) => after,
            Some(_) => return None,
        };
        let known_names = ["strides", "pads", "dilations", "group", "kernel_shape"];
        let is_plain = node.op == "Conv"
            && node
                .attributes
                .keys()
                .all(|name| known_names.contains(name))
            && ints("dilations").is_none_or(|found| found == [1])
            && matches!(node.attributes.get("group"), None | Some(Attribute::Int(1)));
        let mut blocks = BLOCKS.into_iter().filter(|&block| block >= LEAST_BLOCK);
        let block = blocks.find(|&block| inputs.is_multiple_of(block))?;
        let fits = is_plain
            && known(stride) > 1
            && taps > 0
            && inputs > 0
            && outputs.is_multiple_of(OWN_COLUMNS)
            && known(after) as i64 == after;
        fits.then_some(Self {
            output: node.output,
            name,
            weights,
            bias: node.inputs.get(2).copied().unwrap_or_default(),
            inputs,
            outputs,
            taps,
            stride: known(stride),
            after: known(after),
            block,
            is_bent: false,
        })
    }

    /// The names of its weights and their scales.
    fn kept_as(&self) -> [String; 2] {
        [
            format!("8 bits {}", self.name),
            format!("8 bits {} scales", self.name),
        ]
    }

    /// Rows to rows.
    fn write(&self, rows: &str, result: &str, products: &mut Products) {
        let [weights, scales] = self.kept_as();
        let inputs = [rows, &weights, &scales, self.bias];
        let inputs = &inputs[..if self.bias.is_empty() { 3 } else { 4 }];
        let attributes = [
            Attr::Int("block", self.block as i64),
            Attr::Int("taps", self.taps as i64),
            Attr::Int("stride", self.stride as i64),
            Attr::Int("after", self.after as i64),
        ];
        let message = message(OWN_DOMAIN, OWN_PRODUCT, inputs, &[result], &attributes);
        bytes_field(&mut products.graph, 1, &message);
    }

    /// Keeps weights `[outputs, inputs, taps]` as a matrix `[taps · inputs, outputs]`.
    fn keep(&self, products: &mut Products) {
        let (numbers, _) = self.weights.raw.as_chunks::<4>();
        let inner = self.taps * self.inputs;
        let mut raw = Vec::with_capacity(self.weights.raw.len());
        for n in 0..inner {
            let (tap, input) = (n / self.inputs, n % self.inputs);
            for output in 0..self.outputs {
                raw.extend(numbers[(output * self.inputs + input) * self.taps + tap]);
            }
        }
        let (whole, scale) = rounded(&raw, self.outputs, self.block);
        let sizes = Sizes {
            inner,
            columns: self.outputs,
            block: self.block,
        };
        let [weights, scales] = self.kept_as();
        keep(sizes, [&whole, &scale], [&weights, &scales], products);
    }
}
