//! Claims about time: latency, alignment, and that neither depends on the host's blocks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use timbra_engine::offline::Joined;
use timbra_engine::{Controls, StreamConfig, Tier};

fn config(host_rate_hz: u32, max_block_samples: usize, channels: usize) -> StreamConfig {
    StreamConfig {
        host_rate_hz,
        max_block_samples,
        channels,
        tier: Tier::Live,
    }
}

/// Runs a mono signal through a stream, with the controls that hold at the start of each block.
fn run(
    joined: &mut Joined,
    input: &[f32],
    block_samples: usize,
    controls: impl Fn(usize) -> Controls,
) -> Vec<f32> {
    let mut output = input.to_vec();
    let mut start = 0;
    for block in output.chunks_mut(block_samples) {
        let length = block.len();
        joined.process(&mut [block], &controls(start)).unwrap();
        start += length;
    }
    output
}

fn peak_position(samples: &[f32]) -> usize {
    (0..samples.len())
        .max_by(|&a, &b| samples[a].abs().total_cmp(&samples[b].abs()))
        .unwrap()
}

#[test]
fn reported_latency_matches_impulse() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("impulse", 3, 80);
    for host_rate_hz in [16_000, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000] {
        for block_samples in [1, 64, 480, 1024, 8192] {
            let mut joined = Joined::new(&voice, config(host_rate_hz, block_samples, 1)).unwrap();
            let latency = joined.port.latency_samples() as usize;
            let at = 5003;
            let mut input = vec![0.0; at + latency + 4000];
            input[at] = 1.0;
            let output = run(&mut joined, &input, block_samples, |_| Controls::default());
            let measured = peak_position(&output) as i64 - at as i64;
            assert!(
                (measured - latency as i64).abs() <= 1,
                "{host_rate_hz} Hz, blocks of {block_samples}: reported {latency}, measured {measured}"
            );
            assert_eq!(
                joined.status().gaps,
                0,
                "{host_rate_hz} Hz, blocks of {block_samples}"
            );
        }
    }
}

#[test]
fn dry_is_delayed_by_exactly_the_reported_latency_on_every_channel() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("dry", 3, 0);
    let mut joined = Joined::new(&voice, config(48_000, 100, 2)).unwrap();
    let latency = joined.port.latency_samples() as usize;
    let left = support::song(48_000, 0.4);
    let right: Vec<f32> = left.iter().map(|sample| -0.5 * sample).collect();
    let (mut out_left, mut out_right) = (left.clone(), right.clone());
    let dry = Controls {
        dry_wet: 0.0,
        ..Controls::default()
    };
    for (block_left, block_right) in out_left.chunks_mut(100).zip(out_right.chunks_mut(100)) {
        joined
            .process(&mut [block_left, block_right], &dry)
            .unwrap();
    }
    support::assert_same(&out_left[latency..], &left[..left.len() - latency], "left");
    support::assert_same(
        &out_right[latency..],
        &right[..right.len() - latency],
        "right",
    );
    assert!(out_left[..latency].iter().all(|&sample| sample == 0.0));
}

#[test]
fn wet_is_the_mono_mix_on_every_channel() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("mix", 3, 0);
    let mut joined = Joined::new(&voice, config(16_000, 64, 2)).unwrap();
    let latency = joined.port.latency_samples() as usize;
    let left = support::song(16_000, 0.4);
    let (mut out_left, mut out_right) = (left.clone(), vec![0.0; left.len()]);
    for (block_left, block_right) in out_left.chunks_mut(64).zip(out_right.chunks_mut(64)) {
        joined
            .process(&mut [block_left, block_right], &Controls::default())
            .unwrap();
    }
    support::assert_same(&out_left, &out_right, "both channels");
    for (heard, sung) in out_left[latency..].iter().zip(&left) {
        assert_eq!(*heard, 0.5 * sung);
    }
}

#[test]
fn output_is_bit_identical_at_every_block_size() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("blocks", 2, 33);
    let controls = Controls {
        output_gain_db: -3.0,
        gate_db: -45.0,
        loudness_match: 0.5,
        articulation: 0.7,
        ..Controls::default()
    };
    for host_rate_hz in [44_100, 48_000] {
        let mut input = support::song(host_rate_hz, 0.7);
        input.extend(vec![0.0; host_rate_hz as usize / 2]);
        let mut reference: Option<Vec<f32>> = None;
        for block_samples in [64, 1, 7, 333, 1024, 8192] {
            let mut joined = Joined::new(&voice, config(host_rate_hz, block_samples, 1)).unwrap();
            let latency = joined.port.latency_samples() as usize;
            let mut padded = input.clone();
            padded.resize(input.len() + latency, 0.0);
            let output = run(&mut joined, &padded, block_samples, |_| controls)[latency..].to_vec();
            let reference = reference.get_or_insert_with(|| output.clone());
            support::assert_same(
                &output,
                reference,
                &format!("{host_rate_hz} Hz, blocks of {block_samples}"),
            );
        }
    }
}

#[test]
fn a_step_of_gain_or_mix_is_heard_at_its_sample_plus_latency() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("step", 3, 0);
    let input = vec![0.5; 16_000];
    let step_at = 6400;
    let before = Controls::default();
    for after in [
        Controls {
            output_gain_db: -20.0,
            ..before
        },
        Controls {
            dry_wet: 0.0,
            output_gain_db: -20.0,
            ..before
        },
    ] {
        for block_samples in [64, 320, 6400] {
            let mut joined = Joined::new(&voice, config(16_000, block_samples, 1)).unwrap();
            let latency = joined.port.latency_samples() as usize;
            let output = run(&mut joined, &input, block_samples, |start| {
                if start < step_at { before } else { after }
            });
            let lands = step_at + latency;
            // The ramp takes 64 samples, and its middle is the step.
            assert!((output[lands - 33] - 0.5).abs() < 1e-4);
            assert!(
                (output[lands + 32] - 0.05).abs() < 1e-4,
                "blocks of {block_samples}: {}",
                output[lands + 32]
            );
            let middle = output[lands];
            assert!((middle - 0.275).abs() < 0.01, "half way: {middle}");
        }
    }
}

#[test]
fn bypass_is_the_aligned_input_and_comes_without_a_click() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("bypass", 3, 0);
    let mut joined = Joined::new(&voice, config(16_000, 64, 1)).unwrap();
    let latency = joined.port.latency_samples() as usize;
    let input: Vec<f32> = (0..16_000)
        .map(|index| 0.5 * (index as f32 * 0.05).sin())
        .collect();
    let loud = Controls {
        output_gain_db: 6.0,
        ..Controls::default()
    };
    let output = run(&mut joined, &input, 64, |start| Controls {
        bypass: start >= 6400,
        ..loud
    });
    let from = 6400 + latency + 200;
    support::assert_same(
        &output[from..],
        &input[from - latency..16_000 - latency],
        "bypass",
    );
    let steepest = output
        .windows(2)
        .skip(latency)
        .map(|pair| (pair[0] - pair[1]).abs())
        .fold(0.0, f32::max);
    assert!(
        steepest < 0.065,
        "{steepest}: the tone itself moves 0.05 a sample at +6 dB"
    );
}

#[test]
fn reset_starts_the_same_stream_again() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("reset", 3, 20);
    let input = support::song(44_100, 0.5);
    let fresh = {
        let mut joined = Joined::new(&voice, config(44_100, 128, 1)).unwrap();
        run(&mut joined, &input, 128, |_| Controls::default())
    };
    let mut joined = Joined::new(&voice, config(44_100, 128, 1)).unwrap();
    run(&mut joined, &input[..10_007], 50, |_| Controls::default());
    joined.port.reset();
    let again = run(&mut joined, &input, 128, |_| Controls::default());
    support::assert_same(&again, &fresh, "after a reset");
}

#[test]
fn silence_is_silence_after_the_tail_and_the_worker_sleeps() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("silence", 3, 80);
    let mut joined = Joined::new(&voice, config(48_000, 256, 1)).unwrap();
    let tail = joined.port.tail_samples() as usize;
    let sung = support::song(48_000, 0.5);
    let mut input = sung.clone();
    input.resize(96_000, 0.0);
    let output = run(&mut joined, &input, 256, |_| Controls::default());
    assert!(joined.status().asleep);
    assert!(
        output[sung.len() + tail..]
            .iter()
            .all(|&sample| sample == 0.0)
    );
    // It wakes as if nothing had been.
    let latency = joined.port.latency_samples() as usize;
    let again = run(&mut joined, &input, 256, |_| Controls::default());
    let worst = again[latency..latency + sung.len()]
        .iter()
        .zip(&output[latency..])
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 2e-3, "{worst}");
    assert!(!again.iter().all(|&sample| sample == 0.0));
}

#[test]
fn bad_samples_are_read_as_silence_and_counted() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("bad", 3, 0);
    let mut joined = Joined::new(&voice, config(16_000, 64, 1)).unwrap();
    let mut input = support::song(16_000, 0.5);
    for index in [100, 2000, 2001, 5000] {
        input[index] = if index % 2 == 0 {
            f32::NAN
        } else {
            f32::INFINITY
        };
    }
    let output = run(&mut joined, &input, 64, |_| Controls::default());
    assert!(output.iter().all(|sample| sample.is_finite()));
    assert_eq!(joined.status().bad_input_samples, 4);
}
