//! `trainer cluster`: centres of each speaker's content.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use timbra_voice::tables::Table;

use crate::config::WorkFolder;
use crate::data::atomic_file::write_atomically;
use crate::data::dataset::Dataset;
use crate::data::kmeans::kmeans;
use crate::data::tables::{TableKind, content_rows, put_into_voice, table_bytes};

/// Arguments of `trainer cluster`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The work folder; the table goes to its `clusters.safetensors`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// Centres per speaker
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub clusters: usize,

    /// Most frames per speaker that are looked at
    #[arg(long, value_name = "N", default_value_t = 120_000)]
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
        (1..=65_536).contains(&args.clusters),
        "{} clusters; expected 1 to 65536",
        args.clusters
    );
    let work = WorkFolder::new(&args.work);
    let dataset = Dataset::load(&work.features())?;
    let channels = dataset.encoder.channels;
    let mut tables = BTreeMap::new();
    for (index, speaker) in dataset.speakers.iter().enumerate() {
        let rows = content_rows(&dataset, index, args.frames, args.seed)?;
        let bar = indicatif::ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        let found = kmeans(
            &rows,
            channels,
            args.clusters,
            args.seed,
            &mut |round, mean| {
                bar.set_message(format!(
                    "cluster {}: round {round}, mean squared distance {mean:.4}",
                    speaker.name
                ));
            },
        );
        bar.finish_and_clear();
        println!(
            "{}: {} centres of {} frames, mean squared distance {:.4} after {} rounds",
            speaker.name,
            found.count,
            rows.len() / channels,
            found.mean_squared_distance,
            found.rounds
        );
        tables.insert(
            speaker.name.clone(),
            Table {
                rows: found.count,
                channels,
                data: found.centres,
            },
        );
    }
    write_atomically(&work.clusters(), &table_bytes(&tables)?)?;
    if let Some(voice) = &args.voice {
        put_into_voice(voice, TableKind::Clusters, &tables)?;
    }
    Ok(())
}
