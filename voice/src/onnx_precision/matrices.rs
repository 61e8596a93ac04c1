//! Products with matrices of 8 bits.
//!
//! Source: ONNX Runtime, contributed operators (`MatMulNBits`).

use std::collections::HashMap;

use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{GraphError, QUANTISED, RUNTIME_DOMAIN, node};
use crate::onnx_writer::{Attr, FLOAT, UINT8, attribute, bytes_field, tensor};

use super::{constant, copy};

/// Numbers of weights that share a scale; inputs are rounded in the same blocks.
pub(crate) const BLOCKS: [usize; 3] = [128, 64, LEAST_BLOCK];
const LEAST_BLOCK: usize = 32;
/// Weights of a graph that do not stay in the processor's own memory from step to step. What such a graph costs is reading them, and
/// with fewer scales there is a tenth less to do; in smaller ones a scale has as few weights as it can.
const MANY: usize = 1 << 23;
/// Products of whole numbers of 8 bits, in the runtime's numbering.
pub(crate) const ACCURACY_LEVEL: i64 = 4;
/// Matrices with fewer weights stay as they are: they are read from the processor's own memory.
const LEAST_QUANTISED: usize = 1 << 14;
/// The whole number that means 0.
const ZERO_POINT: f32 = 128.0;
/// Largest whole number to either side of it.
const MOST: f32 = 127.0;

/// The name of the scales of the weights `name`.
fn scales_of(name: &str) -> String {
    format!("{name}_scales")
}

/// Weights of a column of `inner`, a multiple of [`LEAST_BLOCK`], that share a scale in a graph with `all` of them.
fn block_of(inner: usize, all: usize) -> usize {
    let most = if all < MANY { LEAST_BLOCK } else { usize::MAX };
    let mut blocks = BLOCKS.into_iter().filter(|&block| block <= most);
    blocks
        .find(|&block| inner.is_multiple_of(block))
        .unwrap_or(LEAST_BLOCK)
}

/// The graph with its matrices in 8 bits.
///
/// # Errors
/// It is no graph that a voice may have.
pub(super) fn quantised(graph: &[u8]) -> Result<Vec<u8>, GraphError> {
    let mut matrices = HashMap::new();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    let mut products: HashMap<&str, usize> = HashMap::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => {
                let node = node(bytes)?;
                for &input in &node.inputs {
                    *uses.entry(input).or_default() += 1;
                }
                if let ("MatMul", [_, weights]) = (node.op, &node.inputs[..]) {
                    *products.entry(weights).or_default() += 1;
                }
            }
            (5, Field::Bytes(bytes)) => {
                if let Some((name, constant)) = constant(bytes)?
                    && let [inner, columns] = constant.shape[..]
                    && inner.is_multiple_of(LEAST_BLOCK)
                    && inner * columns >= LEAST_QUANTISED
                {
                    matrices.insert(name, constant);
                }
            }
            _ => {}
        }
    }
    matrices.retain(|name, _| uses.get(name) == products.get(name) && uses.contains_key(name));
    let all = matrices.values().map(|matrix| matrix.raw.len() / 4).sum();
    let mut out = Vec::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => {
                let node = node(bytes)?;
                let weights = node.inputs.get(1);
                let matrix = weights.and_then(|name| matrices.get_key_value(name));
                match matrix.filter(|_| node.op == "MatMul") {
                    Some((name, matrix)) => {
                        let block = block_of(matrix.shape[0], all);
                        let product = product(bytes, name, &matrix.shape, block)?;
                        bytes_field(&mut out, 1, &product);
                    }
                    None => copy(&mut out, field, value),
                }
            }
            (5, Field::Bytes(bytes)) => {
                let found = constant(bytes)?;
                match found.and_then(|(name, _)| matrices.get_key_value(name)) {
                    Some((name, matrix)) => {
                        let (inner, columns) = (matrix.shape[0], matrix.shape[1]);
                        let block = block_of(inner, all);
                        let blocks = inner / block;
                        let (weights, scales) = rounded(matrix.raw, columns, block);
                        let shape = [columns, blocks, block];
                        bytes_field(&mut out, 5, &tensor(name, &shape, UINT8, &weights));
                        let name = scales_of(name);
                        let scales = tensor(&name, &[columns * blocks], FLOAT, &scales);
                        bytes_field(&mut out, 5, &scales);
                    }
                    None => copy(&mut out, field, value),
                }
            }
            _ => copy(&mut out, field, value),
        }
    }
    Ok(out)
}

/// The node of a product with the matrix `name`, now of 8 bits.
fn product(node: &[u8], name: &str, shape: &[usize], block: usize) -> Result<Vec<u8>, GraphError> {
    let mut out = Vec::new();
    let mut fields = Fields::new(node, "a node", &[]);
    let mut inputs = 0;
    while let Some((field, value)) = fields.next()? {
        match field {
            4 => {
                bytes_field(&mut out, 1, scales_of(name).as_bytes());
                bytes_field(&mut out, 4, QUANTISED.as_bytes());
            }
            1 if inputs == 2 => {}
            _ => {
                inputs += usize::from(field == 1);
                copy(&mut out, field, value);
            }
        }
    }
    let numbers = [
        ("K", shape[0] as i64),
        ("N", shape[1] as i64),
        ("bits", 8),
        ("block_size", block as i64),
        ("accuracy_level", ACCURACY_LEVEL),
    ];
    for (name, number) in numbers {
        bytes_field(&mut out, 5, &attribute(&Attr::Int(name, number)));
    }
    bytes_field(&mut out, 7, RUNTIME_DOMAIN.as_bytes());
    Ok(out)
}

/// Weights `[inner, columns]` as whole numbers `[columns, inner]`, and the bytes of the scales of every `block` of them.
pub(super) fn rounded(raw: &[u8], columns: usize, block: usize) -> (Vec<u8>, Vec<u8>) {
    let weights: Vec<f32> = raw
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let (mut whole, mut scales) = (Vec::with_capacity(weights.len()), Vec::new());
    for column in 0..columns {
        for rows in weights.chunks(block * columns) {
            let own = || rows[column..].iter().step_by(columns);
            let largest = own().fold(0.0f32, |most, weight| most.max(weight.abs()));
            let scale = if largest > 0.0 { largest / MOST } else { 1.0 };
            whole.extend(
                own()
                    .map(|weight| (weight / scale).round() as i16 + ZERO_POINT as i16)
                    .map(|n| n as u8),
            );
            scales.extend_from_slice(&scale.to_le_bytes());
        }
    }
    (whole, scales)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn few_weights_share_a_scale_where_there_are_few() {
        assert_eq!(block_of(256, MANY - 1), 32);
        assert_eq!(block_of(256, MANY), 128);
        assert_eq!(block_of(192, MANY), 64);
        assert_eq!(block_of(96, MANY), 32);
    }

    #[test]
    fn weights_are_kept_within_half_a_step_of_their_block() {
        let (inner, columns, block) = (64, 3, 32);
        let values: Vec<f32> = (0..inner * columns)
            .map(|n| (n as f32 * 1.7).sin() * (1 + n % 7) as f32)
            .collect();
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (whole, scales) = rounded(&raw, columns, block);
        let scales = scales.as_chunks::<4>().0;
        for column in 0..columns {
            for n in 0..inner {
                let scale = f32::from_le_bytes(scales[column * inner / block + n / block]);
                let kept = (f32::from(whole[column * inner + n]) - ZERO_POINT) * scale;
                let wanted = values[n * columns + column];
                assert!((kept - wanted).abs() <= 0.501 * scale, "{wanted}: {kept}");
            }
        }
    }
}
