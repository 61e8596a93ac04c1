//! Voices that make a step with each step of their encoder sing what others sing, sooner.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use support::shown::{Shown, Shows, late_ms};
use timbra_engine::offline::Joined;
use timbra_engine::{Controls, LoadedVoice, StreamConfig, Tier};

const RATE_HZ: usize = 16_000;
/// Frames of 20 ms of a step of the encoder, and those it sees ahead.
const ENCODER_STEPS: [(usize, usize); 6] = [(1, 1), (2, 1), (3, 0), (2, 3), (6, 2), (1, 0)];

fn shown(shows: Shows, encoder_step: (usize, usize), frame_samples: usize) -> Shown {
    Shown {
        shows,
        encoder_lookahead_frames: 0,
        frame_samples,
        step: (3, 2),
        encoder_step: Some(encoder_step),
        follows: true,
    }
}

fn joined(voice: &Arc<LoadedVoice>) -> Joined {
    let config = StreamConfig {
        host_rate_hz: RATE_HZ as u32,
        max_block_samples: 160,
        channels: 1,
        tier: Tier::Studio,
    };
    Joined::new(voice, config).unwrap()
}

/// The output with the latency taken off; `works` says in which blocks the worker does, `controls` what holds in a block.
fn play(
    voice: &Arc<LoadedVoice>,
    input: &[f32],
    controls: impl Fn(usize) -> Controls,
    works: impl Fn(usize) -> bool,
) -> Vec<f32> {
    let mut joined = joined(voice);
    let latency = joined.port.latency_samples() as usize;
    let mut output = input.to_vec();
    output.resize(input.len() + latency, 0.0);
    for (index, block) in output.chunks_mut(160).enumerate() {
        if works(index) {
            joined.process(&mut [block], &controls(index)).unwrap();
        } else {
            joined.port.process(&mut [block], &controls(index));
        }
    }
    output.split_off(latency)
}

/// Pitch, auto-F0 and noise change after a second.
fn changing(block: usize) -> Controls {
    let mut controls = Controls::default();
    if block >= 100 {
        controls.pitch_semitones = 5.0;
        controls.auto_f0 = 0.7;
        controls.noise_scale = 2.0;
    }
    controls
}

#[test]
fn what_steers_a_voice_is_heard_when_it_is_without_rounds_and_sooner() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(RATE_HZ as u32, 2.0);
    for shows in [
        Shows::F0,
        Shows::AutoF0,
        Shows::Loudness,
        Shows::PriorNoise,
        Shows::SourceNoise,
    ] {
        for encoder_step in ENCODER_STEPS {
            for frame_samples in [110, 160, 186] {
                let follows = shown(shows, encoder_step, frame_samples);
                let fixed = Shown {
                    follows: false,
                    ..follows
                };
                let [follows, fixed] = [follows, fixed].map(|shown| shown.load("rounds"));
                let case = format!("{shows:?} of {frame_samples}, encoder in {encoder_step:?}");
                let [latency, before] = [&follows, &fixed].map(|voice| {
                    let joined = joined(voice);
                    joined.port.latency_samples()
                });
                assert!(
                    latency < before,
                    "{case}: {latency} samples, without rounds {before}"
                );
                let [found, expected] =
                    [&follows, &fixed].map(|voice| play(voice, &input, changing, |_| true));
                let from = 1600;
                let most = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let worst = (found[from..].iter().zip(&expected[from..]))
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(
                    most > 0.05 && worst <= 1e-4 * most,
                    "{case}: {worst} of {most}"
                );
            }
        }
    }
}

#[test]
fn content_is_heard_when_it_is() {
    if !support::runtime_is_there() {
        return;
    }
    for encoder_step in ENCODER_STEPS {
        for frame_samples in [110, 160, 186] {
            let voice = shown(Shows::Content, encoder_step, frame_samples).load("rounds-content");
            // The first 10 ms of every frame of 20 are what is heard of it.
            for at in [8000, 9600, 12_800].map(|at| at / 320 * 320) {
                let mut input = vec![0.1; 24_000];
                input[at..].fill(0.4);
                let output = play(&voice, &input, |_| Controls::default(), |_| true);
                let case = format!("{frame_samples}, encoder in {encoder_step:?}, at {at}");
                for (place, level) in [(at - 1600, 0.1), (at + 1600, 0.4)] {
                    assert!(
                        (output[place] - level).abs() < 1e-4,
                        "{case}: {}",
                        output[place]
                    );
                }
                // From the last frame before it to the first one after, on a line.
                let late = late_ms(&output, RATE_HZ, at, 0.25, true);
                let frame_ms = frame_samples as f32 / 16.0;
                assert!(late.abs() <= 0.5 * frame_ms + 0.1, "{case}: {late} ms late");
            }
        }
    }
}

#[test]
fn after_a_stall_it_is_on_time_again() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(RATE_HZ as u32, 5.0);
    for encoder_step in [(1, 1), (2, 1), (6, 2)] {
        let voice = shown(Shows::F0, encoder_step, 186).load("rounds-stall");
        let expected = play(&voice, &input, changing, |_| true);
        for stall_blocks in [1, 2, 5, 9, 14, 15, 16, 17, 18, 20, 23, 50, 120] {
            let stall = 150..150 + stall_blocks;
            let found = play(&voice, &input, changing, |block| !stall.contains(&block));
            let from = (stall.end + 60) * 160;
            let worst = (found[from..].iter().zip(&expected[from..]))
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                worst < 1e-4,
                "encoder in {encoder_step:?}, {stall_blocks} blocks: {worst} kHz from {from} on"
            );
        }
    }
}

#[test]
fn a_graph_that_knows_one_step_only_is_refused_when_it_is_loaded() {
    if !support::runtime_is_there() {
        return;
    }
    // Steps of 80 ms, in frames of 160: it would have to make 8 and does, but not fewer.
    let path = shown(Shows::F0, (4, 1), 160).write_with_fixed_steps("rounds-fixed", 8);
    let error = LoadedVoice::load(&path, &[]).unwrap_err().to_string();
    assert!(error.contains("synthesis.onnx"), "{error}");
}
