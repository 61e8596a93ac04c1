//! Discriminators, losses and spectrograms of a VITS training against what so-vits-svc-fork makes of the same signals
//! (`tests/golden/vits_losses.py`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::Tensor;
use timbra_trainer::import::npy;
use timbra_trainer::model::causal::{from_vec, value};
use timbra_trainer::model::vits::weights::{Start, WeightError, WeightSource};
use timbra_trainer::vits::config::{CriticSpec, Size};
use timbra_trainer::vits::critics::Critics;
use timbra_trainer::vits::losses::{Statistics, divergence, judge, persuade};
use timbra_trainer::vits::spectrum::{BANDS, LinearSpectrum, LogMel};

type B = Flex;

const SAMPLES: usize = 4_000;
const RATE_HZ: u32 = 44_100;
const HOP: usize = 512;
const FRAMES: usize = 16;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/vits_losses")
        .join(name)
}

/// As many numbers from -0.5 to 0.5 that follow from a name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(0_u32, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    (0..count as u32)
        .map(|n| {
            let mut x = seed.wrapping_add(n.wrapping_mul(2_654_435_761));
            x ^= x >> 15;
            x = x.wrapping_mul(2_246_822_519);
            x ^= x >> 13;
            (f64::from(x) / 2f64.powi(32) - 0.5) as f32
        })
        .collect()
}

/// The weights of the reference.
struct Numbers;

impl WeightSource for Numbers {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        _start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        let mut values = numbers(name, shape.iter().product());
        for value in &mut values {
            *value = match name.rsplit('.').next() {
                Some("weight_g") => 1.4 + 0.4 * *value,
                Some("bias") => 0.1 * *value,
                _ => *value,
            };
        }
        Ok(values)
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        // Weights are there in two parts; how long these are is asked elsewhere.
        name.contains("weight_").then(Vec::new)
    }
}

fn expected() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn assert_near(what: &str, found: f32, expected: &serde_json::Value) {
    let expected = expected.as_f64().unwrap();
    let off = (f64::from(found) / expected - 1.0).abs();
    println!("{what}: {found}, expected {expected}, off by {off:.1e}");
    assert!(off < 1e-4, "{what}: {found}, expected {expected}");
}

#[test]
fn critics_and_their_losses_are_the_published_ones() {
    let device = Default::default();
    let critics =
        Critics::<B>::load(&mut Numbers, &CriticSpec::of(Size::Published), &device).unwrap();
    let maps = |name: &str| {
        let audio = numbers(name, 2 * SAMPLES);
        critics.maps(&from_vec(audio, [2, 1, SAMPLES], &device))
    };
    let (recorded, rendered) = (maps("recorded"), maps("rendered"));
    let expected = expected();
    for (critic, maps) in rendered.iter().enumerate() {
        let of_critic = expected["mean_squares"][critic].as_array().unwrap();
        assert_eq!(maps.len(), of_critic.len(), "maps of critic {critic}");
        for (layer, (map, expected)) in maps.iter().zip(of_critic).enumerate() {
            let found = value(&(map.clone() * map.clone()).mean());
            assert_near(&format!("critic {critic}, map {layer}"), found, expected);
        }
    }
    assert_near(
        "judge",
        value(&judge(&recorded, &rendered)),
        &expected["judge"],
    );
    let (verdict, distance) = persuade(&recorded, &rendered);
    assert_near("verdict", value(&verdict), &expected["verdict"]);
    // The published feature loss is twice this, which is its weight here.
    assert_near("maps", 2.0 * value(&distance), &expected["maps"]);
}

#[test]
fn the_divergence_is_the_published_one() {
    let device = Default::default();
    let tensor = |name: &str| -> Tensor<B, 3> { from_vec(numbers(name, 600), [2, 6, 50], &device) };
    let mut mask = vec![1.0; 100];
    mask[80..].fill(0.0);
    let prior = Statistics {
        mean: tensor("m"),
        log_deviation: tensor("log_p"),
    };
    let mask = from_vec(mask, [2, 1, 50], &device);
    let found = value(&divergence(&tensor("z"), &tensor("log_q"), &prior, &mask));
    assert_near("divergence", found, &expected()["divergence"]);
}

/// The signal of the reference: quiet in the middle.
fn audio() -> Vec<f32> {
    let mut audio = numbers("audio", FRAMES * HOP);
    audio[3_000..6_000]
        .iter_mut()
        .for_each(|sample| *sample *= 1e-4);
    audio
}

/// ‖found − expected‖ / ‖expected‖ of an array `[rows, FRAMES]`.
fn off(name: &str, found: &[f32]) -> f64 {
    let tensor = npy::open(&fixture(name)).unwrap();
    let expected = tensor.to_f32().unwrap();
    assert_eq!(expected.len(), found.len(), "{name}");
    let norm = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values
            .map(|v| f64::from(v) * f64::from(v))
            .sum::<f64>()
            .sqrt()
    };
    norm(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

#[test]
fn spectrograms_are_the_published_ones() {
    let linear = LinearSpectrum::new(HOP).of(&audio());
    let linear = off("spectrum.npy", &linear);
    let device = Default::default();
    let mel = LogMel::<B>::new(RATE_HZ, HOP, &device);
    let line = from_vec(audio(), [1, 1, FRAMES * HOP], &device);
    let frames: Tensor<B, 3> = mel.of(&line);
    assert_eq!(frames.dims(), [1, FRAMES, BANDS]);
    let bands = frames.swap_dims(1, 2).into_data().to_vec::<f32>().unwrap();
    let mel = off("mel.npy", &bands);
    println!("linear off by {linear:.1e}, mel by {mel:.1e}");
    assert!(linear < 1e-4, "linear {linear}");
    assert!(mel < 1e-4, "mel {mel}");
}
