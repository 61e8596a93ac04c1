//! Real DFTs as matrix products, folded by their symmetries to a quarter of the size.
//!
//! burn has no differentiable FFT on every backend, and a product runs on all of them. Around its
//! centre a window is an even part, which cosines see alone, and an odd one for the sines; folded
//! once more at a quarter of the length, each part splits into one for the even bins and one for the
//! odd. What is left are four products a sixteenth of the size each.
//!
//! Bins are kept in the order all even, then all odd. Tensors have two dimensions: burn's CPU backend
//! walks slices of matrices row by row, those of more dimensions element by element.

use std::f64::consts::TAU;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::causal::from_vec;

/// The first `bins` bins of a DFT in the order of this module.
pub fn bin_order(bins: usize) -> impl Iterator<Item = usize> {
    (0..bins).step_by(2).chain((1..bins).step_by(2))
}

/// `[rows, columns]`: `value(row, bin)` for the bins of one parity.
fn matrix<B: Backend>(
    rows: std::ops::Range<usize>,
    bins: impl Iterator<Item = usize>,
    value: impl Fn(usize, usize) -> f64,
    device: &B::Device,
) -> Tensor<B, 2> {
    let bins: Vec<usize> = bins.collect();
    let values = rows
        .clone()
        .flat_map(|row| {
            bins.iter()
                .map(|&bin| value(row, bin) as f32)
                .collect::<Vec<_>>()
        })
        .collect();
    from_vec(values, [rows.len(), bins.len()], device)
}

/// Power spectra of Hann windows.
#[derive(Debug, Clone)]
pub struct PowerDft<B: Backend> {
    length: usize,
    window: Tensor<B, 2>,
    /// Cosines for even bins, for odd ones, sines for even, for odd.
    waves: [Tensor<B, 2>; 4],
}

impl<B: Backend> PowerDft<B> {
    /// The first `bins` bins of windows of `length` samples, a multiple of 4; scaled so that noise of unit power has
    /// unit power in a bin.
    pub fn new(length: usize, bins: usize, device: &B::Device) -> Self {
        let hann = |n: usize| 0.5 - 0.5 * (TAU * n as f64 / length as f64).cos();
        let scale = 1.0 / (0..length).map(|n| hann(n) * hann(n)).sum::<f64>().sqrt();
        let window = (0..length).map(|n| (hann(n) * scale) as f32).collect();
        let angle = |m: usize, k: usize| TAU * (m * k % length) as f64 / length as f64;
        let quarter = length / 4;
        // Where the fold maps a sample on itself it counts once.
        let once = |m: usize| if m == quarter { 0.5 } else { 1.0 };
        let (even, odd) = ((0..bins).step_by(2), (1..bins).step_by(2));
        let waves = [
            matrix(
                0..quarter + 1,
                even.clone(),
                |m, k| once(m) * angle(m, k).cos(),
                device,
            ),
            matrix(
                0..quarter + 1,
                odd.clone(),
                |m, k| angle(m, k).cos(),
                device,
            ),
            matrix(1..quarter + 1, even, |m, k| angle(m, k).sin(), device),
            matrix(
                1..quarter + 1,
                odd,
                |m, k| once(m) * angle(m, k).sin(),
                device,
            ),
        ];
        Self {
            length,
            window: from_vec(window, [1, length], device),
            waves,
        }
    }

    /// `[R, length]` to `[R, bins]`, even bins first.
    pub fn power(&self, windows: Tensor<B, 2>) -> Tensor<B, 2> {
        let rows = windows.dims()[0];
        let windows = windows * self.window.clone();
        let (centre, quarter) = (self.length / 2, self.length / 4);
        let part =
            |x: &Tensor<B, 2>, first: usize, last: usize| x.clone().slice([0..rows, first..last]);
        let reversed = |x: Tensor<B, 2>| x.flip([1]);
        // At distance 1 … length/2 − 1 from the centre.
        let right = part(&windows, centre + 1, self.length);
        let left = reversed(part(&windows, 1, centre));
        let even = Tensor::cat(
            vec![
                part(&windows, centre, centre + 1),
                right.clone() + left.clone(),
                part(&windows, 0, 1),
            ],
            1,
        );
        let odd = right - left;
        let (near, far) = (
            part(&even, 0, quarter + 1),
            reversed(part(&even, quarter, centre + 1)),
        );
        let cosines = [near.clone() + far.clone(), near - far];
        let (near, far) = (
            part(&odd, 0, quarter),
            reversed(part(&odd, quarter - 1, centre - 1)),
        );
        let sines = [near.clone() - far.clone(), near + far];
        let [even, odd] = [0, 1].map(|parity: usize| {
            let re = cosines[parity].clone().matmul(self.waves[parity].clone());
            let im = sines[parity].clone().matmul(self.waves[2 + parity].clone());
            re.clone() * re + im.clone() * im
        });
        Tensor::cat(vec![even, odd], 1)
    }
}

/// Half spectra to windows.
#[derive(Debug, Clone)]
pub struct InverseDft<B: Backend> {
    length: usize,
    even_bins: usize,
    /// Cosines for even bins, for odd ones, minus sines for even, for odd.
    waves: [Tensor<B, 2>; 4],
}

impl<B: Backend> InverseDft<B> {
    /// For windows of `length` samples, a multiple of 4.
    pub fn new(length: usize, device: &B::Device) -> Self {
        let half = length / 2;
        let angle = |k: usize, n: usize| TAU * (k * n % length) as f64 / length as f64;
        let weight = |k: usize| if k == 0 || k == half { 1.0 } else { 2.0 } / length as f64;
        let wave = |first: usize, value: &dyn Fn(f64) -> f64| {
            let bins: Vec<usize> = (first..=half).step_by(2).collect();
            let values = bins
                .iter()
                .flat_map(|&k| {
                    (0..=length / 4).map(move |n| (weight(k) * value(angle(k, n))) as f32)
                })
                .collect();
            from_vec(values, [bins.len(), length / 4 + 1], device)
        };
        let waves = [
            wave(0, &f64::cos),
            wave(1, &f64::cos),
            wave(0, &|x| -x.sin()),
            wave(1, &|x| -x.sin()),
        ];
        Self {
            length,
            even_bins: half / 2 + 1,
            waves,
        }
    }

    /// Real and imaginary parts `[R, length/2 + 1]`, even bins first, to `[R, length]`.
    pub fn windows(&self, re: Tensor<B, 2>, im: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, bins] = re.dims();
        let part =
            |x: &Tensor<B, 2>, first: usize, last: usize| x.clone().slice([0..rows, first..last]);
        let wave = |x: &Tensor<B, 2>, index: usize| {
            let x = if index.is_multiple_of(2) {
                part(x, 0, self.even_bins)
            } else {
                part(x, self.even_bins, bins)
            };
            x.matmul(self.waves[index].clone())
        };
        let (even_re, odd_re, even_im, odd_im) =
            (wave(&re, 0), wave(&re, 1), wave(&im, 2), wave(&im, 3));
        let (even_sum, even_difference) = (even_re.clone() + even_im.clone(), even_re - even_im);
        let (odd_sum, odd_difference) = (odd_re.clone() + odd_im.clone(), odd_re - odd_im);
        // At n, length/2 − n, length/2 + n, length − n.
        let first = even_sum.clone() + odd_sum.clone();
        let second = even_difference.clone() - odd_difference.clone();
        let third = even_sum - odd_sum;
        let fourth = even_difference + odd_difference;
        let inner = |x: Tensor<B, 2>| part(&x, 1, self.length / 4).flip([1]);
        Tensor::cat(vec![first, inner(second), third, inner(fourth)], 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::causal::to_vec;
    use crate::random::Random;
    use burn::backend::Flex;

    const LENGTH: usize = 64;

    fn noise(count: usize) -> Vec<f32> {
        let mut random = Random::new(7, 0);
        (0..count).map(|_| random.normal()).collect()
    }

    #[test]
    fn powers_are_those_of_the_definition() {
        let device = Default::default();
        let bins = LENGTH / 2 + 1;
        let signal = noise(LENGTH);
        let powers = to_vec(PowerDft::<Flex>::new(LENGTH, bins, &device).power(from_vec(
            signal.clone(),
            [1, LENGTH],
            &device,
        )));
        let hann = |n: usize| 0.5 - 0.5 * (TAU * n as f64 / LENGTH as f64).cos();
        let energy: f64 = (0..LENGTH).map(|n| hann(n) * hann(n)).sum();
        for (power, k) in powers.iter().zip(bin_order(bins)) {
            let sum = |wave: &dyn Fn(f64) -> f64| {
                (0..LENGTH)
                    .map(|n| {
                        f64::from(signal[n]) * hann(n) * wave(TAU * (n * k) as f64 / LENGTH as f64)
                    })
                    .sum::<f64>()
            };
            let expected = (sum(&f64::cos).powi(2) + sum(&f64::sin).powi(2)) / energy;
            assert!(
                (f64::from(*power) - expected).abs() < 1e-4 * (1.0 + expected),
                "bin {k}: {power} against {expected}"
            );
        }
    }

    #[test]
    fn windows_are_those_of_the_definition() {
        let device = Default::default();
        let bins = LENGTH / 2 + 1;
        let (re, im) = (noise(bins), noise(2 * bins)[bins..].to_vec());
        let tensor = |values: &[f32]| from_vec::<Flex, 2>(values.to_vec(), [1, bins], &device);
        let window = to_vec(InverseDft::new(LENGTH, &device).windows(tensor(&re), tensor(&im)));
        for (n, value) in window.iter().enumerate() {
            let expected: f64 = bin_order(bins)
                .zip(re.iter().zip(&im))
                .map(|(k, (&re, &im))| {
                    let weight = if k == 0 || k == LENGTH / 2 { 1.0 } else { 2.0 };
                    let angle = TAU * (k * n) as f64 / LENGTH as f64;
                    weight * (f64::from(re) * angle.cos() - f64::from(im) * angle.sin())
                        / LENGTH as f64
                })
                .sum();
            assert!(
                (f64::from(*value) - expected).abs() < 1e-5,
                "sample {n}: {value} against {expected}"
            );
        }
    }
}
