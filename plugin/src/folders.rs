//! Folders of the user's own, beside those the engine looks for voices in.

use std::env;
use std::path::PathBuf;

pub use timbra_engine::locate::user_voice_folder as user_voices;

/// The user's folder for presets: `TIMBRA_PRESETS`, else `presets` beside [`user_voices`].
pub fn user_presets() -> Option<PathBuf> {
    match env::var_os("TIMBRA_PRESETS") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(user_voices()?.parent()?.join("presets")),
    }
}

/// The user's home, where the file chooser starts when it knows no better place.
pub fn home() -> Option<PathBuf> {
    env::var_os(if cfg!(target_os = "windows") {
        "USERPROFILE"
    } else {
        "HOME"
    })
    .map(PathBuf::from)
    .filter(|folder| folder.is_absolute())
}
