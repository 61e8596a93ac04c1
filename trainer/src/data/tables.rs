//! The content of a speaker's recordings, gathered for cluster and retrieval tables.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use timbra_voice::manifest::Manifest;
use timbra_voice::package::{self, Form, VoicePackage};
use timbra_voice::tables::{self, Table};

use super::dataset::Dataset;
use crate::random::Random;

/// Frames this far below the speaker's median loudness are silence and say nothing about the voice.
const SILENCE_BELOW_MEDIAN_DB: f32 = 40.0;

/// Content of the frames that sound, from the clips to train on: `[n, channels]` row by row.
///
/// With more than `most` frames, that many are drawn evenly by a generator
/// seeded with `seed`; they stay in order of time.
///
/// # Errors
/// A feature file is damaged, or no frame of the speaker sounds.
pub fn content_rows(dataset: &Dataset, speaker: usize, most: usize, seed: u64) -> Result<Vec<f32>> {
    let summary = dataset
        .speakers
        .get(speaker)
        .with_context(|| format!("there is no speaker {speaker}"))?;
    let silence_db = summary.loudness_median_db - SILENCE_BELOW_MEDIAN_DB;
    let total: usize = dataset
        .train()
        .filter(|clip| clip.speaker == speaker)
        .map(|clip| clip.frames)
        .sum();
    // Drawing before loading bounds the memory; silent frames make it a few less than asked for.
    let mut random = Random::new(seed, speaker as u64);
    let mut rows = Vec::new();
    let (mut left, mut wanted) = (total, most.min(total));
    for clip in dataset.train().filter(|clip| clip.speaker == speaker) {
        let features = dataset.load_clip(clip)?;
        for frame in 0..features.frames {
            let take = random.below(left) < wanted;
            left -= 1;
            if take {
                wanted -= 1;
                if features.loudness_db[frame] > silence_db {
                    rows.extend_from_slice(features.content_frame(frame));
                }
            }
        }
    }
    ensure!(
        !rows.is_empty(),
        "no frame of {} sounds; there is nothing to make a table of",
        summary.name
    );
    Ok(rows)
}

/// Serialises tables by speaker name; the same input gives the same bytes.
///
/// # Errors
/// A table whose data does not fill its shape.
pub fn table_bytes(tables: &BTreeMap<String, Table>) -> Result<Vec<u8>> {
    Ok(tables::write(tables)?)
}

/// Which table of a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// K-means centres.
    Clusters,
    /// Frames for retrieval.
    Retrieval,
}

impl TableKind {
    /// Its file within a package.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Clusters => "clusters.safetensors",
            Self::Retrieval => "retrieval.safetensors",
        }
    }
}

/// Puts a table into an existing voice package, which is replaced whole or not at all.
///
/// # Errors
/// The voice is damaged, has other speakers or another content size, or the disk is full.
pub fn put_into_voice(
    voice: &Path,
    kind: TableKind,
    tables: &BTreeMap<String, Table>,
) -> Result<()> {
    rewrite_voice(voice, |manifest, files| {
        // A voice may have been made of some of them.
        let mut tables = tables.clone();
        tables.retain(|speaker, _| manifest.speakers.iter().any(|known| known.name == *speaker));
        if tables.is_empty() {
            let names: Vec<&str> = manifest.speakers.iter().map(|s| s.name.as_str()).collect();
            bail!(
                "{} has none of the speakers; it has: {}",
                voice.display(),
                names.join(", ")
            );
        }
        let bytes = table_bytes(&tables)?;
        for table in tables.values() {
            ensure!(
                table.channels == manifest.encoder.channels,
                "{} was trained on {} content channels, the table has {}",
                voice.display(),
                manifest.encoder.channels,
                table.channels
            );
        }
        let name = kind.file_name().to_owned();
        let slot = match kind {
            TableKind::Clusters => &mut manifest.clusters,
            TableKind::Retrieval => &mut manifest.retrieval,
        };
        if let Some(old) = slot.replace(name.clone()) {
            files.remove(&old);
        }
        files.insert(name, bytes);
        Ok(())
    })
}

/// Changes the manifest and the files of a voice package, which is replaced whole or not at all.
///
/// # Errors
/// The voice is damaged, `change` fails, what it leaves cannot be true, or the disk is full.
pub fn rewrite_voice(
    voice: &Path,
    change: impl FnOnce(&mut Manifest, &mut BTreeMap<String, Vec<u8>>) -> Result<()>,
) -> Result<()> {
    let package = VoicePackage::read(voice)?;
    let mut manifest = package.manifest.clone();
    let mut files = BTreeMap::new();
    for file in manifest.files.keys() {
        let contents = package
            .file(file)
            .with_context(|| format!("{}: {file} is missing", voice.display()))?;
        files.insert(file.clone(), contents.to_vec());
    }
    change(&mut manifest, &mut files)?;
    let form = if voice.is_dir() {
        Form::Folder
    } else {
        Form::File
    };
    package::write_voice(voice, &manifest, &files, form)?;
    Ok(())
}
