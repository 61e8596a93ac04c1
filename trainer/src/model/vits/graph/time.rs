//! Where a step of a streaming graph is in its stream, and what it knows of the past.

use timbra_voice::onnx_writer::Attr;

use super::{Node, WriteGraph};
use crate::kernels::Kernels;

impl<B: Kernels> WriteGraph<B> {
    /// A number of frames (`all` of them or the new ones) times `unit`, plus `more`, `[1]`.
    pub(super) fn count(&mut self, all: bool, unit: usize, more: i64) -> String {
        let frames = match (&self.counting, all) {
            (Some(counting), false) => counting.fresh.clone(),
            _ => self.frames.clone(),
        };
        self.once(&format!("count {all} {unit} {more}"), |this| {
            let (unit, more) = (this.ints(&[unit as i64]), this.ints(&[more]));
            let samples = this.op("Mul", &[&frames, &unit], vec![]);
            this.op("Add", &[&samples, &more], vec![])
        })
    }

    /// 0, 1, 2 … below a `count` of [`Self::count`], `[count]`.
    pub(super) fn numbers(&mut self, all: bool, unit: usize, more: i64) -> String {
        let count = self.count(all, unit, more);
        self.once(&format!("numbers {all} {unit} {more}"), |this| {
            let zeroth = this.ints(&[0]);
            let count = this.op("Squeeze", &[&count, &zeroth], vec![]);
            let (from, step) = ("zero_index", "one_index");
            this.once("index constants", |this| {
                this.graph.builder.constant_i64(from, &[], &[0]);
                this.graph.builder.constant_i64(step, &[], &[1]);
                String::new()
            });
            this.op("Range", &[from, &count, step], vec![])
        })
    }

    /// Samples before this step, at `unit` samples a frame, times −1, plus `more`, `[1]`; `None` in a whole graph.
    pub(super) fn before(&mut self, unit: usize, more: i64) -> Option<String> {
        let position = self.counting.as_ref()?.position.clone();
        Some(self.once(&format!("before {unit} {more}"), |this| {
            let (unit, more) = (this.ints(&[-(unit as i64)]), this.ints(&[more]));
            let samples = this.op("Mul", &[&position, &unit], vec![]);
            this.op("Add", &[&samples, &more], vec![])
        }))
    }

    pub(super) fn past(&self) -> usize {
        self.counting
            .as_ref()
            .map_or(0, |counting| counting.past_frames)
    }

    /// Puts the last `keep` samples of the past before a provisional value.
    pub(super) fn carry_provisional(&mut self, x: &Node, keep: usize) -> String {
        if keep == 0 || self.counting.is_none() {
            return x.name.clone();
        }
        let start = self.count(false, x.unit, 0);
        let end = self.count(false, x.unit, keep as i64);
        self.carry(x, keep, &start, &end)
    }

    /// Puts the last `keep` samples of the past before a settled value.
    pub(super) fn carry_settled(&mut self, x: &Node, keep: usize) -> String {
        if keep == 0 {
            return x.name.clone();
        }
        let (start, end) = (self.ints(&[-(keep as i64)]), self.ints(&[i64::MAX]));
        self.carry(x, keep, &start, &end)
    }

    /// The `keep` samples that are carried and the value after them, of which those from `start` to `end` are carried on.
    pub(super) fn carry(&mut self, x: &Node, keep: usize, start: &str, end: &str) -> String {
        let state = self.graph.state(&x.shape(keep));
        let axis = Attr::Int("axis", x.time_axis());
        let joined = self.op("Concat", &[&state, &x.name], vec![axis]);
        let kept = self.slice(&joined, x.time_axis(), start, end);
        self.graph.keep(&state, &kept);
        joined
    }

    /// The value, settled and late by `delay`.
    pub(super) fn align(&mut self, x: &Node, delay: usize) -> Node {
        if self.counting.is_none() || x.delay == Some(delay) {
            return x.clone();
        }
        let joined = match x.delay {
            None => self.carry_provisional(x, delay),
            Some(own) => self.carry_settled(x, delay - own),
        };
        let (start, end) = (self.ints(&[0]), self.count(false, x.unit, 0));
        let name = self.slice(&joined, x.time_axis(), &start, &end);
        Node {
            name,
            delay: Some(delay),
            ..x.clone()
        }
    }

    /// Two values at the same time, lying alike.
    pub(super) fn together(&mut self, a: &Node, b: &Node) -> (Node, Node) {
        let (a, b) = match (a.delay, b.delay) {
            (None, None) => (a.clone(), b.clone()),
            (a_delay, b_delay) => {
                let delay = a_delay.max(b_delay).unwrap_or(0);
                (self.align(a, delay), self.align(b, delay))
            }
        };
        if a.in_rows == b.in_rows {
            return (a, b);
        }
        let in_rows = self.in_few_rows(&a) && self.in_few_rows(&b);
        (self.turned(&a, in_rows), self.turned(&b, in_rows))
    }

    /// A settled value with nothing before the first sample of the stream.
    pub(super) fn begun(&mut self, x: &Node) -> Node {
        let (unit, delay) = (x.unit, x.delay());
        let Some(counting) = self.counting.as_ref().filter(|_| delay > 0) else {
            return x.clone();
        };
        // Whole numbers in float32: exact up to 2²⁴, and past every delay from there on.
        let position = counting.position.clone();
        let numbers = self.numbers(false, unit, 0);
        let line = self.once(&format!("line {unit}"), |this| {
            let samples = this.ints(&[unit as i64]);
            let before = this.op("Mul", &[&position, &samples], vec![]);
            let place = this.op("Add", &[&numbers, &before], vec![]);
            this.op("Cast", &[&place], vec![Attr::Int("to", 1)])
        });
        let mask = self.once(&format!("begun {unit} {delay}"), |this| {
            let last_missing = this.scalar((delay - 1) as f32);
            let (zero, one) = (this.scalar(0.0), this.scalar(1.0));
            let since = this.op("Sub", &[&line, &last_missing], vec![]);
            this.op("Clip", &[&since, &zero, &one], vec![])
        });
        let mask = if x.in_rows {
            self.once(&format!("begun rows {unit} {delay}"), |this| {
                let column = this.ints(&[1]);
                this.op("Unsqueeze", &[&mask, &column], vec![])
            })
        } else {
            mask
        };
        let name = self.op("Mul", &[&x.name, &mask], vec![]);
        Node { name, ..x.clone() }
    }

    /// Sample `i`, at least `first`; along the last axis.
    pub(super) fn starting_at(
        &mut self,
        x: &str,
        numbers: &str,
        first: &str,
        last: &str,
    ) -> String {
        let index = self.op("Max", &[numbers, first], vec![]);
        let index = self.op("Min", &[&index, last], vec![]);
        self.op("Gather", &[x, &index], vec![Attr::Int("axis", 2)])
    }
}
