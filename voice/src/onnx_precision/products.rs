//! Nodes and constants of products of 8 bits with one scale a step.
//!
//! Source: ONNX operators (`DynamicQuantizeLinear`), ONNX Runtime, contributed operators (`MatMulIntegerToFloat`).

use std::collections::HashSet;

use crate::onnx_check::RUNTIME_DOMAIN;
use crate::onnx_writer::{Attr, FLOAT, INT8, INT64, bytes_field, node_message, tensor};

/// Largest whole number of a weight. Two of its products with 255 are within 16 bits, in which processors without
/// instructions for such products add them up.
const MOST: f32 = 64.0;

/// What is written in place of layers.
#[derive(Default)]
pub(super) struct Products {
    /// Fields of a graph.
    pub(super) graph: Vec<u8>,
    /// Whole numbers that are there already.
    ints: HashSet<Vec<i64>>,
}

impl Products {
    /// Adds a node.
    pub(super) fn op(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[Attr]) {
        let name = format!("{op} {}", outputs[0]);
        let node = node_message(op, &name, inputs, outputs, attrs);
        bytes_field(&mut self.graph, 1, &node);
    }

    /// Whole numbers as a constant, which is made once.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("8 bits {values:?}");
        if self.ints.insert(values.to_vec()) {
            let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let constant = tensor(&name, &[values.len()], INT64, &raw);
            bytes_field(&mut self.graph, 5, &constant);
        }
        name
    }

    /// Rounds `input` `[1, inputs, samples]` for the layer that gives `output`: `[1, samples, inputs]`.
    pub(super) fn rounded(&mut self, input: &str, output: &str) -> Rounded {
        let own = |what: &str| format!("8 bits {output} {what}");
        let (values, scale, zero) = (own("rounded"), own("scale"), own("zero"));
        self.op(
            "DynamicQuantizeLinear",
            &[input],
            &[&values, &scale, &zero],
            &[],
        );
        let rows = own("rows");
        self.op("Transpose", &[&values], &[&rows], &[turn()]);
        Rounded { rows, scale, zero }
    }

    /// The product of `rows`, rounded as `from` is, with the weights `name` of [`Self::keep`]: `product`, in float32.
    pub(super) fn product(
        &mut self,
        rows: &str,
        from: &Rounded,
        name: &str,
        bias: &str,
        product: &str,
    ) {
        let (weights, scales) = (whole(name), scales(name));
        let inputs: [&str; 7] = [rows, &weights, &from.scale, &scales, &from.zero, "", bias];
        let inputs = &inputs[..if bias.is_empty() { 5 } else { 7 }];
        let node = format!("{product} node");
        let mut node = node_message("MatMulIntegerToFloat", &node, inputs, &[product], &[]);
        bytes_field(&mut node, 7, RUNTIME_DOMAIN.as_bytes());
        bytes_field(&mut self.graph, 1, &node);
    }

    /// Keeps weights `[inner, columns]`, of which `at` gives each, as whole numbers with a scale for every column.
    pub(super) fn keep(
        &mut self,
        name: &str,
        [inner, columns]: [usize; 2],
        at: impl Fn(usize, usize) -> f32,
    ) {
        let scale: Vec<f32> = (0..columns)
            .map(|column| scale_of((0..inner).map(|n| at(n, column))))
            .collect();
        let mut kept = Vec::with_capacity(inner * columns);
        for n in 0..inner {
            let columns = scale.iter().enumerate();
            kept.extend(columns.map(|(column, scale)| rounded(at(n, column), *scale)));
        }
        self.keep_rounded(name, &[inner, columns], &kept, &scale);
    }

    /// Keeps weights that are whole numbers already, and their scales.
    pub(super) fn keep_rounded(&mut self, name: &str, shape: &[usize], kept: &[u8], scale: &[f32]) {
        let raw: Vec<u8> = scale.iter().flat_map(|v| v.to_le_bytes()).collect();
        let kept = tensor(&whole(name), shape, INT8, kept);
        bytes_field(&mut self.graph, 5, &kept);
        let scale = tensor(&scales(name), &[scale.len()], FLOAT, &raw);
        bytes_field(&mut self.graph, 5, &scale);
    }
}

/// A layer's input in whole numbers.
pub(super) struct Rounded {
    /// `[1, samples, inputs]`.
    pub(super) rows: String,
    scale: String,
    zero: String,
}

/// Rows to columns and back.
pub(super) fn turn() -> Attr {
    Attr::Ints("perm", vec![0, 2, 1])
}

/// What a whole number of 1 is among these weights.
pub(super) fn scale_of(weights: impl Iterator<Item = f32>) -> f32 {
    let largest = weights.fold(0.0f32, |most, weight| most.max(weight.abs()));
    if largest > 0.0 { largest / MOST } else { 1.0 }
}

/// A weight as a whole number.
pub(super) fn rounded(weight: f32, scale: f32) -> u8 {
    ((weight / scale).round() as i8).to_le_bytes()[0]
}

pub(super) fn whole(weights: &str) -> String {
    format!("8 bits {weights}")
}

pub(super) fn scales(weights: &str) -> String {
    format!("8 bits {weights} scales")
}
