//! `trainer encoder`: trains a content encoder on labelled speech and singing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::backend::{Autodiff, Flex};
use timbra_voice::manifest::{
    CpuWeights, EncoderManifest, EncoderSpec, FORMAT_VERSION, TrainingSummary,
};
use timbra_voice::package::{Form, sha256_hex, write_encoder};

use super::shares::shares;
use crate::backend::BackendName;
use crate::config::WorkFolder;
use crate::encoder::corpus::Corpus;
use crate::encoder::fit::{FitConfig, Position, fit, load};
use crate::model::content::{ContentConfig, DILATIONS};
use crate::model::mel;
use crate::training::checkpoint::Checkpoints;
use crate::with_backend;

/// Arguments of `trainer encoder`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Labelled clips, SET/SPEAKER/CLIP.wav with CLIP.lab; leave out to write the package of a finished training
    pub corpus: Option<PathBuf>,

    /// The work folder; checkpoints and figures go to its `training`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// Where to write the encoder package
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Stable name of the encoder
    #[arg(long, value_name = "ID", default_value = "content-1")]
    pub id: String,

    /// Optimiser steps
    #[arg(long, value_name = "N", default_value_t = 4400)]
    pub steps: u64,

    /// Crops of 2.56 s per step
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub batch: usize,

    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1.0e-3)]
    pub learning_rate: f64,

    /// Frames of 10 ms between a sound and its content, beyond the 10 ms that it always waits: more are more certain and later
    #[arg(long, value_name = "L", default_value_t = 0, value_parser = lookahead)]
    pub lookahead_frames: usize,

    /// What a new training begins with: a checkpoint folder of another encoder, or an encoder's package
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// How much it counts how words were spoken, beside the phones; 0 learns phones alone. At 4, envelopes that are 5 dB off
    /// weigh about half of the phones' loss
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = weight)]
    pub acoustics: f32,

    /// A speech recogniser that says what is understood of the corpus: Moonshine's model.safetensors (tiny or base), or what
    /// models/recipe/recogniser.py makes of its Python package
    #[arg(long, value_name = "FILE")]
    pub recogniser: Option<PathBuf>,

    /// How much it counts what the recogniser understands, beside the phones
    #[arg(long, value_name = "WEIGHT", default_value_t = 2.0, value_parser = weight)]
    pub understood: f32,

    /// Blocks of the network; each costs about a tenth of the encoder. A base has as many
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = blocks)]
    pub blocks: usize,

    /// Share of a label set in the batches, e.g. english=0.7; all sets or none
    #[arg(long = "share", value_name = "SET=SHARE")]
    pub shares: Vec<String>,

    /// Seed of sampling and augmentation
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Play it on a CPU with the weights as they were trained, which costs about twice as much; a GPU always does
    #[arg(long)]
    pub whole_weights: bool,

    /// SPDX licence of the weights
    #[arg(long, value_name = "SPDX", default_value = "LicenseRef-unknown")]
    pub licence: String,

    /// Who must be named; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub attribution: Vec<String>,

    /// What to compute on
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendName,

    /// The backend a finished training ran on, for its manifest; `--backend` unless given
    #[arg(long, value_name = "NAME")]
    pub trained_on: Option<String>,
}

/// Most look-ahead that is of use: half a second.
const MOST_LOOKAHEAD_FRAMES: usize = 50;

fn lookahead(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|frames| (0..=MOST_LOOKAHEAD_FRAMES).contains(frames))
        .ok_or_else(|| format!("expected 0 to {MOST_LOOKAHEAD_FRAMES} frames of 10 ms"))
}

/// Most blocks that still play live.
const MOST_BLOCKS: usize = 32;

fn blocks(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|blocks| (1..=MOST_BLOCKS).contains(blocks))
        .ok_or_else(|| format!("expected 1 to {MOST_BLOCKS} blocks"))
}

fn weight(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|weight| (0.0..=100.0).contains(weight))
        .ok_or_else(|| "expected 0 to 100".to_owned())
}

/// Runs the verb.
///
/// # Errors
/// The corpus is unusable, the loss is not a number, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    let training = WorkFolder::new(&args.work).training();
    if let Some(folder) = &args.corpus {
        let corpus = Corpus::read(folder)?;
        println!(
            "{} clips, {:.0} minutes, {} classes",
            corpus.clips.len(),
            corpus.minutes(),
            corpus.classes()
        );
        let config = FitConfig {
            steps: args.steps,
            batch: args.batch,
            learning_rate: args.learning_rate,
            seed: args.seed,
            weights: shares(&args.shares, "SET")?,
            acoustics_weight: args.acoustics,
            understood_weight: args.recogniser.as_ref().map_or(0.0, |_| args.understood),
            network: ContentConfig {
                dilations: DILATIONS.into_iter().cycle().take(args.blocks).collect(),
                lookahead_frames: args.lookahead_frames,
                ..ContentConfig::default()
            },
            ..FitConfig::default()
        };
        with_backend!(args.backend, |B, device| fit::<Autodiff<B>>(
            corpus,
            &training,
            &config,
            args.base.as_deref(),
            args.recogniser.as_deref(),
            &device
        )
        .map(drop))?;
    }
    let checkpoints = Checkpoints::open(&training.join("checkpoints"))?;
    let Some(folder) = checkpoints.newest()? else {
        bail!(
            "{}: there is no training to write a package of; give a corpus",
            training.display()
        );
    };
    export(args, &folder)
}

fn export(args: &Args, folder: &Path) -> Result<()> {
    let device = Default::default();
    let (model, position) = load::<Flex>(folder, &device)?;
    let (graph, mut spec) = model.export();
    spec.cpu_weights = (!args.whole_weights).then_some(CpuWeights::Int8);
    let channels = position.config.network.content_channels;
    let manifest = EncoderManifest {
        format_version: FORMAT_VERSION,
        encoder: EncoderSpec {
            id: args.id.clone(),
            sha256: sha256_hex(&graph),
            rate_hz: mel::RATE_HZ as u32,
            hop_samples: mel::HOP_SAMPLES,
            channels,
            lookahead_samples: position.config.network.lookahead_samples(),
            step: None,
            graph: spec.clone(),
        },
        licence: args.licence.clone(),
        attribution: args.attribution.clone(),
        training: summary(
            &position,
            &args
                .trained_on
                .clone()
                .unwrap_or_else(|| args.backend.to_string()),
        ),
        files: BTreeMap::new(),
    };
    let bytes = graph.len();
    write_encoder(
        &args.output,
        &manifest,
        &BTreeMap::from([(spec.file, graph)]),
        Form::File,
    )?;
    println!(
        "{}: {} kB, held-out frame accuracy {:.1} % after {} steps; voices find it as {}",
        args.output.display(),
        bytes / 1000,
        100.0 * position.accuracy,
        position.step,
        &manifest.encoder.sha256[..12]
    );
    Ok(())
}

fn summary(position: &Position, backend: &str) -> TrainingSummary {
    TrainingSummary {
        trainer: format!("trainer {}", env!("CARGO_PKG_VERSION")),
        steps: position.step,
        minutes: position.minutes,
        hours: position.seconds / 3600.0,
        backend: backend.to_owned(),
        held_out_loss: 1.0 - position.accuracy,
        notes: format!(
            "held-out frame accuracy {:.4}, envelopes {:.2} dB off; the loss given is the share of wrong frames",
            position.accuracy, position.acoustics_db
        ),
    }
}
