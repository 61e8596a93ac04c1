//! Whether a graph is one a voice may have, before the runtime sees a byte of it.
//!
//! The runtime is built for graphs one trusts: it opens files that a graph names, and 150 bytes can make it allocate
//! gigabytes while it loads. So a graph is walked here first. It holds what [`crate::onnx_writer`] and
//! [`crate::onnx_precision`] write and nothing else: no other files, functions, subgraphs or operators of other makers
//! but [`QUANTISED`]; every constant fills its shape; and with the shapes of one frame, [`sizes`] works out every tensor, which must stay within [`MAX_NUMBERS`] and [`MAX_WORK`].
//!
//! Source: ONNX IR specification, `onnx.proto3` (field numbers); operator set 17 (shapes).

mod sizes;
pub mod wire;

use std::collections::HashMap;

use crate::check::clip;
use crate::onnx_writer::{FLOAT, FLOAT16, INT64, OPSET, UINT8};
pub use sizes::{OPERATORS, QUANTISED};
use wire::{Field, Fields};

/// Most numbers in all tensors a graph computes for one frame: 128 MiB in float32, were all alive at once, and with the
/// slowest operator (`Mod`) 0.9 s for the trial run on one busy core of 2022. The shipped voice has 6.3 million.
pub const MAX_NUMBERS: u64 = 1 << 25;
/// Most multiplications for one frame; the shipped voice has 78 million, the largest encoder in use (HuBERT-large) would
/// need a third.
pub const MAX_WORK: u64 = 1 << 30;
/// Most nodes, and most constants; the largest graphs of ours have 500.
const MAX_PARTS: usize = 1 << 14;
/// Most extents of a tensor.
const MAX_RANK: usize = 8;
/// Constants up to this long may say shapes and axes.
const MAX_INTS: u64 = 64;
/// Whose operator [`QUANTISED`] is.
pub(crate) const RUNTIME_DOMAIN: &str = "com.microsoft";
/// The version of its operators.
pub(crate) const RUNTIME_OPSET: i64 = 1;

/// Why a graph is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Not the bytes of an ONNX model.
    #[error("{what} cannot be read as ONNX")]
    Malformed {
        /// The part.
        what: &'static str,
    },
    /// Something that graphs of voices do not have.
    #[error("{what}: expected {expected}, found {found}")]
    Refused {
        /// The part.
        what: String,
        /// What may be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// More than is ever needed.
    #[error("{what}: {found} of them, at most {limit} are accepted")]
    TooLarge {
        /// The thing counted.
        what: String,
        /// How many.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

type Result<T> = std::result::Result<T, GraphError>;

fn refused(what: &str, expected: &str, found: impl ToString) -> GraphError {
    GraphError::Refused {
        what: clip(what),
        expected: expected.to_owned(),
        found: clip(&found.to_string()),
    }
}

fn limited(what: &str, found: u64, limit: u64) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(GraphError::TooLarge {
        what: clip(what),
        found,
        limit,
    })
}

/// What is known of a tensor before the graph runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tensor {
    shape: Vec<u64>,
    /// The numbers themselves, where they are few and whole: shapes and axes are made of them.
    ints: Option<Vec<i64>>,
    /// Its TensorProto.DataType, when it is a constant.
    constant: Option<u64>,
}

/// A node's attribute; texts and floats say nothing about shapes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text,
}

#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) op: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) output: &'a str,
    pub(crate) attributes: HashMap<&'a str, Attribute>,
}

/// An input of a graph, as it is when the graph runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// The whole number it always is, when that is known.
    pub fixed: Option<i64>,
}

/// Checks the graph in `bytes`, which runs with `inputs` once for `frames` frames of 10 ms.
///
/// An input that is not among them, or has other extents, is for the caller to refuse: it counts as the graph declares
/// it, with 1 for extents that it leaves open.
///
/// # Errors
/// The first thing a voice's graph does not have.
pub fn check(bytes: &[u8], inputs: &[Known<'_>], frames: u64) -> Result<()> {
    let mut graph = None;
    let mut opset = None;
    let mut model = Fields::new(bytes, "the model", &[7]);
    while let Some((field, value)) = model.next()? {
        match (field, value) {
            (1 | 5, Field::Number(_)) | (2 | 3 | 4 | 6 | 14, Field::Bytes(_)) => {}
            (7, Field::Bytes(bytes)) => graph = Some(bytes),
            (8, Field::Bytes(bytes)) => match operator_set(bytes)? {
                ("", version) if opset.is_none() => opset = Some(version),
                (RUNTIME_DOMAIN, RUNTIME_OPSET) => {}
                (domain, version) => {
                    let found = format!("{version} of \"{domain}\"");
                    return Err(refused("the operator sets", "each once", found));
                }
            },
            (field, _) => return Err(unknown("the model", field)),
        }
    }
    if opset != Some(OPSET) {
        let found = opset.map_or("none".to_owned(), |version| version.to_string());
        return Err(refused("the operator set", &OPSET.to_string(), found));
    }
    let graph = graph.ok_or(GraphError::Malformed { what: "the model" })?;
    let mut tensors: HashMap<&str, Tensor> = HashMap::new();
    let mut nodes = Vec::new();
    let mut fields = Fields::new(graph, "the graph", &[2, 10]);
    while let Some((field, value)) = fields.next()? {
        let (name, tensor) = match (field, value) {
            (1, Field::Bytes(bytes)) => {
                nodes.push(node(bytes)?);
                limited("nodes", nodes.len() as u64, MAX_PARTS as u64)?;
                continue;
            }
            (2 | 10 | 16, Field::Bytes(_)) => continue,
            (5, Field::Bytes(bytes)) => constant(bytes)?,
            (11, Field::Bytes(bytes)) => {
                let (name, declared) = value_info(bytes)?;
                let known = inputs.iter().find(|known| known.name == name);
                let mut tensor = input(declared, known.map(|known| known.shape));
                if let Some(number) = known.and_then(|known| known.fixed)
                    && tensor.shape.iter().all(|&extent| extent == 1)
                {
                    tensor.ints = Some(vec![number]);
                }
                (name, tensor)
            }
            (12, Field::Bytes(bytes)) => {
                value_info(bytes)?;
                continue;
            }
            (field, _) => return Err(unknown("the graph", field)),
        };
        if tensors.insert(name, tensor).is_some() {
            return Err(refused("tensors", "each name once", name));
        }
        limited("constants", tensors.len() as u64, MAX_PARTS as u64)?;
    }
    sizes::walk(&nodes, tensors, frames.max(1))
}

fn unknown(what: &str, field: u64) -> GraphError {
    refused(what, "only what Timbra writes", format!("field {field}"))
}

fn text<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| GraphError::Malformed { what })
}

fn domain(bytes: &[u8]) -> Result<&str> {
    match text(bytes, "a domain")? {
        "" | "ai.onnx" => Ok(""),
        RUNTIME_DOMAIN => Ok(RUNTIME_DOMAIN),
        other => Err(refused(
            "operators",
            "those of ONNX",
            format!("those of {other}"),
        )),
    }
}

pub(crate) fn operator_set(bytes: &[u8]) -> Result<(&str, i64)> {
    let (mut whose, mut version) = ("", 0);
    let mut fields = Fields::new(bytes, "the operator set", &[1, 2]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => whose = domain(bytes)?,
            (2, Field::Number(number)) => version = number as i64,
            (field, _) => return Err(unknown("the operator set", field)),
        }
    }
    Ok((whose, version))
}

pub(crate) fn node(bytes: &[u8]) -> Result<Node<'_>> {
    let (mut op, mut inputs, mut outputs, mut attributes) =
        ("", Vec::new(), Vec::new(), HashMap::new());
    let mut whose = "";
    let mut fields = Fields::new(bytes, "a node", &[3, 4, 6, 7]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => inputs.push(text(bytes, "a node")?),
            (2, Field::Bytes(bytes)) => outputs.push(text(bytes, "a node")?),
            (3 | 6 | 9, Field::Bytes(_)) => {}
            (4, Field::Bytes(bytes)) => op = text(bytes, "a node")?,
            (5, Field::Bytes(bytes)) => {
                let (name, attribute) = attribute(bytes)?;
                if attributes.insert(name, attribute).is_some() {
                    return Err(refused("attributes", "each name once", name));
                }
            }
            (7, Field::Bytes(bytes)) => whose = domain(bytes)?,
            (field, _) => return Err(unknown("a node", field)),
        }
    }
    if (op == QUANTISED) != (whose == RUNTIME_DOMAIN) {
        return Err(refused(
            "operators",
            &format!("those of ONNX, and {QUANTISED} of {RUNTIME_DOMAIN}"),
            format!("{op} of \"{whose}\""),
        ));
    }
    match outputs[..] {
        [output] if !output.is_empty() => Ok(Node {
            op,
            inputs,
            output,
            attributes,
        }),
        _ => Err(refused(
            &format!("the outputs of {op}"),
            "one",
            outputs.len(),
        )),
    }
}

fn attribute(bytes: &[u8]) -> Result<(&str, Attribute)> {
    let (mut name, mut kind, mut int, mut ints) = ("", 0, None, Vec::new());
    let mut float = 0.0;
    let mut held = 0;
    let mut fields = Fields::new(bytes, "an attribute", &[1, 2, 3, 4, 13, 20]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => name = text(bytes, "an attribute")?,
            (13, Field::Bytes(_)) => {}
            (20, Field::Number(number)) => kind = number,
            (2, Field::Word(word)) => {
                float = f32::from_le_bytes(word);
                held |= 1 << 1;
            }
            (3, Field::Number(number)) => {
                int = Some(number as i64);
                held |= 1 << 2;
            }
            (4, Field::Bytes(_)) => held |= 1 << 3,
            (8, Field::Number(number)) => {
                ints.push(number as i64);
                held |= 1 << 7;
            }
            (8, Field::Bytes(bytes)) => {
                ints.extend(wire::packed(bytes, "an attribute")?);
                held |= 1 << 7;
            }
            (field, _) => return Err(unknown("an attribute", field)),
        }
    }
    limited("numbers of an attribute", ints.len() as u64, MAX_INTS)?;
    // AttributeProto.type: FLOAT 1, INT 2, STRING 3, INTS 7. It says where the value is, and no other may be there.
    let attribute = match (kind, int) {
        (2, Some(int)) => Attribute::Int(int),
        (7, None) => Attribute::Ints(ints),
        (1, None) => Attribute::Float(float),
        (3, None) => Attribute::Text,
        _ => {
            return Err(refused(
                name,
                "an attribute of its type",
                format!("type {kind}"),
            ));
        }
    };
    if held & !(1 << kind) != 0 {
        return Err(refused(name, "an attribute of one type", "several"));
    }
    Ok((name, attribute))
}

fn constant(bytes: &[u8]) -> Result<(&str, Tensor)> {
    let (mut name, mut shape, mut kind, mut raw) = ("", Vec::new(), 0, &[][..]);
    let mut fields = Fields::new(bytes, "a constant", &[2, 8, 9, 12, 14]);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Field::Number(number)) => shape.push(number),
            (1, Field::Bytes(bytes)) => {
                shape.extend(wire::packed(bytes, "a constant")?.map(|extent| extent as u64));
            }
            (2, Field::Number(number)) => kind = number,
            (8, Field::Bytes(bytes)) => name = text(bytes, "a constant")?,
            (9, Field::Bytes(bytes)) => raw = bytes,
            (12, Field::Bytes(_)) => {}
            (13 | 14, _) => {
                return Err(refused(
                    "a constant",
                    "numbers in the graph",
                    "numbers in another file",
                ));
            }
            (field, _) => return Err(unknown("a constant", field)),
        }
        limited("extents of a constant", shape.len() as u64, MAX_RANK as u64)?;
    }
    let number_bytes: u64 = match kind {
        FLOAT => 4,
        INT64 => 8,
        UINT8 => 1,
        FLOAT16 => 2,
        _ => {
            let expected = "float32, float16, int64 or uint8";
            return Err(refused(name, expected, format!("type {kind}")));
        }
    };
    let bytes = shape
        .iter()
        .try_fold(number_bytes, |bytes, &extent| bytes.checked_mul(extent));
    if bytes != Some(raw.len() as u64) {
        return Err(refused(
            name,
            &format!("numbers that fill {shape:?}"),
            format!("{} bytes", raw.len()),
        ));
    }
    let few = kind == INT64 && shape.len() <= 1 && raw.len() as u64 <= 8 * MAX_INTS;
    let ints = few.then(|| {
        raw.as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes))
            .collect()
    });
    let constant = Some(kind);
    Ok((
        name,
        Tensor {
            shape,
            ints,
            constant,
        },
    ))
}

/// Name and declared extents of an input or output; `None` is open.
fn value_info(bytes: &[u8]) -> Result<(&str, Vec<Option<u64>>)> {
    const WHAT: &str = "an input or output";
    let (mut name, mut extents) = ("", Vec::new());
    let mut info = Fields::new(bytes, WHAT, &[1, 2, 3]);
    while let Some((field, value)) = info.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => name = text(bytes, WHAT)?,
            (3 | 4, Field::Bytes(_)) => {}
            (2, Field::Bytes(bytes)) => {
                // TypeProto.tensor_type, its element type FLOAT, and its shape.
                let tensor = wire::only(bytes, 1, WHAT)?;
                let mut tensor = Fields::new(tensor, WHAT, &[1, 2]);
                while let Some((field, value)) = tensor.next()? {
                    match (field, value) {
                        (1, Field::Number(1)) => {}
                        (2, Field::Bytes(bytes)) => extents = declared(bytes)?,
                        _ => return Err(refused(name, "a tensor of float32", "another type")),
                    }
                }
            }
            (field, _) => return Err(unknown(WHAT, field)),
        }
    }
    limited(
        "extents of an input or output",
        extents.len() as u64,
        MAX_RANK as u64,
    )?;
    Ok((name, extents))
}

fn declared(bytes: &[u8]) -> Result<Vec<Option<u64>>> {
    const WHAT: &str = "a shape";
    let mut extents = Vec::new();
    let mut dims = Fields::new(bytes, WHAT, &[]);
    while let Some((field, value)) = dims.next()? {
        let (1, Field::Bytes(dim)) = (field, value) else {
            return Err(unknown(WHAT, field));
        };
        let mut dim = Fields::new(dim, WHAT, &[1, 2]);
        extents.push(match dim.next()? {
            Some((1, Field::Number(extent))) => Some(extent),
            None | Some((2, Field::Bytes(_))) => None,
            Some((field, _)) => return Err(unknown(WHAT, field)),
        });
        if dim.next()?.is_some() {
            return Err(refused(WHAT, "an extent or a name", "both"));
        }
    }
    Ok(extents)
}

fn input(declared: Vec<Option<u64>>, known: Option<&[usize]>) -> Tensor {
    let known = known.filter(|shape| shape.len() == declared.len() || declared.is_empty());
    let shape = match known {
        Some(shape) if declared.is_empty() => shape.iter().map(|&extent| extent as u64).collect(),
        known => declared
            .iter()
            .enumerate()
            .map(|(axis, extent)| {
                extent.unwrap_or_else(|| known.map_or(1, |shape| shape[axis] as u64))
            })
            .collect(),
    };
    Tensor {
        shape,
        ints: None,
        constant: None,
    }
}
