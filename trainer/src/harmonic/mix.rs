//! One harmonic voice from several of one shape: checkpoints, packages, or both.

use std::path::Path;

use anyhow::{Result, ensure};
use burn::tensor::backend::Backend;
use timbra_voice::manifest::Family;
use timbra_voice::package::VoicePackage;

use super::fit::{VoiceFitConfig, VoicePosition, load};
use crate::model::graph_layers::GraphLayers;
use crate::model::harmonic::HarmonicVoice;
use crate::training::checkpoint::module_bytes;
use crate::training::mixture::{recipe, same_encoder, same_shape, weighted, write_folder};

/// Where a part of a mixture stood, and what its speakers are called, where it says so.
struct Standing {
    position: VoicePosition,
    speakers: Option<Vec<String>>,
}

/// Writes the weighted sum of several voices, each a checkpoint's folder or a package, as a checkpoint. What was measured of them
/// does not hold for it: it has no held-out figures.
///
/// # Errors
/// They are not of one shape, packages have other speakers, or the disk is full.
pub fn mix<B: Backend>(parts: &[(&Path, f32)], output: &Path, device: &B::Device) -> Result<()> {
    let (sum, standing) = weighted(
        parts,
        |path| {
            if path.is_file() {
                return of_package::<B>(path, device);
            }
            let (voice, position) = load::<B>(path, device)?;
            let speakers = None;
            Ok((voice, Standing { position, speakers }))
        },
        |first, other, path| {
            let network = &other.position.config.network;
            same_shape(path, &first.position.config.network, network)?;
            same_encoder(
                path,
                &first.position.config.encoder_sha256,
                &other.position.config.encoder_sha256,
            )?;
            if let (Some(expected), Some(found)) = (&first.speakers, &other.speakers) {
                ensure!(
                    expected == found,
                    "{}: expected the speakers {}, found {}; export them in one order",
                    path.display(),
                    expected.join(", "),
                    found.join(", ")
                );
            }
            first.speakers = first.speakers.take().or(other.speakers);
            let (first, other) = (&mut first.position, other.position);
            first.step = first.step.max(other.step);
            first.seconds += other.seconds;
            first.minutes = first.minutes.max(other.minutes);
            Ok(())
        },
    )?;
    let mut position = standing.position;
    (position.held_out, position.similarity) = (0.0, 0.0);
    position.notes = recipe(parts);
    write_folder(output, &position, &[("model.bin", module_bytes(&sum)?)])
}

/// The voice of a package, and where its training stood.
fn of_package<B: Backend>(path: &Path, device: &B::Device) -> Result<(HarmonicVoice<B>, Standing)> {
    let package = VoicePackage::read(path)?;
    let manifest = &package.manifest;
    ensure!(
        manifest.family == Family::Harmonic,
        "{}: expected a harmonic voice, found one of family {:?}; mix its checkpoints",
        path.display(),
        manifest.family
    );
    let speakers = manifest.speakers.len();
    let config = VoiceFitConfig {
        encoder_sha256: manifest.encoder.sha256.clone(),
        ..VoiceFitConfig::standard(manifest.encoder.channels, speakers)
    };
    let mut voice = HarmonicVoice::new(&config.network, device);
    let rows: Vec<Option<usize>> = (0..speakers).map(Some).collect();
    let graph = package.synthesis_graph().to_vec();
    voice.read(&mut GraphLayers::of(path, graph)?, speakers, &rows)?;
    let training = &manifest.training;
    let standing = Standing {
        position: VoicePosition {
            step: training.steps,
            seconds: training.hours * 3600.0,
            held_out: training.held_out_loss,
            similarity: 0.0,
            best_held_out: training.held_out_loss,
            config,
            minutes: training.minutes,
            backend: training.backend.clone(),
            notes: training.notes.clone(),
        },
        speakers: Some(manifest.speakers.iter().map(|s| s.name.clone()).collect()),
    };
    Ok((voice, standing))
}
