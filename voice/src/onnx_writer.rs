//! Writes ONNX models: just the part of the protobuf wire format they need.
//!
//! A [`GraphBuilder`] collects inputs, constants, nodes and outputs and
//! serialises them as a `ModelProto`. It checks nothing about the operators;
//! the runtime does that when the voice is loaded, and the exporter's tests
//! compare every graph with the network it came from.
//!
//! Source: ONNX IR specification, `onnx.proto3` (field numbers).

/// The operator set the graphs are written for.
pub const OPSET: i64 = 17;
/// The IR version that goes with [`OPSET`].
const IR_VERSION: i64 = 8;

pub(crate) const FLOAT: u64 = 1;
pub(crate) const UINT8: u64 = 2;
pub(crate) const INT8: u64 = 3;
pub(crate) const INT64: u64 = 7;
pub(crate) const FLOAT16: u64 = 10;

/// One extent of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A fixed extent.
    Fixed(usize),
    /// An extent known only when the graph runs, by name.
    Symbol(String),
}

impl From<usize> for Dim {
    fn from(extent: usize) -> Self {
        Self::Fixed(extent)
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Self::Symbol(name.to_owned())
    }
}

/// An attribute of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// A 64-bit integer.
    Int(&'static str, i64),
    /// A list of 64-bit integers.
    Ints(&'static str, Vec<i64>),
    /// A float.
    Float(&'static str, f32),
    /// A string.
    Text(&'static str, &'static str),
}

/// Collects a graph and serialises it.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    name: String,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    constants: Vec<Vec<u8>>,
    nodes: Vec<Vec<u8>>,
    fresh: usize,
}

impl GraphBuilder {
    /// An empty graph called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Declares a float32 input.
    pub fn input(&mut self, name: &str, shape: &[Dim]) -> &mut Self {
        self.inputs.push(value_info(name, shape));
        self
    }

    /// Declares a float32 output.
    pub fn output(&mut self, name: &str, shape: &[Dim]) -> &mut Self {
        self.outputs.push(value_info(name, shape));
        self
    }

    /// Adds a float32 constant; `data.len()` is the product of `shape`
    /// (an empty shape is a scalar).
    ///
    /// # Panics
    /// When `data` does not fill `shape`.
    pub fn constant_f32(&mut self, name: &str, shape: &[usize], data: &[f32]) -> &mut Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "constant {name} does not fill {shape:?}"
        );
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constants.push(tensor(name, shape, FLOAT, &bytes));
        self
    }

    /// Adds an int64 constant; `data.len()` is the product of `shape`
    /// (an empty shape is a scalar).
    ///
    /// # Panics
    /// When `data` does not fill `shape`.
    pub fn constant_i64(&mut self, name: &str, shape: &[usize], data: &[i64]) -> &mut Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "constant {name} does not fill {shape:?}"
        );
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constants.push(tensor(name, shape, INT64, &bytes));
        self
    }

    /// Adds a node of operator `op`.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attrs: Vec<Attr>,
    ) -> &mut Self {
        let name = format!("{op}_{}", self.nodes.len());
        self.nodes
            .push(node_message(op, &name, inputs, outputs, &attrs));
        self
    }

    /// Adds a node with one output of a fresh name, and returns that name.
    pub fn op(&mut self, op: &str, inputs: &[&str], attrs: Vec<Attr>) -> String {
        let output = self.fresh_name(op);
        self.node(op, inputs, &[&output], attrs);
        output
    }

    /// Adds a float32 constant under a fresh name, and returns that name.
    pub fn f32s(&mut self, shape: &[usize], data: &[f32]) -> String {
        let name = self.fresh_name("f");
        self.constant_f32(&name, shape, data);
        name
    }

    /// Adds an int64 vector under a fresh name, and returns that name.
    pub fn i64s(&mut self, data: &[i64]) -> String {
        let name = self.fresh_name("i");
        self.constant_i64(&name, &[data.len()], data);
        name
    }

    fn fresh_name(&mut self, stem: &str) -> String {
        self.fresh += 1;
        format!("{}_{}", stem.to_lowercase(), self.fresh)
    }

    /// The serialised `ModelProto`.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        for node in &self.nodes {
            bytes_field(&mut graph, 1, node);
        }
        bytes_field(&mut graph, 2, self.name.as_bytes());
        for constant in &self.constants {
            bytes_field(&mut graph, 5, constant);
        }
        for input in &self.inputs {
            bytes_field(&mut graph, 11, input);
        }
        for output in &self.outputs {
            bytes_field(&mut graph, 12, output);
        }

        let mut opset = Vec::new();
        bytes_field(&mut opset, 1, b"");
        int_field(&mut opset, 2, OPSET);

        let mut model = Vec::new();
        int_field(&mut model, 1, IR_VERSION);
        bytes_field(&mut model, 2, b"timbra");
        bytes_field(&mut model, 7, &graph);
        bytes_field(&mut model, 8, &opset);
        model
    }
}

/// A `NodeProto`.
pub(crate) fn node_message(
    op: &str,
    name: &str,
    inputs: &[&str],
    outputs: &[&str],
    attrs: &[Attr],
) -> Vec<u8> {
    let mut node = Vec::new();
    for input in inputs {
        bytes_field(&mut node, 1, input.as_bytes());
    }
    for output in outputs {
        bytes_field(&mut node, 2, output.as_bytes());
    }
    bytes_field(&mut node, 3, name.as_bytes());
    bytes_field(&mut node, 4, op.as_bytes());
    for attr in attrs {
        bytes_field(&mut node, 5, &attribute(attr));
    }
    node
}

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn int_field(out: &mut Vec<u8>, field: u64, value: i64) {
    varint(out, field << 3);
    varint(out, value as u64);
}

pub(crate) fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, (field << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn value_info(name: &str, shape: &[Dim]) -> Vec<u8> {
    let mut dims = Vec::new();
    for dim in shape {
        let mut encoded = Vec::new();
        match dim {
            Dim::Fixed(extent) => int_field(&mut encoded, 1, *extent as i64),
            Dim::Symbol(symbol) => bytes_field(&mut encoded, 2, symbol.as_bytes()),
        }
        bytes_field(&mut dims, 1, &encoded);
    }
    let mut tensor_type = Vec::new();
    int_field(&mut tensor_type, 1, FLOAT as i64);
    bytes_field(&mut tensor_type, 2, &dims);
    let mut type_proto = Vec::new();
    bytes_field(&mut type_proto, 1, &tensor_type);
    let mut info = Vec::new();
    bytes_field(&mut info, 1, name.as_bytes());
    bytes_field(&mut info, 2, &type_proto);
    info
}

pub(crate) fn tensor(name: &str, shape: &[usize], data_type: u64, raw: &[u8]) -> Vec<u8> {
    let mut tensor = Vec::with_capacity(raw.len() + 64);
    for extent in shape {
        int_field(&mut tensor, 1, *extent as i64);
    }
    int_field(&mut tensor, 2, data_type as i64);
    bytes_field(&mut tensor, 8, name.as_bytes());
    bytes_field(&mut tensor, 9, raw);
    tensor
}

pub(crate) fn attribute(attr: &Attr) -> Vec<u8> {
    // AttributeProto.type: FLOAT 1, INT 2, STRING 3, INTS 7.
    let mut out = Vec::new();
    match attr {
        Attr::Int(name, value) => {
            bytes_field(&mut out, 1, name.as_bytes());
            int_field(&mut out, 3, *value);
            int_field(&mut out, 20, 2);
        }
        Attr::Ints(name, values) => {
            bytes_field(&mut out, 1, name.as_bytes());
            for value in values {
                int_field(&mut out, 8, *value);
            }
            int_field(&mut out, 20, 7);
        }
        Attr::Float(name, value) => {
            bytes_field(&mut out, 1, name.as_bytes());
            varint(&mut out, (2 << 3) | 5);
            out.extend_from_slice(&value.to_le_bytes());
            int_field(&mut out, 20, 1);
        }
        Attr::Text(name, value) => {
            bytes_field(&mut out, 1, name.as_bytes());
            bytes_field(&mut out, 4, value.as_bytes());
            int_field(&mut out, 20, 3);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_follow_the_protobuf_example() {
        // The wire-format documentation's own example: 150 is 96 01.
        let mut out = Vec::new();
        varint(&mut out, 150);
        assert_eq!(out, [0x96, 0x01]);
    }

    #[test]
    fn a_model_starts_with_its_ir_version() {
        let mut graph = GraphBuilder::new("empty");
        graph
            .input("x", &[1.into(), "T".into()])
            .output("x", &[1.into(), "T".into()]);
        let bytes = graph.finish();
        assert_eq!(&bytes[..2], &[0x08, IR_VERSION as u8]);
        assert!(bytes.windows(5).any(|w| w == b"empty"));
    }
}
