//! `trainer compress`: a checkpoint without what only training needs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::backend::Flex;

use crate::vits::checkpoints::compress;

/// Arguments of `trainer compress`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The checkpoint of a vits training, such as WORK/training/checkpoints/best
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// The folder to write
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
}

/// Bytes of the files in a folder.
fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

/// Runs the verb.
///
/// # Errors
/// There is no such checkpoint, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    compress::<Flex>(&args.checkpoint, &args.output, &Default::default())?;
    println!(
        "{}: {:.1} MB of {:.1} MB; half precision, voice alone",
        args.output.display(),
        folder_bytes(&args.output)? as f64 / 1e6,
        folder_bytes(&args.checkpoint)? as f64 / 1e6
    );
    Ok(())
}
