//! Seconds of a training step of the published VITS configuration, on clips of noise: only time is measured.
//!
//!     cargo run --release -p timbra-trainer --example training_step -- [BACKEND] [BATCH] [FRAMES] [STEPS]
//!
//! `benches/training_step.py` takes the same step with so-vits-svc-fork and prints both, alternated.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::sync::Arc;
use std::time::Instant;

use burn::backend::Autodiff;
use clap::ValueEnum as _;
use timbra_trainer::backend::BackendName;
use timbra_trainer::random::Random;
use timbra_trainer::training::clips::VoiceClip;
use timbra_trainer::vits::batch::BatchMaker;
use timbra_trainer::vits::config::{Size, VitsFitConfig, VoiceShape, spec};
use timbra_trainer::vits::stepper::{Base, Stepper};
use timbra_trainer::vits::watch::Watch;
use timbra_trainer::with_backend;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, otherwise: usize| {
        args.get(place)
            .map_or(otherwise, |text| text.parse().unwrap())
    };
    let backend = args.first().map_or(BackendName::Flex, |name| {
        BackendName::from_str(name, true).unwrap()
    });
    let (batch, frames, steps) = (number(1, 2), number(2, 200), number(3, 3));
    let shape = VoiceShape {
        content_channels: 768,
        speakers: 200,
        rate_hz: 44_100,
        loudness: false,
        auto_f0: true,
    };
    let mut network = spec(Size::Published, shape).unwrap();
    network.speaker_channels = 256;
    let config = VitsFitConfig {
        batch,
        frames,
        gain_db: 0.0,
        ..VitsFitConfig::standard(Size::Published, network)
    };
    let samples = frames * config.network.hop_samples();
    let features = samples * 100 / 44_100 + 1;
    let mut random = Random::new(1, 0);
    let clip = VoiceClip {
        speaker: 0,
        name: "noise".to_owned(),
        contents: vec![(0..features * 768).map(|_| random.normal()).collect()],
        f0_hz: vec![200.0; features],
        loudness_db: vec![-20.0; features],
        audio: (0..samples).map(|_| 0.1 * random.normal()).collect(),
        held_out: false,
    };
    let maker = BatchMaker::new(Arc::new(vec![clip]), &config).unwrap();
    let batches: Vec<_> = (0..=steps as u64)
        .map(|step| maker.batch(step, (0, 1)).unwrap())
        .collect();
    with_backend!(backend, |B, device| {
        let mut stepper = Stepper::<Autodiff<B>>::new(&config, &Base::default(), &device).unwrap();
        let mut watch = Watch::default();
        for (step, batch) in batches.iter().enumerate() {
            let (started, before) = (Instant::now(), processor_seconds());
            let figures = stepper
                .step(batch, step as u64, &mut watch)
                .unwrap()
                .unwrap();
            let what = if step == 0 { "first" } else { "step" };
            println!(
                "{what} {:.3} s, {:.3} of processors, mel {:.3}",
                started.elapsed().as_secs_f64(),
                processor_seconds() - before,
                figures[0]
            );
        }
    });
}

/// Seconds all processors have worked for this process, as far as Linux tells; 0 elsewhere.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |place: usize| {
        fields
            .get(place)
            .map_or(0.0, |field| field.parse().unwrap_or(0.0))
    };
    (ticks(11) + ticks(12)) / 100.0
}
