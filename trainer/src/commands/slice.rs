//! `trainer slice`: long takes into clips.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::atomic_file::write_atomically;
use crate::data::audio::{NonFinite, ReadOptions, header_duration_s};
use crate::data::clips::{SpeakerClips, clip_name, find_clips, speaker_name};
use crate::data::slicing::{SliceSettings, slice};
use crate::progress::AudioProgress;

/// Arguments of `trainer slice`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A recording, or a folder with one folder of recordings per speaker
    pub input: PathBuf,

    /// Folder for the clips, laid out the same way
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,

    /// Level below which it is silence; found from each take unless given
    #[arg(long, value_name = "DBFS", allow_negative_numbers = true)]
    pub threshold: Option<f32>,

    /// Shortest clip that is kept
    #[arg(long, value_name = "SECONDS", default_value_t = SliceSettings::default().min_s)]
    pub min: f32,

    /// Longest clip; longer sounds are cut where they are quietest
    #[arg(long, value_name = "SECONDS", default_value_t = SliceSettings::default().max_s)]
    pub max: f32,

    /// Shortest silence that separates two clips
    #[arg(long, value_name = "SECONDS", default_value_t = SliceSettings::default().pause_s)]
    pub pause: f32,

    /// Put silence where a recording has NaN or infinite samples instead of leaving it out
    #[arg(long)]
    pub replace_nan: bool,
}

/// Written last for each take: what it was cut from and how.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    source: PathBuf,
    source_bytes: u64,
    modified_s: u64,
    settings: SliceSettings,
    clips: Vec<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// No take could be cut, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    let settings = SliceSettings {
        threshold_db: args.threshold,
        min_s: args.min,
        max_s: args.max,
        pause_s: args.pause,
        ..SliceSettings::default()
    };
    settings.check()?;
    let options = ReadOptions {
        non_finite: if args.replace_nan {
            NonFinite::Silence
        } else {
            NonFinite::Refuse
        },
        ..ReadOptions::default()
    };
    let speakers = if args.input.is_file() {
        vec![single_take(&args.input)]
    } else {
        find_clips(&args.input)?
    };
    let clips = slice_all(&speakers, &args.output, &settings, options)?;
    println!("{clips} clips in {}", args.output.display());
    Ok(())
}

/// Slices every take that has not been sliced with these settings; returns the number of clips.
///
/// # Errors
/// No take could be cut, or the disk is full.
pub fn slice_all(
    speakers: &[SpeakerClips],
    output: &Path,
    settings: &SliceSettings,
    options: ReadOptions,
) -> Result<usize> {
    let takes: Vec<(&SpeakerClips, &PathBuf)> = speakers
        .iter()
        .flat_map(|speaker| speaker.clips.iter().map(move |clip| (speaker, clip)))
        .collect();
    let total_s = takes.iter().map(|(_, take)| header_duration_s(take)).sum();
    let progress = AudioProgress::new("slice", total_s);
    let failed = AtomicUsize::new(0);
    let counts: Vec<usize> = takes
        .par_iter()
        .map(|(speaker, take)| {
            let outcome = slice_one(speaker, take, output, settings, options, &progress);
            outcome.unwrap_or_else(|error| {
                failed.fetch_add(1, Ordering::Relaxed);
                progress.say(&format!("left out: {error:#}"));
                tracing::warn!("left out: {error:#}");
                0
            })
        })
        .collect();
    progress.finish();
    let failed = failed.into_inner();
    if failed == takes.len() {
        bail!("none of the {failed} recordings could be sliced");
    }
    let clips = counts.into_iter().sum();
    if clips == 0 {
        bail!("no sound of at least {} s was found", settings.min_s);
    }
    Ok(clips)
}

/// Removes from `output` what was cut from other takes than these: recordings that were taken away are not learned from.
///
/// # Errors
/// The system refuses.
pub fn forget_others(speakers: &[SpeakerClips], output: &Path) -> Result<()> {
    let takes: BTreeSet<PathBuf> = speakers
        .iter()
        .flat_map(|speaker| {
            let receipts = speaker
                .clips
                .iter()
                .map(|take| clip_name(&speaker.folder, take));
            receipts.map(|name| receipt_path(&output.join(&speaker.name), &name))
        })
        .collect();
    let cannot = |path: &Path| format!("cannot remove {}", path.display());
    for folder in fs::read_dir(output)?.flatten().map(|entry| entry.path()) {
        for path in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = path.path();
            let Some(receipt) = read_receipt(&path).filter(|_| !takes.contains(&path)) else {
                continue;
            };
            println!("{} is gone: so are its clips", receipt.source.display());
            for clip in receipt.clips.iter().filter_map(|clip| clip.file_name()) {
                let clip = folder.join(clip);
                if clip.exists() {
                    fs::remove_file(&clip).with_context(|| cannot(&clip))?;
                }
            }
            fs::remove_file(&path).with_context(|| cannot(&path))?;
        }
        // Only an empty one goes.
        fs::remove_dir(&folder).ok();
    }
    Ok(())
}

fn receipt_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.slices.json"))
}

fn slice_one(
    speaker: &SpeakerClips,
    take: &Path,
    output: &Path,
    settings: &SliceSettings,
    options: ReadOptions,
    progress: &AudioProgress,
) -> Result<usize> {
    let folder = output.join(&speaker.name);
    let name = clip_name(&speaker.folder, take);
    let receipt_path = receipt_path(&folder, &name);
    let about = fs::metadata(take).with_context(|| format!("cannot read {}", take.display()))?;
    let modified_s = about
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs());
    let mut receipt = Receipt {
        source: take.to_path_buf(),
        source_bytes: about.len(),
        modified_s,
        settings: *settings,
        clips: Vec::new(),
    };
    if let Some(done) = read_receipt(&receipt_path) {
        let clips = done.clips.len();
        receipt.clips.clone_from(&done.clips);
        if done == receipt && receipt.clips.iter().all(|clip| folder.join(clip).is_file()) {
            return Ok(clips);
        }
        // Cut anew: what the old settings gave must not stay among the new clips.
        for clip in &done.clips {
            let _ = fs::remove_file(folder.join(clip));
        }
    }
    let clips = slice(take, &folder, &name, settings, options, &mut |seconds| {
        progress.add(seconds, &name);
    })?;
    let count = clips.len();
    receipt.clips = clips
        .iter()
        .filter_map(|clip| Some(PathBuf::from(clip.file_name()?)))
        .collect();
    write_atomically(&receipt_path, &serde_json::to_vec_pretty(&receipt)?)?;
    Ok(count)
}

fn read_receipt(path: &Path) -> Option<Receipt> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn single_take(path: &Path) -> SpeakerClips {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let stem = path
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    SpeakerClips {
        name: speaker_name(&stem),
        folder,
        clips: vec![path.to_path_buf()],
    }
}
