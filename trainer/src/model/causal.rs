//! Causal convolutions over `[channels, batch, frames]`, and their streaming form.
//!
//! Channels first, so that a whole batch is one matrix: on a CPU a convolution is then one matrix
//! product each way, several times faster than burn's own convolution.
//!
//! In training a layer sees zeros before the first frame; exported, it carries
//! the last `context` frames as state, which starts at zero, so both compute
//! the same numbers.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Initializer, PaddingConfig1d};
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion as _, Tensor, TensorData};
use timbra_voice::manifest::StateTensor;
use timbra_voice::onnx_writer::{Attr, Dim, GraphBuilder};

use super::graph_layers::{GraphLayers, Part};

/// Added to the mean square before the root, so that silence stays finite.
const NORM_EPSILON: f32 = 1e-5;

/// A dilated 1-d convolution that sees only the present and the past.
#[derive(Module, Debug)]
pub struct CausalConv<B: Backend> {
    /// The convolution, padded on the left by its context.
    pub conv: Conv1d<B>,
    kernel: usize,
    dilation: usize,
}

impl<B: Backend> CausalConv<B> {
    /// A convolution from `channels_in` to `channels_out`.
    pub fn new(
        channels_in: usize,
        channels_out: usize,
        kernel: usize,
        dilation: usize,
        device: &B::Device,
    ) -> Self {
        let context = (kernel - 1) * dilation;
        let conv = Conv1dConfig::new(channels_in, channels_out, kernel)
            .with_dilation(dilation)
            .with_padding(PaddingConfig1d::Explicit(context, 0))
            .with_initializer(Initializer::KaimingUniform {
                gain: 0.577,
                fan_out_only: false,
            })
            .init(device);
        Self {
            conv,
            kernel,
            dilation,
        }
    }

    /// The same with every weight and bias zero: the layer starts silent.
    pub fn zeroed(channels_in: usize, channels_out: usize, device: &B::Device) -> Self {
        let conv = Conv1dConfig::new(channels_in, channels_out, 1)
            .with_initializer(Initializer::Zeros)
            .init(device);
        Self {
            conv,
            kernel: 1,
            dilation: 1,
        }
    }

    /// `[channels_in, B, T]` to `[channels_out, B, T]`.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [channels_in, batch, frames] = x.dims();
        let weight = self.conv.weight.val();
        let [channels_out, _, kernel] = weight.dims();
        let context = self.context();
        let taps = if context == 0 {
            x
        } else {
            let history = Tensor::cat(
                vec![Tensor::zeros([channels_in, batch, context], &x.device()), x],
                2,
            );
            let tap = |k: usize| {
                history.clone().slice([
                    0..channels_in,
                    0..batch,
                    k * self.dilation..k * self.dilation + frames,
                ])
            };
            Tensor::cat((0..kernel).map(tap).collect(), 0)
        };
        let rows = kernel * channels_in;
        let weight = weight.swap_dims(1, 2).reshape([channels_out, rows]);
        let mut y = weight.matmul(taps.reshape([rows, batch * frames]));
        if let Some(bias) = &self.conv.bias {
            y = y + bias.val().reshape([channels_out, 1]);
        }
        y.reshape([channels_out, batch, frames])
    }

    /// Frames of the past a frame depends on.
    pub fn context(&self) -> usize {
        (self.kernel - 1) * self.dilation
    }

    /// Takes the weights that [`Self::export`] has written.
    ///
    /// # Errors
    /// The next layer of the graph is another.
    pub fn read(&mut self, layers: &mut GraphLayers) -> anyhow::Result<()> {
        let weight = self.conv.weight.val();
        let [channels_out, channels_in, kernel] = weight.dims();
        let rows = layers.take(Part::Matrix, &[kernel * channels_in, channels_out])?;
        let rows = from_vec::<B, 3>(rows, [kernel, channels_in, channels_out], &weight.device());
        self.conv.weight = Param::from_tensor(rows.permute([2, 1, 0]));
        if let Some(bias) = &self.conv.bias {
            let values = layers.take(Part::Bias, &[channels_out])?;
            let values = from_vec::<B, 1>(values, [channels_out], &bias.val().device());
            self.conv.bias = Some(Param::from_tensor(values));
        }
        Ok(())
    }

    /// Adds the streaming layer to `graph`: `input` is the name of a `[1, T, channels_in]`
    /// tensor; returns the name of the `[1, T, channels_out]` output.
    pub fn export(&self, graph: &mut StreamingGraph, input: &str) -> String {
        let weight = to_vec(self.conv.weight.val());
        let [channels_out, channels_in, kernel] = self.conv.weight.val().dims();
        // [out, in, k] to [k·in, out]: the taps are concatenated oldest first.
        let mut matrix = vec![0.0; weight.len()];
        for out in 0..channels_out {
            for input in 0..channels_in {
                for tap in 0..kernel {
                    matrix[(tap * channels_in + input) * channels_out + out] =
                        weight[(out * channels_in + input) * kernel + tap];
                }
            }
        }
        let context = self.context();
        let taps = if context == 0 {
            input.to_owned()
        } else {
            let history = graph.carry(input, context, channels_in);
            // Row t of the taps: frames t, t + dilation, … of the history, oldest first.
            let frames = graph.frame_numbers(input);
            let offsets: Vec<i64> = (0..kernel)
                .map(|tap| (tap * self.dilation) as i64)
                .collect();
            let g = &mut graph.builder;
            let offsets = g.i64s(&offsets);
            let positions = g.op("Add", &[&frames, &offsets], vec![]);
            let taps = g.op(
                "Gather",
                &[&history, &positions],
                vec![Attr::Int("axis", 1)],
            );
            let row = g.i64s(&[1, -1, (kernel * channels_in) as i64]);
            g.op("Reshape", &[&taps, &row], vec![])
        };
        let matrix = graph
            .builder
            .f32s(&[kernel * channels_in, channels_out], &matrix);
        let mut out = graph.builder.op("MatMul", &[&taps, &matrix], vec![]);
        if let Some(bias) = &self.conv.bias {
            let bias = graph.builder.f32s(&[channels_out], &to_vec(bias.val()));
            out = graph.builder.op("Add", &[&out, &bias], vec![]);
        }
        out
    }
}

/// Root-mean-square normalisation over channels, frame by frame.
#[derive(Module, Debug)]
pub struct ChannelNorm<B: Backend> {
    gain: Param<Tensor<B, 1>>,
}

impl<B: Backend> ChannelNorm<B> {
    /// Unit gain for `channels`.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            gain: Initializer::Ones.init([channels], device),
        }
    }

    /// `[C, B, T]` to the same shape.
    pub fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [channels, batch, frames] = x.dims();
        let x = x.reshape([channels, batch * frames]);
        let scale = (x.clone() * x.clone())
            .mean_dim(0)
            .add_scalar(NORM_EPSILON)
            .sqrt()
            .recip();
        let y = x * scale * self.gain.val().reshape([channels, 1]);
        y.reshape([channels, batch, frames])
    }

    /// Takes the gain that [`Self::export`] has written.
    ///
    /// # Errors
    /// The next layer of the graph is another.
    pub fn read(&mut self, layers: &mut GraphLayers) -> anyhow::Result<()> {
        let gain = self.gain.val();
        let values = layers.take(Part::Gain, &gain.dims())?;
        self.gain = Param::from_tensor(from_vec(values, gain.dims(), &gain.device()));
        Ok(())
    }

    /// Adds the layer to `graph`; shapes `[1, T, C]`.
    pub fn export(&self, graph: &mut StreamingGraph, input: &str) -> String {
        let g = &mut graph.builder;
        // In these very operations runtimes know the normalisation and run it as one.
        let two = g.f32s(&[], &[2.0]);
        let square = g.op("Pow", &[input, &two], vec![]);
        let mean = g.op(
            "ReduceMean",
            &[&square],
            vec![Attr::Ints("axes", vec![2]), Attr::Int("keepdims", 1)],
        );
        let epsilon = g.f32s(&[], &[NORM_EPSILON]);
        let mean = g.op("Add", &[&mean, &epsilon], vec![]);
        let root = g.op("Sqrt", &[&mean], vec![]);
        let normal = g.op("Div", &[input, &root], vec![]);
        let gain = to_vec(self.gain.val());
        let gain = g.f32s(&[gain.len()], &gain);
        g.op("Mul", &[&normal, &gain], vec![])
    }
}

/// norm → dilated convolution (+ conditioning) → SiLU → pointwise → add.
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    norm: ChannelNorm<B>,
    conv: CausalConv<B>,
    condition: Option<CausalConv<B>>,
    point: CausalConv<B>,
}

impl<B: Backend> ResidualBlock<B> {
    /// A block of `channels`; `condition_channels` > 0 adds a conditioning input.
    pub fn new(
        channels: usize,
        kernel: usize,
        dilation: usize,
        condition_channels: usize,
        device: &B::Device,
    ) -> Self {
        Self {
            norm: ChannelNorm::new(channels, device),
            conv: CausalConv::new(channels, channels, kernel, dilation, device),
            condition: (condition_channels > 0)
                .then(|| CausalConv::new(condition_channels, channels, 1, 1, device)),
            point: CausalConv::new(channels, channels, 1, 1, device),
        }
    }

    /// `[C, B, T]` (and `[condition, B, T]`) to `[C, B, T]`.
    pub fn forward(&self, x: Tensor<B, 3>, condition: Option<&Tensor<B, 3>>) -> Tensor<B, 3> {
        let mut y = self.conv.forward(self.norm.forward(x.clone()));
        if let (Some(layer), Some(condition)) = (&self.condition, condition) {
            y = y + layer.forward(condition.clone());
        }
        x + self.point.forward(silu(y))
    }

    /// Adds the block to `graph`; shapes `[1, T, C]`.
    pub fn export(
        &self,
        graph: &mut StreamingGraph,
        input: &str,
        condition: Option<&str>,
    ) -> String {
        let normal = self.norm.export(graph, input);
        let mut y = self.conv.export(graph, &normal);
        if let (Some(layer), Some(condition)) = (&self.condition, condition) {
            let shift = layer.export(graph, condition);
            y = graph.builder.op("Add", &[&y, &shift], vec![]);
        }
        let gate = graph.builder.op("Sigmoid", &[&y], vec![]);
        let y = graph.builder.op("Mul", &[&y, &gate], vec![]);
        let y = self.point.export(graph, &y);
        graph.builder.op("Add", &[input, &y], vec![])
    }

    /// Frames of the past a frame depends on.
    pub fn context(&self) -> usize {
        self.conv.context()
    }

    /// Takes the weights that [`Self::export`] has written.
    ///
    /// # Errors
    /// The next layers of the graph are others.
    pub fn read(&mut self, layers: &mut GraphLayers) -> anyhow::Result<()> {
        self.norm.read(layers)?;
        self.conv.read(layers)?;
        if let Some(condition) = &mut self.condition {
            condition.read(layers)?;
        }
        self.point.read(layers)
    }
}

/// A graph under construction together with the state it carries.
#[derive(Debug)]
pub struct StreamingGraph {
    /// The graph itself.
    pub builder: GraphBuilder,
    /// Every carried tensor, in declaration order.
    pub states: Vec<StateTensor>,
    /// `0..T` as `[T, 1]`, once it is in the graph.
    frame_numbers: Option<String>,
}

impl StreamingGraph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            builder: GraphBuilder::new(name),
            states: Vec::new(),
            frame_numbers: None,
        }
    }

    /// Declares a carried tensor and returns the input's name; the caller
    /// defines `NAME_next` with [`Self::keep`].
    pub fn state(&mut self, shape: &[usize]) -> String {
        let name = format!("state_{}", self.states.len());
        let dims: Vec<_> = shape.iter().map(|&extent| extent.into()).collect();
        self.builder.input(&name, &dims);
        self.builder.output(&format!("{name}_next"), &dims);
        self.states.push(StateTensor {
            name: name.clone(),
            shape: shape.to_vec(),
            ring: false,
        });
        name
    }

    /// As [`Self::state`], a ring of `[1, heads, rows, width]`: what is kept are its new rows.
    pub fn ring(&mut self, heads: usize, rows: usize, width: usize) -> String {
        let name = format!("state_{}", self.states.len());
        let around = |rows: Dim| [1.into(), heads.into(), rows, width.into()];
        self.builder.input(&name, &around(rows.into()));
        self.builder
            .output(&format!("{name}_next"), &around("new".into()));
        self.states.push(StateTensor {
            name: name.clone(),
            shape: vec![1, heads, rows, width],
            ring: true,
        });
        name
    }

    /// Makes `value` the next value of `state`.
    pub fn keep(&mut self, state: &str, value: &str) {
        self.builder
            .node("Identity", &[value], &[&format!("{state}_next")], vec![]);
    }

    /// Prefixes `input` `[1, T, channels]` with its own last `frames` frames:
    /// `[1, frames + T, channels]`.
    pub fn carry(&mut self, input: &str, frames: usize, channels: usize) -> String {
        let state = self.state(&[1, frames, channels]);
        let joined = self
            .builder
            .op("Concat", &[&state, input], vec![Attr::Int("axis", 1)]);
        let kept = self.slice(&joined, 1, -(frames as i64), i64::MAX);
        self.keep(&state, &kept);
        joined
    }

    /// `0..T` as `[T, 1]`, for the `T` frames of `like` `[1, T, C]`; every layer of a graph has the same.
    fn frame_numbers(&mut self, like: &str) -> String {
        if let Some(numbers) = &self.frame_numbers {
            return numbers.clone();
        }
        let g = &mut self.builder;
        let count = g.op(
            "Shape",
            &[like],
            vec![Attr::Int("start", 1), Attr::Int("end", 2)],
        );
        let none = g.i64s(&[0]);
        let count = g.op("Squeeze", &[&count, &none], vec![]);
        g.constant_i64("first_frame", &[], &[0]);
        g.constant_i64("one_frame", &[], &[1]);
        let numbers = g.op("Range", &["first_frame", &count, "one_frame"], vec![]);
        let last = g.i64s(&[1]);
        let numbers = g.op("Unsqueeze", &[&numbers, &last], vec![]);
        self.frame_numbers = Some(numbers.clone());
        numbers
    }

    /// `input[start..end]` along `axis`; negative positions count from the end.
    pub fn slice(&mut self, input: &str, axis: i64, start: i64, end: i64) -> String {
        let start = self.builder.i64s(&[start]);
        let end = self.builder.i64s(&[end]);
        let axis = self.builder.i64s(&[axis]);
        self.builder
            .op("Slice", &[input, &start, &end, &axis], vec![])
    }

    /// `input[start], input[start − 1] … input[end + 1]` along `axis`; negative positions count from the end.
    pub fn reversed(&mut self, input: &str, axis: i64, start: i64, end: i64) -> String {
        let [start, end, axis, step] =
            [start, end, axis, -1].map(|value| self.builder.i64s(&[value]));
        self.builder
            .op("Slice", &[input, &start, &end, &axis, &step], vec![])
    }
}

/// The values of a tensor as float32.
///
/// # Panics
/// When the backend cannot convert its element type to float32.
pub fn to_vec<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .into_vec()
        .expect("a float tensor converts to f32")
}

/// The value of a one-element tensor.
pub fn value<B: Backend>(tensor: &Tensor<B, 1>) -> f32 {
    tensor.clone().into_scalar().elem::<f32>()
}

/// A tensor from float32 values.
pub fn from_vec<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
