//! `trainer train`: trains a voice on prepared clips.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use burn::backend::Autodiff;
use burn::tensor::backend::{DeviceId, DeviceOps};
use timbra_engine::Encoder;
use timbra_voice::manifest::{Family, MAX_SPEAKERS};
use timbra_voice::package::VoicePackage;

use super::shares::shares;
use crate::backend::BackendName;
use crate::config::{WorkFolder, WrongArgument};
use crate::data::dataset::Dataset;
use crate::harmonic::fit::{VoiceBase, VoiceFitConfig, fit};
use crate::harmonic::words::Listener;
use crate::import::read_state_dict;
use crate::model::harmonic::MODEL_RATE_HZ;
use crate::training::checkpoint::{Checkpoints, kept};
use crate::training::clips::{VoiceClip, load_clips};
use crate::training::pulled::add_pulled;
use crate::vits::config::{Size, VitsFitConfig, VoiceShape, spec};
use crate::vits::fit::fit as fit_vits;
use crate::vits::stepper::Base;
use crate::with_backend;

/// Families that can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FamilyName {
    /// Harmonics and noise: light enough to play live
    #[default]
    Harmonic,
    /// so-vits-svc's network: heavier and later, for the studio
    Vits,
}

/// Arguments of `trainer train`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The work folder with prepared clips; checkpoints and figures go to its `training`
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// What kind of voice
    #[arg(long, value_enum, default_value_t)]
    pub family: FamilyName,

    /// vits: how large
    #[arg(long, value_enum, default_value_t)]
    pub size: Size,

    /// Optimiser steps [default: harmonic 2000, half an hour on two CPU cores; vits tiny 6000, published 200000]
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,

    /// Crops or clips per step [default: harmonic 12, vits tiny 8, published 6]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,

    /// Step from which critics sharpen the sound; `steps` or more turns them off [default: harmonic 1400, vits tiny 2000,
    /// published 0]
    #[arg(long, value_name = "N")]
    pub critics_from: Option<u64>,

    /// Peak learning rate [default: harmonic 1e-3, vits tiny 4e-4, published 1e-4]
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,

    /// Steps between checkpoints [default: harmonic 200, vits tiny 250, published 1000]
    #[arg(long, value_name = "N")]
    pub save_every: Option<u64>,

    /// How many of the newest checkpoints are kept besides the best
    #[arg(long, value_name = "N", default_value_t = kept())]
    pub keep: usize,

    /// vits: loudness of the input shapes that of the output
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub loudness: bool,

    /// vits: learn to predict F0, for speech
    #[arg(long)]
    pub auto_f0: bool,

    /// vits: play recordings up to this many semitones higher and lower, for small sets of recordings
    #[arg(long, value_name = "SEMITONES", default_value_t = 0.0)]
    pub pitch_augmentation: f32,

    /// A voice whose weights a new training begins with. harmonic: a package on as many content channels, whose licence then
    /// holds for the new voice too; vits: an imported voice, G_*.pth, where its weights fit
    #[arg(long, value_name = "FILE")]
    pub base: Option<PathBuf>,

    /// vits: begin with the weights of imported critics, D_*.pth, where they fit
    #[arg(long, value_name = "FILE")]
    pub base_critics: Option<PathBuf>,

    /// harmonic: how much it counts what a network hears of the rendering, from the critics' first step on: the speech recogniser
    /// where one is given, else the content encoder, which must be one of `trainer encoder`, makes words clearer and the voice
    /// less like the speaker's
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    pub words: f32,

    /// harmonic: the speech recogniser that listens with --words: Moonshine's model.safetensors (tiny or base), or what
    /// models/recipe/recogniser.py makes of its Python package
    #[arg(long, value_name = "FILE")]
    pub recogniser: Option<PathBuf>,

    /// harmonic: how many crops of a step are sung by another speaker as well, from the critics' first step on. With more
    /// speakers than a voice mixes, only those with a --share sing them, if any has one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub crossed: usize,

    /// harmonic: the recordings are also heard as every other speaker of this voice sings them, so that how they sound says
    /// less of who sang them; several voices may be given. Takes about a quarter of their length per speaker on one core, once.
    /// With more speakers than a voice mixes, only those with a --share are sung, if any has one
    #[arg(long, value_name = "VOICE")]
    pub sung_by: Vec<PathBuf>,

    /// harmonic: every clip is also heard as retrieval pulls it so far (0 to 1) towards the speaker's other clips, for a voice that is
    /// to be played so
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    pub pulled: f32,

    /// harmonic: share of the crops that are a speaker's; several may be given. Speakers without one divide what is left equally
    #[arg(long = "share", value_name = "SPEAKER=SHARE")]
    pub shares: Vec<String>,

    /// Seed of sampling and augmentation
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// vits: how many devices of the backend take steps together, each with a batch of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub devices: u16,

    /// What to compute on
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendName,
}

/// Runs the verb; the same command goes on after an interruption.
///
/// # Errors
/// There are no features, the loss is not a number, or the disk is full.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        args.batch != Some(0) && args.save_every != Some(0) && args.keep > 0,
        "--batch, --save-every and --keep must be at least 1"
    );
    if !(0.0..=100.0).contains(&args.words) {
        let found = args.words;
        return Err(WrongArgument(format!("--words is {found}; expected 0 to 100")).into());
    }
    if !(0.0..=1.0).contains(&args.pulled) {
        let found = args.pulled;
        return Err(WrongArgument(format!("--pulled is {found}; expected 0 to 1")).into());
    }
    if args.recogniser.is_some() && args.words == 0.0 {
        let why = "--recogniser hears nothing without --words; add --words 1, or leave it out";
        return Err(WrongArgument(why.to_owned()).into());
    }
    let harmonic_only = args.words > 0.0
        || args.pulled > 0.0
        || args.crossed > 0
        || !args.sung_by.is_empty()
        || !args.shares.is_empty();
    if args.family != FamilyName::Harmonic && harmonic_only {
        let why = "--words, --crossed, --sung-by, --pulled and --share are for harmonic voices; leave them out";
        return Err(WrongArgument(why.to_owned()).into());
    }
    let work = WorkFolder::new(&args.work);
    let dataset = Dataset::load(&work.features())?;
    match args.family {
        FamilyName::Harmonic => harmonic(args, &work, &dataset),
        FamilyName::Vits => vits(args, &work, &dataset),
    }
}

fn harmonic(args: &Args, work: &WorkFolder, dataset: &Dataset) -> Result<()> {
    if dataset.model_rate_hz as usize != MODEL_RATE_HZ {
        bail!(
            "{}: prepared at {} Hz, but harmonic voices are trained at {MODEL_RATE_HZ} Hz; prepare with --rate {MODEL_RATE_HZ}",
            work.features().display(),
            dataset.model_rate_hz
        );
    }
    let names: Vec<&str> = dataset.speakers.iter().map(|s| s.name.as_str()).collect();
    let given = speaker_shares(&args.shares, &names)?;
    // The crowd is there for how people speak, not for how a voice does.
    let sung: Vec<bool> = if names.len() > MAX_SPEAKERS && !args.shares.is_empty() {
        given.iter().map(Option::is_some).collect()
    } else {
        Vec::new()
    };
    let crossing = (0..sung.len()).filter(|&s| sung[s]).collect();
    let mut clips = load_clips(dataset, &args.sung_by, &sung)?;
    add_pulled(&mut clips, dataset.encoder.channels, args.pulled);
    let standard = VoiceFitConfig::standard(dataset.encoder.channels, dataset.speakers.len());
    let config = VoiceFitConfig {
        steps: args.steps.unwrap_or(standard.steps),
        batch: args.batch.unwrap_or(standard.batch),
        critics_from: args.critics_from.unwrap_or(standard.critics_from),
        learning_rate: args.learning_rate.unwrap_or(standard.learning_rate),
        save_every: args.save_every.unwrap_or(standard.save_every),
        keep: args.keep,
        seed: args.seed,
        words_weight: args.words,
        crossed_crops: args.crossed,
        crossing,
        speaker_weights: filled(&given),
        encoder_sha256: dataset.encoder.sha256.clone(),
        ..standard
    };
    // What goes on does not begin again: the file of its beginning may be gone.
    let checkpoints = Checkpoints::open(&work.training().join("checkpoints"))?;
    let base = match &args.base {
        Some(path) if checkpoints.newest()?.is_none() => Some(harmonic_base(path, dataset)?),
        _ => None,
    };
    let listener = match &args.recogniser {
        Some(weights) => Listener::Recogniser(weights),
        None => Listener::Encoder(&dataset.encoder_path),
    };
    with_backend!(args.backend, |B, device| fit::<Autodiff<B>>(
        clips,
        &work.training(),
        &config,
        base.as_ref(),
        listener,
        &device
    )
    .map(drop))
}

/// What each of `speakers` is given of the crops; `None` where nothing is said.
fn speaker_shares(given: &[String], speakers: &[&str]) -> Result<Vec<Option<f32>>, WrongArgument> {
    let mut found = vec![None; speakers.len()];
    for (name, share) in shares(given, "SPEAKER")? {
        let Some(index) = speakers.iter().position(|speaker| *speaker == name) else {
            let first: Vec<&str> = speakers.iter().take(MAX_SPEAKERS).copied().collect();
            let more = if speakers.len() > MAX_SPEAKERS {
                ", …"
            } else {
                ""
            };
            let why = format!("--share {name}: there are {}{more}", first.join(", "));
            return Err(WrongArgument(why));
        };
        found[index] = Some(share);
    }
    let sum: f32 = found.iter().flatten().sum();
    if sum > 1.001 || sum <= 0.0 && found.iter().all(Option::is_some) {
        let why = format!("the shares add up to {sum}; expected more than 0 and at most 1");
        return Err(WrongArgument(why));
    }
    Ok(found)
}

/// The share of each speaker: those without one divide what is left equally.
fn filled(shares: &[Option<f32>]) -> Vec<f32> {
    let given: f32 = shares.iter().flatten().sum();
    let others = shares.iter().filter(|share| share.is_none()).count();
    let rest = (1.0 - given).max(0.0) / others.max(1) as f32;
    shares.iter().map(|share| share.unwrap_or(rest)).collect()
}

/// The voice to begin with, and which of its speakers the recordings' are, by name.
fn harmonic_base(path: &Path, dataset: &Dataset) -> Result<VoiceBase> {
    let package = VoicePackage::read(path)?;
    let (family, channels) = (&package.manifest.family, package.manifest.encoder.channels);
    ensure!(
        *family == Family::Harmonic && channels == dataset.encoder.channels,
        "{}: expected a harmonic voice on {} content channels, found family {family:?} on {channels}; leave --base out",
        path.display(),
        dataset.encoder.channels
    );
    let row = |name: &String| {
        let speakers = &package.manifest.speakers;
        speakers.iter().position(|speaker| speaker.name == *name)
    };
    let rows: Vec<Option<usize>> = dataset.speakers.iter().map(|s| row(&s.name)).collect();
    Ok(VoiceBase { package, rows })
}

fn vits(args: &Args, work: &WorkFolder, dataset: &Dataset) -> Result<()> {
    ensure!(
        dataset.speakers.len() <= MAX_SPEAKERS,
        "{}: {} speakers, and a vits voice has at most {MAX_SPEAKERS}; prepare fewer",
        work.features().display(),
        dataset.speakers.len()
    );
    if !(0.0..=12.0).contains(&args.pitch_augmentation) {
        let found = args.pitch_augmentation;
        return Err(
            WrongArgument(format!("--pitch-augmentation is {found}; expected 0 to 12")).into(),
        );
    }
    let shape = VoiceShape {
        content_channels: dataset.encoder.channels,
        speakers: dataset.speakers.len(),
        rate_hz: dataset.model_rate_hz,
        loudness: args.loudness,
        auto_f0: args.auto_f0,
    };
    let network = spec(args.size, shape).map_err(|(what, expected, found)| {
        anyhow!(
            "{}: {what}: expected {expected}, found {found}; prepare again with --rate",
            work.features().display()
        )
    })?;
    // What goes on does not begin again: the files of its beginning may be gone.
    let checkpoints = Checkpoints::open(&work.training().join("checkpoints"))?;
    let base = if checkpoints.newest()?.is_some() {
        Base::default()
    } else {
        Base {
            voice: base(args.base.as_deref())?,
            critics: base(args.base_critics.as_deref())?,
        }
    };
    let clips = load_clips(dataset, &[], &[])?;
    if args.pitch_augmentation == 0.0 {
        advise_pitch(dataset, &clips);
    }
    let standard = VitsFitConfig::standard(args.size, network);
    let config = VitsFitConfig {
        steps: args.steps.unwrap_or(standard.steps),
        batch: args.batch.unwrap_or(standard.batch),
        critics_from: args.critics_from.unwrap_or(standard.critics_from),
        learning_rate: args.learning_rate.unwrap_or(standard.learning_rate),
        save_every: args.save_every.unwrap_or(standard.save_every),
        keep: args.keep,
        pitch_semitones: args.pitch_augmentation,
        encoder_sha256: dataset.encoder.sha256.clone(),
        seed: args.seed,
        ..standard
    };
    let encoder = Encoder::load(&dataset.encoder_path)?;
    with_backend!(args.backend, |B, device| fit_vits::<Autodiff<B>>(
        clips,
        encoder,
        &work.training(),
        &config,
        &base,
        &several(&device, args.devices)
    )
    .map(drop))
}

/// Minutes of a speaker below which pitch is worth varying.
const FEW_MINUTES: f64 = 10.0;

/// Says whose recordings are few.
fn advise_pitch(dataset: &Dataset, clips: &[VoiceClip]) {
    for (index, speaker) in dataset.speakers.iter().enumerate() {
        let own = clips
            .iter()
            .filter(|clip| clip.speaker == index && !clip.held_out);
        let samples: usize = own.map(|clip| clip.audio.len()).sum();
        let minutes = samples as f64 / f64::from(dataset.model_rate_hz) / 60.0;
        if minutes < FEW_MINUTES {
            println!(
                "{}: {minutes:.1} minutes to learn from are few; --pitch-augmentation 1 also plays them up to a semitone higher and lower",
                speaker.name
            );
        }
    }
}

/// `count` devices of the kind of `first`, by number.
fn several<D: DeviceOps>(first: &D, count: u16) -> Vec<D> {
    if count <= 1 {
        return vec![first.clone()];
    }
    let kind = first.id().type_id;
    (0..count)
        .map(|index| D::from_id(DeviceId::new(kind, index)))
        .collect()
}

/// The tensors of a checkpoint to begin with.
fn base(path: Option<&Path>) -> Result<Option<(String, crate::import::StateDict)>> {
    path.map(|path| {
        let name = path.display().to_string();
        Ok((name.clone(), read_state_dict(path).context(name)?))
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::{filled, speaker_shares};

    #[test]
    fn speakers_without_a_share_divide_what_is_left() {
        let shares = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            speaker_shares(&given, &["a", "b", "c", "d"])
        };
        assert_eq!(shares(&["b=0.5"]).unwrap(), [None, Some(0.5), None, None]);
        assert_eq!(filled(&shares(&[]).unwrap()), [0.25; 4]);
        assert_eq!(filled(&shares(&["b=0.25"]).unwrap()), [0.25; 4]);
        assert_eq!(
            filled(&shares(&["a=0.5", "b=0.5"]).unwrap()),
            [0.5, 0.5, 0.0, 0.0]
        );
        for (wrong, why) in [
            ("e=0.5", "there are a, b, c, d"),
            ("a", "expected SPEAKER=SHARE"),
            ("a=-1", "expected SPEAKER=SHARE"),
            ("a=NaN", "expected SPEAKER=SHARE"),
            ("a=2", "add up to 2"),
        ] {
            let error = shares(&[wrong]).unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
        assert!(shares(&["a=0", "b=0", "c=0", "d=0"]).is_err());
    }
}
