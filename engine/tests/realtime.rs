//! Claims about the audio thread: it does not allocate, and denormal numbers do not slow it down.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use timbra_engine::controls::{HeldNote, RetuneControls, RetuneMode};
use timbra_engine::offline::Joined;
use timbra_engine::worker::Step;
use timbra_engine::{Controls, StreamConfig, Tier};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

#[test]
fn process_and_reset_do_not_allocate() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = support::identity("no-alloc", 3, 0);
    for (block_samples, channels) in [(1, 1), (256, 2), (2000, 2)] {
        let config = StreamConfig {
            host_rate_hz: 44_100,
            max_block_samples: block_samples,
            channels,
            tier: Tier::Live,
        };
        let mut joined = Joined::new(&voice, config).unwrap();
        let song = support::song(44_100, 0.2);
        for round in 0..40 {
            // Also when the worker is away so long that the rings are full.
            let works = round != 20;
            for (index, block) in song.chunks(block_samples).enumerate() {
                let (mut left, mut right) = (block.to_vec(), block.to_vec());
                let controls = Controls {
                    pitch_semitones: index as f32 % 7.0,
                    bypass: index % 50 > 25,
                    retune: RetuneControls {
                        mode: RetuneMode::Midi,
                        ..RetuneControls::default()
                    },
                    note: HeldNote::of(index as u8 % 128),
                    ..Controls::default()
                };
                assert_no_alloc(|| {
                    let mut both = [&mut left[..], &mut right[..]];
                    joined.port.process(&mut both[..channels], &controls);
                });
                if works {
                    while joined.worker.step().unwrap() == Step::Worked {}
                }
            }
            if round % 5 == 4 {
                assert_no_alloc(|| joined.port.reset());
            }
        }
    }
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn denormals_are_flushed_inside_process_and_the_host_keeps_its_own_mode() {
    use std::hint::black_box;
    if !support::runtime_is_there() {
        return;
    }
    let config = StreamConfig {
        host_rate_hz: 48_000,
        max_block_samples: 64,
        channels: 1,
        tier: Tier::Live,
    };
    let voice = support::identity("denormals", 3, 0);
    let mut joined = Joined::new(&voice, config).unwrap();
    let keeps_denormals = || black_box(black_box(f32::MIN_POSITIVE) * 0.5) > 0.0;
    assert!(keeps_denormals());
    let halfway = Controls {
        dry_wet: 0.5,
        output_gain_db: -6.0,
        ..Controls::default()
    };
    for round in 0..200 {
        // Numbers that are denormal, and such as become it.
        let tiny = if round % 2 == 0 {
            1e-40
        } else {
            f32::MIN_POSITIVE
        };
        let mut block = [tiny; 64];
        joined.process(&mut [&mut block], &halfway).unwrap();
        assert!(keeps_denormals(), "the host's mode was changed");
        assert!(block.iter().all(|sample| !sample.is_subnormal()));
    }
}
