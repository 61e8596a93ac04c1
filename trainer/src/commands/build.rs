//! `trainer build`: recordings in, voice out.
//!
//! Every step keeps what it has finished, so the same command goes on where
//! it was stopped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use timbra_voice::manifest::MAX_SPEAKERS;
use timbra_voice::package::EXTENSION;

use super::{cluster, evaluate, export, index, prepare, slice, train};
use crate::config::{DEFAULT_HELD_OUT_SHARE, DEFAULT_MODEL_RATE_HZ, WorkFolder, WrongArgument};
use crate::data::audio::{NonFinite, ReadOptions, header_duration_s};
use crate::data::clips::{SpeakerClips, find_clips};
use crate::data::dataset::{DATASET_FILE, Dataset};
use crate::data::slicing::SliceSettings;

/// Arguments of `trainer build`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder with one folder of recordings per speaker
    pub recordings: PathBuf,

    /// The voice to write; `.timbra` is added where it is missing
    #[arg(short, long, value_name = "VOICE")]
    pub output: PathBuf,

    /// Folder for everything in between; OUTPUT.work unless given
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<PathBuf>,

    /// Package of the content encoder; the first one installed unless given
    #[arg(long, value_name = "FILE")]
    pub encoder: Option<PathBuf>,

    /// Sample rate of the voice
    #[arg(long, value_name = "HZ", default_value_t = DEFAULT_MODEL_RATE_HZ)]
    pub rate: u32,

    /// Share of each speaker's recordings that is held out for measuring
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_HELD_OUT_SHARE)]
    pub held_out: f64,

    /// Take the recordings as they are, however long
    #[arg(long)]
    pub no_slice: bool,

    /// Put silence where a recording has NaN or infinite samples instead of leaving it out
    #[arg(long)]
    pub replace_nan: bool,

    /// Name of the voice; the file's name unless given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// JSON with licence, attribution and the speakers' languages, licences and consent
    #[arg(long, value_name = "FILE")]
    pub about: Option<PathBuf>,

    /// Arguments for `trainer train`, after `--`
    #[arg(last = true, value_name = "TRAIN ARGUMENTS")]
    pub train: Vec<OsString>,
}

impl Args {
    /// The work folder.
    #[must_use]
    pub fn work_folder(&self) -> PathBuf {
        self.work.clone().unwrap_or_else(|| {
            let mut name = self.output.with_extension("").into_os_string();
            name.push(".work");
            PathBuf::from(name)
        })
    }
}

/// Runs the verb.
///
/// # Errors
/// Whatever a step ran into; what was finished stays.
pub fn run(args: &Args) -> Result<()> {
    let folder = args.work_folder();
    let work = WorkFolder::new(&folder);
    let output = voice_path(&args.output);

    let recordings = if args.no_slice {
        args.recordings.clone()
    } else {
        clips_of(args, &work)?
    };
    step("prepare");
    prepare::run(&prepare::Args {
        recordings,
        work: folder.clone(),
        encoder: args.encoder.clone(),
        rate: args.rate,
        held_out: args.held_out,
        replace_nan: args.replace_nan,
    })?;

    step("train");
    train::run(&with_defaults(&[
        &["--work".into(), folder.clone().into()],
        &args.train[..],
    ])?)?;

    let dataset = work.features().join(DATASET_FILE);
    if is_older(&work.clusters(), &dataset) {
        step("cluster");
        cluster::run(&with_defaults(&[&[
            "--work".into(),
            folder.clone().into(),
        ]])?)?;
    }
    if is_older(&work.retrieval(), &dataset) {
        step("index");
        index::run(&with_defaults(&[&[
            "--work".into(),
            folder.clone().into(),
        ]])?)?;
    }

    step("export");
    let mut to: Vec<OsString> = vec![
        "--work".into(),
        folder.clone().into(),
        "--output".into(),
        output.clone().into(),
    ];
    if let Some(name) = &args.name {
        to.extend(["--name".into(), name.into()]);
    }
    if let Some(about) = &args.about {
        to.extend(["--about".into(), about.into()]);
    }
    export::run(&with_defaults(&[&to])?)?;

    if Dataset::load(&work.features())?.held_out().next().is_none() {
        println!(
            "{}: no clip is held out, so that nothing can be measured: it has no certificate",
            output.display()
        );
        return Ok(());
    }
    step("evaluate");
    evaluate::run(&with_defaults(&[&[
        "--work".into(),
        folder.into(),
        "--voice".into(),
        output.clone().into(),
    ]])?)?;
    println!("{}", output.display());
    Ok(())
}

/// The recordings, cut at their silences if any of them is long.
fn clips_of(args: &Args, work: &WorkFolder) -> Result<PathBuf> {
    let settings = SliceSettings::default();
    let speakers = find_clips(&args.recordings)?;
    ensure!(
        speakers.len() <= MAX_SPEAKERS,
        "{}: holds {} speakers, and a voice mixes at most {MAX_SPEAKERS}; take fewer, or prepare, train and `trainer export \
         --speakers` one by one",
        args.recordings.display(),
        speakers.len()
    );
    let is_long = |clip: &PathBuf| header_duration_s(clip) > f64::from(settings.max_s);
    let any_long = |speaker: &SpeakerClips| speaker.clips.iter().any(is_long);
    if !speakers.iter().any(any_long) {
        return Ok(args.recordings.clone());
    }
    step("slice");
    let options = ReadOptions {
        non_finite: if args.replace_nan {
            NonFinite::Silence
        } else {
            NonFinite::Refuse
        },
        ..ReadOptions::default()
    };
    let clips = slice::slice_all(&speakers, &work.clips(), &settings, options)?;
    slice::forget_others(&speakers, &work.clips())?;
    println!("{clips} clips in {}", work.clips().display());
    Ok(work.clips())
}

/// The arguments of another verb: these options, and its defaults for all others.
fn with_defaults<A: clap::Args>(options: &[&[OsString]]) -> Result<A> {
    let command = A::augment_args(clap::Command::new("trainer"));
    let words = std::iter::once(OsString::from("trainer"))
        .chain(options.iter().flat_map(|part| part.iter().cloned()));
    let matches = command
        .try_get_matches_from(words)
        .map_err(|error| WrongArgument(error.to_string()))?;
    A::from_arg_matches(&matches).context("the arguments of a step do not fit it; this is a bug")
}

fn voice_path(output: &Path) -> PathBuf {
    if output
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case(EXTENSION))
    {
        return output.to_path_buf();
    }
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{EXTENSION}"));
    PathBuf::from(name)
}

/// Whether `file` is missing or older than `source`.
fn is_older(file: &Path, source: &Path) -> bool {
    let modified = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|about| about.modified())
            .ok()
    };
    match (modified(file), modified(source)) {
        (Some(file), Some(source)) => file < source,
        _ => true,
    }
}

fn step(name: &str) {
    println!("== {name}");
    tracing::info!("step {name}");
}
