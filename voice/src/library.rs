//! Finding voices and encoders in folders.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::{EncoderSpec, Manifest};
use crate::package::{self, EXTENSION, VOICE_MANIFEST};

/// Name of the folder, beside voices, that holds encoder packages.
pub const ENCODER_FOLDER: &str = "encoders";

/// Most packages and folders of a folder that are looked at: a wrong folder must not take minutes.
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
        let read = package::read_manifest(&path);
        let listing = match read.map_err(|error| error.to_string()) {
            Ok(_) if !can_be_saved(&path) => Listing {
                manifest: Err(unsaveable(&path)),
                voice: VoiceRef {
                    name: named(),
                    ..VoiceRef::default()
                },
            },
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
                manifest: Err(error),
            },
        };
        listings.push(listing);
    }
    listings
}

/// Whether a project can hold the path: its text is UTF-8 (on Windows, UTF-16 without half signs).
#[must_use]
pub fn can_be_saved(path: &Path) -> bool {
    path.to_str().is_some()
}

/// Why a voice with a path that cannot be saved is refused.
#[must_use]
pub fn unsaveable(path: &Path) -> String {
    format!(
        "{}: the name is not valid Unicode, which a project cannot save: rename the file or its folder",
        path.display()
    )
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
    let candidate = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let package = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION));
        // Other files are told by their names alone, so that any number of them is passed over in no time.
        let folder = || entry.file_type().is_ok_and(|kind| !kind.is_file());
        (!hidden && (package || folder())).then_some((path, package))
    };
    let mut paths: Vec<_> = entries
        .flatten()
        .filter_map(candidate)
        .take(MAX_ENTRIES)
        .filter(|(path, package)| {
            if path.is_dir() {
                path.join(manifest).is_file()
            } else {
                *package
            }
        })
        .map(|(path, _)| path)
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_among_thousands_of_other_files() {
        let folder = std::env::temp_dir().join(format!("timbra library {}", std::process::id()));
        let voice = folder.join("in a folder");
        std::fs::create_dir_all(&voice).unwrap();
        std::fs::create_dir_all(folder.join("nothing")).unwrap();
        std::fs::write(voice.join(VOICE_MANIFEST), "").unwrap();
        for number in 0..MAX_ENTRIES + 500 {
            std::fs::write(folder.join(format!("{number}.txt")), "").unwrap();
        }
        std::fs::write(folder.join("voice.Timbra"), "").unwrap();
        std::fs::write(folder.join(".hidden.timbra"), "").unwrap();
        let found = packages(&folder, VOICE_MANIFEST);
        assert_eq!(found, [voice, folder.join("voice.Timbra")]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_no_project_can_save_is_told() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/voices/\x83\x8b.timbra"));
        assert!(!can_be_saved(path));
        assert!(unsaveable(path).contains("rename"));
        assert!(can_be_saved(Path::new("/voices/\u{e9}.timbra")));
    }
}
