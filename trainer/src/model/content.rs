//! The content encoder: what is said or sung, without who and how high.
//!
//! Log-mel → causal residual convolutions → a narrow tanh bottleneck (the
//! content) → phone classes, one group per label set, only for training. The
//! target of frame `n` is the label of frame `n − L`, which is how the network
//! hears a little of the future.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};
use timbra_voice::manifest::GraphSpec;

use super::causal::{CausalConv, ChannelNorm, ResidualBlock, StreamingGraph};
use super::graph_layers::GraphLayers;
use super::mel;

/// Frames between a frame and the output that describes it, where nothing else is said.
pub const LOOKAHEAD_FRAMES: usize = 2;
/// Dilations of the blocks, over and over.
pub const DILATIONS: [usize; 4] = [1, 2, 4, 8];
/// Standard deviation of the noise added to the bottleneck in training: what
/// the classes do not need does not survive it.
const BOTTLENECK_NOISE: f64 = 0.1;

/// Sizes of a content encoder.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ContentConfig {
    /// Width of the residual stack.
    pub channels: usize,
    /// Kernel of the dilated convolutions, in frames.
    pub kernel: usize,
    /// One block per entry.
    pub dilations: Vec<usize>,
    /// Width of the bottleneck: the content's channels.
    pub content_channels: usize,
    /// Frames between a frame and the output that describes it (L).
    #[serde(default = "usual_lookahead")]
    pub lookahead_frames: usize,
}

/// That of encoders trained before it could be chosen.
fn usual_lookahead() -> usize {
    LOOKAHEAD_FRAMES
}

impl ContentConfig {
    /// Samples at 16 kHz after a frame's centre before its content is known.
    #[must_use]
    pub fn lookahead_samples(&self) -> usize {
        (self.lookahead_frames + 1) * mel::HOP_SAMPLES
    }
}

impl Default for ContentConfig {
    fn default() -> Self {
        Self {
            channels: 256,
            kernel: 5,
            dilations: [DILATIONS; 2].concat(),
            content_channels: 64,
            lookahead_frames: LOOKAHEAD_FRAMES,
        }
    }
}

/// The encoder with its training head.
#[derive(Module, Debug)]
pub struct ContentEncoder<B: Backend> {
    entry: CausalConv<B>,
    blocks: Vec<ResidualBlock<B>>,
    norm: ChannelNorm<B>,
    bottleneck: CausalConv<B>,
    classes: CausalConv<B>,
}

impl<B: Backend> ContentEncoder<B> {
    /// A fresh encoder with `classes` phone classes over all label sets.
    pub fn new(config: &ContentConfig, classes: usize, device: &B::Device) -> Self {
        Self {
            entry: CausalConv::new(mel::BANDS, config.channels, config.kernel, 1, device),
            blocks: config
                .dilations
                .iter()
                .map(|&dilation| {
                    ResidualBlock::new(config.channels, config.kernel, dilation, 0, device)
                })
                .collect(),
            norm: ChannelNorm::new(config.channels, device),
            bottleneck: CausalConv::new(config.channels, config.content_channels, 1, 1, device),
            classes: CausalConv::new(config.content_channels, classes, 1, 1, device),
        }
    }

    /// Log-mel `[B, 80, T]` to content `[B, C, T]` in −1..1, late by [`ContentConfig::lookahead_frames`].
    pub fn content(&self, mel: Tensor<B, 3>) -> Tensor<B, 3> {
        self.content_channels_first(mel.swap_dims(0, 1))
            .swap_dims(0, 1)
    }

    /// As [`Self::content`], `[80, B, T]` to `[C, B, T]`.
    pub fn content_channels_first(&self, mel: Tensor<B, 3>) -> Tensor<B, 3> {
        let mut x = self.entry.forward(mel);
        for block in &self.blocks {
            x = block.forward(x, None);
        }
        self.bottleneck.forward(self.norm.forward(x)).tanh()
    }

    /// Log-mel `[B, 80, T]` to content `[C, B, T]`, with the bottleneck's training noise where `noisy`, and to class logits
    /// `[B, classes, T]`.
    pub fn content_and_logits(
        &self,
        mel: Tensor<B, 3>,
        noisy: bool,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let mut content = self.content_channels_first(mel.swap_dims(0, 1));
        if noisy {
            let noise = Tensor::random(
                content.dims(),
                Distribution::Normal(0.0, BOTTLENECK_NOISE),
                &content.device(),
            );
            content = content + noise;
        }
        let logits = self.classes.forward(content.clone()).swap_dims(0, 1);
        (content, logits)
    }

    /// The streaming graph `content.onnx` and what the manifest says of it.
    pub fn export(&self) -> (Vec<u8>, GraphSpec) {
        let mut graph = StreamingGraph::new("content");
        graph.builder.input("audio", &[1.into(), "samples".into()]);
        let mel = mel::export(&mut graph, "audio");
        let mut x = self.entry.export(&mut graph, &mel);
        for block in &self.blocks {
            x = block.export(&mut graph, &x, None);
        }
        let x = self.norm.export(&mut graph, &x);
        let x = self.bottleneck.export(&mut graph, &x);
        graph.builder.node("Tanh", &[&x], &["content"], vec![]);
        let [channels, _, _] = self.bottleneck.conv.weight.val().dims();
        graph
            .builder
            .output("content", &[1.into(), "frames".into(), channels.into()]);
        let spec = GraphSpec {
            file: "content.onnx".to_owned(),
            inputs: vec!["audio".to_owned()],
            outputs: vec!["content".to_owned()],
            states: graph.states.clone(),
            cpu_weights: None,
        };
        (graph.builder.finish(), spec)
    }

    /// Takes the weights that [`Self::export`] has written, all but the classes'.
    ///
    /// # Errors
    /// The graph is that of another network.
    pub fn read(&mut self, layers: &mut GraphLayers) -> anyhow::Result<()> {
        mel::pass_over(layers)?;
        self.entry.read(layers)?;
        for block in &mut self.blocks {
            block.read(layers)?;
        }
        self.norm.read(layers)?;
        self.bottleneck.read(layers)
    }

    /// Frames of the past a frame depends on.
    pub fn receptive_field_frames(&self) -> usize {
        1 + self.entry.context()
            + self
                .blocks
                .iter()
                .map(ResidualBlock::context)
                .sum::<usize>()
    }
}
