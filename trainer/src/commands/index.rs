//! `trainer index`: frames of each speaker's content for retrieval.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use timbra_voice::tables::{MAX_ROWS, Table};

use crate::config::WorkFolder;
use crate::data::atomic_file::write_atomically;
use crate::data::dataset::Dataset;
use crate::data::tables::{TableKind, content_rows, put_into_voice, table_bytes};

/// Arguments of `trainer index`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The work folder; the table goes to its `retrieval.safetensors`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// Most frames per speaker; more are better and make the voice larger and slower
    #[arg(long, value_name = "N", default_value_t = 6_000)]
    pub frames: usize,

    /// Seed of the draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Put the table into this voice as well
    #[arg(long, value_name = "FILE")]
    pub voice: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// There are no features, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        (1..=MAX_ROWS).contains(&args.frames),
        "{} frames; expected 1 to {MAX_ROWS}",
        args.frames
    );
    let work = WorkFolder::new(&args.work);
    let dataset = Dataset::load(&work.features())?;
    let channels = dataset.encoder.channels;
    let mut tables = BTreeMap::new();
    for (index, speaker) in dataset.speakers.iter().enumerate() {
        let data = content_rows(&dataset, index, args.frames, args.seed)?;
        let rows = data.len() / channels;
        println!(
            "{}: {rows} frames, {:.1} MB",
            speaker.name,
            (data.len() * 4) as f64 * 1e-6
        );
        tables.insert(
            speaker.name.clone(),
            Table {
                rows,
                channels,
                data,
            },
        );
    }
    write_atomically(&work.retrieval(), &table_bytes(&tables)?)?;
    if let Some(voice) = &args.voice {
        put_into_voice(voice, TableKind::Retrieval, &tables)?;
    }
    Ok(())
}
