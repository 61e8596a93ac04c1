//! Mel filterbank.

/// Pitch of a frequency on the mel scale.
///
/// Source: O'Shaughnessy, "Speech Communication" (1987): `2595·log10(1 + f/700)`.
pub fn hz_to_mel(frequency_hz: f64) -> f64 {
    2595.0 * (1.0 + frequency_hz / 700.0).log10()
}

/// Frequency of a pitch on the mel scale, inverse of [`hz_to_mel`].
pub fn mel_to_hz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

/// Edges of `bands` triangles equally spaced in mel between two frequencies: band `m` rises from edge `m` to its centre
/// at edge `m + 1` and falls to edge `m + 2`.
pub fn mel_edges_hz(bands: usize, low_hz: f64, high_hz: f64) -> Vec<f64> {
    let (low, high) = (hz_to_mel(low_hz), hz_to_mel(high_hz));
    (0..bands + 2)
        .map(|edge| mel_to_hz(low + (high - low) * edge as f64 / (bands + 1) as f64))
        .collect()
}

/// Triangular filters, equally spaced in mel, that add up the bins of a spectrum.
#[derive(Debug, Clone, PartialEq)]
pub struct MelFilterbank {
    /// Weights, band after band: bin `b` of band `m` is at `m·bins + b`.
    pub weights: Vec<f32>,
    /// Bins per band: half the transform's length plus one.
    pub bins: usize,
    /// Centre of every band in Hz.
    pub centres_hz: Vec<f32>,
}

impl MelFilterbank {
    /// Number of bands.
    pub fn bands(&self) -> usize {
        self.centres_hz.len()
    }

    /// The weights of band `index`.
    ///
    /// Panics when there is no such band.
    pub fn band(&self, index: usize) -> &[f32] {
        &self.weights[index * self.bins..(index + 1) * self.bins]
    }

    /// Bands of one spectrum.
    ///
    /// Shapes: `spectrum` `[bins]` → `bands` `[bands]`. Panics on other lengths.
    pub fn apply(&self, spectrum: &[f32], bands: &mut [f32]) {
        assert_eq!(spectrum.len(), self.bins, "bins of the spectrum");
        assert_eq!(bands.len(), self.bands(), "bands of the filterbank");
        for (band, weights) in bands.iter_mut().zip(self.weights.chunks_exact(self.bins)) {
            *band = weights
                .iter()
                .zip(spectrum)
                .map(|(weight, bin)| weight * bin)
                .sum();
        }
    }
}

/// Filterbank of `bands` triangles between `low_hz` and `high_hz` for a transform of `fft_samples` at `rate_hz`.
///
/// Every triangle rises from the centre of its lower neighbour, is 1 at its own and falls to that of its upper
/// neighbour. A triangle too narrow to hold a bin takes the two bins around its centre instead, so that no band is
/// always silent.
///
/// Panics when `bands` is zero or the range is empty or above half the rate.
pub fn mel_filterbank(
    rate_hz: u32,
    fft_samples: usize,
    bands: usize,
    low_hz: f32,
    high_hz: f32,
) -> MelFilterbank {
    let nyquist_hz = rate_hz as f32 / 2.0;
    assert!(bands > 0, "a filterbank needs a band");
    assert!(
        (0.0..high_hz).contains(&low_hz) && high_hz <= nyquist_hz,
        "band range {low_hz}..{high_hz} Hz must be rising and within 0..{nyquist_hz} Hz"
    );
    let bins = fft_samples / 2 + 1;
    let bin_hz = rate_hz as f32 / fft_samples as f32;
    let edges = mel_edges_hz(bands, f64::from(low_hz), f64::from(high_hz));
    let edge_hz = |index: usize| edges[index] as f32;
    let mut weights = vec![0.0; bands * bins];
    let mut centres_hz = Vec::with_capacity(bands);
    for (band, row) in weights.chunks_exact_mut(bins).enumerate() {
        let (lower_hz, centre_hz, upper_hz) = (edge_hz(band), edge_hz(band + 1), edge_hz(band + 2));
        for (bin, weight) in row.iter_mut().enumerate() {
            let at_hz = bin as f32 * bin_hz;
            let rise = (at_hz - lower_hz) / (centre_hz - lower_hz);
            let fall = (upper_hz - at_hz) / (upper_hz - centre_hz);
            *weight = rise.min(fall).max(0.0);
        }
        if row.iter().all(|&weight| weight == 0.0) {
            let position = centre_hz / bin_hz;
            let below = position as usize;
            row[below] = 1.0 - position.fract();
            if let Some(above) = row.get_mut(below + 1) {
                *above = position.fract();
            }
        }
        centres_hz.push(centre_hz);
    }
    MelFilterbank {
        weights,
        bins,
        centres_hz,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn mel_scale_maps_1000_hz_to_1000_mel_and_back() {
        assert!((hz_to_mel(1000.0) - 1000.0).abs() < 0.1);
        for frequency_hz in [20.0, 440.0, 7999.0] {
            assert!((mel_to_hz(hz_to_mel(frequency_hz)) / frequency_hz - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn triangles_add_up_to_one_between_the_outer_centres() {
        let bank = mel_filterbank(16_000, 4096, 40, 50.0, 7600.0);
        for bin in 0..bank.bins {
            let at_hz = bin as f32 * 16_000.0 / 4096.0;
            if at_hz > bank.centres_hz[0] && at_hz < bank.centres_hz[39] {
                let total: f32 = (0..40).map(|band| bank.band(band)[bin]).sum();
                assert!((total - 1.0).abs() < 1e-3, "{at_hz} Hz: {total}");
            }
        }
    }

    #[test]
    fn no_band_is_empty_even_when_narrower_than_a_bin() {
        let bank = mel_filterbank(48_000, 512, 128, 0.0, 24_000.0);
        for band in 0..bank.bands() {
            assert!(bank.band(band).iter().sum::<f32>() > 0.0, "band {band}");
        }
    }

    #[test]
    fn tone_lands_in_the_band_of_its_frequency() {
        let bank = mel_filterbank(16_000, 1024, 80, 0.0, 8000.0);
        let mut spectrum = vec![0.0; bank.bins];
        spectrum[64] = 1.0; // 1000 Hz
        let mut bands = vec![0.0; 80];
        bank.apply(&spectrum, &mut bands);
        let top = (0..80)
            .max_by(|&a, &b| bands[a].total_cmp(&bands[b]))
            .unwrap();
        let nearest = (0..80)
            .min_by(|&a, &b| {
                (bank.centres_hz[a] - 1000.0)
                    .abs()
                    .total_cmp(&(bank.centres_hz[b] - 1000.0).abs())
            })
            .unwrap();
        assert_eq!(top, nearest);
    }
}
