//! Claims about F0 that is moved to notes, through a whole stream: what is sung, what a voice is told, and when.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use support::shown::{Shown, Shows, late_ms};
use timbra_engine::controls::{HeldNote, RetuneControls, RetuneMode, Scale};
use timbra_engine::offline::Joined;
use timbra_engine::{Controls, LoadedVoice, StreamConfig, Tier};

const RATE_HZ: usize = 16_000;

/// A voice whose output is F0 in kilohertz.
fn showing_f0(step: (usize, usize), frame_samples: usize) -> Arc<LoadedVoice> {
    Shown {
        shows: Shows::F0,
        encoder_lookahead_frames: 3,
        frame_samples,
        step,
        encoder_step: None,
        follows: false,
    }
    .load("retune")
}

/// The output with the latency taken off, in blocks of `block`, for controls that hold until the next.
fn play(
    voice: &Arc<LoadedVoice>,
    input: &[f32],
    block: usize,
    controls: &[(usize, Controls)],
) -> Vec<f32> {
    let config = StreamConfig {
        host_rate_hz: RATE_HZ as u32,
        max_block_samples: block,
        channels: 1,
        tier: Tier::Studio,
    };
    let mut joined = Joined::new(voice, config).unwrap();
    let latency = joined.port.latency_samples() as usize;
    let mut output = input.to_vec();
    output.resize(input.len() + latency, 0.0);
    let mut place = 0;
    while place < output.len() {
        let now = controls.iter().rposition(|c| c.0 <= place).unwrap();
        let until = controls.get(now + 1).map_or(usize::MAX, |next| next.0);
        let end = (place + block).min(until).min(output.len());
        joined
            .process(&mut [&mut output[place..end]], &controls[now].1)
            .unwrap();
        place = end;
    }
    assert_eq!(joined.status().gaps, 0);
    output.split_off(latency)
}

/// Eight harmonics of a pitch that may change from sample to sample.
fn sung(f0_hz: impl Fn(usize) -> f64, total: usize) -> Vec<f32> {
    let mut turns = 0.0;
    (0..total)
        .map(|n| {
            turns += f0_hz(n) / RATE_HZ as f64;
            let harmonic = |h: i32| (std::f64::consts::TAU * turns * f64::from(h)).sin();
            (1..=8)
                .map(|h| 0.2 * harmonic(h) / f64::from(h))
                .sum::<f64>() as f32
        })
        .collect()
}

fn hz(note: f64) -> f64 {
    440.0 * ((note - 69.0) / 12.0).exp2()
}

fn by_midi(note: HeldNote) -> Controls {
    Controls {
        retune: RetuneControls {
            mode: RetuneMode::Midi,
            speed_ms: 0.0,
            ..RetuneControls::default()
        },
        note,
        ..Controls::default()
    }
}

#[test]
fn a_key_is_heard_at_its_sample_wherever_the_frames_are() {
    if !support::runtime_is_there() {
        return;
    }
    let sung_hz = 200.0;
    let input = sung(|_| sung_hz, 40_000);
    let none = HeldNote::NONE;
    for (before, after, levels) in [
        (none, HeldNote::of(64), [sung_hz, hz(64.0)]),
        (HeldNote::of(64), none, [hz(64.0), sung_hz]),
        (HeldNote::of(52), HeldNote::of(60), [hz(52.0), hz(60.0)]),
    ] {
        for (step, frame_samples) in [((1, 1), 160), ((4, 2), 186)] {
            let voice = showing_f0(step, frame_samples);
            let mut worst_ms = 0.0f32;
            for at in (16_000..16_160).step_by(20) {
                let output = play(
                    &voice,
                    &input,
                    256,
                    &[(0, by_midi(before)), (at, by_midi(after))],
                );
                let case = format!("{before:?} to {after:?} in {step:?} at {at}");
                for (place, hz) in [(at - 800, levels[0]), (at + 800, levels[1])] {
                    let cents = 1200.0 * (f64::from(output[place]) * 1000.0 / hz).log2();
                    assert!(cents.abs() < 3.0, "{case}: {cents} cents off");
                }
                // Half way on the scale that is heard.
                let half = ((levels[0] * levels[1]).sqrt() / 1000.0) as f32;
                let rises = levels[1] > levels[0];
                let late_ms = late_ms(&output, RATE_HZ, at, half, rises);
                worst_ms = worst_ms.max(late_ms.abs());
                assert!(late_ms.abs() <= 1.0, "{case}: {late_ms} ms late");
            }
            println!("{before:?} to {after:?} in {step:?}: within {worst_ms} ms");
        }
    }
}

#[test]
fn off_it_changes_nothing_whatever_else_is_set() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(RATE_HZ as u32, 1.0);
    let set = Controls {
        retune: RetuneControls {
            key: 7,
            scale: Scale::Blues,
            speed_ms: 0.0,
            humanise: 1.0,
            reference_hz: 415.0,
            ..RetuneControls::default()
        },
        note: HeldNote::of(40),
        ..Controls::default()
    };
    let faint = |mode| Controls {
        retune: RetuneControls {
            mode,
            amount: 0.0,
            ..set.retune
        },
        ..set
    };
    for voice in [
        showing_f0((4, 2), 160),
        support::identity("retune-off", 3, 0),
    ] {
        let plain = play(&voice, &input, 256, &[(0, Controls::default())]);
        for controls in [set, faint(RetuneMode::Scale), faint(RetuneMode::Midi)] {
            let found = play(&voice, &input, 256, &[(0, controls)]);
            support::assert_same(&found, &plain, "off, or none of it");
        }
    }
}

#[test]
fn a_sung_glide_is_told_to_the_voice_in_notes_of_the_scale() {
    if !support::runtime_is_there() {
        return;
    }
    // Two octaves in three seconds, transposed by a third: what is heard is in the scale, not what is sung.
    let input = sung(|n| hz(48.0 + 8.0 * n as f64 / RATE_HZ as f64), 3 * RATE_HZ);
    let voice = showing_f0((1, 1), 160);
    for (scale, key) in [
        (Scale::Chromatic, 0),
        (Scale::Major, 2),
        (Scale::MinorPentatonic, 9),
    ] {
        let controls = Controls {
            pitch_semitones: 4.3,
            retune: RetuneControls {
                mode: RetuneMode::Scale,
                key,
                scale,
                speed_ms: 0.0,
                ..RetuneControls::default()
            },
            ..Controls::default()
        };
        let found = play(&voice, &input, 256, &[(0, controls)]);
        let plain = play(
            &voice,
            &input,
            256,
            &[(
                0,
                Controls {
                    pitch_semitones: 4.3,
                    ..Controls::default()
                },
            )],
        );
        let note = |khz: f32| 69.0 + 12.0 * (khz / 0.44).log2();
        let (mut in_scale, mut plain_in_scale, mut frames) = (0, 0, 0);
        for n in (RATE_HZ / 2..input.len() - RATE_HZ / 4).step_by(160) {
            let within = |note: f32| {
                (note - note.round()).abs() < 0.03 && scale.has(key, note.round() as i32)
            };
            frames += 1;
            in_scale += usize::from(within(note(found[n])));
            plain_in_scale += usize::from(within(note(plain[n])));
        }
        println!("{scale:?}: {in_scale} of {frames} frames, {plain_in_scale} without");
        // The rest is on the way from one note to the next: a frame each.
        assert!(in_scale * 100 >= frames * 85, "{in_scale} of {frames}");
        assert!(plain_in_scale * 100 <= frames * 20, "{plain_in_scale}");
    }
}

#[test]
fn retuning_does_not_depend_on_the_hosts_blocks() {
    if !support::runtime_is_there() {
        return;
    }
    let input = support::song(RATE_HZ as u32, 1.5);
    let voice = showing_f0((4, 2), 186);
    let with = |mode, note| Controls {
        retune: RetuneControls {
            mode,
            scale: Scale::Dorian,
            key: 3,
            speed_ms: 40.0,
            humanise: 0.6,
            ..RetuneControls::default()
        },
        note,
        ..Controls::default()
    };
    let controls = [
        (0, with(RetuneMode::Scale, HeldNote::NONE)),
        (5_003, with(RetuneMode::Midi, HeldNote::NONE)),
        (7_111, with(RetuneMode::Midi, HeldNote::of(57))),
        (7_140, with(RetuneMode::Midi, HeldNote::of(61))),
        (15_002, with(RetuneMode::Midi, HeldNote::NONE)),
        (18_000, with(RetuneMode::Off, HeldNote::NONE)),
    ];
    let reference = play(&voice, &input, 64, &controls);
    for block in [1, 77, 480, 4096] {
        let found = play(&voice, &input, block, &controls);
        support::assert_same(&found, &reference, &format!("blocks of {block}"));
    }
}
