//! A small discriminator on log-mel spectrograms.
//!
//! A spectral distance alone settles on the average of what could be there,
//! which sounds dull and buzzy. The critics look at patches of the mel
//! spectrogram at each resolution and learn to tell recordings from renderings. They are told who is to be heard, so
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

    /// `speakers` is 1 for the speaker of each crop and 0 for the others, `[B, S, 1, 1]`.
    fn forward(&self, bands: Tensor<B, 3>, speakers: &Tensor<B, 4>) -> Maps<B> {
        let [_, frames, width] = bands.dims();
        let bands = bands
            .add_scalar(CENTRE)
            .mul_scalar(SCALE)
            .unsqueeze_dim::<4>(1);
        let speakers = speakers.clone().repeat_dim(2, frames).repeat_dim(3, width);
        let mut x = Tensor::cat(vec![bands, speakers], 1);
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
    speakers: usize,
}

impl<B: Backend> Critics<B> {
    /// `count` fresh critics of `speakers` speakers.
    pub fn new(count: usize, speakers: usize, device: &B::Device) -> Self {
        let critic = |_| PatchCritic::new(speakers, device);
        Self {
            critics: (0..count).map(critic).collect(),
            speakers,
        }
    }

    /// Feature maps of `spectra`, per critic; `speakers` says for each crop whose voice it should be, and may go on.
    pub fn maps(&self, spectra: &[LogSpectra<B>], speakers: &[usize]) -> Vec<Maps<B>> {
        let crops = spectra.first().map_or(0, |s| s.bands.dims()[0]);
        let who: Vec<f32> = speakers[..crops]
            .iter()
            .flat_map(|&own| (0..self.speakers).map(move |s| f32::from(s == own)))
            .collect();
        self.critics
            .iter()
            .zip(spectra)
            .map(|(critic, s)| {
                let shape = [crops, self.speakers, 1, 1];
                let who = from_vec::<B, 4>(who.clone(), shape, &s.bands.device());
                critic.forward(s.bands.clone(), &who)
            })
            .collect()
    }
}

/// How far the critics are from saying 0, as they should of a rendering for which there is no recording.
pub fn see_through<B: Backend>(rendered: &[Maps<B>]) -> Tensor<B, 1> {
    mean(
        rendered
            .iter()
            .map(|maps| {
                let verdict = maps[maps.len() - 1].clone();
                (verdict.clone() * verdict).mean()
            })
            .collect(),
    )
}

/// What a rendering without a recording should lower: the distance of the verdict from 1.
pub fn convince<B: Backend>(rendered: &[Maps<B>]) -> Tensor<B, 1> {
    mean(
        rendered
            .iter()
            .map(|maps| {
                let verdict = maps[maps.len() - 1].clone().sub_scalar(1.0);
                (verdict.clone() * verdict).mean()
            })
            .collect(),
    )
}

/// The critics' own loss: 1 for recordings, 0 for renderings.
pub fn judge<B: Backend>(recorded: &[Maps<B>], rendered: &[Maps<B>]) -> Tensor<B, 1> {
    let terms: Vec<Tensor<B, 1>> = recorded
        .iter()
        .zip(rendered)
        .map(|(real, fake)| {
            let real = real[real.len() - 1].clone().sub_scalar(1.0);
            let fake = fake[fake.len() - 1].clone();
            (real.clone() * real).mean() + (fake.clone() * fake).mean()
        })
        .collect();
    mean(terms)
}

/// What a rendering should lower: (distance of the verdict from 1, distance of the feature maps).
pub fn persuade<B: Backend>(
    recorded: &[Maps<B>],
    rendered: &[Maps<B>],
) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let mut verdicts = Vec::new();
    let mut maps = Vec::new();
    for (real, fake) in recorded.iter().zip(rendered) {
        let last = fake.len() - 1;
        let verdict = fake[last].clone().sub_scalar(1.0);
        verdicts.push((verdict.clone() * verdict).mean());
        for (real, fake) in real[..last].iter().zip(&fake[..last]) {
            maps.push((real.clone().detach() - fake.clone()).abs().mean());
        }
    }
    (mean(verdicts), mean(maps))
}

fn mean<B: Backend>(terms: Vec<Tensor<B, 1>>) -> Tensor<B, 1> {
    let count = terms.len() as f32;
    Tensor::cat(terms, 0).sum().div_scalar(count)
}
