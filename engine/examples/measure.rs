//! Prints what a voice costs on this machine: latency per configuration, and load per stage on one core.
//!
//! `cargo run --release -p timbra-engine --example measure -- VOICE.timbra`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::loudness::LoudnessMeter;
use timbra_engine::synthesis::{Synthesis, SynthesisFrame};
use timbra_engine::{Controls, FeatureExtractor, LatencyPlan, Tier, offline};

/// Seconds of audio every figure is measured on.
const SECONDS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which voice? give the path of a .timbra file")?;
    let voice = offline::load_voice(Path::new(&path))?;
    println!("voice {} ({}), graphs on {}", voice.manifest().name, &voice.sha256()[..12], voice.provider());

    println!("\nlatency in samples (ms)\n{:>8} {:>6} {:>16} {:>16} {:>16}", "rate", "block", "live", "studio", "render");
    for rate_hz in [44_100, 48_000, 96_000] {
        for block_samples in [64, 256, 1024] {
            print!("{rate_hz:>8} {block_samples:>6}");
            for tier in [Tier::Live, Tier::Studio, Tier::Render] {
                let samples = LatencyPlan::new(&voice.timing(), tier, rate_hz, block_samples)?.latency_samples;
                print!(" {samples:>7} ({:>5.1})", f64::from(samples) * 1e3 / f64::from(rate_hz));
            }
            println!();
        }
    }

    let hops: Vec<[f32; 160]> = song(16_000).as_chunks::<160>().0.to_vec();
    let share = |began: Instant| began.elapsed().as_secs_f64() / SECONDS as f64;
    println!("\nload, {SECONDS} s of audio on one core");

    let mut tracker = F0Tracker::new(F0Config::default());
    let mut meter = LoudnessMeter::new();
    let began = Instant::now();
    for hop in &hops {
        std::hint::black_box((tracker.push(hop), meter.push(hop)));
    }
    let pitch = share(began);
    println!("  F0 and loudness  {pitch:.4}");

    let mut extractor = FeatureExtractor::new(Arc::clone(voice.encoder()))?;
    let began = Instant::now();
    let mut frames = Vec::new();
    for hop in &hops {
        frames.extend(extractor.push_hop(hop)?);
    }
    println!("  content encoder  {:.4}", share(began) - pitch);

    let mut synthesis = Synthesis::new(&voice)?;
    let mix = Controls::default().normalised_mix(voice.manifest().speakers.len());
    let began = Instant::now();
    for (index, frame) in frames.iter().enumerate() {
        synthesis.run(&SynthesisFrame {
            index: index as u64,
            content: &frame.content,
            f0_hz: frame.f0_hz,
            loudness_db: frame.loudness_db,
            speaker_mix: mix,
            formant_semitones: 0.0,
            seed: 0,
        })?;
    }
    println!("  synthesis        {:.4}", share(began));

    let input = song(48_000);
    let began = Instant::now();
    offline::convert(&voice, &input, 48_000, &|_| Controls::default(), &mut |_| {})?;
    println!("  everything       {:.4}  (48 kHz in and out, blocks of 64)", share(began));
    Ok(())
}

/// A gliding tone with overtones and breath.
fn song(rate_hz: u32) -> Vec<f32> {
    let total = rate_hz as usize * SECONDS;
    let mut breath = vec![0.0; total];
    timbra_dsp::noise::fill(7, 0, &mut breath);
    let mut phase = 0.0f64;
    (0..total)
        .map(|index| {
            let f0_hz = 220.0 + 60.0 * (index as f64 / f64::from(rate_hz) * 1.7).sin();
            phase += f0_hz / f64::from(rate_hz);
            let tone: f64 = (1..6).map(|k| (phase * std::f64::consts::TAU * f64::from(k)).sin() / f64::from(k)).sum();
            (0.1 * tone) as f32 + 0.005 * breath[index]
        })
        .collect()
}
