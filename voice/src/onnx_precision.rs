//! A graph with its weights in fewer bits.
//!
//! A step of few frames costs what reading the weights costs, so that weights of 8 bits make large encoders about twice as
//! cheap. Half precision makes files half as large and nothing faster: CPUs widen it when the graph is loaded.
//!
//! | module | what |
//! |---|---|
//! | `matrices` | products with matrices of 8 bits: a package may keep them |
//! | `convolutions`, `products` | convolutions as products of 8 bits: made when a CPU loads a graph |
//! | `own` | both, and what lies around them, as operators of our own, for processors that Timbra knows |
//! | `halves` | constants in float16 |
//!
//! Source: ONNX IR specification, `onnx.proto3` (field numbers); ONNX Runtime, contributed operators (`MatMulNBits`).

mod convolutions;
mod halves;
mod matrices;
mod own;
mod products;

use crate::manifest::CpuWeights;
use crate::onnx_check::wire::{self, Field, Fields};
use crate::onnx_check::{GraphError, RUNTIME_DOMAIN, RUNTIME_OPSET, operator_set};
use crate::onnx_writer::{FLOAT, bytes_field, int_field, varint};
use halves::halved;
use matrices::quantised;
pub(crate) use matrices::{ACCURACY_LEVEL, BLOCKS};
pub use own::{
    OWN_ATTENTION, OWN_COLUMNS, OWN_CONVOLUTION, OWN_DOMAIN, OWN_GATE, OWN_HALVES, OWN_OPSET,
    OWN_PIECE, OWN_PRODUCT, OWN_ROWS, own_scale_at,
};

/// In what the weights of a graph are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Float32, as they were trained.
    F32,
    /// Float16: half the file, the same load.
    F16,
    /// The matrices as whole numbers of 8 bits with a scale for every 128 of them or less, the rest in float32.
    Int8,
}

/// What makes the convolutions and products of a graph in 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operators {
    /// Operators that every runtime has.
    Runtime,
    /// Timbra's, those of [`OWN_DOMAIN`], that a session has to be given.
    Own,
}

/// The graph in `bytes` as a processor runs it that keeps its weights in `weights` and has the operators `by`.
///
/// It may have operators that a voice's file may not.
///
/// # Errors
/// It is no graph that Timbra writes.
pub fn for_cpu(bytes: &[u8], weights: CpuWeights, by: Operators) -> Result<Vec<u8>, GraphError> {
    match weights {
        CpuWeights::Int8 => convolutions::as_products(&in_precision(bytes, Precision::Int8)?, by),
    }
}

/// Names the runtime's own operators as ones of the model.
fn domain_of_runtime(model: &mut Vec<u8>) {
    domain(model, RUNTIME_DOMAIN, RUNTIME_OPSET);
}

/// Names operators of `domain` as ones of the model.
fn domain(model: &mut Vec<u8>, domain: &str, version: i64) {
    let mut opset = Vec::new();
    bytes_field(&mut opset, 1, domain.as_bytes());
    int_field(&mut opset, 2, version);
    bytes_field(model, 8, &opset);
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
    let mut knows_domain = false;
    while let Some((field, value)) = model.next()? {
        if let (8, Field::Bytes(opset)) = (field, value) {
            knows_domain |= operator_set(opset)?.0 == RUNTIME_DOMAIN;
        }
        match (field, value, precision) {
            (7, Field::Bytes(graph), Precision::Int8) => {
                bytes_field(&mut out, 7, &quantised(graph)?);
            }
            (7, Field::Bytes(graph), Precision::F16) => bytes_field(&mut out, 7, &halved(graph)?),
            _ => copy(&mut out, field, value),
        }
    }
    if precision == Precision::Int8 && !knows_domain {
        domain_of_runtime(&mut out);
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

/// The name of a constant, its TensorProto.DataType and its bytes.
fn raw_constant(bytes: &[u8]) -> Result<(&str, u64, &[u8]), GraphError> {
    let (mut name, mut kind, mut raw) = ("", 0, &[][..]);
    let mut fields = Fields::new(bytes, "a constant", &[2, 8, 9]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (2, Field::Number(number)) => kind = number,
            (8, Field::Bytes(bytes)) => name = text(bytes)?,
            (9, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Ok((name, kind, raw))
}

fn text(bytes: &[u8]) -> Result<&str, GraphError> {
    std::str::from_utf8(bytes).map_err(|_| GraphError::Malformed { what: "a name" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::onnx_check::{Known, check};
    use crate::onnx_writer::GraphBuilder;

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
