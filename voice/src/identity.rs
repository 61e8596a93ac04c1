//! A voice that gives back what it hears, for proving delays, alignment and packages without a trained network.
//!
//! Its content is the audio itself, 160 samples a frame, and its synthesis puts the frames together again at 16 kHz.
//! With a look-ahead and a delay it carries state through both graphs like a real voice does.

use std::collections::BTreeMap;
use std::path::Path;

use crate::check::{ENCODER_HOP_SAMPLES, ENCODER_RATE_HZ};
use crate::error::VoiceError;
use crate::manifest::{
    EncoderManifest, EncoderSpec, FORMAT_VERSION, Family, GraphSpec, Manifest, Speaker,
    StateTensor, StepSpec, TrainingSummary,
};
use crate::onnx_writer::{Attr, Dim, GraphBuilder};
use crate::package::{self, Form, sha256_hex};

/// An identity voice to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityVoice {
    /// Name in the manifest.
    pub name: String,
    /// Frames by which the content lags the audio.
    pub lookahead_frames: usize,
    /// Samples at 16 kHz by which the synthesis lags its content.
    pub delay_samples: usize,
    /// Frames that a step of the synthesis makes, and those of the future it sees beside them; a frame at a time without.
    pub step: Option<(usize, usize)>,
}

impl Default for IdentityVoice {
    fn default() -> Self {
        Self {
            name: "identity".to_owned(),
            lookahead_frames: 0,
            delay_samples: 0,
            step: None,
        }
    }
}

impl IdentityVoice {
    /// The content graph: reshapes, and delays by `lookahead_frames`.
    pub fn content_graph(&self) -> Vec<u8> {
        let mut graph = GraphBuilder::new("content");
        graph.input("audio", &[1.into(), "samples".into()]);
        graph.output(
            "content",
            &[1.into(), "T".into(), ENCODER_HOP_SAMPLES.into()],
        );
        let audio = delayed(
            &mut graph,
            "audio",
            "history",
            self.lookahead_frames * ENCODER_HOP_SAMPLES,
        );
        let shape = graph.i64s(&[1, -1, ENCODER_HOP_SAMPLES as i64]);
        graph.node("Reshape", &[&audio, &shape], &["content"], vec![]);
        graph.finish()
    }

    /// The synthesis graph: flattens, and delays by `delay_samples`.
    pub fn synthesis_graph(&self) -> Vec<u8> {
        let mut graph = GraphBuilder::new("synthesis");
        graph.input(
            "content",
            &[1.into(), "T".into(), ENCODER_HOP_SAMPLES.into()],
        );
        graph.output("audio", &[1.into(), "samples".into()]);
        let mut content = "content".to_owned();
        if let Some((frames, _)) = self.step {
            graph.input("lookahead_frames", &[1.into(), 1.into()]);
            let (from, to, axis) = (
                graph.i64s(&[0]),
                graph.i64s(&[frames as i64]),
                graph.i64s(&[1]),
            );
            content = graph.op("Slice", &[&content, &from, &to, &axis], vec![]);
        }
        let shape = graph.i64s(&[1, -1]);
        let flat = graph.op("Reshape", &[&content, &shape], vec![]);
        let audio = delayed(&mut graph, &flat, "tail", self.delay_samples);
        graph.node("Identity", &[&audio], &["audio"], vec![]);
        graph.finish()
    }

    /// The manifest and the files that belong to it.
    pub fn parts(&self) -> (Manifest, BTreeMap<String, Vec<u8>>) {
        let content = self.content_graph();
        // What a frame of this content says was heard before the time it stands for.
        let step = self.step.map(|(frames, lookahead_frames)| StepSpec {
            frame_samples: ENCODER_HOP_SAMPLES,
            frames,
            lookahead_frames,
            delay_samples: self.delay_samples + ENCODER_HOP_SAMPLES,
            noise_channels: 0,
            noise_scale: 0.0,
            source_noise_scale: 0.0,
            continuous_f0: false,
            follows_encoder: false,
        });
        let lookahead = step.as_ref().map(|_| "lookahead_frames".to_owned());
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            name: self.name.clone(),
            family: Family::Harmonic,
            speakers: vec![Speaker {
                name: "anybody".to_owned(),
                languages: vec!["mul".to_owned()],
                licence: "CC0-1.0".to_owned(),
                attribution: String::new(),
                consent: "no recordings were used".to_owned(),
                f0_median_hz: 220.0,
                f0_low_hz: 110.0,
                f0_high_hz: 440.0,
                loudness_median_db: -20.0,
                articulation: 0.0,
            }],
            licence: "CC0-1.0".to_owned(),
            attribution: Vec::new(),
            model_rate_hz: ENCODER_RATE_HZ,
            hop_samples: ENCODER_HOP_SAMPLES,
            delay_samples: step
                .as_ref()
                .map_or(self.delay_samples, StepSpec::lag_samples),
            receptive_field_frames: 2 + self.step.map_or(0, |(frames, more)| frames + more),
            follows_level: false,
            f0_min_hz: 50.0,
            f0_max_hz: 1400.0,
            encoder: EncoderSpec {
                id: format!("identity-{}", self.lookahead_frames),
                sha256: sha256_hex(&content),
                rate_hz: ENCODER_RATE_HZ,
                hop_samples: ENCODER_HOP_SAMPLES,
                channels: ENCODER_HOP_SAMPLES,
                lookahead_samples: self.lookahead_frames * ENCODER_HOP_SAMPLES,
                step: None,
                graph: GraphSpec {
                    file: "content.onnx".to_owned(),
                    inputs: vec!["audio".to_owned()],
                    outputs: vec!["content".to_owned()],
                    states: states("history", self.lookahead_frames * ENCODER_HOP_SAMPLES),
                    cpu_weights: None,
                },
            },
            synthesis: GraphSpec {
                file: "synthesis.onnx".to_owned(),
                inputs: std::iter::once("content".to_owned())
                    .chain(lookahead)
                    .collect(),
                outputs: vec!["audio".to_owned()],
                states: states("tail", self.delay_samples),
                cpu_weights: None,
            },
            step,
            clusters: None,
            retrieval: None,
            retrieval_ratio: 0.0,
            retrieval_unvoiced: 1.0,
            files: BTreeMap::new(),
            training: TrainingSummary::default(),
            certificate: None,
        };
        let files = BTreeMap::from([
            ("content.onnx".to_owned(), content),
            ("synthesis.onnx".to_owned(), self.synthesis_graph()),
        ]);
        (manifest, files)
    }

    /// The manifest and the graph of its encoder alone.
    pub fn encoder_parts(&self) -> (EncoderManifest, BTreeMap<String, Vec<u8>>) {
        let (manifest, mut files) = self.parts();
        files.remove(&manifest.synthesis.file);
        let encoder = EncoderManifest {
            format_version: FORMAT_VERSION,
            encoder: manifest.encoder,
            licence: manifest.licence,
            attribution: Vec::new(),
            training: TrainingSummary::default(),
            files: BTreeMap::new(),
        };
        (encoder, files)
    }

    /// Writes the package; returns its identity.
    ///
    /// # Errors
    /// The system refused to write.
    pub fn write(&self, path: &Path, form: Form) -> Result<String, VoiceError> {
        let (manifest, files) = self.parts();
        package::write_voice(path, &manifest, &files, form)
    }
}

fn states(name: &str, samples: usize) -> Vec<StateTensor> {
    if samples == 0 {
        return Vec::new();
    }
    vec![StateTensor {
        name: name.to_owned(),
        shape: vec![1, samples],
        ring: false,
    }]
}

/// Delays the signal `input` of shape `[1, samples]` with a carried tensor; returns the name of the result.
fn delayed(graph: &mut GraphBuilder, input: &str, state: &str, samples: usize) -> String {
    if samples == 0 {
        return input.to_owned();
    }
    let next = format!("{state}_next");
    graph.input(state, &[Dim::Fixed(1), Dim::Fixed(samples)]);
    graph.output(&next, &[Dim::Fixed(1), Dim::Fixed(samples)]);
    let joined = graph.op("Concat", &[state, input], vec![Attr::Int("axis", 1)]);
    let (start, cut, end, axis) = (
        graph.i64s(&[0]),
        graph.i64s(&[-(samples as i64)]),
        graph.i64s(&[i64::MAX]),
        graph.i64s(&[1]),
    );
    graph.node("Slice", &[&joined, &cut, &end, &axis], &[&next], vec![]);
    graph.op("Slice", &[&joined, &start, &cut, &axis], vec![])
}
