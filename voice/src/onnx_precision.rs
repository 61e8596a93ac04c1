//! A graph with its weights in fewer bits.
//!
//! A step of few frames costs what reading the weights costs, so that weights of 8 bits make large encoders about twice as
//! cheap. Half precision makes files half as large and nothing faster: CPUs widen it when the graph is loaded.
//!
//! Source: ONNX IR specification, `onnx.proto3` (field numbers); ONNX Runtime, contributed operators (`MatMulNBits`).

use std::collections::HashMap;

use crate::onnx_check::wire::{self, Field, Fields};
use crate::onnx_check::{GraphError, QUANTISED, RUNTIME_DOMAIN, RUNTIME_OPSET};
use crate::onnx_writer::{
    Attr, FLOAT, FLOAT16, UINT8, attribute, bytes_field, int_field, tensor, varint,
};

/// Weights that share a scale; inputs are rounded in the same blocks.
pub(crate) const BLOCK: usize = 32;
/// Products of whole numbers of 8 bits, in the runtime's numbering.
pub(crate) const ACCURACY_LEVEL: i64 = 4;
/// Matrices with fewer weights stay as they are: they are read from the processor's own memory.
const LEAST_QUANTISED: usize = 1 << 14;
/// Constants with fewer numbers stay as they are.
const LEAST_HALVED: usize = 1 << 10;
/// The whole number that means 0.
const ZERO_POINT: f32 = 128.0;
/// Largest whole number to either side of it.
const MOST: f32 = 127.0;

/// In what the weights of a graph are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Float32, as they were trained.
    F32,
    /// Float16: half the file, the same load.
    F16,
    /// The matrices as whole numbers of 8 bits with a scale for every 32, the rest in float32.
    Int8,
}

/// A float32 constant.
struct Constant<'a> {
    shape: Vec<usize>,
    raw: &'a [u8],
}

/// The graph in `bytes` with its weights kept in `precision`.
///
/// # Errors
/// It is no graph that Timbra writes, or a weight is too large for float16.
pub fn in_precision(bytes: &[u8], precision: Precision) -> Result<Vec<u8>, GraphError> {
    let mut out = Vec::new();
    let mut model = Fields::new(bytes, "the model", &[7]);
    while let Some((field, value)) = model.next()? {
        match (field, value, precision) {
            (7, Field::Bytes(graph), Precision::Int8) => {
                bytes_field(&mut out, 7, &quantised(graph)?);
                let mut opset = Vec::new();
                bytes_field(&mut opset, 1, RUNTIME_DOMAIN.as_bytes());
                int_field(&mut opset, 2, RUNTIME_OPSET);
                bytes_field(&mut out, 8, &opset);
            }
            (7, Field::Bytes(graph), Precision::F16) => bytes_field(&mut out, 7, &halved(graph)?),
            _ => copy(&mut out, field, value),
        }
    }
    Ok(out)
}

fn copy(out: &mut Vec<u8>, field: u64, value: Field<'_>) {
    match value {
        Field::Number(number) => int_field(out, field, number as i64),
        Field::Bytes(bytes) => bytes_field(out, field, bytes),
        Field::Word(word) => {
            varint(out, (field << 3) | 5);
            out.extend_from_slice(&word);
        }
    }
}

/// A float32 constant with its name; `None` for others.
fn constant(bytes: &[u8]) -> Result<Option<(&str, Constant<'_>)>, GraphError> {
    const WHAT: &str = "a constant";
    let (mut name, mut shape, mut kind, mut raw) = ("", Vec::new(), 0, &[][..]);
    let mut fields = Fields::new(bytes, WHAT, &[2, 8, 9]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Number(extent)) => shape.push(extent as usize),
            (1, Field::Bytes(bytes)) => {
                shape.extend(wire::packed(bytes, WHAT)?.map(|extent| extent as usize));
            }
            (2, Field::Number(number)) => kind = number,
            (8, Field::Bytes(bytes)) => name = text(bytes)?,
            (9, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let bytes = shape
        .iter()
        .try_fold(4usize, |bytes, &extent| bytes.checked_mul(extent));
    let is_float = kind == FLOAT && bytes == Some(raw.len());
    Ok(is_float.then_some((name, Constant { shape, raw })))
}

fn text(bytes: &[u8]) -> Result<&str, GraphError> {
    std::str::from_utf8(bytes).map_err(|_| GraphError::Malformed { what: "a name" })
}

/// Inputs and operator of a node.
fn node(bytes: &[u8]) -> Result<(Vec<&str>, &str), GraphError> {
    let (mut inputs, mut op) = (Vec::new(), "");
    let mut fields = Fields::new(bytes, "a node", &[4]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => inputs.push(text(bytes)?),
            (4, Field::Bytes(bytes)) => op = text(bytes)?,
            _ => {}
        }
    }
    Ok((inputs, op))
}

/// The name of the scales of the weights `name`.
fn scales_of(name: &str) -> String {
    format!("{name}_scales")
}

fn quantised(graph: &[u8]) -> Result<Vec<u8>, GraphError> {
    let mut matrices = HashMap::new();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    let mut products: HashMap<&str, usize> = HashMap::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => {
                let (inputs, op) = node(bytes)?;
                for &input in &inputs {
                    *uses.entry(input).or_default() += 1;
                }
                if let ("MatMul", [_, weights]) = (op, &inputs[..]) {
                    *products.entry(weights).or_default() += 1;
                }
            }
            (5, Field::Bytes(bytes)) => {
                if let Some((name, constant)) = constant(bytes)?
                    && let [inner, columns] = constant.shape[..]
                    && inner % BLOCK == 0
                    && inner * columns >= LEAST_QUANTISED
                {
                    matrices.insert(name, constant);
                }
            }
            _ => {}
        }
    }
    matrices.retain(|name, _| uses.get(name) == products.get(name) && uses.contains_key(name));
    let mut out = Vec::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => {
                let (inputs, op) = node(bytes)?;
                let matrix = inputs.get(1).and_then(|name| matrices.get_key_value(name));
                match matrix.filter(|_| op == "MatMul") {
                    Some((name, matrix)) => {
                        bytes_field(&mut out, 1, &product(bytes, name, &matrix.shape)?);
                    }
                    None => copy(&mut out, field, value),
                }
            }
            (5, Field::Bytes(bytes)) => {
                let found = constant(bytes)?;
                match found.and_then(|(name, _)| matrices.get_key_value(name)) {
                    Some((name, matrix)) => {
                        let (inner, columns) = (matrix.shape[0], matrix.shape[1]);
                        let blocks = inner / BLOCK;
                        let (weights, scales) = rounded(matrix.raw, inner, columns);
                        let shape = [columns, blocks, BLOCK];
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
fn product(node: &[u8], name: &str, shape: &[usize]) -> Result<Vec<u8>, GraphError> {
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
        ("block_size", BLOCK as i64),
        ("accuracy_level", ACCURACY_LEVEL),
    ];
    for (name, number) in numbers {
        bytes_field(&mut out, 5, &attribute(&Attr::Int(name, number)));
    }
    bytes_field(&mut out, 7, RUNTIME_DOMAIN.as_bytes());
    Ok(out)
}

/// Weights `[inner, columns]` as whole numbers `[columns, inner]`, and the bytes of their scales.
fn rounded(raw: &[u8], inner: usize, columns: usize) -> (Vec<u8>, Vec<u8>) {
    let weights: Vec<f32> = raw
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let (mut whole, mut scales) = (Vec::with_capacity(weights.len()), Vec::new());
    for column in 0..columns {
        for block in 0..inner / BLOCK {
            let at = |n: usize| weights[(block * BLOCK + n) * columns + column];
            let largest = (0..BLOCK).fold(0.0f32, |most, n| most.max(at(n).abs()));
            let scale = if largest > 0.0 { largest / MOST } else { 1.0 };
            whole.extend(
                (0..BLOCK)
                    .map(|n| (at(n) / scale).round() as i16 + ZERO_POINT as i16)
                    .map(|n| n as u8),
            );
            scales.extend_from_slice(&scale.to_le_bytes());
        }
    }
    (whole, scales)
}

fn halved(graph: &[u8]) -> Result<Vec<u8>, GraphError> {
    let mut out = Vec::new();
    let mut rest = Vec::new();
    let mut fields = Fields::new(graph, "the graph", &[]);
    while let Some((field, value)) = fields.next()? {
        let found = match (field, value) {
            (5, Field::Bytes(bytes)) => constant(bytes)?,
            _ => None,
        };
        match found.filter(|(_, constant)| constant.raw.len() >= 4 * LEAST_HALVED) {
            Some((name, constant)) => {
                let half = format!("{name}_f16");
                let mut bytes = Vec::with_capacity(constant.raw.len() / 2);
                for word in constant.raw.as_chunks::<4>().0 {
                    let value = f32::from_le_bytes(*word);
                    let bits = half_bits(value).ok_or_else(|| GraphError::Refused {
                        what: name.to_owned(),
                        expected: "weights within ±65504; keep the graph in float32".to_owned(),
                        found: value.to_string(),
                    })?;
                    bytes.extend_from_slice(&bits.to_le_bytes());
                }
                let kept = tensor(&half, &constant.shape, FLOAT16, &bytes);
                bytes_field(&mut rest, 5, &kept);
                let mut node = Vec::new();
                bytes_field(&mut node, 1, half.as_bytes());
                bytes_field(&mut node, 2, name.as_bytes());
                bytes_field(&mut node, 3, format!("widen_{name}").as_bytes());
                bytes_field(&mut node, 4, b"Cast");
                let to = Attr::Int("to", FLOAT as i64);
                bytes_field(&mut node, 5, &attribute(&to));
                bytes_field(&mut out, 1, &node);
            }
            None => copy(&mut rest, field, value),
        }
    }
    out.append(&mut rest);
    Ok(out)
}

/// The nearest float16, the even one of two; `None` beyond its range.
fn half_bits(value: f32) -> Option<u16> {
    let half = half::f16::from_f32(value);
    half.is_finite().then(|| half.to_bits())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::onnx_check::{Known, check};
    use crate::onnx_writer::GraphBuilder;

    #[test]
    fn half_precision_rounds_to_the_nearest_even() {
        let cases: [(f32, u16); 12] = [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65_504.0, 0x7bff),
            (65_519.0, 0x7bff),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (1.000_488_3, 0x3c00),
            (1.001_464_8, 0x3c02),
            (0.333_333_34, 0x3555),
        ];
        for (value, bits) in cases {
            assert_eq!(half_bits(value), Some(bits), "{value}");
        }
        assert_eq!(half_bits(65_520.0), None);
        assert_eq!(half_bits(f32::NAN), None);
    }

    fn graph() -> Vec<u8> {
        let mut graph = GraphBuilder::new("content");
        graph.input("x", &[1.into(), "T".into(), 256.into()]);
        let values: Vec<f32> = (0..256 * 128).map(|n| (n as f32 * 0.37).sin()).collect();
        graph.constant_f32("matrix_k", &[256, 128], &values);
        graph.constant_f32("vector_k", &[128], &values[..128]);
        let vector = graph.op("Identity", &["vector_k"], vec![]);
        let product = graph.op("MatMul", &["x", "matrix_k"], vec![]);
        let product = graph.op("Add", &[&product, &vector], vec![]);
        graph.node("Identity", &[&product], &["y"], vec![]);
        graph.output("y", &[1.into(), "T".into(), 128.into()]);
        graph.finish()
    }

    #[test]
    fn graphs_in_every_precision_pass_the_check_and_shrink() {
        let whole = graph();
        let known = [Known {
            name: "x",
            shape: &[1, 2, 256],
            fixed: None,
        }];
        for (precision, share) in [
            (Precision::F32, 1.0),
            (Precision::F16, 0.51),
            (Precision::Int8, 0.30),
        ] {
            let made = in_precision(&whole, precision).unwrap();
            check(&made, &known, 1).unwrap();
            let found = made.len() as f64 / whole.len() as f64;
            assert!(found <= share, "{precision:?}: {found}");
        }
    }

    #[test]
    fn weights_are_kept_within_half_a_step_of_their_block() {
        let (inner, columns) = (64, 3);
        let values: Vec<f32> = (0..inner * columns)
            .map(|n| (n as f32 * 1.7).sin() * (1 + n % 7) as f32)
            .collect();
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (whole, scales) = rounded(&raw, inner, columns);
        let scales = scales.as_chunks::<4>().0;
        for column in 0..columns {
            for n in 0..inner {
                let scale = f32::from_le_bytes(scales[column * inner / BLOCK + n / BLOCK]);
                let kept = (f32::from(whole[column * inner + n]) - ZERO_POINT) * scale;
                let wanted = values[n * columns + column];
                assert!((kept - wanted).abs() <= 0.501 * scale, "{wanted}: {kept}");
            }
        }
    }

    #[test]
    fn products_of_8_bits_that_differ_from_what_is_written_are_refused() {
        let made = in_precision(&graph(), Precision::Int8).unwrap();
        let known = [Known {
            name: "x",
            shape: &[1, 2, 256],
            fixed: None,
        }];
        // Attributes in the wire format: name, then the number.
        let changes: [(&[u8], &[u8]); 7] = [
            (b"\x0a\x01K\x18\x80\x02", b"\x0a\x01K\x18\xe0\x01"),
            (b"\x0a\x01N\x18\x80\x01", b"\x0a\x01N\x18\xe0\x01"),
            (b"\x0a\x04bits\x18\x08", b"\x0a\x04bits\x18\x04"),
            (b"block_size\x18\x20", b"block_size\x18\x10"),
            (b"accuracy_level\x18\x04", b"accuracy_level\x18\x00"),
            (b"com.microsoft", b"com.microsofu"),
            (b"MatMulNBits", b"MatMulNBit4"),
        ];
        for (from, to) in changes {
            let mut changed = made.clone();
            let at = made.windows(from.len()).position(|part| part == from);
            let at = at.unwrap_or_else(|| panic!("{from:?} is not there"));
            changed[at..at + to.len()].copy_from_slice(to);
            assert!(check(&changed, &known, 1).is_err(), "{to:?}");
        }
    }

    #[test]
    fn weights_of_8_bits_go_nowhere_else() {
        let made = in_precision(&graph(), Precision::Int8).unwrap();
        let known = [Known {
            name: "x",
            shape: &[1, 2, 256],
            fixed: None,
        }];
        // Where the graph hands on a vector it hands on the matrix, whose name is as long.
        let from = b"\x0a\x08vector_k";
        let at = made.windows(from.len()).position(|part| part == from);
        let mut changed = made.clone();
        let at = at.unwrap() + 2;
        changed[at..at + 8].copy_from_slice(b"matrix_k");
        let error = check(&changed, &known, 1).unwrap_err().to_string();
        assert!(error.contains("uint8 in MatMulNBits alone"), "{error}");
    }
}
