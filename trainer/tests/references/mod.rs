//! Voices of other implementations, what goes into them and what they compute from it.
//!
//! Our own are made by `tests/golden/sovits_fork.py`, `tests/golden/sovits_depthwise.py` (separable convolutions, as two versions of
//! so-vits-svc 4.1 have them), `tests/golden/sovits_flows.py` and `tests/golden/rvc.py` (with and without F0); `TIMBRA_GOLDEN` names a
//! folder with others, or they lie in `../shared/golden`.
#![allow(dead_code, reason = "every test binary uses a part")]

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::Tensor;
use timbra_engine::onnx::{Carried, Evaluation, NamedTensor};
use timbra_trainer::import::weights::CheckpointWeights;
use timbra_trainer::import::{TorchFile, npy, read_state_dict, rvc_config, sovits_config};
use timbra_trainer::model::causal::from_vec;
use timbra_trainer::model::vits::prior::PriorInputs;
use timbra_trainer::model::vits::spec::VitsSpec;
use timbra_trainer::model::vits::voice::{VitsVoice, VoiceInputs};
use timbra_voice::manifest::StateTensor;

pub type B = Flex;

/// Our own references.
const OWN: [&str; 10] = [
    "sovits_fork",
    "sovits_depthwise",
    "sovits_depthwise_all",
    SHARED_FLOW.name,
    TRANSFORMER_FLOW.name,
    TRANSFORMER_SHARED.name,
    "rvc_v1_32k",
    "rvc_v1_40k_no_f0",
    "rvc_v2_32k_no_f0",
    "rvc_v2_40k",
];

/// A reference whose prior looks at no more than the frames that have a position embedding.
#[derive(Debug, Clone, Copy)]
pub struct Near {
    pub name: &'static str,
    /// Frames of the future that what is sung depends on, beside what its audio is late by.
    pub lookahead_frames: usize,
}

/// Frames that the prior sees ahead: by the content's convolution, and in each of two layers by attention and convolutions.
const PRIOR: usize = 2 + 2 * (4 + 2);
/// Frames that the part of the decoder sees ahead which is computed anew as more of the future is known: by its first
/// convolution, and by the blocks after its first upsampling (18 samples of 5 a frame, and those the upsampling overlaps by).
const DECODER: usize = 3 + 5;

/// Four couplings of two convolutions, all with the same weights.
pub const SHARED_FLOW: Near = Near {
    name: "sovits_shared_flow",
    lookahead_frames: PRIOR + 4 * 2 * 2 + DECODER,
};
/// Couplings that only look back.
pub const TRANSFORMER_FLOW: Near = Near {
    name: "sovits_transformer_flow",
    lookahead_frames: PRIOR + DECODER,
};
/// The same, all with the same weights.
pub const TRANSFORMER_SHARED: Near = Near {
    name: "sovits_transformer_shared",
    ..TRANSFORMER_FLOW
};
/// All of these.
pub const NEAR: [Near; 3] = [SHARED_FLOW, TRANSFORMER_FLOW, TRANSFORMER_SHARED];

/// The folder of one of our own.
pub fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn golden() -> Option<PathBuf> {
    let folder = std::env::var_os("TIMBRA_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

/// Every folder of references with a voice inside.
pub fn folders() -> Vec<PathBuf> {
    let mut found = OWN.map(own).to_vec();
    let Some(golden) = golden() else {
        println!("only our own references: TIMBRA_GOLDEN names no others");
        return found;
    };
    found.extend(
        std::fs::read_dir(golden)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir()),
    );
    found.sort();
    found
}

/// The last part of a path.
pub fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

/// Shape and numbers of an array, where it is there.
pub fn array(folder: &Path, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let path = folder.join(format!("{name}.npy"));
    if !path.exists() {
        return None;
    }
    let tensor = npy::open(&path).unwrap();
    Some((tensor.shape().to_vec(), tensor.to_f32().unwrap()))
}

/// ‖found − expected‖ / ‖expected‖.
pub fn relative(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut expected.iter().zip(found).map(|(a, b)| f64::from(a - b)));
    (difference / square(&mut expected.iter().map(|&a| f64::from(a)))).sqrt()
}

pub fn checkpoint(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ext| ext == "pth"))
        .unwrap()
}

pub fn load(folder: &Path) -> (VitsSpec, VitsVoice<B>) {
    let path = checkpoint(folder);
    let weights = read_state_dict(&path).unwrap();
    let file = TorchFile::open(&path).unwrap();
    let spec = if rvc_config::is_rvc(&file) {
        rvc_config::read(&path, &file, &weights).unwrap().spec
    } else {
        sovits_config::read(&folder.join("config.json"))
            .unwrap()
            .spec
    };
    let voice =
        VitsVoice::load(&mut CheckpointWeights(&weights), &spec, &Default::default()).unwrap();
    (spec, voice)
}

/// What was sung.
#[derive(Debug, Clone)]
pub struct Reference {
    pub name: String,
    /// Weights of the speakers, `[S, T]`.
    pub mix: Vec<f32>,
    /// Whether the voice found its own F0.
    pub auto_f0: bool,
    pub audio: Vec<f32>,
}

impl Reference {
    /// Whether the first `speakers` are all that it mixes.
    pub fn is_of_the_first(&self, speakers: usize, frames: usize) -> bool {
        self.mix.iter().skip(speakers * frames).all(|&w| w == 0.0)
    }
}

/// What all of a folder's references were sung from.
#[derive(Debug, Clone)]
pub struct Case {
    pub frames: usize,
    /// `[C, T]`.
    pub content: Vec<f32>,
    pub f0_hz: Vec<f32>,
    pub voiced: Vec<f32>,
    /// Root mean square.
    pub loudness: Option<Vec<f32>>,
}

impl Case {
    pub fn read(folder: &Path) -> Self {
        let (_, f0_hz) = array(folder, "f0_hz").unwrap();
        let voiced = array(folder, "voiced").map_or_else(
            || f0_hz.iter().map(|&f0| f32::from(f0 > 0.0)).collect(),
            |(_, voiced)| voiced,
        );
        let frames = f0_hz.len();
        let (shape, content) = array(folder, "content").unwrap();
        Self {
            frames,
            // [1, T, C] or [1, C, T].
            content: if shape[1] == frames {
                turned(&content, shape[2])
            } else {
                content
            },
            f0_hz,
            voiced,
            loudness: array(folder, "loudness").map(|(_, loudness)| loudness),
        }
    }

    /// Something as long as is wanted, which nothing is known of: gliding F0 with pauses, content that is noise.
    pub fn long(spec: &VitsSpec, frames: usize) -> Self {
        let noise = |stream: u64, count: usize| -> Vec<f32> {
            let mut noise = vec![0.0; count];
            timbra_dsp::noise::fill_normal(stream, 0, &mut noise);
            noise
        };
        let voiced = |t: usize| t % 90 < 75;
        let f0_hz = |t: usize| 220.0 + 60.0 * (t as f32 / 7.0).sin();
        Self {
            frames,
            content: noise(1, spec.content_channels * frames),
            f0_hz: (0..frames)
                .map(|t| if voiced(t) { f0_hz(t) } else { 0.0 })
                .collect(),
            voiced: (0..frames).map(|t| f32::from(voiced(t))).collect(),
            loudness: spec.loudness.then(|| vec![0.1; frames]),
        }
    }

    /// Every reference that a folder has: speakers one by one, mixed by the frame, and one with its own F0.
    pub fn references(&self, folder: &Path, spec: &VitsSpec) -> Vec<Reference> {
        let mut cases: Vec<(String, Vec<f32>, bool)> = (0..spec.speakers)
            .map(|speaker| {
                let name = format!("audio_speaker{speaker}");
                (name, one_speaker(spec, self.frames, speaker), false)
            })
            .collect();
        if let Some((_, mix)) = array(folder, "speaker_mix") {
            let mix = turned(&mix, spec.speakers);
            cases.push(("audio_speaker_mix".to_owned(), mix, false));
        }
        if spec.speakers > 1 {
            let mix = one_speaker(spec, self.frames, 1);
            cases.push(("audio_speaker1_auto_f0".to_owned(), mix, true));
        }
        let found: Vec<Reference> = cases
            .into_iter()
            .filter_map(|(name, mix, auto_f0)| {
                let (_, audio) = array(folder, &name)?;
                Some(Reference {
                    name,
                    mix,
                    auto_f0,
                    audio,
                })
            })
            .collect();
        let mixed = found.iter().any(|one| one.name == "audio_speaker_mix");
        assert_eq!(
            mixed,
            folder.join("speaker_mix.npy").exists(),
            "{folder:?}: weights without what was mixed with them"
        );
        assert!(!found.is_empty(), "{folder:?}");
        found
    }

    pub fn inputs(
        &self,
        spec: &VitsSpec,
        mix: Vec<f32>,
        auto_f0: bool,
    ) -> VoiceInputs<Tensor<B, 3>> {
        let device = Default::default();
        let frames = self.frames;
        let row = |values: &[f32]| from_vec::<B, 3>(values.to_vec(), [1, 1, frames], &device);
        let hop = spec.hop_samples();
        VoiceInputs {
            prior: PriorInputs {
                content: from_vec(
                    self.content.clone(),
                    [1, spec.content_channels, frames],
                    &device,
                ),
                f0_hz: row(&self.f0_hz),
                voiced: row(&self.voiced),
                loudness: spec
                    .loudness
                    .then(|| row(self.loudness.as_deref().unwrap())),
            },
            speaker_mix: from_vec(mix, [1, spec.speakers, frames], &device),
            prior_noise: Tensor::zeros([1, spec.inter_channels, frames], &device),
            source_noise: Tensor::zeros([1, 1, frames * hop], &device),
            auto_f0: auto_f0.then(|| Tensor::ones([1, 1, frames], &device)),
        }
    }

    /// Inputs of a graph for frames `from..to`, with noise off.
    pub fn graph_inputs(
        &self,
        spec: &VitsSpec,
        mix: &[f32],
        auto_f0: bool,
        (from, to): (usize, usize),
    ) -> Vec<NamedTensor> {
        let frames = to - from;
        let rows = |values: &[f32], channels: usize| -> Vec<f32> {
            // [C, T] to [T, C] of the frames wanted.
            (from..to)
                .flat_map(|t| (0..channels).map(move |c| values[c * self.frames + t]))
                .collect()
        };
        let loudness = |linear: &[f32]| -> Vec<f32> {
            linear[from..to].iter().map(|v| 20.0 * v.log10()).collect()
        };
        VitsVoice::<B>::graph_inputs(spec)
            .into_iter()
            .map(|name| {
                let (shape, data) = match name {
                    "content" => (
                        vec![1, frames, spec.content_channels],
                        rows(&self.content, spec.content_channels),
                    ),
                    "speaker_mix" => (vec![1, frames, spec.speakers], rows(mix, spec.speakers)),
                    "f0_hz" => (vec![1, frames], self.f0_hz[from..to].to_vec()),
                    "voiced" => (vec![1, frames], self.voiced[from..to].to_vec()),
                    "loudness" => (vec![1, frames], loudness(self.loudness.as_deref().unwrap())),
                    "auto_f0" => (vec![1, frames], vec![f32::from(auto_f0); frames]),
                    "prior_noise" => {
                        let size = frames * spec.inter_channels;
                        (vec![1, frames, spec.inter_channels], vec![0.0; size])
                    }
                    _ => {
                        let samples = frames * spec.hop_samples();
                        (vec![1, samples], vec![0.0; samples])
                    }
                };
                NamedTensor {
                    name: name.to_owned(),
                    shape,
                    data,
                }
            })
            .collect()
    }

    /// What a streaming graph gives in steps of `frames`, each with `lookahead_frames` of the future, or with what there is.
    pub fn stream(
        &self,
        (graph, states): (&mut Evaluation, &[StateTensor]),
        spec: &VitsSpec,
        (mix, auto_f0): (&[f32], bool),
        (frames, lookahead_frames): (usize, usize),
    ) -> Vec<f32> {
        let mut states = Carried::new(states);
        let mut audio = Vec::new();
        for from in (0..self.frames).step_by(frames) {
            let fresh = frames.min(self.frames - from);
            let to = self
                .frames
                .min((from + fresh).saturating_add(lookahead_frames));
            let mut inputs = self.graph_inputs(spec, mix, auto_f0, (from, to));
            inputs.push(NamedTensor {
                name: "lookahead_frames".to_owned(),
                shape: vec![1, 1],
                data: vec![(to - from - fresh) as f32],
            });
            inputs.extend_from_slice(states.inputs());
            let results = states.take(graph.run(&inputs).unwrap());
            let made = audio_of(&results);
            assert_eq!(made.len(), fresh * spec.hop_samples());
            audio.extend(made);
        }
        audio
    }
}

/// All of the future there is.
pub const ALL: usize = usize::MAX;

/// `[T, C]` as `[C, T]`.
fn turned(rows: &[f32], channels: usize) -> Vec<f32> {
    let frames = rows.len() / channels;
    (0..rows.len())
        .map(|n| rows[(n % frames) * channels + n / frames])
        .collect()
}

/// Weights of one speaker alone, `[S, T]`.
pub fn one_speaker(spec: &VitsSpec, frames: usize, speaker: usize) -> Vec<f32> {
    let mut mix = vec![0.0; spec.speakers * frames];
    mix[speaker * frames..(speaker + 1) * frames].fill(1.0);
    mix
}

/// What a graph has sung.
pub fn audio_of(results: &[NamedTensor]) -> Vec<f32> {
    let mut audio = results.iter().filter(|result| result.name == "audio");
    audio.next().unwrap().data.clone()
}
