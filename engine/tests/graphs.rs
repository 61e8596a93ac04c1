//! Claims about graphs: wrong ones are refused when they are loaded, and one that goes wrong while it plays does no
//! harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;

use timbra_engine::offline::{self, Converter};
use timbra_engine::onnx::{Graph, GraphShape, GraphStream, Slot};
use timbra_engine::{Controls, EngineError, LoadedVoice};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{CpuWeights, StateTensor};
use timbra_voice::onnx_precision::{Precision, in_precision};
use timbra_voice::onnx_writer::{Attr, GraphBuilder};
use timbra_voice::package::{Form, write_voice};

const SYNTHESIS: [&str; 6] = [
    "content",
    "f0_hz",
    "loudness",
    "speaker_mix",
    "formant_semitones",
    "noise",
];

fn refusal(test: &str, graph: Vec<u8>, inputs: &[&str], states: Vec<StateTensor>) -> EngineError {
    let path = support::folder(test).join("v.timbra");
    support::write_with_synthesis(&path, inputs, graph, |manifest| {
        manifest.synthesis.states = states.clone()
    });
    LoadedVoice::load(&path, &[]).unwrap_err()
}

#[test]
fn a_graph_that_is_not_what_the_manifest_says_is_refused_with_both() {
    if !support::runtime_is_there() {
        return;
    }
    let identity = || {
        let (mut graph, flat) = support::flattened();
        graph.node("Identity", &[&flat], &["audio"], vec![]);
        graph.finish()
    };
    let error = refusal("missing-input", identity(), &["content", "f0_hz"], vec![]);
    assert!(
        matches!(&error, EngineError::GraphMismatch { expected, .. } if expected.contains("f0_hz")),
        "{error}"
    );
    let error = refusal(
        "extra-input",
        support::steered_graph(1),
        &["content"],
        vec![],
    );
    assert!(
        matches!(&error, EngineError::GraphMismatch { found, .. } if found.contains("also")),
        "{error}"
    );
    let error = refusal("wrong-shape", support::steered_graph(3), &SYNTHESIS, vec![]);
    assert!(
        matches!(&error, EngineError::GraphMismatch { what, .. } if what.contains("speaker_mix")),
        "{error}"
    );
    let state = StateTensor {
        name: "memory".into(),
        shape: vec![1, 4],
        ring: false,
    };
    let error = refusal("missing-state", identity(), &["content"], vec![state]);
    assert!(
        matches!(&error, EngineError::GraphMismatch { expected, .. } if expected.contains("memory")),
        "{error}"
    );
    let error = refusal("no-graph", b"nonsense".to_vec(), &["content"], vec![]);
    assert!(
        matches!(
            &error,
            EngineError::Graph {
                action: "loaded",
                ..
            }
        ),
        "{error}"
    );

    // The right type, but half of the samples.
    let (mut graph, flat) = support::flattened();
    let (start, end, axis) = (graph.i64s(&[0]), graph.i64s(&[80]), graph.i64s(&[1]));
    graph.node("Slice", &[&flat, &start, &end, &axis], &["audio"], vec![]);
    let error = refusal("half", graph.finish(), &["content"], vec![]);
    assert!(error.to_string().contains("80"), "{error}");

    let (mut graph, flat) = support::flattened();
    let zero = graph.f32s(&[], &[0.0]);
    graph.node("Div", &[&flat, &zero], &["audio"], vec![]);
    let error = refusal("infinite", graph.finish(), &["content"], vec![]);
    assert!(matches!(error, EngineError::NotFinite { .. }), "{error}");
}

#[test]
fn a_missing_encoder_is_named_and_found_in_the_encoders_folder() {
    if !support::runtime_is_there() {
        return;
    }
    use timbra_voice::identity::IdentityVoice;
    use timbra_voice::manifest::{EncoderManifest, FORMAT_VERSION, TrainingSummary};
    use timbra_voice::package::{self, Form};

    let folder = support::folder("encoder");
    let voice = IdentityVoice {
        lookahead_frames: 5,
        delay_samples: 3,
        ..IdentityVoice::default()
    };
    let (manifest, mut files) = voice.parts();
    let graph = files.remove("content.onnx").unwrap();
    let path = folder.join("v.timbra");
    package::write_voice(&path, &manifest, &files, Form::File).unwrap();
    let error = LoadedVoice::load(&path, &[]).unwrap_err();
    assert!(
        matches!(&error, EngineError::EncoderMissing { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains(&manifest.encoder.sha256),
        "{error}"
    );

    std::fs::create_dir(folder.join("encoders")).unwrap();
    let encoder = EncoderManifest {
        format_version: FORMAT_VERSION,
        encoder: manifest.encoder,
        licence: "CC0-1.0".into(),
        attribution: vec![],
        training: TrainingSummary::default(),
        files: Default::default(),
    };
    let files = [("content.onnx".to_owned(), graph)].into();
    package::write_encoder(
        &folder.join("encoders/five.timbra"),
        &encoder,
        &files,
        Form::File,
    )
    .unwrap();
    LoadedVoice::load(&path, &[]).unwrap();
}

#[test]
fn a_hop_that_is_not_a_number_is_replaced_and_counted() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("fragile").join("fragile.timbra");
    support::write_with_synthesis(&path, &["content"], support::fragile_graph(), |_| {});
    let voice = LoadedVoice::load(&path, &[]).unwrap();
    let mut input: Vec<f32> = (0..16_000)
        .map(|index| 0.3 * (index as f32 * 0.05).sin())
        .collect();
    input[8_000] = 0.9;
    let mut converter = Converter::new(&voice, 16_000).unwrap();
    let mut output = Vec::new();
    converter
        .push(&input, &|_| Controls::default(), &mut output)
        .unwrap();
    assert_eq!(converter.status().replaced_frames, 1);
    converter
        .finish(&|_| Controls::default(), &mut output)
        .unwrap();
    assert!(output.iter().all(|sample| sample.is_finite()));
    support::assert_same(&output[..8_000], &input[..8_000], "before");
    support::assert_same(&output[8_320..], &input[8_320..], "after");
    let steepest = output
        .windows(2)
        .map(|pair| (pair[0] - pair[1]).abs())
        .fold(0.0, f32::max);
    assert!(steepest < 0.05, "{steepest}");
}

/// Converts a steady tone with a voice whose audio shows its controls.
fn shown(path: &Path, controls: impl Fn(u64) -> Controls, seconds: f32) -> Vec<f32> {
    let voice = LoadedVoice::load(path, &[]).unwrap();
    let input: Vec<f32> = (0..(16_000.0 * seconds) as usize)
        .map(|index| 0.3 * (index as f32 * std::f32::consts::TAU / 80.0).sin())
        .collect();
    offline::convert(&voice, &input, 16_000, &controls, &mut |_| {}).unwrap()
}

#[test]
fn every_control_reaches_the_graph_at_its_time() {
    if !support::runtime_is_there() {
        return;
    }
    let path = support::folder("steered").join("steered.timbra");
    support::write_with_synthesis(&path, &SYNTHESIS, support::steered_graph(2), |manifest| {
        let mut second = manifest.speakers[0].clone();
        second.name = "second".into();
        second.f0_median_hz = 400.0;
        manifest.speakers.push(second);
    });
    let plain = Controls::default();
    let at = |samples: &[f32], index: usize| samples[index];

    let formant = shown(
        &path,
        |position| Controls {
            formant_semitones: if position < 8000 { 0.0 } else { 5.0 },
            ..plain
        },
        1.0,
    );
    let pitch = at(&formant, 7000);
    assert!((at(&formant, 7839) - pitch).abs() < 1e-3);
    // Frame 50 is at sample 8000, and half of the time around it lies before the step. Its hop begins 160 samples earlier.
    for (index, shift) in [(7840, 2.5), (7999, 2.5), (8000, 5.0)] {
        let shown = at(&formant, index);
        assert!((shown - pitch - shift).abs() < 1e-2, "{index}: {shown}");
    }

    let mut mix = [0.0; 8];
    mix[..2].copy_from_slice(&[0.5, 1.5]);
    let mixed = shown(
        &path,
        |_| Controls {
            speaker_mix: mix,
            ..plain
        },
        0.5,
    );
    // 1.5 is brought into 0..1 before the weights are divided by their sum.
    assert!(
        (at(&mixed, 6000) - pitch - 10.0 / 1.5).abs() < 1e-2,
        "{}",
        at(&mixed, 6000)
    );
}

#[test]
fn graphs_can_be_evaluated_by_themselves() {
    if !support::runtime_is_there() {
        return;
    }
    let mut graph = GraphBuilder::new("sum");
    graph
        .input("a", &["n".into()])
        .input("b", &["n".into()])
        .output("c", &["n".into()]);
    graph.node("Add", &["a", "b"], &["c"], vec![]);
    let tensor = |name: &str, data: &[f32]| timbra_engine::onnx::NamedTensor {
        name: name.into(),
        shape: vec![data.len()],
        data: data.to_vec(),
    };
    let result = timbra_engine::onnx::evaluate(
        &graph.finish(),
        &[tensor("a", &[1.0, 2.0]), tensor("b", &[3.0, 4.0])],
    )
    .unwrap();
    assert_eq!(result, [tensor("c", &[4.0, 6.0])]);
    assert!(timbra_engine::onnx::evaluate(b"", &[]).is_err());
}

#[test]
fn one_encoder_in_other_weights_is_another() {
    if !support::runtime_is_there() {
        return;
    }
    let folder = support::folder("encoder_weights");
    let load = |name: &str, cpu_weights| {
        let identity = IdentityVoice {
            name: name.to_owned(),
            lookahead_frames: 2,
            delay_samples: 80,
            step: None,
        };
        let (mut manifest, files) = identity.parts();
        manifest.encoder.graph.cpu_weights = cpu_weights;
        let path = folder.join(name).with_extension("timbra");
        write_voice(&path, &manifest, &files, Form::File).unwrap();
        LoadedVoice::load(&path, &[]).unwrap()
    };
    let whole = load("whole", None);
    let rounded = load("rounded", Some(CpuWeights::Int8));
    let whole_too = load("whole_too", None);
    assert!(!Arc::ptr_eq(whole.encoder(), rounded.encoder()));
    assert!(Arc::ptr_eq(whole.encoder(), whole_too.encoder()));
}

#[test]
fn a_cpu_plays_a_graph_in_the_weights_that_its_manifest_says() {
    if !support::runtime_is_there() {
        return;
    }
    let mut graph = GraphBuilder::new("product");
    let mut weights = vec![0.0; 256 * 128];
    timbra_dsp::noise::fill(1, 0, &mut weights);
    graph.input("content", &[1.into(), "frames".into(), 256.into()]);
    let matrix = graph.f32s(&[256, 128], &weights);
    graph.node("MatMul", &["content", &matrix], &["audio"], vec![]);
    graph.output("audio", &[1.into(), "frames".into(), 128.into()]);
    let whole = graph.finish();
    let heard = |bytes: &[u8], cpu_weights| -> Vec<f32> {
        let shape = GraphShape {
            frames: 1,
            counts: (1, 1),
            owner: "voice".to_owned(),
            file: "synthesis.onnx".to_owned(),
            inputs: vec![Slot::new("content", &[1, 1, 256])],
            output: Slot::new("audio", &[1, 1, 128]),
            states: Vec::new(),
            cpu_weights,
        };
        let graph = Graph::load(shape, bytes).unwrap();
        let mut stream = GraphStream::new(&graph).unwrap();
        timbra_dsp::noise::fill(2, 0, stream.input(0));
        stream.run().unwrap().to_vec()
    };
    let exact = heard(&whole, None);
    let rounded = heard(&whole, Some(CpuWeights::Int8));
    let written = heard(&in_precision(&whole, Precision::Int8).unwrap(), None);
    assert_eq!(rounded, written);
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let error = length(&mut rounded.iter().zip(&exact).map(|(a, b)| a - b))
        / length(&mut exact.iter().copied());
    assert!(error > 0.0 && error < 0.03, "{error}");
}

#[test]
fn new_rows_of_a_ring_go_over_the_oldest_ones() {
    if !support::runtime_is_there() {
        return;
    }
    let mut graph = GraphBuilder::new("ring");
    graph.input("content", &[1.into(), 2.into(), 4.into()]);
    graph.input("past", &[1.into(), 2.into(), 3.into(), 4.into()]);
    let heads = graph.i64s(&[1, 2, 1, 4]);
    graph.node("Reshape", &["content", &heads], &["past_next"], vec![]);
    let rows = graph.i64s(&[2]);
    let sum = graph.op(
        "ReduceSum",
        &["past", &rows],
        vec![Attr::Int("keepdims", 0)],
    );
    graph.node("Identity", &[&sum], &["audio"], vec![]);
    graph.output("audio", &[1.into(), 2.into(), 4.into()]);
    graph.output("past_next", &[1.into(), 2.into(), "new".into(), 4.into()]);
    let bytes = graph.finish();
    let shape = |ring: bool| GraphShape {
        frames: 1,
        counts: (1, 1),
        owner: "voice".to_owned(),
        file: "synthesis.onnx".to_owned(),
        inputs: vec![Slot::new("content", &[1, 2, 4])],
        output: Slot::new("audio", &[1, 2, 4]),
        states: vec![StateTensor {
            name: "past".to_owned(),
            shape: vec![1, 2, 3, 4],
            ring,
        }],
        cpu_weights: None,
    };
    // What has one row is no whole state of three.
    assert!(Graph::load(shape(false), &bytes).is_err());
    let graph = Graph::load(shape(true), &bytes).unwrap();
    let mut stream = GraphStream::new(&graph).unwrap();
    for _ in 0..2 {
        for step in 0..8u32 {
            let value = |step: u32, n: usize| (1 << step) as f32 * (n + 1) as f32;
            let input = stream.input(0).iter_mut().enumerate();
            input.for_each(|(n, number)| *number = value(step, n));
            let before = step.saturating_sub(3)..step;
            let expected: Vec<f32> = (0..8)
                .map(|n| before.clone().map(|step| value(step, n)).sum())
                .collect();
            assert_eq!(stream.run().unwrap(), expected, "step {step}");
        }
        stream.reset().unwrap();
    }
}
