//! What a voice's file is, before anything is made of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use crate::import::derived::{Extents, derive};
use crate::import::source::Source;
use crate::import::{
    OnnxFile, Settings, StateDict, TorchFile, onnx_file, onnx_weights, rvc_config, sovits_config,
    state_dict,
};
use crate::model::vits::spec::{Prenet, VitsSpec};

/// A voice that is understood.
#[derive(Debug)]
pub struct Found {
    /// What it is, in words.
    pub kind: String,
    /// The network.
    pub spec: VitsSpec,
    /// Names of the speakers by row.
    pub speakers: Vec<(usize, String)>,
    /// The content encoder it wants, as its community calls it.
    pub encoder: String,
    /// Whether the voice's own files name that encoder; else it is the usual one of its width.
    pub names_encoder: bool,
    /// What it says of its training.
    pub training: String,
    /// Its tensors.
    pub weights: StateDict,
}

/// Looks at a checkpoint or an ONNX export. `rate_hz` is for those that do not say their rate.
///
/// # Errors
/// It is none that is known, or damaged.
pub fn look(checkpoint: &Path, config: Option<&Path>, rate_hz: Option<u32>) -> Result<Found> {
    let source = Source::open(checkpoint)?;
    if onnx_file::is_onnx(&source)? {
        return exported(checkpoint, &OnnxFile::read(&source)?, config, rate_hz);
    }
    let file = TorchFile::read(&source)?;
    let weights = state_dict(&file)?;
    if !rvc_config::is_rvc(&file) && weights.contains_key("enc_p.emb_phone.weight") {
        return in_training(checkpoint, &file, weights, config, rate_hz);
    }
    let found = if rvc_config::is_rvc(&file) {
        rvc(checkpoint, &file, weights)?
    } else {
        sovits(checkpoint, &file, weights, config)?
    };
    if let Some(rate_hz) = rate_hz.filter(|&rate_hz| rate_hz != found.spec.rate_hz) {
        bail!(
            "{}: --rate is {rate_hz}, and the voice says that it was trained at {} Hz; leave --rate away",
            checkpoint.display(),
            found.spec.rate_hz
        );
    }
    Ok(found)
}

/// RVC's small file: `weight` and `config`.
fn rvc(checkpoint: &Path, file: &TorchFile, weights: StateDict) -> Result<Found> {
    let config = rvc_config::read(checkpoint, file, &weights)?;
    Ok(Found {
        kind: rvc_kind(&config.version, &config.spec),
        speakers: vec![(0, stem(checkpoint))],
        encoder: encoder_of(&config.spec),
        names_encoder: false,
        training: config.info,
        spec: config.spec,
        weights,
    })
}

/// so-vits-svc's `G_*.pth` with its `config.json`.
fn sovits(
    checkpoint: &Path,
    file: &TorchFile,
    weights: StateDict,
    config: Option<&Path>,
) -> Result<Found> {
    if !weights.contains_key("enc_p.f0_emb.weight") {
        bail!(
            "{}: the tensor \"enc_p.f0_emb.weight\": expected the generator of a so-vits-svc 4.0 or 4.1 voice (G_*.pth) or an RVC \
             voice (config and weight, or G_*.pth), found {} other tensors{}; discriminators (D_*.pth) are not voices: choose the \
             G_*.pth of the same step",
            checkpoint.display(),
            weights.len(),
            weights
                .keys()
                .next()
                .map_or_else(String::new, |name| format!(", the first \"{name}\""))
        );
    }
    let beside = checkpoint.with_file_name("config.json");
    let config = sovits_config::read(config.unwrap_or(&beside))?;
    let named = config
        .speakers
        .iter()
        .cloned()
        .enumerate()
        .filter(|(number, name)| *name != format!("speaker-{number}"));
    let mut speakers: Vec<_> = named.collect();
    if speakers.is_empty() {
        speakers = config.speakers.iter().cloned().enumerate().collect();
    }
    Ok(Found {
        kind: "so-vits-svc 4".to_owned(),
        speakers,
        names_encoder: config.names_encoder,
        encoder: config.encoder,
        training: epoch(file),
        spec: config.spec,
        weights,
    })
}

/// RVC's `G_*.pth`: `model`, `iteration`, `optimizer` and `learning_rate`.
fn in_training(
    checkpoint: &Path,
    file: &TorchFile,
    weights: StateDict,
    config: Option<&Path>,
    rate_hz: Option<u32>,
) -> Result<Found> {
    let settings = config.map(Settings::read).transpose()?.unwrap_or_default();
    let nothing = BTreeMap::new();
    let extents = Extents {
        strides: &nothing,
        dilations: &nothing,
    };
    let spec = derive(checkpoint, &weights, extents, &settings, rate_hz)?;
    settings.check(&spec)?;
    Ok(Found {
        kind: format!("{}, training checkpoint", rvc_kind(version(&spec), &spec)),
        // Its table has a row for each of 109 speakers, of which training used the first.
        speakers: vec![(0, stem(checkpoint))],
        encoder: encoder_of(&spec),
        names_encoder: false,
        training: epoch(file),
        spec,
        weights,
    })
}

/// An ONNX export: its weights are read, its graph is not run.
fn exported(
    checkpoint: &Path,
    file: &OnnxFile,
    config: Option<&Path>,
    rate_hz: Option<u32>,
) -> Result<Found> {
    let found = onnx_weights::weights(file)?;
    let settings = match config {
        Some(config) => Settings::read(config)?,
        None => noted(file),
    };
    let extents = Extents {
        strides: &found.strides,
        dilations: &found.dilations,
    };
    let spec = derive(checkpoint, &found.weights, extents, &settings, rate_hz)?;
    settings.check(&spec)?;
    let mut speakers = settings.speakers.clone();
    speakers.retain(|(row, _)| *row < spec.speakers);
    let kind = match spec.prenet {
        Prenet::Rvc => rvc_kind(version(&spec), &spec),
        Prenet::SoVits => "so-vits-svc 4".to_owned(),
    };
    if speakers.is_empty() {
        speakers = match spec.prenet {
            // As of its other files.
            Prenet::Rvc => vec![(0, stem(checkpoint))],
            Prenet::SoVits => (0..spec.speakers)
                .map(|row| (row, format!("speaker-{row}")))
                .collect(),
        };
    }
    Ok(Found {
        kind: format!("{kind}, ONNX export"),
        speakers,
        names_encoder: settings.encoder.is_some(),
        encoder: settings.encoder.unwrap_or_else(|| encoder_of(&spec)),
        training: match file.producer.as_str() {
            "" => String::new(),
            producer => format!("exported by {producer}"),
        },
        spec,
        weights: found.weights,
    })
}

/// What an ONNX export says of itself: by key, or as JSON under one.
fn noted(file: &OnnxFile) -> Settings {
    let mut notes = serde_json::Map::new();
    for (key, value) in &file.notes {
        match serde_json::from_str(value) {
            Ok(serde_json::Value::Object(inner)) => notes.extend(inner),
            Ok(value) => {
                notes.insert(key.clone(), value);
            }
            Err(_) => {}
        }
    }
    // Notes are not promised to be about this; what can not be is as if it were not there.
    Settings::of(&serde_json::Value::Object(notes)).unwrap_or_default()
}

fn stem(checkpoint: &Path) -> String {
    checkpoint.file_stem().map_or_else(
        || "speaker".to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

fn version(spec: &VitsSpec) -> &'static str {
    match spec.content_channels {
        256 => "v1",
        _ => "v2",
    }
}

fn rvc_kind(version: &str, spec: &VitsSpec) -> String {
    let f0 = if spec.decoder.overtones.is_some() {
        "with F0"
    } else {
        "without F0"
    };
    format!("RVC {version}, {f0}")
}

fn encoder_of(spec: &VitsSpec) -> String {
    match (spec.prenet, spec.content_channels) {
        (Prenet::Rvc, 256) => "vec256l9",
        (Prenet::SoVits, channels) if channels != 768 => "vec256l9",
        _ => "vec768l12",
    }
    .to_owned()
}

fn epoch(file: &TorchFile) -> String {
    let steps = file
        .root()
        .get("iteration")
        .and_then(|value| value.as_int());
    steps.map_or_else(String::new, |steps| format!("epoch {steps}"))
}
