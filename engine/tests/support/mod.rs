//! Voices made for tests.
#![allow(dead_code, reason = "every test binary uses a part")]

pub mod shown;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use timbra_engine::LoadedVoice;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{GraphSpec, Manifest};
use timbra_voice::onnx_writer::{Attr, GraphBuilder};
use timbra_voice::package::{self, Form};

/// Where ONNX Runtime is on a machine that has it in no bundle.
const RUNTIME: &str = "ORT_DYLIB_PATH";

/// Whether the tests that run graphs can run. On a laptop without ONNX Runtime they are skipped, in CI they fail.
pub fn runtime_is_there() -> bool {
    match timbra_engine::onnx::ensure_runtime() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("SKIPPED: {error} (the tests look at {RUNTIME})");
            false
        }
    }
}

/// A folder of this test's own, empty.
pub fn folder(test: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!(
        "timbra-engine-{}-{test}-{count}",
        std::process::id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes and loads an identity voice.
pub fn identity(test: &str, lookahead_frames: usize, delay_samples: usize) -> Arc<LoadedVoice> {
    let path = folder(test).join("identity.timbra");
    write_identity(&path, lookahead_frames, delay_samples);
    LoadedVoice::load(&path, &[]).unwrap()
}

/// Writes and loads an identity voice that makes `step.0` frames at a time and sees `step.1` of the future.
pub fn identity_in_steps(
    test: &str,
    delay_samples: usize,
    step: (usize, usize),
) -> Arc<LoadedVoice> {
    let path = folder(test).join("identity.timbra");
    let voice = IdentityVoice {
        name: "identity".to_owned(),
        lookahead_frames: 3,
        delay_samples,
        step: Some(step),
    };
    voice.write(&path, Form::File).unwrap();
    LoadedVoice::load(&path, &[]).unwrap()
}

/// Writes an identity voice.
pub fn write_identity(path: &Path, lookahead_frames: usize, delay_samples: usize) -> String {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    IdentityVoice {
        name,
        lookahead_frames,
        delay_samples,
        step: None,
    }
    .write(path, Form::File)
    .unwrap()
}

/// Something like a voice: a gliding tone with overtones and breath, −20 dBFS or so.
pub fn song(rate_hz: u32, seconds: f32) -> Vec<f32> {
    let total = (rate_hz as f32 * seconds) as usize;
    let mut phase = 0.0f64;
    let mut breath = vec![0.0; total];
    timbra_dsp::noise::fill(7, 0, &mut breath);
    (0..total)
        .map(|index| {
            let time_s = index as f64 / f64::from(rate_hz);
            let f0_hz = 220.0 + 60.0 * (time_s * 1.7).sin();
            phase += f0_hz / f64::from(rate_hz);
            let tone: f64 = (1..6)
                .map(|k| (phase * std::f64::consts::TAU * f64::from(k)).sin() / f64::from(k))
                .sum();
            (0.1 * tone) as f32 + 0.005 * breath[index]
        })
        .collect()
}

/// Writes an identity voice whose synthesis graph is replaced; `inputs` are those of the graph.
pub fn write_with_synthesis(
    path: &Path,
    inputs: &[&str],
    graph: Vec<u8>,
    change: impl Fn(&mut Manifest),
) {
    let voice = IdentityVoice {
        lookahead_frames: 3,
        ..IdentityVoice::default()
    };
    let (mut manifest, mut files) = voice.parts();
    manifest.name = path.file_stem().unwrap().to_string_lossy().into_owned();
    manifest.synthesis = GraphSpec {
        file: "synthesis.onnx".to_owned(),
        inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
        outputs: vec!["audio".to_owned()],
        states: Vec::new(),
        cpu_weights: None,
    };
    files.insert("synthesis.onnx".to_owned(), graph);
    change(&mut manifest);
    package::write_voice(path, &manifest, &files, Form::File).unwrap();
}

/// A graph builder with `content` in and `audio` out; gives the name of the flattened content.
pub fn flattened() -> (GraphBuilder, String) {
    let mut graph = GraphBuilder::new("synthesis");
    graph.input("content", &[1.into(), "T".into(), 160.into()]);
    graph.output("audio", &[1.into(), "samples".into()]);
    let shape = graph.i64s(&[1, -1]);
    let flat = graph.op("Reshape", &["content", &shape], vec![]);
    (graph, flat)
}

/// Identity as long as samples stay below 0.5; infinite numbers above.
pub fn fragile_graph() -> Vec<u8> {
    let (mut graph, flat) = flattened();
    let half = graph.f32s(&[], &[0.5]);
    let magnitude = graph.op("Abs", &[&flat], vec![]);
    let room = graph.op("Sub", &[&half, &magnitude], vec![]);
    let room = graph.op("Relu", &[&room], vec![]);
    let inverse = graph.op("Div", &[&room, &room], vec![]);
    graph.node("Mul", &[&flat, &inverse], &["audio"], vec![]);
    graph.finish()
}

/// Identity with so much idle work per frame that it takes about `milliseconds` on a core of 2020.
pub fn slow_graph(milliseconds: usize) -> Vec<u8> {
    let (mut graph, flat) = flattened();
    let none = idle_work(&mut graph, &flat, milliseconds);
    graph.node("Add", &[&flat, &none], &["audio"], vec![]);
    graph.finish()
}

/// Zero, found slowly: the name of a number that depends on `input`, of two axes.
fn idle_work(graph: &mut GraphBuilder, input: &str, milliseconds: usize) -> String {
    let most = || vec![Attr::Ints("axes", vec![0, 1]), Attr::Int("keepdims", 1)];
    let first = graph.op("ReduceMax", &[input], most());
    let many = graph.i64s(&[1, 100_000 * milliseconds as i64]);
    let wide = graph.op("Expand", &[&first, &many], vec![]);
    let mut work = graph.op("Sin", &[&wide], vec![]);
    for _ in 0..2 {
        work = graph.op("Sin", &[&work], vec![]);
    }
    let one = graph.op("ReduceMax", &[&work], most());
    let nothing = graph.f32s(&[], &[0.0]);
    graph.op("Mul", &[&one, &nothing], vec![])
}

/// Writes and loads an identity voice of `step`, with a content encoder that takes about `milliseconds` a frame.
pub fn slowly_heard(
    test: &str,
    milliseconds: usize,
    step: Option<(usize, usize)>,
) -> Arc<LoadedVoice> {
    let voice = IdentityVoice {
        lookahead_frames: 0,
        step,
        ..IdentityVoice::default()
    };
    let (mut manifest, mut files) = voice.parts();
    let mut graph = GraphBuilder::new("content");
    graph.input("audio", &[1.into(), "samples".into()]);
    graph.output("content", &[1.into(), "T".into(), 160.into()]);
    let none = idle_work(&mut graph, "audio", milliseconds);
    let audio = graph.op("Add", &["audio", &none], vec![]);
    let shape = graph.i64s(&[1, -1, 160]);
    graph.node("Reshape", &[&audio, &shape], &["content"], vec![]);
    let graph = graph.finish();
    manifest.encoder.id = format!("slow-{milliseconds}");
    manifest.encoder.sha256 = timbra_voice::package::sha256_hex(&graph);
    files.insert("content.onnx".to_owned(), graph);
    let path = folder(test).join("slow.timbra");
    package::write_voice(&path, &manifest, &files, Form::File).unwrap();
    LoadedVoice::load(&path, &[]).unwrap()
}

/// Audio that shows the controls: sample i of a hop is 0.01 · f0_hz + formant_semitones + 10 · mix[1] + noise · 0.
pub fn steered_graph(speakers: usize) -> Vec<u8> {
    let (mut graph, flat) = flattened();
    graph.input("f0_hz", &[1.into(), "T".into()]);
    graph.input("loudness", &[1.into(), "T".into()]);
    graph.input("speaker_mix", &[1.into(), "T".into(), speakers.into()]);
    graph.input("formant_semitones", &[1.into(), "T".into()]);
    graph.input("noise", &[1.into(), "samples".into()]);
    let (zero, ten) = (graph.f32s(&[], &[0.0]), graph.f32s(&[], &[10.0]));
    let hundredth = graph.f32s(&[], &[0.01]);
    let f0 = graph.op("Mul", &["f0_hz", &hundredth], vec![]);
    let second = graph.i64s(&[1]);
    let weight = graph.op(
        "Gather",
        &["speaker_mix", &second],
        vec![Attr::Int("axis", 2)],
    );
    let line = graph.i64s(&[1, -1]);
    let weight = graph.op("Reshape", &[&weight, &line], vec![]);
    let weight = graph.op("Mul", &[&weight, &ten], vec![]);
    let sum = graph.op("Add", &[&f0, "formant_semitones"], vec![]);
    let sum = graph.op("Add", &[&sum, &weight], vec![]);
    let quiet = graph.op("Mul", &["loudness", &zero], vec![]);
    let sum = graph.op("Add", &[&sum, &quiet], vec![]);
    let unheard = graph.op("Mul", &[&flat, &zero], vec![]);
    let breath = graph.op("Mul", &["noise", &zero], vec![]);
    let base = graph.op("Add", &[&unheard, &breath], vec![]);
    graph.node("Add", &[&base, &sum], &["audio"], vec![]);
    graph.finish()
}

/// Fails with the first difference; whole signals are not printed.
#[track_caller]
pub fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        let count = found.iter().zip(expected).filter(|(a, b)| a != b).count();
        panic!(
            "{what}: sample {at} is {} instead of {}; {count} samples differ",
            found[at], expected[at]
        );
    }
}
