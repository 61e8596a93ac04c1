//! The source of the harmonic family in training: pulses and noise as spectra of windows.
//!
//! The same numbers as `harmonic_graph` computes while playing; here with an FFT.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

use super::folded_dft::bin_order;
use super::harmonic::{
    BINS, FFT_SAMPLES, HALVES, HOP_SAMPLES, MODEL_RATE_HZ, STEP_SAMPLES, WINDOW_SAMPLES,
};

/// F0 of the pulses while neither end of a hop is voiced; they are silent then.
pub const IDLE_F0_HZ: f32 = 100.0;
/// Distance in cycles from a pulse's centre below which its limit is used.
pub const PULSE_CENTRE_CYCLES: f32 = 1e-6;

/// Most by which F0 is taken to go on rising or falling in the half-frame after a frame: 40 cents.
pub const MOST_AHEAD: f32 = 1.023_373_9;

/// F0 half a frame after a voiced frame `now`, the frame before it being `before` (0 where unvoiced), both in Hz: it goes on
/// as it went, within [`MOST_AHEAD`].
fn half_a_frame_on(before: f32, now: f32) -> f32 {
    if before > 0.0 {
        now * (now / before).sqrt().clamp(MOST_AHEAD.recip(), MOST_AHEAD)
    } else {
        now
    }
}

/// Pulses for every sample of `f0_hz` frames: frame `k` fills the hop around it, from half a frame before to half a
/// frame after.
///
/// What comes after a frame is not known yet, so F0 there goes on as it went. Between such ends it glides linearly; with
/// one end voiced the pulses keep its F0 and fade until the frame. Every harmonic up to half the rate has the same
/// amplitude, scaled so that the spectral density does not depend on F0.
#[must_use]
pub fn pulses(f0_hz: &[f32], first_phase_cycles: f64) -> Vec<f32> {
    let rate = MODEL_RATE_HZ as f32;
    let mut out = Vec::with_capacity(f0_hz.len() * HOP_SAMPLES);
    let (mut earlier, mut before) = (0.0f32, 0.0f32);
    let mut phase = first_phase_cycles;
    for &now in f0_hz {
        let start = if before > 0.0 {
            half_a_frame_on(earlier, before)
        } else if now > 0.0 {
            now
        } else {
            IDLE_F0_HZ
        };
        let end = if now > 0.0 {
            half_a_frame_on(before, now)
        } else {
            start
        };
        let harmonics = (0.5 * rate / start.max(end)).floor();
        let scale = (2.0 / harmonics).sqrt();
        let (voiced_before, voiced_now) = (f32::from(before > 0.0), f32::from(now > 0.0));
        for i in 1..=HOP_SAMPLES {
            let x = i as f32 / HOP_SAMPLES as f32;
            let f = start + (end - start) * x;
            phase += f64::from(f / rate);
            phase -= phase.floor();
            let cycles = (phase - phase.round()) as f32;
            let fade = (HALVES as f32 * x).min(1.0);
            let amplitude = voiced_before + (voiced_now - voiced_before) * fade;
            let pulse = if cycles.abs() < PULSE_CENTRE_CYCLES {
                harmonics
            } else {
                let pi = std::f32::consts::PI;
                (pi * (2.0 * harmonics + 1.0) * cycles).sin() / (2.0 * (pi * cycles).sin()) - 0.5
            };
            out.push(pulse * scale * amplitude);
        }
        (earlier, before) = (before, now);
    }
    out
}

/// Cuts an excitation into windows and transforms them.
pub struct Analyser {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
}

impl std::fmt::Debug for Analyser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Analyser")
    }
}

impl Default for Analyser {
    fn default() -> Self {
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(FFT_SAMPLES),
            window: hann(),
        }
    }
}

impl Analyser {
    /// Real and imaginary parts, `[2T, BINS]` each, even bins first, of the windows that belong to the half-frames of
    /// `samples.len() / HOP_SAMPLES` frames; window `p` is centred on sample `p·STEP_SAMPLES` and on half-frame `p`.
    /// What lies before the samples counts as silence.
    #[must_use]
    pub fn spectra(&self, samples: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let windows = samples.len() / HOP_SAMPLES * HALVES;
        let (mut re, mut im) = (
            Vec::with_capacity(windows * BINS),
            Vec::with_capacity(windows * BINS),
        );
        let mut input = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        for p in 0..windows {
            input.fill(0.0);
            // The first window begins one step before the samples.
            let first = p.saturating_sub(1) * STEP_SAMPLES;
            let silent = if p == 0 { STEP_SAMPLES } else { 0 };
            let places = input[..WINDOW_SAMPLES].iter_mut().zip(&self.window);
            for ((slot, weight), sample) in places.skip(silent).zip(&samples[first..]) {
                *slot = sample * weight;
            }
            self.fft
                .process(&mut input, &mut spectrum)
                .expect("buffers come from the plan");
            re.extend(bin_order(BINS).map(|bin| spectrum[bin].re));
            im.extend(bin_order(BINS).map(|bin| spectrum[bin].im));
        }
        (re, im)
    }
}

/// Periodic Hann over a window: two half-overlapping ones add up to 1.
#[must_use]
pub fn hann() -> Vec<f32> {
    (0..WINDOW_SAMPLES)
        .map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / WINDOW_SAMPLES as f64).cos()) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_have_unit_power_whatever_the_f0() {
        for f0 in [60.0, 200.0, 1000.0] {
            let pulses = pulses(&[f0; 50], 0.3);
            let steady = &pulses[HOP_SAMPLES * 2..];
            let power = steady.iter().map(|p| p * p).sum::<f32>() / steady.len() as f32;
            assert!((power - 1.0).abs() < 0.05, "{f0} Hz: {power}");
        }
    }

    #[test]
    fn unvoiced_frames_are_silent() {
        assert!(pulses(&[0.0; 10], 0.0).iter().all(|&p| p == 0.0));
    }
}
