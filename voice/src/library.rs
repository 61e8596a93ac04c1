//! Finding voices and encoders in folders.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::{EncoderSpec, Manifest};
use crate::package::{self, EXTENSION, VOICE_MANIFEST};

/// Name of the folder, beside voices, that holds encoder packages.
pub const ENCODER_FOLDER: &str = "encoders";

/// Most entries of a folder that are looked at: a wrong folder must not take minutes.
const MAX_ENTRIES: usize = 2000;

/// A voice by name, place and hash; each may be empty. This is what a project saves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct VoiceRef {
    /// Name in the voice's manifest.
    pub name: String,
    /// Where it was seen last.
    pub path: PathBuf,
    /// SHA-256 of its `voice.json`, lower-case hex.
    pub sha256: String,
}

impl VoiceRef {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty() && self.path.as_os_str().is_empty() && self.sha256.is_empty()
    }

    /// A voice by its place alone.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }
}

/// A voice found in a folder.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Name, place and hash.
    pub voice: VoiceRef,
    /// What it says about itself, or why it cannot be used.
    pub manifest: Result<Box<Manifest>, String>,
}

/// Every voice in `folders`, in the order of the folders and then of the file names. Only manifests are read.
///
/// A package that cannot be used is listed with the reason. Folders that do not exist are passed over.
pub fn list(folders: &[PathBuf]) -> Vec<Listing> {
    let mut listings = Vec::new();
    for path in folders
        .iter()
        .flat_map(|folder| packages(folder, VOICE_MANIFEST))
    {
        let named = || {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let listing = match package::read_manifest(&path) {
            Ok((manifest, sha256)) => Listing {
                voice: VoiceRef {
                    name: manifest.name.clone(),
                    path,
                    sha256,
                },
                manifest: Ok(Box::new(manifest)),
            },
            // An encoder has the same extension and is no broken voice.
            Err(_) if package::read_encoder_manifest(&path).is_ok() => continue,
            Err(error) => Listing {
                voice: VoiceRef {
                    name: named(),
                    path,
                    sha256: String::new(),
                },
                manifest: Err(error.to_string()),
            },
        };
        listings.push(listing);
    }
    listings
}

/// Finds a voice: at its path if that has the wanted hash (or no hash is wanted), else by hash in `folders`, else by
/// hash or name at its path, else by name in `folders`. Returns the voice as it was found.
pub fn find(wanted: &VoiceRef, folders: &[PathBuf]) -> Option<VoiceRef> {
    if wanted.is_empty() {
        return None;
    }
    let at_path = if wanted.path.as_os_str().is_empty() {
        None
    } else {
        package::read_manifest(&wanted.path)
            .ok()
            .map(|(manifest, sha256)| VoiceRef {
                name: manifest.name,
                path: wanted.path.clone(),
                sha256,
            })
    };
    if let Some(found) = &at_path
        && (wanted.sha256.is_empty() || found.sha256 == wanted.sha256)
    {
        return at_path;
    }
    let listings = list(folders);
    let usable = || {
        listings
            .iter()
            .filter(|listing| listing.manifest.is_ok())
            .map(|listing| &listing.voice)
    };
    let by_hash = usable().find(|voice| !wanted.sha256.is_empty() && voice.sha256 == wanted.sha256);
    if let Some(voice) = by_hash {
        return Some(voice.clone());
    }
    if at_path.is_some() {
        return at_path;
    }
    usable()
        .find(|voice| !wanted.name.is_empty() && voice.name == wanted.name)
        .cloned()
}

/// Finds the encoder package a voice wants, in `folders`: that whose graph has the SHA-256 it names, or, when it names
/// [`package::ANY_ENCODER`], one of the same name and width.
pub fn find_encoder(wanted: &EncoderSpec, folders: &[PathBuf]) -> Option<PathBuf> {
    let any = wanted.sha256 == package::ANY_ENCODER;
    folders
        .iter()
        .flat_map(|folder| packages(folder, package::ENCODER_MANIFEST))
        .find(|path| {
            package::read_encoder_manifest(path).is_ok_and(|manifest| {
                let found = &manifest.encoder;
                if any {
                    found.id == wanted.id && found.channels == wanted.channels
                } else {
                    found.sha256 == wanted.sha256
                }
            })
        })
}

/// Files and folders that look like packages, by name. Encoder packages have the same extension, so a file counts
/// only when it has the manifest asked for.
fn packages(folder: &Path, manifest: &'static str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let hidden = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let package = path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION));
            !hidden
                && if path.is_dir() {
                    path.join(manifest).is_file()
                } else {
                    package
                }
        })
        .collect();
    paths.sort();
    paths
}
