//! The voices the chooser offers. Finding a saved voice again is the engine's part.

use std::path::{Path, PathBuf};

use timbra_voice::VoiceRef;
use timbra_voice::library::{self, Listing};
use timbra_voice::package::{self, EXTENSION, VOICE_MANIFEST};

/// Whether `path` looks like a voice package: a `.timbra` file, or a folder with a `voice.json`.
pub fn looks_like_voice(path: &Path) -> bool {
    if path.is_dir() {
        path.join(VOICE_MANIFEST).is_file()
    } else {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(EXTENSION))
    }
}

/// The voice in the package at `path`, as it is asked for and saved: from the root, for a project may be opened elsewhere.
///
/// # Errors
/// Why the package is no voice or cannot be saved, in words.
pub fn at(path: PathBuf) -> Result<VoiceRef, String> {
    let path = std::path::absolute(&path).unwrap_or(path);
    if !library::can_be_saved(&path) {
        return Err(library::unsaveable(&path));
    }
    let (manifest, sha256) = package::read_manifest(&path).map_err(|error| error.to_string())?;
    Ok(VoiceRef {
        name: manifest.name,
        path,
        sha256,
    })
}

/// Every voice in the folders, by name; of equal ones only the first found.
pub fn find_all(folders: &[PathBuf]) -> Vec<Listing> {
    let mut voices: Vec<Listing> = Vec::new();
    for listing in library::list(folders) {
        let known = voices.iter().any(|other| {
            !listing.voice.sha256.is_empty() && other.voice.sha256 == listing.voice.sha256
        });
        if !known {
            voices.push(listing);
        }
    }
    voices.sort_by(|a, b| a.voice.name.cmp(&b.voice.name));
    voices
}
