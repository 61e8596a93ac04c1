//! Products with matrices of 8 bits, their weights as a processor reads them: what `MatMulNBits` computes.

use std::collections::{HashMap, HashSet};

use super::OWN_DOMAIN;
use super::surroundings::Surroundings;
use super::together::message;
use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{Attribute, GraphError, Node, QUANTISED};
use crate::onnx_precision::products::Products;
use crate::onnx_precision::raw_constant;
use crate::onnx_writer::{Attr, FLOAT, INT8, UINT8, bytes_field, tensor};

/// The operator: a product with a matrix of whole numbers of 8 bits.
pub const OWN_PRODUCT: &str = "Product8";
/// Columns whose weights lie together; a matrix has a multiple of them.
pub const OWN_COLUMNS: usize = 16;
/// Columns that are worked on together: their scales lie side by side.
pub const OWN_PIECE: usize = 64;
/// Fewest weights of a column that share a scale: where there are fewer the graph is small, and the runtime's operator as fast.
pub(super) const LEAST_BLOCK: usize = 64;
/// Rows whose weights lie together.
const QUAD: usize = 4;
/// The whole number that means 0 in the runtime's operator.
const ZERO_POINT: u8 = 128;

/// The products of a graph that are written as ours.
#[derive(Default)]
pub(in crate::onnx_precision) struct OwnMatrices<'a> {
    products: HashMap<usize, Matrix<'a>>,
    /// Sums with a bias and windows of frames that are in them.
    taken: HashSet<usize>,
}

/// How large a matrix is.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) inner: usize,
    pub(super) columns: usize,
    /// Weights of a column that share a scale.
    pub(super) block: usize,
}

/// A product with a matrix `[inner, columns]`.
struct Matrix<'a> {
    input: &'a str,
    output: &'a str,
    /// What is added to every row, if anything is.
    bias: &'a str,
    /// What of the past and of what comes after a row sees, if it sees several.
    window: Option<Window<'a>>,
    weights: &'a str,
    scales: &'a str,
    sizes: Sizes,
    /// `[columns, inner]`.
    whole: &'a [u8],
    /// `[columns, inner / block]`.
    scale: &'a [u8],
}

/// Frames that lie side by side in a row: those of the past and of this step, one after the other.
struct Window<'a> {
    taps: usize,
    /// Frames of nothing after the last.
    after: usize,
    past: &'a str,
    next: &'a str,
    from: &'a str,
    nodes: Vec<usize>,
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
            if let Some((input, window)) = matrix.windows(n, surroundings)
                && !window
                    .nodes
                    .iter()
                    .any(|&n| is_taken(n) || own.taken.contains(&n))
            {
                own.taken.extend(&window.nodes);
                (matrix.input, matrix.window) = (input, Some(window));
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
        self.columns_of(name).is_some()
    }

    /// How wide the rows of `name` are, if one of them makes it.
    pub(super) fn columns_of(&self, name: &str) -> Option<usize> {
        let mut products = self.products.values();
        let made = products.find(|matrix| matrix.output == name)?;
        Some(made.sizes.columns)
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
        let (mut outputs, mut taps, mut after) = (vec![matrix.output], 1, 0);
        let mut inputs = vec![matrix.input, &weights, &scales, matrix.bias];
        if let Some(window) = &matrix.window {
            (taps, after) = (window.taps as i64, window.after as i64);
            inputs.extend([window.past, window.from]);
            outputs.push(window.next);
        } else if matrix.bias.is_empty() {
            inputs.truncate(3);
        }
        let attributes = [
            Attr::Int("block", matrix.sizes.block as i64),
            Attr::Int("taps", taps),
            Attr::Int("stride", 1),
            Attr::Int("after", after),
        ];
        let message = message(OWN_DOMAIN, OWN_PRODUCT, &inputs, &outputs, &attributes);
        bytes_field(&mut products.graph, 1, &message);
        kept.insert(matrix.scales);
        if kept.insert(matrix.weights) {
            let own = [matrix.whole, matrix.scale];
            keep(matrix.sizes, own, [&weights, &scales], products);
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
            window: None,
            weights,
            scales,
            sizes: Sizes {
                inner,
                columns,
                block,
            },
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
        let fits = node.op == "Add" && surroundings.vector(bias) == Some(self.sizes.columns);
        fits.then_some((n, bias))
    }

    /// What goes in before several frames of it, and of the past, are laid side by side for every row of node `n`, and how that is done.
    fn windows(&self, n: usize, surroundings: &Surroundings<'a>) -> Option<(&'a str, Window<'a>)> {
        let alone = |name: &str, op: &str, reader: usize| {
            let (n, node) = surroundings.maker(name)?;
            (node.op == op && surroundings.readers(name) == [reader]).then_some((n, node))
        };
        let (reshape, rows) = alone(self.input, "Reshape", n)?;
        let &[frames, extents] = &rows.inputs[..] else {
            return None;
        };
        if surroundings.numbers(extents) != Some(&[1, -1, self.sizes.inner as i64]) {
            return None;
        }
        let (gather, gathered) = alone(frames, "Gather", reshape)?;
        let &[seen, places] = &gathered.inputs[..] else {
            return None;
        };
        let in_time = Some(&Attribute::Int(1));
        if gathered.attributes.get("axis") != in_time {
            return None;
        }
        let taps = surroundings.successive(places)?;
        let width = self.sizes.inner.checked_div(taps)?;

        // Nothing comes after the last frame.
        let mut nodes = vec![reshape, gather];
        let (mut joined, mut reader, mut after) = (seen, gather, 0);
        let padded = alone(seen, "Concat", gather).filter(|(_, node)| {
            let is_nothing = |name: &&str| surroundings.shape(name).is_some();
            node.inputs.len() == 2 && node.inputs.get(1).is_some_and(is_nothing)
        });
        if let Some((n, node)) = padded {
            let &[before, nothing] = &node.inputs[..] else {
                return None;
            };
            let &[1, frames, channels] = surroundings.shape(nothing)? else {
                return None;
            };
            let is_nothing = surroundings.is_zero(nothing) && channels == width;
            if node.attributes.get("axis") != in_time || !is_nothing {
                return None;
            }
            nodes.push(n);
            (joined, reader, after) = (before, n, frames);
        }
        let carried = surroundings.carried(reader, joined, 1)?;
        nodes.extend(carried.nodes);
        let keep = usize::try_from(carried.keep?).ok()?;
        let fits = width * taps == self.sizes.inner
            && width.is_multiple_of(self.sizes.block)
            && keep + after + 1 == taps;
        let window = Window {
            taps,
            after,
            past: carried.past,
            next: carried.next,
            from: carried.from?,
            nodes,
        };
        fits.then_some((carried.new, window))
    }
}

/// Where the scale of a block and column lies among `columns` that have so many blocks each: `[blocks, OWN_PIECE]` of one piece of columns
/// after the other, the last one as narrow as it is.
#[inline]
#[must_use]
pub fn own_scale_at([blocks, columns]: [usize; 2], block: usize, column: usize) -> usize {
    let first = column / OWN_PIECE * OWN_PIECE;
    first * blocks + block * OWN_PIECE.min(columns - first) + column - first
}

/// Keeps weights `[columns, inner]` as `[columns / OWN_COLUMNS, inner / 4, OWN_COLUMNS, 4]`, and their scales `[columns, inner / block]`
/// one after the other as [`own_scale_at`] has them.
pub(super) fn keep(
    sizes: Sizes,
    [own, own_scales]: [&[u8]; 2],
    [weights, scales]: [&str; 2],
    products: &mut Products,
) {
    let (inner, columns, blocks) = (sizes.inner, sizes.columns, sizes.inner / sizes.block);
    let mut whole = Vec::with_capacity(own.len());
    for group in (0..columns).step_by(OWN_COLUMNS) {
        for quad in (0..inner).step_by(QUAD) {
            for column in group..group + OWN_COLUMNS {
                let four = &own[column * inner + quad..][..QUAD];
                whole.extend(four.iter().map(|&n| n.wrapping_sub(ZERO_POINT)));
            }
        }
    }
    let graph = &mut products.graph;
    let shape = [columns / OWN_COLUMNS, inner / QUAD, OWN_COLUMNS, QUAD];
    bytes_field(graph, 5, &tensor(weights, &shape, INT8, &whole));
    let mut scale = vec![0; own_scales.len()];
    for (n, own) in own_scales.chunks_exact(4).enumerate() {
        let at = own_scale_at([blocks, columns], n % blocks, n / blocks);
        scale[4 * at..][..4].copy_from_slice(own);
    }
    bytes_field(
        graph,
        5,
        &tensor(scales, &[blocks * columns], FLOAT, &scale),
    );
}
