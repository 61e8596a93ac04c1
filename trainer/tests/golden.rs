//! Imported voices compute what the implementation they come from computes.
//!
//! Our own references are made by `tests/golden/sovits_fork.py`, `tests/golden/sovits_depthwise.py` (separable convolutions, as
//! two versions of so-vits-svc 4.1 have them) and `tests/golden/rvc.py` (with and without F0);
//! `TIMBRA_GOLDEN` names a folder with others, or they lie in `../shared/golden`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::Tensor;
use support::{runtime_is_there, write_some_encoder};
use timbra_engine::LoadedVoice;
use timbra_engine::onnx::{Carried, Evaluation, NamedTensor, evaluate};
use timbra_engine::synthesis::{Synthesis, SynthesisFrame};
use timbra_trainer::commands::import;
use timbra_trainer::import::weights::CheckpointWeights;
use timbra_trainer::import::{TorchFile, npy, read_state_dict, rvc_config, sovits_config};
use timbra_trainer::model::causal::{from_vec, to_vec};
use timbra_trainer::model::vits::eval::Compute;
use timbra_trainer::model::vits::prior::PriorInputs;
use timbra_trainer::model::vits::spec::VitsSpec;
use timbra_trainer::model::vits::voice::{Posterior, VitsVoice, VoiceInputs};

use timbra_voice::manifest::StateTensor;
use timbra_voice::package::{Form, VoicePackage, write_voice};

type B = Flex;

/// Our own references.
const OWN: [&str; 7] = [
    "sovits_fork",
    "sovits_depthwise",
    "sovits_depthwise_all",
    "rvc_v1_32k",
    "rvc_v1_40k_no_f0",
    "rvc_v2_32k_no_f0",
    "rvc_v2_40k",
];

fn golden() -> Option<PathBuf> {
    let folder = std::env::var_os("TIMBRA_GOLDEN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

/// Every folder of references with a voice inside.
fn folders() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = OWN.map(|name| fixtures.join(name)).to_vec();
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

fn array(folder: &Path, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let path = folder.join(format!("{name}.npy"));
    if !path.exists() {
        return None;
    }
    let tensor = npy::open(&path).unwrap();
    Some((tensor.shape().to_vec(), tensor.to_f32().unwrap()))
}

fn relative(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut expected.iter().zip(found).map(|(a, b)| f64::from(a - b)));
    (difference / square(&mut expected.iter().map(|&a| f64::from(a)))).sqrt()
}

fn checkpoint(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ext| ext == "pth"))
        .unwrap()
}

fn load(folder: &Path) -> (VitsSpec, VitsVoice<B>) {
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

struct Case {
    frames: usize,
    content: Vec<f32>,
    f0_hz: Vec<f32>,
    voiced: Vec<f32>,
    loudness: Option<Vec<f32>>,
}

impl Case {
    fn read(folder: &Path) -> Self {
        let (_, f0_hz) = array(folder, "f0_hz").unwrap();
        let voiced = array(folder, "voiced").map_or_else(
            || f0_hz.iter().map(|&f0| f32::from(f0 > 0.0)).collect(),
            |(_, voiced)| voiced,
        );
        let frames = f0_hz.len();
        let (shape, mut content) = array(folder, "content").unwrap();
        if shape[1] == frames {
            // [1, T, C] to [1, C, T].
            let channels = shape[2];
            content = (0..channels * frames)
                .map(|n| content[(n % frames) * channels + n / frames])
                .collect();
        }
        Self {
            frames,
            content,
            f0_hz,
            voiced,
            loudness: array(folder, "loudness").map(|(_, loudness)| loudness),
        }
    }

    fn inputs(&self, spec: &VitsSpec, mix: Vec<f32>, auto_f0: bool) -> VoiceInputs<Tensor<B, 3>> {
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
}

fn one_speaker(spec: &VitsSpec, frames: usize, speaker: usize) -> Vec<f32> {
    let mut mix = vec![0.0; spec.speakers * frames];
    mix[speaker * frames..(speaker + 1) * frames].fill(1.0);
    mix
}

#[test]
fn imported_voices_sing_as_where_they_come_from() {
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (spec, voice) = load(&folder);
        let case = Case::read(&folder);
        let mut eval = Compute::default();
        for speaker in 0..spec.speakers {
            let Some((_, expected)) = array(&folder, &format!("audio_speaker{speaker}")) else {
                continue;
            };
            let mix = one_speaker(&spec, case.frames, speaker);
            let (audio, _) = voice.sing(&mut eval, &case.inputs(&spec, mix, false));
            let error = relative(&expected, &to_vec(audio));
            println!("{name} speaker {speaker}: {error:.2e}");
            assert!(error < 1e-3, "{name} speaker {speaker}: {error}");
        }
        if let Some((_, weights)) = array(&folder, "speaker_mix") {
            let (_, expected) = array(&folder, "audio_speaker_mix").unwrap();
            let mix = (0..spec.speakers * case.frames)
                .map(|n| weights[(n % case.frames) * spec.speakers + n / case.frames])
                .collect();
            let (audio, _) = voice.sing(&mut eval, &case.inputs(&spec, mix, false));
            let error = relative(&expected, &to_vec(audio));
            println!("{name} mix: {error:.2e}");
            assert!(error < 1e-3, "{name} mix: {error}");
        }
        if let Some((_, expected)) = array(&folder, "audio_speaker1_auto_f0") {
            let mix = one_speaker(&spec, case.frames, 1);
            let (audio, f0) = voice.sing(&mut eval, &case.inputs(&spec, mix, true));
            let error = relative(&expected, &to_vec(audio));
            println!("{name} auto F0 audio: {error:.2e}");
            assert!(error < 1e-3, "{name} auto F0: {error}");
            let Some((_, expected)) = array(&folder, "auto_f0_hz") else {
                continue;
            };
            let found = to_vec(f0);
            let mut cents: Vec<f64> = expected
                .iter()
                .zip(&found)
                .filter(|(a, b)| **a > 1.0 && **b > 1.0)
                .map(|(a, b)| 1200.0 * f64::from(a / b).log2().abs())
                .collect();
            cents.sort_by(f64::total_cmp);
            // A voice that was not trained may predict frequencies below 0, which have no cents.
            if let Some(median) = cents.get(cents.len() / 2) {
                println!("{name} auto F0: {median:.4} cents");
                assert!(*median < 0.1, "{name}: {cents:?}");
            }
            let error = relative(&expected, &found);
            println!("{name} auto F0: {error:.2e}");
            assert!(error < 5e-5, "{name} auto F0: {error}");
        }
    }
}

/// Inputs of a graph for frames `from..to` of a case, with noise off.
fn graph_inputs(
    case: &Case,
    spec: &VitsSpec,
    mix: &[f32],
    auto_f0: bool,
    (from, to): (usize, usize),
) -> Vec<NamedTensor> {
    let frames = to - from;
    let rows = |values: &[f32], channels: usize| -> Vec<f32> {
        // [C, T] to [T, C] of the frames wanted.
        (from..to)
            .flat_map(|t| (0..channels).map(move |c| values[c * case.frames + t]))
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
                    rows(&case.content, spec.content_channels),
                ),
                "speaker_mix" => (vec![1, frames, spec.speakers], rows(mix, spec.speakers)),
                "f0_hz" => (vec![1, frames], case.f0_hz[from..to].to_vec()),
                "voiced" => (vec![1, frames], case.voiced[from..to].to_vec()),
                "loudness" => (vec![1, frames], loudness(case.loudness.as_deref().unwrap())),
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

fn output(results: &[NamedTensor], name: &str) -> Vec<f32> {
    results
        .iter()
        .find(|result| result.name == name)
        .unwrap()
        .data
        .clone()
}

#[test]
fn exported_graphs_sing_as_where_they_come_from_whole_and_streamed() {
    if !runtime_is_there() {
        return;
    }
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (spec, voice) = load(&folder);
        let case = Case::read(&folder);
        let whole = voice.export_whole(&spec);
        let streaming = voice.export_streaming(&spec);
        for (speaker, auto_f0) in [(0, false), (2, false), (1, true)] {
            let reference = if auto_f0 {
                format!("audio_speaker{speaker}_auto_f0")
            } else {
                format!("audio_speaker{speaker}")
            };
            let Some((_, expected)) = array(&folder, &reference) else {
                continue;
            };
            let mix = one_speaker(&spec, case.frames, speaker);
            let all = (0, case.frames);
            let inputs = graph_inputs(&case, &spec, &mix, auto_f0, all);
            let found = output(&evaluate(&whole.bytes, &inputs).unwrap(), "audio");
            let error = relative(&expected, &found);
            println!("{name} {reference}: whole graph {error:.2e}");
            assert!(error < 1e-3, "{name} {reference}: {error}");

            let mut graph = Evaluation::new(&streaming.bytes).unwrap();
            for step in [case.frames, 10, 7, 3] {
                let states = &streaming.spec.states;
                let found = stream(&mut graph, states, &case, &spec, &mix, auto_f0, step);
                // What is late has not come out yet at the end.
                let there = expected.len() - streaming.delay_samples;
                let found = &found[streaming.delay_samples..];
                let error = relative(&expected[..there], &found[..there]);
                println!("{name} {reference}: streamed by {step} {error:.2e}");
                assert!(error < 1e-3, "{name} {reference} by {step}: {error}");
            }
        }
    }
}

/// Streams a case in steps, each with all of the future there is.
fn stream(
    graph: &mut Evaluation,
    states: &[StateTensor],
    case: &Case,
    spec: &VitsSpec,
    mix: &[f32],
    auto_f0: bool,
    step: usize,
) -> Vec<f32> {
    let mut states = Carried::new(states);
    let mut audio = Vec::new();
    for from in (0..case.frames).step_by(step) {
        let fresh = step.min(case.frames - from);
        let mut inputs = graph_inputs(case, spec, mix, auto_f0, (from, case.frames));
        inputs.push(NamedTensor {
            name: "lookahead_frames".to_owned(),
            shape: vec![1, 1],
            data: vec![(case.frames - from - fresh) as f32],
        });
        inputs.extend_from_slice(states.inputs());
        let results = states.take(graph.run(&inputs).unwrap());
        let made = output(&results, "audio");
        assert_eq!(made.len(), fresh * spec.hop_samples());
        audio.extend(made);
    }
    audio
}

fn import_args(folder: &Path, output: &Path) -> import::Args {
    import::Args::new(checkpoint(folder), output.to_path_buf())
}

#[test]
fn imported_packages_sing_through_the_engine_as_where_they_come_from() {
    if !runtime_is_there() {
        return;
    }
    let temporary = std::env::temp_dir().join(format!("timbra-import-{}", std::process::id()));
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (spec, _) = load(&folder);
        let case = Case::read(&folder);
        let place = temporary.join(&name);
        std::fs::create_dir_all(place.join("encoders")).unwrap();
        write_some_encoder(
            &place.join("encoders/encoder.timbra"),
            spec.content_channels,
        );
        let path = place.join("voice.timbra");
        import::run(&import_args(&folder, &path)).unwrap();
        LoadedVoice::load(&path, &[]).expect("as it is imported");

        // The whole clip in one step, without noise, and with a frame of the graph every 10 ms, so that what goes in is
        // what the reference was made from.
        let package = VoicePackage::read(&path).unwrap();
        let mut manifest = package.manifest.clone();
        let graph = manifest.synthesis.file.clone();
        let files = [(graph.clone(), package.file(&graph).unwrap().to_vec())].into();
        manifest.hop_samples = spec.hop_samples();
        manifest.model_rate_hz = 100 * spec.hop_samples() as u32;
        let step = manifest.step.as_mut().unwrap();
        (step.frames, step.lookahead_frames) = (case.frames, 0);
        (step.noise_scale, step.source_noise_scale) = (0.0, 0.0);
        step.continuous_f0 = false;
        let delay = step.delay_samples;
        manifest.delay_samples = step.lag_samples();
        let path = place.join("whole.timbra");
        write_voice(&path, &manifest, &files, Form::File).unwrap();
        let voice = LoadedVoice::load(&path, &[]).unwrap();
        let lag = voice.timing().synthesis_delay_samples;

        // RVC's packages have the one speaker they are used with; so-vits-svc's can find F0 themselves.
        for (reference, speaker, auto_f0) in [
            ("audio_speaker0", 0, 0.0),
            ("audio_speaker1", 1, 0.0),
            ("audio_speaker1_auto_f0", 1, 1.0),
        ] {
            let Some((_, expected)) = array(&folder, reference) else {
                continue;
            };
            let mut synthesis = Synthesis::new(&voice).unwrap();
            let mut found = Vec::new();
            for k in 0..3 * case.frames + 40 {
                let t = k.min(case.frames - 1);
                let content: Vec<f32> = (0..spec.content_channels)
                    .map(|c| case.content[c * case.frames + t])
                    .collect();
                let mut speaker_mix = [0.0; 8];
                speaker_mix[speaker] = 1.0;
                let frame = SynthesisFrame {
                    index: k as u64,
                    content: content[..].into(),
                    f0_hz: case.f0_hz[t],
                    loudness_db: case
                        .loudness
                        .as_ref()
                        .map_or(-120.0, |loudness| 20.0 * loudness[t].log10()),
                    speaker_mix,
                    formant_semitones: 0.0,
                    auto_f0,
                    noise_scale: 1.0,
                    seed: 0,
                };
                found.extend_from_slice(synthesis.run(&frame).unwrap());
            }
            let hop = spec.hop_samples();
            let found = &found[hop + lag..];
            let there = expected.len() - delay;
            let error = relative(&expected[..there], &found[..there]);
            println!("{name} {reference} through the engine: {error:.2e}");
            assert!(error < 1e-3, "{name} {reference}: {error}");
        }
    }
    let _ = std::fs::remove_dir_all(temporary);
}

#[test]
fn the_flow_undoes_itself_and_the_posterior_reads_a_spectrogram() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sovits_fork");
    let (spec, voice) = load(&folder);
    let weights = read_state_dict(&checkpoint(&folder)).unwrap();
    let device = Default::default();
    let mut eval = Compute::<B>::default();
    let frames = 17;
    let random = |channels: usize, seed: u64| {
        let values = (0..channels * frames)
            .map(|n| timbra_dsp::noise::uniform(seed, n as u64))
            .collect();
        from_vec::<B, 3>(values, [1, channels, frames], &device)
    };
    let speaker = random(spec.speaker_channels, 1);
    let posterior = Posterior::load(&mut CheckpointWeights(&weights), &spec, &device).unwrap();
    let spectrum = random(spec.spectrum_bins, 2);
    let (latent, deviation) = posterior.statistics(&mut eval, &spectrum, &speaker);
    assert_eq!(latent.dims(), [1, spec.inter_channels, frames]);
    assert!(to_vec(deviation).iter().all(|value| value.is_finite()));
    let there = voice.flow.forward(&mut eval, &latent, &speaker);
    let back = voice.flow.inverse(&mut eval, &there, &speaker);
    assert!(
        relative(&to_vec(latent.clone()), &to_vec(there)) > 1e-3,
        "it does something"
    );
    let error = relative(&to_vec(latent), &to_vec(back));
    assert!(error < 1e-5, "{error}");
}
