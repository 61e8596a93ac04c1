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
    /// How many floats there are in constants that are a vector.
    vectors: HashMap<&'a str, usize>,
    /// What comes from outside at every step.
    inputs: HashSet<&'a str>,
}

/// Samples of the past that are put before those of a step.
pub(super) struct Carried<'a> {
    pub(super) past: &'a str,
    pub(super) new: &'a str,
    pub(super) next: &'a str,
    pub(super) nodes: [usize; 3],
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
        let (mut vectors, mut inputs) = (HashMap::new(), HashSet::new());
        let mut fields = Fields::new(graph, "the graph", &[]);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (5, Field::Bytes(bytes)) => {
                    numbers.extend(whole_numbers(bytes)?);
                    if let Some((name, constant)) = constant(bytes)? {
                        if let &[one] = constant.raw.as_chunks::<4>().0 {
                            scalars.insert(name, f32::from_le_bytes(one));
                        }
                        if let &[length] = &constant.shape[..] {
                            vectors.insert(name, length);
                        }
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
            vectors,
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
        self.vectors.get(name).copied()
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

    /// The past that is put before what node `reader` sees as `input`, if nobody else sees it and the end of both is the next past.
    pub(super) fn carried(&self, reader: usize, input: &str) -> Option<Carried<'a>> {
        let (joined, concat) = self.maker(input)?;
        let &[past, new] = &concat.inputs[..] else {
            return None;
        };
        let in_time = concat.attributes.get("axis") == Some(&Attribute::Int(2));
        if concat.op != "Concat" || !in_time || !self.inputs.contains(past) {
            return None;
        }
        let slice = match *self.readers(input) {
            [a, b] if a == reader => b,
            [a, b] if b == reader => a,
            _ => return None,
        };
        let kept = &self.nodes.get(slice)?.0;
        let &[from, start, end, axis] = &kept.inputs[..] else {
            return None;
        };
        let is = |name: &str, expected: &dyn Fn(i64) -> bool| matches!(self.numbers.get(name).map(Vec::as_slice), Some(&[number]) if expected(number));
        let is_end = is(start, &|start| start < 0)
            && is(end, &|end| end == i64::MAX)
            && is(axis, &|axis| axis == 2);
        if kept.op != "Slice" || from != input || !is_end {
            return None;
        }
        let &[handed_on] = self.readers(kept.output) else {
            return None;
        };
        let identity = &self.nodes.get(handed_on)?.0;
        if identity.op != "Identity" || self.readers(identity.output) != [OUTSIDE] {
            return None;
        }
        Some(Carried {
            past,
            new,
            next: identity.output,
            nodes: [joined, slice, handed_on],
        })
    }

    /// The mask that `name` has been multiplied with, and what it was before. Masks of samples go by their making: they are clipped.
    pub(super) fn masked(&self, name: &str) -> Option<(&'a str, &'a str)> {
        let (_, product) = self.maker(name)?;
        let &[a, b] = &product.inputs[..] else {
            return None;
        };
        let is_mask = |name: &str| {
            let maker = self.maker(name);
            maker.is_some_and(|(_, node)| {
                let &[numbers, low, high] = &node.inputs[..] else {
                    return false;
                };
                let is = |name: &str, number: f32| self.scalars.get(name) == Some(&number);
                // Numbers of samples: a vector, whatever comes in.
                let is_vector = self
                    .maker(numbers)
                    .is_some_and(|(_, node)| node.op == "Sub");
                node.op == "Clip" && is_vector && is(low, 0.0) && is(high, 1.0)
            })
        };
        match (product.op, is_mask(a), is_mask(b)) {
            ("Mul", true, false) => Some((a, b)),
            ("Mul", false, true) => Some((b, a)),
            _ => None,
        }
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
        Some((n, self.carried(n, joined)?))
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
