//! What a so-vits-svc 4.1 voice of full width with a HuBERT-base encoder costs. Weights are random: only time is measured.
//!
//!     cargo test --release -p timbra-trainer --test full_width -- --ignored --nocapture

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use timbra_engine::offline::Joined;
use timbra_engine::{Controls, LoadedVoice, Service, StreamConfig, Tier};
use timbra_trainer::model::hubert::{self, Hubert, HubertSpec};
use timbra_trainer::model::vits::spec::VitsSpec;
use timbra_trainer::model::vits::voice::VitsVoice;
use timbra_trainer::model::vits::weights::RandomStart;
use timbra_trainer::random::Random;
use timbra_trainer::vits::config::{Size, VoiceShape, spec};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::library::VoiceRef;
use timbra_voice::manifest::{Family, StepSpec};
use timbra_voice::onnx_precision::{Precision, in_precision};
use timbra_voice::package::{Form, sha256_hex, write_voice};

/// The published configuration.
fn published() -> VitsSpec {
    spec(
        Size::Published,
        VoiceShape {
            content_channels: 768,
            speakers: 1,
            rate_hz: 44_100,
            loudness: false,
            auto_f0: true,
        },
    )
    .unwrap()
}

fn write(
    path: &Path,
    step: (usize, usize),
    encoder_step: (usize, usize),
    precision: Precision,
    auto_f0: bool,
) {
    let spec = VitsSpec {
        auto_f0,
        ..published()
    };
    let mut start = RandomStart(Random::new(1, 1));
    let voice = VitsVoice::<Flex>::load(&mut start, &spec, &Default::default()).unwrap();
    let graph = voice.export_streaming(&spec);
    let hubert_spec = HubertSpec::base(12, None);
    let encoder = Hubert::<Flex>::load(&mut start, &hubert_spec, &Default::default()).unwrap();
    let (content, content_spec) = encoder.export_streaming(&hubert_spec);
    let content = in_precision(&content, precision).unwrap();

    let (mut manifest, _) = IdentityVoice::default().parts();
    let encoder_step = hubert::step(encoder_step.0, encoder_step.1);
    manifest.family = Family::Vits;
    manifest.encoder.id = "vec768l12".to_owned();
    manifest.encoder.sha256 = sha256_hex(&content);
    manifest.encoder.channels = 768;
    manifest.encoder.lookahead_samples = encoder_step.lag_samples();
    manifest.encoder.step = Some(encoder_step);
    manifest.encoder.graph = content_spec;
    let step = StepSpec {
        frame_samples: spec.hop_samples(),
        frames: step.0,
        lookahead_frames: step.1,
        delay_samples: graph.delay_samples,
        noise_channels: spec.inter_channels,
        noise_scale: 0.4,
        source_noise_scale: 1.0,
        continuous_f0: true,
        follows_encoder: true,
    };
    manifest.model_rate_hz = spec.rate_hz;
    manifest.hop_samples = spec.rate_hz as usize / 100;
    manifest.delay_samples = step.lag_samples();
    manifest.step = Some(step);
    manifest.synthesis = graph.spec;
    let files = BTreeMap::from([
        ("content.onnx".to_owned(), content),
        (
            "synthesis.onnx".to_owned(),
            in_precision(&graph.bytes, precision).unwrap(),
        ),
    ]);
    write_voice(path, &manifest, &files, Form::File).unwrap();
}

fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// A sine in blocks of 256 samples at 48 kHz.
fn block(number: usize) -> Vec<f32> {
    (0..256)
        .map(|i| 0.2 * ((number * 256 + i) as f32 * 0.03).sin())
        .collect()
}

/// Share of the samples, in percent, that were not there when a host asked for them by the clock, after two seconds.
fn missing_in_real_time(path: &Path, config: StreamConfig, seconds: usize) -> f64 {
    let service = Service::global();
    let (mut port, handle) = service.open(config, VoiceRef::at(path)).unwrap();
    assert!(handle.wait_ready(Duration::from_secs(60)));
    let (mut before, began) = (0, Instant::now());
    let blocks = |seconds: usize| seconds * 48_000 / 256;
    for number in 0..blocks(2 + seconds) {
        let due = Duration::from_secs_f64(number as f64 * 256.0 / 48_000.0);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        port.process(&mut [&mut block(number)], &Controls::default());
        if number == blocks(2) {
            before = handle.status().gap_samples;
        }
    }
    let missing = handle.status().gap_samples - before;
    100.0 * missing as f64 / (seconds * 48_000) as f64
}

#[test]
#[ignore = "takes a minute and half a gigabyte, and measures time"]
fn a_voice_of_full_width_costs() {
    timbra_engine::onnx::ensure_runtime().expect("ONNX Runtime");
    let path = std::env::temp_dir().join(format!("timbra-full-{}.timbra", std::process::id()));
    for (step, encoder_step, precision, auto_f0) in [
        ((2, 2), (1, 1), Precision::F32, true),
        ((2, 2), (1, 1), Precision::Int8, true),
        ((3, 1), (1, 1), Precision::Int8, true),
        ((3, 3), (2, 1), Precision::F32, true),
        ((3, 3), (2, 1), Precision::Int8, true),
        ((8, 4), (4, 2), Precision::F32, true),
        ((8, 4), (4, 2), Precision::Int8, true),
    ] {
        write(&path, step, encoder_step, precision, auto_f0);
        let began = Instant::now();
        let voice = LoadedVoice::load(&path, &[]).unwrap();
        let loaded = began.elapsed();
        let config = StreamConfig {
            host_rate_hz: 48_000,
            max_block_samples: 256,
            channels: 1,
            tier: Tier::Studio,
        };
        let mut joined = Joined::new(&voice, config).unwrap();
        let latency_ms = f64::from(joined.port.latency_samples()) / 48.0;
        let seconds = 10;
        let mut play = |from: usize, to: usize| {
            for n in from * 48_000 / 256..to * 48_000 / 256 {
                joined
                    .process(&mut [&mut block(n)], &Controls::default())
                    .unwrap();
            }
        };
        play(0, 2);
        let (before, began) = (processor_s(), Instant::now());
        play(2, 2 + seconds);
        let load = (processor_s() - before) / seconds as f64;
        let wall = began.elapsed().as_secs_f64() / seconds as f64;
        drop(joined);
        let missing = missing_in_real_time(&path, config, seconds);
        println!(
            "steps of {step:?}, encoder {encoder_step:?} in {precision:?}, auto-F0 {auto_f0}: latency {latency_ms:.1} ms, {load:.2} core-seconds and {wall:.2} s \
             a second, {missing:.2} % of the samples missing in real time, loaded in {loaded:.1?}"
        );
    }
    let _ = std::fs::remove_file(path);
}
