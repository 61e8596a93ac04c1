//! What follows the layers of a WaveNet, as one operator each: the gate, and the sums of what stays and what leaves.

use crate::onnx_writer::Attr;

use super::OWN_DOMAIN;
use super::matrices::OwnMatrices;
use super::surroundings::Surroundings;
use super::together::{One, message, other};

/// The operator: `tanh(a) · σ(b)` of the halves of a sum.
pub const OWN_GATE: &str = "GatedUnit";
/// The operator: both halves, each with something added to it.
pub const OWN_HALVES: &str = "AddHalves";

/// A piece of the channels of a value in rows.
struct Piece<'a> {
    from: &'a str,
    start: i64,
    end: i64,
}

fn piece<'a>(surroundings: &Surroundings<'a>, n: usize) -> Option<Piece<'a>> {
    let node = surroundings.node(n).filter(|node| node.op == "Slice")?;
    let &[from, start, end, axis] = &node.inputs[..] else {
        return None;
    };
    let piece = Piece {
        from,
        start: surroundings.number(start)?,
        end: surroundings.number(end)?,
    };
    (surroundings.number(axis) == Some(2) && piece.start >= 0).then_some(piece)
}

/// The gate that node `n` is the end of, of what a product makes.
pub(super) fn gate(
    surroundings: &Surroundings<'_>,
    products: &OwnMatrices<'_>,
    n: usize,
) -> Option<One> {
    let product = surroundings.node(n).filter(|node| node.op == "Mul")?;
    let &[first, second] = &product.inputs[..] else {
        return None;
    };
    let alone = |name: &str, op: &str, reader: usize| {
        let (n, node) = surroundings.made(name, op)?;
        (surroundings.readers(name) == [reader]).then_some((n, *node.inputs.first()?))
    };
    let (tanh_at, first) = alone(first, "Tanh", n)?;
    let (sigmoid_at, second) = alone(second, "Sigmoid", n)?;
    let (first_at, sum) = alone(first, "Slice", tanh_at)?;
    let (second_at, again) = alone(second, "Slice", sigmoid_at)?;
    let (a, b) = (
        piece(surroundings, first_at)?,
        piece(surroundings, second_at)?,
    );
    let (half, both) = (a.end, a.end.checked_mul(2)?);
    let is_whole =
        |name: &str| products.columns_of(name).map(|columns| columns as i64) == Some(both);
    let fits = sum == again
        && (a.start, b.start, b.end) == (0, half, both)
        && surroundings.readers(sum).len() == 2;
    let mut nodes = vec![first_at, second_at, tanh_at, sigmoid_at, n];
    let mut inputs = vec![sum];
    let mut offset = 0;
    // A sum of a product and of a piece of something as long.
    if let Some((at, added)) = surroundings.made(sum, "Add")
        && let Some(&made) = added.inputs.iter().find(|name| products.make(name))
    {
        let more = other(added, made)?;
        let (cut_at, _) = surroundings.made(more, "Slice")?;
        let cut = piece(surroundings, cut_at)?;
        let is_as_wide = cut.end.checked_sub(cut.start) == Some(both) && is_whole(made);
        if surroundings.readers(more) != [at] || !is_as_wide {
            return None;
        }
        (inputs, offset) = (vec![made, cut.from], cut.start);
        nodes.extend([at, cut_at]);
    } else if !is_whole(sum) {
        return None;
    }
    fits.then(|| One {
        last: n,
        nodes,
        message: message(
            OWN_DOMAIN,
            OWN_GATE,
            &inputs,
            &[product.output],
            &[Attr::Int("half", half), Attr::Int("offset", offset)],
        ),
    })
}

/// The halves of what a product makes, of which node `n` is the first: what is added to each, if to both something is.
pub(super) fn halves(
    surroundings: &Surroundings<'_>,
    products: &OwnMatrices<'_>,
    n: usize,
) -> Option<One> {
    let first = piece(surroundings, n).filter(|piece| products.make(piece.from))?;
    let &[at, second_at] = surroundings.readers(first.from) else {
        return None;
    };
    let second = piece(surroundings, second_at)?;
    let (half, both) = (first.end, first.end.checked_mul(2)?);
    if at != n
        || second.from != first.from
        || (first.start, second.start, second.end) != (0, half, both)
    {
        return None;
    }
    if products
        .columns_of(first.from)
        .map(|columns| columns as i64)
        != Some(both)
    {
        return None;
    }
    let sum = |n: usize| {
        let name = surroundings.node(n)?.output;
        let (at, node) = surroundings
            .reader(name)
            .filter(|(_, node)| node.op == "Add")?;
        // As long as the half: something that is no constant.
        let more = other(node, name).filter(|more| surroundings.maker(more).is_some())?;
        Some((at, more, node.output))
    };
    let (stays_at, stays, staying) = sum(n)?;
    let (leaves_at, leaves, leaving) = sum(second_at)?;
    let last = stays_at.max(leaves_at).max(second_at);
    let comes_later = |name: &str| {
        surroundings
            .readers(name)
            .iter()
            .all(|&reader| reader > last)
    };
    let made_before = |name: &str| surroundings.maker(name).is_some_and(|(at, _)| at < n);
    let fits =
        comes_later(staying) && comes_later(leaving) && made_before(stays) && made_before(leaves);
    fits.then(|| One {
        last,
        nodes: vec![n, second_at, stays_at, leaves_at],
        message: message(
            OWN_DOMAIN,
            OWN_HALVES,
            &[first.from, stays, leaves],
            &[staying, leaving],
            &[],
        ),
    })
}
