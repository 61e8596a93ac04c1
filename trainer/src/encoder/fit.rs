//! The training loop of the content encoder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::AutodiffModule as _;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};
use timbra_voice::package::EncoderPackage;

use super::augment::{Crop, crop};
use super::batches::{batch_stream, gather};
use super::corpus::{Corpus, LabelSet};
use super::understood::understood;
use super::verdict::{Pupil, Verdict, group_masks, verdict};
use crate::model::content::{ContentConfig, ContentEncoder};
use crate::model::graph_layers::GraphLayers;
use crate::model::mel::LogMel;
use crate::random::Random;
use crate::training::checkpoint::{
    Checkpoints, load_module, load_optimizer, optimizer_bytes, read_position,
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
    /// Weight of what a recogniser understands, in halves of its variance; 0 asks none.
    #[serde(default)]
    pub understood_weight: f32,
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
            understood_weight: 0.0,
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

/// Trains until `config.steps`, resuming from the newest checkpoint in `work`. A new run begins with the weights of
/// `base`, when there is one, whatever its look-ahead: a checkpoint folder of an encoder of the same widths for the same
/// label sets, or an encoder's package of the same widths, whose classes are learned anew. `recogniser` is the file of the one that
/// is asked where what is understood counts.
///
/// # Errors
/// When files cannot be read or written, `base` has other sizes, or the loss stops being a number.
pub fn fit<B: AutodiffBackend>(
    mut corpus: Corpus,
    work: &Path,
    config: &FitConfig,
    base: Option<&Path>,
    recogniser: Option<&Path>,
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
            "train_understood",
            "held_out_understood",
        ],
    )?;
    let classes = corpus.classes();
    if let Some(weights) = recogniser.filter(|_| config.understood_weight > 0.0) {
        let found = understood::<B::InnerBackend>(&corpus.clips, weights, device)?;
        for (clip, found) in corpus.clips.iter_mut().zip(found) {
            clip.understood = found;
        }
    }
    let understood = (corpus.clips.first()).map_or(0, |clip| clip.understood.channels());
    let mut model = Pupil::<B>::new(config, classes, understood, device);
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
    let (mut loss_sum, mut hit_sum, mut db_sum, mut share_sum, mut count) = (0.0, 0.0, 0.0, 0.0, 0);
    while position.step < config.steps {
        let Ok(batch) = batches.recv() else {
            bail!("the batch thread stopped")
        };
        let rate = cosine(config.learning_rate, position.step, 100, config.steps);
        let Verdict {
            loss,
            hits,
            acoustics_db,
            understood,
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
        share_sum += understood;
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
            let held_out_share;
            (position.accuracy, position.acoustics_db, held_out_share) =
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
                    share_sum / f64::from(count),
                    held_out_share,
                ],
            )?;
            figures.draw();
            println!(
                "step {} loss {:.4} accuracy {:.4} held-out {:.4} envelopes {:.2} dB held-out {:.2} dB understood {:.3} held-out \
                 {held_out_share:.3} after {:.0} s",
                position.step,
                loss_sum / f64::from(count),
                hit_sum / f64::from(count),
                position.accuracy,
                db_sum / f64::from(count),
                position.acoustics_db,
                share_sum / f64::from(count),
                position.seconds
            );
            (loss_sum, hit_sum, db_sum, share_sum, count) = (0.0, 0.0, 0.0, 0.0, 0);
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

/// Accuracy on held-out clips, the distance of their envelopes in dB, and the share of what is understood.
fn held_out<B: Backend>(
    model: &Pupil<B>,
    corpus: &Corpus,
    config: &FitConfig,
    masks: &[Vec<f32>],
    device: &B::Device,
) -> (f64, f64, f64) {
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
    (
        mean(|v| v.hits),
        mean(|v| v.acoustics_db),
        mean(|v| v.understood),
    )
}
