//! Writes the nodes of a graph for what [`super::eval`] describes, whole or streaming.
//!
//! A *whole* graph takes a clip and gives its audio. A *streaming* one takes T = N + L frames a step: N new ones, for
//! which audio is made, and L of the future, with which the features of the N are better and which are seen again in the
//! next step. Every value is either
//!
//! - *provisional*: it covers all T frames, what it says of the last L is preliminary, and layers carry what they need
//!   of the past as it was at the end of the N frames; or
//! - *settled*: it covers as many samples as N frames have, but `delay` samples earlier, so that layers which look ahead
//!   find their future in what they already have. Nothing is computed twice there.
//!
//! At the end of a stream L is what is left, so that a clip may be streamed to its last frame. With L as long as what the
//! provisional part sees of the future, streaming equals the whole graph; with less, it is what a voice has to sing with.
//!
//! | module | what |
//! |---|---|
//! | `node` | a value and how it lies in memory |
//! | `time` | where a step is in its stream, and what it knows of the past |
//! | `linear` | layers as products of rows |
//! | `attention` | attention, with the keys and values of the past |
//! | `snake` | BigVGAN's activation |
//! | `source` | sines and noise for a decoder |

mod attention;
mod linear;
mod node;
mod snake;
mod source;
mod time;

use std::collections::HashMap;
use std::marker::PhantomData;

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use timbra_voice::onnx_writer::Attr;

use super::eval::{COARSE_ROWS, Eval, Function, Look, NORM_EPSILON, SourceForm, coarse_line};
use super::layers::{Conv, Upsample};
use crate::kernels::Kernels;
use crate::model::causal::{StreamingGraph, to_vec};
pub use node::Node;

/// Where the count of frames stays, so that float32 holds it exactly. Long past every delay.
const MOST_FRAMES: f32 = 1_048_576.0;
/// Frames over which a normalisation over time remembers: half a minute of HuBERT's.
const MOST_NORMED_FRAMES: usize = 1_500;

/// How the frames of a streaming graph are counted.
#[derive(Debug)]
struct Counting {
    /// N, `[1]`.
    fresh: String,
    /// Frames before this step, `[1]`.
    position: String,
    /// Frames of the past an attention sees.
    past_frames: usize,
}

/// Writes nodes.
#[derive(Debug)]
pub struct WriteGraph<B: Backend> {
    /// The graph.
    pub graph: StreamingGraph,
    /// T, `[1]`.
    frames: String,
    counting: Option<Counting>,
    known: HashMap<String, String>,
    /// For each mixture of rows of a table the weights it is mixed with, and the table.
    mixtures: HashMap<String, (String, Tensor<B, 2>)>,
    backend: PhantomData<B>,
}

impl<B: Kernels> WriteGraph<B> {
    /// Begins a whole graph; `like` is the name of an input `[1, T, C]`.
    #[must_use]
    pub fn whole(mut graph: StreamingGraph, like: &str) -> Self {
        let frames = count_of(&mut graph, like);
        Self {
            graph,
            frames,
            counting: None,
            known: HashMap::new(),
            mixtures: HashMap::new(),
            backend: PhantomData,
        }
    }

    /// Begins a streaming graph; `like` is the name of an input `[1, T, C]`, `lookahead` that of L as `[1, 1]`.
    #[must_use]
    pub fn streaming(
        mut graph: StreamingGraph,
        like: &str,
        lookahead: &str,
        past_frames: usize,
    ) -> Self {
        let frames = count_of(&mut graph, like);
        let state = graph.state(&[1, 1]);
        let g = &mut graph.builder;
        let one = g.i64s(&[1]);
        let lookahead = g.op("Reshape", &[lookahead, &one], vec![]);
        let lookahead = g.op("Cast", &[&lookahead], vec![Attr::Int("to", 7)]);
        let fresh = g.op("Sub", &[&frames, &lookahead], vec![]);
        let fresh_f32 = g.op("Cast", &[&fresh], vec![Attr::Int("to", 1)]);
        let next = g.op("Add", &[&state, &fresh_f32], vec![]);
        let most = g.f32s(&[], &[MOST_FRAMES]);
        let next = g.op("Min", &[&next, &most], vec![]);
        let position = g.op("Reshape", &[&state, &one], vec![]);
        let position = g.op("Cast", &[&position], vec![Attr::Int("to", 7)]);
        graph.keep(&state, &next);
        Self {
            graph,
            frames,
            counting: Some(Counting {
                fresh,
                position,
                past_frames,
            }),
            known: HashMap::new(),
            mixtures: HashMap::new(),
            backend: PhantomData,
        }
    }

    fn op(&mut self, op: &str, inputs: &[&str], attrs: Vec<Attr>) -> String {
        self.graph.builder.op(op, inputs, attrs)
    }

    fn scalar(&mut self, value: f32) -> String {
        self.once(&format!("f32 {value:?}"), |this| {
            this.graph.builder.f32s(&[], &[value])
        })
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.once(&format!("i64 {values:?}"), |this| {
            this.graph.builder.i64s(values)
        })
    }

    /// What `make` gives, made once under `key`.
    fn once(&mut self, key: &str, make: impl FnOnce(&mut Self) -> String) -> String {
        if let Some(name) = self.known.get(key) {
            return name.clone();
        }
        let name = make(self);
        self.known.insert(key.to_owned(), name.clone());
        name
    }

    fn slice(&mut self, input: &str, axis: i64, start: &str, end: &str) -> String {
        let axis = self.ints(&[axis]);
        self.op("Slice", &[input, start, end, &axis], vec![])
    }

    fn pair(&mut self, op: &str, a: &Node, b: &Node) -> Node {
        let (a, b) = self.together(a, b);
        let name = self.op(op, &[&a.name, &b.name], vec![]);
        Node {
            name,
            channels: a.channels.max(b.channels),
            ..a
        }
    }

    fn weights(&mut self, weight: Tensor<B, 3>) -> String {
        let shape = weight.dims();
        let values = to_vec(weight);
        self.graph.builder.f32s(&shape, &values)
    }

    fn vector(&mut self, values: &Param<Tensor<B, 1>>) -> String {
        let values = to_vec(values.val());
        self.graph.builder.f32s(&[values.len()], &values)
    }

    fn clip(&mut self, x: &str, low: i64, high: i64) -> String {
        let (low, high) = (self.ints(&[low]), self.ints(&[high]));
        let x = self.op("Max", &[x, &low], vec![]);
        self.op("Min", &[&x, &high], vec![])
    }

    /// One more zero at either end of the last of four axes.
    fn with_zero_ends(&mut self, x: &str) -> String {
        let pads = self.ints(&[0, 0, 0, 1, 0, 0, 0, 1]);
        self.op("Pad", &[x, &pads], vec![])
    }

    fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("Reshape", &[x, &shape], vec![])
    }

    fn transpose(&mut self, x: &str, order: &[i64]) -> String {
        self.op("Transpose", &[x], vec![Attr::Ints("perm", order.to_vec())])
    }

    /// x − ⌊x⌋.
    fn fraction(&mut self, x: &str) -> String {
        let whole = self.op("Floor", &[x], vec![]);
        self.op("Sub", &[x, &whole], vec![])
    }
}

/// T of an input `[1, T, C]`, as `[1]`.
fn count_of(graph: &mut StreamingGraph, like: &str) -> String {
    graph.builder.op(
        "Shape",
        &[like],
        vec![Attr::Int("start", 1), Attr::Int("end", 2)],
    )
}

impl<B: Kernels> Eval<B> for WriteGraph<B> {
    type Value = Node;

    fn conv(&mut self, x: &Node, conv: &Conv<B>) -> Node {
        let shape = conv.shape;
        let (left, right) = (shape.left, shape.right);
        if let Some(linear) = self.linear(x, conv) {
            return linear;
        }
        if let Some(product) = self.product(x, conv) {
            return product;
        }
        let x = &self.columns(x);
        let (input, pads, delay) = match (&self.counting, x.delay) {
            (None, _) => (x.name.clone(), [left, right], None),
            (Some(_), None) => (self.carry_provisional(x, left), [0, right], None),
            (Some(_), Some(delay)) if left + right == 0 => (x.name.clone(), [0, 0], Some(delay)),
            (Some(_), Some(delay)) => {
                let begun = self.begun(x);
                let joined = self.carry_settled(&begun, left + right);
                (joined, [0, 0], Some(delay + right))
            }
        };
        let weight = self.weights(conv.kernel.weight());
        let mut inputs = vec![input, weight];
        if let Some(bias) = &conv.kernel.bias {
            inputs.push(self.vector(bias));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attrs = vec![
            Attr::Ints("dilations", vec![shape.dilation as i64]),
            Attr::Int("group", shape.groups as i64),
            Attr::Ints("pads", pads.map(|pad| pad as i64).to_vec()),
            Attr::Ints("strides", vec![shape.stride as i64]),
        ];
        let name = self.op("Conv", &inputs, attrs);
        Node {
            name,
            channels: shape.outputs,
            unit: x.unit / shape.stride,
            delay,
            in_rows: false,
        }
    }

    fn upsample(&mut self, x: &Node, up: &Upsample<B>) -> Node {
        let x = &self.columns(x);
        let weight = up.kernel.weight();
        let [inputs, per_group, kernel] = weight.dims();
        let outputs = if up.groups > 1 { inputs } else { per_group };
        let (stride, trim) = (up.stride, up.trim);
        let rest = kernel - stride;
        let carried = rest.div_ceil(stride);
        let (input, pads, delay) = match (&self.counting, x.delay) {
            (None, _) => (x.name.clone(), [trim, rest - trim], None),
            (Some(_), None) => {
                let joined = self.carry_provisional(x, carried);
                (joined, [carried * stride + trim, rest - trim], None)
            }
            (Some(_), Some(delay)) => {
                let begun = self.begun(x);
                let joined = self.carry_settled(&begun, carried);
                let delay = delay * stride + trim;
                (joined, [carried * stride, rest], Some(delay))
            }
        };
        let weight = self.weights(weight);
        let mut names = vec![input, weight];
        if let Some(bias) = &up.kernel.bias {
            names.push(self.vector(bias));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let attrs = vec![
            Attr::Int("group", up.groups as i64),
            Attr::Ints("pads", pads.map(|pad| pad as i64).to_vec()),
            Attr::Ints("strides", vec![stride as i64]),
        ];
        let name = self.op("ConvTranspose", &names, attrs);
        let y = Node {
            name,
            channels: outputs,
            unit: x.unit * stride,
            delay,
            in_rows: false,
        };
        match &up.point {
            Some(point) => self.conv(&y, point),
            None => y,
        }
    }

    fn add(&mut self, a: &Node, b: &Node) -> Node {
        self.pair("Add", a, b)
    }

    fn sub(&mut self, a: &Node, b: &Node) -> Node {
        self.pair("Sub", a, b)
    }

    fn mul(&mut self, a: &Node, b: &Node) -> Node {
        self.pair("Mul", a, b)
    }

    fn affine(&mut self, x: &Node, factor: f32, shift: f32) -> Node {
        let mut name = x.name.clone();
        if factor != 1.0 {
            let factor = self.scalar(factor);
            name = self.op("Mul", &[&name, &factor], vec![]);
        }
        if shift != 0.0 {
            let shift = self.scalar(shift);
            name = self.op("Add", &[&name, &shift], vec![]);
        }
        Node { name, ..x.clone() }
    }

    fn apply(&mut self, x: &Node, function: Function) -> Node {
        let input = &x.name;
        let name = match function {
            Function::Relu => self.op("Relu", &[input], vec![]),
            Function::Leaky(slope) => {
                self.op("LeakyRelu", &[input], vec![Attr::Float("alpha", slope)])
            }
            Function::Tanh => self.op("Tanh", &[input], vec![]),
            Function::Gelu => {
                let (root, one, half) = (
                    self.scalar(std::f32::consts::FRAC_1_SQRT_2),
                    self.scalar(1.0),
                    self.scalar(0.5),
                );
                // In these very operations: CPUs that play 8 bits run it as one (`onnx_precision::own`).
                let place = self.op("Mul", &[input, &root], vec![]);
                let error = self.op("Erf", &[&place], vec![]);
                let share = self.op("Add", &[&error, &one], vec![]);
                let twice = self.op("Mul", &[input, &share], vec![]);
                self.op("Mul", &[&twice, &half], vec![])
            }
            Function::Exp => self.op("Exp", &[input], vec![]),
            Function::Log => self.op("Log", &[input], vec![]),
            Function::Positive => {
                let zero = self.scalar(0.0);
                let above = self.op("Greater", &[input, &zero], vec![]);
                self.op("Cast", &[&above], vec![Attr::Int("to", 1)])
            }
        };
        Node { name, ..x.clone() }
    }

    fn gate(&mut self, x: &Node, channels: usize) -> Node {
        let first = self.channels(x, 0, channels);
        let second = self.channels(x, channels, 2 * channels);
        let first = self.op("Tanh", &[&first.name], vec![]);
        let second = self.op("Sigmoid", &[&second.name], vec![]);
        let name = self.op("Mul", &[&first, &second], vec![]);
        Node {
            name,
            channels,
            ..x.clone()
        }
    }

    fn norm(&mut self, x: &Node, gain: &Param<Tensor<B, 1>>, shift: &Param<Tensor<B, 1>>) -> Node {
        let x = self.rows(x);
        let (gain, shift) = (self.vector(gain), self.vector(shift));
        let attrs = vec![Attr::Int("axis", -1), Attr::Float("epsilon", NORM_EPSILON)];
        let name = self.op("LayerNormalization", &[&x.name, &gain, &shift], attrs);
        Node { name, ..x }
    }

    fn norm_over_time(
        &mut self,
        x: &Node,
        gain: &Param<Tensor<B, 1>>,
        shift: &Param<Tensor<B, 1>>,
    ) -> Node {
        let x = &self.columns(x);
        if self.counting.is_none() {
            let (gain, shift) = (self.vector(gain), self.vector(shift));
            let epsilon = vec![Attr::Float("epsilon", NORM_EPSILON)];
            let name = self.op("InstanceNormalization", &[&x.name, &gain, &shift], epsilon);
            return Node { name, ..x.clone() };
        }
        // Sums over what has been and what this step shows; the old counts for less once there is much of it.
        let axis = self.ints(&[2]);
        let square = self.op("Mul", &[&x.name, &x.name], vec![]);
        let count = self.count(true, x.unit, 0);
        let fresh_count = self.count(false, x.unit, 0);
        let as_f32 = |this: &mut Self, count: &str| {
            let count = this.op("Cast", &[count], vec![Attr::Int("to", 1)]);
            this.reshape(&count, &[1, 1, 1])
        };
        let (count, fresh_count) = (as_f32(self, &count), as_f32(self, &fresh_count));
        let counted = self.graph.state(&[1, 1, 1]);
        let most = self.scalar((MOST_NORMED_FRAMES * x.unit) as f32);
        let next = self.op("Add", &[&counted, &fresh_count], vec![]);
        let kept = self.op("Min", &[&next, &most], vec![]);
        let share = self.op("Div", &[&kept, &next], vec![]);
        self.graph.keep(&counted, &kept);
        let total = self.op("Add", &[&counted, &count], vec![]);
        let mut means = Vec::new();
        for values in [&x.name, &square] {
            let state = self.graph.state(&[1, x.channels, 1]);
            let all = self.op("ReduceSum", &[values, &axis], vec![]);
            let sum = self.op("Add", &[&state, &all], vec![]);
            means.push(self.op("Div", &[&sum, &total], vec![]));
            let (start, end) = (self.ints(&[0]), self.count(false, x.unit, 0));
            let fresh = self.slice(values, 2, &start, &end);
            let fresh = self.op("ReduceSum", &[&fresh, &axis], vec![]);
            let next = self.op("Add", &[&state, &fresh], vec![]);
            let next = self.op("Mul", &[&next, &share], vec![]);
            self.graph.keep(&state, &next);
        }
        let mean_square = self.op("Mul", &[&means[0], &means[0]], vec![]);
        let variance = self.op("Sub", &[&means[1], &mean_square], vec![]);
        let zero = self.scalar(0.0);
        let variance = self.op("Max", &[&variance, &zero], vec![]);
        let epsilon = self.scalar(NORM_EPSILON);
        let variance = self.op("Add", &[&variance, &epsilon], vec![]);
        let deviation = self.op("Sqrt", &[&variance], vec![]);
        let column = |this: &mut Self, values: &Param<Tensor<B, 1>>| {
            let values = to_vec(values.val());
            this.graph.builder.f32s(&[1, values.len(), 1], &values)
        };
        let (gain, shift) = (column(self, gain), column(self, shift));
        let scale = self.op("Div", &[&gain, &deviation], vec![]);
        let centred = self.op("Sub", &[&x.name, &means[0]], vec![]);
        let scaled = self.op("Mul", &[&centred, &scale], vec![]);
        let name = self.op("Add", &[&scaled, &shift], vec![]);
        Node { name, ..x.clone() }
    }

    fn channels(&mut self, x: &Node, from: usize, to: usize) -> Node {
        let (start, end) = (self.ints(&[from as i64]), self.ints(&[to as i64]));
        let name = self.slice(&x.name, x.channel_axis(), &start, &end);
        Node {
            name,
            channels: to - from,
            ..x.clone()
        }
    }

    fn join(&mut self, a: &Node, b: &Node) -> Node {
        let (a, b) = self.together(a, b);
        let axis = Attr::Int("axis", a.channel_axis());
        let name = self.op("Concat", &[&a.name, &b.name], vec![axis]);
        Node {
            name,
            channels: a.channels + b.channels,
            ..a
        }
    }

    fn flip(&mut self, x: &Node, channels: usize) -> Node {
        let order: Vec<i64> = (0..channels as i64).rev().collect();
        let order = self.ints(&order);
        let axis = Attr::Int("axis", x.channel_axis());
        let name = self.op("Gather", &[&x.name, &order], vec![axis]);
        Node { name, ..x.clone() }
    }

    fn attend(&mut self, query: &Node, key: &Node, value: &Node, look: Look<'_, B>) -> Node {
        self.attention(query, key, value, look)
    }

    fn embed(&mut self, index: &Node, table: &Param<Tensor<B, 2>>) -> Node {
        let [rows, channels] = table.val().dims();
        let values = to_vec(table.val());
        let table = self.graph.builder.f32s(&[rows, channels], &values);
        let line = self.reshape(&index.name, &[1, -1]);
        let line = self.op("Cast", &[&line], vec![Attr::Int("to", 7)]);
        let name = self.op("Gather", &[&table, &line], vec![Attr::Int("axis", 0)]);
        Node {
            name,
            channels,
            in_rows: true,
            ..index.clone()
        }
    }

    fn blend(&mut self, weights: &Node, table: &Param<Tensor<B, 2>>) -> Node {
        let weights = self.columns(weights);
        let [rows, channels] = table.val().dims();
        let values = to_vec(table.val().transpose());
        let kept = self.graph.builder.f32s(&[channels, rows], &values);
        let name = self.op("MatMul", &[&kept, &weights.name], vec![]);
        self.mixtures
            .insert(name.clone(), (weights.name.clone(), table.val()));
        Node {
            name,
            channels,
            ..weights
        }
    }

    fn coarse(&mut self, f0_hz: &Node, above: usize) -> Node {
        let (scale, shift) = coarse_line();
        let x = self.affine(f0_hz, 1.0 / 700.0, 1.0);
        let x = self.apply(&x, Function::Log);
        let mel = self.affine(&x, 1127.0, 0.0);
        let raised = self.affine(&mel, scale, shift);
        let (zero, one) = (self.scalar(0.0), self.scalar(1.0));
        let rows = self.scalar(COARSE_ROWS as f32);
        let last = self.scalar(above as f32);
        let sounds = self.op("Greater", &[&mel.name, &zero], vec![]);
        let row = self.op("Where", &[&sounds, &raised.name, &mel.name], vec![]);
        let row = self.op("Round", &[&row], vec![]);
        let row = self.op("Max", &[&row, &one], vec![]);
        let within = self.op("Less", &[&row, &rows], vec![]);
        let name = self.op("Where", &[&within, &row, &last], vec![]);
        Node {
            name,
            ..f0_hz.clone()
        }
    }

    fn centre(&mut self, x: &Node, weight: &Node) -> Node {
        let (x, weight) = (&self.columns(x), &self.columns(weight));
        let weighted = self.op("Mul", &[&x.name, &weight.name], vec![]);
        let axis = self.ints(&[2]);
        let mut sums = Vec::new();
        for values in [&weighted, &weight.name] {
            let all = self.op("ReduceSum", &[values, &axis], vec![]);
            if self.counting.is_none() {
                sums.push(all);
                continue;
            }
            let state = self.graph.state(&[1, 1, 1]);
            sums.push(self.op("Add", &[&state, &all], vec![]));
            let (start, end) = (self.ints(&[0]), self.count(false, 1, 0));
            let fresh = self.slice(values, 2, &start, &end);
            let fresh = self.op("ReduceSum", &[&fresh, &axis], vec![]);
            let next = self.op("Add", &[&state, &fresh], vec![]);
            self.graph.keep(&state, &next);
        }
        let least = self.scalar(1e-4);
        let count = self.op("Max", &[&sums[1], &least], vec![]);
        let mean = self.op("Div", &[&sums[0], &count], vec![]);
        let name = self.op("Sub", &[&x.name, &mean], vec![]);
        Node { name, ..x.clone() }
    }

    fn mask(&mut self, x: &Node) -> Node {
        x.clone()
    }

    fn snake(
        &mut self,
        x: &Node,
        frequency: &Param<Tensor<B, 1>>,
        magnitude: &Param<Tensor<B, 1>>,
    ) -> Node {
        self.filtered_snake(x, frequency, magnitude)
    }

    fn source(&mut self, f0_hz: &Node, noise: &Node, merge: &Conv<B>, form: SourceForm) -> Node {
        self.sines_and_noise(f0_hz, noise, merge, form)
    }

    fn settle(&mut self, x: &Node) -> Node {
        self.align(x, x.delay())
    }
}
