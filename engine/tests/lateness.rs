//! Claims about a worker that is late: gaps are filled and counted, and what comes after is on time to the sample.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use timbra_engine::offline::Joined;
use timbra_engine::worker::Step;
use timbra_engine::{Controls, Fallback, StreamConfig, Tier};

const RATE_HZ: u32 = 16_000;
const BLOCK: usize = 160;

/// Plays `input` in real-time manner; the worker works only in blocks for which `works` says so.
fn play(
    joined: &mut Joined,
    input: &[f32],
    controls: &Controls,
    works: impl Fn(usize) -> bool,
) -> Vec<f32> {
    joined.port.set_offline(false);
    let mut output = input.to_vec();
    for (index, block) in output.chunks_mut(BLOCK).enumerate() {
        joined.port.process(&mut [block], controls);
        if works(index) {
            while joined.worker.step().unwrap() == Step::Worked {}
        }
    }
    output
}

fn joined(test: &str) -> Joined {
    let voice = support::identity(test, 3, 0);
    let config = StreamConfig {
        host_rate_hz: RATE_HZ,
        max_block_samples: BLOCK,
        channels: 1,
        tier: Tier::Live,
    };
    Joined::new(&voice, config).unwrap()
}

#[test]
fn after_a_stall_the_output_is_on_time_again_to_the_sample() {
    if !support::runtime_is_there() {
        return;
    }
    // 0.05 s: late frames; 0.5 s: many; 3 s: input is lost as well.
    for (name, stall_blocks) in [("short", 5), ("long", 50), ("lost", 300)] {
        let mut joined = joined(&format!("stall-{name}"));
        let latency = joined.port.latency_samples() as usize;
        let input = support::song(RATE_HZ, 6.0);
        let stall = 100..100 + stall_blocks;
        let output = play(&mut joined, &input, &Controls::default(), |block| {
            !stall.contains(&block)
        });
        let status = joined.status();
        assert_eq!(status.gaps, 1, "{name}");
        assert!(status.gap_samples > 0);
        let wrong = |&n: &usize| output[n].to_bits() != input[n - latency].to_bits();
        let last_wrong = (latency..input.len()).rev().find(wrong).unwrap();
        let first_sound = (stall.end * BLOCK..input.len()).find(|&n| output[n] != 0.0);
        println!(
            "{name}: sound {:?} samples after the worker goes on, right to the bit {} after it (a hop has {BLOCK})",
            first_sound.map(|n| n - stall.end * BLOCK),
            (last_wrong + 1).saturating_sub(stall.end * BLOCK)
        );
        if name != "lost" {
            // The hop that is made first, and its fade.
            assert!(
                last_wrong < stall.end * BLOCK + 2 * BLOCK,
                "{name}: right from {} on",
                last_wrong + 1
            );
        }
        // One hop, the features' context, the fade; what was lost has to be listened to anew.
        let from = stall.end * BLOCK + latency + 10 * BLOCK;
        support::assert_same(
            &output[from..],
            &input[from - latency..input.len() - latency],
            name,
        );
        let before = 100 * BLOCK;
        support::assert_same(&output[latency..before], &input[..before - latency], name);
        let gap = stall.end * BLOCK - BLOCK;
        if stall_blocks > 5 {
            assert!(
                output[gap - 200..gap].iter().all(|&sample| sample == 0.0),
                "{name}: silence fills the gap"
            );
        }
    }
}

#[test]
fn a_gap_is_filled_with_dry_when_that_is_chosen_and_never_clicks() {
    if !support::runtime_is_there() {
        return;
    }
    let input: Vec<f32> = (0..48_000)
        .map(|index| 0.4 * (index as f32 * 0.03).sin())
        .collect();
    let steepest_of = |samples: &[f32]| {
        samples
            .windows(2)
            .map(|pair| (pair[0] - pair[1]).abs())
            .fold(0.0, f32::max)
    };
    for fallback in [Fallback::Silence, Fallback::Dry] {
        let mut joined = joined("gap-dry");
        let latency = joined.port.latency_samples() as usize;
        let controls = Controls {
            fallback,
            ..Controls::default()
        };
        let output = play(&mut joined, &input, &controls, |block| {
            !(50..120).contains(&block)
        });
        assert!(
            steepest_of(&output[latency + 1..]) < 0.04,
            "{fallback:?}: {}",
            steepest_of(&output[latency + 1..])
        );
        let gap = 110 * BLOCK;
        if fallback == Fallback::Dry {
            assert_eq!(output[gap], input[gap - latency]);
        } else {
            assert_eq!(output[gap], 0.0);
        }
    }
}

#[test]
fn an_hour_with_random_stalls_drifts_by_no_sample() {
    if !support::runtime_is_there() {
        return;
    }
    let mut joined = joined("random");
    let latency = joined.port.latency_samples() as usize;
    // An hour, by a clock that runs as fast as it can; the same minute again and again.
    let minutes = 60;
    let input = support::song(RATE_HZ, 60.0).repeat(minutes);
    let mut noise = vec![0.0; input.len() / BLOCK + 1];
    timbra_dsp::noise::fill(3, 0, &mut noise);
    // A stall of random length about every second.
    let mut works = Vec::new();
    while works.len() < noise.len() {
        let dice = noise[works.len()];
        works.extend(std::iter::repeat_n(true, 60 + (dice.abs() * 60.0) as usize));
        let dice = noise[works.len().min(noise.len() - 1)];
        works.extend(std::iter::repeat_n(false, (dice.abs() * 40.0) as usize));
    }
    let output = play(&mut joined, &input, &Controls::default(), |block| {
        works[block]
    });
    let mut right = 0;
    for block in 20..input.len() / BLOCK - 1 {
        let at = block * BLOCK;
        let same = output[at..at + BLOCK] == input[at - latency..at + BLOCK - latency];
        right += usize::from(same);
        // Long after a stall everything is exact.
        if works[block - 18..=block].iter().all(|&works| works) {
            assert!(same, "block {block}");
        }
    }
    assert!(right * 2 > input.len() / BLOCK, "{right}");
    assert!(joined.status().gaps > 10 * minutes as u64);
}
