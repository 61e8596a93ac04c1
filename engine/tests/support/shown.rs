//! Voices whose output is what steers them.

use std::collections::BTreeSet;
use std::sync::Arc;

use timbra_engine::LoadedVoice;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{EncoderStep, GraphSpec, StepSpec};
use timbra_voice::onnx_writer::{Attr, Dim, GraphBuilder};
use timbra_voice::package::{self, Form};

/// Channels of the prior's noise: their mean square says its level to about 1 %.
pub const NOISE_CHANNELS: usize = 4096;
/// The voice's own noise scale.
pub const NOISE_SCALE: f32 = 0.4;

/// What is heard, at 16 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// F0 in kilohertz.
    F0,
    /// Where F0 comes from.
    AutoF0,
    /// The level of the prior's noise.
    PriorNoise,
    /// Loudness in dBFS.
    Loudness,
    /// Noise of one level, whatever is sung.
    SourceNoise,
    /// How large the samples are that the content is.
    Content,
}

/// A voice in steps, and how they are.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    pub shows: Shows,
    /// Frames by which the content lags the audio.
    pub encoder_lookahead_frames: usize,
    pub frame_samples: usize,
    /// Frames of a step, and those it sees ahead; at least one.
    pub step: (usize, usize),
    /// The same of an encoder of 20 ms, where that makes steps too; any look-ahead then is its own.
    pub encoder_step: Option<(usize, usize)>,
    /// Whether the voice makes a step with each of the encoder's.
    pub follows: bool,
}

impl Shown {
    pub fn load(self, test: &str) -> Arc<LoadedVoice> {
        LoadedVoice::load(&self.write(test), &[]).unwrap()
    }

    pub fn write(self, test: &str) -> std::path::PathBuf {
        self.write_taking(test, "T".into())
    }

    /// As [`Self::write`], but its graph takes steps that make so many frames and no others.
    pub fn write_with_fixed_steps(self, test: &str, frames: usize) -> std::path::PathBuf {
        self.write_taking(test, (frames + self.step.1).into())
    }

    fn write_taking(self, test: &str, taken: Dim) -> std::path::PathBuf {
        let path = super::folder(test).join("shown.timbra");
        let (mut manifest, mut files) = IdentityVoice {
            lookahead_frames: self.encoder_lookahead_frames,
            ..IdentityVoice::default()
        }
        .parts();
        let (frames, lookahead_frames) = self.step;
        let input = match self.shows {
            Shows::F0 => "f0_hz",
            Shows::AutoF0 => "auto_f0",
            Shows::PriorNoise => "prior_noise",
            Shows::Loudness => "loudness",
            Shows::SourceNoise => "noise",
            Shows::Content => "content",
        };
        let step = StepSpec {
            frame_samples: self.frame_samples,
            frames,
            lookahead_frames,
            delay_samples: 0,
            noise_channels: if self.shows == Shows::PriorNoise {
                NOISE_CHANNELS
            } else {
                0
            },
            noise_scale: NOISE_SCALE,
            source_noise_scale: 1.0,
            continuous_f0: true,
            follows_encoder: self.follows,
        };
        manifest.delay_samples = step.lag_samples();
        manifest.step = Some(step);
        manifest.receptive_field_frames =
            2 + (frames + lookahead_frames) * self.frame_samples / 160;
        manifest.synthesis = GraphSpec {
            file: "synthesis.onnx".to_owned(),
            inputs: BTreeSet::from(["content", input, "lookahead_frames"])
                .into_iter()
                .map(str::to_owned)
                .collect(),
            outputs: vec!["audio".to_owned()],
            states: Vec::new(),
            cpu_weights: None,
        };
        if let Some((frames, lookahead_frames)) = self.encoder_step {
            let content = in_frames_of_20_ms(lookahead_frames);
            let encoder = &mut manifest.encoder;
            let step = EncoderStep {
                frame_samples: 320,
                frames,
                lookahead_frames,
            };
            encoder.id = format!("in-steps-{frames}-{lookahead_frames}");
            encoder.sha256 = package::sha256_hex(&content);
            encoder.lookahead_samples = step.lag_samples();
            encoder.step = Some(step);
            encoder.graph.inputs = vec!["audio".to_owned(), "lookahead_frames".to_owned()];
            encoder.graph.states = Vec::new();
            files.insert(encoder.graph.file.clone(), content);
        }
        files.insert("synthesis.onnx".to_owned(), self.graph(input, &taken));
        package::write_voice(&path, &manifest, &files, Form::File).unwrap();
        path
    }

    fn graph(self, input: &str, frames: &Dim) -> Vec<u8> {
        let mut graph = GraphBuilder::new("shown");
        let (_, future) = self.step;
        graph.input("content", &[1.into(), frames.clone(), 160.into()]);
        graph.input("lookahead_frames", &[1.into(), 1.into()]);
        graph.output("audio", &[1.into(), "samples".into()]);
        let zero = graph.f32s(&[1], &[0.0]);
        let line = graph.i64s(&[1, -1]);
        let unheard = vec![Attr::Ints("axes", vec![2]), Attr::Int("keepdims", 0)];
        let unheard = graph.op("ReduceMean", &["content"], unheard);
        let unheard = graph.op("Mul", &[&unheard, &zero], vec![]);
        // Without so many at the end.
        let cut = |graph: &mut GraphBuilder, of: &str, from: usize, without: usize| {
            let to = if without == 0 {
                i64::MAX
            } else {
                -(without as i64)
            };
            let (from, to) = (graph.i64s(&[from as i64]), graph.i64s(&[to]));
            let axis = graph.i64s(&[1]);
            graph.op("Slice", &[of, &from, &to, &axis], vec![])
        };
        if self.shows == Shows::SourceNoise {
            graph.input(input, &[1.into(), "samples_in".into()]);
            let tenth = graph.f32s(&[1], &[0.1]);
            let noise = cut(&mut graph, input, 0, future * self.frame_samples);
            let noise = graph.op("Mul", &[&noise, &tenth], vec![]);
            let first = cut(&mut graph, &unheard, 0, future);
            let first = graph.op("ReduceMean", &[&first], vec![Attr::Ints("axes", vec![1])]);
            graph.node("Add", &[&noise, &first], &["audio"], vec![]);
            return graph.finish();
        }
        let value = match self.shows {
            Shows::PriorNoise => {
                graph.input(input, &[1.into(), frames.clone(), NOISE_CHANNELS.into()]);
                let power = graph.op("Mul", &[input, input], vec![]);
                let mean = vec![Attr::Ints("axes", vec![2]), Attr::Int("keepdims", 0)];
                let power = graph.op("ReduceMean", &[&power], mean);
                graph.op("Sqrt", &[&power], vec![])
            }
            Shows::Content => {
                let size = graph.op("Abs", &[input], vec![]);
                let mean = vec![Attr::Ints("axes", vec![2]), Attr::Int("keepdims", 0)];
                graph.op("ReduceMean", &[&size], mean)
            }
            shows => {
                graph.input(input, &[1.into(), frames.clone()]);
                let scale = if shows == Shows::F0 { 0.001 } else { 1.0 };
                let scale = graph.f32s(&[1], &[scale]);
                graph.op("Mul", &[input, &scale], vec![])
            }
        };
        let value = graph.op("Add", &[&value, &unheard], vec![]);
        // From one frame to the next on a straight line.
        let column = graph.i64s(&[1, -1, 1]);
        let ends = [0, 1].map(|first| {
            let end = cut(&mut graph, &value, first, future - first);
            graph.op("Reshape", &[&end, &column], vec![])
        });
        let share: Vec<f32> = (0..self.frame_samples)
            .map(|n| n as f32 / self.frame_samples as f32)
            .collect();
        let share = graph.f32s(&[1, 1, self.frame_samples], &share);
        let way = graph.op("Sub", &[&ends[1], &ends[0]], vec![]);
        let way = graph.op("Mul", &[&way, &share], vec![]);
        let level = graph.op("Add", &[&ends[0], &way], vec![]);
        graph.node("Reshape", &[&level, &line], &["audio"], vec![]);
        graph.finish()
    }
}

/// The first 10 ms of every 20, but for those of the future.
fn in_frames_of_20_ms(future: usize) -> Vec<u8> {
    let mut graph = GraphBuilder::new("content");
    graph.input("audio", &[1.into(), "samples".into()]);
    graph.input("lookahead_frames", &[1.into(), 1.into()]);
    graph.output("content", &[1.into(), "T".into(), 160.into()]);
    let shape = graph.i64s(&[1, -1, 320]);
    let frames = graph.op("Reshape", &["audio", &shape], vec![]);
    let to = if future == 0 {
        i64::MAX
    } else {
        -(future as i64)
    };
    let (from, to) = (graph.i64s(&[0, 0]), graph.i64s(&[to, 160]));
    let axes = graph.i64s(&[1, 2]);
    graph.node("Slice", &[&frames, &from, &to, &axes], &["content"], vec![]);
    graph.finish()
}

/// Milliseconds by which `output` at `rate_hz` passes `level` after sample `at`, upwards if it `rises`.
pub fn late_ms(output: &[f32], rate_hz: usize, at: usize, level: f32, rises: bool) -> f32 {
    let crossed = (at - rate_hz / 20..at + rate_hz / 20)
        .find(|&n| (output[n] >= level) == rises)
        .unwrap();
    (crossed as f32 - at as f32) * 1e3 / rate_hz as f32
}
