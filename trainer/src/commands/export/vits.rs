//! The package of a VITS training.

use std::path::Path;

use anyhow::{Context, Result};
use burn::backend::Flex;
use timbra_voice::manifest::{Family, TrainingSummary};

use super::{Args, Made};
use crate::model::vits::export::{F0_HZ, RECEPTIVE_FIELD_FRAMES};
use crate::training::mixture::same_encoder;
use crate::vits::checkpoints::load;
use crate::vits::held_out::NOISE_SCALE;

/// Frames a step of a voice makes, and sees of the future.
pub const STEP: (usize, usize) = (2, 2);

/// Whether a checkpoint is one of a VITS voice.
///
/// # Errors
/// It cannot be read.
pub fn is_vits(folder: &Path) -> Result<bool> {
    let path = folder.join("position.json");
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let position: serde_json::Value = serde_json::from_slice(&text)
        .with_context(|| format!("{}: not a checkpoint of this version", path.display()))?;
    Ok(position["config"]["network"].get("prenet").is_some())
}

/// Graph and figures of the checkpoint in `folder`, which has learned from the encoder of that SHA-256.
///
/// # Errors
/// It is not one, has learned from another, or does not fit its sizes.
pub fn make(args: &Args, folder: &Path, encoder_sha256: &str) -> Result<Made> {
    let (voice, position) = load::<Flex>(folder, &Default::default())?;
    same_encoder(folder, encoder_sha256, &position.config.encoder_sha256)?;
    let spec = &position.config.network;
    let exported = voice.export_streaming(spec);
    let step = exported.step(spec, args.step_frames, args.lookahead_frames, NOISE_SCALE);
    let measures = position.measures;
    Ok(Made {
        family: Family::Vits,
        speakers: spec.speakers,
        model_rate_hz: spec.rate_hz,
        delay_samples: step.lag_samples(),
        receptive_field_frames: RECEPTIVE_FIELD_FRAMES,
        follows_level: false,
        f0_hz: F0_HZ,
        step: Some(step),
        graph: exported.bytes,
        synthesis: exported.spec,
        training: TrainingSummary {
            trainer: format!("trainer {}", env!("CARGO_PKG_VERSION")),
            steps: position.step,
            minutes: position.minutes,
            hours: position.seconds / 3600.0,
            backend: position.backend.clone(),
            held_out_loss: measures.mel,
            notes: format!(
                "held-out loss: mean distance of log-mel spectrograms in nepers; similarity {:.3}, F0 {:.1} cents, content {:.3} \
                 {}",
                measures.similarity, measures.f0_cents, measures.content, position.notes
            )
            .trim_end()
            .to_owned(),
        },
    })
}
