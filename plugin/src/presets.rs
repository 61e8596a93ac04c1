//! Presets: parameter settings by name. The format is described in `presets/README.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nice_plug::params::internals::ParamPtr;
use nice_plug::prelude::Params;
use serde::{Deserialize, Serialize};

use crate::folders;
use crate::params::TimbraParams;

/// Newest preset format this build reads and writes.
pub const FORMAT: u32 = 1;

/// Longest preset file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Parameters that belong to the session: a preset changes them only by naming them.
const SESSION_PARAMS: [&str; 4] = ["tier", "output_gain", "fallback", "bypass"];

/// The presets inside the plugin.
const FACTORY: [&str; 6] = [
    include_str!("../../presets/female_lead_up_12.json"),
    include_str!("../../presets/male_lead_down_12.json"),
    include_str!("../../presets/duet_mix.json"),
    include_str!("../../presets/auto_register.json"),
    include_str!("../../presets/closest_likeness.json"),
    include_str!("../../presets/backing_double.json"),
];

/// A preset as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preset {
    /// Version of the format.
    pub timbra_preset: u32,
    /// Name in the menu.
    pub name: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// Texts of the parameters by id, as the plugin shows them.
    pub params: BTreeMap<String, String>,
}

/// Why a preset was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// The file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any preset.
    #[error("{} has {bytes} bytes; a preset has at most {MAX_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// Not JSON, or not a preset.
    #[error("not a preset: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error(
        "the preset has format {found}, this version reads up to {FORMAT}: install a newer Timbra"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// A parameter this version does not have.
    #[error("the preset sets \"{id}\", which is not a parameter of this version")]
    UnknownParam {
        /// The id.
        id: String,
    },
    /// A text that is no value of its parameter.
    #[error("the preset sets \"{id}\" to \"{text}\", which is not a value of it; {hint}")]
    Value {
        /// The parameter.
        id: String,
        /// The text.
        text: String,
        /// A value it could have.
        hint: String,
    },
    /// There is no folder for presets of one's own.
    #[error("the system names no folder for user data: set TIMBRA_PRESETS to a folder")]
    NoFolder,
}

impl Preset {
    /// Reads a preset from its text.
    ///
    /// # Errors
    /// Malformed text, or a newer format.
    pub fn parse(text: &str) -> Result<Self, PresetError> {
        let preset: Self = serde_json::from_str(text)?;
        if preset.timbra_preset > FORMAT {
            return Err(PresetError::Newer {
                found: preset.timbra_preset,
            });
        }
        Ok(preset)
    }

    /// Reads a preset file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and what the file system says.
    pub fn read(path: &Path) -> Result<Self, PresetError> {
        let file = |source| PresetError::File {
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(file)?;
        if !metadata.is_file() {
            // A pipe would never let go of who opens it, a device never end.
            return Err(file(std::io::Error::other("not a file")));
        }
        let bytes = metadata.len();
        if bytes > MAX_BYTES {
            return Err(PresetError::TooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        Self::parse(&std::fs::read_to_string(path).map_err(file)?)
    }

    /// The settings of `params` as a preset. Session parameters are left out.
    pub fn capture(name: &str, params: &TimbraParams) -> Self {
        let texts = params
            .param_map()
            .into_iter()
            .filter(|(id, _, _)| !SESSION_PARAMS.contains(&id.as_str()))
            // SAFETY: `params` owns the parameter and is borrowed.
            .map(|(id, pointer, _)| unsafe {
                let normalized = pointer.unmodulated_normalized_value();
                (id, pointer.normalized_value_to_string(normalized, true))
            })
            .collect();
        Self {
            timbra_preset: FORMAT,
            name: name.to_owned(),
            description: String::new(),
            params: texts,
        }
    }

    /// What the preset sets, as parameters of `params` and normalised values. Nothing is changed.
    ///
    /// # Errors
    /// An unknown parameter or a text that is no value refuses the whole preset.
    pub fn values(&self, params: &TimbraParams) -> Result<Vec<(ParamPtr, f32)>, PresetError> {
        let map = params.param_map();
        if let Some(id) = self
            .params
            .keys()
            .find(|id| !map.iter().any(|(known, _, _)| known == *id))
        {
            return Err(PresetError::UnknownParam { id: id.clone() });
        }
        map.into_iter()
            .filter_map(|(id, pointer, _)| {
                // SAFETY: `params` owns the parameter and is borrowed.
                let default = unsafe { pointer.default_normalized_value() };
                match self.params.get(&id) {
                    Some(text) => Some(
                        // SAFETY: see above.
                        unsafe { pointer.string_to_normalized_value(text) }
                            .map(|normalized| (pointer, normalized.clamp(0.0, 1.0)))
                            .ok_or_else(|| PresetError::Value {
                                id,
                                text: text.clone(),
                                hint: format!(
                                    "one is \"{}\"",
                                    // SAFETY: see above.
                                    unsafe { pointer.normalized_value_to_string(default, true) }
                                ),
                            }),
                    ),
                    None if SESSION_PARAMS.contains(&id.as_str()) => None,
                    None => Some(Ok((pointer, default))),
                }
            })
            .collect()
    }

    /// Writes the preset into the user's folder and returns where. One of the same name is replaced, and no other.
    ///
    /// # Errors
    /// No such folder, or what the file system says. A half-written file never takes the name.
    pub fn save(&self) -> Result<PathBuf, PresetError> {
        let folder = folders::user_presets().ok_or(PresetError::NoFolder)?;
        self.save_in(&folder)
    }

    fn save_in(&self, folder: &Path) -> Result<PathBuf, PresetError> {
        let path = file_for(folder, &self.name);
        let beside = path.with_extension("json.part");
        let json = serde_json::to_string_pretty(self)?;
        let write = || -> std::io::Result<()> {
            use std::io::Write;
            std::fs::create_dir_all(folder)?;
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(json.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)
        };
        match write() {
            Ok(()) => Ok(path),
            Err(source) => {
                // Nothing more can be done about a leftover that cannot be removed either.
                let _ = std::fs::remove_file(&beside);
                Err(PresetError::File { path, source })
            }
        }
    }
}

/// Where the preset called `name` belongs: its own file if there is one, else one that is not there yet.
fn file_for(folder: &Path, name: &str) -> PathBuf {
    let own = in_folder(folder)
        .into_iter()
        .find(|found| found.preset.as_ref().is_ok_and(|own| own.name == name));
    let stem = file_stem(name);
    own.map_or_else(
        || {
            // Names that differ in other signs than letters and digits have the same stem.
            let numbered = (2..).map(|number| format!("{stem}_{number}"));
            std::iter::once(stem.clone())
                .chain(numbered)
                .map(|stem| folder.join(stem + ".json"))
                .find(|path| !path.exists())
                .expect("numbers do not end")
        },
        |own| own.path,
    )
}

/// A file name from a preset name: letters, digits and `_`.
fn file_stem(name: &str) -> String {
    let stem: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .take(60)
        .collect();
    if stem.trim_matches('_').is_empty() {
        "preset".to_owned()
    } else {
        stem.to_lowercase()
    }
}

/// The presets inside the plugin, in menu order.
pub fn factory() -> Vec<Preset> {
    FACTORY
        .iter()
        .map(|text| Preset::parse(text).expect("the tests parse every preset inside the plugin"))
        .collect()
}

/// A preset file of the user's.
#[derive(Debug)]
pub struct UserPreset {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, or why it cannot be used.
    pub preset: Result<Preset, PresetError>,
}

impl UserPreset {
    /// Its name, or that of its file.
    pub fn name(&self) -> Cow<'_, str> {
        match &self.preset {
            Ok(preset) => Cow::Borrowed(&preset.name),
            Err(_) => self.path.file_stem().unwrap_or_default().to_string_lossy(),
        }
    }
}

/// The presets in the user's folder by name, and the files there that should be some.
pub fn user() -> Vec<UserPreset> {
    folders::user_presets().map_or_else(Vec::new, |folder| in_folder(&folder))
}

fn in_folder(folder: &Path) -> Vec<UserPreset> {
    let mut presets: Vec<UserPreset> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| UserPreset {
            preset: Preset::read(&path),
            path,
        })
        .collect();
    presets.sort_by(|a, b| a.name().cmp(&b.name()));
    presets
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_factory_preset_fits_the_parameters() {
        let params = TimbraParams::default();
        for text in FACTORY {
            let preset = Preset::parse(text).unwrap();
            let values = preset.values(&params).unwrap();
            assert_eq!(
                values.len(),
                params.param_map().len() - SESSION_PARAMS.len()
                    + SESSION_PARAMS
                        .iter()
                        .filter(|id| preset.params.contains_key(**id))
                        .count(),
                "{}",
                preset.name
            );
        }
    }

    #[test]
    fn a_captured_preset_says_what_the_parameters_are() {
        let params = TimbraParams::default();
        let preset = Preset::capture("All", &params);
        let again = Preset::parse(&serde_json::to_string(&preset).unwrap()).unwrap();
        assert_eq!(again, preset);
        for (pointer, normalized) in again.values(&params).unwrap() {
            // SAFETY: `params` is alive.
            let default = unsafe { pointer.default_normalized_value() };
            assert!((normalized - default).abs() < 1e-4);
        }
    }

    #[test]
    fn presets_that_do_not_fit_are_refused_with_the_reason() {
        let params = TimbraParams::default();
        let refused = |json: &str| {
            Preset::parse(json)
                .and_then(|preset| preset.values(&params).map(|_| ()))
                .unwrap_err()
                .to_string()
        };
        assert!(refused(r#"{"timbra_preset":2,"name":"x","params":{}}"#).contains("format 2"));
        assert!(
            refused(r#"{"timbra_preset":1,"name":"x","params":{"vibrato":"3"}}"#)
                .contains("\"vibrato\"")
        );
        assert!(
            refused(r#"{"timbra_preset":1,"name":"x","params":{"pitch":"high"}}"#)
                .contains("\"high\"")
        );
        assert!(refused("[]").contains("not a preset"));
    }

    #[test]
    fn file_names_come_from_names_safely() {
        assert_eq!(file_stem("../Duet Mix!"), "___duet_mix_");
        assert_eq!(file_stem("///"), "preset");
    }
    #[test]
    fn saving_replaces_the_preset_of_that_name_and_no_other() {
        let folder = std::env::temp_dir().join(format!("timbra presets {}", std::process::id()));
        let named = |name: &str, pitch: &str| Preset {
            timbra_preset: FORMAT,
            name: name.to_owned(),
            description: String::new(),
            params: BTreeMap::from([("pitch".to_owned(), pitch.to_owned())]),
        };
        // Three of one file name, and one file that is not a preset and keeps its place.
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("duet_.json"), "{").unwrap();
        for name in ["Lead +12", "Lead -12", "lead -12", "Duet!"] {
            named(name, "1").save_in(&folder).unwrap();
        }
        let again = named("Lead -12", "2").save_in(&folder).unwrap();
        assert_eq!(again, folder.join("lead__12_2.json"));
        let found = in_folder(&folder);
        let names: Vec<_> = found.iter().map(UserPreset::name).collect();
        assert_eq!(
            names,
            ["Duet!", "Lead +12", "Lead -12", "duet_", "lead -12"]
        );
        assert_eq!(found[2].preset.as_ref().unwrap().params["pitch"], "2");
        assert_eq!(found[1].preset.as_ref().unwrap().params["pitch"], "1");
        let problem = found[3].preset.as_ref().unwrap_err().to_string();
        assert!(problem.contains("not a preset"), "{problem}");
        assert_eq!(std::fs::read(folder.join("duet_.json")).unwrap(), b"{");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
