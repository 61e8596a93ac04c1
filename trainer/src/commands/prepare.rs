//! `trainer prepare`: features of every clip.

use std::path::{Path, PathBuf, absolute};

use anyhow::{Result, bail};

use timbra_engine::locate;
use timbra_voice::library::ENCODER_FOLDER;
use timbra_voice::package::read_encoder_manifest;

use crate::config::{DEFAULT_HELD_OUT_SHARE, DEFAULT_MODEL_RATE_HZ, WorkFolder};
use crate::data::audio::NonFinite;
use crate::data::clips::find_clips;
use crate::data::dataset::Dataset;
use crate::data::prepare::{PrepareSettings, prepare};

/// Arguments of `trainer prepare`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder with one folder of recordings per speaker
    pub recordings: PathBuf,

    /// The work folder; features go to its `features`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// Package of the content encoder; the newest one installed unless given
    #[arg(long, value_name = "FILE")]
    pub encoder: Option<PathBuf>,

    /// Sample rate of the voice to be trained
    #[arg(long, value_name = "HZ", default_value_t = DEFAULT_MODEL_RATE_HZ)]
    pub rate: u32,

    /// Share of each speaker's recordings that is held out for measuring, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_HELD_OUT_SHARE)]
    pub held_out: f64,

    /// Put silence where a recording has NaN or infinite samples instead of leaving it out
    #[arg(long)]
    pub replace_nan: bool,
}

/// Runs the verb.
///
/// # Errors
/// See [`prepare`].
pub fn run(args: &Args) -> Result<()> {
    let dataset = prepare_into(args)?;
    print_summary(&dataset);
    Ok(())
}

/// Prepares and returns the dataset, for `build`.
///
/// # Errors
/// See [`prepare`].
pub fn prepare_into(args: &Args) -> Result<Dataset> {
    let speakers = find_clips(&args.recordings)?;
    let work = WorkFolder::new(&args.work);
    let settings = PrepareSettings {
        encoder_path: encoder_path(args.encoder.as_deref())?,
        model_rate_hz: args.rate,
        held_out_share: args.held_out,
        non_finite: if args.replace_nan {
            NonFinite::Silence
        } else {
            NonFinite::Refuse
        },
    };
    prepare(&speakers, &work.features(), &settings)
}

/// The encoder to use: the one given, or the newest one beside the installed voices.
///
/// # Errors
/// None is given and none is found; the message lists where was looked.
pub fn encoder_path(given: Option<&Path>) -> Result<PathBuf> {
    // The dataset names it for later verbs, which may be run from elsewhere.
    if let Some(path) = given {
        return Ok(absolute(path)?);
    }
    let made = |path: &PathBuf| {
        std::fs::metadata(path)
            .and_then(|about| about.modified())
            .ok()
    };
    // Of several that are as old, the first found.
    if let Some(path) = installed_encoders()
        .iter()
        .rev()
        .max_by_key(|path| made(path))
    {
        tracing::info!("content encoder: {}", path.display());
        return Ok(absolute(path)?);
    }
    let searched: Vec<String> = encoder_folders()
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    bail!(
        "no content encoder is given (--encoder FILE) and none was found in {}",
        searched.join(", ")
    )
}

/// Folders in which encoder packages are looked for.
#[must_use]
pub fn encoder_folders() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("models").join(ENCODER_FOLDER)];
    for folder in locate::voice_folders() {
        folders.push(folder.join(ENCODER_FOLDER));
    }
    folders
}

/// Every encoder package in [`encoder_folders`], sorted within its folder.
#[must_use]
pub fn installed_encoders() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in encoder_folders() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut packages: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| read_encoder_manifest(path).is_ok())
            .collect();
        packages.sort();
        found.append(&mut packages);
    }
    found
}

fn print_summary(dataset: &Dataset) {
    println!("speaker           train   held out  voiced   F0 low / median / high    loudness");
    for speaker in &dataset.speakers {
        println!(
            "{:<16} {:>5.1} min  {:>5.1} min   {:>3.0} %   {:>5.0} / {:>5.0} / {:>5.0} Hz  {:>6.1} dBFS",
            speaker.name,
            speaker.train_minutes,
            speaker.held_out_minutes,
            speaker.voiced_share * 100.0,
            speaker.f0_low_hz,
            speaker.f0_median_hz,
            speaker.f0_high_hz,
            speaker.loudness_median_db
        );
    }
}
