//! `trainer export`: writes the voice package of a training.

mod vits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use burn::backend::Flex;
use serde::{Deserialize, Serialize};
use timbra_voice::manifest::{
    CpuWeights, FORMAT_VERSION, Family, GraphSpec, MAX_SPEAKERS, Manifest, Speaker, StepSpec,
    TrainingSummary,
};
use timbra_voice::package::{EncoderPackage, Form, write_voice};
use timbra_voice::tables;

use crate::config::{WorkFolder, WrongArgument};
use crate::data::dataset::{Dataset, SpeakerSummary};
use crate::data::tables::table_bytes;
use crate::harmonic::fit::load;
use crate::model::harmonic::MODEL_RATE_HZ;
use crate::model::harmonic_graph::{Finish, MOST_LEAD_SAMPLES};
use crate::training::checkpoint::Checkpoints;
use crate::training::mixture::same_encoder;

pub(super) use vits::is_vits;

/// Lowest F0 a harmonic voice is asked to sing.
const F0_MIN_HZ: f32 = 40.0;
/// How far the content of a harmonic voice is pulled to retrieved frames, unless given: words are clearer and the speaker is nearer
/// than without; further away words are lost.
const RETRIEVAL_RATIO: f32 = 0.3;
/// How much of the input's articulation a harmonic voice keeps unless told otherwise.
const ARTICULATION: f32 = 0.3;
/// Highest F0 a harmonic voice accepts: above, too few harmonics are left to shape.
const F0_MAX_HZ: f32 = 2000.0;

/// Arguments of `trainer export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The work folder of the training
    #[arg(long, value_name = "FOLDER")]
    pub work: PathBuf,

    /// The voice package to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Name of the voice; the file's name unless given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// JSON with licence, attribution and the speakers' languages, licences and consent
    #[arg(long, value_name = "FILE")]
    pub about: Option<PathBuf>,

    /// harmonic: the speakers to take, by commas; all of them unless given. A voice mixes at most 8
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub speakers: Vec<String>,

    /// Leave the content encoder out: smaller, but it must be installed where the voice is played
    #[arg(long)]
    pub no_encoder: bool,

    /// The checkpoint to take; harmonic: the newest, vits: the best, unless given
    #[arg(long, value_name = "FOLDER")]
    pub checkpoint: Option<PathBuf>,

    /// vits: frames a step makes beside an encoder that makes one at a time, as ours do: more are cheaper and later
    #[arg(long, value_name = "N", default_value_t = vits::STEP.0)]
    pub step_frames: usize,

    /// vits: frames of the future a step sees: more sound better and are later
    #[arg(long, value_name = "L", default_value_t = vits::STEP.1)]
    pub lookahead_frames: usize,

    /// harmonic: lift of the voice above 10 kHz, -12 to 12: a producer's taste, not the singer's
    #[arg(
        long,
        value_name = "DB",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub air: f32,

    /// Play it on a CPU with the weights as they were trained, which costs about 1.7 times as much; a GPU always does
    #[arg(long)]
    pub whole_weights: bool,

    /// How far content is pulled to retrieved frames of the speaker where no control asks for it, 0 to 1; harmonic: 0.3 unless given,
    /// vits: 0. Needs the table that `trainer index` makes
    #[arg(long, value_name = "RATIO")]
    pub retrieval_ratio: Option<f32>,

    /// How much of the input's articulation is kept where no control says otherwise, 0 to 1: more words are understood, and the
    /// speakers are a little further away; harmonic: 0.3 unless given, vits: 0. `trainer adjust` changes it later, for one speaker too
    #[arg(long, value_name = "SHARE")]
    pub articulation: Option<f32>,

    /// harmonic: by how much the lowest harmonics come before the highest, 0 to 4: lower peaks and a more natural voice, later
    /// by as much
    #[arg(long, value_name = "MS", default_value_t = 2.0)]
    pub lead: f32,
}

/// What only a person can say about a voice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// SPDX licence expression of the package.
    pub licence: String,
    /// Who must be named.
    #[serde(default)]
    pub attribution: Vec<String>,
    /// By speaker name.
    #[serde(default)]
    pub speakers: BTreeMap<String, AboutSpeaker>,
}

/// What only a person can say about a speaker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AboutSpeaker {
    /// BCP 47 tags.
    #[serde(default)]
    pub languages: Vec<String>,
    /// SPDX licence of the recordings.
    pub licence: String,
    /// Who must be named.
    #[serde(default)]
    pub attribution: String,
    /// Why the voice may be used.
    #[serde(default)]
    pub consent: String,
}

/// Runs the verb.
///
/// # Errors
/// There is no training, or the package cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let work = WorkFolder::new(&args.work);
    let dataset = Dataset::load(&work.features())?;
    let checkpoints = Checkpoints::open(&work.training().join("checkpoints"))?;
    let newest = checkpoints.newest()?;
    let Some(folder) = args.checkpoint.clone().or(newest) else {
        bail!(
            "{}: there is no training yet; run `trainer train` first",
            work.training().display()
        );
    };
    let about = about(args.about.as_deref())?;
    let taken = taken(&args.speakers, &dataset.speakers)?;
    let mut made = if is_vits(&folder)? {
        if !args.speakers.is_empty() {
            let why = "--speakers is for harmonic voices; leave it out";
            return Err(WrongArgument(why.to_owned()).into());
        }
        let Some(folder) = args.checkpoint.clone().or(checkpoints.best()) else {
            bail!(
                "{}: there is no best checkpoint yet; train on, or name one with --checkpoint",
                work.training().display()
            );
        };
        vits::make(args, &folder, &dataset.encoder.sha256)?
    } else {
        harmonic(args, &folder, &taken, &dataset.encoder.sha256)?
    };
    made.synthesis.cpu_weights = (!args.whole_weights).then_some(CpuWeights::Int8);
    let mut files = BTreeMap::from([(made.synthesis.file.clone(), made.graph)]);
    let encoder = EncoderPackage::read(&dataset.encoder_path)?;
    if encoder.manifest.encoder.sha256 != dataset.encoder.sha256 {
        bail!(
            "{}: is not the encoder the clips were prepared with; prepare again",
            dataset.encoder_path.display()
        );
    }
    if !args.no_encoder {
        files.insert(dataset.encoder.graph.file.clone(), encoder.graph().to_vec());
    }
    let table = |path: &Path,
                 name: &str,
                 files: &mut BTreeMap<String, Vec<u8>>|
     -> Result<Option<String>> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let bytes = tables_of(&bytes, path, &dataset, &taken)?;
        files.insert(name.to_owned(), bytes);
        Ok(Some(name.to_owned()))
    };
    let clusters = table(&work.clusters(), "clusters.safetensors", &mut files)?;
    let retrieval = table(&work.retrieval(), "retrieval.safetensors", &mut files)?;
    let retrieval_ratio = match (args.retrieval_ratio, made.family, &retrieval) {
        (Some(ratio), ..) => ratio,
        (None, Family::Harmonic, Some(_)) => RETRIEVAL_RATIO,
        _ => 0.0,
    };
    let articulation = match (args.articulation, made.family) {
        (Some(share), _) => share,
        (None, Family::Harmonic) => ARTICULATION,
        _ => 0.0,
    };
    let stem = args
        .output
        .file_stem()
        .map_or_else(|| "voice".to_owned(), |s| s.to_string_lossy().into_owned());
    if made.speakers != dataset.speakers.len() {
        bail!(
            "{}: has {} speakers, and the clips of {} have {}; they do not belong together",
            folder.display(),
            made.speakers,
            work.features().display(),
            dataset.speakers.len()
        );
    }
    let steps = made.training.steps;
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        name: args.name.clone().unwrap_or(stem),
        family: made.family,
        speakers: taken
            .iter()
            .map(|&row| speaker(&dataset.speakers[row], &about, articulation))
            .collect(),
        licence: about.licence.clone(),
        attribution: about.attribution.clone(),
        model_rate_hz: made.model_rate_hz,
        hop_samples: made.model_rate_hz as usize / 100,
        delay_samples: made.delay_samples,
        receptive_field_frames: made.receptive_field_frames,
        follows_level: made.follows_level,
        f0_min_hz: made.f0_hz.0,
        f0_max_hz: made.f0_hz.1,
        encoder: dataset.encoder.clone(),
        synthesis: made.synthesis,
        step: made.step,
        clusters,
        retrieval_ratio,
        retrieval_unvoiced: 1.0,
        retrieval,
        files: BTreeMap::new(),
        training: made.training,
        certificate: None,
    };
    let identity = write_voice(&args.output, &manifest, &files, Form::File)?;
    println!(
        "{}: {} speakers, {steps} steps, identity {}",
        args.output.display(),
        manifest.speakers.len(),
        &identity[..12]
    );
    Ok(())
}

/// Rows of the speakers that go into the package: those called `wanted`, or all.
fn taken(wanted: &[String], speakers: &[SpeakerSummary]) -> Result<Vec<usize>> {
    let wrong = |why: String| anyhow!(WrongArgument(why));
    let mut rows = Vec::new();
    for name in wanted {
        let row = speakers
            .iter()
            .position(|speaker| speaker.name == *name)
            .ok_or_else(|| wrong(format!("--speakers: there is no speaker «{name}»")))?;
        if rows.contains(&row) {
            return Err(wrong(format!("--speakers: «{name}» is there twice")));
        }
        rows.push(row);
    }
    if wanted.is_empty() {
        rows = (0..speakers.len()).collect();
    }
    if rows.len() > MAX_SPEAKERS {
        return Err(wrong(format!(
            "{} speakers, and a voice mixes at most {MAX_SPEAKERS}; choose with --speakers",
            rows.len()
        )));
    }
    Ok(rows)
}

/// The tables in `bytes` of the speakers in rows `taken`.
fn tables_of(bytes: &[u8], path: &Path, dataset: &Dataset, taken: &[usize]) -> Result<Vec<u8>> {
    let names: Vec<&str> = dataset.speakers.iter().map(|s| s.name.as_str()).collect();
    let file = path.display().to_string();
    let all = tables::read(&file, bytes, &names, dataset.encoder.channels)?;
    let kept = taken
        .iter()
        .filter_map(|&row| Some((names[row].to_owned(), all.tables[row].clone()?)));
    table_bytes(&kept.collect())
}

/// What a family puts into a package.
struct Made {
    family: Family,
    graph: Vec<u8>,
    synthesis: GraphSpec,
    speakers: usize,
    model_rate_hz: u32,
    delay_samples: usize,
    receptive_field_frames: usize,
    follows_level: bool,
    f0_hz: (f32, f32),
    step: Option<StepSpec>,
    training: TrainingSummary,
}

fn harmonic(args: &Args, folder: &Path, taken: &[usize], encoder_sha256: &str) -> Result<Made> {
    if !(-12.0..=12.0).contains(&args.air) {
        return Err(WrongArgument(format!("--air is {}; expected -12 to 12", args.air)).into());
    }
    let lead_samples = (args.lead * 1e-3 * MODEL_RATE_HZ as f32).round();
    if !(0.0..=MOST_LEAD_SAMPLES as f32).contains(&lead_samples) {
        return Err(WrongArgument(format!("--lead is {}; expected 0 to 4", args.lead)).into());
    }
    let finish = Finish {
        air_db: args.air,
        lead_samples: lead_samples as usize,
    };
    let (mut model, position) = load::<Flex>(folder, &Default::default())?;
    same_encoder(folder, &position.config.encoder_sha256, encoder_sha256)?;
    let speakers = position.config.network.speakers;
    if taken.iter().all(|&row| row < speakers) {
        model.keep_speakers(taken);
    }
    let (graph, synthesis) = model.export(finish);
    Ok(Made {
        family: Family::Harmonic,
        graph,
        synthesis,
        speakers,
        model_rate_hz: MODEL_RATE_HZ as u32,
        delay_samples: finish.lead_samples,
        receptive_field_frames: model.receptive_field_frames(),
        // The network shapes a spectrum; its level is the loudness.
        follows_level: true,
        f0_hz: (F0_MIN_HZ, F0_MAX_HZ),
        step: None,
        training: TrainingSummary {
            trainer: format!("trainer {}", env!("CARGO_PKG_VERSION")),
            steps: position.step,
            minutes: position.minutes,
            hours: position.seconds / 3600.0,
            backend: position.backend.clone(),
            held_out_loss: position.held_out,
            notes: format!(
                "{}held-out loss: mean log spectral distance in nepers; air {:+} dB, lead {} ms",
                if position.notes.is_empty() {
                    String::new()
                } else {
                    format!("{}; ", position.notes)
                },
                args.air,
                args.lead
            ),
        },
    })
}

pub(super) fn about(path: Option<&Path>) -> Result<About> {
    let Some(path) = path else {
        return Ok(About {
            licence: "LicenseRef-unknown".to_owned(),
            ..About::default()
        });
    };
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| {
        format!(
            "{}: expected licence, attribution and speakers",
            path.display()
        )
    })
}

fn speaker(summary: &SpeakerSummary, about: &About, articulation: f32) -> Speaker {
    let said = about
        .speakers
        .get(&summary.name)
        .cloned()
        .unwrap_or_else(|| AboutSpeaker {
            licence: "LicenseRef-unknown".to_owned(),
            consent: "not stated".to_owned(),
            ..AboutSpeaker::default()
        });
    Speaker {
        name: summary.name.clone(),
        languages: said.languages,
        licence: said.licence,
        attribution: said.attribution,
        consent: said.consent,
        f0_median_hz: summary.f0_median_hz,
        f0_low_hz: summary.f0_low_hz,
        f0_high_hz: summary.f0_high_hz,
        loudness_median_db: summary.loudness_median_db,
        articulation,
    }
}
