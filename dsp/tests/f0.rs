//! Claims about the F0 tracker, on synthetic voices whose pitch is known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "f0/default.rs"]
mod default;
#[path = "f0/short.rs"]
mod short;
#[path = "f0/signals.rs"]
mod signals;

use signals::{
    HOP_SAMPLES, RATE_HZ, SOURCES, Source, errors_cents, median_magnitude, share_above, track,
    track_with, tracker, voice,
};
use std::f64::consts::TAU;
use timbra_dsp::Lookahead::{self, Long, Short};
use timbra_dsp::f0::{F0Config, F0Frame, F0Tracker};
use timbra_dsp::noise;

#[test]
fn glides_over_the_whole_range_have_no_octave_errors() {
    assert_glides_are_followed(Long, &[0.0, 0.7], 0.02);
}

/// Glides over the whole range, with vibratos so wide in semitones: no octave is wrong, and at most this share of the frames
/// unvoiced.
fn assert_glides_are_followed(
    lookahead: Lookahead,
    vibratos_semitones: &[f64],
    most_unvoiced: f64,
) {
    let octaves = (1400f64 / 50.0).log2();
    let (mut all, mut unvoiced) = (Vec::new(), 0);
    for (seed, source) in SOURCES.into_iter().enumerate() {
        for octaves_per_s in [0.7, 2.0] {
            for falling in [false, true] {
                for vibrato_semitones in vibratos_semitones {
                    let duration_s = octaves / octaves_per_s;
                    let (signal, pitch) = voice(duration_s, source, seed as u64, |time_s| {
                        let along = if falling { duration_s - time_s } else { time_s };
                        let vibrato = vibrato_semitones / 12.0 * (TAU * 5.7 * time_s).sin();
                        (50.0 * (octaves_per_s * along + vibrato).exp2()).clamp(50.0, 1400.0)
                    });
                    let (errors, missed) = errors_cents(&track(lookahead, &signal), &pitch);
                    all.extend(errors);
                    unvoiced += missed;
                }
            }
        }
    }
    let octave_errors = share_above(&all, 300.0);
    assert!(
        octave_errors <= 0.005,
        "{:.2} % octave errors",
        100.0 * octave_errors
    );
    assert!(
        median_magnitude(&all) < 2.0,
        "median {} cents",
        median_magnitude(&all)
    );
    assert!(
        (unvoiced as f64) < most_unvoiced * all.len() as f64,
        "{unvoiced} of {} frames unvoiced",
        all.len()
    );
}

#[test]
fn steady_notes_are_exact_to_a_cent() {
    for lookahead in [Long, Short] {
        for note_hz in [
            55.0, 82.41, 110.0, 196.0, 261.63, 440.0, 659.26, 880.0, 1_046.5, 1_318.5,
        ] {
            for source in SOURCES {
                let (signal, pitch) = voice(0.6, source, 9, |_| note_hz);
                let (errors, unvoiced) = errors_cents(&track(lookahead, &signal), &pitch);
                assert_eq!(unvoiced, 0, "{note_hz} Hz, {source:?}");
                let bias = errors.iter().sum::<f64>() / errors.len() as f64;
                // Noise lets a low sine wander; a voice has overtones that hold it.
                let limit = if source == Source::Sine {
                    12.0 * (100.0 / note_hz).max(0.5)
                } else {
                    3.0
                };
                assert!(
                    bias.abs() < limit,
                    "{note_hz} Hz, {source:?}: {bias} cents off"
                );
                assert!(
                    share_above(&errors, 50.0) == 0.0,
                    "{note_hz} Hz, {source:?}"
                );
            }
        }
    }
}

#[test]
fn vibrato_is_followed_without_lag() {
    for centre_hz in [130.0, 220.0, 440.0, 880.0] {
        let (signal, pitch) = voice(2.0, SOURCES[0], 4, |time_s| {
            centre_hz * (1.0 / 12.0 * (TAU * 6.0 * time_s).sin()).exp2()
        });
        let frames = track(Long, &signal);
        let (errors, _) = errors_cents(&frames, &pitch);
        // A lag of one frame would be wrong by 24 cents in the median.
        assert!(
            median_magnitude(&errors) < 6.0,
            "{centre_hz} Hz: {} cents",
            median_magnitude(&errors)
        );
    }
}

#[test]
fn onset_and_end_of_a_note_are_found_within_two_frames() {
    for note_hz in [98.0, 220.0, 523.0] {
        let (note, _) = voice(0.5, SOURCES[0], 5, |_| note_hz);
        let mut signal = vec![0.0; 16_000];
        noise::fill(2, 0, &mut signal);
        signal.iter_mut().for_each(|sample| *sample *= 1e-4);
        for (slot, sample) in signal[4_800..].iter_mut().zip(&note) {
            *slot += sample;
        }
        let frames = track(Long, &signal);
        let first = frames.iter().position(|frame| frame.f0_hz > 0.0).unwrap();
        let last = frames.iter().rposition(|frame| frame.f0_hz > 0.0).unwrap();
        assert!(
            (28..=32).contains(&first),
            "{note_hz} Hz starts in frame {first}, not 30"
        );
        assert!(
            (78..=82).contains(&last),
            "{note_hz} Hz ends in frame {last}, not 80"
        );
        let right = frames[32..78]
            .iter()
            .filter(|frame| (frame.f0_hz - note_hz as f32).abs() < 2.0)
            .count();
        assert!(right >= 45, "{note_hz} Hz: {right} of 46 frames right");
    }
}

#[test]
fn breathy_and_irregular_voices_keep_their_octave() {
    // Noise only 6 dB below the voice.
    let (mut signal, pitch) = voice(3.0, SOURCES[0], 6, |time_s| {
        180.0 + 30.0 * (TAU * 0.5 * time_s).sin()
    });
    let mut breath = vec![0.0; signal.len()];
    noise::fill(11, 0, &mut breath);
    for (sample, breath) in signal.iter_mut().zip(&breath) {
        *sample += 0.05 * 0.5 * 3f32.sqrt() * breath;
    }
    let (errors, unvoiced) = errors_cents(&track(Long, &signal), &pitch);
    assert!(
        share_above(&errors, 200.0) < 0.01 && unvoiced < 10,
        "breathy: {unvoiced} unvoiced"
    );

    // Every other period 25 % weaker: a rough voice whose pitch is still heard at the single period.
    let (signal, pitch) = voice(3.0, SOURCES[3], 6, |_| 200.0);
    let rough: Vec<f32> = signal
        .iter()
        .enumerate()
        .map(|(n, &sample)| {
            sample * (1.0 - 0.125 * (1.0 + (TAU * 100.0 * n as f64 / RATE_HZ).sin() as f32))
        })
        .collect();
    let (errors, _) = errors_cents(&track(Long, &rough), &pitch);
    assert!(
        share_above(&errors, 200.0) < 0.01,
        "rough: {} of frames an octave off",
        share_above(&errors, 200.0)
    );
}

#[test]
fn silence_and_noise_are_unvoiced() {
    for lookahead in [Long, Short] {
        assert!(
            track(lookahead, &[0.0; 16_000])
                .iter()
                .all(|frame| *frame == F0Frame::default())
        );
        for level in [1e-4, 1e-2, 0.3] {
            let mut hiss = vec![0.0; 160_000];
            noise::fill(3, 0, &mut hiss);
            hiss.iter_mut().for_each(|sample| *sample *= level);
            let frames = track(lookahead, &hiss);
            let voiced = frames.iter().filter(|frame| frame.f0_hz > 0.0).count();
            assert!(
                voiced * 100 <= frames.len(),
                "noise at {level}: {voiced} of {} frames voiced",
                frames.len()
            );
        }
    }
}

#[test]
fn hum_behind_a_voice_is_not_sung() {
    for lookahead in [Long, Short] {
        let (note, _) = voice(1.0, SOURCES[0], 7, |_| 220.0);
        let hum = |n: usize| 0.004 * (TAU * 60.0 * n as f64 / RATE_HZ).sin() as f32;
        let signal: Vec<f32> = (0..48_000)
            .map(|n| hum(n) + note.get(n).copied().unwrap_or(0.0))
            .collect();
        let voiced = track(lookahead, &signal)[110..]
            .iter()
            .filter(|frame| frame.f0_hz > 0.0)
            .count();
        assert_eq!(voiced, 0);
    }
}

#[test]
fn a_quiet_voice_is_voiced() {
    for lookahead in [Long, Short] {
        let (mut signal, pitch) = voice(1.0, SOURCES[1], 8, |_| 150.0);
        signal.iter_mut().for_each(|sample| *sample *= 0.1);
        let (errors, unvoiced) = errors_cents(&track(lookahead, &signal), &pitch);
        assert_eq!(unvoiced, 0);
        assert!(median_magnitude(&errors) < 2.0);
    }
}

#[test]
fn a_frame_depends_on_nothing_beyond_the_lookahead() {
    for lookahead in [Long, Short] {
        let (signal, _) = voice(1.0, SOURCES[2], 1, |time_s| 200.0 + 100.0 * time_s);
        let reference = track(lookahead, &signal);
        for frame in [10, 33, 60] {
            let mut changed = signal.clone();
            let end = frame * HOP_SAMPLES + F0Tracker::lookahead_samples(lookahead);
            changed[end..]
                .iter_mut()
                .for_each(|sample| *sample = -3.0 * *sample + 0.2);
            let frames = track(lookahead, &changed);
            assert_eq!(frames[..=frame], reference[..=frame]);
            assert_ne!(frames[frame + 1..], reference[frame + 1..]);
        }
    }
}

#[test]
fn frames_appear_with_the_lookahead_and_reset_starts_anew() {
    for lookahead in [Long, Short] {
        let (signal, _) = voice(0.5, SOURCES[0], 2, |_| 300.0);
        let mut tracker = tracker(lookahead);
        let hops: Vec<&[f32; HOP_SAMPLES]> = signal.as_chunks().0.iter().collect();
        let mut frames = Vec::new();
        for (pushed, hop) in hops.iter().enumerate() {
            frames.extend(tracker.push(hop));
            let received = (pushed + 1) * HOP_SAMPLES;
            let due = (0..)
                .take_while(|k| {
                    k * HOP_SAMPLES + F0Tracker::lookahead_samples(lookahead) <= received
                })
                .count();
            assert_eq!(frames.len(), due);
        }
        tracker.reset();
        assert_eq!(
            track_with(&mut tracker, lookahead, &signal),
            track(lookahead, &signal)
        );
    }
}

#[test]
fn samples_that_are_not_numbers_do_no_lasting_harm() {
    for lookahead in [Long, Short] {
        let (mut signal, pitch) = voice(2.0, SOURCES[0], 3, |_| 250.0);
        signal[800] = f32::NAN;
        signal[801] = f32::INFINITY;
        let frames = track(lookahead, &signal);
        let (errors, unvoiced) = errors_cents(&frames[20..], &pitch);
        assert_eq!(unvoiced, 0);
        assert!(median_magnitude(&errors) < 2.0);
    }
}

#[test]
fn range_is_kept() {
    for lookahead in [Long, Short] {
        let (signal, _) = voice(1.0, Source::Sine, 3, |_| 700.0);
        let mut tracker = F0Tracker::new(F0Config {
            min_hz: 80.0,
            max_hz: 500.0,
            lookahead,
        });
        let frames = track_with(&mut tracker, lookahead, &signal);
        assert!(
            frames
                .iter()
                .all(|frame| frame.f0_hz == 0.0 || (80.0..=500.0).contains(&frame.f0_hz))
        );
    }
}
