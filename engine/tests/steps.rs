//! Voices that make several frames at a time are as punctual as others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use timbra_engine::offline::{self, Joined};
use timbra_engine::{Controls, LoadedVoice, StreamConfig, Tier};

const STEPS: [(usize, usize); 4] = [(1, 0), (3, 3), (4, 1), (16, 30)];

fn config(host_rate_hz: u32, max_block_samples: usize) -> StreamConfig {
    StreamConfig {
        host_rate_hz,
        max_block_samples,
        channels: 1,
        tier: Tier::Studio,
    }
}

fn run(joined: &mut Joined, input: &[f32], block_samples: usize) -> Vec<f32> {
    let mut output = input.to_vec();
    for block in output.chunks_mut(block_samples) {
        joined.process(&mut [block], &Controls::default()).unwrap();
    }
    output
}

#[test]
fn every_sample_comes_at_the_reported_latency_whatever_the_step_and_the_block() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(16_000, 2.0);
    for step in STEPS {
        for delay_samples in [0, 77] {
            let voice = support::identity_in_steps("exact", delay_samples, step);
            for block_samples in [1, 160, 1000] {
                let mut joined = Joined::new(&voice, config(16_000, block_samples)).unwrap();
                let latency = joined.port.latency_samples() as usize;
                let output = run(&mut joined, &input, block_samples);
                let case = format!("{step:?}, delay {delay_samples}, block {block_samples}");
                let wrong = (latency..input.len())
                    .find(|&n| output[n].to_bits() != input[n - latency].to_bits());
                assert_eq!(wrong, None, "{case}: latency {latency}");
                assert!(
                    output[..latency].iter().all(|&s| s == 0.0),
                    "{case}: too early"
                );
            }
        }
    }
}

#[test]
fn an_impulse_lands_at_the_reported_latency_at_every_rate() {
    if !support::runtime_is_there() {
        return;
    }
    for step in STEPS {
        let voice = support::identity_in_steps("impulse", 40, step);
        for host_rate_hz in [44_100, 48_000, 96_000, 192_000] {
            let mut joined = Joined::new(&voice, config(host_rate_hz, 480)).unwrap();
            let latency = joined.port.latency_samples() as usize;
            let at = 5003;
            let mut input = vec![0.0; at + latency + 4000];
            input[at] = 1.0;
            let output = run(&mut joined, &input, 480);
            let peak = (0..output.len())
                .max_by(|&a, &b| output[a].abs().total_cmp(&output[b].abs()))
                .unwrap();
            let measured = peak as i64 - at as i64;
            assert!(
                (measured - latency as i64).abs() <= 1,
                "{host_rate_hz} Hz, {step:?}: reported {latency}, measured {measured}"
            );
        }
    }
}

#[test]
fn after_missing_frames_the_sound_is_on_time_again() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(16_000, 4.0);
    for step in STEPS {
        // A stall that is bridged, and one after which the graph starts over: 20 ms and most of a step are spare.
        for late_blocks in [5, 60] {
            let stall_blocks = 2 + step.0 + late_blocks;
            let voice = support::identity_in_steps("stall", 0, step);
            let mut joined = Joined::new(&voice, config(16_000, 160)).unwrap();
            joined.port.set_offline(false);
            let latency = joined.port.latency_samples() as usize;
            let mut output = input.clone();
            for (index, block) in output.chunks_mut(160).enumerate() {
                joined.port.process(&mut [block], &Controls::default());
                if !(100..100 + stall_blocks).contains(&index) {
                    while joined.worker.step().unwrap() == timbra_engine::worker::Step::Worked {}
                }
            }
            let case = format!("{step:?}, {stall_blocks} blocks");
            assert!(joined.status().gaps > 0, "{case}");
            // The latency that is heard through, the step's own lag, and the fade.
            let settled = (100 + stall_blocks) * 160 + latency + 16_000;
            let wrong =
                (settled..input.len()).find(|&n| (output[n] - input[n - latency]).abs() > 1e-6);
            assert_eq!(wrong, None, "{case}");
        }
    }
}

#[test]
fn a_graph_that_knows_its_own_steps_alone_converts_clips_in_those() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(16_000, 2.0);
    for step in STEPS {
        let played = support::identity_in_steps("clips", 77, step);
        let voice = LoadedVoice::load_for_clips(played.path(), &[]).unwrap();
        assert_eq!(voice.manifest().step, played.manifest().step);
        let constant = |_| Controls::default();
        let output = offline::convert(&voice, &input, 16_000, &constant, &mut |_| {}).unwrap();
        assert_eq!(output.len(), input.len());
        let wrong = (0..input.len()).find(|&n| output[n].to_bits() != input[n].to_bits());
        assert_eq!(wrong, None, "{step:?}");
    }
}

#[test]
fn what_follows_a_silence_is_whole_however_long_the_silence() {
    if !support::runtime_is_there() {
        return;
    }
    let song = support::song(16_000, 0.4);
    for step in STEPS {
        // Hops around those after which it falls asleep, and around those it hears asleep.
        for silent_hops in 1..90 {
            let voice = support::identity_in_steps("silence", 0, step);
            let mut joined = Joined::new(&voice, config(16_000, 160)).unwrap();
            let latency = joined.port.latency_samples() as usize;
            let mut input = song.clone();
            input.resize(song.len() + silent_hops * 160, 0.0);
            input.extend(&song);
            input.resize(input.len() + latency, 0.0);
            let mut output = input.clone();
            let mut slept = false;
            for block in output.chunks_mut(160) {
                joined.process(&mut [block], &Controls::default()).unwrap();
                slept |= joined.status().asleep;
            }
            let case = format!("{step:?}, {silent_hops} hops");
            let wrong = (latency..input.len()).find(|&n| output[n] != input[n - latency]);
            assert_eq!(wrong, None, "{case}");
            assert_eq!(joined.status().skipped_frames, 0, "{case}");
            assert!(slept || silent_hops < 80, "{case}: it never slept");
        }
    }
}
