//! A network and its exported graph are the same function, at once and frame by frame.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use burn::backend::Flex;
use realfft::RealFftPlanner;
use timbra_dsp::resample::resample_all;
use timbra_engine::onnx::{NamedTensor, evaluate};
use timbra_engine::{Encoder, features};
use timbra_trainer::harmonic::words::{Listener, Words};
use timbra_trainer::model::causal::{CausalConv, from_vec, to_vec};
use timbra_trainer::model::content::{ContentConfig, ContentEncoder};
use timbra_trainer::model::excitation::{Analyser, pulses};
use timbra_trainer::model::harmonic::{
    BINS, Excitation, HALVES, HARMONIC_POINTS, HOP_SAMPLES, HarmonicConfig, HarmonicVoice,
    MODEL_RATE_HZ, NOISE_POINTS, REFERENCE_F0_HZ, Renderer,
};
use timbra_trainer::model::harmonic_graph::{Finish, LEAD_SAMPLES, lead_phase};
use timbra_trainer::model::mel::{self, BANDS, LogMel};
use timbra_trainer::random::Random;
use timbra_voice::manifest::StateTensor;

type Device = burn::tensor::Device<Flex>;

const FRAMES: usize = 24;

/// One run of a graph over `inputs`, with `states` moved on.
fn run(
    graph: &[u8],
    inputs: Vec<NamedTensor>,
    states: &mut Vec<NamedTensor>,
    output: &str,
) -> Vec<f32> {
    let all: Vec<NamedTensor> = inputs.into_iter().chain(states.iter().cloned()).collect();
    let results = evaluate(graph, &all).expect("the graph runs");
    for state in states {
        let next = format!("{}_next", state.name);
        state.data.clone_from(
            &results
                .iter()
                .find(|r| r.name == next)
                .expect("every state has a next")
                .data,
        );
    }
    results
        .into_iter()
        .find(|r| r.name == output)
        .expect("the graph has its output")
        .data
}

fn zeros(states: &[StateTensor]) -> Vec<NamedTensor> {
    states
        .iter()
        .map(|s| NamedTensor {
            name: s.name.clone(),
            shape: s.shape.clone(),
            data: vec![0.0; s.shape.iter().product()],
        })
        .collect()
}

fn tensor(name: &str, shape: &[usize], data: &[f32]) -> NamedTensor {
    NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        data: data.to_vec(),
    }
}

/// ‖a − b‖ / ‖b‖.
fn relative_error(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let square =
        |it: &mut dyn Iterator<Item = f32>| it.map(|v| f64::from(v) * f64::from(v)).sum::<f64>();
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())).sqrt()
        as f32
}

#[test]
fn content_graph_equals_the_network_whole_and_streamed() {
    if !support::runtime_is_there() {
        return;
    }
    let device = Device::default();
    let config = ContentConfig {
        channels: 32,
        kernel: 5,
        dilations: vec![1, 4],
        content_channels: 8,
        lookahead_frames: 2,
    };
    let network = ContentEncoder::<Flex>::new(&config, 10, &device);
    let mut random = Random::new(1, 0);
    let audio: Vec<f32> = (0..FRAMES * 160)
        .map(|i| (i as f32 * 0.05).sin() * 0.3 + 0.05 * random.normal())
        .collect();
    let mel = from_vec::<Flex, 3>(
        LogMel::default().frames(&audio),
        [1, FRAMES, BANDS],
        &device,
    )
    .swap_dims(1, 2);
    let expected = to_vec(network.content(mel).swap_dims(1, 2));

    let (graph, spec) = network.export();
    let whole = run(
        &graph,
        vec![tensor("audio", &[1, audio.len()], &audio)],
        &mut zeros(&spec.states),
        "content",
    );
    assert!(
        relative_error(&whole, &expected) < 1e-3,
        "network against graph: {}",
        relative_error(&whole, &expected)
    );

    let mut states = zeros(&spec.states);
    let streamed: Vec<f32> = audio
        .chunks(160)
        .flat_map(|hop| {
            run(
                &graph,
                vec![tensor("audio", &[1, 160], hop)],
                &mut states,
                "content",
            )
        })
        .collect();
    assert!(
        relative_error(&streamed, &whole) < 1e-5,
        "streamed against whole: {}",
        relative_error(&streamed, &whole)
    );
}

#[test]
fn harmonic_graph_equals_the_network_whole_and_streamed() {
    if !support::runtime_is_there() {
        return;
    }
    let device = Device::default();
    let config = HarmonicConfig {
        channels: 32,
        kernel: 3,
        dilations: vec![1, 2],
        content_channels: 8,
        speaker_channels: 8,
        speakers: 3,
    };
    let mut network = HarmonicVoice::<Flex>::new(&config, &device);
    // A fresh voice starts with flat curves; give them shape.
    network.set_curves(CausalConv::new(
        config.channels,
        HALVES * (HARMONIC_POINTS + NOISE_POINTS),
        1,
        1,
        &device,
    ));
    let mut random = Random::new(2, 0);
    let content: Vec<f32> = (0..FRAMES * 8).map(|_| random.uniform(-1.0, 1.0)).collect();
    let f0_hz: Vec<f32> = (0..FRAMES)
        .map(|k| {
            if k % 7 < 4 {
                150.0 + 10.0 * k as f32
            } else {
                0.0
            }
        })
        .collect();
    let loudness: Vec<f32> = (0..FRAMES).map(|k| k as f32 - 40.0).collect();
    let mix: Vec<f32> = [0.2f32, 0.3, 0.5].repeat(FRAMES);
    let noise: Vec<f32> = (0..FRAMES * HOP_SAMPLES)
        .map(|_| random.uniform(-1.0, 1.0))
        .collect();

    let pitch: Vec<f32> = f0_hz
        .iter()
        .flat_map(|&f| {
            if f > 0.0 {
                [(f / REFERENCE_F0_HZ).log2(), 1.0]
            } else {
                [0.0, 0.0]
            }
        })
        .collect();
    let feature = |values: &[f32], channels: usize| {
        from_vec::<Flex, 3>(values.to_vec(), [1, FRAMES, channels], &device).swap_dims(1, 2)
    };
    let curves = network.curves(
        feature(&content, 8),
        feature(&pitch, 2),
        feature(&loudness, 1),
        feature(&mix, 3),
    );
    let analyser = Analyser::default();
    let window = |samples: &[f32]| {
        let (re, im) = analyser.spectra(samples);
        let tensor = |v| from_vec::<Flex, 3>(v, [1, FRAMES * HALVES, BINS], &device);
        (tensor(re), tensor(im))
    };
    let (pulse_re, pulse_im) = window(&pulses(&f0_hz, 0.0));
    let unit_noise: Vec<f32> = noise.iter().map(|v| v * 3f32.sqrt()).collect();
    let (noise_re, noise_im) = window(&unit_noise);
    let expected = to_vec(Renderer::new(&device).render(
        curves,
        Excitation {
            pulse_re,
            pulse_im,
            noise_re,
            noise_im,
        },
    ));

    let without_lead = Finish {
        air_db: 0.0,
        lead_samples: 0,
    };
    let (graph, spec) = network.export(without_lead);
    let inputs = |first: usize, count: usize| {
        let part =
            |values: &[f32], width: usize| values[first * width..(first + count) * width].to_vec();
        vec![
            tensor("content", &[1, count, 8], &part(&content, 8)),
            tensor("f0_hz", &[1, count], &part(&f0_hz, 1)),
            tensor("loudness", &[1, count], &part(&loudness, 1)),
            tensor("speaker_mix", &[1, count, 3], &part(&mix, 3)),
            tensor("formant_semitones", &[1, count], &vec![0.0; count]),
            tensor(
                "noise",
                &[1, count * HOP_SAMPLES],
                &part(&noise, HOP_SAMPLES),
            ),
        ]
    };
    let whole = run(&graph, inputs(0, FRAMES), &mut zeros(&spec.states), "audio");
    let error = relative_error(&whole, &expected[..whole.len()]);
    assert!(error < 1e-3, "network against graph: {error}");

    let mut states = zeros(&spec.states);
    let streamed: Vec<f32> = (0..FRAMES)
        .flat_map(|k| run(&graph, inputs(k, 1), &mut states, "audio"))
        .collect();
    let error = relative_error(&streamed, &whole);
    assert!(error < 1e-4, "streamed against whole: {error}");

    // With a lead the same comes out of an all-pass filter, later by the lead; here from a voice of flat curves, whose
    // response is short.
    let flat = HarmonicVoice::<Flex>::new(&config, &device);
    let (graph, spec) = flat.export(without_lead);
    let silent = |count: usize| {
        let mut inputs = inputs(0, count);
        inputs[5].data.fill(0.0);
        inputs
    };
    let bare = run(&graph, silent(FRAMES), &mut zeros(&spec.states), "audio");
    let (led, spec) = flat.export(Finish::default());
    let led = run(&led, silent(FRAMES), &mut zeros(&spec.states), "audio");
    let expected = all_passed(&bare);
    let error = relative_error(&led[LEAD_SAMPLES..], &expected[..led.len() - LEAD_SAMPLES]);
    assert!(error < 2e-2, "with a lead: {error}");
    let far = relative_error(&led[LEAD_SAMPLES..], &bare[..led.len() - LEAD_SAMPLES]);
    assert!(far > 0.2, "the lead does nothing: {far}");
}

/// A sound whose phase is ahead by [`lead_phase`].
fn all_passed(samples: &[f32]) -> Vec<f32> {
    let length = (4 * samples.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(length),
        planner.plan_fft_inverse(length),
    );
    let mut padded = samples.to_vec();
    padded.resize(length, 0.0);
    let mut bins = forward.make_output_vec();
    forward.process(&mut padded, &mut bins).unwrap();
    for (k, bin) in bins.iter_mut().enumerate() {
        let hz = k as f64 * MODEL_RATE_HZ as f64 / length as f64;
        let (sin, cos) = lead_phase(hz, LEAD_SAMPLES).sin_cos();
        let (re, im) = (f64::from(bin.re), f64::from(bin.im));
        (bin.re, bin.im) = ((re * cos - im * sin) as f32, (re * sin + im * cos) as f32);
    }
    // The ends are real.
    bins[0].im = 0.0;
    bins[length / 2].im = 0.0;
    inverse.process(&mut bins, &mut padded).unwrap();
    padded.truncate(samples.len());
    padded.iter().map(|v| v / length as f32).collect()
}

#[test]
fn what_the_loss_hears_is_what_the_encoder_hears_when_it_plays() {
    if !support::runtime_is_there() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/encoders/content-3.timbra");
    let words = Words::<Flex>::new(Listener::Encoder(&path), &Device::default()).unwrap();
    // Tone, hiss and a dull hum in turn, no two times the same length, so that it tells which time it is.
    let mut random = Random::new(3, 0);
    let (mut audio, mut hum) = (support::song(MODEL_RATE_HZ as u32, 2.0), 0.0);
    for (n, sample) in audio.iter_mut().enumerate() {
        let hiss = 0.1 * random.normal();
        hum += 0.01 * (hiss - hum);
        match (n as f32 / MODEL_RATE_HZ as f32 * 6.0).powf(1.3) as usize % 3 {
            0 => {}
            1 => *sample = hiss,
            _ => *sample = 5.0 * hum,
        }
    }
    let tensor = |samples: &[f32]| {
        from_vec::<Flex, 2>(samples.to_vec(), [1, samples.len()], &Device::default())
    };
    let Words::Content { encoder, mel } = &words else {
        panic!("a content encoder")
    };
    let heard = encoder.content_channels_first(mel.frames(tensor(&audio)));
    let [channels, _, frames] = heard.dims();
    let heard = to_vec(heard.swap_dims(0, 1).swap_dims(1, 2));
    let encoder = Encoder::load(&path).unwrap();
    let resampled = resample_all(&audio, MODEL_RATE_HZ as u32, mel::RATE_HZ as u32).unwrap();
    let played: Vec<f32> = features::extract(&encoder, &resampled)
        .unwrap()
        .into_iter()
        .flat_map(|frame| frame.content)
        .collect();
    // The first frame of the loss lies between the first two hops, the player's before the first.
    let part =
        |content: &[f32], from: usize| content[from * channels..(from + 100) * channels].to_vec();
    assert!(frames > 170);
    let error =
        |early: usize| support::relative_error(&part(&heard, 60 - early), &part(&played, 60));
    assert!(error(1) < 0.15, "{}", error(1));
    assert!(
        3.0 * error(1) < error(0).min(error(2)),
        "{:?}",
        [0, 1, 2].map(error)
    );

    let distance = |a: &[f32], b: &[f32]| to_vec(words.distance(tensor(a), tensor(b)))[0];
    let softer: Vec<f32> = audio.iter().map(|sample| 0.7 * sample).collect();
    let backwards: Vec<f32> = audio.iter().rev().copied().collect();
    assert_eq!(distance(&audio, &audio), 0.0);
    let (same, other) = (distance(&softer, &audio), distance(&backwards, &audio));
    assert!(same < other / 3.0, "{same} {other}");
}
