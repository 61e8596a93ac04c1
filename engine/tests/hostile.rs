//! Claims about manifests and graphs made to do harm: every seed of the fuzz targets, and every input that once broke
//! something, is used or refused in the ordinary way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/checks/engine.rs"]
mod engine;
#[path = "../../fuzz/checks/seeds.rs"]
mod seeds;
mod support;

use std::path::Path;

use timbra_engine::LoadedVoice;
use timbra_voice::identity::IdentityVoice;
use timbra_voice::onnx_check::OPERATORS;
use timbra_voice::onnx_writer::{Attr, GraphBuilder};
use timbra_voice::package::{self, Form};

#[test]
fn manifests_are_read_or_refused() {
    seeds::all("manifest", engine::manifest);
}

#[test]
fn graphs_are_loaded_or_refused() {
    if support::runtime_is_there() {
        seeds::all("graph", engine::graph);
        seeds::all("operators", engine::operators);
    }
}

#[test]
fn every_operator_that_changes_a_shape_is_known_by_its_size() {
    if support::runtime_is_there() {
        let path = support::folder("shaping").join("v.timbra");
        support::write_with_synthesis(&path, &["content"], shaping(), |_| {});
        LoadedVoice::load(&path, &[]).unwrap();
    }
}

#[test]
fn the_shipped_voice_is_within_the_limits() {
    if support::runtime_is_there() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        LoadedVoice::load(&models.join("trio.timbra"), &[models]).unwrap();
    }
}

/// A synthesis graph with every operator that changes a shape.
fn shaping() -> Vec<u8> {
    let (mut graph, flat) = support::flattened();
    let numbers = |graph: &mut GraphBuilder, numbers: &[i64]| graph.i64s(numbers);
    let one = numbers(&mut graph, &[1]);
    let deep = graph.op("Unsqueeze", &[&flat, &one], vec![]);
    let deep = graph.op("Squeeze", &[&deep, &one], vec![]);
    let wide = numbers(&mut graph, &[4, 160]);
    let wide = graph.op("Expand", &[&deep, &wide], vec![]);
    let padding = numbers(&mut graph, &[0, 8, 0, 8]);
    let padded = graph.op("Pad", &[&wide, &padding], vec![]);
    let (start, end) = (numbers(&mut graph, &[8]), numbers(&mut graph, &[-8]));
    let first = numbers(&mut graph, &[i64::MIN]);
    let cut = graph.op("Slice", &[&padded, &start, &end, &one], vec![]);
    let back = numbers(&mut graph, &[-1]);
    let cut = graph.op("Slice", &[&cut, &back, &first, &one, &back], vec![]);
    let joined = graph.op("Concat", &[&cut, &wide], vec![Attr::Int("axis", 0)]);
    let mean = graph.op(
        "ReduceMean",
        &[&joined],
        vec![Attr::Ints("axes", vec![0]), Attr::Int("keepdims", 0)],
    );
    let count = graph.op(
        "Shape",
        &[&joined],
        vec![Attr::Int("start", 0), Attr::Int("end", 1)],
    );
    let none = numbers(&mut graph, &[0]);
    let count = graph.op("Squeeze", &[&count, &none], vec![]);
    graph
        .constant_i64("from", &[], &[0])
        .constant_i64("by", &[], &[1]);
    let places = graph.op("Range", &["from", &count, "by"], vec![]);
    let rows = graph.op("Gather", &[&joined, &places], vec![Attr::Int("axis", 0)]);
    let square = numbers(&mut graph, &[0, 4, 40]);
    let square = graph.op("Reshape", &[&rows, &square], vec![]);
    let weights = graph.f32s(&[40, 2], &[0.01; 80]);
    let product = graph.op("MatMul", &[&square, &weights], vec![]);
    let product = graph.op("CumSum", &[&product, "by"], vec![]);
    let row = graph.op("ReduceMax", &[&product], vec![]);
    let row = numbers_as_row(&mut graph, &row);
    let sum = graph.op("Sum", &[&mean, &row], vec![]);
    let positive = graph.op("Greater", &[&sum, &flat], vec![]);
    let chosen = graph.op("Where", &[&positive, &sum, &flat], vec![]);
    let shaped = graph.op("Tanh", &[&chosen], vec![]);
    graph.node("Add", &[&shaped, &flat], &["audio"], vec![]);
    graph.finish()
}

fn numbers_as_row(graph: &mut GraphBuilder, name: &str) -> String {
    let row = graph.i64s(&[1, -1]);
    graph.op("Reshape", &[name, &row], vec![])
}

#[test]
#[ignore = "writes fuzz/seeds of manifest, graph and operators again"]
fn write_seeds() {
    let folder = support::folder("seeds");
    let json = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (manifest, files) = engine::original();
    package::write_voice(&folder.join("v"), &manifest, &files, Form::Folder).unwrap();
    seeds::write("manifest", "voice", &json("v/voice.json"));
    let mut full = manifest;
    full.certificate = Some(Default::default());
    full.attribution = vec!["somebody".to_owned()];
    full.retrieval.clone_from(&full.clusters);
    package::write_voice(&folder.join("f"), &full, &files, Form::Folder).unwrap();
    seeds::write("manifest", "certified", &json("f/voice.json"));
    let (mut encoder, _) = IdentityVoice::default().encoder_parts();
    encoder.encoder = full.encoder;
    let files = [("content.onnx".to_owned(), files["content.onnx"].clone())].into();
    package::write_encoder(&folder.join("e"), &encoder, &files, Form::Folder).unwrap();
    seeds::write("manifest", "encoder", &json("e/encoder.json"));

    for (number, (lookahead_frames, delay_samples)) in [(0, 0), (2, 40)].into_iter().enumerate() {
        let voice = IdentityVoice {
            lookahead_frames,
            delay_samples,
            ..IdentityVoice::default()
        };
        seeds::write(
            "graph",
            &format!("content-{number}"),
            &voice.content_graph(),
        );
        seeds::write(
            "graph",
            &format!("synthesis-{number}"),
            &voice.synthesis_graph(),
        );
    }
    seeds::write("graph", "fragile", &support::fragile_graph());
    seeds::write("graph", "slow", &support::slow_graph(1));
    seeds::write("graph", "shaping", &shaping());
    for op in 0..OPERATORS.len() as u8 {
        let recipe = [
            op,
            1,
            1,
            1,
            1,
            0,
            op + 1,
            5,
            5,
            2,
            8,
            9,
            1,
            op + 9,
            6,
            0,
            3,
            1,
            2,
            3,
        ];
        seeds::write("operators", OPERATORS[usize::from(op)], &recipe);
    }
}
