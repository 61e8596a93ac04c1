//! `trainer mix`: one voice from several of one shape.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::backend::Flex;

use super::export::is_vits;
use crate::config::WrongArgument;
use crate::{harmonic, vits};

/// Arguments of `trainer mix`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Checkpoints of trainings of one family and shape; of harmonic voices also packages
    #[arg(value_name = "VOICE", required = true, num_args = 2..)]
    pub checkpoints: Vec<PathBuf>,

    /// A weight for each, by commas; equal unless given
    #[arg(
        long,
        value_name = "W,W",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    pub weights: Vec<f32>,

    /// Take the weights as they are, also negative ones; else they are divided by their sum
    #[arg(long)]
    pub linear: bool,

    /// The folder to write
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// The voices are not of one shape, the weights do not fit, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    let weights = weights(&args.weights, args.checkpoints.len(), args.linear)?;
    let parts: Vec<(&Path, f32)> = args
        .checkpoints
        .iter()
        .map(PathBuf::as_path)
        .zip(weights.iter().copied())
        .collect();
    // A package says of itself what it is when it is read.
    let of_vits = |path: &Path| Ok::<_, anyhow::Error>(!path.is_file() && is_vits(path)?);
    let first_is_vits = of_vits(&args.checkpoints[0])?;
    for other in &args.checkpoints[1..] {
        if of_vits(other)? != first_is_vits {
            bail!(
                "{}: is of another family than {}; only voices of one family can be mixed",
                other.display(),
                args.checkpoints[0].display()
            );
        }
    }
    if first_is_vits {
        vits::checkpoints::mix::<Flex>(&parts, &args.output, &Default::default())?;
    } else {
        harmonic::mix::mix::<Flex>(&parts, &args.output, &Default::default())?;
    }
    println!("{}: {weights:?}", args.output.display());
    Ok(())
}

/// One weight per voice.
fn weights(given: &[f32], count: usize, linear: bool) -> Result<Vec<f32>, WrongArgument> {
    let given = if given.is_empty() {
        vec![1.0 / count as f32; count]
    } else {
        given.to_vec()
    };
    let wrong = |found: String| {
        Err(WrongArgument(format!(
            "--weights: expected {count} finite numbers{}, found {found}",
            if linear {
                ""
            } else {
                ", none below 0 and not all 0 (or --linear)"
            }
        )))
    };
    let sum: f32 = given.iter().sum();
    let convex = given.iter().all(|&weight| weight >= 0.0) && sum > 0.0;
    if given.len() != count || !sum.is_finite() || !(linear || convex) {
        return wrong(format!("{given:?}"));
    }
    Ok(if linear {
        given
    } else {
        given.iter().map(|weight| weight / sum).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::weights;

    #[test]
    fn convex_weights_have_sum_one_and_linear_ones_stay() {
        assert_eq!(weights(&[], 2, false).unwrap(), [0.5, 0.5]);
        assert_eq!(weights(&[3.0, 1.0], 2, false).unwrap(), [0.75, 0.25]);
        assert_eq!(weights(&[1.5, -0.5], 2, true).unwrap(), [1.5, -0.5]);
        for wrong in [&[1.0][..], &[1.5, -0.5], &[0.0, 0.0], &[f32::NAN, 1.0]] {
            assert!(weights(wrong, 2, false).is_err(), "{wrong:?}");
        }
    }
}
