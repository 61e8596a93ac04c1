//! Attention to what is carried of the past and to a step's own frames, as one operator.
//!
//! In the runtime's operators it is more than twenty, which turn, cut and join what they see.

use crate::onnx_check::{Attribute, Node};
use crate::onnx_writer::Attr;

use super::OWN_DOMAIN;
use super::matrices::OWN_COLUMNS;
use super::surroundings::{OUTSIDE, Surroundings};
use super::together::{One, message, other};

/// The operator: attention to keys and values that are carried and to those of a step.
pub const OWN_ATTENTION: &str = "CarriedAttention";
/// `[1, frames, heads, width]` to `[1, heads, frames, width]` and back.
const HEADS_FIRST: [i64; 4] = [0, 2, 1, 3];
/// The last two turned.
const TURNED: [i64; 4] = [0, 1, 3, 2];
/// A zero at either end of the last axis.
const ZERO_ENDS: [i64; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Rows of all heads, split and turned.
struct Split<'a> {
    rows: &'a str,
    heads: usize,
    width: usize,
    nodes: [usize; 2],
}

/// What is carried of keys or values.
struct Kept<'a> {
    past: &'a str,
    next: &'a str,
    /// Frames of this step that are in it.
    fresh: &'a str,
}

/// An attention.
struct Parts<'a> {
    query: Split<'a>,
    key: Split<'a>,
    value: Split<'a>,
    scale: f32,
    shade: &'a str,
    keys: Kept<'a>,
    values: Kept<'a>,
    /// Frames that are carried.
    past: usize,
    /// Tables of keys and values by distance.
    tables: Option<[&'a str; 2]>,
    /// What is seen, of all heads side by side.
    output: &'a str,
    last: usize,
    nodes: Vec<usize>,
}

/// The attention whose weights node `n` makes, if it is one.
pub(super) fn attention(surroundings: &Surroundings<'_>, n: usize) -> Option<One> {
    let look = Look(surroundings);
    let weights = surroundings.node(n).filter(|node| node.op == "Softmax")?;
    if weights.attributes.get("axis") != Some(&Attribute::Int(3)) {
        return None;
    }
    let parts = look
        .around(n, weights)
        .or_else(|| look.by_distance(n, weights))?;
    let same =
        |split: &Split<'_>| (split.heads, split.width) == (parts.query.heads, parts.query.width);
    let fits = same(&parts.key)
        && same(&parts.value)
        && parts.keys.fresh == parts.values.fresh
        && parts.query.width.is_multiple_of(OWN_COLUMNS);
    if !fits {
        return None;
    }
    let mut inputs = vec![
        parts.query.rows,
        parts.key.rows,
        parts.value.rows,
        parts.keys.past,
        parts.values.past,
        parts.shade,
        parts.keys.fresh,
    ];
    inputs.extend(parts.tables.into_iter().flatten());
    Some(One {
        last: parts.last,
        message: message(
            OWN_DOMAIN,
            OWN_ATTENTION,
            &inputs,
            &[parts.output, parts.keys.next, parts.values.next],
            &[
                Attr::Int("heads", parts.query.heads as i64),
                Attr::Int("past", parts.past as i64),
                Attr::Float("scale", parts.scale),
            ],
        ),
        nodes: parts.nodes,
    })
}

/// A piece of a value.
struct Cut<'a> {
    output: &'a str,
    start: Option<i64>,
    end: Option<i64>,
}

/// Looks for what attention is made of.
struct Look<'s, 'a>(&'s Surroundings<'a>);

impl<'a> Look<'_, 'a> {
    /// Attention to rings, where distances do not count: scores of both are joined, and weights cut.
    fn around(&self, n: usize, weights: &Node<'a>) -> Option<Parts<'a>> {
        // What is looked at: the ring, then the step.
        let (shade_at, scores, shade) = self.shaded(weights)?;
        let (join_at, join) = self.made_alone(scores, "Concat")?;
        if join.attributes.get("axis") != Some(&Attribute::Int(3)) {
            return None;
        }
        let &[old, new] = &join.inputs[..] else {
            return None;
        };
        let (old_at, old) = self.made_alone(old, "MatMul")?;
        let (new_at, new) = self.made_alone(new, "MatMul")?;
        let (&[query, old_keys], &[again, new_keys]) = (&old.inputs[..], &new.inputs[..]) else {
            return None;
        };
        let (turn_old_at, ring_of_keys) = self.turned(old_keys, &TURNED)?;
        let (turn_new_at, keys) = self.turned(new_keys, &TURNED)?;
        let (scale_at, scale, query_of) = self.scaled(query)?;
        if query != again {
            return None;
        }
        let (query, key) = (self.split(query_of, 1)?, self.split(keys, 2)?);

        // What becomes of the weights.
        let &[a, b] = self.0.readers(weights.output) else {
            return None;
        };
        let cut = |n| {
            let (from, cut) = self.cut(n, 3)?;
            (from == weights.output).then_some(cut)
        };
        let (mut first, mut second) = (cut(a)?, cut(b)?);
        if first.start != Some(0) {
            std::mem::swap(&mut first, &mut second);
        }
        let past = usize::try_from(first.end?).ok()?;
        let meets =
            first.start == Some(0) && second.start == first.end && second.end == Some(i64::MAX);
        let (old_sum_at, ring_of_values, old_sum) = self.seen(first.output)?;
        let (new_sum_at, values, new_sum) = self.seen(second.output)?;
        let (sum_at, sum) = self.0.reader(old_sum)?;
        let is_sum = sum.op == "Add"
            && other(sum, old_sum) == Some(new_sum)
            && self.0.readers(new_sum) == [sum_at];
        let value = self.split(values, 2)?;
        let (joined, output) = self.joined(sum.output, &query)?;

        // What is handed on to the rings.
        let (next_keys, fresh, kept_keys) = self.kept(keys, turn_new_at)?;
        let (next_values, fresh_values, kept_values) = self.kept(values, new_sum_at)?;
        let rings = [ring_of_keys, ring_of_values];
        let are_rings = rings.iter().all(|ring| self.0.comes_from_outside(ring));
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
        ];
        for some in [joined, kept_keys, kept_values] {
            nodes.extend(some);
        }
        for split in [&query, &key, &value] {
            nodes.extend(split.nodes);
        }
        (meets && is_sum && are_rings).then(|| Parts {
            query,
            key,
            value,
            scale,
            shade,
            keys: Kept {
                past: ring_of_keys,
                next: next_keys,
                fresh,
            },
            values: Kept {
                past: ring_of_values,
                next: next_values,
                fresh: fresh_values,
            },
            past,
            tables: None,
            output,
            last: joined[1],
            nodes,
        })
    }

    /// Attention where distances count: what is carried and the step are joined, and tables tell what lies near.
    fn by_distance(&self, n: usize, weights: &Node<'a>) -> Option<Parts<'a>> {
        let (shade_at, scores, shade) = self.shaded(weights)?;
        let (near_at, add) = self.made_alone(scores, "Add")?;
        let &[scores, near] = &add.inputs[..] else {
            return None;
        };
        let (scores_at, scores) = self.made_alone(scores, "MatMul")?;
        let (picked_at, picked) = self.made_alone(near, "GatherElements")?;
        let (&[query, turned_keys], &[ends, rows]) = (&scores.inputs[..], &picked.inputs[..])
        else {
            return None;
        };
        let (ends_at, logits) = self.with_zero_ends(ends, picked_at)?;
        let (logits_at, logits) = self.made_alone(logits, "MatMul")?;
        let &[again, key_table] = &logits.inputs[..] else {
            return None;
        };
        let (turn_at, all_keys) = self.turned(turned_keys, &TURNED)?;
        let (scale_at, scale, query_of) = self.scaled(query)?;
        if query != again {
            return None;
        }
        let query = self.split(query_of, 1)?;
        let keys = self.0.carried(turn_at, all_keys, 2)?;
        let key = self.split(keys.new, 1)?;

        // What becomes of the weights.
        let &[a, b] = self.0.readers(weights.output) else {
            return None;
        };
        let is_product = |n: &usize| self.0.node(*n).is_some_and(|node| node.op == "MatMul");
        let (seen_at, ends_of_weights_at) = if is_product(&a) { (a, b) } else { (b, a) };
        let seen = self.0.node(seen_at).filter(|node| node.op == "MatMul")?;
        let &[_, all_values] = &seen.inputs[..] else {
            return None;
        };
        let values = self.0.carried(seen_at, all_values, 2)?;
        let value = self.split(values.new, 1)?;
        let ends = self.0.node(ends_of_weights_at)?;
        let (local_at, local) = self.0.reader(ends.output)?;
        let &[_, places] = &local.inputs[..] else {
            return None;
        };
        let (_, of_weights) = self.with_zero_ends(ends.output, local_at)?;
        let (near_seen_at, value_table, near_seen) = self.seen(local.output)?;
        let (sum_at, sum) = self.0.reader(seen.output)?;
        let is_sum = local.op == "GatherElements"
            && of_weights == weights.output
            && seen.inputs.first() == Some(&weights.output)
            && sum.op == "Add"
            && other(sum, seen.output) == Some(near_seen)
            && self.0.readers(near_seen) == [sum_at];
        let (joined, output) = self.joined(sum.output, &query)?;

        // Distances are what they are taken for.
        let past = keys.keep?;
        let &[1, width, count] = self.0.shape(key_table)? else {
            return None;
        };
        let are_tables = width == query.width
            && count % 2 == 1
            && self.0.shape(value_table) == Some(&[1, count, width]);
        let window = i64::try_from(count / 2).ok()?;
        let fits = are_tables
            && is_sum
            && values.keep == Some(past)
            && past >= window
            && self.rows_of_places(rows, past, window)
            && self.places_of_rows(places, past, window)
            && [picked, local]
                .iter()
                .all(|node| node.attributes.get("axis") == Some(&Attribute::Int(3)));
        let mut nodes = vec![
            n,
            shade_at,
            near_at,
            scores_at,
            picked_at,
            ends_at,
            logits_at,
            turn_at,
            scale_at,
            seen_at,
            ends_of_weights_at,
            local_at,
            near_seen_at,
            sum_at,
        ];
        nodes.extend(joined);
        nodes.extend(keys.nodes);
        nodes.extend(values.nodes);
        for split in [&query, &key, &value] {
            nodes.extend(split.nodes);
        }
        let parts = Parts {
            query,
            key,
            value,
            scale,
            shade,
            keys: Kept {
                past: keys.past,
                next: keys.next,
                fresh: keys.from?,
            },
            values: Kept {
                past: values.past,
                next: values.next,
                fresh: values.from?,
            },
            past: usize::try_from(past).ok()?,
            tables: Some([key_table, value_table]),
            output,
            last: joined[1],
            nodes,
        };
        fits.then_some(parts)
    }

    /// Whether `name` says for every place of an attention the row of its distance, in a table with a zero row at either end.
    fn rows_of_places(&self, name: &str, past: i64, window: i64) -> bool {
        let find = || {
            let row = self.clipped(name)?;
            let (row, limit) = (row.0, self.0.number(row.1)?);
            let (_, shifted) = self.0.made(row, "Add")?;
            let &[distance, shift] = &shifted.inputs[..] else {
                return None;
            };
            let (_, distance) = self.0.made(distance, "Sub")?;
            let &[keys, queries] = &distance.inputs[..] else {
                return None;
            };
            let fits = limit == 2 * window + 2
                && self.0.number(shift)? == window + 1 - past
                && self.0.places(keys)? == past
                && self.0.frames_in_column(queries);
            Some(fits)
        };
        find().unwrap_or(false)
    }

    /// Whether `name` says for every row of a table the place at its distance, of places with one more at either end.
    fn places_of_rows(&self, name: &str, past: i64, window: i64) -> bool {
        let find = || {
            let (place, last) = self.clipped(name)?;
            let (_, place) = self.0.made(place, "Add")?;
            let &[queries, rows] = &place.inputs[..] else {
                return None;
            };
            let rows = self.0.numbers(rows)?;
            let first = past + 1 - window;
            let fits = rows.iter().zip(first..).all(|(&row, n)| row == n)
                && rows.len() as i64 == 2 * window + 1
                && self.0.frames_and(last)? == past + 1
                && self.0.frames_in_column(queries);
            Some(fits)
        };
        find().unwrap_or(false)
    }

    /// What is `name` before it is raised to 0, brought down to a limit and repeated for every head, and the limit.
    fn clipped(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let (_, all) = self.0.made(name, "Expand")?;
        let (_, low) = self.0.made(all.inputs.first()?, "Min")?;
        let &[raised, limit] = &low.inputs[..] else {
            return None;
        };
        let (_, raised) = self.0.made(raised, "Max")?;
        let &[from, least] = &raised.inputs[..] else {
            return None;
        };
        (self.0.number(least) == Some(0)).then_some((from, limit))
    }

    /// The node that shades the scores of weights, the scores, and the shade.
    fn shaded(&self, weights: &Node<'a>) -> Option<(usize, &'a str, &'a str)> {
        let (n, add) = self.made_alone(weights.inputs.first()?, "Add")?;
        match add.inputs[..] {
            [scores, shade] => Some((n, scores, shade)),
            _ => None,
        }
    }

    /// The node `op` that makes `name`, which one other reads.
    fn made_alone(&self, name: &str, op: &str) -> Option<(usize, &'a Node<'a>)> {
        let (n, node) = self.0.made(name, op)?;
        (self.0.readers(name).len() == 1).then_some((n, node))
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

    /// The node that scales queries, which two others read, by how much, and what it scales.
    fn scaled(&self, query: &str) -> Option<(usize, f32, &'a str)> {
        let (n, node) = self.0.made(query, "Mul")?;
        let &[from, scale] = &node.inputs[..] else {
            return None;
        };
        let scale = self.0.scalar(scale)?;
        (self.0.readers(query).len() == 2).then_some((n, scale, from))
    }

    /// The node that puts a zero at either end of something, which `reader` reads, and that something.
    fn with_zero_ends(&self, name: &str, reader: usize) -> Option<(usize, &'a str)> {
        let (n, node) = self.0.made(name, "Pad")?;
        let &[from, pads] = &node.inputs[..] else {
            return None;
        };
        let fits = self.0.numbers(pads) == Some(&ZERO_ENDS)
            && node.attributes.is_empty()
            && self.0.readers(name) == [reader];
        fits.then_some((n, from))
    }

    /// The product that is all that becomes of weights, what it is with, and what comes out.
    fn seen(&self, weights: &str) -> Option<(usize, &'a str, &'a str)> {
        let (n, node) = self.0.reader(weights)?;
        match node.inputs[..] {
            [first, values] if node.op == "MatMul" && first == weights => {
                Some((n, values, node.output))
            }
            _ => None,
        }
    }

    /// The nodes that lay heads side by side again, and what comes out.
    fn joined(&self, name: &str, query: &Split<'a>) -> Option<([usize; 2], &'a str)> {
        let (turn, turned) = self.0.reader(name)?;
        let (last, joined) = self.0.reader(turned.output)?;
        let &[_, extents] = &joined.inputs[..] else {
            return None;
        };
        let channels = i64::try_from(query.heads * query.width).ok()?;
        let fits = turned.op == "Transpose"
            && turned.attributes.get("perm") == Some(&Attribute::Ints(HEADS_FIRST.to_vec()))
            && joined.op == "Reshape"
            && self.0.numbers(extents) == Some(&[1, -1, channels]);
        fits.then_some(([turn, last], joined.output))
    }

    /// The rows that `name` is, split into heads; so many nodes read it.
    fn split(&self, name: &str, readers: usize) -> Option<Split<'a>> {
        let (turn, node) = self.0.made(name, "Transpose")?;
        let is_turned = node.attributes.get("perm") == Some(&Attribute::Ints(HEADS_FIRST.to_vec()))
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

    /// The piece along `axis` that node `n` makes, and of what.
    fn cut(&self, n: usize, axis: i64) -> Option<(&'a str, Cut<'a>)> {
        let node = self.0.node(n).filter(|node| node.op == "Slice")?;
        let &[from, start, end, along] = &node.inputs[..] else {
            return None;
        };
        let cut = Cut {
            output: node.output,
            start: self.0.number(start),
            end: self.0.number(end),
        };
        (self.0.number(along) == Some(axis)).then_some((from, cut))
    }

    /// What of `name`, which node `reader` reads too, is handed on: its first frames, and how many.
    fn kept(&self, name: &str, reader: usize) -> Option<(&'a str, &'a str, [usize; 2])> {
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
            && self.0.number(count).is_none()
            && identity.op == "Identity"
            && self.0.readers(identity.output) == [OUTSIDE];
        is_kept.then_some((identity.output, count, [at, handed_on]))
    }
}
