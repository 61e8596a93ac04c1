//! HuBERT and its kin: the content encoders that so-vits-svc and RVC voices were trained with.
//!
//! A stack of strided convolutions (320 samples a frame), a position convolution, and transformer layers normalised after
//! each part. Written in the operations of [`super::vits::eval`], so that burn and the graph compute the same.
//!
//! Source: Hsu et al., HuBERT (2106.07447); Qian et al., ContentVec (2204.09224).

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};
use timbra_voice::manifest::{EncoderStep, GraphSpec};

use super::causal::StreamingGraph;
use super::vits::eval::{Eval, Function, Look};
use super::vits::graph::{Node, WriteGraph};
use super::vits::layers::{Conv, ConvShape, param};
use super::vits::weights::{Start, WeightError, WeightSource};
use crate::kernels::Kernels;

/// Input samples per frame.
pub const FRAME_SAMPLES: usize = 320;
/// Samples after the last frame of a clip that the convolutions see.
pub const TAIL_SAMPLES: usize = 80;
/// Kernels and strides of the convolutions before the transformer.
const FRONT: [(usize, usize); 7] = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)];
/// Frames of the past that attention sees in a streaming graph: three seconds.
const PAST_FRAMES: usize = 150;

/// Sizes of an encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubertSpec {
    /// Channels of the convolutions.
    pub front_channels: usize,
    /// Width of the transformer.
    pub channels: usize,
    /// Width inside its feed-forward parts.
    pub filter: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers that are computed.
    pub layers: usize,
    /// Taps of the position convolution; even.
    pub position_taps: usize,
    /// Groups of the position convolution.
    pub position_groups: usize,
    /// Width of the projection after the last layer, when there is one.
    pub projection: Option<usize>,
}

impl HubertSpec {
    /// HuBERT base with `layers` of its twelve layers.
    #[must_use]
    pub fn base(layers: usize, projection: Option<usize>) -> Self {
        Self {
            front_channels: 512,
            channels: 768,
            filter: 3072,
            heads: 12,
            layers,
            position_taps: 128,
            position_groups: 16,
            projection,
        }
    }

    /// Channels of the content.
    #[must_use]
    pub fn content_channels(&self) -> usize {
        self.projection.unwrap_or(self.channels)
    }
}

/// A gain and a shift per channel.
#[derive(Module, Debug)]
pub struct Affine<B: Backend> {
    /// Factor.
    pub gain: Param<Tensor<B, 1>>,
    /// Shift.
    pub shift: Param<Tensor<B, 1>>,
}

impl<B: Backend> Affine<B> {
    fn load(
        source: &mut dyn WeightSource,
        name: &str,
        channels: usize,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let (gain, shift) = (format!("{name}.weight"), format!("{name}.bias"));
        Ok(Self {
            gain: param(source, &gain, [channels], Start::Constant(1.0), device)?,
            shift: param(source, &shift, [channels], Start::Constant(0.0), device)?,
        })
    }
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    query: Conv<B>,
    key: Conv<B>,
    value: Conv<B>,
    out: Conv<B>,
    norm_attention: Affine<B>,
    widen: Conv<B>,
    narrow: Conv<B>,
    norm_feed: Affine<B>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct Hubert<B: Backend> {
    front: Vec<Conv<B>>,
    front_norm: Affine<B>,
    entry_norm: Affine<B>,
    entry: Conv<B>,
    position: Conv<B>,
    norm: Affine<B>,
    layers: Vec<Layer<B>>,
    projection: Option<Conv<B>>,
    heads: usize,
}

impl<B: Kernels> Hubert<B> {
    /// The encoder of a source that uses fairseq's names.
    ///
    /// # Errors
    /// The source does not have what `spec` says.
    pub fn load(
        source: &mut dyn WeightSource,
        spec: &HubertSpec,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let width = spec.channels;
        let mut front = Vec::new();
        let mut inputs = 1;
        for (n, (kernel, stride)) in FRONT.into_iter().enumerate() {
            let shape = ConvShape {
                stride,
                left: 0,
                right: kernel - stride,
                ..ConvShape::same(inputs, spec.front_channels, kernel).unbiased()
            };
            let name = format!("feature_extractor.conv_layers.{n}.0");
            front.push(Conv::load(source, &name, shape, device)?);
            inputs = spec.front_channels;
        }
        let position = ConvShape {
            groups: spec.position_groups,
            left: spec.position_taps / 2,
            right: spec.position_taps / 2 - 1,
            ..ConvShape::same(width, width, spec.position_taps)
        };
        let norm_of =
            |source: &mut dyn WeightSource, name: &str| Affine::load(source, name, width, device);
        let mut layers = Vec::new();
        for n in 0..spec.layers {
            let of = |part: &str| format!("encoder.layers.{n}.{part}");
            let mut linear = |part: &str, inputs, outputs| {
                Conv::linear(source, &of(part), inputs, outputs, device)
            };
            layers.push(Layer {
                query: linear("self_attn.q_proj", width, width)?,
                key: linear("self_attn.k_proj", width, width)?,
                value: linear("self_attn.v_proj", width, width)?,
                out: linear("self_attn.out_proj", width, width)?,
                widen: linear("fc1", width, spec.filter)?,
                narrow: linear("fc2", spec.filter, width)?,
                norm_attention: norm_of(source, &of("self_attn_layer_norm"))?,
                norm_feed: norm_of(source, &of("final_layer_norm"))?,
            });
        }
        Ok(Self {
            front,
            front_norm: Affine::load(
                source,
                "feature_extractor.conv_layers.0.2",
                spec.front_channels,
                device,
            )?,
            entry_norm: Affine::load(source, "layer_norm", spec.front_channels, device)?,
            entry: Conv::linear(
                source,
                "post_extract_proj",
                spec.front_channels,
                width,
                device,
            )?,
            position: Conv::load_tap_normed(source, "encoder.pos_conv.0", position, device)?,
            norm: norm_of(source, "encoder.layer_norm")?,
            layers,
            projection: spec
                .projection
                .map(|outputs| Conv::linear(source, "final_proj", width, outputs, device))
                .transpose()?,
            heads: spec.heads,
        })
    }

    /// Audio `[B, 1, samples]` to content `[B, C, T]`: of a whole clip of 320·T + 80 samples, or of 320·T samples of one
    /// that goes on.
    pub fn forward<E: Eval<B>>(&self, eval: &mut E, audio: &E::Value, is_whole: bool) -> E::Value {
        let mut x = audio.clone();
        for (n, conv) in self.front.iter().enumerate() {
            x = if is_whole {
                let mut valid = conv.clone();
                valid.shape.right = 0;
                eval.conv(&x, &valid)
            } else {
                eval.conv(&x, conv)
            };
            if n == 0 {
                let norm = &self.front_norm;
                x = eval.norm_over_time(&x, &norm.gain, &norm.shift);
            }
            x = eval.apply(&x, Function::Gelu);
        }
        let x = norm(eval, &x, &self.entry_norm);
        let x = eval.conv(&x, &self.entry);
        let place = eval.conv(&x, &self.position);
        let place = eval.apply(&place, Function::Gelu);
        let x = eval.add(&x, &place);
        let mut x = norm(eval, &x, &self.norm);
        for layer in &self.layers {
            let query = eval.conv(&x, &layer.query);
            let key = eval.conv(&x, &layer.key);
            let value = eval.conv(&x, &layer.value);
            let look = Look {
                heads: self.heads,
                causal: false,
                relative: None,
            };
            let y = eval.attend(&query, &key, &value, look);
            let y = eval.conv(&y, &layer.out);
            let y = eval.add(&x, &y);
            x = norm(eval, &y, &layer.norm_attention);
            let y = eval.conv(&x, &layer.widen);
            let y = eval.apply(&y, Function::Gelu);
            let y = eval.conv(&y, &layer.narrow);
            let y = eval.add(&x, &y);
            x = norm(eval, &y, &layer.norm_feed);
        }
        match &self.projection {
            Some(projection) => eval.conv(&x, projection),
            None => x,
        }
    }

    /// The whole graph: a clip of 320·T + 80 samples to its content `[1, T, C]`.
    #[must_use]
    pub fn export_whole(&self, spec: &HubertSpec) -> Vec<u8> {
        self.export(spec, None).0
    }

    /// The streaming graph and what the manifest says of it.
    #[must_use]
    pub fn export_streaming(&self, spec: &HubertSpec) -> (Vec<u8>, GraphSpec) {
        self.export(spec, Some(PAST_FRAMES))
    }

    fn export(&self, spec: &HubertSpec, past_frames: Option<usize>) -> (Vec<u8>, GraphSpec) {
        let mut graph = StreamingGraph::new("content");
        graph.builder.input("audio", &[1.into(), "samples".into()]);
        let mut inputs = vec!["audio".to_owned()];
        let frames = graph.builder.i64s(&[1, -1, FRAME_SAMPLES as i64]);
        let full = match past_frames {
            None => graph.slice("audio", 1, TAIL_SAMPLES as i64, i64::MAX),
            Some(_) => "audio".to_owned(),
        };
        let framed = graph.builder.op("Reshape", &[&full, &frames], vec![]);
        let line = graph.builder.i64s(&[1, 1, -1]);
        let audio = graph.builder.op("Reshape", &["audio", &line], vec![]);
        let mut writer = match past_frames {
            None => WriteGraph::<B>::whole(graph, &framed),
            Some(past_frames) => {
                inputs.push("lookahead_frames".to_owned());
                graph
                    .builder
                    .input("lookahead_frames", &[1.into(), 1.into()]);
                WriteGraph::streaming(graph, &framed, "lookahead_frames", past_frames)
            }
        };
        let audio = Node::samples(&audio, 1, FRAME_SAMPLES);
        let content = self.forward(&mut writer, &audio, past_frames.is_none());
        let content = writer.settle(&content);
        let content = writer.rows(&content);
        let mut graph = writer.graph;
        graph
            .builder
            .node("Identity", &[&content.name], &["content"], vec![]);
        graph.builder.output(
            "content",
            &[1.into(), "frames".into(), spec.content_channels().into()],
        );
        let spec = GraphSpec {
            file: "content.onnx".to_owned(),
            inputs,
            outputs: vec!["content".to_owned()],
            states: graph.states,
            cpu_weights: None,
        };
        (graph.builder.finish(), spec)
    }
}

/// How a streaming encoder is stepped.
#[must_use]
pub fn step(frames: usize, lookahead_frames: usize) -> EncoderStep {
    EncoderStep {
        frame_samples: FRAME_SAMPLES,
        frames,
        lookahead_frames,
    }
}

fn norm<B: Backend, E: Eval<B>>(eval: &mut E, x: &E::Value, affine: &Affine<B>) -> E::Value {
    eval.norm(x, &affine.gain, &affine.shift)
}
