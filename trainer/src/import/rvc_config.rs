//! The settings inside an RVC voice: `config` (a list), `f0`, `version`, `sr`.

use std::path::Path;

use super::pickle::Value;
use super::sovits_config::ConfigError;
use super::{StateDict, TorchFile};
use crate::model::vits::eval::COARSE_ROWS;
use crate::model::vits::spec::PUBLISHED_POSTERIOR_LAYERS;
use crate::model::vits::spec::{
    Activation, Coupling, DecoderSpec, FlowSpec, Prenet, ResidualKind, VitsSpec,
};

/// Entries of the list.
const ENTRIES: usize = 18;
/// What to do about settings that can not be: they are in the voice's own file.
const REMEDY: &str =
    "give the .pth from RVC's weights folder as RVC wrote it, or the G_*.pth of its training";

/// The settings, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct RvcConfig {
    /// The network.
    pub spec: VitsSpec,
    /// `v1` (content of 256 channels) or `v2` (768).
    pub version: String,
    /// What the file says of its training, e.g. `300epoch`.
    pub info: String,
}

/// Whether a file is an RVC voice.
#[must_use]
pub fn is_rvc(file: &TorchFile) -> bool {
    let root = file.root();
    root.get("weight").is_some() && root.get("config").is_some()
}

/// Reads the settings of a voice whose tensors are `weights`.
///
/// # Errors
/// One is missing or can not be.
pub fn read(path: &Path, file: &TorchFile, weights: &StateDict) -> Result<RvcConfig, ConfigError> {
    let refuse = |what: &str, expected: &str, found: String| ConfigError::Content {
        path: path.to_path_buf(),
        what: what.to_owned(),
        expected: expected.to_owned(),
        found,
        remedy: REMEDY,
    };
    let root = file.root();
    let list: Vec<Value<'_>> = root
        .get("config")
        .and_then(|list| list.elements())
        .unwrap_or_default();
    if list.len() != ENTRIES {
        return Err(refuse(
            "config",
            "a list of 18 entries",
            format!("{} entries", list.len()),
        ));
    }
    let number = |place: usize, name: &str, most: i64| -> Result<usize, ConfigError> {
        let found = list[place].as_int();
        match found.filter(|value| (1..=most).contains(value)) {
            Some(value) => Ok(value as usize),
            None => Err(refuse(
                &format!("config[{place}] ({name})"),
                &format!("1 to {most}"),
                list[place].describe(),
            )),
        }
    };
    let numbers = |value: &Value<'_>, what: &str, most: i64| -> Result<Vec<usize>, ConfigError> {
        let found: Option<Vec<usize>> = value.elements().and_then(|elements| {
            elements
                .iter()
                .map(|element| {
                    element
                        .as_int()
                        .filter(|value| (1..=most).contains(value))
                        .map(|value| value as usize)
                })
                .collect()
        });
        match found.filter(|list| (1..=16).contains(&list.len())) {
            Some(list) => Ok(list),
            None => Err(refuse(
                what,
                &format!("a list of numbers from 1 to {most}"),
                value.describe(),
            )),
        }
    };
    let dilations: Option<Vec<Vec<usize>>> = list[11]
        .elements()
        .map(|lists| {
            lists
                .iter()
                .map(|list| numbers(list, "config[11] (resblock_dilation_sizes)", 64))
                .collect::<Result<_, _>>()
        })
        .transpose()?;
    let text = |value: Option<Value<'_>>| {
        value
            .and_then(|value| value.as_str().map(|text| text.into_owned()))
            .unwrap_or_default()
    };
    let residual = match text(Some(list[9])).as_str() {
        "1" => ResidualKind::Paired,
        "2" => ResidualKind::Single,
        other => return Err(refuse("config[9] (resblock)", "1 or 2", other.to_owned())),
    };
    // Early versions wrote it as text; what the weights hold decides where nothing is said.
    let has_f0 = root
        .get("f0")
        .and_then(|value| {
            value
                .as_int()
                .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
        })
        .map_or_else(
            || weights.contains_key("enc_p.emb_pitch.weight"),
            |f0| f0 != 0,
        );
    let version = match text(root.get("version")).as_str() {
        "" => "v1".to_owned(),
        version => version.to_owned(),
    };
    let content_channels = match version.as_str() {
        "v1" => 256,
        "v2" => 768,
        other => return Err(refuse("version", "v1 or v2", other.to_owned())),
    };
    let rates = numbers(&list[12], "config[12] (upsample_rates)", 64)?;
    let mut kernels = numbers(&list[14], "config[14] (upsample_kernel_sizes)", 256)?;
    // Voices merged by early versions list more kernels than they have stages.
    kernels.truncate(rates.len());
    let decoder = DecoderSpec {
        initial_channels: number(13, "upsample_initial_channel", 16_384)?,
        rates,
        kernels,
        residual_kernels: numbers(&list[10], "config[10] (resblock_kernel_sizes)", 63)?,
        residual_dilations: dilations.unwrap_or_default(),
        residual,
        activation: Activation::Leaky,
        overtones: has_f0.then_some(0),
    };
    let spec = VitsSpec {
        prenet: Prenet::Rvc,
        content_channels,
        spectrum_bins: number(0, "spec_channels", 65_536)?,
        posterior_layers: PUBLISHED_POSTERIOR_LAYERS,
        inter_channels: number(2, "inter_channels", 16_384)?,
        hidden_channels: number(3, "hidden_channels", 16_384)?,
        filter_channels: number(4, "filter_channels", 16_384)?,
        heads: number(5, "n_heads", 64)?,
        layers: number(6, "n_layers", 64)?,
        kernel: number(7, "kernel_size", 63)?,
        attention_window: 10,
        flow: FlowSpec {
            coupling: Coupling::Wavenet,
            couplings: 4,
            layers: 3,
            kernel: 5,
            shared: false,
        },
        // The entry for it is not kept up to date; the table is.
        speakers: match weights.get("emb_g.weight").map(|table| table.shape()) {
            Some(&[speakers, _]) if (1..=4_096).contains(&speakers) => speakers,
            _ => number(15, "spk_embed_dim", 4_096)?,
        },
        speaker_channels: number(16, "gin_channels", 16_384)?,
        rate_hz: number(17, "sr", 192_000)? as u32,
        decoder,
        continuous_f0: false,
        row_above: COARSE_ROWS - 1,
        loudness: false,
        auto_f0: false,
    };
    spec.check()
        .map_err(|(what, expected, found)| refuse(&what, &expected, found))?;
    Ok(RvcConfig {
        spec,
        version,
        info: text(root.get("info")),
    })
}
