//! A small discriminator on log-mel spectrograms.
//!
//! A spectral distance alone settles on the average of what could be there,
//! which sounds dull and buzzy. The critics look at patches of the mel
//! spectrogram at each resolution and learn to tell recordings from renderings. They can be told who is to be heard, so
//! that they also judge renderings of one speaker's words in another's voice, for which there is no recording.
//!
//! Source: Mao et al., least-squares GAN (1611.04076); patches over spectrogram
//! resolutions after Jang et al., UnivNet (2106.07889), here on mel bands so
//! that it fits a CPU.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::leaky_relu;
use burn::tensor::backend::Backend;

use super::loss::LogSpectra;
use crate::model::causal::from_vec;

/// Channels, kernel (time, band), stride (time, band) of each layer.
const LAYERS: [(usize, [usize; 2], [usize; 2]); 4] = [
    (24, [3, 7], [1, 2]),
    (32, [3, 5], [2, 2]),
    (48, [3, 5], [1, 2]),
    (64, [3, 3], [1, 2]),
];
/// Brings log amplitudes (about −9…0 nepers) to about −1…1.
const CENTRE: f32 = 5.0;
const SCALE: f32 = 0.3;

/// Feature maps of one critic's layers, the verdict last.
pub type Maps<B> = Vec<Tensor<B, 4>>;

/// One stack of convolutions over `[B, 1 + S, frames, bands]`: the spectrogram, and who is said to be heard.
#[derive(Module, Debug)]
pub struct PatchCritic<B: Backend> {
    layers: Vec<Conv2d<B>>,
    verdict: Conv2d<B>,
}

impl<B: Backend> PatchCritic<B> {
    fn new(speakers: usize, device: &B::Device) -> Self {
        let mut channels = 1 + speakers;
        let layers = LAYERS
            .iter()
            .map(|&(out, kernel, stride)| {
                let layer = Conv2dConfig::new([channels, out], kernel)
                    .with_stride(stride)
                    .with_padding(PaddingConfig2d::Explicit(
                        kernel[0] / 2,
                        kernel[1] / 2,
                        kernel[0] / 2,
                        kernel[1] / 2,
                    ))
                    .init(device);
                channels = out;
                layer
            })
            .collect();
        let verdict = Conv2dConfig::new([channels, 1], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init(device);
        Self { layers, verdict }
    }

    /// `speakers` is who is to be heard in each crop.
    fn forward(&self, bands: Tensor<B, 3>, speakers: &[usize]) -> Maps<B> {
        let [crops, frames, width] = bands.dims();
        let mut x = bands
            .add_scalar(CENTRE)
            .mul_scalar(SCALE)
            .unsqueeze_dim::<4>(1);
        let known = self.layers[0].weight.val().dims()[1] - 1;
        if known > 0 {
            let one = |&own: &usize| (0..known).map(move |s| f32::from(s == own));
            let who: Vec<f32> = speakers.iter().flat_map(one).collect();
            let who = from_vec::<B, 4>(who, [crops, known, 1, 1], &x.device());
            x = Tensor::cat(vec![x, who.repeat_dim(2, frames).repeat_dim(3, width)], 1);
        }
        let mut maps = Vec::new();
        for layer in &self.layers {
            x = leaky_relu(layer.forward(x), 0.1);
            maps.push(x.clone());
        }
        maps.push(self.verdict.forward(x));
        maps
    }
}

/// One critic per resolution.
#[derive(Module, Debug)]
pub struct Critics<B: Backend> {
    critics: Vec<PatchCritic<B>>,
}

impl<B: Backend> Critics<B> {
    /// `count` fresh critics that are told which of `speakers` speakers is to be heard; with 0 they are not told.
    pub fn new(count: usize, speakers: usize, device: &B::Device) -> Self {
        let critic = |_| PatchCritic::new(speakers, device);
        Self {
            critics: (0..count).map(critic).collect(),
        }
    }

    /// Feature maps of `spectra`, per critic; `speakers` says for each crop whose voice it should be, and may go on.
    pub fn maps(&self, spectra: &[LogSpectra<B>], speakers: &[usize]) -> Vec<Maps<B>> {
        self.critics
            .iter()
            .zip(spectra)
            .map(|(critic, s)| {
                let crops = s.bands.dims()[0];
                critic.forward(s.bands.clone(), &speakers[..crops])
            })
            .collect()
    }
}

/// The critics' own loss: 1 for recordings, 0 for renderings.
pub fn judge<B: Backend>(recorded: &[Maps<B>], rendered: &[Maps<B>]) -> Tensor<B, 1> {
    verdict_off(recorded, 1.0) + verdict_off(rendered, 0.0)
}

/// What a rendering should lower: (distance of the verdict from 1, distance of the feature maps).
pub fn persuade<B: Backend>(
    recorded: &[Maps<B>],
    rendered: &[Maps<B>],
) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let mut maps = Vec::new();
    for (real, fake) in recorded.iter().zip(rendered) {
        let last = fake.len() - 1;
        for (real, fake) in real[..last].iter().zip(&fake[..last]) {
            maps.push((real.clone().detach() - fake.clone()).abs().mean());
        }
    }
    (verdict_off(rendered, 1.0), mean(maps))
}

/// Mean square distance of the verdicts from `wanted`.
pub fn verdict_off<B: Backend>(maps: &[Maps<B>], wanted: f32) -> Tensor<B, 1> {
    let off = |maps: &Maps<B>| {
        let verdict = maps[maps.len() - 1].clone().sub_scalar(wanted);
        (verdict.clone() * verdict).mean()
    };
    mean(maps.iter().map(off).collect())
}

fn mean<B: Backend>(terms: Vec<Tensor<B, 1>>) -> Tensor<B, 1> {
    let count = terms.len() as f32;
    Tensor::cat(terms, 0).sum().div_scalar(count)
}
