//! Normalised autocorrelation of a windowed stretch of signal.

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Lags are computed on a grid of half samples: twice the signal's rate.
pub(super) const LAGS_PER_SAMPLE: usize = 2;

/// Autocorrelation of a Hann-windowed stretch, divided by that of the window.
///
/// Source: Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
/// sampled sound" (IFA Proceedings 17, 1993), section 3: dividing by the window's own autocorrelation makes the peak
/// height of a periodic signal independent of the lag.
pub(super) struct Correlator {
    weights: Vec<f32>,
    /// 1 / autocorrelation of the window, on the lag grid.
    inverse_window: Vec<f32>,
    transform: Autocorrelation,
}

impl Correlator {
    /// For stretches of `window_samples` and lags up to `max_lag_samples`.
    pub(super) fn new(window_samples: usize, max_lag_samples: usize) -> Self {
        // Samples of the window lie in the middle of their intervals: it is symmetric and has no zero ends.
        let weights = (0..window_samples)
            .map(|n| {
                let phase = std::f64::consts::TAU * (n as f64 + 0.5) / window_samples as f64;
                (0.5 - 0.5 * phase.cos()) as f32
            })
            .collect();
        let mut correlator = Self {
            weights,
            inverse_window: vec![1.0; max_lag_samples * LAGS_PER_SAMPLE + 1],
            transform: Autocorrelation::new(window_samples + max_lag_samples + 1),
        };
        let constant = vec![1.0; window_samples];
        let own: Vec<f32> = correlator.normalised(&constant, 0.0).to_vec();
        for (inverse, value) in correlator.inverse_window.iter_mut().zip(own) {
            *inverse = 1.0 / value;
        }
        correlator
    }

    /// Autocorrelation of `stretch` less `mean`, 1 at lag 0, on the grid of half samples; all zero for silence.
    pub(super) fn normalised(&mut self, stretch: &[f32], mean: f32) -> &[f32] {
        let weighted = stretch
            .iter()
            .zip(&self.weights)
            .map(|(&sample, &weight)| (sample - mean) * weight);
        let correlation = self.transform.run(weighted);
        let energy = correlation[0];
        let scale = if energy > 0.0 && energy.is_finite() {
            1.0 / energy
        } else {
            0.0
        };
        let lags = self.inverse_window.len();
        for (value, inverse) in correlation.iter_mut().zip(&self.inverse_window) {
            *value *= scale * inverse;
        }
        &correlation[..lags]
    }
}

/// Autocorrelation by way of the power spectrum.
pub(super) struct Autocorrelation {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    signal: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    wide_spectrum: Vec<Complex<f32>>,
    correlation: Vec<f32>,
    forward_scratch: Vec<Complex<f32>>,
    inverse_scratch: Vec<Complex<f32>>,
}

impl Autocorrelation {
    /// For stretches and lags of so many samples together.
    pub(super) fn new(samples: usize) -> Self {
        let fft_samples = transform_length(samples);
        let mut planner = RealFftPlanner::<f32>::new();
        let forward = planner.plan_fft_forward(fft_samples);
        let inverse = planner.plan_fft_inverse(fft_samples * LAGS_PER_SAMPLE);
        Self {
            signal: forward.make_input_vec(),
            spectrum: forward.make_output_vec(),
            wide_spectrum: inverse.make_input_vec(),
            correlation: inverse.make_output_vec(),
            forward_scratch: forward.make_scratch_vec(),
            inverse_scratch: inverse.make_scratch_vec(),
            forward,
            inverse,
        }
    }

    /// Autocorrelation of a stretch, to a constant factor, on the grid of half samples.
    pub(super) fn run(&mut self, stretch: impl Iterator<Item = f32>) -> &mut [f32] {
        self.signal.fill(0.0);
        for (slot, sample) in self.signal.iter_mut().zip(stretch) {
            *slot = sample;
        }
        self.forward
            .process_with_scratch(
                &mut self.signal,
                &mut self.spectrum,
                &mut self.forward_scratch,
            )
            .expect("the buffers were made by this transform");
        self.wide_spectrum.fill(Complex::new(0.0, 0.0));
        for (wide, bin) in self.wide_spectrum.iter_mut().zip(&self.spectrum) {
            *wide = Complex::new(bin.norm_sqr(), 0.0);
        }
        // The bin at the signal's Nyquist frequency is shared by both signs once the rate is doubled.
        if let Some(last) = self.wide_spectrum.get_mut(self.spectrum.len() - 1) {
            *last *= 0.5;
        }
        self.inverse
            .process_with_scratch(
                &mut self.wide_spectrum,
                &mut self.correlation,
                &mut self.inverse_scratch,
            )
            .expect("the buffers were made by this transform");
        &mut self.correlation
    }
}

/// The next length made of small primes: 2ᵃ·3ᵇ·5ᶜ, even.
fn transform_length(at_least: usize) -> usize {
    (at_least..)
        .find(|&length| {
            let mut rest = length;
            for prime in [2, 3, 5] {
                while rest.is_multiple_of(prime) {
                    rest /= prime;
                }
            }
            rest == 1 && length.is_multiple_of(2)
        })
        .unwrap_or(at_least)
}
