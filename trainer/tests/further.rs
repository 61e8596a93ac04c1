//! A shipped package can be trained further: its graph gives back the very weights it was written from.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::f64::consts::TAU;
use std::path::Path;

use burn::backend::Flex;
use burn::tensor::Tensor;
use timbra_trainer::model::causal::{CausalConv, from_vec, to_vec};
use timbra_trainer::model::content::{ContentConfig, ContentEncoder};
use timbra_trainer::model::graph_layers::GraphLayers;
use timbra_trainer::model::harmonic::{
    HALVES, HARMONIC_POINTS, HarmonicConfig, HarmonicVoice, NOISE_POINTS,
};
use timbra_trainer::model::harmonic_graph::Finish;
use timbra_trainer::model::mel::{BANDS, LogMel, TensorLogMel};

type Device = burn::tensor::Device<Flex>;

fn layers(graph: &[u8]) -> GraphLayers {
    GraphLayers::of(Path::new("some.timbra"), graph.to_vec()).unwrap()
}

fn encoder_config() -> ContentConfig {
    ContentConfig {
        channels: 16,
        kernel: 5,
        dilations: vec![1, 4],
        content_channels: 8,
        lookahead_frames: 0,
    }
}

#[test]
fn an_encoder_is_read_back_from_its_graph() {
    let device = Device::default();
    let (graph, _) = ContentEncoder::<Flex>::new(&encoder_config(), 10, &device).export();
    // Another number of classes: they are not in the graph.
    let mut again = ContentEncoder::<Flex>::new(&encoder_config(), 7, &device);
    assert_ne!(again.export().0, graph);
    again.read(&mut layers(&graph)).unwrap();
    assert_eq!(again.export().0, graph);
}

#[test]
fn an_encoder_of_other_widths_is_refused_by_name() {
    let device = Device::default();
    let (graph, _) = ContentEncoder::<Flex>::new(&encoder_config(), 10, &device).export();
    let wider = ContentConfig {
        channels: 24,
        ..encoder_config()
    };
    let error = ContentEncoder::<Flex>::new(&wider, 10, &device)
        .read(&mut layers(&graph))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("some.timbra: expected"), "{error}");
    assert!(
        error.contains("[400, 24]") && error.contains("[400, 16]"),
        "{error}"
    );
}

fn voice_config(speakers: usize) -> HarmonicConfig {
    HarmonicConfig {
        channels: 16,
        kernel: 3,
        dilations: vec![1, 2],
        content_channels: 8,
        speaker_channels: 4,
        speakers,
    }
}

fn voice(speakers: usize) -> HarmonicVoice<Flex> {
    let device = Device::default();
    let mut voice = HarmonicVoice::<Flex>::new(&voice_config(speakers), &device);
    // A fresh voice starts with flat curves; give them shape.
    let curves = HALVES * (HARMONIC_POINTS + NOISE_POINTS);
    voice.set_curves(CausalConv::new(16, curves, 1, 1, &device));
    voice
}

#[test]
fn a_harmonic_voice_is_read_back_from_its_graph_without_its_air() {
    let base = voice(3);
    let airy = Finish {
        air_db: 2.5,
        ..Finish::default()
    };
    let mut again = voice(3);
    again
        .read(
            &mut layers(&base.export(airy).0),
            3,
            &[Some(0), Some(1), Some(2)],
        )
        .unwrap();
    assert_eq!(
        again.export(Finish::default()).0,
        base.export(Finish::default()).0
    );
}

#[test]
fn a_speaker_of_another_voice_sounds_as_there_and_a_new_one_begins_between_all() {
    let base = voice(3);
    let mut again = voice(2);
    again
        .read(
            &mut layers(&base.export(Finish::default()).0),
            3,
            &[Some(2), None],
        )
        .unwrap();
    let curves = |voice: &HarmonicVoice<Flex>, mix: &[f32]| {
        let device = Device::default();
        let mix = Tensor::<Flex, 1>::from_floats(mix, &device).reshape([1, mix.len() as i32, 1]);
        let curves = voice.curves(
            Tensor::ones([1, 8, 1], &device),
            Tensor::ones([1, 2, 1], &device),
            Tensor::ones([1, 1, 1], &device),
            mix,
        );
        to_vec(curves.harmonic)
    };
    assert_eq!(curves(&again, &[1.0, 0.0]), curves(&base, &[0.0, 0.0, 1.0]));
    let third = 1.0 / 3.0;
    let (fresh, between) = (curves(&again, &[0.0, 1.0]), curves(&base, &[third; 3]));
    for (a, b) in fresh.iter().zip(&between) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    assert_ne!(fresh, curves(&base, &[1.0, 0.0, 0.0]));
}

#[test]
fn the_encoder_hears_a_rendering_as_it_hears_the_same_sound_at_16_khz() {
    // A buzz with a formant that moves, below 5 kHz, at 48 and at 16 kHz.
    let seconds = 0.8;
    let at = |rate_hz: f64| -> Vec<f32> {
        (0..(seconds * rate_hz) as usize)
            .map(|i| {
                let t = i as f64 / rate_hz;
                let formant = 800.0 + 1500.0 * t;
                let tone = |k: usize| {
                    let hz = 150.0 * k as f64;
                    (-((hz - formant) / 400.0).powi(2)).exp() * (TAU * hz * t).sin()
                };
                (0.2 * (1..33).map(tone).sum::<f64>()) as f32
            })
            .collect()
    };
    let device = Device::default();
    let expected = LogMel::default().frames(&at(16_000.0));
    let sound = at(48_000.0);
    let sound = from_vec::<Flex, 2>(sound.clone(), [1, sound.len()], &device);
    let frames = to_vec(
        TensorLogMel::new(3, &device)
            .frames(sound)
            .permute([1, 2, 0]),
    );
    // The tensor's first frame is the second of the other, which counts what lies before as silence.
    let expected = &expected[BANDS..BANDS + frames.len()];
    for (a, b) in frames.iter().zip(expected) {
        assert!((a - b).abs() < 0.01, "{a} {b}");
    }
}
