//! Short-time Fourier transform of a whole signal (offline).

use realfft::RealFftPlanner;

/// Magnitudes of a short-time Fourier transform.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    /// Magnitudes, frame after frame: bin `b` of frame `k` is at `k·bins + b`.
    pub magnitudes: Vec<f32>,
    /// Bins per frame: half the transform's length plus one.
    pub bins: usize,
}

impl Spectrogram {
    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.magnitudes.len() / self.bins
    }

    /// The bins of frame `index`.
    ///
    /// Panics when there is no such frame.
    pub fn frame(&self, index: usize) -> &[f32] {
        &self.magnitudes[index * self.bins..(index + 1) * self.bins]
    }
}

/// Hann window of `window_samples`, periodic: `0.5 − 0.5·cos(2πn/N)`.
pub fn hann_window(window_samples: usize) -> Vec<f32> {
    (0..window_samples)
        .map(|n| {
            (0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / window_samples as f64).cos()) as f32
        })
        .collect()
}

/// Magnitude spectrogram with a periodic Hann window as long as the transform.
///
/// Frame `k` is centred on sample `k·hop_samples`; the signal is continued by silence on both sides.
/// There are `samples.len()/hop_samples + 1` frames.
///
/// Panics when `fft_samples` is odd or zero or `hop_samples` is zero.
pub fn stft_magnitude(samples: &[f32], fft_samples: usize, hop_samples: usize) -> Spectrogram {
    assert!(
        fft_samples > 0 && fft_samples.is_multiple_of(2),
        "the transform's length must be even, got {fft_samples}"
    );
    assert!(hop_samples > 0, "the hop must be at least one sample");
    let transform = RealFftPlanner::<f32>::new().plan_fft_forward(fft_samples);
    let window = hann_window(fft_samples);
    let mut input = transform.make_input_vec();
    let mut output = transform.make_output_vec();
    let mut scratch = transform.make_scratch_vec();
    let bins = output.len();
    let frame_count = samples.len() / hop_samples + 1;
    let mut magnitudes = Vec::with_capacity(frame_count * bins);
    for frame in 0..frame_count {
        let centre = frame * hop_samples;
        for (n, (slot, weight)) in input.iter_mut().zip(&window).enumerate() {
            let sample = (centre + n)
                .checked_sub(fft_samples / 2)
                .and_then(|at| samples.get(at));
            *slot = sample.map_or(0.0, |sample| sample * weight);
        }
        transform
            .process_with_scratch(&mut input, &mut output, &mut scratch)
            .expect("the buffers were made by this transform");
        magnitudes.extend(output.iter().map(|bin| bin.norm()));
    }
    Spectrogram { magnitudes, bins }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn sine_peaks_in_its_bin_with_half_the_window_sum() {
        let frequency_hz = 1000.0;
        let sine: Vec<f32> = (0..16_000)
            .map(|i| (i as f32 * std::f32::consts::TAU * frequency_hz / 16_000.0).cos())
            .collect();
        let spectrogram = stft_magnitude(&sine, 512, 160);
        assert_eq!((spectrogram.frames(), spectrogram.bins), (101, 257));
        let frame = spectrogram.frame(50);
        let top = (0..frame.len())
            .max_by(|&a, &b| frame[a].total_cmp(&frame[b]))
            .unwrap();
        assert_eq!(top, 32);
        assert!((frame[32] - 128.0).abs() < 0.1);
        assert!(
            frame[40] < 1e-2,
            "a Hann window leaks no further than its lobe"
        );
    }

    #[test]
    fn frame_is_centred_on_its_hop() {
        let mut signal = vec![0.0; 4000];
        signal[1600] = 1.0;
        let spectrogram = stft_magnitude(&signal, 512, 160);
        assert!(spectrogram.frame(10).iter().all(|m| (m - 1.0).abs() < 1e-5));
        assert!(spectrogram.frame(8).iter().all(|m| *m < 1e-5));
    }
}
