//! Nodes around products that are one operator together: the runtime's own, where it has one.
//!
//! What a step of few frames costs beside reading weights is the number of its nodes.
//!
//! Source: ONNX Runtime, contributed operators (`Gelu`, `SkipLayerNormalization`).

use std::collections::{HashMap, HashSet};

use crate::onnx_check::{Attribute, Node, RUNTIME_DOMAIN};
use crate::onnx_precision::products::Products;
use crate::onnx_writer::{Attr, bytes_field, node_message};

use super::attention::attention;
use super::gates::{gate, halves};
use super::matrices::OwnMatrices;
use super::surroundings::Surroundings;

/// What becomes of the nodes of a graph.
#[derive(Default)]
pub(in crate::onnx_precision) struct Together {
    /// Where each is written, as it is written.
    placed: HashMap<usize, Vec<u8>>,
    /// Nodes that are in one of them.
    taken: HashSet<usize>,
}

/// Nodes that are one.
pub(super) struct One {
    /// The last of them, in whose place it is written.
    pub(super) last: usize,
    pub(super) nodes: Vec<usize>,
    pub(super) message: Vec<u8>,
}

impl Together {
    /// What becomes of the nodes of a graph, some of which are `taken` already.
    pub(in crate::onnx_precision) fn of(
        surroundings: &Surroundings<'_>,
        products: &OwnMatrices<'_>,
        is_taken: &dyn Fn(usize) -> bool,
    ) -> Self {
        let mut together = Self::default();
        for n in 0..surroundings.nodes.len() {
            let one = gelu(surroundings, n)
                .or_else(|| skipping_norm(surroundings, products, n))
                .or_else(|| attention(surroundings, n))
                .or_else(|| gate(surroundings, products, n))
                .or_else(|| halves(surroundings, products, n));
            let Some(one) = one else { continue };
            let is_free = |n: &usize| !is_taken(*n) && !together.taken.contains(n);
            if one.nodes.iter().all(is_free) {
                together.taken.extend(one.nodes);
                together.placed.insert(one.last, one.message);
            }
        }
        together
    }

    /// Whether a node is written as part of another one.
    pub(in crate::onnx_precision) fn takes(&self, node: usize) -> bool {
        self.taken.contains(&node)
    }

    /// Writes what is to be written in place of a node.
    pub(in crate::onnx_precision) fn write_at(&self, node: usize, products: &mut Products) {
        if let Some(message) = self.placed.get(&node) {
            bytes_field(&mut products.graph, 1, message);
        }
    }
}

/// A node of `domain`.
pub(super) fn message(
    domain: &str,
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Attr],
) -> Vec<u8> {
    let name = format!("{op} {}", outputs[0]);
    let mut message = node_message(op, &name, inputs, outputs, attributes);
    bytes_field(&mut message, 7, domain.as_bytes());
    message
}

/// The other one of two inputs.
pub(super) fn other<'a>(node: &Node<'a>, name: &str) -> Option<&'a str> {
    match node.inputs[..] {
        [a, other] | [other, a] if a == name => Some(other),
        _ => None,
    }
}

/// `x · ½ · (1 + erf(x / √2))`.
struct Gelu<'a> {
    x: &'a str,
    output: &'a str,
    nodes: [usize; 5],
}

/// The GELU of which `erf` is node `n`.
fn gelu_at<'a>(surroundings: &Surroundings<'a>, n: usize) -> Option<Gelu<'a>> {
    let error = surroundings.node(n).filter(|node| node.op == "Erf")?;
    let &[place] = &error.inputs[..] else {
        return None;
    };
    let (first, scaled) = surroundings.made(place, "Mul")?;
    let &[x, root] = &scaled.inputs[..] else {
        return None;
    };
    let root = surroundings.scalar(root)?;
    let (sum, raised) = surroundings.reader(error.output)?;
    let one = surroundings.scalar(other(raised, error.output)?)?;
    let (twice, product) = surroundings.reader(raised.output)?;
    let (last, halved) = surroundings.reader(product.output)?;
    let half = surroundings.scalar(other(halved, product.output)?)?;
    let is_gelu = root == std::f32::consts::FRAC_1_SQRT_2
        && surroundings.readers(place) == [n]
        && (raised.op, one) == ("Add", 1.0)
        && (product.op, other(product, raised.output)?) == ("Mul", x)
        && (halved.op, half) == ("Mul", 0.5);
    is_gelu.then_some(Gelu {
        x,
        output: halved.output,
        nodes: [first, n, sum, twice, last],
    })
}

/// The GELU that is all that becomes of `name`: its nodes, and what comes out.
pub(super) fn gelu_of<'a>(
    surroundings: &Surroundings<'a>,
    name: &str,
) -> Option<([usize; 5], &'a str)> {
    let &[a, _] = surroundings.readers(name) else {
        return None;
    };
    let (error, _) = surroundings.reader(surroundings.node(a)?.output)?;
    let gelu = gelu_at(surroundings, error).filter(|gelu| gelu.x == name)?;
    Some((gelu.nodes, gelu.output))
}

/// The GELU of which `erf` is node `n`, as one node.
fn gelu(surroundings: &Surroundings<'_>, n: usize) -> Option<One> {
    let gelu = gelu_at(surroundings, n)?;
    Some(One {
        last: gelu.nodes[4],
        nodes: gelu.nodes.to_vec(),
        message: message(RUNTIME_DOMAIN, "Gelu", &[gelu.x], &[gelu.output], &[]),
    })
}

/// A normalisation, node `n`, of what a product adds to what was normalised before: both have all rows.
fn skipping_norm(
    surroundings: &Surroundings<'_>,
    products: &OwnMatrices<'_>,
    n: usize,
) -> Option<One> {
    let norm = surroundings.node(n)?;
    let &[sum, gain, shift] = &norm.inputs[..] else {
        return None;
    };
    let (Some(&Attribute::Float(epsilon)), Some(&Attribute::Int(-1))) =
        (norm.attributes.get("epsilon"), norm.attributes.get("axis"))
    else {
        return None;
    };
    let (at, added) = surroundings.maker(sum)?;
    let &[a, b] = &added.inputs[..] else {
        return None;
    };
    let is_normed = |name| matches!(surroundings.maker(name), Some((_, node)) if node.op == "LayerNormalization");
    let fits = (norm.op, added.op) == ("LayerNormalization", "Add")
        && surroundings.readers(sum) == [n]
        && (is_normed(a) && products.make(b) || is_normed(b) && products.make(a))
        && surroundings.vector(gain).is_some()
        && surroundings.vector(shift).is_some();
    fits.then(|| One {
        last: n,
        nodes: vec![at, n],
        message: message(
            RUNTIME_DOMAIN,
            "SkipLayerNormalization",
            &[a, b, gain, shift],
            &[norm.output],
            &[Attr::Float("epsilon", epsilon)],
        ),
    })
}
