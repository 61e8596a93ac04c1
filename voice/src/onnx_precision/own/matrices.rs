//! Products with matrices of 8 bits, their weights as a processor reads them: what `MatMulNBits` computes.

use std::collections::{HashMap, HashSet};

use super::OWN_DOMAIN;
use super::surroundings::Surroundings;
use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{Attribute, GraphError, Node, QUANTISED};
use crate::onnx_precision::products::Products;
use crate::onnx_precision::raw_constant;
use crate::onnx_writer::{Attr, FLOAT, INT8, UINT8, bytes_field, node_message, tensor};

/// The operator: a product with a matrix of whole numbers of 8 bits.
pub const OWN_PRODUCT: &str = "Product8";
/// Columns whose weights lie together; a matrix has a multiple of them.
pub const OWN_COLUMNS: usize = 16;
/// Fewest weights of a column that share a scale: where there are fewer the graph is small, and the runtime's operator as fast.
const LEAST_BLOCK: usize = 64;
/// Rows whose weights lie together.
const QUAD: usize = 4;
/// The whole number that means 0 in the runtime's operator.
const ZERO_POINT: u8 = 128;

/// The products of a graph that are written as ours.
#[derive(Default)]
pub(in crate::onnx_precision) struct OwnMatrices<'a> {
    products: HashMap<usize, Matrix<'a>>,
    /// Sums with a bias that are in them.
    taken: HashSet<usize>,
}

/// A product with a matrix `[inner, columns]`.
struct Matrix<'a> {
    input: &'a str,
    output: &'a str,
    /// What is added to every row, if anything is.
    bias: &'a str,
    weights: &'a str,
    scales: &'a str,
    inner: usize,
    columns: usize,
    block: usize,
    /// `[columns, inner]`.
    whole: &'a [u8],
    /// `[columns, inner / block]`.
    scale: &'a [u8],
}

impl<'a> OwnMatrices<'a> {
    /// Those of `graph`, some of whose nodes are `taken` already.
    ///
    /// # Errors
    /// It is no graph that a voice may have.
    pub(in crate::onnx_precision) fn of(
        graph: &'a [u8],
        surroundings: &Surroundings<'a>,
        is_taken: &dyn Fn(usize) -> bool,
    ) -> Result<Self, GraphError> {
        let mut constants = HashMap::new();
        let mut fields = Fields::new(graph, "the graph", &[]);
        while let Some((field, value)) = fields.next()? {
            if let (5, Field::Bytes(bytes)) = (field, value) {
                let (name, kind, raw) = raw_constant(bytes)?;
                if kind == UINT8 || kind == FLOAT {
                    constants.insert(name, raw);
                }
            }
        }
        let mut own = Self::default();
        for (n, (node, _)) in surroundings.nodes.iter().enumerate() {
            let Some(mut matrix) = Matrix::of(node, &constants) else {
                continue;
            };
            if let Some((sum, bias)) = matrix.biased(surroundings)
                && !is_taken(sum)
            {
                (matrix.bias, matrix.output) = (bias, surroundings.nodes[sum].0.output);
                own.taken.insert(sum);
            }
            own.products.insert(n, matrix);
        }
        Ok(own)
    }

    /// Whether a node is written as part of another one.
    pub(in crate::onnx_precision) fn takes(&self, node: usize) -> bool {
        self.taken.contains(&node)
    }

    /// Whether one of them makes `name`.
    pub(super) fn make(&self, name: &str) -> bool {
        self.products.values().any(|matrix| matrix.output == name)
    }

    /// Writes node `n` if it is one of them; says whether it is.
    pub(in crate::onnx_precision) fn write(
        &self,
        n: usize,
        products: &mut Products,
        kept: &mut HashSet<&'a str>,
    ) -> bool {
        let Some(matrix) = self.products.get(&n) else {
            return false;
        };
        let [weights, scales] =
            [matrix.weights, matrix.scales].map(|name| format!("8 bits {name}"));
        let inputs = [matrix.input, &weights, &scales, matrix.bias];
        let inputs = &inputs[..if matrix.bias.is_empty() { 3 } else { 4 }];
        let name = format!("{OWN_PRODUCT} {}", matrix.output);
        let block = Attr::Int("block", matrix.block as i64);
        let mut message = node_message(OWN_PRODUCT, &name, inputs, &[matrix.output], &[block]);
        bytes_field(&mut message, 7, OWN_DOMAIN.as_bytes());
        bytes_field(&mut products.graph, 1, &message);
        kept.insert(matrix.scales);
        if kept.insert(matrix.weights) {
            matrix.keep(&weights, &scales, &mut products.graph);
        }
        true
    }
}

impl<'a> Matrix<'a> {
    /// The matrix of a node, if it is such a product.
    fn of(node: &Node<'a>, constants: &HashMap<&'a str, &'a [u8]>) -> Option<Self> {
        let &[input, weights, scales] = &node.inputs[..] else {
            return None;
        };
        let number = |name: &str| match node.attributes.get(name) {
            Some(&Attribute::Int(number)) => usize::try_from(number).ok(),
            _ => None,
        };
        let (inner, columns, block) = (number("K")?, number("N")?, number("block_size")?);
        let (&whole, &scale) = (constants.get(weights)?, constants.get(scales)?);
        let fits = block >= LEAST_BLOCK
            && inner.is_multiple_of(block)
            && block.is_multiple_of(OWN_COLUMNS)
            && columns.is_multiple_of(OWN_COLUMNS)
            && inner.checked_mul(columns) == Some(whole.len())
            && scale.len() == whole.len() / block * 4;
        (node.op == QUANTISED && number("bits") == Some(8) && fits).then_some(Self {
            input,
            output: node.output,
            bias: "",
            weights,
            scales,
            inner,
            columns,
            block,
            whole,
            scale,
        })
    }

    /// The sum that is all that becomes of it, with a vector, and that vector.
    fn biased(&self, surroundings: &Surroundings<'a>) -> Option<(usize, &'a str)> {
        let (n, node) = surroundings.reader(self.output)?;
        let bias = match node.inputs[..] {
            [a, bias] | [bias, a] if a == self.output && bias != a => bias,
            _ => return None,
        };
        let fits = node.op == "Add" && surroundings.vector(bias) == Some(self.columns);
        fits.then_some((n, bias))
    }

    /// Its weights as `[columns / OWN_COLUMNS, inner / 4, OWN_COLUMNS, 4]`, its scales as `[inner / block, columns]`.
    fn keep(&self, weights: &str, scales: &str, graph: &mut Vec<u8>) {
        let (inner, columns, blocks) = (self.inner, self.columns, self.inner / self.block);
        let mut whole = Vec::with_capacity(self.whole.len());
        for group in (0..columns).step_by(OWN_COLUMNS) {
            for quad in (0..inner).step_by(QUAD) {
                for column in group..group + OWN_COLUMNS {
                    let four = &self.whole[column * inner + quad..][..QUAD];
                    whole.extend(four.iter().map(|&n| n.wrapping_sub(ZERO_POINT)));
                }
            }
        }
        let shape = [columns / OWN_COLUMNS, inner / QUAD, OWN_COLUMNS, QUAD];
        bytes_field(graph, 5, &tensor(weights, &shape, INT8, &whole));
        let mut scale = Vec::with_capacity(self.scale.len());
        for block in 0..blocks {
            for column in 0..columns {
                scale.extend_from_slice(&self.scale[4 * (column * blocks + block)..][..4]);
            }
        }
        bytes_field(graph, 5, &tensor(scales, &[blocks, columns], FLOAT, &scale));
    }
}
