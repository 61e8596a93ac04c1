//! What is kept of the input's articulation: compared at the right time whatever a voice's delays are, and by the share that
//! speakers and controls ask for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use timbra_engine::offline::Joined;
use timbra_engine::{Controls, LoadedVoice, StreamConfig, Tier};
use timbra_voice::identity::IdentityVoice;
use timbra_voice::manifest::MAX_SPEAKERS;
use timbra_voice::package::{self, Form};

const RATE_HZ: u32 = 16_000;

/// What the voice makes of the input, without its latency.
fn played(voice: &Arc<LoadedVoice>, input: &[f32], articulation: f32) -> Vec<f32> {
    let config = StreamConfig {
        host_rate_hz: RATE_HZ,
        max_block_samples: 160,
        channels: 1,
        tier: Tier::Studio,
    };
    let mut joined = Joined::new(voice, config).unwrap();
    let latency = joined.port.latency_samples() as usize;
    let controls = Controls {
        articulation,
        ..Controls::default()
    };
    let mut output = input.to_vec();
    output.resize(input.len() + latency, 0.0);
    for block in output.chunks_mut(160) {
        joined.process(&mut [block], &controls).unwrap();
    }
    output[latency..].to_vec()
}

/// Noise that is dark and soft, then bright and loud, five times a second.
fn syllables(seconds: usize) -> Vec<f32> {
    let mut noise = vec![0.0; seconds * RATE_HZ as usize];
    timbra_dsp::noise::fill(11, 0, &mut noise);
    let mut before = 0.0;
    noise
        .iter()
        .enumerate()
        .map(|(index, &sample)| {
            let bright = index / 1_603 % 2 == 1;
            before += 0.2 * (sample - before);
            if bright {
                0.3 * (sample - before)
            } else {
                0.1 * before
            }
        })
        .collect()
}

/// How far, in dB below the input, the output is from it after a second.
fn apart_db(output: &[f32], input: &[f32]) -> f32 {
    let from = RATE_HZ as usize;
    let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|s| s * s).sum::<f32>();
    let error = power(&mut (output.iter().zip(input).skip(from)).map(|(a, b)| a - b));
    10.0 * (error / power(&mut input.iter().copied().skip(from)) + 1e-12).log10()
}

/// A voice that gives back what it hears has the articulation of its input already, if the two are compared at the same time.
/// With a quarter of a hop between them, 2.5 ms, the output would be 16 dB below the input away from it.
#[test]
fn a_voice_that_repeats_what_it_hears_is_left_alone_whatever_its_delays() {
    if !support::runtime_is_there() {
        return;
    }
    let input = syllables(3);
    for (lookahead_frames, delay_samples, most_db) in [
        (0, 0, -90.0),
        (1, 80, -90.0),
        (3, 240, -90.0),
        (2, 33, -21.0),
        (1, 200, -21.0),
    ] {
        let voice = support::identity("articulated", lookahead_frames, delay_samples);
        let output = played(&voice, &input, 1.0);
        let found_db = apart_db(&output, &input);
        let case = (lookahead_frames, delay_samples);
        assert!(found_db < most_db, "{case:?}: {found_db} dB, not {most_db}");
    }
    for step in [(1, 0), (3, 3), (16, 30)] {
        for (delay_samples, most_db) in [(0, -90.0), (77, -21.0)] {
            let voice = support::identity_in_steps("articulated", delay_samples, step);
            let found_db = apart_db(&played(&voice, &input, 1.0), &input);
            assert!(
                found_db < most_db,
                "{step:?}, {delay_samples}: {found_db} dB, not {most_db}"
            );
        }
    }
}

#[test]
fn speakers_keep_their_share_and_the_control_goes_to_nothing_and_to_all() {
    if !support::runtime_is_there() {
        return;
    }
    let voice = |share: f32| {
        let path = support::folder("own").join("own.timbra");
        let identity = IdentityVoice {
            delay_samples: 45,
            ..IdentityVoice::default()
        };
        let (mut manifest, files) = identity.parts();
        manifest.speakers[0].articulation = share;
        package::write_voice(&path, &manifest, &files, Form::File).unwrap();
        LoadedVoice::load(&path, &[]).unwrap()
    };
    let input = syllables(2);
    let (none, half) = (voice(0.0), voice(0.5));
    // A voice that keeps nothing by itself gives its own samples, to the bit.
    support::assert_same(&played(&none, &input, 0.0), &input, "nothing asked for");
    support::assert_same(&played(&none, &input, -1.0), &input, "less than nothing");
    support::assert_same(&played(&half, &input, -1.0), &input, "of half nothing");
    let by_itself = played(&half, &input, 0.0);
    assert!(
        apart_db(&by_itself, &input) > -60.0,
        "45 samples are no multiple of 80"
    );
    support::assert_same(&by_itself, &played(&none, &input, 0.5), "half either way");
    support::assert_same(
        &played(&half, &input, 1.0),
        &played(&none, &input, 1.0),
        "all",
    );
    assert_eq!(half.manifest().articulation(&[1.0; MAX_SPEAKERS]), 0.5);
}
