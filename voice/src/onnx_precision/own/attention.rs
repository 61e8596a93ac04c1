//! Attention to what rings hold and to a step's own frames, as one operator.
//!
//! In the runtime's operators it is sixteen, which turn, cut and join what they see.

use crate::onnx_check::Attribute;
use crate::onnx_check::Node;
use crate::onnx_writer::Attr;

use super::OWN_DOMAIN;
use super::surroundings::{OUTSIDE, Surroundings};
use super::together::{One, message};

/// The operator: attention to rings of keys and values and to those of a step.
pub const OWN_ATTENTION: &str = "RingAttention";
/// `[1, frames, heads, width]` to `[1, heads, frames, width]` and back.
const HEADS_FIRST: [i64; 4] = [0, 2, 1, 3];
/// The last two turned.
const TURNED: [i64; 4] = [0, 1, 3, 2];

/// Rows of all heads, split and turned.
struct Split<'a> {
    rows: &'a str,
    heads: usize,
    width: usize,
    nodes: [usize; 2],
}

/// The attention whose weights node `n` makes, if it is one.
pub(super) fn attention(surroundings: &Surroundings<'_>, n: usize) -> Option<One> {
    let look = Look(surroundings);
    let weights = surroundings.node(n).filter(|node| node.op == "Softmax")?;
    if weights.attributes.get("axis") != Some(&Attribute::Int(3)) {
        return None;
    }
    let &[shaded] = &weights.inputs[..] else {
        return None;
    };

    // What is looked at: the ring, then the step.
    let (shade_at, add) = look.made_alone(shaded, "Add")?;
    let &[scores, shade] = &add.inputs[..] else {
        return None;
    };
    let (join_at, join) = look.made_alone(scores, "Concat")?;
    if join.attributes.get("axis") != Some(&Attribute::Int(3)) {
        return None;
    }
    let &[old, new] = &join.inputs[..] else {
        return None;
    };
    let (old_at, old) = look.made_alone(old, "MatMul")?;
    let (new_at, new) = look.made_alone(new, "MatMul")?;
    let (&[query, old_keys], &[again, new_keys]) = (&old.inputs[..], &new.inputs[..]) else {
        return None;
    };
    let (turn_old_at, ring_of_keys) = look.turned(old_keys, &TURNED)?;
    let (turn_new_at, keys) = look.turned(new_keys, &TURNED)?;
    let (scale_at, scaled) = surroundings.maker(query)?;
    let &[query_of, scale] = &scaled.inputs[..] else {
        return None;
    };
    let scale = surroundings.scalar(scale).filter(|_| scaled.op == "Mul")?;
    if query != again || surroundings.readers(query).len() != 2 {
        return None;
    }
    let query_of = look.split(query_of, 1)?;
    let key_of = look.split(keys, 2)?;

    // What becomes of the weights.
    let mut cuts = surroundings.readers(weights.output).iter().copied();
    let (Some(a), Some(b), None) = (cuts.next(), cuts.next(), cuts.next()) else {
        return None;
    };
    let cut = |n| {
        let (from, cut) = look.cut(n, 3)?;
        (from == weights.output).then_some(cut)
    };
    let (mut first, mut second) = (cut(a)?, cut(b)?);
    if first.start != Some(0) {
        std::mem::swap(&mut first, &mut second);
    }
    let past = usize::try_from(first.end?).ok()?;
    let meets = first.start == Some(0) && second.start == first.end && second.end == Some(i64::MAX);
    let (old_sum_at, old_sum) = surroundings.reader(first.output)?;
    let (new_sum_at, new_sum) = surroundings.reader(second.output)?;
    let (&[_, ring_of_values], &[_, values]) = (&old_sum.inputs[..], &new_sum.inputs[..]) else {
        return None;
    };
    let are_products = old_sum.op == "MatMul"
        && new_sum.op == "MatMul"
        && old_sum.inputs[0] == first.output
        && new_sum.inputs[0] == second.output;
    let (sum_at, sum) = surroundings.reader(old_sum.output)?;
    let is_sum = sum.op == "Add"
        && sum.inputs.contains(&old_sum.output)
        && sum.inputs.contains(&new_sum.output)
        && surroundings.readers(new_sum.output) == [sum_at];
    let value_of = look.split(values, 2)?;
    let (turn_at, turned) = surroundings.reader(sum.output)?;
    let (last, joined) = surroundings.reader(turned.output)?;
    let is_joined = turned.op == "Transpose"
        && turned.attributes.get("perm") == Some(&Attribute::Ints(HEADS_FIRST.to_vec()))
        && joined.op == "Reshape";
    let channels = i64::try_from(query_of.heads * query_of.width).ok()?;
    let &[_, extents] = &joined.inputs[..] else {
        return None;
    };
    let is_joined = is_joined && surroundings.numbers(extents) == Some(&[1, -1, channels]);

    // What is handed on to the rings.
    let kept_keys = look.kept(keys, turn_new_at)?;
    let kept_values = look.kept(values, new_sum_at)?;
    let same = |split: &Split<'_>| (split.heads, split.width) == (query_of.heads, query_of.width);
    let rings = [ring_of_keys, ring_of_values];
    let fits = meets
        && are_products
        && is_sum
        && is_joined
        && same(&key_of)
        && same(&value_of)
        && kept_keys.count == kept_values.count
        && rings
            .iter()
            .all(|ring| surroundings.comes_from_outside(ring));
    let mut nodes = vec![
        n,
        shade_at,
        join_at,
        old_at,
        new_at,
        turn_old_at,
        turn_new_at,
        scale_at,
        a,
        b,
        old_sum_at,
        new_sum_at,
        sum_at,
        turn_at,
        last,
    ];
    for split in [&query_of, &key_of, &value_of] {
        nodes.extend(split.nodes);
    }
    nodes.extend(kept_keys.nodes);
    nodes.extend(kept_values.nodes);
    fits.then(|| One {
        last,
        nodes,
        message: message(
            OWN_DOMAIN,
            OWN_ATTENTION,
            &[
                query_of.rows,
                key_of.rows,
                value_of.rows,
                ring_of_keys,
                ring_of_values,
                shade,
                kept_keys.count,
            ],
            &[joined.output, kept_keys.next, kept_values.next],
            &[
                Attr::Int("heads", query_of.heads as i64),
                Attr::Int("past", past as i64),
                Attr::Float("scale", scale),
            ],
        ),
    })
}

/// A piece of a value.
struct Cut<'a> {
    output: &'a str,
    start: Option<i64>,
    end: Option<i64>,
}

/// The first frames of a value that the next step is given.
struct Kept<'a> {
    /// How many.
    count: &'a str,
    next: &'a str,
    nodes: [usize; 2],
}

/// Looks for what attention is made of.
struct Look<'s, 'a>(&'s Surroundings<'a>);

impl<'a> Look<'_, 'a> {
    /// The node `op` that makes `name`, which one other reads.
    fn made_alone(&self, name: &str, op: &str) -> Option<(usize, &'a Node<'a>)> {
        let (n, node) = self.0.maker(name)?;
        (node.op == op && self.0.readers(name).len() == 1).then_some((n, node))
    }

    /// The node that turns something into `name`, which one other reads, and what it turns.
    fn turned(&self, name: &str, how: &[i64]) -> Option<(usize, &'a str)> {
        let (n, node) = self.made_alone(name, "Transpose")?;
        let &[from] = &node.inputs[..] else {
            return None;
        };
        let is_so =
            matches!(node.attributes.get("perm"), Some(Attribute::Ints(found)) if found == how);
        is_so.then_some((n, from))
    }

    /// The rows that `name` is, split into heads; so many nodes read it.
    fn split(&self, name: &str, readers: usize) -> Option<Split<'a>> {
        let (turn, node) = self.0.maker(name)?;
        let is_turned = node.op == "Transpose"
            && node.attributes.get("perm") == Some(&Attribute::Ints(HEADS_FIRST.to_vec()))
            && self.0.readers(name).len() == readers;
        let &[split] = &node.inputs[..] else {
            return None;
        };
        let (reshape, node) = self.made_alone(split, "Reshape")?;
        let &[rows, extents] = &node.inputs[..] else {
            return None;
        };
        let &[1, -1, heads, width] = self.0.numbers(extents)? else {
            return None;
        };
        let known = |number| usize::try_from(number).ok().filter(|&number| number > 0);
        let (heads, width) = (known(heads)?, known(width)?);
        is_turned.then_some(Split {
            rows,
            heads,
            width,
            nodes: [reshape, turn],
        })
    }

    /// The piece along `axis` that node `n` makes.
    fn cut(&self, n: usize, axis: i64) -> Option<(&'a str, Cut<'a>)> {
        let node = self.0.node(n).filter(|node| node.op == "Slice")?;
        let &[from, start, end, along] = &node.inputs[..] else {
            return None;
        };
        let number = |name| match self.0.numbers(name) {
            Some(&[number]) => Some(number),
            _ => None,
        };
        let cut = Cut {
            output: node.output,
            start: number(start),
            end: number(end),
        };
        (number(along) == Some(axis)).then_some((from, cut))
    }

    /// What of `name`, which node `reader` reads too, is handed on.
    fn kept(&self, name: &str, reader: usize) -> Option<Kept<'a>> {
        let at = match *self.0.readers(name) {
            [a, b] if a == reader => b,
            [a, b] if b == reader => a,
            _ => return None,
        };
        let (from, cut) = self.cut(at, 2)?;
        let count = *self.0.node(at)?.inputs.get(2)?;
        let (handed_on, identity) = self.0.reader(cut.output)?;
        let is_kept = from == name
            && cut.start == Some(0)
            && identity.op == "Identity"
            && self.0.readers(identity.output) == [OUTSIDE];
        is_kept.then_some(Kept {
            count,
            next: identity.output,
            nodes: [at, handed_on],
        })
    }
}
