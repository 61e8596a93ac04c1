//! `trainer import`: voices of so-vits-svc and RVC, and the content encoders they need, as packages.

mod encoder;
mod look;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use burn::backend::Flex;
use burn::module::Param;
use burn::tensor::{Int, Tensor};
use timbra_voice::manifest::{
    CpuWeights, EncoderSpec, FORMAT_VERSION, Family, GraphSpec, MAX_SPEAKERS, Manifest, Speaker,
    TrainingSummary,
};
use timbra_voice::onnx_precision::{Precision, in_precision};
use timbra_voice::package::{ANY_ENCODER, EncoderPackage, Form, write_voice};

pub use look::{Found, look};

use super::export::{About, about};
use crate::config::WrongArgument;
use crate::import::source::Source;
use crate::import::weights::CheckpointWeights;
use crate::import::{hubert_names, onnx_file, read_state_dict};
use crate::model::vits::export::{F0_HZ, RECEPTIVE_FIELD_FRAMES};
use crate::model::vits::spec::{Prenet, VitsSpec};
use crate::model::vits::voice::VitsVoice;

pub use encoder::Content;
use tables::tables_of;

/// Deviation of the prior's noise in so-vits-svc and in RVC.
const NOISE_SCALE: (f32, f32) = (0.4, 0.666_66);
/// What is said of a speaker nothing is known about: F0 in Hz and loudness in dBFS.
const UNKNOWN_SPEAKER: (f32, f32, f32, f32) = (220.0, 110.0, 440.0, -23.0);

/// Frames a step of a voice makes, and sees of the future.
const VOICE_STEP: (usize, usize) = (2, 2);

/// RVC's `protect` where nobody changes it, and from where on it protects nothing.
const RVC_PROTECT: f32 = 0.33;
const UNPROTECTED: f32 = 0.5;

/// Arguments of `trainer import`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// so-vits-svc G_*.pth, RVC *.pth (or G_*.pth), an .onnx export of either, a HuBERT or ContentVec checkpoint (fairseq or
    /// Hugging Face), or an encoder's package, to be kept in another precision
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// The voice's config.json; of so-vits-svc's G_*.pth the one beside it unless given, else needed only where it is asked for
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Rate of an .onnx export or RVC's G_*.pth, where neither the file nor its hop says it
    #[arg(long = "rate", value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    pub rate_hz: Option<u32>,

    /// The package to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// For an encoder: what it is to give
    #[arg(long = "as", value_name = "CONTENT", value_enum, default_value_t = Content::Vec768l12)]
    pub content: Content,

    /// Name of the voice; the output's name unless given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// so-vits-svc's kmeans_*.pt, for the cluster ratio
    #[arg(long, value_name = "FILE")]
    pub clusters: Option<PathBuf>,

    /// so-vits-svc's feature_and_index.pkl, or RVC's added_*.index or total_fea.npy
    #[arg(long, value_name = "FILE")]
    pub retrieval: Option<PathBuf>,

    /// How much of retrieval's pull consonants and breaths have, 0 to 0.5; from 0.5 on they have all of it [default: 0.33 of an
    /// RVC voice that hears F0, as there; else 0.5]
    #[arg(long, value_name = "SHARE")]
    pub protect: Option<f32>,

    /// The content encoder's package, to be put into the voice; without it the encoder is looked for where it is played
    #[arg(long, value_name = "FILE")]
    pub encoder: Option<PathBuf>,

    /// Speakers to take, by name, where there are more than eight; of an RVC voice by number, e.g. 2, where it was not trained as 0
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub speakers: Vec<String>,

    /// JSON with licence, attribution and the speakers' languages, licences and consent
    #[arg(long, value_name = "FILE")]
    pub about: Option<PathBuf>,

    /// Frames a step makes: more are cheaper and later [default: 2]. Of a voice they only count beside an encoder that makes one
    /// frame at a time; beside others it makes what they make
    #[arg(long, value_name = "N")]
    pub step_frames: Option<usize>,

    /// Frames of the future a step sees: more sound better and are later [default: 2 of a voice, 1 of an encoder]
    #[arg(long, value_name = "L")]
    pub lookahead_frames: Option<usize>,

    /// In what the weights are kept and played: f32 changes nothing and costs CPUs twice as much, f16 and int8 make files smaller
    #[arg(long, value_name = "PRECISION", value_enum, default_value_t = Kept::Int8Played)]
    pub precision: Kept,

    /// For an encoder not in f32: a recording of speech or singing on which its loss is measured
    #[arg(long, value_name = "CLIP")]
    pub measure_on: Option<PathBuf>,

    /// Leave the auto-F0 decoder out: the voice is a tenth cheaper and cannot choose its own melody
    #[arg(long)]
    pub without_auto_f0: bool,
}

impl Args {
    /// Everything but the two files as it is unless given.
    #[must_use]
    pub fn new(checkpoint: PathBuf, output: PathBuf) -> Self {
        Self {
            checkpoint,
            config: None,
            rate_hz: None,
            output,
            content: Content::Vec768l12,
            name: None,
            clusters: None,
            retrieval: None,
            protect: None,
            encoder: None,
            speakers: Vec::new(),
            about: None,
            step_frames: None,
            lookahead_frames: None,
            precision: Kept::Int8Played,
            measure_on: None,
            without_auto_f0: false,
        }
    }
}

/// What of retrieval's pull unvoiced frames have under RVC's `protect`.
fn unvoiced_share(protect: f32) -> f32 {
    if protect >= UNPROTECTED { 1.0 } else { protect }
}

/// In what the weights of a package are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kept {
    /// As they were trained, everywhere
    F32,
    /// Half the file, the same load, 11 significant bits
    F16,
    /// 8 bits: of encoders and of what voices compute frame by frame; the rest stays as it was trained, and CPUs round that
    /// while they play it
    Int8,
    /// The file as it was trained; GPUs play it so, CPUs as int8
    Int8Played,
}

impl Kept {
    fn precision(self) -> Precision {
        match self {
            Self::F32 | Self::Int8Played => Precision::F32,
            Self::F16 => Precision::F16,
            Self::Int8 => Precision::Int8,
        }
    }

    /// What a manifest says of it.
    fn cpu_weights(self) -> Option<CpuWeights> {
        matches!(self, Self::Int8 | Self::Int8Played).then_some(CpuWeights::Int8)
    }
}

/// Runs the verb.
///
/// # Errors
/// The checkpoint is none, does not fit its configuration, or the package cannot be written.
pub fn run(args: &Args) -> Result<()> {
    if args
        .checkpoint
        .extension()
        .is_some_and(|end| end == "timbra")
    {
        return encoder::convert(args);
    }
    if let Some(found) = args
        .protect
        .filter(|share| !(0.0..=UNPROTECTED).contains(share))
    {
        return Err(WrongArgument(format!("--protect is {found}; expected 0 to 0.5")).into());
    }
    let source = Source::open(&args.checkpoint)?;
    if !onnx_file::is_onnx(&source)?
        && let Some(weights) = hubert_names::fairseq(&read_state_dict(&args.checkpoint)?)
    {
        return encoder::import(args, &weights);
    }
    if args.measure_on.is_some() {
        bail!(
            "{}: --measure-on is for content encoders; convert a recording with the voice in both precisions instead",
            args.checkpoint.display()
        );
    }
    let found = look(&args.checkpoint, args.config.as_deref(), args.rate_hz)?;
    let speakers = chosen(&found, &args.speakers)?;
    let device = Default::default();
    let mut voice =
        VitsVoice::<Flex>::load(&mut CheckpointWeights(&found.weights), &found.spec, &device)
            .with_context(|| args.checkpoint.display().to_string())?;
    let rows: Vec<i64> = speakers.iter().map(|(row, _)| *row as i64).collect();
    let rows: Tensor<Flex, 1, Int> = Tensor::from_data(rows.as_slice(), &device);
    voice.speakers = Param::from_tensor(voice.speakers.val().select(0, rows));
    let mut spec = VitsSpec {
        speakers: speakers.len(),
        ..found.spec.clone()
    };
    if args.without_auto_f0 {
        spec.auto_f0 = false;
        voice.auto_f0 = None;
    }

    let mut exported = voice.export_streaming(&spec);
    exported.bytes = in_precision(&exported.bytes, args.precision.precision())
        .with_context(|| args.checkpoint.display().to_string())?;
    exported.spec.cpu_weights = args.precision.cpu_weights();
    let mut files = BTreeMap::from([(exported.spec.file.clone(), exported.bytes.clone())]);
    let encoder = encoder_of(args, &found, &mut files)?;
    let whose = (found.speakers.as_slice(), speakers.as_slice());
    let mut notes = Vec::new();
    let (clusters, retrieval) = (args.clusters.as_deref(), args.retrieval.as_deref());
    let clusters = tables_of(clusters, whose, &spec, &mut notes, tables::centres)?;
    let retrieval = tables_of(retrieval, whose, &spec, &mut notes, tables::vectors)?;
    let mut add = |name: &str, bytes: Option<Vec<u8>>| {
        bytes.map(|bytes| {
            files.insert(name.to_owned(), bytes);
            name.to_owned()
        })
    };
    let clusters = add("clusters.safetensors", clusters);
    let retrieval = add("retrieval.safetensors", retrieval);

    let step = exported.step(
        &spec,
        args.step_frames.unwrap_or(VOICE_STEP.0),
        args.lookahead_frames.unwrap_or(VOICE_STEP.1),
        match spec.prenet {
            Prenet::SoVits => NOISE_SCALE.0,
            Prenet::Rvc => NOISE_SCALE.1,
        },
    );
    let said = about(args.about.as_deref())?;
    let hears_f0 = found.spec.decoder.overtones.is_some();
    let usual = match found.spec.prenet {
        Prenet::Rvc if hears_f0 => RVC_PROTECT,
        _ => UNPROTECTED,
    };
    let stem = args
        .output
        .file_stem()
        .map_or_else(|| "voice".to_owned(), |s| s.to_string_lossy().into_owned());
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        name: args.name.clone().unwrap_or(stem),
        family: Family::Vits,
        speakers: speakers
            .iter()
            .map(|(_, name)| unknown_speaker(name, &said))
            .collect(),
        licence: said.licence.clone(),
        attribution: said.attribution.clone(),
        model_rate_hz: spec.rate_hz,
        hop_samples: spec.rate_hz as usize / 100,
        delay_samples: step.lag_samples(),
        receptive_field_frames: RECEPTIVE_FIELD_FRAMES,
        follows_level: false,
        f0_min_hz: F0_HZ.0,
        f0_max_hz: F0_HZ.1,
        encoder,
        synthesis: exported.spec,
        step: Some(step),
        clusters,
        retrieval,
        retrieval_ratio: 0.0,
        retrieval_unvoiced: unvoiced_share(args.protect.unwrap_or(usual)),
        files: BTreeMap::new(),
        training: TrainingSummary {
            trainer: format!(
                "{}, imported by trainer {}",
                found.kind,
                env!("CARGO_PKG_VERSION")
            ),
            notes: found.training.clone(),
            ..TrainingSummary::default()
        },
        certificate: None,
    };
    let identity = write_voice(&args.output, &manifest, &files, Form::File)?;
    println!(
        "{}: {}, {}, identity {}",
        args.output.display(),
        found.kind,
        speakers
            .iter()
            .map(|(_, name)| name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        &identity[..12]
    );
    for note in &notes {
        println!("  {note}");
    }
    if args.encoder.is_none() {
        println!(
            "  it needs the content encoder {} ({} channels) in an `encoders` folder beside it, or import it with --encoder",
            found.encoder, spec.content_channels
        );
    }
    if args.precision.cpu_weights().is_none() {
        println!(
            "  without a GPU it costs twice as much to play as with --precision int8-played, and so does an encoder that is kept so"
        );
    }
    Ok(())
}

/// The speakers to take, at most as many as can be mixed.
fn chosen(found: &Found, wanted: &[String]) -> Result<Vec<(usize, String)>> {
    let all = &found.speakers;
    let names = || {
        all.iter()
            .map(|(_, name)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if wanted.is_empty() {
        if all.len() > MAX_SPEAKERS {
            bail!(
                "the voice has {} speakers and {MAX_SPEAKERS} can be mixed; choose with --speakers from: {}",
                all.len(),
                names()
            );
        }
        return Ok(all.clone());
    }
    if wanted.len() > MAX_SPEAKERS {
        bail!(
            "--speakers names {}, and {MAX_SPEAKERS} can be mixed",
            wanted.len()
        );
    }
    wanted
        .iter()
        .map(|name| {
            all.iter()
                .find(|(_, known)| known == name)
                .cloned()
                .or_else(|| numbered(found, name))
                .ok_or_else(|| anyhow!("no speaker \"{name}\"; there are: {}", names()))
        })
        .collect()
}

/// A row of the table of an RVC voice, which does not name its speakers: `speaker-2`, or `2`.
fn numbered(found: &Found, name: &str) -> Option<(usize, String)> {
    let row: usize = name.strip_prefix("speaker-").unwrap_or(name).parse().ok()?;
    let there = found.spec.prenet == Prenet::Rvc && row < found.spec.speakers;
    there.then(|| (row, format!("speaker-{row}")))
}

/// The encoder the manifest names; its graph goes into `files` when it was given.
fn encoder_of(
    args: &Args,
    found: &Found,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<EncoderSpec> {
    let Some(path) = &args.encoder else {
        return Ok(EncoderSpec {
            id: found.encoder.clone(),
            sha256: ANY_ENCODER.to_owned(),
            rate_hz: 16_000,
            hop_samples: 160,
            channels: found.spec.content_channels,
            lookahead_samples: 0,
            step: None,
            graph: GraphSpec {
                file: "content.onnx".to_owned(),
                inputs: vec!["audio".to_owned()],
                outputs: vec!["content".to_owned()],
                states: Vec::new(),
                cpu_weights: None,
            },
        });
    };
    let package = EncoderPackage::read(path)?;
    let spec = package.manifest.encoder.clone();
    if spec.channels != found.spec.content_channels {
        bail!(
            "{}: gives {} channels, and the voice was trained with {} of {}; give that encoder",
            path.display(),
            spec.channels,
            found.spec.content_channels,
            found.encoder
        );
    }
    if found.names_encoder && spec.id != found.encoder {
        bail!(
            "{}: is the encoder {}, and the voice was trained with {}; give that one, or leave --encoder out and put it beside the voice",
            path.display(),
            spec.id,
            found.encoder
        );
    }
    files.insert(spec.graph.file.clone(), package.graph().to_vec());
    Ok(spec)
}

fn unknown_speaker(name: &str, said: &About) -> Speaker {
    let (median, low, high, loudness) = UNKNOWN_SPEAKER;
    let about = said.speakers.get(name).cloned().unwrap_or_default();
    let or = |text: String, otherwise: &str| {
        if text.is_empty() {
            otherwise.to_owned()
        } else {
            text
        }
    };
    Speaker {
        name: name.to_owned(),
        languages: about.languages,
        licence: or(about.licence, "LicenseRef-unknown"),
        attribution: about.attribution,
        consent: or(about.consent, "not stated"),
        f0_median_hz: median,
        f0_low_hz: low,
        f0_high_hz: high,
        loudness_median_db: loudness,
        articulation: 0.0,
    }
}
