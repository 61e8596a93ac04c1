//! The training loop of a harmonic voice.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{AutodiffModule, Module as _};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};
use timbra_voice::manifest::MAX_SPEAKERS;
use timbra_voice::package::VoicePackage;

use super::batches::{Batch, batch_stream};
use super::critic::{Critics, judge, persuade, verdict_off};
use super::crowd::describe_new;
use super::dataset::VoiceBatch;
use super::held_out::HeldOut;
use super::loss::{LogSpectra, SpectralLoss};
use super::words::{Listener, Words};
use crate::model::causal::{from_vec, value};
use crate::model::graph_layers::GraphLayers;
use crate::model::harmonic::{
    BINS, Excitation, HALVES, HOP_SAMPLES, HarmonicConfig, HarmonicVoice, Renderer,
};
use crate::training::checkpoint::{
    Checkpoints, kept, load_module, load_optimizer, module_bytes, optimizer_bytes, read_position,
};
use crate::training::clips::VoiceClip;
use crate::training::mixture::same_encoder;
use crate::training::progress::{Figures, bar};
use crate::training::schedule::cosine;

/// Frames at the start of a crop that only give the network its past.
const WARM_UP_FRAMES: usize = 16;
/// Weight of the critics' verdict against the spectral distance in nepers.
const VERDICT_WEIGHT: f32 = 0.1;
/// Weight of the distance of the critics' feature maps.
const MAPS_WEIGHT: f32 = 0.5;
/// Weight of the distance of the crops' mean powers per band: logarithms alone leave what varies
/// most, sibilants above all, too soft.
const BALANCE_WEIGHT: f32 = 0.5;

/// What decides a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceFitConfig {
    /// Network sizes.
    pub network: HarmonicConfig,
    /// Optimiser steps.
    pub steps: u64,
    /// Crops per step.
    pub batch: usize,
    /// Frames per crop.
    pub frames: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// First step of the critics; from `steps` on, never.
    pub critics_from: u64,
    /// How many crops of a batch the critics look at.
    #[serde(default)]
    pub critic_crops: usize,
    /// How many crops of a batch another speaker sings too, once there are critics; none where there is one speaker. Where
    /// there are any, the critics are told whose voice it should be.
    #[serde(default)]
    pub crossed_crops: usize,
    /// Who sings them; empty for everybody.
    #[serde(default)]
    pub crossing: Vec<usize>,
    /// Weight of the distance of what a network hears, once there are critics; 0 leaves it out.
    #[serde(default)]
    pub words_weight: f32,
    /// Seed of sampling and augmentation.
    pub seed: u64,
    /// Steps between checkpoints and validations.
    pub save_every: u64,
    /// How many of the newest checkpoints are kept besides the best.
    #[serde(default = "kept")]
    pub keep: usize,
    /// Share of batches per speaker; empty = equal.
    pub speaker_weights: Vec<f32>,
    /// SHA-256 of the encoder whose content is learned; empty where it is not known.
    #[serde(default)]
    pub encoder_sha256: String,
}

impl VoiceFitConfig {
    /// The shipped settings for `speakers` speakers.
    #[must_use]
    pub fn standard(content_channels: usize, speakers: usize) -> Self {
        Self {
            network: HarmonicConfig::standard(content_channels, speakers),
            steps: 2000,
            batch: 12,
            frames: 96,
            learning_rate: 1.0e-3,
            critics_from: 1400,
            critic_crops: 6,
            crossed_crops: 0,
            crossing: Vec::new(),
            words_weight: 0.0,
            seed: 1,
            save_every: 200,
            keep: kept(),
            speaker_weights: Vec::new(),
            encoder_sha256: String::new(),
        }
    }
}

impl VoiceFitConfig {
    /// Speakers that the critics tell apart; 0 where nobody sings another's words. All who never do are one.
    fn critics_speakers(&self) -> usize {
        match (self.crossed_crops, self.crossing.len()) {
            (0, _) => 0,
            (_, 0) => self.network.speakers,
            (_, some) => some + 1,
        }
    }

    /// Each of `speakers` as the critics know them.
    fn to_critics(&self, speakers: &[usize]) -> Vec<usize> {
        let known = |speaker: &usize| {
            let place = self.crossing.iter().position(|singer| singer == speaker);
            place.unwrap_or(self.crossing.len())
        };
        if self.crossing.is_empty() {
            return speakers.to_vec();
        }
        speakers.iter().map(known).collect()
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VoicePosition {
    /// Steps done.
    pub step: u64,
    /// Wall seconds spent.
    pub seconds: f64,
    /// Held-out spectral distance at this step, in nepers.
    pub held_out: f64,
    /// Held-out similarity at this step, 0..1.
    #[serde(default)]
    pub similarity: f64,
    /// Lowest held-out distance so far.
    pub best_held_out: f64,
    /// The run's settings.
    pub config: VoiceFitConfig,
    /// Minutes of recordings.
    pub minutes: f64,
    /// What it was computed on.
    #[serde(default)]
    pub backend: String,
    /// What it comes from, when it is not the work of one training.
    #[serde(default)]
    pub notes: String,
}

/// A voice whose weights a new training begins with.
#[derive(Debug)]
pub struct VoiceBase {
    /// The voice.
    pub package: VoicePackage,
    /// Which of its speakers each of the new voice's is; `None` for one that it does not have.
    pub rows: Vec<Option<usize>>,
}

/// Trains until `config.steps`, resuming from the newest checkpoint in `work`; returns the newest checkpoint's folder. A
/// new run begins with the weights of `base`, when there is one. `listener` hears what is rendered
/// where the words count.
///
/// # Errors
/// When files cannot be read or written, there is nothing to train on, or the loss stops being a number.
pub fn fit<B: AutodiffBackend>(
    clips: Vec<VoiceClip>,
    work: &Path,
    config: &VoiceFitConfig,
    base: Option<&VoiceBase>,
    listener: Listener<'_>,
    device: &B::Device,
) -> Result<PathBuf> {
    if !clips.iter().any(|clip| !clip.held_out && clip.frames() > 0) {
        bail!(
            "{}: expected at least one prepared clip to train on, found none; run `trainer prepare` first",
            work.display()
        );
    }
    let checkpoints = Checkpoints::open(&work.join("checkpoints"))?.keeping(config.keep);
    let mut figures = Figures::open(
        &work.join("figures.csv"),
        &[
            "distance",
            "held_out",
            "balance",
            "verdict",
            "critic",
            "similarity",
            "words",
            "crossed_verdict",
            "crossed_words",
        ],
    )?;
    let loss = SpectralLoss::<B>::new(device);
    let renderer = Renderer::<B>::new(device);
    let mut model = HarmonicVoice::<B>::new(&config.network, device);
    let mut critics = Critics::<B>::new(3, config.critics_speakers(), device);
    let words = (config.words_weight > 0.0)
        .then(|| Words::<B>::new(listener, device))
        .transpose()?;
    let optimizer_config = AdamWConfig::new()
        .with_beta_1(0.8)
        .with_beta_2(0.99)
        .with_weight_decay(0.01);
    let mut optimizer = optimizer_config
        .clone()
        .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
        .init::<B, HarmonicVoice<B>>();
    let mut critic_optimizer = optimizer_config
        .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
        .init::<B, Critics<B>>();
    let minutes = clips.iter().map(|c| c.audio.len() as f64).sum::<f64>() / 48_000.0 / 60.0;
    let mut position = VoicePosition {
        step: 0,
        seconds: 0.0,
        held_out: f64::INFINITY,
        similarity: 0.0,
        best_held_out: f64::INFINITY,
        config: config.clone(),
        minutes,
        backend: B::InnerBackend::name(device),
        notes: String::new(),
    };
    if let Some(folder) = checkpoints.newest()? {
        let saved: VoicePosition = read_position(&folder)?;
        if saved.config.network != config.network {
            bail!(
                "{}: was made with other sizes; use another work folder",
                folder.display()
            );
        }
        let expected = &saved.config.encoder_sha256;
        same_encoder(&folder, expected, &config.encoder_sha256)?;
        model = load_module(model, &folder, "model.bin", device)?;
        optimizer =
            load_optimizer::<B, HarmonicVoice<B>, _>(optimizer, &folder, "optimizer.bin", device)?;
        if saved.config.critics_speakers() == config.critics_speakers() {
            critics = load_module(critics, &folder, "critics.bin", device)?;
            critic_optimizer = load_optimizer::<B, Critics<B>, _>(
                critic_optimizer,
                &folder,
                "critic_optimizer.bin",
                device,
            )?;
        } else {
            tracing::warn!("--crossed was 0 and is not, or the reverse: the critics begin anew");
        }
        position = VoicePosition {
            config: config.clone(),
            backend: B::InnerBackend::name(device),
            ..saved
        };
        tracing::info!("resumed at step {}", position.step);
    } else if let Some(VoiceBase { package, rows }) = base {
        let graph = package.synthesis_graph().to_vec();
        model.read(
            &mut GraphLayers::of(&package.path, graph)?,
            package.manifest.speakers.len(),
            rows,
        )?;
    }
    let clips = Arc::new(clips);
    let held_out = HeldOut::<B::InnerBackend>::new(&clips, config, device)?;
    if !held_out.unheard {
        let notice = "no clip is held out: what is measured is how the voice sings clips it learns from; prepare with --held-out, or \
                      give more recordings";
        println!("{notice}");
        tracing::warn!("{notice}");
    }
    if position.step == 0 && config.network.speakers > MAX_SPEAKERS {
        let known: Vec<bool> = (0..config.network.speakers)
            .map(|s| base.is_some_and(|base| base.rows[s].is_some()))
            .collect();
        let mut embeddings = model.speaker_embeddings();
        describe_new(&mut embeddings, &known, held_out.timbres());
        model.set_speakers(embeddings);
    }
    let batches = batch_stream(Arc::clone(&clips), config.clone(), position.step);
    let progress = bar(config.steps, "steps");
    progress.set_position(position.step);
    let started = Instant::now();
    let seconds_before = position.seconds;
    let mut sums = [0.0f64; 7];
    let mut count = 0.0;
    while position.step < config.steps {
        let Ok(Batch { own, crossed }) = batches.recv() else {
            bail!("the batch thread stopped")
        };
        let adversarial = position.step >= config.critics_from;
        let rate = cosine(config.learning_rate, position.step, 100, config.steps);
        let recording = |batch: &VoiceBatch| {
            let shape = [batch.size, batch.frames * HOP_SAMPLES];
            heard(from_vec::<B, 2>(batch.audio.clone(), shape, device))
        };
        let rendered = render(&model, &renderer, &own, device);
        let audio = recording(&own);
        let recorded = loss.spectra(&audio);
        let spectra = loss.spectra(&rendered);
        let distance = loss.distance(&spectra, &recorded);
        let figure = value(&distance);
        if !figure.is_finite() {
            bail!(
                "the loss is {figure} at step {}: lower --learning-rate; the last good checkpoint is kept",
                position.step
            );
        }
        sums[0] += f64::from(figure);
        let balance = loss.balance(&spectra, &recorded);
        sums[3] += f64::from(value(&balance));
        let mut total = distance + balance.mul_scalar(BALANCE_WEIGHT);
        if adversarial {
            let crops = config.critic_crops.min(own.size);
            let part = |spectra: &[LogSpectra<B>]| {
                spectra.iter().map(|s| s.first(crops)).collect::<Vec<_>>()
            };
            let detached = |spectra: &[LogSpectra<B>]| {
                spectra.iter().map(LogSpectra::detached).collect::<Vec<_>>()
            };
            let fixed = critics.clone().no_grad();
            let owners = config.to_critics(&own.speakers);
            let fake = part(&spectra);
            let real = part(&recorded);
            let recorded = critics.maps(&real, &owners);
            let mut judged = judge(&recorded, &critics.maps(&detached(&fake), &owners));
            let (verdict, maps) = persuade(&recorded, &fixed.maps(&fake, &owners));
            sums[1] += f64::from(value(&verdict));
            total = total + verdict.mul_scalar(VERDICT_WEIGHT) + maps.mul_scalar(MAPS_WEIGHT);
            if let Some(words) = &words {
                let first = |audio: Tensor<B, 2>| audio.narrow(0, 0, crops);
                let distance = words.distance(first(rendered), first(audio));
                sums[4] += f64::from(value(&distance));
                total = total + distance.mul_scalar(config.words_weight);
            }
            if let Some(crossed) = &crossed {
                let rendered = render(&model, &renderer, crossed, device);
                let fake = loss.spectra(&rendered);
                let singers = config.to_critics(&crossed.speakers);
                let verdict = verdict_off(&fixed.maps(&fake, &singers), 1.0);
                // A recording of somebody else is as wrong as a rendering: without it the label could be passed over.
                let mistaken: Vec<LogSpectra<B>> =
                    real.iter().map(|s| s.first(crossed.size)).collect();
                let mistaken = critics.maps(&mistaken, &singers);
                judged = judged
                    + verdict_off(&critics.maps(&detached(&fake), &singers), 0.0)
                    + verdict_off(&mistaken, 0.0);
                sums[5] += f64::from(value(&verdict));
                total = total + verdict.mul_scalar(VERDICT_WEIGHT);
                if let Some(words) = &words {
                    let distance = words.distance(rendered, recording(crossed));
                    sums[6] += f64::from(value(&distance));
                    total = total + distance.mul_scalar(config.words_weight);
                }
            }
            sums[2] += f64::from(value(&judged));
            let grads = GradientsParams::from_grads(judged.backward(), &critics);
            critics = critic_optimizer.step(rate * 0.5, critics, grads);
        }
        let grads = GradientsParams::from_grads(total.backward(), &model);
        model = optimizer.step(rate, model, grads);
        count += 1.0;
        position.step += 1;
        progress.set_position(position.step);
        if position.step.is_multiple_of(10) {
            progress.set_message(format!(
                "distance {:.3} held-out {:.3}",
                sums[0] / count,
                position.held_out
            ));
        }
        if position.step.is_multiple_of(config.save_every) || position.step == config.steps {
            (position.held_out, position.similarity) = held_out.measure(&model.valid(), &clips)?;
            if !position.held_out.is_finite() {
                bail!(
                    "the held-out distance is {} at step {}: lower --learning-rate; the last good checkpoint is kept",
                    position.held_out,
                    position.step
                );
            }
            position.seconds = seconds_before + started.elapsed().as_secs_f64();
            let better = position.held_out < position.best_held_out;
            position.best_held_out = position.best_held_out.min(position.held_out);
            let [
                distance,
                verdict,
                critic,
                balance,
                words,
                crossed_verdict,
                crossed_words,
            ] = sums.map(|sum| sum / count);
            figures.row(
                position.step,
                &[
                    distance,
                    position.held_out,
                    balance,
                    verdict,
                    critic,
                    position.similarity,
                    words,
                    crossed_verdict,
                    crossed_words,
                ],
            )?;
            figures.draw();
            println!(
                "step {} distance {distance:.4} balance {balance:.4} verdict {verdict:.3} critic {critic:.3} words {words:.3} \
                 crossed {crossed_verdict:.3} {crossed_words:.3} held-out {:.4} similarity {:.3} after {:.0} s",
                position.step, position.held_out, position.similarity, position.seconds
            );
            sums = [0.0; 7];
            count = 0.0;
            let weights = module_bytes(&model)?;
            if better {
                checkpoints.save_best(&position, &[("model.bin", weights.clone())])?;
            }
            checkpoints.save(
                position.step,
                &position,
                &[
                    ("model.bin", weights),
                    ("critics.bin", module_bytes(&critics)?),
                    (
                        "optimizer.bin",
                        optimizer_bytes::<B, HarmonicVoice<B>, _>(&optimizer)?,
                    ),
                    (
                        "critic_optimizer.bin",
                        optimizer_bytes::<B, Critics<B>, _>(&critic_optimizer)?,
                    ),
                ],
            )?;
        }
    }
    progress.finish();
    checkpoints
        .newest()?
        .ok_or_else(|| anyhow::anyhow!("no checkpoint was written"))
}

/// The voice of a checkpoint folder, with its position.
///
/// # Errors
/// When the folder is not a checkpoint of a harmonic voice.
pub fn load<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(HarmonicVoice<B>, VoicePosition)> {
    let position: VoicePosition = read_position(folder)?;
    let network = &position.config.network;
    network
        .check()
        .with_context(|| format!("{}: its sizes", folder.join("position.json").display()))?;
    let model = HarmonicVoice::new(network, device);
    Ok((load_module(model, folder, "model.bin", device)?, position))
}

/// `[B, samples]` of a batch, without the warm-up.
pub(super) fn render<B: Backend>(
    model: &HarmonicVoice<B>,
    renderer: &Renderer<B>,
    batch: &VoiceBatch,
    device: &B::Device,
) -> Tensor<B, 2> {
    let (size, frames) = (batch.size, batch.frames);
    let feature = |values: &[f32]| {
        let channels = values.len() / (size * frames);
        from_vec::<B, 3>(values.to_vec(), [size, frames, channels], device).swap_dims(1, 2)
    };
    let speakers = model.speakers.val().dims()[0];
    let mix: Vec<f32> = batch
        .speakers
        .iter()
        .flat_map(|&own| (0..speakers).map(move |s| f32::from(s == own)))
        .collect();
    let mix = from_vec::<B, 3>(mix, [size, speakers, 1], device).repeat_dim(2, frames);
    let curves = model.curves(
        feature(&batch.content),
        feature(&batch.pitch),
        feature(&batch.loudness_db),
        mix,
    );
    let window =
        |values: &[f32]| from_vec::<B, 3>(values.to_vec(), [size, frames * HALVES, BINS], device);
    let excitation = Excitation {
        pulse_re: window(&batch.pulse_re),
        pulse_im: window(&batch.pulse_im),
        noise_re: window(&batch.noise_re),
        noise_im: window(&batch.noise_im),
    };
    let audio = renderer.render(curves, excitation);
    heard(audio.slice([0..size, 0..frames * HOP_SAMPLES]))
}

/// The part of a crop that counts: the network knows its past, and no window is missing.
pub(super) fn heard<B: Backend>(audio: Tensor<B, 2>) -> Tensor<B, 2> {
    let [size, samples] = audio.dims();
    audio.slice([0..size, WARM_UP_FRAMES * HOP_SAMPLES..samples - HOP_SAMPLES])
}
