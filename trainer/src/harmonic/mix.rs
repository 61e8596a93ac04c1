//! One harmonic voice from the checkpoints of several trainings of one shape.

use std::path::Path;

use anyhow::Result;
use burn::tensor::backend::Backend;

use super::fit::load;
use crate::training::checkpoint::module_bytes;
use crate::training::mixture::{recipe, same_shape, weighted, write_folder};

/// Writes the weighted sum of the voices of several checkpoints. What was measured of them does not hold for it: it has no
/// held-out figures.
///
/// # Errors
/// They are not of one shape, or the disk is full.
pub fn mix<B: Backend>(parts: &[(&Path, f32)], output: &Path, device: &B::Device) -> Result<()> {
    let (sum, mut position) = weighted(
        parts,
        |folder| load::<B>(folder, device),
        |first, other, folder| {
            same_shape(folder, &first.config.network, &other.config.network)?;
            first.step = first.step.max(other.step);
            first.seconds += other.seconds;
            first.minutes = first.minutes.max(other.minutes);
            Ok(())
        },
    )?;
    (position.held_out, position.similarity) = (0.0, 0.0);
    position.notes = recipe(parts);
    write_folder(output, &position, &[("model.bin", module_bytes(&sum)?)])
}
