//! What a configuration says that tensors do not: rate, upsampling, dilations, names. Of RVC's and so-vits-svc's
//! `config.json`, of MoeVS's JSON beside an ONNX export, and of the notes inside one.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sovits_config::{ConfigError, GIVE_CONFIG};
use crate::model::vits::spec::VitsSpec;

/// Most bytes of a configuration.
const MAX_BYTES: u64 = 1 << 20;
/// Most entries of a list in one.
const MAX_LIST: usize = 16;
/// Most speakers in one.
const MAX_SPEAKERS: u64 = 4_096;

/// What is said; all of it may be missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Output rate.
    pub rate_hz: Option<u32>,
    /// Upsampling factors of the decoder.
    pub rates: Option<Vec<usize>>,
    /// Dilations of the decoder's residual blocks.
    pub dilations: Option<Vec<Vec<usize>>>,
    /// Bins of the spectrogram in training.
    pub spectrum_bins: Option<usize>,
    /// The content encoder, as so-vits-svc 4.1 names it.
    pub encoder: Option<String>,
    /// Names of the speakers with their numbers.
    pub speakers: Vec<(usize, String)>,
    /// The file, where it is one, and what it says of what tensors say too.
    said: Option<(PathBuf, Value)>,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is not JSON, or has an entry that can not be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Io {
            path: path.to_path_buf(),
            source,
        };
        let refuse = |what: &str, expected: String, found: String| ConfigError::Content {
            path: path.to_path_buf(),
            what: what.to_owned(),
            expected,
            found,
            remedy: GIVE_CONFIG,
        };
        let bytes = std::fs::metadata(path).map_err(io)?.len();
        if bytes > MAX_BYTES {
            let (limit, found) = (format!("at most {MAX_BYTES} bytes"), bytes.to_string());
            return Err(refuse("the whole file", limit, found));
        }
        let text = std::fs::read_to_string(path).map_err(io)?;
        let json: Value = serde_json::from_str(&text)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| {
                let expected =
                    "a JSON object: the configuration of an RVC or so-vits-svc voice, or MoeVS's";
                refuse(
                    "the whole file",
                    expected.to_owned(),
                    "something else".to_owned(),
                )
            })?;
        let mut settings =
            Self::of(&json).map_err(|(what, expected, found)| refuse(what, expected, found))?;
        settings.said = Some((path.to_path_buf(), json));
        Ok(settings)
    }

    /// What JSON says, without a file.
    ///
    /// # Errors
    /// An entry that can not be: which, what may be there, what is.
    pub fn of(json: &Value) -> Result<Self, (&'static str, String, String)> {
        let (data, model) = (&json["data"], &json["model"]);
        let number = |what: &'static str, value: &Value, most: u64| match value {
            Value::Null => Ok(None),
            value => match value.as_u64().filter(|n| (1..=most).contains(n)) {
                Some(number) => Ok(Some(number as usize)),
                None => Err((what, format!("1 to {most}"), value.to_string())),
            },
        };
        let list = |what: &'static str, value: &Value, most: u64| match value {
            Value::Null => Ok(None),
            value => {
                let numbers: Option<Vec<usize>> = value.as_array().and_then(|list| {
                    let one = |v: &Value| v.as_u64().filter(|n| (1..=most).contains(n));
                    list.iter().map(|v| one(v).map(|n| n as usize)).collect()
                });
                match numbers.filter(|list| (1..=MAX_LIST).contains(&list.len())) {
                    Some(numbers) => Ok(Some(numbers)),
                    None => Err((
                        what,
                        format!("a list of numbers from 1 to {most}"),
                        value.to_string(),
                    )),
                }
            }
        };
        // RVC and so-vits-svc; MoeVS; the notes of VC Client.
        let mut rate_hz = None;
        for (what, value) in [
            ("data.sampling_rate", &data["sampling_rate"]),
            ("Rate", &json["Rate"]),
            ("samplingRate", &json["samplingRate"]),
            ("sampling_rate", &json["sampling_rate"]),
            ("sr", &json["sr"]),
        ] {
            rate_hz = rate_hz.or(number(what, value, 192_000)?);
        }
        let dilations = match &model["resblock_dilation_sizes"] {
            Value::Array(lists) if lists.len() <= MAX_LIST => {
                let what = "model.resblock_dilation_sizes";
                let lists: Result<Vec<_>, _> = lists.iter().map(|v| list(what, v, 64)).collect();
                lists?.into_iter().collect()
            }
            _ => None,
        };
        let filter = number("data.filter_length", &data["filter_length"], 65_536)?;
        Ok(Self {
            rate_hz: rate_hz.map(|rate| rate as u32),
            rates: list("model.upsample_rates", &model["upsample_rates"], 64)?,
            dilations,
            spectrum_bins: filter.map(|length| length / 2 + 1),
            encoder: model["speech_encoder"].as_str().map(str::to_owned),
            speakers: speakers(json),
            said: None,
        })
    }

    /// Whether a file's entries and what the tensors are do not contradict each other.
    ///
    /// # Errors
    /// They do: which entry, what it has to be, what it is.
    pub fn check(&self, spec: &VitsSpec) -> Result<(), ConfigError> {
        let Some((path, json)) = &self.said else {
            return Ok(());
        };
        let decoder = &spec.decoder;
        let entries: [(&str, Value); 10] = [
            ("inter_channels", spec.inter_channels.into()),
            ("hidden_channels", spec.hidden_channels.into()),
            ("filter_channels", spec.filter_channels.into()),
            ("n_heads", spec.heads.into()),
            ("n_layers", spec.layers.into()),
            ("kernel_size", spec.kernel.into()),
            ("gin_channels", spec.speaker_channels.into()),
            ("upsample_initial_channel", decoder.initial_channels.into()),
            ("upsample_kernel_sizes", decoder.kernels.clone().into()),
            (
                "resblock_kernel_sizes",
                decoder.residual_kernels.clone().into(),
            ),
        ];
        for (entry, expected) in entries {
            let found = &json["model"][entry];
            if !found.is_null() && *found != expected {
                return Err(ConfigError::Content {
                    path: path.clone(),
                    what: format!("model.{entry}"),
                    expected: format!("{expected} by the checkpoint's tensors"),
                    found: found.to_string(),
                    remedy: GIVE_CONFIG,
                });
            }
        }
        Ok(())
    }
}

/// Names with numbers (so-vits-svc's `spk`), or in order (MoeVS's `Characters`).
fn speakers(json: &Value) -> Vec<(usize, String)> {
    let mut speakers = Vec::new();
    if let Some(names) = json["spk"].as_object() {
        let numbered = names.iter().filter_map(|(name, number)| {
            let number = number.as_u64().filter(|&number| number < MAX_SPEAKERS)?;
            Some((number as usize, name.clone()))
        });
        speakers.extend(numbered);
    } else if let Some(names) = json["Characters"].as_array() {
        let named = names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .enumerate();
        speakers.extend(named.filter_map(|(number, name)| Some((number, name?))));
    }
    speakers.sort();
    speakers
}
