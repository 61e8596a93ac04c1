//! A filter that makes bands louder or softer, without delay.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner};

use super::{BANDS, position};

/// The response lasts so long: twice the period of the narrowest band.
const RESPONSE_S: f64 = 0.005;
/// Share of the response, at its end, that fades out.
const FADING: f64 = 0.25;

/// Makes eight broad bands louder or softer; the gains between their centres lie on straight lines, those beyond the
/// outermost ones are theirs.
///
/// Of minimum phase, so it adds no delay: its log spectrum is the sum of one for every band, times the gains. Gains of 0
/// leave samples as they are to the bit.
///
/// Real-time: no allocation after construction.
pub struct BandFilter {
    /// Log spectrum of minimum phase of a gain of one neper in every band.
    bands: Vec<[Complex<f32>; BANDS]>,
    transform: Arc<dyn ComplexToReal<f32>>,
    fade: Vec<f32>,
    /// What came before, oldest first.
    past: Vec<f32>,
    /// Gains at the end of what came last, and the response there.
    gains: [f32; BANDS],
    response: Vec<f32>,
    next_response: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    time: Vec<f32>,
    scratch: Vec<Complex<f32>>,
    /// `past` and the samples at hand.
    joined: Vec<f32>,
    before: Vec<f32>,
    after: Vec<f32>,
}

impl BandFilter {
    /// A filter that does nothing yet, for a signal at `rate_hz` that comes in pieces of at most `most_samples`.
    #[must_use]
    pub fn new(rate_hz: u32, most_samples: usize) -> Self {
        let taps = ((RESPONSE_S * f64::from(rate_hz)) as usize).max(4);
        let length = (2 * taps).next_power_of_two();
        let transform = RealFftPlanner::<f32>::new().plan_fft_inverse(length);
        let fading = (FADING * taps as f64) as usize;
        let fade = (0..taps)
            .map(|tap| {
                let turned = (taps - tap) as f64 / (fading + 1) as f64;
                (0.5 - 0.5 * (std::f64::consts::PI * turned.min(1.0)).cos()) as f32
            })
            .collect();
        let mut response = vec![0.0; taps];
        response[0] = 1.0;
        Self {
            bands: log_spectra(rate_hz, length),
            fade,
            past: vec![0.0; taps - 1],
            gains: [0.0; BANDS],
            next_response: response.clone(),
            response,
            spectrum: transform.make_input_vec(),
            time: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            joined: Vec::with_capacity(taps - 1 + most_samples),
            before: vec![0.0; most_samples],
            after: vec![0.0; most_samples],
            transform,
        }
    }

    /// Filters `samples` in place. The response goes on a straight line from what it was to that of `gains`, in nepers
    /// (1 is 8.69 dB), which it reaches at their end.
    ///
    /// Panics when there are more samples than a piece has at most.
    pub fn process(&mut self, gains: &[f32; BANDS], samples: &mut [f32]) {
        let flat = |gains: &[f32; BANDS]| gains.iter().all(|&gain| gain == 0.0);
        let idle = flat(gains) && flat(&self.gains);
        self.joined.clear();
        self.joined.extend_from_slice(&self.past);
        self.joined.extend_from_slice(samples);
        self.past.copy_from_slice(&self.joined[samples.len()..]);
        if idle {
            return;
        }
        if *gains != self.gains {
            self.respond(gains);
        }
        let (before, after) = (
            &mut self.before[..samples.len()],
            &mut self.after[..samples.len()],
        );
        convolve(&self.joined, &self.response, before);
        convolve(&self.joined, &self.next_response, after);
        let step = 1.0 / samples.len().max(1) as f32;
        for (index, sample) in samples.iter_mut().enumerate() {
            let share = (index + 1) as f32 * step;
            *sample = before[index] + share * (after[index] - before[index]);
        }
        self.gains = *gains;
        self.response.copy_from_slice(&self.next_response);
    }

    /// Computes the response of `gains`.
    fn respond(&mut self, gains: &[f32; BANDS]) {
        for (value, bands) in self.spectrum.iter_mut().zip(&self.bands) {
            let log: Complex<f32> = bands
                .iter()
                .zip(gains)
                .map(|(band, gain)| band * gain)
                .sum();
            *value = log.exp();
        }
        // A real signal's spectrum is real at its ends.
        for end in [0, self.spectrum.len() - 1] {
            self.spectrum[end].im = 0.0;
        }
        self.transform
            .process_with_scratch(&mut self.spectrum, &mut self.time, &mut self.scratch)
            .expect("the buffers were made by this transform");
        let scale = 1.0 / self.time.len() as f32;
        for ((tap, value), fade) in self
            .next_response
            .iter_mut()
            .zip(&self.time)
            .zip(&self.fade)
        {
            *tap = value * scale * fade;
        }
    }

    /// Back to the start of a signal, with gains of 0.
    pub fn reset(&mut self) {
        self.past.fill(0.0);
        self.gains = [0.0; BANDS];
        for response in [&mut self.response, &mut self.next_response] {
            response.fill(0.0);
            response[0] = 1.0;
        }
    }
}

/// `output[i] = Σ response[t] · joined[taps − 1 + i − t]`.
fn convolve(joined: &[f32], response: &[f32], output: &mut [f32]) {
    output.fill(0.0);
    let past = response.len() - 1;
    for (tap, &weight) in response.iter().enumerate() {
        let samples = &joined[past - tap..][..output.len()];
        for (sum, sample) in output.iter_mut().zip(samples) {
            *sum += weight * sample;
        }
    }
}

/// Log spectra of minimum phase, of the bins 0 to `length / 2`, of a gain of one neper in each band.
fn log_spectra(rate_hz: u32, length: usize) -> Vec<[Complex<f32>; BANDS]> {
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(length),
        planner.plan_fft_inverse(length),
    );
    let mut spectra = vec![[Complex::default(); BANDS]; length / 2 + 1];
    for band in 0..BANDS {
        let mut log = inverse.make_input_vec();
        for (bin, value) in log.iter_mut().enumerate() {
            let place = position(bin as f64 * f64::from(rate_hz) / length as f64);
            let place = place.clamp(0.0, (BANDS - 1) as f64);
            value.re = (1.0 - (place - band as f64).abs()).max(0.0);
        }
        let mut cepstrum = inverse.make_output_vec();
        inverse
            .process(&mut log, &mut cepstrum)
            .expect("the buffers were made by this transform");
        // Oppenheim and Schafer, "Discrete-Time Signal Processing": what comes before time 0 is folded over.
        for (quefrency, value) in cepstrum.iter_mut().enumerate() {
            *value *= match quefrency {
                0 => 1.0,
                _ if quefrency < length / 2 => 2.0,
                _ if quefrency == length / 2 => 1.0,
                _ => 0.0,
            } / length as f64;
        }
        let mut spectrum = forward.make_output_vec();
        forward
            .process(&mut cepstrum, &mut spectrum)
            .expect("the buffers were made by this transform");
        for (bands, value) in spectra.iter_mut().zip(&spectrum) {
            bands[band] = Complex::new(value.re as f32, value.im as f32);
        }
    }
    spectra
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES_HZ: [u32; 5] = [16_000, 24_000, 32_000, 44_100, 48_000];

    /// The level, in nepers, that a sine has after the filter and had before.
    fn gain_at(hz: f32, rate_hz: u32, gains: &[f32; BANDS]) -> f32 {
        let piece = rate_hz as usize / 200;
        let mut filter = BandFilter::new(rate_hz, piece);
        let sine: Vec<f32> = (0..100 * piece)
            .map(|i| (i as f32 / rate_hz as f32 * std::f32::consts::TAU * hz).sin())
            .collect();
        let mut made = sine.clone();
        made.chunks_mut(piece)
            .for_each(|samples| filter.process(gains, samples));
        let power = |signal: &[f32]| signal[50 * piece..].iter().map(|s| s * s).sum::<f32>();
        0.5 * (power(&made) / power(&sine)).ln()
    }

    #[test]
    fn every_band_has_its_gain_at_its_centre() {
        let gains = [0.6, -0.4, 0.9, -0.9, 0.3, 1.0, -0.5, 0.8];
        let centre_hz = |band: usize| {
            let (mut low, mut high) = (20.0f64, 8_000.0);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if position(middle) < band as f64 {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            low as f32
        };
        for rate_hz in RATES_HZ {
            for (band, gain) in gains.iter().enumerate() {
                let found = gain_at(centre_hz(band), rate_hz, &gains);
                // Lines that go up and down by 10 to 15 dB meet there, and so short a response rounds the corner by 1.4 dB.
                assert!(
                    (found - gain).abs() < 0.16,
                    "{rate_hz}, band {band}: {found}, not {gain}"
                );
            }
            let beyond = gain_at(0.47 * rate_hz as f32, rate_hz, &gains);
            assert!((beyond - gains[7]).abs() < 0.06, "{rate_hz}: {beyond}");
            let below = gain_at(60.0, rate_hz, &gains);
            assert!((below - gains[0]).abs() < 0.12, "{rate_hz}: {below}");
        }
    }

    #[test]
    fn the_same_gain_everywhere_is_a_gain_without_delay() {
        for rate_hz in RATES_HZ {
            let piece = rate_hz as usize / 200;
            let mut filter = BandFilter::new(rate_hz, piece);
            filter.process(&[0.5; BANDS], &mut vec![0.0; piece]);
            let mut click = vec![0.0; piece];
            click[3] = 1.0;
            filter.process(&[0.5; BANDS], &mut click);
            for (index, sample) in click.iter().enumerate() {
                let expected = if index == 3 { 0.5f32.exp() } else { 0.0 };
                assert!(
                    (sample - expected).abs() < 1e-4,
                    "{rate_hz}, {index}: {sample}"
                );
            }
        }
    }

    #[test]
    fn gains_of_nothing_change_nothing_and_it_comes_back_to_that() {
        let mut filter = BandFilter::new(48_000, 240);
        let noise: Vec<f32> = (0..240)
            .map(|i| ((i * 7919) % 127) as f32 / 127.0 - 0.5)
            .collect();
        let mut made = noise.clone();
        filter.process(&[0.0; BANDS], &mut made);
        assert_eq!(made, noise);
        filter.process(&[1.0; BANDS], &mut made);
        assert_ne!(made, noise);
        filter.process(&[0.0; BANDS], &mut noise.clone());
        made.copy_from_slice(&noise);
        filter.process(&[0.0; BANDS], &mut made);
        assert_eq!(made, noise);
    }

    #[test]
    fn pieces_of_any_length_move_on_lines() {
        let mut filter = BandFilter::new(48_000, 240);
        let mut ones = vec![1.0; 240];
        filter.process(&[0.0; BANDS], &mut ones);
        filter.process(&[1.0; BANDS], &mut ones);
        let e = std::f32::consts::E;
        for (index, sample) in ones.iter().enumerate() {
            let expected = 1.0 + (index + 1) as f32 / 240.0 * (e - 1.0);
            assert!(
                (sample - expected).abs() < 1e-3,
                "{index}: {sample}, not {expected}"
            );
        }
        let mut short = vec![1.0; 7];
        filter.process(&[1.0; BANDS], &mut short);
        assert!(short.iter().all(|sample| (sample - e).abs() < 1e-3));
    }
}
