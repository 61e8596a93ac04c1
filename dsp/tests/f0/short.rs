//! Claims about the short look-ahead.

use super::signals::{
    HOP_SAMPLES, RATE_HZ, SOURCES, Source, errors_cents, median_magnitude, share_above, track,
    track_with, voice,
};
use std::f64::consts::TAU;
use timbra_dsp::Lookahead::{Long, Short};
use timbra_dsp::f0::{F0Config, F0Frame, F0Tracker};
use timbra_dsp::noise;

#[test]
fn it_is_one_hop_and_every_hop_brings_a_frame() {
    assert_eq!(F0Tracker::lookahead_samples(Short), HOP_SAMPLES);
    assert_eq!(
        F0Tracker::lookahead_samples(Long),
        F0Tracker::LOOKAHEAD_SAMPLES
    );
    let mut tracker = super::tracker(Short);
    assert!(tracker.push(&[0.0; HOP_SAMPLES]).is_some());
}

#[test]
fn glides_over_the_whole_range_have_no_octave_errors() {
    super::assert_glides_are_followed(Short, &[0.7], 0.03);
}

/// Median error if the frames described the signal `delay_ms` before their time.
fn error_at_delay(frames: &[F0Frame], pitch: &[f64], delay_ms: f64) -> f64 {
    let shift = (delay_ms * RATE_HZ / 1000.0).round() as isize;
    let errors: Vec<f64> = (10..frames.len() - 10)
        .filter(|&index| frames[index].f0_hz > 0.0)
        .map(|index| {
            let truth = pitch[(index * HOP_SAMPLES).strict_add_signed(-shift)];
            1200.0 * (f64::from(frames[index].f0_hz) / truth).log2()
        })
        .collect();
    median_magnitude(&errors)
}

#[test]
fn vibrato_is_heard_within_two_milliseconds_of_its_time() {
    // Below 100 Hz two periods do not fit around the frame: the slope has to make up for it.
    for centre_hz in [65.0, 82.0, 110.0, 220.0, 440.0, 880.0] {
        let (signal, pitch) = voice(3.0, SOURCES[0], 4, |time_s| {
            centre_hz * (1.0 / 12.0 * (TAU * 5.5 * time_s).sin()).exp2()
        });
        let frames = track(Short, &signal);
        let half_ms = (-20..=20)
            .min_by(|&a, &b| {
                let [a, b] =
                    [a, b].map(|half_ms| error_at_delay(&frames, &pitch, 0.5 * f64::from(half_ms)));
                a.total_cmp(&b)
            })
            .unwrap();
        // At high pitches a formant's louder moments draw the whole window to them.
        let limit = if centre_hz < 100.0 { 4 } else { 3 };
        assert!(
            half_ms <= limit,
            "{centre_hz} Hz: {} ms late",
            0.5 * f64::from(half_ms)
        );
        assert!(
            half_ms >= -limit,
            "{centre_hz} Hz: {} ms early",
            -0.5 * f64::from(half_ms)
        );
    }
}

#[test]
fn both_ends_of_the_range_are_sung() {
    for (note_hz, limit_cents) in [(51.0, 8.0), (1_380.0, 3.0)] {
        for source in SOURCES {
            let (signal, pitch) = voice(0.8, source, 12, |_| note_hz);
            let (errors, unvoiced) = errors_cents(&track(Short, &signal), &pitch);
            // A sine of 50 Hz is hum.
            if source == Source::Sine && note_hz < 60.0 {
                continue;
            }
            assert!(
                unvoiced <= 1,
                "{note_hz} Hz, {source:?}: {unvoiced} frames unvoiced"
            );
            assert_eq!(share_above(&errors, 50.0), 0.0, "{note_hz} Hz, {source:?}");
            assert!(
                median_magnitude(&errors) < limit_cents,
                "{note_hz} Hz, {source:?}"
            );
        }
    }
}

#[test]
fn an_onset_is_heard_once_two_periods_are_in() {
    for note_hz in [65.0, 98.0, 220.0, 523.0, 1_047.0] {
        let (note, _) = voice(0.5, SOURCES[0], 5, |_| note_hz);
        let mut signal = vec![0.0; 16_000];
        noise::fill(2, 0, &mut signal);
        signal.iter_mut().for_each(|sample| *sample *= 1e-4);
        for (slot, sample) in signal[4_800..].iter_mut().zip(&note) {
            *slot += sample;
        }
        let frames = track(Short, &signal);
        let right = |frame: &F0Frame| {
            frame.f0_hz > 0.0 && (frame.f0_hz / note_hz as f32).log2().abs() < 0.5 / 12.0
        };
        let first = frames.iter().position(right).unwrap();
        // Frame k has heard 10·(k + 1) ms; the note begins at 300 ms.
        let heard_ms = 10.0 * (first as f64 + 1.0) - 300.0;
        let limit_ms = 2_000.0 / note_hz + 15.0;
        assert!(
            (0.0..=limit_ms).contains(&heard_ms),
            "{note_hz} Hz is right {heard_ms} ms after its beginning, not {limit_ms}"
        );
        assert!(frames[..29].iter().all(|frame| frame.f0_hz == 0.0));
        let end = frames.iter().rposition(|frame| frame.f0_hz > 0.0).unwrap();
        assert!(
            (77..=82).contains(&end),
            "{note_hz} Hz ends in frame {end}, not 80"
        );
    }
}

#[test]
fn breathy_and_irregular_voices_keep_their_octave() {
    for centre_hz in [110.0, 180.0, 350.0, 700.0] {
        // Noise only 6 dB below the voice.
        let (mut signal, pitch) = voice(3.0, SOURCES[0], 6, |time_s| {
            centre_hz * (0.2 * (TAU * 0.5 * time_s).sin()).exp2()
        });
        let mut breath = vec![0.0; signal.len()];
        noise::fill(11, 0, &mut breath);
        for (sample, breath) in signal.iter_mut().zip(&breath) {
            *sample += 0.05 * 0.5 * 3f32.sqrt() * breath;
        }
        let (errors, unvoiced) = errors_cents(&track(Short, &signal), &pitch);
        let wrong = share_above(&errors, 300.0);
        assert!(
            wrong < 0.01,
            "{centre_hz} Hz: {:.1} % an octave off",
            100.0 * wrong
        );
        assert!(unvoiced <= 15, "{centre_hz} Hz: {unvoiced} frames unvoiced");
    }
    // A creak: every other period weaker by a third.
    for note_hz in [60.0, 75.0, 90.0] {
        let (signal, pitch) = voice(3.0, SOURCES[2], 6, |_| note_hz);
        let mut phase = 0.0;
        let creak: Vec<f32> = signal
            .iter()
            .map(|&sample| {
                phase += 0.5 * note_hz / RATE_HZ;
                sample * (1.0 - 0.17 * (1.0 + (TAU * phase).sin() as f32))
            })
            .collect();
        let (errors, unvoiced) = errors_cents(&track(Short, &creak), &pitch);
        let wrong = share_above(&errors, 300.0);
        assert!(
            wrong < 0.01,
            "{note_hz} Hz: {:.1} % an octave off",
            100.0 * wrong
        );
        assert!(unvoiced <= 15, "{note_hz} Hz: {unvoiced} frames unvoiced");
    }
}

#[test]
fn a_range_without_low_pitches_is_tracked() {
    let mut tracker = F0Tracker::new(F0Config {
        min_hz: 300.0,
        max_hz: 900.0,
        lookahead: Short,
    });
    let (signal, pitch) = voice(1.0, SOURCES[0], 14, |time_s| 320.0 * (1.3 * time_s).exp2());
    let (errors, unvoiced) = errors_cents(&track_with(&mut tracker, Short, &signal), &pitch);
    assert_eq!(unvoiced, 0);
    assert_eq!(share_above(&errors, 50.0), 0.0);
}
