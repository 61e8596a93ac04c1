//! A VITS voice as `synthesis.onnx`, whole or streaming.

use crate::kernels::Kernels;
use timbra_voice::manifest::{GraphSpec, StepSpec};
use timbra_voice::onnx_writer::Attr;

use super::eval::Eval;
use super::graph::{Node, WriteGraph};
use super::prior::PriorInputs;
use super::spec::{Prenet, VitsSpec};
use super::voice::{VitsVoice, VoiceInputs};
use crate::model::causal::StreamingGraph;

/// Frames of the past that the prior's attention sees in a streaming graph: three seconds at 86 frames a second.
pub const PAST_FRAMES: usize = 256;
/// Quieter than this is this loud, in dBFS.
const SILENCE_DB: f32 = -120.0;

/// Lowest F0 the embedding tells apart and highest the sine source is asked for, in Hz.
pub const F0_HZ: (f32, f32) = (50.0, 1_600.0);
/// Frames of 10 ms after which the past can no longer be heard: what the attention remembers.
pub const RECEPTIVE_FIELD_FRAMES: usize = 300;

/// A written graph.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The serialised model.
    pub bytes: Vec<u8>,
    /// What the manifest says of it.
    pub spec: GraphSpec,
    /// Samples by which its audio is late, beside the look-ahead.
    pub delay_samples: usize,
}

impl Exported {
    /// How a streaming graph is stepped: `frames` at a time, seeing `lookahead_frames` of the future.
    #[must_use]
    pub fn step(
        &self,
        spec: &VitsSpec,
        frames: usize,
        lookahead_frames: usize,
        noise_scale: f32,
    ) -> StepSpec {
        StepSpec {
            frame_samples: spec.hop_samples(),
            frames,
            lookahead_frames,
            delay_samples: self.delay_samples,
            noise_channels: spec.inter_channels,
            noise_scale,
            source_noise_scale: 1.0,
            continuous_f0: spec.continuous_f0,
            follows_encoder: true,
        }
    }
}

impl<B: Kernels> VitsVoice<B> {
    /// The inputs of this voice's graph, in their order.
    #[must_use]
    pub fn graph_inputs(spec: &VitsSpec) -> Vec<&'static str> {
        let has_source = spec.decoder.overtones.is_some();
        let sovits = spec.prenet == Prenet::SoVits;
        [
            (true, "content"),
            (has_source, "f0_hz"),
            (sovits, "voiced"),
            (spec.loudness, "loudness"),
            (true, "speaker_mix"),
            (spec.auto_f0, "auto_f0"),
            (true, "prior_noise"),
            (has_source, "noise"),
        ]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
        .collect()
    }

    /// The whole graph: a clip of T frames to its audio.
    #[must_use]
    pub fn export_whole(&self, spec: &VitsSpec) -> Exported {
        self.export(spec, None)
    }

    /// The streaming graph: N + L frames to the audio of N. See [`super::graph`].
    #[must_use]
    pub fn export_streaming(&self, spec: &VitsSpec) -> Exported {
        self.export(spec, Some(PAST_FRAMES))
    }

    /// The same with another number of frames of the past in place of [`PAST_FRAMES`].
    #[must_use]
    pub fn export_remembering(&self, spec: &VitsSpec, past_frames: usize) -> Exported {
        self.export(spec, Some(past_frames))
    }

    fn export(&self, spec: &VitsSpec, past_frames: Option<usize>) -> Exported {
        let mut graph = StreamingGraph::new("synthesis");
        let mut inputs = Self::graph_inputs(spec);
        for input in &inputs {
            let frames = "frames".into();
            let shape = match *input {
                "content" => vec![1.into(), frames, spec.content_channels.into()],
                "speaker_mix" => vec![1.into(), frames, spec.speakers.into()],
                "prior_noise" => vec![1.into(), frames, spec.inter_channels.into()],
                "noise" => vec![1.into(), "samples".into()],
                _ => vec![1.into(), frames],
            };
            graph.builder.input(input, &shape);
        }
        let mut writer = match past_frames {
            None => WriteGraph::<B>::whole(graph, "content"),
            Some(past_frames) => {
                inputs.push("lookahead_frames");
                graph
                    .builder
                    .input("lookahead_frames", &[1.into(), 1.into()]);
                WriteGraph::streaming(graph, "content", "lookahead_frames", past_frames)
            }
        };
        let inputs_of_voice = voice_inputs(&mut writer, spec);
        let (audio, _) = self.sing(&mut writer, &inputs_of_voice);
        let mut graph = writer.graph;
        let line = graph.builder.i64s(&[1, -1]);
        graph
            .builder
            .node("Reshape", &[&audio.name, &line], &["audio"], vec![]);
        graph
            .builder
            .output("audio", &[1.into(), "audio_samples".into()]);
        Exported {
            bytes: graph.builder.finish(),
            spec: GraphSpec {
                file: "synthesis.onnx".to_owned(),
                inputs: inputs.into_iter().map(str::to_owned).collect(),
                outputs: vec!["audio".to_owned()],
                states: graph.states,
                cpu_weights: None,
            },
            delay_samples: audio.delay(),
        }
    }
}

/// The graph's inputs as the voice wants them: channels before frames, loudness as amplitude.
fn voice_inputs<B: Kernels>(writer: &mut WriteGraph<B>, spec: &VitsSpec) -> VoiceInputs<Node> {
    let turned = |writer: &mut WriteGraph<B>, name: &str, channels: usize| {
        let order = Attr::Ints("perm", vec![0, 2, 1]);
        let turned = writer.graph.builder.op("Transpose", &[name], vec![order]);
        Node::frames(&turned, channels)
    };
    let row = |writer: &mut WriteGraph<B>, name: &str| {
        let shape = writer.graph.builder.i64s(&[1, 1, -1]);
        writer.graph.builder.op("Reshape", &[name, &shape], vec![])
    };
    let content = turned(writer, "content", spec.content_channels);
    let speaker_mix = turned(writer, "speaker_mix", spec.speakers);
    let prior_noise = turned(writer, "prior_noise", spec.inter_channels);
    let has_source = spec.decoder.overtones.is_some();
    // A voice without a source never looks at these two.
    let f0_hz = if has_source {
        Node::frames(&row(writer, "f0_hz"), 1)
    } else {
        content.clone()
    };
    let source_noise = if has_source {
        Node::samples(&row(writer, "noise"), 1, spec.hop_samples())
    } else {
        content.clone()
    };
    let voiced = if spec.prenet == Prenet::SoVits {
        Node::frames(&row(writer, "voiced"), 1)
    } else {
        f0_hz.clone()
    };
    let loudness = spec.loudness.then(|| {
        let db = row(writer, "loudness");
        let floor = writer.graph.builder.f32s(&[], &[SILENCE_DB]);
        let db = writer.graph.builder.op("Max", &[&db, &floor], vec![]);
        let db = Node::frames(&db, 1);
        let nepers = writer.affine(&db, std::f32::consts::LN_10 / 20.0, 0.0);
        writer.apply(&nepers, super::eval::Function::Exp)
    });
    let auto_f0 = spec
        .auto_f0
        .then(|| Node::frames(&row(writer, "auto_f0"), 1));
    VoiceInputs {
        prior: PriorInputs {
            content,
            f0_hz,
            voiced,
            loudness,
        },
        speaker_mix,
        prior_noise,
        source_noise,
        auto_f0,
    }
}
