//! Synthetic voices, and what a tracker makes of them.

use std::f64::consts::TAU;
use timbra_dsp::Lookahead;
use timbra_dsp::f0::{F0Config, F0Frame, F0Tracker};
use timbra_dsp::noise;

pub const RATE_HZ: f64 = 16_000.0;
pub const HOP_SAMPLES: usize = 160;

pub fn tracker(lookahead: Lookahead) -> F0Tracker {
    F0Tracker::new(F0Config {
        lookahead,
        ..F0Config::default()
    })
}

/// All frames of a signal, silence following it.
pub fn track(lookahead: Lookahead, signal: &[f32]) -> Vec<F0Frame> {
    track_with(&mut tracker(lookahead), lookahead, signal)
}

pub fn track_with(tracker: &mut F0Tracker, lookahead: Lookahead, signal: &[f32]) -> Vec<F0Frame> {
    let hops = signal.len() / HOP_SAMPLES;
    let future = F0Tracker::lookahead_samples(lookahead).div_ceil(HOP_SAMPLES) - 1;
    (0..hops + future)
        .filter_map(|index| {
            let mut hop = [0.0; HOP_SAMPLES];
            if index < hops {
                hop.copy_from_slice(&signal[index * HOP_SAMPLES..][..HOP_SAMPLES]);
            }
            tracker.push(&hop)
        })
        .collect()
}

/// Kinds of source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// Falling harmonics through three formants.
    Vowel([f64; 3]),
    /// Falling harmonics, the fundamental 20 dB down.
    WeakFundamental,
    /// The fundamental alone.
    Sine,
}

/// A voice of 0.05 RMS or so with pitch `f0_hz(time)`, and white noise 20 dB below it.
pub fn voice(
    duration_s: f64,
    source: Source,
    seed: u64,
    f0_hz: impl Fn(f64) -> f64,
) -> (Vec<f32>, Vec<f64>) {
    let total = (duration_s * RATE_HZ) as usize;
    let pitch: Vec<f64> = (0..total).map(|n| f0_hz(n as f64 / RATE_HZ)).collect();
    let mut phase = 0.0;
    let mut signal: Vec<f64> = pitch
        .iter()
        .map(|&f0_hz| {
            phase += TAU * f0_hz / RATE_HZ;
            let top = match source {
                Source::Sine => 1,
                _ => (7_600.0 / f0_hz) as usize,
            };
            (1..=top)
                .map(|number| {
                    let harmonic = number as f64;
                    let amplitude = match source {
                        Source::Sine => 1.0,
                        Source::WeakFundamental => {
                            if number == 1 {
                                0.1
                            } else {
                                1.0 / harmonic
                            }
                        }
                        Source::Vowel(formants_hz) => {
                            let gain: f64 = formants_hz
                                .iter()
                                .map(|formant_hz| {
                                    1.0 / (1.0 + ((harmonic * f0_hz - formant_hz) / 100.0).powi(2))
                                })
                                .sum();
                            (0.02 + gain) / harmonic
                        }
                    };
                    // Phases spread so that the waveform is no pulse train.
                    amplitude * (harmonic * phase + harmonic * harmonic * 0.7).sin()
                })
                .sum()
        })
        .collect();
    let power = signal.iter().map(|s| s * s).sum::<f64>() / total as f64;
    let mut breath = vec![0.0f32; total];
    noise::fill(seed, 0, &mut breath);
    for (sample, breath) in signal.iter_mut().zip(&breath) {
        // Uniform noise has a third of the power of its range squared.
        *sample = 0.05 * (*sample / power.sqrt() + 0.1 * 3f64.sqrt() * f64::from(*breath));
    }
    (signal.iter().map(|&s| s as f32).collect(), pitch)
}

/// Errors in cents of the voiced frames, the number of unvoiced ones, leaving out both ends.
pub fn errors_cents(frames: &[F0Frame], pitch: &[f64]) -> (Vec<f64>, usize) {
    let mut errors = Vec::new();
    let mut unvoiced = 0;
    for (index, frame) in frames.iter().enumerate().take(frames.len() - 5).skip(5) {
        if frame.f0_hz > 0.0 {
            errors.push(1200.0 * (f64::from(frame.f0_hz) / pitch[index * HOP_SAMPLES]).log2());
        } else {
            unvoiced += 1;
        }
    }
    (errors, unvoiced)
}

pub fn median_magnitude(errors: &[f64]) -> f64 {
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    sizes[sizes.len() / 2]
}

pub fn share_above(errors: &[f64], limit_cents: f64) -> f64 {
    errors
        .iter()
        .filter(|error| error.abs() > limit_cents)
        .count() as f64
        / errors.len() as f64
}

pub const SOURCES: [Source; 5] = [
    Source::Vowel([700.0, 1_200.0, 2_600.0]),
    Source::Vowel([300.0, 2_200.0, 2_900.0]),
    Source::Vowel([450.0, 900.0, 2_500.0]),
    Source::WeakFundamental,
    Source::Sine,
];
