//! `trainer train`: trains a voice on prepared clips.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use burn::backend::Autodiff;

use crate::backend::BackendName;
use crate::config::WorkFolder;
use crate::data::dataset::Dataset;
use crate::harmonic::clips::load_clips;
use crate::harmonic::fit::{VoiceFitConfig, fit};
use crate::model::harmonic::MODEL_RATE_HZ;
use crate::with_backend;

/// Families that can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FamilyName {
    /// Harmonics and noise: light enough to play live
    #[default]
    Harmonic,
}

/// Arguments of `trainer train`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The work folder with prepared clips; checkpoints and figures go to its `training`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// What kind of voice
    #[arg(long, value_enum, default_value_t)]
    pub family: FamilyName,

    /// Optimiser steps; 2000 take about half an hour on two CPU cores
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub steps: u64,

    /// Crops per step
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub batch: usize,

    /// Step from which critics sharpen the sound; `steps` or more turns them off
    #[arg(long, value_name = "N", default_value_t = 1400)]
    pub critics_from: u64,

    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1.0e-3)]
    pub learning_rate: f64,

    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub save_every: u64,

    /// Seed of sampling and augmentation
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// What to compute on
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendName,
}

/// Runs the verb; the same command goes on after an interruption.
///
/// # Errors
/// There are no features, the loss is not a number, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        args.batch > 0 && args.save_every > 0,
        "--batch and --save-every must be at least 1"
    );
    let work = WorkFolder::new(&args.work);
    let dataset = Dataset::load(&work.features())?;
    if dataset.model_rate_hz as usize != MODEL_RATE_HZ {
        bail!(
            "{}: prepared at {} Hz, but harmonic voices are trained at {MODEL_RATE_HZ} Hz; prepare with --rate {MODEL_RATE_HZ}",
            work.features().display(),
            dataset.model_rate_hz
        );
    }
    let clips = load_clips(&dataset)?;
    let config = VoiceFitConfig {
        steps: args.steps,
        batch: args.batch,
        critics_from: args.critics_from,
        learning_rate: args.learning_rate,
        save_every: args.save_every,
        seed: args.seed,
        ..VoiceFitConfig::standard(dataset.encoder.channels, dataset.speakers.len())
    };
    with_backend!(args.backend, |B, device| fit::<Autodiff<B>>(
        clips,
        &work.training(),
        &config,
        &device
    )
    .map(drop))
}
