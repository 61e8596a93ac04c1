//! How well the newest period repeats the one before.

use super::correlation::{Autocorrelation, LAGS_PER_SAMPLE};

/// Part of the newest stretch's energy that is added to the energies: nearly silent stretches do not match loud ones.
const ENERGY_FLOOR: f64 = 1e-4;

/// Correlation of a stretch with one a lag earlier, each at its own energy, for windows without a future.
///
/// Both stretches together end where the look-ahead does, and reach as far before a frame's centre as beyond it, if there
/// is room for a period after another; where there is not, each is one period, and their middle lies before the centre.
/// No taper: a tapered window of two periods weighs its periods differently, which moves the peaks of voices that
/// change or whose energy lies in few harmonics.
pub(super) struct PeriodMatcher {
    ahead_samples: usize,
    max_lag_samples: usize,
    transform: Autocorrelation,
    /// The signal less its mean, the newest sample first, and the sum of the squares of all that are newer.
    newest_first: Vec<f32>,
    energy: Vec<f64>,
    /// What makes a product a correlation, by the lag in samples.
    scales: Vec<f32>,
    /// Products of a period and the one before, for lags above the look-ahead.
    products: Vec<f32>,
    /// On the grid of half samples.
    correlation: Vec<f32>,
}

impl PeriodMatcher {
    /// For windows that end `ahead_samples` after a frame's centre.
    pub(super) fn new(ahead_samples: usize, max_lag_samples: usize) -> Self {
        let reach = 2 * max_lag_samples.max(ahead_samples);
        Self {
            ahead_samples,
            max_lag_samples,
            transform: Autocorrelation::new(3 * ahead_samples + 2),
            newest_first: vec![0.0; reach],
            energy: vec![0.0; reach + 1],
            scales: vec![0.0; max_lag_samples + 1],
            products: vec![0.0; max_lag_samples + 1],
            correlation: vec![0.0; max_lag_samples * LAGS_PER_SAMPLE + 1],
        }
    }

    /// How long before a frame's centre the middle of the stretches lies that tell of a period.
    pub(super) fn delay_samples(&self, period_samples: f32) -> f32 {
        (period_samples - self.ahead_samples as f32).max(0.0)
    }

    /// Correlation with what is `lag` earlier, −1 to 1, on the grid of half samples; all zero for silence.
    pub(super) fn normalised(&mut self, known: &[f32]) -> &[f32] {
        let window = 2 * self.ahead_samples;
        let newest = &known[known.len() - window..];
        let mean = newest.iter().sum::<f32>() / window as f32;
        let mut energy = 0.0;
        let slots = self.newest_first.iter_mut().zip(&mut self.energy[1..]);
        for ((slot, total), &sample) in slots.zip(known.iter().rev()) {
            *slot = sample - mean;
            energy += f64::from(*slot) * f64::from(*slot);
            *total = energy;
        }
        self.scale_lags(window);
        self.short_lags(window);
        self.long_lags();
        &self.correlation
    }

    /// 1 / geometric mean of the energies of both stretches, for every lag.
    fn scale_lags(&mut self, window: usize) {
        let floor = ENERGY_FLOOR * self.energy[window] + 1e-12;
        for (lag, scale) in self.scales.iter_mut().enumerate() {
            let length = lag.max(window - lag.min(self.ahead_samples));
            let late = self.energy[length];
            let early = self.energy[lag + length] - self.energy[lag];
            *scale = (1.0 / ((late * early).max(0.0).sqrt() + floor)) as f32;
        }
    }

    /// Lags for which the window holds two periods: its plain autocorrelation has their products.
    fn short_lags(&mut self, window: usize) {
        let products = self
            .transform
            .run(self.newest_first[..window].iter().copied());
        let to_energy = if products[0] > 0.0 && products[0].is_finite() {
            self.energy[window] as f32 / products[0]
        } else {
            0.0
        };
        let lags = self.ahead_samples.min(self.max_lag_samples);
        let pairs = self
            .correlation
            .as_chunks_mut::<LAGS_PER_SAMPLE>()
            .0
            .iter_mut();
        let products = products.as_chunks::<LAGS_PER_SAMPLE>().0;
        for ((slots, products), scales) in
            pairs.zip(products).zip(self.scales.windows(2)).take(lags)
        {
            slots[0] = products[0] * to_energy * scales[0];
            slots[1] = products[1] * to_energy * 0.5 * (scales[0] + scales[1]);
        }
        self.correlation[lags * LAGS_PER_SAMPLE] =
            products[lags][0] * to_energy * self.scales[lags];
    }

    /// Longer lags: one period against the one before it.
    fn long_lags(&mut self) {
        self.products.fill(0.0);
        // Four samples at a time, for all lags at once: a sample younger than the lag is of the newest period.
        let (fours, _) = self.newest_first[..self.max_lag_samples].as_chunks::<4>();
        for (index, four) in fours.iter().enumerate() {
            let first = self.ahead_samples.max(4 * index + 4);
            let earlier = self.newest_first.get(4 * index + first..);
            let products = self.products.get_mut(first..).unwrap_or_default();
            let earlier = earlier.unwrap_or_default().windows(4);
            for (product, earlier) in products.iter_mut().zip(earlier) {
                *product += four[0] * earlier[0]
                    + four[1] * earlier[1]
                    + four[2] * earlier[2]
                    + four[3] * earlier[3];
            }
        }
        for lag in self.ahead_samples..=self.max_lag_samples {
            // What the fours left of this lag's period.
            for age in lag / 4 * 4..lag {
                self.products[lag] += self.newest_first[age] * self.newest_first[age + lag];
            }
        }
        for lag in self.ahead_samples..=self.max_lag_samples {
            self.correlation[lag * LAGS_PER_SAMPLE] = self.products[lag] * self.scales[lag];
        }
        // The half lags by a cubic: at such lags the correlation has no finer detail.
        let last = self.correlation.len() - 1;
        for lag in self.ahead_samples..self.max_lag_samples {
            let index = lag * LAGS_PER_SAMPLE + 1;
            let inner = self.correlation[index - 1] + self.correlation[index + 1];
            let outer = self.correlation[index - 3] + self.correlation[(index + 3).min(last)];
            self.correlation[index] = (9.0 * inner - outer) / 16.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, written out.
    fn written_out(known: &[f32], ahead: usize, lag: usize) -> f64 {
        let end = known.len();
        let mean = known[end - 2 * ahead..].iter().sum::<f32>() / (2 * ahead) as f32;
        let length = if lag < ahead { 2 * ahead - lag } else { lag };
        let sum = |pairs: &dyn Fn(usize) -> (usize, usize)| -> f64 {
            (0..length)
                .map(|n| {
                    let (a, b) = pairs(n);
                    f64::from(known[a] - mean) * f64::from(known[b] - mean)
                })
                .sum()
        };
        let late = |n: usize| end - length + n;
        let early = |n: usize| end - lag - length + n;
        let energies = sum(&|n| (late(n), late(n))) * sum(&|n| (early(n), early(n)));
        sum(&|n| (late(n), early(n))) / energies.sqrt()
    }

    #[test]
    fn every_lag_is_correlated_as_defined() {
        let mut known = vec![0.0; 960];
        crate::noise::fill(4, 0, &mut known);
        for (n, sample) in known.iter_mut().enumerate() {
            *sample = 0.3 * *sample + 0.2 + (n as f32 * 0.031).sin();
        }
        for max_lag in [40, 160, 331, 334] {
            let mut matcher = PeriodMatcher::new(160, max_lag);
            let found = matcher.normalised(&known);
            assert_eq!(found.len(), 2 * max_lag + 1);
            for lag in 0..=max_lag {
                let expected = written_out(&known, 160, lag);
                let found = f64::from(found[2 * lag]);
                // The energies have a floor.
                assert!(
                    (found - expected).abs() < 5e-4,
                    "lag {lag} of {max_lag}: {found}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn silence_matches_nothing() {
        let mut matcher = PeriodMatcher::new(160, 330);
        assert!(matcher.normalised(&[0.0; 960]).iter().all(|&it| it == 0.0));
    }
}
