//! What holds for manifests and graphs whatever they say. The fuzz targets run it, and the tests of the crate.
#![allow(dead_code, reason = "every target uses a part")]
#![allow(clippy::unwrap_used, reason = "a check fails by panicking")]

#[path = "folder.rs"]
mod folder;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use timbra_engine::onnx::{Graph, GraphShape, GraphStream, Slot};
use timbra_engine::{LatencyPlan, Tier, VoiceTiming};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::{CpuWeights, Manifest, StateTensor};
use timbra_voice::onnx_check::OPERATORS;
use timbra_voice::onnx_writer::{Attr, GraphBuilder};
use timbra_voice::package::{self, EncoderPackage, Form, VoicePackage};
use timbra_voice::tables::{self, Table};

/// The voice whose manifest and graphs are changed: both graphs carry state, and there are tables.
pub fn original() -> (Manifest, BTreeMap<String, Vec<u8>>) {
    let voice = IdentityVoice {
        lookahead_frames: 2,
        delay_samples: 40,
        ..IdentityVoice::default()
    };
    let (mut manifest, mut files) = voice.parts();
    let table = Table {
        rows: 1,
        channels: 160,
        data: vec![0.5; 160],
    };
    let tables = tables::write(&BTreeMap::from([("anybody".to_owned(), table)])).unwrap();
    files.insert("clusters.safetensors".to_owned(), tables);
    manifest.clusters = Some("clusters.safetensors".to_owned());
    (manifest, files)
}

/// Bytes as the manifest beside files that fit the original's.
pub fn manifest(bytes: &[u8]) {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let folder = PLACE.get_or_init(|| {
        let folder = folder::folder("manifest");
        let (manifest, files) = original();
        package::write_voice(&folder.join("voice"), &manifest, &files, Form::Folder).unwrap();
        std::fs::create_dir_all(folder.join("encoder")).unwrap();
        std::fs::write(folder.join("encoder/content.onnx"), &files["content.onnx"]).unwrap();
        folder
    });
    std::fs::write(folder.join("voice/voice.json"), bytes).unwrap();
    std::fs::write(folder.join("encoder/encoder.json"), bytes).unwrap();
    let read = package::read_manifest(&folder.join("voice"));
    if let Ok((manifest, _)) = &read {
        let timing = VoiceTiming::of(manifest);
        for (tier, host_rate_hz) in [(Tier::Live, 44_100), (Tier::Render, 192_000)] {
            let plan = LatencyPlan::new(&timing, tier, host_rate_hz, 8192).unwrap();
            assert!(plan.latency_samples < 6 * host_rate_hz + 8192);
            assert!(plan.chain_delay_samples <= plan.latency_samples);
            assert!(plan.tail_samples < 34 * host_rate_hz);
        }
    }
    match VoicePackage::read(&folder.join("voice")) {
        Ok(package) => {
            assert_eq!(package.manifest, read.unwrap().0);
            assert!(!package.synthesis_graph().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match EncoderPackage::read(&folder.join("encoder")) {
        Ok(package) => assert!(!package.graph().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bytes as a graph of a voice: the synthesis when they name one, the content encoder otherwise.
pub fn graph(bytes: &[u8]) {
    let names = |name: &str| {
        bytes
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    let state = |name: &str, samples: usize| {
        let state = StateTensor {
            name: name.to_owned(),
            shape: vec![1, samples],
            ring: false,
        };
        names(name).then_some(state).into_iter().collect()
    };
    let shape = if names("synthesis") {
        let inputs = [
            ("content", vec![1, 1, 160]),
            ("f0_hz", vec![1, 1]),
            ("loudness", vec![1, 1]),
            ("speaker_mix", vec![1, 1, 2]),
            ("noise", vec![1, 160]),
        ];
        GraphShape {
            frames: 1,
            counts: (1, 1),
            owner: "voice".to_owned(),
            file: "synthesis.onnx".to_owned(),
            inputs: inputs
                .iter()
                .filter(|(name, _)| names(name))
                .map(|(name, shape)| Slot::new(name, shape))
                .collect(),
            output: Slot::new("audio", &[1, 160]),
            states: state("tail", 40),
            cpu_weights: None,
        }
    } else {
        GraphShape {
            frames: 1,
            counts: (1, 1),
            owner: "encoder".to_owned(),
            file: "content.onnx".to_owned(),
            inputs: vec![Slot::new("audio", &[1, 160])],
            output: Slot::new("content", &[1, 1, 160]),
            states: state("history", 320),
            cpu_weights: Some(CpuWeights::Int8),
        }
    };
    play(shape, bytes);
}

/// Bytes as a recipe of operators on the content: graphs that are well formed, of shapes and numbers nobody would choose.
pub fn operators(bytes: &[u8]) {
    /// Extents, axes, places and factors, usual and not.
    const NUMBERS: [i64; 16] = [
        0,
        1,
        -1,
        2,
        3,
        -2,
        4,
        5,
        40,
        159,
        160,
        161,
        4096,
        1 << 40,
        i64::MAX,
        i64::MIN,
    ];
    let mut rest = bytes.iter();
    let mut next = || rest.next().map(|&byte| usize::from(byte));
    let mut graph = GraphBuilder::new("synthesis");
    graph.input("content", &[1.into(), "T".into(), 160.into()]);
    graph.output("audio", &[1.into(), "samples".into()]);
    let line = graph.i64s(&[1, -1]);
    let flat = graph.op("Reshape", &["content", &line], vec![]);
    let weights: Vec<f32> = (0..160).map(|n| 0.01 * n as f32).collect();
    let mut floats = vec![
        flat.clone(),
        "content".to_owned(),
        graph.f32s(&[160], &weights),
        graph.f32s(&[160, 1], &weights),
        graph.f32s(&[], &[f32::MAX]),
    ];
    let mut wholes = vec![graph.i64s(&[0, 1, 2]), graph.i64s(&[])];
    let mut truths = Vec::new();
    while let Some(op) = next().filter(|_| floats.len() < 40) {
        let op = OPERATORS[op % OPERATORS.len()];
        let mut pick = |list: &[String]| list[next().unwrap_or(0) % list.len()].clone();
        let (first, second) = (pick(&floats), pick(&floats));
        let some: Vec<i64> = {
            let count = next().unwrap_or(0) % 5;
            (0..count)
                .map(|_| NUMBERS[next().unwrap_or(0) % NUMBERS.len()])
                .collect()
        };
        let one = NUMBERS[next().unwrap_or(0) % NUMBERS.len()];
        let axis = |name| vec![Attr::Int(name, one)];
        let mut constant = |graph: &mut GraphBuilder| {
            let count = next().unwrap_or(0) % 5;
            let numbers: Vec<i64> = (0..count)
                .map(|_| NUMBERS[next().unwrap_or(0) % NUMBERS.len()])
                .collect();
            graph.i64s(&numbers)
        };
        match op {
            "Add" | "Div" | "MatMul" | "Max" | "Min" | "Mul" | "Pow" | "Sub" | "Sum" => {
                floats.push(graph.op(op, &[&first, &second], vec![]));
            }
            "Mod" => floats.push(graph.op(op, &[&first, &second], vec![Attr::Int("fmod", 1)])),
            "Equal" | "Greater" | "Less" => truths.push(graph.op(op, &[&first, &second], vec![])),
            "Where" => {
                if let Some(truth) = truths.last() {
                    floats.push(graph.op(op, &[truth, &first, &second], vec![]));
                }
            }
            "Concat" => floats.push(graph.op(op, &[&first, &second], axis("axis"))),
            "Gather" | "GatherElements" => {
                let places = wholes[some.len() % wholes.len()].clone();
                floats.push(graph.op(op, &[&first, &places], axis("axis")));
            }
            "Cast" => wholes.push(graph.op(op, &[&first], vec![Attr::Int("to", 7)])),
            "Shape" => {
                let ends = vec![Attr::Int("start", one), Attr::Int("end", some.len() as i64)];
                wholes.push(graph.op(op, &[&first], ends));
            }
            "Range" => {
                let mut number = |value: i64| {
                    let name = format!("range_{}_{}", floats.len(), graph.i64s(&[]));
                    graph.constant_i64(&name, &[], &[value]);
                    name
                };
                let ends = some.get(..3).map(|some| [some[0], some[1], some[2]]);
                let [from, to, by] = ends.unwrap_or([0, one, 1]).map(&mut number);
                wholes.push(graph.op(op, &[&from, &to, &by], vec![]));
            }
            "ReduceMax" | "ReduceMean" => {
                let keep = Attr::Int("keepdims", one & 1);
                floats.push(graph.op(op, &[&first], vec![Attr::Ints("axes", some), keep]));
            }
            "CumSum" | "Expand" | "Pad" | "Reshape" | "Squeeze" | "Unsqueeze" => {
                let list = graph.i64s(&some);
                floats.push(graph.op(op, &[&first, &list], vec![]));
            }
            "Slice" => {
                let start = graph.i64s(&some);
                let [end, axes, strides] = [(); 3].map(|()| constant(&mut graph));
                floats.push(graph.op(op, &[&first, &start, &end, &axes, &strides], vec![]));
            }
            unary => floats.push(graph.op(unary, &[&first], vec![])),
        }
    }
    let last = floats.last().unwrap_or(&flat);
    let top = graph.op("ReduceMax", &[last], vec![]);
    let top = graph.op("Reshape", &[&top, &line], vec![]);
    graph.node("Add", &[&flat, &top], &["audio"], vec![]);
    let shape = GraphShape {
        frames: 1,
        counts: (1, 1),
        owner: "voice".to_owned(),
        file: "synthesis.onnx".to_owned(),
        inputs: vec![Slot::new("content", &[1, 1, 160])],
        output: Slot::new("audio", &[1, 160]),
        states: Vec::new(),
        cpu_weights: None,
    };
    play(shape, &graph.finish());
}

/// Loads a graph and runs it once on the largest numbers.
fn play(shape: GraphShape, bytes: &[u8]) {
    if let Ok(graph) = Graph::load(shape, bytes) {
        let mut stream = GraphStream::new(&graph).unwrap();
        for index in 0..graph.shape().inputs.len() {
            stream.input(index).fill(f32::MAX);
        }
        // A hop may fail; it must not do more.
        let _ = stream.run();
        stream.reset().unwrap();
    }
}
