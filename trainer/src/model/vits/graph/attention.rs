//! Attention as nodes: heads side by side, keys and values of the past carried along.

use crate::kernels::Kernels;
use timbra_voice::onnx_writer::Attr;

use super::{Node, WriteGraph};
use crate::model::vits::eval::{FORBIDDEN, Look};

impl<B: Kernels> WriteGraph<B> {
    /// What [`Eval::attend`](crate::model::vits::eval::Eval::attend) says, in rows.
    ///
    /// Keys and values are carried as `[1, heads, frames, width]`: a step then adds its few frames to each head in one
    /// piece, and nothing of the past is turned. Where distances do not count they are rings, and nothing of the past is copied
    /// either.
    pub(super) fn attention(
        &mut self,
        query: &Node,
        key: &Node,
        value: &Node,
        look: Look<'_, B>,
    ) -> Node {
        let heads = look.heads;
        let width = query.channels / heads;
        let query_of = self.split_heads(query, heads);
        let keys = self.split_heads(key, heads);
        let values = self.split_heads(value, heads);
        let scale = self.scalar(1.0 / (width as f32).sqrt());
        let query_of = self.op("Mul", &[&query_of, &scale], vec![]);
        let has_past = self.counting.is_some() && self.past() > 0;
        if has_past && look.relative.is_none() && !look.causal {
            let out = self.around(&query_of, &keys, &values, (heads, width));
            return self.join_heads(&out, query);
        }
        let keys = self.carry_heads(&keys, heads, width);
        let values = self.carry_heads(&values, heads, width);
        let keys = self.transpose(&keys, &[0, 1, 3, 2]);
        let mut scores = self.op("MatMul", &[&query_of, &keys], vec![]);
        let window = look.relative.map(|[table, _]| table.val().dims()[1] / 2);
        if let (Some([table, _]), Some(window)) = (look.relative, window) {
            let table = table.val().swap_dims(1, 2);
            let table = self.weights(table);
            let logits = self.op("MatMul", &[&query_of, &table], vec![]);
            let logits = self.with_zero_ends(&logits);
            let rows = self.rows_of_places(heads, window);
            let local = self.op(
                "GatherElements",
                &[&logits, &rows],
                vec![Attr::Int("axis", 3)],
            );
            scores = self.op("Add", &[&scores, &local], vec![]);
        }
        if let Some(shade) = self.shade(look.causal) {
            scores = self.op("Add", &[&scores, &shade], vec![]);
        }
        let weights = self.op("Softmax", &[&scores], vec![Attr::Int("axis", 3)]);
        let mut out = self.op("MatMul", &[&weights, &values], vec![]);
        if let (Some([_, table]), Some(window)) = (look.relative, window) {
            let padded = self.with_zero_ends(&weights);
            let places = self.places_of_rows(heads, window);
            let near = self.op(
                "GatherElements",
                &[&padded, &places],
                vec![Attr::Int("axis", 3)],
            );
            let table = self.weights(table.val());
            let local = self.op("MatMul", &[&near, &table], vec![]);
            out = self.op("Add", &[&out, &local], vec![]);
        }
        self.join_heads(&out, query)
    }

    /// `[1, heads, T, width]` of `heads` and `width` with all that is kept of the past, in whatever order it lies there.
    fn around(
        &mut self,
        query: &str,
        keys: &str,
        values: &str,
        (heads, width): (usize, usize),
    ) -> String {
        let past = self.past();
        let (zero, fresh) = (self.ints(&[0]), self.count(false, 1, 0));
        let [old_keys, old_values] = [keys, values].map(|new| {
            let ring = self.graph.ring(heads, past, width);
            let rows = self.slice(new, 2, &zero, &fresh);
            self.graph.keep(&ring, &rows);
            ring
        });
        let [old, new] = [&old_keys, keys].map(|keys| {
            let keys = self.transpose(keys, &[0, 1, 3, 2]);
            self.op("MatMul", &[query, &keys], vec![])
        });
        let scores = self.op("Concat", &[&old, &new], vec![Attr::Int("axis", 3)]);
        let shade = self.shade_around();
        let scores = self.op("Add", &[&scores, &shade], vec![]);
        let weights = self.op("Softmax", &[&scores], vec![Attr::Int("axis", 3)]);
        let (between, end) = (self.ints(&[past as i64]), self.ints(&[i64::MAX]));
        let old = self.slice(&weights, 3, &zero, &between);
        let new = self.slice(&weights, 3, &between, &end);
        let old = self.op("MatMul", &[&old, &old_values], vec![]);
        let new = self.op("MatMul", &[&new, values], vec![]);
        self.op("Add", &[&old, &new], vec![])
    }

    /// What every place of a ring and of this step is added, `[P + T]`: so much to rows not written yet that they are not looked at.
    fn shade_around(&mut self) -> String {
        let past = self.past() as i64;
        let places = self.numbers(true, 1, past);
        // Row i is written once more than i frames are past.
        let unwritten = self.before(1, 0).unwrap_or_default();
        self.once("shade around", |this| {
            let minus = this.op("Neg", &[&places], vec![]);
            let known = this.op("Greater", &[&minus, &unwritten], vec![]);
            let past = this.ints(&[past]);
            let is_new = this.op("GreaterOrEqual", &[&places, &past], vec![]);
            let (nothing, much) = (this.scalar(0.0), this.scalar(FORBIDDEN));
            let old = this.op("Where", &[&known, &nothing, &much], vec![]);
            this.op("Where", &[&is_new, &nothing, &old], vec![])
        })
    }

    /// `[1, heads, T, width]` as rows of all heads, at the time of `like`.
    fn join_heads(&mut self, x: &str, like: &Node) -> Node {
        let x = self.transpose(x, &[0, 2, 1, 3]);
        let name = self.reshape(&x, &[1, -1, like.channels as i64]);
        Node {
            name,
            in_rows: true,
            ..like.clone()
        }
    }

    /// `[1, heads, T, width]` of a value of `heads` · width channels.
    fn split_heads(&mut self, x: &Node, heads: usize) -> String {
        let x = self.rows(x);
        let width = x.channels / heads;
        let split = self.reshape(&x.name, &[1, -1, heads as i64, width as i64]);
        self.transpose(&split, &[0, 2, 1, 3])
    }

    /// Puts the frames of the past that an attention sees before those of this step.
    fn carry_heads(&mut self, x: &str, heads: usize, width: usize) -> String {
        let past = self.past();
        if past == 0 {
            return x.to_owned();
        }
        let state = self.graph.state(&[1, heads, past, width]);
        let joined = self.op("Concat", &[&state, x], vec![Attr::Int("axis", 2)]);
        let start = self.count(false, 1, 0);
        let end = self.count(false, 1, past as i64);
        let kept = self.slice(&joined, 2, &start, &end);
        self.graph.keep(&state, &kept);
        joined
    }

    /// What every place of an attention is added, `[T, P + T]`: nothing, or so much that it is not looked at.
    fn shade(&mut self, causal: bool) -> Option<String> {
        let past = self.past();
        if !causal && self.counting.is_none() {
            return None;
        }
        let queries = self.numbers(true, 1, 0);
        let keys = self.numbers(true, 1, past as i64);
        let unknown = self.before(1, past as i64);
        Some(self.once(&format!("shade {causal}"), |this| {
            let mut allowed = None;
            if let Some(unknown) = unknown {
                // The place j − P is in the past of the stream from P − position on.
                let known = this.op("GreaterOrEqual", &[&keys, &unknown], vec![]);
                let row = this.ints(&[0]);
                allowed = Some(this.op("Unsqueeze", &[&known, &row], vec![]));
            }
            if causal {
                let (column, past) = (this.ints(&[1]), this.ints(&[past as i64]));
                let here = this.op("Add", &[&queries, &past], vec![]);
                let here = this.op("Unsqueeze", &[&here, &column], vec![]);
                let seen = this.op("LessOrEqual", &[&keys, &here], vec![]);
                allowed = Some(match allowed {
                    Some(other) => this.op("And", &[&seen, &other], vec![]),
                    None => seen,
                });
            }
            let (nothing, much) = (this.scalar(0.0), this.scalar(FORBIDDEN));
            let allowed = allowed.unwrap_or_default();
            this.op("Where", &[&allowed, &nothing, &much], vec![])
        }))
    }

    /// For each place of an attention the row of its distance, of a table with a zero row at either end, `[1, h, T, P + T]`.
    fn rows_of_places(&mut self, heads: usize, window: usize) -> String {
        let past = self.past() as i64;
        let queries = self.numbers(true, 1, 0);
        let keys = self.numbers(true, 1, past);
        let shape = self.places_shape(heads);
        self.once(&format!("rows of places {heads} {window}"), |this| {
            let column = this.ints(&[1]);
            let queries = this.op("Unsqueeze", &[&queries, &column], vec![]);
            let distance = this.op("Sub", &[&keys, &queries], vec![]);
            let shift = this.ints(&[window as i64 + 1 - past]);
            let row = this.op("Add", &[&distance, &shift], vec![]);
            let row = this.clip(&row, 0, 2 * window as i64 + 2);
            this.op("Expand", &[&row, &shape], vec![])
        })
    }

    /// For each row of a window the place at that distance, of places with one more at either end, `[1, h, T, 2w + 1]`.
    fn places_of_rows(&mut self, heads: usize, window: usize) -> String {
        let past = self.past() as i64;
        let queries = self.numbers(true, 1, 0);
        let last = self.count(true, 1, past + 1);
        let frames = self.frames.clone();
        self.once(&format!("places of rows {heads} {window}"), |this| {
            let column = this.ints(&[1]);
            let queries = this.op("Unsqueeze", &[&queries, &column], vec![]);
            let rows: Vec<i64> = (0..2 * window as i64 + 1)
                .map(|row| row - window as i64 + past + 1)
                .collect();
            let rows = this.ints(&rows);
            let place = this.op("Add", &[&queries, &rows], vec![]);
            let zero = this.ints(&[0]);
            let place = this.op("Max", &[&place, &zero], vec![]);
            let place = this.op("Min", &[&place, &last], vec![]);
            let (one, heads) = (this.ints(&[1]), this.ints(&[heads as i64]));
            let width = this.ints(&[2 * window as i64 + 1]);
            let shape = this.op(
                "Concat",
                &[&one, &heads, &frames, &width],
                vec![Attr::Int("axis", 0)],
            );
            this.op("Expand", &[&place, &shape], vec![])
        })
    }

    fn places_shape(&mut self, heads: usize) -> String {
        let past = self.past() as i64;
        let keys = self.count(true, 1, past);
        let frames = self.frames.clone();
        self.once(&format!("places shape {heads}"), |this| {
            let (one, heads) = (this.ints(&[1]), this.ints(&[heads as i64]));
            this.op(
                "Concat",
                &[&one, &heads, &frames, &keys],
                vec![Attr::Int("axis", 0)],
            )
        })
    }
}
