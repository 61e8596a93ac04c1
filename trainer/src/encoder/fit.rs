//! The training loop of the content encoder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use anyhow::{Result, bail};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{AutodiffModule, Module};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use timbra_voice::package::EncoderPackage;

use super::acoustics::{self, AcousticHead, COLOUR};
use super::augment::{Crop, crop};
use super::corpus::{Corpus, LabelSet, UNLABELLED};
use crate::model::causal::{from_vec, value};
use crate::model::content::{ContentConfig, ContentEncoder};
use crate::model::graph_layers::GraphLayers;
use crate::model::mel::{BANDS, LogMel, UNITS_PER_DB};
use crate::random::Random;
use crate::training::checkpoint::{
    Checkpoints, load_module, load_optimizer, module_bytes, optimizer_bytes, read_position,
};
use crate::training::progress::{Figures, bar};
use crate::training::schedule::cosine;

/// What decides a run; stored with it, so that a resumed run is the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitConfig {
    /// Network sizes.
    pub network: ContentConfig,
    /// Optimiser steps.
    pub steps: u64,
    /// Crops per step.
    pub batch: usize,
    /// Frames per crop.
    pub frames: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Seed of sampling and augmentation.
    pub seed: u64,
    /// Steps between checkpoints and validations.
    pub save_every: u64,
    /// Share of batches drawn from each label set, by name; sets not named share by their length.
    pub weights: Vec<(String, f32)>,
    /// Weight of the envelopes' distance beside the phones' loss in nats; 0 for phones alone.
    #[serde(default)]
    pub acoustics_weight: f32,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            network: ContentConfig::default(),
            steps: 3000,
            batch: 16,
            frames: 256,
            learning_rate: 1.0e-3,
            seed: 1,
            save_every: 100,
            weights: Vec::new(),
            acoustics_weight: 0.0,
        }
    }
}

/// Where a run stands; also all that is needed to rebuild its network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Wall seconds spent so far.
    pub seconds: f64,
    /// Held-out frame accuracy at this step.
    pub accuracy: f64,
    /// Best held-out accuracy so far.
    pub best_accuracy: f64,
    /// Held-out distance of the envelopes in dB at this step; 0 where only phones are learned.
    #[serde(default)]
    pub acoustics_db: f64,
    /// The run's settings.
    pub config: FitConfig,
    /// The classes the head predicts.
    pub sets: Vec<LabelSet>,
    /// Minutes of labelled audio.
    pub minutes: f64,
}

struct Batch {
    mel: Vec<f32>,
    classes: Vec<i32>,
    sets: Vec<usize>,
    envelopes: Vec<f32>,
    active: Vec<f32>,
    colour: Vec<f32>,
}

/// All that is learned: the encoder, and what only its training needs.
#[derive(Module, Debug)]
struct Pupil<B: Backend> {
    encoder: ContentEncoder<B>,
    acoustics: Option<AcousticHead<B>>,
}

impl<B: Backend> Pupil<B> {
    fn new(config: &FitConfig, classes: usize, device: &B::Device) -> Self {
        Self {
            encoder: ContentEncoder::new(&config.network, classes, device),
            acoustics: (config.acoustics_weight > 0.0)
                .then(|| AcousticHead::new(config.network.content_channels, device)),
        }
    }

    /// The weights, by file name.
    fn parts(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut parts = vec![("model.bin", module_bytes(&self.encoder)?)];
        if let Some(head) = &self.acoustics {
            parts.push(("acoustics.bin", module_bytes(head)?));
        }
        Ok(parts)
    }

    fn load(self, folder: &Path, device: &B::Device) -> Result<Self> {
        Ok(Self {
            encoder: load_module(self.encoder, folder, "model.bin", device)?,
            acoustics: self
                .acoustics
                .map(|head| load_module(head, folder, "acoustics.bin", device))
                .transpose()?,
        })
    }
}

/// What a batch says of the weights.
struct Verdict<B: Backend> {
    loss: Tensor<B, 1>,
    /// Share of frames whose phone is right.
    hits: f64,
    /// Mean distance of the envelopes in dB.
    acoustics_db: f64,
}

/// Trains until `config.steps`, resuming from the newest checkpoint in `work`. A new run begins with the weights of
/// `base`, when there is one, whatever its look-ahead: a checkpoint folder of an encoder of the same widths for the same
/// label sets, or an encoder's package of the same widths, whose classes are learned anew.
///
/// # Errors
/// When files cannot be read or written, `base` has other sizes, or the loss stops being a number.
pub fn fit<B: AutodiffBackend>(
    corpus: Corpus,
    work: &Path,
    config: &FitConfig,
    base: Option<&Path>,
    device: &B::Device,
) -> Result<PathBuf> {
    let checkpoints = Checkpoints::open(&work.join("checkpoints"))?;
    let mut figures = Figures::open(
        &work.join("figures.csv"),
        &[
            "loss",
            "train_accuracy",
            "held_out_accuracy",
            "train_envelopes_db",
            "held_out_envelopes_db",
        ],
    )?;
    let classes = corpus.classes();
    let mut model = Pupil::<B>::new(config, classes, device);
    let mut optimizer = AdamWConfig::new()
        .with_beta_2(0.98)
        .with_weight_decay(0.01)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
        .init::<B, Pupil<B>>();
    let mut position = Position {
        step: 0,
        seconds: 0.0,
        accuracy: 0.0,
        best_accuracy: 0.0,
        acoustics_db: 0.0,
        config: config.clone(),
        sets: corpus.sets.clone(),
        minutes: corpus.minutes(),
    };
    if let Some(folder) = checkpoints.newest()? {
        let saved: Position = read_position(&folder)?;
        if saved.sets != corpus.sets || saved.config.network != config.network {
            bail!(
                "{}: was made with other label sets or sizes; use another work folder",
                folder.display()
            );
        }
        model = model.load(&folder, device)?;
        optimizer = load_optimizer::<B, Pupil<B>, _>(optimizer, &folder, "optimizer.bin", device)?;
        position = Position {
            config: config.clone(),
            minutes: corpus.minutes(),
            ..saved
        };
        tracing::info!("resumed at step {}", position.step);
    } else if let Some(base) = base {
        begin_with(&mut model.encoder, base, config, &corpus, device)?;
    }
    let group_mask = group_masks(&corpus.sets, classes);
    let corpus = Arc::new(corpus);
    let batches = batch_stream(Arc::clone(&corpus), config.clone(), position.step);
    let progress = bar(config.steps, "steps");
    progress.set_position(position.step);
    let started = Instant::now();
    let seconds_before = position.seconds;
    let (mut loss_sum, mut hit_sum, mut db_sum, mut count) = (0.0, 0.0, 0.0, 0);
    while position.step < config.steps {
        let Ok(batch) = batches.recv() else {
            bail!("the batch thread stopped")
        };
        let rate = cosine(config.learning_rate, position.step, 100, config.steps);
        let Verdict {
            loss,
            hits,
            acoustics_db,
        } = verdict(&model, &batch, config, &group_mask, true, device);
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(rate, model, grads);
        let loss: f32 = loss
            .into_data()
            .convert::<f32>()
            .into_vec::<f32>()
            .map_or(f32::NAN, |v| v[0]);
        if !loss.is_finite() {
            bail!(
                "the loss is {loss} at step {}: lower --learning-rate; the last good checkpoint is kept",
                position.step
            );
        }
        loss_sum += f64::from(loss);
        hit_sum += hits;
        db_sum += acoustics_db;
        count += 1;
        position.step += 1;
        progress.set_position(position.step);
        if position.step.is_multiple_of(10) {
            progress.set_message(format!(
                "loss {:.3} accuracy {:.3} held-out {:.3}",
                loss_sum / f64::from(count),
                hit_sum / f64::from(count),
                position.accuracy
            ));
        }
        if position.step.is_multiple_of(config.save_every) || position.step == config.steps {
            (position.accuracy, position.acoustics_db) =
                held_out(&model.valid(), &corpus, config, &group_mask, device);
            position.seconds = seconds_before + started.elapsed().as_secs_f64();
            let better = position.accuracy > position.best_accuracy;
            position.best_accuracy = position.best_accuracy.max(position.accuracy);
            figures.row(
                position.step,
                &[
                    loss_sum / f64::from(count),
                    hit_sum / f64::from(count),
                    position.accuracy,
                    db_sum / f64::from(count),
                    position.acoustics_db,
                ],
            )?;
            figures.draw();
            println!(
                "step {} loss {:.4} accuracy {:.4} held-out {:.4} envelopes {:.2} dB held-out {:.2} dB after {:.0} s",
                position.step,
                loss_sum / f64::from(count),
                hit_sum / f64::from(count),
                position.accuracy,
                db_sum / f64::from(count),
                position.acoustics_db,
                position.seconds
            );
            (loss_sum, hit_sum, db_sum, count) = (0.0, 0.0, 0.0, 0);
            let mut parts = model.parts()?;
            if better {
                checkpoints.save_best(&position, &parts)?;
            }
            parts.push((
                "optimizer.bin",
                optimizer_bytes::<B, Pupil<B>, _>(&optimizer)?,
            ));
            checkpoints.save(position.step, &position, &parts)?;
        }
    }
    progress.finish();
    checkpoints
        .best()
        .or(checkpoints.newest()?)
        .ok_or_else(|| anyhow::anyhow!("no checkpoint was written"))
}

/// Gives a fresh encoder the weights of a checkpoint or of a package.
fn begin_with<B: Backend>(
    model: &mut ContentEncoder<B>,
    base: &Path,
    config: &FitConfig,
    corpus: &Corpus,
    device: &B::Device,
) -> Result<()> {
    if base.join("position.json").exists() {
        let saved: Position = read_position(base)?;
        let network = ContentConfig {
            lookahead_frames: config.network.lookahead_frames,
            ..saved.config.network
        };
        if saved.sets != corpus.sets || network != config.network {
            bail!(
                "{}: has other label sets or sizes than this training; leave --base out",
                base.display()
            );
        }
        *model = load_module(model.clone(), base, "model.bin", device)?;
        return Ok(());
    }
    let package = EncoderPackage::read(base)?;
    model.read(&mut GraphLayers::of(base, package.graph().to_vec())?)
}

/// The encoder of a checkpoint folder, with its position.
///
/// # Errors
/// When the folder is not an encoder checkpoint.
pub fn load<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(ContentEncoder<B>, Position)> {
    let position: Position = read_position(folder)?;
    let classes = position.sets.iter().map(|s| s.phones.len()).sum();
    let model = ContentEncoder::new(&position.config.network, classes, device);
    Ok((load_module(model, folder, "model.bin", device)?, position))
}

/// Per set: 0 for its own classes, −1e9 for the others.
fn group_masks(sets: &[LabelSet], classes: usize) -> Vec<Vec<f32>> {
    sets.iter()
        .map(|set| {
            let own = set.first_class..set.first_class + set.phones.len();
            (0..classes)
                .map(|class| if own.contains(&class) { 0.0 } else { -1e9 })
                .collect()
        })
        .collect()
}

fn verdict<B: Backend>(
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
        let distance = envelope_distance(head, content, batch, lookahead, device);
        acoustics_db = f64::from(value(&distance) / UNITS_PER_DB);
        loss = loss + distance.mul_scalar(config.acoustics_weight);
    }
    Verdict {
        loss,
        hits: f64::from(hits / total),
        acoustics_db,
    }
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
    let heard = from_vec::<B, 3>(
        batch.envelopes.clone(),
        [size, frames, acoustics::BANDS],
        device,
    )
    .permute([2, 0, 1]);
    let active = from_vec::<B, 3>(batch.active.clone(), [1, size, frames], device);
    // Output n answers for frame n − L.
    let kept = frames - lookahead;
    let drawn = drawn.narrow(2, lookahead, kept);
    let (heard, active) = (heard.narrow(2, 0, kept), active.narrow(2, 0, kept));
    let count = active.clone().sum().clamp_min(1.0);
    ((drawn - heard).abs().mean_dim(0) * active).sum() / count
}

/// Accuracy on held-out clips, and the distance of their envelopes in dB.
fn held_out<B: Backend>(
    model: &Pupil<B>,
    corpus: &Corpus,
    config: &FitConfig,
    masks: &[Vec<f32>],
    device: &B::Device,
) -> (f64, f64) {
    let log_mel = LogMel::default();
    let crops: Vec<Crop> = corpus
        .clips
        .iter()
        .filter(|clip| clip.held_out)
        .take(64)
        .enumerate()
        .map(|(i, clip)| {
            crop(
                clip,
                config.frames,
                &log_mel,
                &mut Random::new(0, i as u64),
                true,
            )
        })
        .collect();
    let groups: Vec<Verdict<B>> = crops
        .chunks(16)
        .map(|chunk| verdict(model, &gather(chunk), config, masks, false, device))
        .collect();
    let mean = |figure: fn(&Verdict<B>) -> f64| {
        groups.iter().map(figure).sum::<f64>() / groups.len().max(1) as f64
    };
    (mean(|v| v.hits), mean(|v| v.acoustics_db))
}

fn gather(crops: &[Crop]) -> Batch {
    let join = |part: fn(&Crop) -> &[f32]| crops.iter().flat_map(part).copied().collect();
    Batch {
        mel: join(|c| &c.mel),
        classes: crops
            .iter()
            .flat_map(|c| c.classes.iter().copied())
            .collect(),
        sets: crops.iter().map(|c| c.set).collect(),
        envelopes: join(|c| &c.envelopes),
        active: join(|c| &c.active),
        colour: join(|c| &c.colour),
    }
}

/// Batches from `first_step` on, made ahead by a thread; batch `n` depends only on the seed and `n`.
fn batch_stream(corpus: Arc<Corpus>, config: FitConfig, first_step: u64) -> Receiver<Batch> {
    let (sender, receiver) = sync_channel(3);
    std::thread::spawn(move || {
        let log_mel = LogMel::default();
        let tables: Vec<(f32, Vec<(usize, u64)>)> = corpus
            .sets
            .iter()
            .enumerate()
            .map(|(set, labels)| {
                // Clips by cumulative length, so that every second is as likely.
                let mut sum = 0;
                let table: Vec<(usize, u64)> = corpus
                    .clips
                    .iter()
                    .enumerate()
                    .filter(|(_, clip)| clip.set == set && !clip.held_out)
                    .map(|(i, clip)| {
                        sum += clip.samples.len() as u64;
                        (i, sum)
                    })
                    .collect();
                let weight = config
                    .weights
                    .iter()
                    .find(|(name, _)| *name == labels.name)
                    .map_or(sum as f32, |w| w.1);
                (weight, table)
            })
            .collect();
        let named = !config.weights.is_empty();
        let total: f32 = tables
            .iter()
            .filter(|t| !t.1.is_empty())
            .map(|t| if named { t.0.min(1.0) } else { t.0 })
            .sum();
        for step in first_step.. {
            let crops: Vec<Crop> = (0..config.batch as u64)
                .into_par_iter()
                .map(|row| {
                    let mut random = Random::new(config.seed, step * config.batch as u64 + row);
                    let mut pick = random.unit() * total;
                    let mut chosen = tables
                        .iter()
                        .rev()
                        .find(|t| !t.1.is_empty())
                        .expect("a corpus has clips");
                    for table in tables.iter().filter(|t| !t.1.is_empty()) {
                        let weight = if named { table.0.min(1.0) } else { table.0 };
                        if pick < weight {
                            chosen = table;
                            break;
                        }
                        pick -= weight;
                    }
                    let length = chosen.1.last().map_or(1, |t| t.1);
                    let place = random.next_u64() % length.max(1);
                    let entry = chosen.1.partition_point(|t| t.1 <= place);
                    crop(
                        &corpus.clips[chosen.1[entry].0],
                        config.frames,
                        &log_mel,
                        &mut random,
                        false,
                    )
                })
                .collect();
            if sender.send(gather(&crops)).is_err() {
                return;
            }
        }
    });
    receiver
}
