//! How loud a sound is in every band.

use std::sync::Arc;

use realfft::RealToComplex;
use realfft::num_complex::Complex;

use super::{BANDS, position};
use crate::level::db_to_linear;
use crate::stft::hann_window;

/// What counts in the level of all bands together, in Hz.
const HIGHEST_HZ: f64 = 8_000.0;
/// Added to every power: what is below is not told from silence.
const FLOOR_DB: f32 = -85.0;

/// Levels of one window: natural logarithms of mean squares, so that 1 is 4.34 dB and a sine of amplitude 1 reads −0.69.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandLevels {
    /// Of every band, lowest first.
    pub bands: [f32; BANDS],
    /// Of everything up to 8 kHz.
    pub whole: f32,
}

impl BandLevels {
    /// What silence reads: the floor, −85 dBFS.
    #[must_use]
    pub fn silence() -> Self {
        let level = floor().ln();
        Self {
            bands: [level; BANDS],
            whole: level,
        }
    }

    /// These levels (`share` 0) or `next` (1) or on the line between.
    #[must_use]
    pub fn towards(&self, next: &Self, share: f32) -> Self {
        let line = |from: f32, to: f32| from + share * (to - from);
        Self {
            bands: std::array::from_fn(|band| line(self.bands[band], next.bands[band])),
            whole: line(self.whole, next.whole),
        }
    }
}

fn floor() -> f32 {
    db_to_linear(FLOOR_DB).powi(2)
}

/// Streaming levels of broad bands, of Hann windows that end with the samples that came last.
///
/// Real-time: no allocation after construction.
pub struct BandMeter {
    transform: Arc<dyn RealToComplex<f32>>,
    /// Times what makes powers of bins mean squares.
    window: Vec<f32>,
    /// Of every bin up to [`HIGHEST_HZ`]: the band below it and that band's and the next one's share.
    bins: Vec<Bin>,
    history: Vec<f32>,
    input: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

/// Which bands hear a bin.
#[derive(Debug, Clone, Copy)]
struct Bin {
    /// Index in the sums of the lower one; 0 is below the lowest band.
    lower: usize,
    shares: [f32; 2],
}

impl BandMeter {
    /// A meter at the start of a signal at `rate_hz`; what lies before counts as silence.
    ///
    /// Panics when `window_samples` is odd or zero.
    #[must_use]
    pub fn new(rate_hz: u32, window_samples: usize) -> Self {
        assert!(
            window_samples > 0 && window_samples.is_multiple_of(2),
            "the window's length must be even, got {window_samples}"
        );
        let transform = realfft::RealFftPlanner::<f32>::new().plan_fft_forward(window_samples);
        // By Parseval's theorem the mean square is that of the bins over length and window, each counted for its mirror too.
        let mut window = hann_window(window_samples);
        let energy: f32 = window.iter().map(|weight| weight * weight).sum();
        let scale = (2.0 / (window_samples as f32 * energy)).sqrt();
        window.iter_mut().for_each(|weight| *weight *= scale);
        let bin_hz = f64::from(rate_hz) / window_samples as f64;
        let bins = (0..=window_samples / 2)
            .map(|bin| bin as f64 * bin_hz)
            .take_while(|&hz| hz <= HIGHEST_HZ)
            .map(|hz| {
                // One more, so that what is below the lowest band has a place.
                let place = (position(hz) + 1.0).clamp(0.0, (BANDS + 1) as f64);
                let lower = place as usize;
                let rise = (place - lower as f64) as f32;
                Bin {
                    lower,
                    shares: [1.0 - rise, rise],
                }
            })
            .collect();
        Self {
            window,
            bins,
            history: vec![0.0; window_samples],
            input: transform.make_input_vec(),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
        }
    }

    /// Takes the samples that follow, no more than a window's; gives the levels of the window that ends with them.
    ///
    /// Samples that are not finite count as silence. Panics when there are more than a window's.
    pub fn push(&mut self, samples: &[f32]) -> BandLevels {
        let kept = self.history.len() - samples.len();
        self.history.copy_within(samples.len().., 0);
        for (slot, &sample) in self.history[kept..].iter_mut().zip(samples) {
            *slot = if sample.is_finite() { sample } else { 0.0 };
        }
        for ((slot, sample), weight) in self.input.iter_mut().zip(&self.history).zip(&self.window) {
            *slot = sample * weight;
        }
        self.transform
            .process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch)
            .expect("the buffers were made by this transform");
        let mut sums = [0.0; BANDS + 3];
        let mut whole = 0.0;
        for (bin, value) in self.bins.iter().zip(&self.spectrum) {
            let power = value.norm_sqr();
            whole += power;
            sums[bin.lower] += bin.shares[0] * power;
            sums[bin.lower + 1] += bin.shares[1] * power;
        }
        let level = |power: f32| (power + floor()).ln();
        BandLevels {
            bands: std::array::from_fn(|band| level(sums[band + 1])),
            whole: level(whole),
        }
    }

    /// Back to the start of a signal.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_sine(hz: f32, rate_hz: u32, amplitude: f32) -> BandLevels {
        let half = rate_hz as usize / 200;
        let mut meter = BandMeter::new(rate_hz, 4 * half);
        let sine: Vec<f32> = (0..20 * half)
            .map(|i| amplitude * (i as f32 / rate_hz as f32 * std::f32::consts::TAU * hz).sin())
            .collect();
        let mut levels = BandLevels::silence();
        for samples in sine.chunks(half) {
            levels = meter.push(samples);
        }
        levels
    }

    #[test]
    fn a_sine_reads_its_mean_square_at_every_rate_and_in_its_band_alone() {
        for rate_hz in [16_000, 24_000, 32_000, 44_100, 48_000] {
            let levels = of_sine(1_570.0, rate_hz, 0.5);
            let expected = 0.125f32.ln();
            assert!(
                (levels.whole - expected).abs() < 0.02,
                "{rate_hz}: {levels:?}"
            );
            // The centre of the fifth.
            let centre = (0..BANDS).max_by(|&a, &b| levels.bands[a].total_cmp(&levels.bands[b]));
            assert_eq!(centre, Some(4), "{rate_hz}: {levels:?}");
            assert!(
                (levels.bands[4] - expected).abs() < 0.15,
                "{rate_hz}: {levels:?}"
            );
            assert!(levels.bands[7] < expected - 12.0 && levels.bands[1] < expected - 12.0);
        }
    }

    #[test]
    fn a_window_ends_with_what_came_last() {
        let mut meter = BandMeter::new(16_000, 320);
        let mut click = [0.0; 80];
        click[40] = 1.0;
        let mut heard = vec![meter.push(&click).whole];
        heard.extend((0..5).map(|_| meter.push(&[0.0; 80]).whole));
        let silence = BandLevels::silence().whole;
        assert!(
            heard[..4].iter().all(|&level| level > silence + 5.0),
            "{heard:?}"
        );
        assert!((heard[0] - heard[3]).abs() < 1e-3 && (heard[1] - heard[2]).abs() < 1e-3);
        assert!(heard[1] > heard[0] + 1.0);
        assert_eq!(heard[4..], [silence; 2]);
    }

    #[test]
    fn silence_and_what_is_no_number_read_the_floor() {
        let mut meter = BandMeter::new(48_000, 960);
        for samples in [[0.0; 480], [f32::NAN; 480], [f32::INFINITY; 480]] {
            assert_eq!(meter.push(&samples), BandLevels::silence());
        }
    }
}
