//! Encoder and voice run beside the stream: what they take holds up nobody, and being late does not last.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use timbra_engine::offline::Joined;
use timbra_engine::worker::Step;
use timbra_engine::{Controls, StreamConfig, Tier};

const RATE_HZ: u32 = 16_000;
/// 10 ms.
const BLOCK: usize = 160;

/// Two frames, and two of the future.
const STEPS: Option<(usize, usize)> = Some((2, 2));

/// A stream of a voice whose encoder takes about so long for a frame of 10 ms.
fn joined(test: &str, milliseconds: usize, step: Option<(usize, usize)>) -> Joined {
    let config = StreamConfig {
        host_rate_hz: RATE_HZ,
        max_block_samples: BLOCK,
        channels: 1,
        tier: Tier::Studio,
    };
    let mut joined = Joined::new(&support::slowly_heard(test, milliseconds, step), config).unwrap();
    joined.port.set_offline(false);
    joined.worker.set_waits(false);
    joined
}

/// What to ask for so that a frame takes so long on this machine.
fn nominal_for(frame: Duration) -> usize {
    const TRIED: usize = 20;
    let mut joined = joined("nominal", TRIED, STEPS);
    joined.worker.set_waits(true);
    let frames = 40;
    let mut block = vec![0.1; frames * BLOCK];
    let began = Instant::now();
    for block in block.chunks_mut(BLOCK) {
        process(&mut joined, block);
        while joined.worker.step().unwrap() == Step::Worked {}
    }
    let took = began.elapsed() / frames as u32;
    println!("{TRIED}: {took:?} a frame");
    ((TRIED as f64 * frame.as_secs_f64() / took.as_secs_f64()).round() as usize).max(1)
}

fn process(joined: &mut Joined, block: &mut [f32]) {
    joined.port.process(&mut [block], &Controls::default());
}

#[test]
fn a_worker_waits_neither_for_the_encoder_nor_for_the_voice() {
    if !support::runtime_is_there() {
        return;
    }
    let mut joined = joined("nobody-waits", 40, STEPS);
    let latency = joined.port.latency_samples() as usize;
    let input = support::song(RATE_HZ, 0.5);
    let mut output = input.clone();
    // Two blocks more than are owed later: the first step has to be sung for them.
    let (now, later) = output.split_at_mut((latency / BLOCK + 2) * BLOCK);
    let settled = now.len() + 2 * BLOCK;
    for block in now.chunks_mut(BLOCK) {
        process(&mut joined, block);
    }
    let began = Instant::now();
    while joined.worker.step().unwrap() == Step::Worked {}
    let listened = began.elapsed();
    // What is left of the same frames.
    joined.worker.set_waits(true);
    while joined.worker.step().unwrap() == Step::Worked {}
    let sung = began.elapsed();
    println!("handed on in {listened:?}, sung after {sung:?}");
    assert!(listened * 3 < sung, "{listened:?} of {sung:?}");
    for block in later.chunks_mut(BLOCK) {
        process(&mut joined, block);
        while joined.worker.step().unwrap() == Step::Worked {}
    }
    support::assert_same(
        &output[settled..],
        &input[settled - latency..input.len() - latency],
        "what was waited for later",
    );
}

#[test]
fn a_stream_that_was_held_up_is_on_time_again_though_its_encoder_has_little_time_to_spare() {
    if !support::runtime_is_there() {
        return;
    }
    // Half of the time there is: to listen to the past again would take longer than may be late, again and again.
    let nominal = nominal_for(Duration::from_micros(5500));
    for (name, step) in [("beside", STEPS), ("in the stream", None)] {
        held_up(name, joined("held-up", nominal, step));
    }
}

fn held_up(name: &str, mut joined: Joined) {
    let latency = joined.port.latency_samples() as usize;
    let input = support::song(RATE_HZ, 5.0);
    let mut output = input.clone();
    let blocks = input.len() / BLOCK;
    let held_up = 100..130;
    let mut gaps = Vec::new();
    let began = Instant::now();
    for (index, block) in output.chunks_mut(BLOCK).enumerate() {
        process(&mut joined, block);
        let due = began + Duration::from_millis(10) * (index as u32 + 1);
        while Instant::now() < due {
            if held_up.contains(&index) || joined.worker.step().unwrap() == Step::Idle {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        gaps.push(joined.status().gap_samples);
    }
    let second = blocks / 5;
    let of_second = |n: usize| gaps[(n + 1) * second - 1] - gaps[n * second];
    let seconds = [0, 1, 2, 3, 4].map(of_second);
    println!("{name}: samples of gaps in every second {seconds:?}");
    assert!(seconds[1] > 0, "{name}: it was not held up");
    // A machine with other work may have a gap more, but goes on after it.
    let lost = (seconds[3] + seconds[4]).min(seconds[2] + seconds[3]);
    assert!(lost < u64::from(RATE_HZ) / 2, "{name}: {lost}");
    let right = (2 * second * BLOCK..input.len())
        .filter(|&n| (output[n] - input[n - latency]).abs() < 1e-6)
        .count();
    assert!(right > RATE_HZ as usize, "{name}: {right}");
}
