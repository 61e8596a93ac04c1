//! `config.json` of so-vits-svc 4.0 and 4.1.
//!
//! What 4.0 does not say has its 4.0 meaning: content of 256 channels, no loudness, a flow of gated convolutions. Which
//! convolutions `use_depthwise_conv` splits has changed between versions, so the names of the tensors say it ([`super::split`]).
//!
//! `unit_interpolate_mode` is not read. so-vits-svc brings content of 50 frames a second to the voice's frames with it: `left`
//! and `nearest` hold each frame of 20 ms to its end (their results are the same but for rounding), other modes pass from one
//! to the next. The engine holds them for every voice (`engine/src/synthesis/steps.rs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::vits::eval::COARSE_ROWS;
use crate::model::vits::spec::PUBLISHED_POSTERIOR_LAYERS;
use crate::model::vits::spec::{
    Activation, Coupling, DecoderSpec, FlowSpec, Prenet, ResidualKind, VitsSpec,
};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can not be read.
    #[error("cannot read {}: {source}; {GIVE_CONFIG}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not what is expected.
    #[error("{}: {what}: expected {expected}, found {found}; {remedy}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which entry.
        what: String,
        /// What is expected there.
        expected: String,
        /// What is there.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// What to do about a configuration that is a file by itself.
pub(super) const GIVE_CONFIG: &str = "give the config.json that was used in training";

#[derive(Debug, Deserialize)]
struct File {
    data: Data,
    model: Model,
    #[serde(default)]
    spk: BTreeMap<String, usize>,
}

#[derive(Debug, Deserialize)]
struct Data {
    sampling_rate: u32,
    filter_length: usize,
    hop_length: usize,
}

#[derive(Debug, Deserialize)]
struct Model {
    inter_channels: usize,
    hidden_channels: usize,
    filter_channels: usize,
    n_heads: usize,
    n_layers: usize,
    kernel_size: usize,
    resblock: String,
    resblock_kernel_sizes: Vec<usize>,
    resblock_dilation_sizes: Vec<Vec<usize>>,
    upsample_rates: Vec<usize>,
    upsample_initial_channel: usize,
    upsample_kernel_sizes: Vec<usize>,
    gin_channels: usize,
    #[serde(default)]
    ssl_dim: Option<usize>,
    n_speakers: usize,
    #[serde(default)]
    vocoder_name: Option<String>,
    #[serde(default)]
    speech_encoder: Option<String>,
    #[serde(default)]
    vol_embedding: bool,
    #[serde(default)]
    n_flow_layer: Option<usize>,
    #[serde(default)]
    n_layers_trans_flow: Option<usize>,
    #[serde(default)]
    flow_share_parameter: bool,
    #[serde(default)]
    use_automatic_f0_prediction: Option<bool>,
    #[serde(default)]
    use_transformer_flow: bool,
}

/// A configuration, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct SovitsConfig {
    /// The network.
    pub spec: VitsSpec,
    /// Names of the speakers by their number; numbers without a name are called `speaker-N`.
    pub speakers: Vec<String>,
    /// The content encoder the voice was trained with, as so-vits-svc names it.
    pub encoder: String,
    /// Whether it says so; else it is the usual one of its width.
    pub names_encoder: bool,
}

/// Most channels of any layer that are believed.
const MOST_CHANNELS: usize = 16_384;
/// Most layers, speakers and the like that are believed.
const MOST: usize = 4_096;

/// Reads a configuration.
///
/// # Errors
/// It is not there, is not JSON, lacks an entry, or has one that can not be.
pub fn read(path: &Path) -> Result<SovitsConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<SovitsConfig, ConfigError> {
    let refuse = |what: &str, expected: String, found: String| ConfigError::Content {
        path: path.to_path_buf(),
        what: what.to_owned(),
        expected,
        found,
        remedy: GIVE_CONFIG,
    };
    let file: File = serde_json::from_str(text).map_err(|error| {
        refuse(
            "the whole file",
            "the configuration of a so-vits-svc 4.0 or 4.1 voice".to_owned(),
            error.to_string(),
        )
    })?;
    let (data, model) = (file.data, file.model);
    let believed = [
        ("model.inter_channels", model.inter_channels, MOST_CHANNELS),
        (
            "model.hidden_channels",
            model.hidden_channels,
            MOST_CHANNELS,
        ),
        (
            "model.filter_channels",
            model.filter_channels,
            MOST_CHANNELS,
        ),
        ("model.gin_channels", model.gin_channels, MOST_CHANNELS),
        (
            "model.upsample_initial_channel",
            model.upsample_initial_channel,
            MOST_CHANNELS,
        ),
        ("model.n_heads", model.n_heads, 64),
        ("model.n_layers", model.n_layers, 64),
        ("model.kernel_size", model.kernel_size, 63),
        ("model.n_speakers", model.n_speakers, MOST),
        ("model.ssl_dim", model.ssl_dim.unwrap_or(256), MOST_CHANNELS),
        ("model.n_flow_layer", model.n_flow_layer.unwrap_or(4), 64),
        (
            "model.n_layers_trans_flow",
            model.n_layers_trans_flow.unwrap_or(3),
            64,
        ),
        ("data.filter_length", data.filter_length, 65_536),
        ("data.hop_length", data.hop_length, 65_536),
    ];
    for (what, value, most) in believed {
        if value == 0 || value > most {
            return Err(refuse(what, format!("1 to {most}"), value.to_string()));
        }
    }
    let decoder =
        decoder(&model).map_err(|(what, expected, found)| refuse(what, expected, found))?;
    let coupling = if model.use_transformer_flow {
        Coupling::Transformer
    } else {
        Coupling::Wavenet
    };
    let flow_layers = model.n_flow_layer.unwrap_or(4);
    let flow = FlowSpec {
        coupling,
        couplings: match coupling {
            Coupling::Wavenet => 4,
            Coupling::Transformer => flow_layers,
        },
        layers: match coupling {
            Coupling::Wavenet => flow_layers,
            Coupling::Transformer => model.n_layers_trans_flow.unwrap_or(3),
        },
        kernel: 5,
        shared: model.flow_share_parameter,
    };
    let mut speakers: Vec<String> = (0..model.n_speakers)
        .map(|number| format!("speaker-{number}"))
        .collect();
    for (name, number) in file.spk {
        let Some(place) = speakers.get_mut(number) else {
            return Err(refuse(
                "spk",
                format!("numbers below n_speakers = {}", model.n_speakers),
                format!("{name}: {number}"),
            ));
        };
        *place = name;
    }
    let content_channels = model.ssl_dim.unwrap_or(256);
    let spec = VitsSpec {
        prenet: Prenet::SoVits,
        content_channels,
        inter_channels: model.inter_channels,
        hidden_channels: model.hidden_channels,
        filter_channels: model.filter_channels,
        heads: model.n_heads,
        layers: model.n_layers,
        kernel: model.kernel_size,
        attention_window: 4,
        flow,
        decoder,
        speakers: model.n_speakers,
        speaker_channels: model.gin_channels,
        loudness: model.vol_embedding,
        auto_f0: model.use_automatic_f0_prediction.unwrap_or(true),
        // Only 4.1 says which encoder it was trained with.
        continuous_f0: true,
        row_above: match model.speech_encoder {
            Some(_) => 0,
            None => COARSE_ROWS - 1,
        },
        spectrum_bins: data.filter_length / 2 + 1,
        posterior_layers: PUBLISHED_POSTERIOR_LAYERS,
        rate_hz: data.sampling_rate,
    };
    spec.check()
        .map_err(|(what, expected, found)| refuse(&what, expected, found))?;
    if spec.hop_samples() != data.hop_length {
        return Err(refuse(
            "model.upsample_rates",
            format!("a product of data.hop_length = {}", data.hop_length),
            spec.hop_samples().to_string(),
        ));
    }
    Ok(SovitsConfig {
        spec,
        speakers,
        names_encoder: model.speech_encoder.is_some(),
        encoder: model
            .speech_encoder
            .unwrap_or_else(|| match content_channels {
                768 => "vec768l12".to_owned(),
                _ => "vec256l9".to_owned(),
            }),
    })
}

type Refusal = (&'static str, String, String);

fn decoder(model: &Model) -> Result<DecoderSpec, Refusal> {
    let activation = match model.vocoder_name.as_deref() {
        None | Some("nsf-hifigan") => Activation::Leaky,
        Some("nsf-snake-hifigan") => Activation::Snake,
        Some(other) => {
            return Err((
                "model.vocoder_name",
                "nsf-hifigan or nsf-snake-hifigan".to_owned(),
                other.to_owned(),
            ));
        }
    };
    let residual = match model.resblock.as_str() {
        "1" => ResidualKind::Paired,
        "2" => ResidualKind::Single,
        other => {
            return Err(("model.resblock", "1 or 2".to_owned(), other.to_owned()));
        }
    };
    Ok(DecoderSpec {
        initial_channels: model.upsample_initial_channel,
        rates: model.upsample_rates.clone(),
        kernels: model.upsample_kernel_sizes.clone(),
        residual_kernels: model.resblock_kernel_sizes.clone(),
        residual_dilations: model.resblock_dilation_sizes.clone(),
        residual,
        activation,
        overtones: Some(8),
    })
}
