//! What lies around the nodes of a graph: who makes and reads what, and which constants are plain numbers.

use std::collections::{HashMap, HashSet};

use crate::onnx_check::wire::{Field, Fields};
use crate::onnx_check::{Attribute, GraphError, Node};
use crate::onnx_precision::{constant, raw_constant, text};
use crate::onnx_writer::INT64;

/// Who reads what leaves the graph.
pub(super) const OUTSIDE: usize = usize::MAX;

/// Who makes and reads what.
pub(in crate::onnx_precision) struct Surroundings<'a> {
    pub(super) nodes: &'a [(Node<'a>, &'a [u8])],
    makers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
    /// Constants of whole numbers.
    numbers: HashMap<&'a str, Vec<i64>>,
    /// Constants that are one float.
    scalars: HashMap<&'a str, f32>,
    /// Extents of constants of floats.
    shapes: HashMap<&'a str, Vec<usize>>,
    /// Those that are all zero.
    zeros: HashSet<&'a str>,
    /// What comes from outside at every step.
    inputs: HashSet<&'a str>,
}

/// Samples of the past that are put before those of a step.
pub(super) struct Carried<'a> {
    pub(super) past: &'a str,
    pub(super) new: &'a str,
    pub(super) next: &'a str,
    /// Where the next past begins in both together; their end if nothing is said.
    pub(super) from: Option<&'a str>,
    /// How many samples are carried, where that is known.
    pub(super) keep: Option<i64>,
    pub(super) nodes: [usize; 3],
}

/// What a value is multiplied with from the first sample of the stream on.
#[derive(Clone, Copy)]
pub(super) struct Mask<'a> {
    /// Numbers of samples, `[samples]`.
    pub(super) place: &'a str,
    /// The last sample that there is nothing of.
    pub(super) missing: f32,
}

impl<'a> Surroundings<'a> {
    /// Those of `graph`, whose nodes are `nodes`.
    ///
    /// # Errors
    /// It is no graph that a voice may have.
    pub(in crate::onnx_precision) fn of(
        graph: &'a [u8],
        nodes: &'a [(Node<'a>, &'a [u8])],
    ) -> Result<Self, GraphError> {
        let mut makers = HashMap::new();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, (node, _)) in nodes.iter().enumerate() {
            makers.insert(node.output, n);
            for input in &node.inputs {
                readers.entry(input).or_default().push(n);
            }
        }
        let (mut numbers, mut scalars) = (HashMap::new(), HashMap::new());
        let (mut shapes, mut zeros) = (HashMap::new(), HashSet::new());
        let mut inputs = HashSet::new();
        let mut fields = Fields::new(graph, "the graph", &[]);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (5, Field::Bytes(bytes)) => {
                    numbers.extend(whole_numbers(bytes)?);
                    if let Some((name, constant)) = constant(bytes)? {
                        if let &[one] = constant.raw.as_chunks::<4>().0 {
                            scalars.insert(name, f32::from_le_bytes(one));
                        }
                        if constant.raw.iter().all(|&byte| byte == 0) {
                            zeros.insert(name);
                        }
                        shapes.insert(name, constant.shape);
                    }
                }
                (11, Field::Bytes(bytes)) => {
                    inputs.insert(name_of(bytes)?);
                }
                (12, Field::Bytes(bytes)) => {
                    readers.entry(name_of(bytes)?).or_default().push(OUTSIDE);
                }
                _ => {}
            }
        }
        Ok(Self {
            nodes,
            makers,
            readers,
            numbers,
            scalars,
            shapes,
            zeros,
            inputs,
        })
    }

    /// Node `n`, if there is one.
    pub(super) fn node(&self, n: usize) -> Option<&'a Node<'a>> {
        Some(&self.nodes.get(n)?.0)
    }

    /// The only node that reads `name`, if there is one.
    pub(super) fn reader(&self, name: &str) -> Option<(usize, &'a Node<'a>)> {
        let &[n] = self.readers(name) else {
            return None;
        };
        Some((n, self.node(n)?))
    }

    /// The constant whole numbers `name`.
    pub(super) fn numbers(&self, name: &str) -> Option<&[i64]> {
        Some(self.numbers.get(name)?)
    }

    /// The constant float `name`.
    pub(super) fn scalar(&self, name: &str) -> Option<f32> {
        self.scalars.get(name).copied()
    }

    /// Whether `name` is given to every step.
    pub(super) fn comes_from_outside(&self, name: &str) -> bool {
        self.inputs.contains(name)
    }

    /// How many floats the constant vector `name` has.
    pub(super) fn vector(&self, name: &str) -> Option<usize> {
        match self.shape(name)? {
            &[length] => Some(length),
            _ => None,
        }
    }

    /// Extents of the constant floats `name`.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(self.shapes.get(name)?)
    }

    /// Whether the constant floats `name` are all zero.
    pub(super) fn is_zero(&self, name: &str) -> bool {
        self.zeros.contains(name)
    }

    /// How many successive frames the places `name` are for every frame of a step, from its own on: `[frames, count]`.
    pub(super) fn successive(&self, name: &str) -> Option<usize> {
        let (_, sum) = self.made(name, "Add")?;
        let &[frames, taps] = &sum.inputs[..] else {
            return None;
        };
        let taps = self.numbers(taps)?;
        let is_successive = taps.iter().zip(0..).all(|(&tap, n)| tap == n);
        (is_successive && self.frames_in_column(frames)).then_some(taps.len())
    }

    /// Whether `name` is 0, 1, 2 … for every frame of a step, `[frames, 1]`.
    pub(super) fn frames_in_column(&self, name: &str) -> bool {
        let made = self.made(name, "Unsqueeze");
        made.is_some_and(|(_, node)| {
            node.inputs.first().and_then(|from| self.places(from)) == Some(0)
        })
    }

    /// How many places more than a step has frames `name` counts: 0, 1, 2 …
    pub(super) fn places(&self, name: &str) -> Option<i64> {
        let (_, range) = self.made(name, "Range")?;
        let &[first, count, step] = &range.inputs[..] else {
            return None;
        };
        let (_, count) = self.made(count, "Squeeze")?;
        let more = self.frames_and(count.inputs.first()?)?;
        let fits = (self.number(first), self.number(step)) == (Some(0), Some(1));
        fits.then_some(more)
    }

    /// How many more than the frames of a step `name` is.
    pub(super) fn frames_and(&self, name: &str) -> Option<i64> {
        let (of, 1, more) = self.samples_of(name)? else {
            return None;
        };
        let (_, shape) = self.made(of, "Shape")?;
        let extent = ["start", "end"].map(|name| shape.attributes.get(name));
        // All frames of the step.
        (extent == [Some(&Attribute::Int(1)), Some(&Attribute::Int(2))]).then_some(more)
    }

    /// The node `op` that makes `name`.
    pub(super) fn made(&self, name: &str, op: &str) -> Option<(usize, &'a Node<'a>)> {
        self.maker(name).filter(|(_, node)| node.op == op)
    }

    /// Who reads `name`.
    pub(super) fn readers(&self, name: &str) -> &[usize] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The node that makes `name`.
    pub(super) fn maker(&self, name: &str) -> Option<(usize, &'a Node<'a>)> {
        let &n = self.makers.get(name)?;
        Some((n, &self.nodes[n].0))
    }

    /// The one number that `name` is.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        match self.numbers(name)? {
            &[number] => Some(number),
            _ => None,
        }
    }

    /// What a count of samples is of: frames, samples a frame and how many more.
    pub(super) fn samples_of(&self, name: &str) -> Option<(&'a str, i64, i64)> {
        let (_, sum) = self.maker(name).filter(|(_, node)| node.op == "Add")?;
        let &[product, more] = &sum.inputs[..] else {
            return None;
        };
        let (_, product) = self.maker(product).filter(|(_, node)| node.op == "Mul")?;
        let &[frames, unit] = &product.inputs[..] else {
            return None;
        };
        Some((frames, self.number(unit)?, self.number(more)?))
    }

    /// The past that is put before what node `reader` sees as `input`, along `axis`, if nobody else sees it and the next past is
    /// the end of both, or begins so many samples after the beginning as are new.
    pub(super) fn carried(&self, reader: usize, input: &str, axis: i64) -> Option<Carried<'a>> {
        let (joined, concat) = self.maker(input)?;
        let &[past, new] = &concat.inputs[..] else {
            return None;
        };
        let in_time = concat.attributes.get("axis") == Some(&Attribute::Int(axis));
        if concat.op != "Concat" || !in_time || !self.inputs.contains(past) {
            return None;
        }
        let slice = match *self.readers(input) {
            [a, b] if a == reader => b,
            [a, b] if b == reader => a,
            _ => return None,
        };
        let kept = &self.nodes.get(slice)?.0;
        let &[from, start, end, along] = &kept.inputs[..] else {
            return None;
        };
        if kept.op != "Slice" || from != input || self.number(along) != Some(axis) {
            return None;
        }
        let (from, keep) = match (self.number(start), self.number(end)) {
            (Some(start), Some(i64::MAX)) if start < 0 => (None, Some(-start)),
            (None, None) => {
                let (of, unit, first) = self.samples_of(start)?;
                let (end_of, end_unit, keep) = self.samples_of(end)?;
                if first != 0 || (of, unit) != (end_of, end_unit) {
                    return None;
                }
                (Some(start), Some(keep))
            }
            _ => return None,
        };
        let (handed_on, identity) = self.reader(kept.output)?;
        if identity.op != "Identity" || self.readers(identity.output) != [OUTSIDE] {
            return None;
        }
        Some(Carried {
            past,
            new,
            next: identity.output,
            from,
            keep,
            nodes: [joined, slice, handed_on],
        })
    }

    /// The mask that `name` has been multiplied with, and what it was before.
    pub(super) fn masked(&self, name: &str) -> Option<(Mask<'a>, &'a str)> {
        let (_, product) = self.maker(name).filter(|(_, node)| node.op == "Mul")?;
        let &[a, b] = &product.inputs[..] else {
            return None;
        };
        match (self.mask(a), self.mask(b)) {
            (Some(mask), None) => Some((mask, b)),
            (None, Some(mask)) => Some((mask, a)),
            _ => None,
        }
    }

    /// The mask that `name` is: numbers of samples less one of them, between 0 and 1. Numbers are a vector, whatever comes in.
    fn mask(&self, name: &str) -> Option<Mask<'a>> {
        let (_, clip) = self.maker(name).filter(|(_, node)| node.op == "Clip")?;
        let &[since, low, high] = &clip.inputs[..] else {
            return None;
        };
        let (_, since) = self.maker(since).filter(|(_, node)| node.op == "Sub")?;
        let &[place, missing] = &since.inputs[..] else {
            return None;
        };
        let missing = self.scalar(missing)?;
        let is_mask = self.scalar(low) == Some(0.0) && self.scalar(high) == Some(1.0);
        is_mask.then_some(Mask { place, missing })
    }

    /// A value that node `sum` adds, late by what is carried of it: the slice that picks its samples, and what it picks from.
    pub(super) fn delayed(&self, sum: usize, name: &str) -> Option<(usize, Carried<'a>)> {
        let (n, slice) = self.maker(name)?;
        let &[joined, start, _, axis] = &slice.inputs[..] else {
            return None;
        };
        let is = |name: &str, number: i64| {
            let found = self.numbers.get(name).map(Vec::as_slice);
            found == Some(&[number])
        };
        let is_start = slice.op == "Slice" && is(start, 0) && is(axis, 2);
        if !is_start || self.readers(name) != [sum] {
            return None;
        }
        let carried = self.carried(n, joined, 2)?;
        carried.from.is_none().then_some((n, carried))
    }

    /// The slope of the rectifier that makes `name`, and what goes into it.
    pub(super) fn bent(&self, name: &str) -> Option<(f32, &'a str)> {
        let (_, node) = self.maker(name)?;
        match (node.op, node.attributes.get("alpha"), &node.inputs[..]) {
            ("LeakyRelu", Some(&Attribute::Float(slope)), &[input])
                if (0.0..=1.0).contains(&slope) =>
            {
                Some((slope, input))
            }
            _ => None,
        }
    }

    /// The sum that is all that becomes of `name`, which node `n` makes, and what is added.
    pub(super) fn summed(&self, n: usize, name: &str) -> Option<(usize, &'a str)> {
        let &[sum] = self.readers(name) else {
            return None;
        };
        let node = &self.nodes.get(sum)?.0;
        let more = match node.inputs[..] {
            [a, more] | [more, a] if a == name && more != name => more,
            _ => return None,
        };
        // A constant may be of any shape.
        let is_made = self.makers.contains_key(more) || self.inputs.contains(more);
        (node.op == "Add" && sum > n && is_made).then_some((sum, more))
    }
}

/// A constant of whole numbers with its name; `None` for others.
fn whole_numbers(bytes: &[u8]) -> Result<Option<(&str, Vec<i64>)>, GraphError> {
    let (name, kind, raw) = raw_constant(bytes)?;
    let numbers = raw.as_chunks::<8>().0.iter().copied();
    let numbers = (kind == INT64).then(|| numbers.map(i64::from_le_bytes).collect());
    Ok(numbers.map(|numbers| (name, numbers)))
}

/// The name of an input or output.
fn name_of(bytes: &[u8]) -> Result<&str, GraphError> {
    let mut fields = Fields::new(bytes, "an input or output", &[]);
    while let Some((field, value)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (field, value) {
            return text(bytes);
        }
    }
    Ok("")
}
