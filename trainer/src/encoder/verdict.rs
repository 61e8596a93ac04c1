//! What an encoder is told of its crops: how far its phones, envelopes and understanding are off.

use std::path::Path;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::acoustics::{AcousticHead, COLOUR};
use super::batches::Batch;
use super::corpus::{LabelSet, UNLABELLED};
use super::fit::FitConfig;
use crate::model::causal::{CausalConv, from_vec, value};
use crate::model::content::ContentEncoder;
use crate::model::mel::{BANDS, UNITS_PER_DB};
use crate::training::checkpoint::{load_module, module_bytes};

/// All that is learned: the encoder, and what only its training needs.
#[derive(Module, Debug)]
pub(super) struct Pupil<B: Backend> {
    pub(super) encoder: ContentEncoder<B>,
    acoustics: Option<AcousticHead<B>>,
    understood: Option<CausalConv<B>>,
}

impl<B: Backend> Pupil<B> {
    /// Of `understood` channels of a recogniser; 0 where there is none.
    pub(super) fn new(
        config: &FitConfig,
        classes: usize,
        understood: usize,
        device: &B::Device,
    ) -> Self {
        let channels = config.network.content_channels;
        Self {
            encoder: ContentEncoder::new(&config.network, classes, device),
            acoustics: (config.acoustics_weight > 0.0).then(|| AcousticHead::new(channels, device)),
            understood: (understood > 0)
                .then(|| CausalConv::new(channels, understood, 1, 1, device)),
        }
    }

    /// The weights, by file name.
    pub(super) fn parts(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut parts = vec![("model.bin", module_bytes(&self.encoder)?)];
        if let Some(head) = &self.acoustics {
            parts.push(("acoustics.bin", module_bytes(head)?));
        }
        if let Some(head) = &self.understood {
            parts.push(("understood.bin", module_bytes(head)?));
        }
        Ok(parts)
    }

    pub(super) fn load(self, folder: &Path, device: &B::Device) -> Result<Self> {
        Ok(Self {
            encoder: load_module(self.encoder, folder, "model.bin", device)?,
            acoustics: self
                .acoustics
                .map(|head| load_module(head, folder, "acoustics.bin", device))
                .transpose()?,
            understood: self
                .understood
                .map(|head| load_module(head, folder, "understood.bin", device))
                .transpose()?,
        })
    }
}

/// What a batch says of the weights.
pub(super) struct Verdict<B: Backend> {
    pub(super) loss: Tensor<B, 1>,
    /// Share of frames whose phone is right.
    pub(super) hits: f64,
    /// Mean distance of the envelopes in dB.
    pub(super) acoustics_db: f64,
    /// Share of the variance of what a recogniser makes of it that the content gives.
    pub(super) understood: f64,
}

/// Per set: 0 for its own classes, −1e9 for the others.
pub(super) fn group_masks(sets: &[LabelSet], classes: usize) -> Vec<Vec<f32>> {
    sets.iter()
        .map(|set| {
            let own = set.first_class..set.first_class + set.phones.len();
            (0..classes)
                .map(|class| if own.contains(&class) { 0.0 } else { -1e9 })
                .collect()
        })
        .collect()
}

/// What a batch says of `model`; `noisy` where it learns from it.
pub(super) fn verdict<B: Backend>(
    model: &Pupil<B>,
    batch: &Batch,
    config: &FitConfig,
    masks: &[Vec<f32>],
    noisy: bool,
    device: &B::Device,
) -> Verdict<B> {
    let (size, frames) = (batch.sets.len(), config.frames);
    let classes = masks.first().map_or(0, Vec::len);
    let mel = from_vec::<B, 3>(batch.mel.clone(), [size, frames, BANDS], device).swap_dims(1, 2);
    let (content, logits) = model.encoder.content_and_logits(mel, noisy);
    let logits = logits.swap_dims(1, 2);
    let mask: Vec<f32> = batch
        .sets
        .iter()
        .flat_map(|&set| masks[set].iter().copied())
        .collect();
    let log_p = log_softmax(
        logits + from_vec::<B, 3>(mask, [size, 1, classes], device),
        2,
    );
    // Output n answers for frame n − L.
    let lookahead = config.network.lookahead_frames;
    let mut targets = vec![0i64; size * frames];
    let mut weights = vec![0.0f32; size * frames];
    for row in 0..size {
        for n in lookahead..frames {
            let class = batch.classes[row * frames + n - lookahead];
            if class != UNLABELLED {
                targets[row * frames + n] = i64::from(class);
                weights[row * frames + n] = 1.0;
            }
        }
    }
    let total: f32 = weights.iter().sum::<f32>().max(1.0);
    let targets =
        Tensor::<B, 3, Int>::from_data(TensorData::new(targets, [size, frames, 1]), device);
    let weights = from_vec::<B, 3>(weights, [size, frames, 1], device);
    let hits = log_p.clone().argmax(2).equal(targets.clone()).float() * weights.clone();
    let hits: f32 = hits
        .sum()
        .into_data()
        .convert::<f32>()
        .into_vec::<f32>()
        .map_or(0.0, |v| v[0]);
    let mut loss = (log_p.gather(2, targets) * weights)
        .sum()
        .neg()
        .div_scalar(total);
    let mut acoustics_db = 0.0;
    if let Some(head) = &model.acoustics {
        let distance = envelope_distance(head, content.clone(), batch, lookahead, device);
        acoustics_db = f64::from(value(&distance) / UNITS_PER_DB);
        loss = loss + distance.mul_scalar(config.acoustics_weight);
    }
    let mut understood = 0.0;
    if let Some(head) = &model.understood {
        let missed = missed(head, content, batch, lookahead, device);
        understood = 1.0 - f64::from(value(&missed));
        loss = loss + missed.mul_scalar(0.5 * config.understood_weight);
    }
    Verdict {
        loss,
        hits: f64::from(hits / total),
        acoustics_db,
        understood,
    }
}

/// Mean square distance of what `head` makes of `content` to what a recogniser makes of the clips, where something is heard.
fn missed<B: Backend>(
    head: &CausalConv<B>,
    content: Tensor<B, 3>,
    batch: &Batch,
    lookahead: usize,
    device: &B::Device,
) -> Tensor<B, 1> {
    let missed = apart(head.forward(content), &batch.understood, lookahead, device);
    where_active(missed.clone() * missed, batch, device)
}

/// Mean absolute distance of the envelopes that `head` draws from `content` to those of the clips, in log-mel units.
fn envelope_distance<B: Backend>(
    head: &AcousticHead<B>,
    content: Tensor<B, 3>,
    batch: &Batch,
    lookahead: usize,
    device: &B::Device,
) -> Tensor<B, 1> {
    let [_, size, frames] = content.dims();
    let colour = from_vec::<B, 3>(batch.colour.clone(), [size, COLOUR, 1], device)
        .swap_dims(0, 1)
        .repeat_dim(2, frames);
    let drawn = head.forward(content, &colour);
    let missed = apart(drawn, &batch.envelopes, lookahead, device);
    where_active(missed.abs(), batch, device)
}

/// What is `given`, `[channels, B, T]`, less what is `wanted`, `[B, T, channels]`: output n answers for frame n − L, so there are L
/// frames less.
fn apart<B: Backend>(
    given: Tensor<B, 3>,
    wanted: &[f32],
    lookahead: usize,
    device: &B::Device,
) -> Tensor<B, 3> {
    let [channels, size, frames] = given.dims();
    let kept = frames - lookahead;
    let wanted = from_vec::<B, 3>(wanted.to_vec(), [size, frames, channels], device);
    given.narrow(2, lookahead, kept) - wanted.permute([2, 0, 1]).narrow(2, 0, kept)
}

/// The mean of distances, `[channels, B, frames]` from the first on, over the frames in which something is heard.
fn where_active<B: Backend>(
    distances: Tensor<B, 3>,
    batch: &Batch,
    device: &B::Device,
) -> Tensor<B, 1> {
    let [_, size, kept] = distances.dims();
    let frames = batch.active.len() / size;
    let active =
        from_vec::<B, 3>(batch.active.clone(), [1, size, frames], device).narrow(2, 0, kept);
    let count = active.clone().sum().clamp_min(1.0);
    (distances.mean_dim(0) * active).sum() / count
}
