//! `.onnx` files: constants, nodes and notes. Nothing is computed, and no other file is opened.
//!
//! Source: ONNX IR specification, `onnx.proto3` (field numbers).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use timbra_voice::onnx_check::GraphError;
use timbra_voice::onnx_check::wire::{Field, Fields, packed};

use super::error::ReadError;
use super::number::{ElementType, SUPPORTED};
use super::source::{Source, Span, Stored, describe};
use super::tensor::{Layout, LazyTensor};

/// Bytes of a file: protobuf has no longer messages.
const MAX_BYTES: u64 = 2 << 30;
/// Nodes and constants; a voice of full width has about 10 000.
const MAX_PARTS: u64 = 1 << 16;
/// Numbers of an attribute that may matter: strides, dilations, permutations.
const MAX_INTS: usize = 16;
/// What says where the weights are. All else is passed over.
const OPERATORS: [&str; 12] = [
    "Add",
    "Cast",
    "Constant",
    "Conv",
    "ConvTranspose",
    "Gemm",
    "Identity",
    "LayerNormalization",
    "MatMul",
    "Mul",
    "Tanh",
    "Transpose",
];
/// Operators of graphs whose weights are small whole numbers.
const QUANTISED: [&str; 5] = [
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
];

/// An operation of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its operator.
    pub op: String,
    /// Its name; torch's begins with the modules it stands in, `/dec/conv_post/Conv`.
    pub name: String,
    /// Names of its inputs; empty for one left out.
    pub inputs: Vec<String>,
    /// Names of its outputs.
    pub outputs: Vec<String>,
    /// Its attributes that are whole numbers or lists of them.
    pub ints: BTreeMap<String, Vec<i64>>,
}

/// A file of ONNX, taken apart; numbers of constants are read when asked for.
pub struct OnnxFile {
    source: Arc<Source>,
    /// Constants by name.
    pub constants: BTreeMap<String, LazyTensor>,
    /// The nodes that may say where weights are, in the file's order.
    pub nodes: Vec<Node>,
    /// Names of what the graph is given.
    pub inputs: Vec<String>,
    /// What the file says of itself, by key.
    pub notes: BTreeMap<String, String>,
    /// The program that wrote it, with its version.
    pub producer: String,
}

/// Whether a file is one of ONNX: by its name, or because it begins with an IR version and a producer or graph.
///
/// # Errors
/// The system refuses to read it.
pub fn is_onnx(source: &Source) -> Result<bool, ReadError> {
    let path = source.path();
    let named = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    Ok(named || matches!(source.head(3)?[..], [0x08, 3..=32, 0x12 | 0x3a]))
}

impl OnnxFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError`] where it is none, is cut short, keeps numbers elsewhere or is quantised.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::read(&Source::open(path)?)
    }

    /// As [`OnnxFile::open`], from bytes already found.
    ///
    /// # Errors
    /// As [`OnnxFile::open`].
    pub fn read(source: &Arc<Source>) -> Result<Self, ReadError> {
        let head = source.head(512)?;
        let none = |found: String| ReadError::NotRecognised {
            path: source.path().to_path_buf(),
            expected: "an ONNX model (.onnx)",
            found,
            remedy: "Choose the voice's own file, downloaded whole and unpacked",
        };
        // Field 1 (the IR version) or 7 (the graph); nothing else comes first.
        if !matches!(head.first(), Some(0x08 | 0x3a)) {
            return Err(none(describe(&head).to_owned()));
        }
        source.too_large("the length in bytes", source.length(), MAX_BYTES)?;
        let bytes = source.read(source.whole(), "the model")?;
        let mut reader = Reader {
            source,
            bytes: &bytes,
            file: Self {
                source: Arc::clone(source),
                constants: BTreeMap::new(),
                nodes: Vec::new(),
                inputs: Vec::new(),
                notes: BTreeMap::new(),
                producer: String::new(),
            },
            parts: 0,
        };
        if !reader.model()? {
            return Err(none("a file without a graph".to_owned()));
        }
        Ok(reader.file)
    }

    /// The file.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    bytes: &'a [u8],
    file: OnnxFile,
    parts: u64,
}

type Outcome<T> = Result<T, ReadError>;

impl<'a> Reader<'a> {
    fn broken(&self, error: &GraphError) -> ReadError {
        self.source
            .damaged("the model", "whole messages of ONNX", error.to_string())
    }

    fn next(&self, fields: &mut Fields<'a>) -> Outcome<Option<(u64, Field<'a>)>> {
        fields.next().map_err(|error| self.broken(&error))
    }

    fn text(&self, bytes: &[u8]) -> Outcome<String> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(self
                .source
                .damaged("a name", "text (UTF-8)", error.to_string())),
        }
    }

    /// Counts a part that will be kept.
    fn keep(&mut self) -> Outcome<()> {
        self.parts += 1;
        self.source
            .too_large("the number of nodes and constants", self.parts, MAX_PARTS)
    }

    /// Where a piece of the file lies in it.
    fn span(&self, piece: &[u8]) -> Outcome<Span> {
        let start = piece.as_ptr().addr() - self.bytes.as_ptr().addr();
        self.source
            .span(start as u64, piece.len() as u64, "a constant")
    }

    /// Whether there was a graph.
    fn model(&mut self) -> Outcome<bool> {
        let mut fields = Fields::new(self.bytes, "the model", &[7]);
        let mut found = false;
        let mut producer = [String::new(), String::new()];
        while let Some((field, value)) = self.next(&mut fields)? {
            match (field, value) {
                (2 | 3, Field::Bytes(bytes)) => producer[field as usize - 2] = self.text(bytes)?,
                (7, Field::Bytes(bytes)) => {
                    self.graph(bytes)?;
                    found = true;
                }
                (14, Field::Bytes(bytes)) => {
                    self.keep()?;
                    let (key, value) = self.entry(bytes)?;
                    self.file.notes.insert(key, value);
                }
                _ => {}
            }
        }
        self.file.producer = producer.join(" ").trim().to_owned();
        Ok(found)
    }

    fn entry(&self, bytes: &'a [u8]) -> Outcome<(String, String)> {
        let mut entry = [String::new(), String::new()];
        let mut fields = Fields::new(bytes, "a note", &[]);
        while let Some((field, value)) = self.next(&mut fields)? {
            if let (1 | 2, Field::Bytes(bytes)) = (field, value) {
                entry[field as usize - 1] = self.text(bytes)?;
            }
        }
        let [key, value] = entry;
        Ok((key, value))
    }

    fn graph(&mut self, bytes: &'a [u8]) -> Outcome<()> {
        let mut fields = Fields::new(bytes, "the graph", &[]);
        while let Some((field, value)) = self.next(&mut fields)? {
            match (field, value) {
                (1, Field::Bytes(bytes)) => self.node(bytes)?,
                (5, Field::Bytes(bytes)) => {
                    let (name, tensor) = self.tensor(bytes, None)?;
                    self.constant(name, tensor)?;
                }
                (11, Field::Bytes(bytes)) => {
                    self.keep()?;
                    let mut info = Fields::new(bytes, "an input", &[]);
                    while let Some((field, value)) = self.next(&mut info)? {
                        if let (1, Field::Bytes(name)) = (field, value) {
                            self.file.inputs.push(self.text(name)?);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn constant(&mut self, name: String, tensor: Option<LazyTensor>) -> Outcome<()> {
        let Some(tensor) = tensor else {
            return Ok(());
        };
        self.keep()?;
        if self.file.constants.contains_key(&name) {
            let part = format!("the tensor \"{}\"", name.escape_debug());
            return Err(self.source.damaged(part, "there once", "it twice"));
        }
        self.file.constants.insert(name, tensor);
        Ok(())
    }

    fn node(&mut self, bytes: &'a [u8]) -> Outcome<()> {
        let mut node = Node {
            op: String::new(),
            name: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            ints: BTreeMap::new(),
        };
        // The operator comes after the inputs: look at it first.
        let mut fields = Fields::new(bytes, "a node", &[]);
        while let Some((field, value)) = self.next(&mut fields)? {
            if let (4, Field::Bytes(bytes)) = (field, value) {
                node.op = self.text(bytes)?;
            }
        }
        if QUANTISED.contains(&node.op.as_str()) {
            return Err(ReadError::Unsupported {
                path: self.source.path().to_path_buf(),
                part: "the model".to_owned(),
                found: format!("quantised ({})", node.op),
                supported: "weights of float16, bfloat16, float32 and float64",
                remedy: "Choose the export before it was quantised",
            });
        }
        if !OPERATORS.contains(&node.op.as_str()) {
            return Ok(());
        }
        let mut value_of_constant = None;
        let mut fields = Fields::new(bytes, "a node", &[]);
        while let Some((field, value)) = self.next(&mut fields)? {
            match (field, value) {
                (1, Field::Bytes(bytes)) => node.inputs.push(self.text(bytes)?),
                (2, Field::Bytes(bytes)) => node.outputs.push(self.text(bytes)?),
                (3, Field::Bytes(bytes)) => node.name = self.text(bytes)?,
                (5, Field::Bytes(bytes)) => {
                    let (name, ints, tensor) = self.attribute(bytes)?;
                    if !ints.is_empty() {
                        node.ints.insert(name, ints);
                    }
                    value_of_constant = tensor.or(value_of_constant);
                }
                _ => {}
            }
        }
        if node.op == "Constant" {
            if let (Some(bytes), [output]) = (value_of_constant, &node.outputs[..]) {
                let (_, tensor) = self.tensor(bytes, Some(output))?;
                // Shapes and axes are small; weights have a row at least.
                let tensor = tensor.filter(|tensor| !tensor.shape().is_empty());
                self.constant(output.clone(), tensor)?;
            }
            return Ok(());
        }
        self.keep()?;
        self.file.nodes.push(node);
        Ok(())
    }

    /// Name, whole numbers and the bytes of a tensor.
    #[allow(clippy::type_complexity, reason = "read once, right above")]
    fn attribute(&self, bytes: &'a [u8]) -> Outcome<(String, Vec<i64>, Option<&'a [u8]>)> {
        let (mut name, mut ints, mut tensor) = (String::new(), Vec::new(), None);
        let mut fields = Fields::new(bytes, "an attribute", &[]);
        while let Some((field, value)) = self.next(&mut fields)? {
            match (field, value) {
                (1, Field::Bytes(bytes)) => name = self.text(bytes)?,
                (3 | 8, Field::Number(number)) => ints.push(number as i64),
                (5, Field::Bytes(bytes)) => tensor = Some(bytes),
                (8, Field::Bytes(bytes)) => {
                    let numbers = packed(bytes, "an attribute").map_err(|e| self.broken(&e))?;
                    ints.extend(numbers.take(MAX_INTS + 1));
                }
                _ => {}
            }
            if ints.len() > MAX_INTS {
                // A list that says nothing of convolutions.
                return Ok((name, Vec::new(), tensor));
            }
        }
        Ok((name, ints, tensor))
    }

    /// A constant with its name, or with the one it is given; `None` where it can be no weight.
    fn tensor(&self, bytes: &'a [u8], name: Option<&str>) -> Outcome<(String, Option<LazyTensor>)> {
        let mut found = Numbers::default();
        let mut fields = Fields::new(bytes, "a constant", &[2, 8, 9, 14]);
        while let Some((field, value)) = self.next(&mut fields)? {
            match (field, value) {
                (1, Field::Number(number)) => found.shape.push(number),
                (1, Field::Bytes(bytes)) => {
                    let extents = packed(bytes, "a constant").map_err(|e| self.broken(&e))?;
                    found.shape.extend(extents.map(|extent| extent as u64));
                }
                (2, Field::Number(number)) => found.kind = number,
                // float_data: one by one, or in one piece.
                (4, Field::Word(word)) => found.single.extend(word),
                (4 | 9 | 10, Field::Bytes(bytes)) => found.pieces.push(bytes),
                // int32_data holds half precision too, a number for each.
                (5, Field::Number(number)) => found.single.extend((number as u16).to_le_bytes()),
                (5, Field::Bytes(bytes)) => found.halves.push(bytes),
                (8, Field::Bytes(bytes)) => found.name = self.text(bytes)?,
                (13, _) | (14, Field::Number(1)) => found.elsewhere = true,
                _ => {}
            }
        }
        let name = name.map_or_else(|| std::mem::take(&mut found.name), str::to_owned);
        let part = format!("the tensor \"{}\"", name.escape_debug());
        if found.elsewhere {
            return Err(ReadError::Unsupported {
                path: self.source.path().to_path_buf(),
                part,
                found: "kept in another file (external data)".to_owned(),
                supported: "models whose numbers are all in the .onnx file",
                remedy: "Save the model as one file (onnx.save_model with save_as_external_data=False)",
            });
        }
        let tensor = self.numbers(&found, &part)?;
        Ok((name, tensor))
    }

    fn numbers(&self, found: &Numbers<'a>, part: &str) -> Outcome<Option<LazyTensor>> {
        // TensorProto.DataType.
        let kind = match found.kind {
            1 => ElementType::F32,
            2 => ElementType::U8,
            3 => ElementType::I8,
            5 => ElementType::I16,
            6 => ElementType::I32,
            7 => ElementType::I64,
            9 => ElementType::Bool,
            10 => ElementType::F16,
            11 => ElementType::F64,
            16 => ElementType::BF16,
            // Text, unsigned and complex numbers, and those of less than a byte.
            4 | 8 | 12..=15 | 17..=64 => return Ok(None),
            other => {
                return Err(ReadError::Unsupported {
                    path: self.source.path().to_path_buf(),
                    part: format!("the element type of {part}"),
                    found: format!("number {other}"),
                    supported: SUPPORTED,
                    remedy: "Export the model in float16 or float32",
                });
            }
        };
        let half = matches!(kind, ElementType::F16 | ElementType::BF16);
        let whole = !half && !matches!(kind, ElementType::F32 | ElementType::F64);
        if whole && found.pieces.is_empty() {
            // Whole numbers outside raw_data: shapes and axes, no weights.
            return Ok(None);
        }
        let (stored, length) = match (&found.pieces[..], &found.halves[..]) {
            ([piece], []) if found.single.is_empty() => {
                (Stored::Raw(self.span(piece)?), piece.len() as u64)
            }
            (pieces, halves) => {
                let mut bytes = found.single.clone();
                for piece in pieces {
                    bytes.extend_from_slice(piece);
                }
                for piece in halves.iter().filter(|_| half) {
                    let numbers = packed(piece, "a constant").map_err(|e| self.broken(&e))?;
                    bytes.extend(numbers.flat_map(|number| (number as u16).to_le_bytes()));
                }
                let length = bytes.len() as u64;
                (Stored::Held(bytes.into()), length)
            }
        };
        let count = found
            .shape
            .iter()
            .try_fold(kind.bytes() as u64, |n, &extent| n.checked_mul(extent));
        if count != Some(length) {
            return Err(self.source.damaged(
                part,
                format!("numbers that fill the shape {:?}", found.shape),
                format!("{length} bytes"),
            ));
        }
        let layout = Layout {
            shape: found.shape.clone(),
            strides: None,
            offset: 0,
        };
        LazyTensor::new(self.source, stored, kind, layout, part).map(Some)
    }
}

/// What a constant consists of.
#[derive(Default)]
struct Numbers<'a> {
    name: String,
    shape: Vec<u64>,
    kind: u64,
    /// Bytes of numbers as they are.
    pieces: Vec<&'a [u8]>,
    /// Half precision as packed numbers.
    halves: Vec<&'a [u8]>,
    /// Numbers that came one by one, as bytes.
    single: Vec<u8>,
    elsewhere: bool,
}
