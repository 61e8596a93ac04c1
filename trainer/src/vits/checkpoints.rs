//! What a VITS training saves, and what becomes of it.
//!
//! A checkpoint folder has `position.json` and `voice.bin` (averaged weights of prior, flow and decoder). One that a
//! training goes on from has `network.bin`, `critics.bin` and the optimisers' states beside them; a small one has
//! `voice.half.bin` instead.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::config::VitsFitConfig;
use super::held_out::Measures;
use super::watch::Watch;
use crate::model::vits::voice::VitsVoice;
use crate::model::vits::weights::RandomStart;
use crate::random::Random;
use crate::training::checkpoint::{
    half_module_bytes, load_half_module, load_module, module_bytes, read_position,
};
use crate::training::mixture::{recipe, same_encoder, same_shape, weighted, write_folder};

/// The averaged voice.
pub const VOICE_FILE: &str = "voice.bin";
/// The averaged voice in half precision.
pub const HALF_VOICE_FILE: &str = "voice.half.bin";

/// Where a run stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VitsPosition {
    /// Steps done.
    pub step: u64,
    /// Wall seconds spent.
    pub seconds: f64,
    /// The run's settings.
    pub config: VitsFitConfig,
    /// Minutes of recordings.
    pub minutes: f64,
    /// What it was computed on.
    pub backend: String,
    /// The last validation.
    pub measures: Measures,
    /// What the run has seen.
    pub watch: Watch,
    /// What it comes from, when it is not the work of one training.
    #[serde(default)]
    pub notes: String,
}

/// The voice of a checkpoint folder, with its position.
///
/// # Errors
/// The folder is not a checkpoint of a VITS voice.
pub fn load<B: Backend>(folder: &Path, device: &B::Device) -> Result<(VitsVoice<B>, VitsPosition)> {
    let position: VitsPosition = read_position(folder)?;
    let network = &position.config.network;
    if let Err((what, expected, found)) = network.check() {
        bail!(
            "{}: {what}: expected {expected}, found {found}; the checkpoint is damaged",
            folder.join("position.json").display()
        );
    }
    // The weights are replaced at once; a start is only needed for their shapes.
    let mut start = RandomStart(Random::new(0, 0));
    let voice = VitsVoice::load(&mut start, network, device)
        .with_context(|| folder.display().to_string())?;
    let voice = if folder.join(VOICE_FILE).exists() {
        load_module(voice, folder, VOICE_FILE, device)?
    } else {
        load_half_module(voice, folder, HALF_VOICE_FILE, device)?
    };
    Ok((voice, position))
}

/// Writes the voice of a checkpoint in half precision and without what only training needs.
///
/// # Errors
/// There is no checkpoint, or the disk is full.
pub fn compress<B: Backend>(folder: &Path, output: &Path, device: &B::Device) -> Result<()> {
    let (voice, position) = load::<B>(folder, device)?;
    write_folder(
        output,
        &position,
        &[(HALF_VOICE_FILE, half_module_bytes(&voice)?)],
    )
}

/// Writes the weighted sum of the voices of several checkpoints of one shape.
///
/// # Errors
/// They are not of one shape, or the disk is full.
pub fn mix<B: Backend>(parts: &[(&Path, f32)], output: &Path, device: &B::Device) -> Result<()> {
    let (sum, mut position) = weighted(
        parts,
        |folder| load::<B>(folder, device),
        |first, other, folder| {
            same_shape(folder, &first.config.network, &other.config.network)?;
            same_encoder(
                folder,
                &first.config.encoder_sha256,
                &other.config.encoder_sha256,
            )?;
            first.step = first.step.max(other.step);
            first.seconds += other.seconds;
            first.minutes = first.minutes.max(other.minutes);
            Ok(())
        },
    )?;
    position.notes = recipe(parts);
    write_folder(output, &position, &[(VOICE_FILE, module_bytes(&sum)?)])
}
