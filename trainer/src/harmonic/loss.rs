//! Multi-resolution distance of log spectra.
//!
//! Three STFTs by matrix product (burn has no differentiable FFT on every
//! backend); for each, the mean absolute difference of log amplitude per bin
//! and per mel band.
//!
//! Source: Yamamoto et al., Parallel WaveGAN (1910.11480) for the idea of
//! several resolutions; ours differs in that amplitudes are compared only as logarithms.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use timbra_dsp::mel::mel_edges_hz;

use crate::model::causal::from_vec;
use crate::model::folded_dft::{PowerDft, bin_order};
use crate::model::harmonic::MODEL_RATE_HZ;

/// Power (of unit-power noise) below which differences do not count: −80 dBFS.
const FLOOR: f32 = 1e-8;

/// Window and hop in samples, highest bin in Hz, mel bands.
const RESOLUTIONS: [(usize, usize, f64, usize); 3] = [
    (2048, 512, 12_000.0, 96),
    (1024, 256, 24_000.0, 128),
    (512, 128, 24_000.0, 64),
];

/// One STFT with its mel bank.
#[derive(Debug, Clone)]
struct Resolution<B: Backend> {
    window: usize,
    hop: usize,
    bins: usize,
    dft: PowerDft<B>,
    bank: Tensor<B, 2>,
}

/// Log spectra of a signal at one resolution.
#[derive(Debug, Clone)]
pub struct LogSpectra<B: Backend> {
    /// `[B, F, bins]`, nepers; even bins first.
    pub bins: Tensor<B, 3>,
    /// `[B, F, bands]`, nepers.
    pub bands: Tensor<B, 3>,
}

impl<B: Backend> LogSpectra<B> {
    /// The first `crops` of the batch.
    pub fn first(&self, crops: usize) -> Self {
        let part = |x: &Tensor<B, 3>| x.clone().narrow(0, 0, crops.min(x.dims()[0]));
        Self {
            bins: part(&self.bins),
            bands: part(&self.bands),
        }
    }

    /// The same numbers without where they come from.
    pub fn detached(&self) -> Self {
        Self {
            bins: self.bins.clone().detach(),
            bands: self.bands.clone().detach(),
        }
    }
}

/// The matrices of every resolution.
#[derive(Debug, Clone)]
pub struct SpectralLoss<B: Backend> {
    resolutions: Vec<Resolution<B>>,
}

impl<B: Backend> SpectralLoss<B> {
    /// On `device`.
    pub fn new(device: &B::Device) -> Self {
        let resolutions = RESOLUTIONS
            .iter()
            .map(|&(window, hop, top_hz, bands)| {
                let bin_hz = MODEL_RATE_HZ as f64 / window as f64;
                let bins = ((top_hz / bin_hz) as usize + 1).min(window / 2 + 1);
                Resolution {
                    window,
                    hop,
                    bins,
                    dft: PowerDft::new(window, bins, device),
                    bank: from_vec(mel_bank(bins, bands, bin_hz, top_hz), [bins, bands], device),
                }
            })
            .collect();
        Self { resolutions }
    }

    /// Log spectra of `[B, samples]` at every resolution.
    pub fn spectra(&self, signal: &Tensor<B, 2>) -> Vec<LogSpectra<B>> {
        self.resolutions
            .iter()
            .map(|r| r.spectra(signal.clone()))
            .collect()
    }

    /// Mean absolute log distance over bins and bands, averaged over resolutions, in nepers.
    pub fn distance(&self, a: &[LogSpectra<B>], b: &[LogSpectra<B>]) -> Tensor<B, 1> {
        let terms: Vec<Tensor<B, 1>> = a
            .iter()
            .zip(b)
            .map(|(a, b)| {
                (a.bins.clone() - b.bins.clone()).abs().mean() * 0.5
                    + (a.bands.clone() - b.bands.clone()).abs().mean()
            })
            .collect();
        let count = terms.len() as f32;
        Tensor::cat(terms, 0).sum().div_scalar(count)
    }

    /// Mean absolute log distance of the mean power per mel band, at the middle resolution, in nepers: of each crop,
    /// and of all crops together. Only in a mean over many crops do levels that cannot be foreseen count in full.
    pub fn balance(&self, a: &[LogSpectra<B>], b: &[LogSpectra<B>]) -> Tensor<B, 1> {
        let mean_power =
            |spectra: &LogSpectra<B>| spectra.bands.clone().mul_scalar(2.0).exp().mean_dim(1);
        let distance =
            |a: Tensor<B, 3>, b: Tensor<B, 3>| (a.log() - b.log()).abs().mean().mul_scalar(0.5);
        let (a, b) = (mean_power(&a[1]), mean_power(&b[1]));
        (distance(a.clone(), b.clone()) + distance(a.mean_dim(0), b.mean_dim(0))).mul_scalar(0.5)
    }
}

impl<B: Backend> Resolution<B> {
    fn spectra(&self, signal: Tensor<B, 2>) -> LogSpectra<B> {
        let [batch, samples] = signal.dims();
        let blocks = samples / self.hop;
        let overlap = self.window / self.hop;
        let frames = blocks + 1 - overlap;
        let blocked = signal
            .slice([0..batch, 0..blocks * self.hop])
            .reshape([batch, blocks, self.hop]);
        let parts = (0..overlap)
            .map(|i| {
                blocked
                    .clone()
                    .slice([0..batch, i..i + frames, 0..self.hop])
            })
            .collect();
        let windows = Tensor::cat(parts, 2).reshape([batch * frames, self.window]);
        let power = self.dft.power(windows);
        let bands = power.clone().matmul(self.bank.clone());
        let log = |x: Tensor<B, 2>| x.add_scalar(FLOOR).log().mul_scalar(0.5);
        let width = bands.dims()[1];
        LogSpectra {
            bins: log(power).reshape([batch, frames, self.bins]),
            bands: log(bands).reshape([batch, frames, width]),
        }
    }
}

/// `[bins, bands]`: triangles of unit sum, so that a band's power is a weighted mean; even bins first.
fn mel_bank(bins: usize, bands: usize, bin_hz: f64, top_hz: f64) -> Vec<f32> {
    let edges = mel_edges_hz(bands, 0.0, top_hz);
    let mut rows = vec![0; bins];
    for (row, bin) in bin_order(bins).enumerate() {
        rows[bin] = row;
    }
    let mut bank = vec![0.0f32; bins * bands];
    for band in 0..bands {
        let (low, centre, high) = (edges[band], edges[band + 1], edges[band + 2]);
        let mut weights: Vec<(usize, f64)> = (0..bins)
            .map(|bin| {
                let f = bin as f64 * bin_hz;
                (
                    bin,
                    ((f - low) / (centre - low))
                        .min((high - f) / (high - centre))
                        .max(0.0),
                )
            })
            .filter(|w| w.1 > 0.0)
            .collect();
        if weights.is_empty() {
            weights.push((((centre / bin_hz).round() as usize).min(bins - 1), 1.0));
        }
        let sum: f64 = weights.iter().map(|w| w.1).sum();
        for (bin, weight) in weights {
            bank[rows[bin] * bands + band] = (weight / sum) as f32;
        }
    }
    bank
}
