//! Content encoders compute what Hugging Face's implementation computes (`tests/golden/hubert.py` makes the reference).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use support::runtime_is_there;
use timbra_engine::onnx::{Carried, Evaluation, NamedTensor, evaluate, operators_here};
use timbra_trainer::evaluation::precision::loss;
use timbra_trainer::import::weights::CheckpointWeights;
use timbra_trainer::import::{npy, read_state_dict};
use timbra_trainer::model::causal::{from_vec, to_vec};
use timbra_trainer::model::hubert::{FRAME_SAMPLES, Hubert, HubertSpec, step};
use timbra_trainer::model::vits::eval::Compute;
use timbra_trainer::model::vits::weights::RandomStart;
use timbra_trainer::random::Random;
use timbra_voice::manifest::{CpuWeights, EncoderSpec};
use timbra_voice::onnx_precision::{Operators, Precision, for_cpu, in_precision};

type B = Flex;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/hubert")
        .join(name)
}

fn array(name: &str) -> Vec<f32> {
    npy::open(&fixture(name)).unwrap().to_f32().unwrap()
}

fn spec() -> HubertSpec {
    HubertSpec {
        front_channels: 24,
        channels: 48,
        filter: 80,
        heads: 4,
        layers: 3,
        position_taps: 16,
        position_groups: 4,
        projection: None,
    }
}

fn encoder() -> Hubert<B> {
    let weights = read_state_dict(&fixture("encoder.safetensors")).unwrap();
    Hubert::load(
        &mut CheckpointWeights(&weights),
        &spec(),
        &Default::default(),
    )
    .unwrap()
}

fn relative(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let difference: f64 = expected
        .iter()
        .zip(found)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum();
    let power: f64 = expected.iter().map(|a| f64::from(*a).powi(2)).sum();
    (difference / power).sqrt()
}

#[test]
fn the_network_and_its_whole_graph_are_the_reference() {
    let (audio, expected) = (array("audio.npy"), array("content.npy"));
    let encoder = encoder();
    let input = from_vec::<B, 3>(audio.clone(), [1, 1, audio.len()], &Default::default());
    let content = encoder.forward(&mut Compute::default(), &input, true);
    let found = to_vec(content.swap_dims(1, 2));
    let error = relative(&expected, &found);
    println!("burn: {error:.2e}");
    assert!(error < 1e-4, "burn: {error}");

    if !runtime_is_there() {
        return;
    }
    let input = NamedTensor {
        name: "audio".to_owned(),
        shape: vec![1, audio.len()],
        data: audio,
    };
    let results = evaluate(&encoder.export_whole(&spec()), &[input]).unwrap();
    let error = relative(&expected, &results[0].data);
    println!("graph: {error:.2e}");
    assert!(error < 1e-4, "graph: {error}");
}

#[test]
fn the_streaming_graph_with_all_of_the_future_differs_at_the_end_only() {
    if !runtime_is_there() {
        return;
    }
    let audio = array("audio.npy");
    let audio = &audio[..audio.len() / FRAME_SAMPLES * FRAME_SAMPLES];
    let frames = audio.len() / FRAME_SAMPLES;
    let spec = spec();
    let encoder = encoder();
    let input = from_vec::<B, 3>(audio.to_vec(), [1, 1, audio.len()], &Default::default());
    let expected = encoder.forward(&mut Compute::default(), &input, false);
    let expected = to_vec(expected.swap_dims(1, 2));
    let (bytes, graph) = encoder.export_streaming(&spec);
    let mut evaluation = Evaluation::new(&bytes).unwrap();
    for step in [frames, 10, 3] {
        let mut states = Carried::new(&graph.states);
        let mut found = Vec::new();
        for from in (0..frames).step_by(step) {
            let fresh = step.min(frames - from);
            let rest = &audio[from * FRAME_SAMPLES..];
            let mut inputs = vec![
                NamedTensor {
                    name: "audio".to_owned(),
                    shape: vec![1, rest.len()],
                    data: rest.to_vec(),
                },
                NamedTensor {
                    name: "lookahead_frames".to_owned(),
                    shape: vec![1, 1],
                    data: vec![(frames - from - fresh) as f32],
                },
            ];
            inputs.extend_from_slice(states.inputs());
            for content in states.take(evaluation.run(&inputs).unwrap()) {
                found.extend(content.data);
            }
        }
        let error = relative(&expected, &found);
        println!("steps of {step}: {error:.2e}");
        assert!(error < 1e-4, "steps of {step}: {error}");
    }
}

#[test]
fn weights_in_fewer_bits_lose_little() {
    if !runtime_is_there() {
        return;
    }
    let spec = HubertSpec {
        front_channels: 64,
        channels: 256,
        filter: 512,
        ..spec()
    };
    let mut start = RandomStart(Random::new(3, 4));
    let encoder = Hubert::<B>::load(&mut start, &spec, &Default::default()).unwrap();
    let (graph, graph_spec) = encoder.export_streaming(&spec);
    let step = step(2, 1);
    let encoder = EncoderSpec {
        id: "random".to_owned(),
        sha256: String::new(),
        rate_hz: 16_000,
        hop_samples: 160,
        channels: spec.content_channels(),
        lookahead_samples: step.lag_samples(),
        step: Some(step),
        graph: graph_spec,
    };
    let audio = array("audio.npy");
    let of = |precision, played| {
        let mut other = in_precision(&graph, precision).unwrap();
        if played {
            other = for_cpu(&other, CpuWeights::Int8, operators_here()).unwrap();
        }
        let loss = loss(&encoder, &graph, &other, &audio).unwrap();
        println!(
            "{precision:?}: {loss:?}, {} of {} bytes",
            other.len(),
            graph.len()
        );
        (loss, other.len() as f64 / graph.len() as f64)
    };
    let (whole, _) = of(Precision::F32, false);
    assert!(whole.relative == 0.0 && whole.frames > 20, "{whole:?}");
    let (half, share) = of(Precision::F16, false);
    assert!(half.relative < 2e-3 && share < 0.52, "{half:?}, {share}");
    let (eight, share) = of(Precision::Int8, false);
    assert!(eight.relative < 0.05 && share < 0.6, "{eight:?}, {share}");
    // The runtime computes with whole numbers: not the same, or nothing was quantised.
    assert!(eight.relative > 1e-4, "{eight:?}");
    // The first layers are in 8 bits too where there are operators for it.
    let (played, played_share) = of(Precision::Int8, true);
    assert!(played.relative < 0.05, "{played:?}");
    let has_operators = operators_here() == Operators::Own;
    let shares = format!("{share}, {played_share}");
    assert_eq!(played_share < 0.95 * share, has_operators, "{shares}");
}

#[test]
fn what_is_kept_of_the_past_may_lie_in_any_order() {
    if !runtime_is_there() {
        return;
    }
    let (bytes, graph) = encoder().export_streaming(&spec());
    let mut evaluation = Evaluation::new(&bytes).unwrap();
    let mut states = Carried::new(&graph.states);
    let ring = graph.states.iter().find(|state| state.ring).unwrap();
    let (rows, width) = (ring.shape[2], ring.shape[3]);
    const STEP: usize = 7;
    let mut random = Random::new(2, 0);
    let mut inputs = || {
        let audio = (0..STEP * FRAME_SAMPLES).map(|_| 0.1 * random.normal());
        vec![
            NamedTensor {
                name: "audio".to_owned(),
                shape: vec![1, STEP * FRAME_SAMPLES],
                data: audio.collect(),
            },
            NamedTensor {
                name: "lookahead_frames".to_owned(),
                shape: vec![1, 1],
                data: vec![0.0],
            },
        ]
    };
    // Until the rings have been written over once and a bit.
    for _ in 0..rows / STEP + 3 {
        let mut all = inputs();
        all.extend_from_slice(states.inputs());
        states.take(evaluation.run(&all).unwrap());
    }
    let inputs = inputs();
    let mut content = |change: &dyn Fn(&mut [f32])| {
        let mut all = inputs.clone();
        for (value, state) in states.inputs().iter().zip(&graph.states) {
            let mut value = value.clone();
            if state.ring {
                value.data.chunks_mut(rows * width).for_each(change);
            }
            all.push(value);
        }
        let results = evaluation.run(&all).unwrap();
        let content = results.into_iter().find(|result| result.name == "content");
        content.unwrap().data
    };
    let expected = content(&|_| {});
    let turned = content(&|head| head.rotate_left(31 * width));
    let without = content(&|head| head[..width].fill(0.0));
    assert!(relative(&expected, &turned) < 1e-5);
    assert!(relative(&expected, &without) > 1e-5, "every row is seen");
}
