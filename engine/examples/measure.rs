//! Prints what a voice costs on this machine: latency per configuration, and load per stage on one core.
//!
//! `cargo run --release -p timbra-engine --example measure -- VOICE.timbra [live|studio|render]`; with a tier, only a stream of it that
//! plays in real time.

use std::path::Path;
use std::sync::Arc;

use timbra_dsp::f0::{F0Config, F0Tracker};
use timbra_dsp::loudness::LoudnessMeter;
use timbra_engine::synthesis::{Synthesis, SynthesisFrame};
use timbra_engine::{
    Controls, FeatureExtractor, LatencyPlan, LoadedVoice, Service, StreamConfig, Tier, VoiceRef,
    offline,
};

/// Seconds of audio every figure is measured on.
const SECONDS: usize = 20;
/// Seconds a stream plays in real time.
const PLAYED_SECONDS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("which voice? give the path of a .timbra file")?;
    let tier = match std::env::args().nth(2).as_deref() {
        None => None,
        Some("live") => Some(Tier::Live),
        Some("studio") => Some(Tier::Studio),
        Some("render") => Some(Tier::Render),
        Some(other) => return Err(format!("{other}: expected live, studio or render").into()),
    };
    let voice = offline::load_voice(Path::new(&path))?;
    println!(
        "voice {} ({}), graphs on {}",
        voice.manifest().name,
        &voice.sha256()[..12],
        voice.provider()
    );

    if tier.is_none() {
        measure(&voice)?;
    }
    play(&path, tier.unwrap_or(Tier::Live))
}

/// Latency and load, without a clock.
fn measure(voice: &Arc<LoadedVoice>) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "\nlatency in samples (ms)\n{:>8} {:>6} {:>16} {:>16} {:>16}",
        "rate", "block", "live", "studio", "render"
    );
    for rate_hz in [44_100, 48_000, 96_000] {
        for block_samples in [64, 256, 1024] {
            print!("{rate_hz:>8} {block_samples:>6}");
            for tier in [Tier::Live, Tier::Studio, Tier::Render] {
                let samples = LatencyPlan::new(&voice.timing(), tier, rate_hz, block_samples)?
                    .latency_samples;
                print!(
                    " {samples:>7} ({:>5.1})",
                    f64::from(samples) * 1e3 / f64::from(rate_hz)
                );
            }
            println!();
        }
    }

    let hops: Vec<[f32; 160]> = song(16_000).as_chunks::<160>().0.to_vec();
    let share = |began: f64| (cpu_s() - began) / SECONDS as f64;
    println!("\nload, {SECONDS} s of audio on one core");

    let mut tracker = F0Tracker::new(F0Config::default());
    let mut meter = LoudnessMeter::new();
    let began = cpu_s();
    for hop in &hops {
        std::hint::black_box((tracker.push(hop), meter.push(hop)));
    }
    let pitch = share(began);
    println!("  F0 and loudness  {pitch:.4}");

    let mut extractor = FeatureExtractor::new(Arc::clone(voice.encoder()))?;
    let began = cpu_s();
    let mut frames = Vec::new();
    for hop in &hops {
        frames.extend(extractor.push_hop(hop)?);
    }
    println!("  content encoder  {:.4}", share(began) - pitch);

    let mut synthesis = Synthesis::new(voice)?;
    let mix = Controls::default().normalised_mix(voice.manifest().speakers.len());
    let began = cpu_s();
    for (index, frame) in frames.iter().enumerate() {
        synthesis.run(&SynthesisFrame {
            index: index as u64,
            content: frame.content[..].into(),
            f0_hz: frame.f0_hz,
            loudness_db: frame.loudness_db,
            speaker_mix: mix,
            formant_semitones: 0.0,
            auto_f0: 0.0,
            noise_scale: 1.0,
            seed: 0,
        })?;
    }
    println!("  synthesis        {:.4}", share(began));

    let input = song(48_000);
    let began = cpu_s();
    offline::convert(voice, &input, 48_000, &|_| Controls::default(), &mut |_| {})?;
    println!(
        "  everything       {:.4}  (48 kHz in and out, blocks of 64)",
        share(began)
    );

    println!("\nprocess in the audio thread, stereo, nanoseconds");
    for block_samples in [1, 16, 64, 256, 1024] {
        let (typical, per_sample) = call_ns(voice, block_samples)?;
        println!("  blocks of {block_samples:>4}: {typical:>6} a call, {per_sample:.1} a sample");
    }

    Ok(())
}

/// Plays in real time.
fn play(path: &str, tier: Tier) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "\nthreads of the service while one stream plays in real time, tier {tier:?}, {PLAYED_SECONDS} s each"
    );
    let wanted = VoiceRef::at(path);
    let config = StreamConfig {
        host_rate_hz: 48_000,
        max_block_samples: 256,
        channels: 2,
        tier,
    };
    let (mut port, handle) = Service::global().open(config, wanted)?;
    handle.wait_ready(std::time::Duration::from_secs(60));
    // A second of voice and four of silence: longer than a voice of full width is awake after the last sound.
    let phrases = |index: usize| f32::from((index / 48_000).is_multiple_of(5));
    let level: [(_, &dyn Fn(usize) -> f32); 3] = [
        ("voice", &|_| 1.0),
        ("phrases", &phrases),
        ("silence", &|_| 0.0),
    ];
    let (mut gaps, mut gap_samples, mut skipped_frames) = (0, 0, 0);
    for (what, level) in level {
        let song = song(48_000);
        let input: Vec<f32> = song[..PLAYED_SECONDS * 48_000]
            .iter()
            .enumerate()
            .map(|(index, sample)| sample * level(index))
            .collect();
        let before = computed_s();
        let began = std::time::Instant::now();
        let mut longest = 0.0f64;
        for (index, block) in input.chunks(256).enumerate() {
            let due = std::time::Duration::from_secs_f64(index as f64 * 256.0 / 48_000.0);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let (mut left, mut right) = (block.to_vec(), block.to_vec());
            let entered = std::time::Instant::now();
            port.process(&mut [&mut left, &mut right], &Controls::default());
            longest = longest.max(entered.elapsed().as_secs_f64());
        }
        let status = handle.status();
        let after = computed_s();
        let share: [f64; KINDS.len()] =
            std::array::from_fn(|kind| (after[kind] - before[kind]) / PLAYED_SECONDS as f64);
        println!(
            "  {what:<8} worker {:.3}, listener {:.3}, singer {:.3}, asleep {}, gaps {} of {:.0} ms together, frames left out {}, longest process {:.3} ms",
            share[0],
            share[1],
            share[2],
            status.asleep,
            status.gaps - gaps,
            (status.gap_samples - gap_samples) as f64 / 48.0,
            status.skipped_frames - skipped_frames,
            longest * 1e3
        );
        (gaps, gap_samples) = (status.gaps, status.gap_samples);
        skipped_frames = status.skipped_frames;
    }
    Ok(())
}

/// Median time of a call with so many samples, and mean time per sample.
fn call_ns(
    voice: &Arc<LoadedVoice>,
    block_samples: usize,
) -> Result<(u128, f64), timbra_engine::EngineError> {
    let config = StreamConfig {
        host_rate_hz: 48_000,
        max_block_samples: block_samples,
        channels: 2,
        tier: Tier::Live,
    };
    let mut joined = offline::Joined::new(voice, config)?;
    let input = &song(48_000)[..2 * 48_000];
    let mut calls = Vec::with_capacity(input.len() / block_samples);
    for piece in input.chunks_exact(480.max(block_samples)) {
        let (mut left, mut right) = (piece.to_vec(), piece.to_vec());
        for (left, right) in left
            .chunks_mut(block_samples)
            .zip(right.chunks_mut(block_samples))
        {
            let entered = std::time::Instant::now();
            joined
                .port
                .process(&mut [left, right], &Controls::default());
            calls.push(entered.elapsed().as_nanos());
        }
        while joined.worker.step()? == timbra_engine::worker::Step::Worked {}
    }
    let total: u128 = calls.iter().sum();
    calls.sort_unstable();
    Ok((calls[calls.len() / 2], total as f64 / input.len() as f64))
}

/// Kinds of threads of the service that compute.
const KINDS: [&str; 3] = ["timbra-worker", "timbra-listener", "timbra-singer"];

/// Seconds each of these has computed (on Linux; elsewhere 0).
fn computed_s() -> [f64; KINDS.len()] {
    let mut computed_s = [0.0; KINDS.len()];
    let tasks = std::fs::read_dir("/proc/self/task");
    for task in tasks.into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let name = read("comm");
        let spent = read("schedstat");
        let nanoseconds = spent
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse().ok());
        for (kind, computed_s) in KINDS.iter().zip(&mut computed_s) {
            if name.starts_with(kind) {
                *computed_s += nanoseconds.unwrap_or(0.0) * 1e-9;
            }
        }
    }
    computed_s
}

/// Seconds this thread has computed; other programs on the machine do not count (on Linux; elsewhere they do).
fn cpu_s() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(
            || START.elapsed().as_secs_f64(),
            |nanoseconds| nanoseconds * 1e-9,
        )
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
            let tone: f64 = (1..6)
                .map(|k| (phase * std::f64::consts::TAU * f64::from(k)).sin() / f64::from(k))
                .sum();
            (0.1 * tone) as f32 + 0.005 * breath[index]
        })
        .collect()
}
