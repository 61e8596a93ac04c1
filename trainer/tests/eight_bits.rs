//! A voice whose frame-by-frame layers are in 8 bits sings nearly as it does in float32.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use burn::backend::Flex;
use support::{relative_error, runtime_is_there};
use timbra_engine::onnx::{Carried, Evaluation, NamedTensor, evaluate, operators_here};
use timbra_trainer::model::vits::export::Exported;
use timbra_trainer::model::vits::spec::{DecoderSpec, FlowSpec, VitsSpec};
use timbra_trainer::model::vits::voice::VitsVoice;
use timbra_trainer::model::vits::weights::RandomStart;
use timbra_trainer::random::Random;
use timbra_trainer::vits::config::{Size, VoiceShape, spec};
use timbra_voice::manifest::CpuWeights;
use timbra_voice::onnx_precision::{Operators, Precision, for_cpu, in_precision};

const FRAMES: usize = 24;
const SHAPE: VoiceShape = VoiceShape {
    content_channels: 64,
    speakers: 1,
    rate_hz: 24_000,
    loudness: false,
    auto_f0: false,
};

/// Audio of a step of [`FRAMES`] frames at the beginning of a stream.
fn sing(graph: &[u8], exported: &Exported, spec: &VitsSpec) -> Vec<f32> {
    let mut random = Random::new(5, 0);
    let mut tensor = |name: &str, shape: Vec<usize>| {
        let count = shape.iter().product();
        let data = match name {
            "f0_hz" => vec![220.0; count],
            "voiced" | "speaker_mix" => vec![1.0; count],
            "content" | "prior_noise" | "noise" => (0..count).map(|_| random.normal()).collect(),
            _ => vec![0.0; count],
        };
        NamedTensor {
            name: name.to_owned(),
            shape,
            data,
        }
    };
    let mut inputs: Vec<NamedTensor> = exported
        .spec
        .inputs
        .iter()
        .map(|name| match name.as_str() {
            "content" => tensor(name, vec![1, FRAMES, spec.content_channels]),
            "speaker_mix" => tensor(name, vec![1, FRAMES, spec.speakers]),
            "prior_noise" => tensor(name, vec![1, FRAMES, spec.inter_channels]),
            "noise" => tensor(name, vec![1, FRAMES * spec.hop_samples()]),
            "lookahead_frames" => tensor(name, vec![1, 1]),
            _ => tensor(name, vec![1, FRAMES]),
        })
        .collect();
    let states = exported.spec.states.iter();
    inputs.extend(states.map(|state| tensor(&state.name, state.shape.clone())));
    let results = evaluate(graph, &inputs).unwrap();
    let audio = results.into_iter().find(|r| r.name == "audio").unwrap();
    audio.data
}

#[test]
fn a_voice_in_eight_bits_sings_nearly_the_same() {
    if !runtime_is_there() {
        return;
    }
    let spec = spec(Size::Tiny, SHAPE).unwrap();
    let mut start = RandomStart(Random::new(3, 3));
    let voice = VitsVoice::<Flex>::load(&mut start, &spec, &Default::default()).unwrap();
    let exported = voice.export_streaming(&spec);
    // What works frame by frame is most of such a voice, so that its file is smaller; the decoder is rounded where it is played.
    let kept = in_precision(&exported.bytes, Precision::Int8).unwrap();
    let played = for_cpu(&exported.bytes, CpuWeights::Int8, Operators::Runtime).unwrap();
    assert!(kept.len() < exported.bytes.len() * 3 / 4, "{}", kept.len());
    assert!(played.len() < kept.len(), "{}", played.len());
    assert_eq!(
        for_cpu(&kept, CpuWeights::Int8, Operators::Runtime).unwrap(),
        played
    );
    let expected = sing(&exported.bytes, &exported, &spec);
    let ours = for_cpu(&kept, CpuWeights::Int8, operators_here()).unwrap();
    for small in [kept, played, ours] {
        apart(&small, &expected, &exported, &spec);
    }
}

#[test]
fn a_voice_whose_decoder_halves_an_odd_number_of_channels_sings_in_eight_bits_too() {
    if !runtime_is_there() {
        return;
    }
    // 100, 50, 25, 12 and 6 channels, as 400 become in so-vits-svc's own small configuration.
    let tiny = spec(Size::Tiny, SHAPE).unwrap();
    let spec = VitsSpec {
        decoder: DecoderSpec {
            initial_channels: 100,
            ..tiny.decoder
        },
        ..tiny
    };
    spec.check().unwrap();
    let mut start = RandomStart(Random::new(3, 3));
    let voice = VitsVoice::<Flex>::load(&mut start, &spec, &Default::default()).unwrap();
    let exported = voice.export_streaming(&spec);
    let expected = sing(&exported.bytes, &exported, &spec);
    for by in [Operators::Runtime, operators_here()] {
        let played = for_cpu(&exported.bytes, CpuWeights::Int8, by).unwrap();
        apart(&played, &expected, &exported, &spec);
    }
}

#[test]
fn a_voice_streams_with_operators_of_our_own_as_with_those_of_the_runtime() {
    if !runtime_is_there() || operators_here() == Operators::Runtime {
        return;
    }
    let shape = VoiceShape {
        speakers: 2,
        loudness: true,
        ..SHAPE
    };
    // With so many weights that they are rounded as those of voices of full width are.
    let tiny = spec(Size::Tiny, shape).unwrap();
    let spec = VitsSpec {
        inter_channels: 192,
        hidden_channels: 192,
        filter_channels: 1536,
        layers: 4,
        flow: FlowSpec {
            layers: 4,
            ..tiny.flow
        },
        ..tiny
    };
    let mut start = RandomStart(Random::new(3, 3));
    let voice = VitsVoice::<Flex>::load(&mut start, &spec, &Default::default()).unwrap();
    let exported = voice.export_streaming(&spec);
    let [theirs, ours] = [Operators::Runtime, Operators::Own].map(|by| {
        let graph = for_cpu(&exported.bytes, CpuWeights::Int8, by).unwrap();
        (Evaluation::new(&graph).unwrap(), graph)
    });
    for op in [
        &b"\x10CarriedAttention"[..],
        b"\x09GatedUnit",
        b"\x09AddHalves",
        b"\x0cConvolution8",
        b"\x08Product8",
        b"\x16SkipLayerNormalization",
    ] {
        let has = |graph: &[u8]| graph.windows(op.len()).any(|part| part == op);
        let found = (has(&theirs.1), has(&ours.1));
        assert_eq!(found, (false, true), "{}", op.escape_ascii());
    }
    let mut streams = [theirs.0, ours.0].map(|graph| (graph, Carried::new(&exported.spec.states)));
    let mut random = Random::new(5, 0);
    // New frames and future ones: long, short, none of the future, longer than what windows see of the past.
    for (step, (fresh, future)) in [(24, 2), (4, 2), (1, 2), (3, 0), (9, 5), (2, 2)]
        .into_iter()
        .enumerate()
    {
        let frames = fresh + future;
        let mut tensor = |name: &String| {
            let shape = match name.as_str() {
                "content" => vec![1, frames, spec.content_channels],
                "speaker_mix" => vec![1, frames, spec.speakers],
                "prior_noise" => vec![1, frames, spec.inter_channels],
                "noise" => vec![1, frames * spec.hop_samples()],
                "lookahead_frames" => vec![1, 1],
                _ => vec![1, frames],
            };
            let count = shape.iter().product();
            let data = match name.as_str() {
                "lookahead_frames" => vec![future as f32],
                "f0_hz" => vec![220.0; count],
                "voiced" | "speaker_mix" => vec![if step == 2 { 0.0 } else { 1.0 }; count],
                _ => (0..count).map(|_| random.normal()).collect(),
            };
            NamedTensor {
                name: name.clone(),
                shape,
                data,
            }
        };
        let inputs: Vec<NamedTensor> = exported.spec.inputs.iter().map(&mut tensor).collect();
        let mut heard = Vec::new();
        for (graph, states) in &mut streams {
            let all = [&inputs[..], states.inputs()].concat();
            let others = states.take(graph.run(&all).unwrap());
            let audio = others.into_iter().find(|result| result.name == "audio");
            heard.push(audio.unwrap().data);
        }
        assert_eq!(heard[0].len(), heard[1].len(), "step {step}");
        let error = relative_error(&heard[0], &heard[1]);
        println!("step {step}: {error:.1e}");
        assert!(error < 5e-3, "step {step}: {error}");
        // What is carried tells of every layer; small values late in the decoder are rounded most.
        let [(_, theirs), (_, ours)] = &streams;
        for (theirs, ours) in theirs.inputs().iter().zip(ours.inputs()) {
            let norm =
                |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
            let pairs = theirs.data.iter().zip(&ours.data);
            let error = norm(&mut pairs.map(|(a, b)| a - b));
            let size = norm(&mut theirs.data.iter().copied());
            assert!(
                error <= 0.1 * size,
                "step {step}, {}: {error} of {size}",
                theirs.name
            );
        }
    }
}

/// Asserts that `small` sings nearly as `expected`.
fn apart(small: &[u8], expected: &[f32], exported: &Exported, spec: &VitsSpec) {
    let found = sing(small, exported, spec);
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|v| f64::from(v * v)).sum::<f64>().sqrt()
    };
    let differences = &mut expected.iter().zip(&found).map(|(a, b)| a - b);
    let error = norm(differences) / norm(&mut expected.iter().copied());
    println!(
        "{} of {} bytes, {error:.4} apart",
        small.len(),
        exported.bytes.len()
    );
    assert!(error > 0.0 && error < 0.1, "{error}");
}
