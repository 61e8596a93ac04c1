//! Recordings on disk, laid out as `speaker/clip`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use timbra_voice::manifest::MAX_SPEAKERS;

use super::audio::is_audio_name;

/// Speakers of a training. A voice mixes fewer; `trainer export --speakers` chooses them.
pub const MOST_SPEAKERS: usize = 1000;

/// The recordings of one speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakerClips {
    /// Lower-case name, made from the folder's.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// Every recording, sorted by path.
    pub clips: Vec<PathBuf>,
}

/// The name a speaker gets from a folder: lower case, with `-` for anything but letters, digits, `_` and `-`.
///
/// The command line separates speakers with `,` and weights with `=`, so
/// neither may be part of a name.
#[must_use]
pub fn speaker_name(folder: &str) -> String {
    let name: String = folder
        .trim()
        .chars()
        .flat_map(char::to_lowercase)
        .map(|letter| {
            if letter.is_alphanumeric() || letter == '_' {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() {
        "speaker".to_owned()
    } else {
        name
    }
}

/// Finds the recordings below `root`: one folder per speaker, clips at any depth in it.
///
/// A folder with recordings directly in it and none below is one speaker, named after it.
///
/// # Errors
/// The folder is missing or empty, mixes both layouts, holds more than
/// [`MOST_SPEAKERS`] speakers, or two of its folders or two recordings of a speaker give the same name.
pub fn find_clips(root: &Path) -> Result<Vec<SpeakerClips>> {
    if root.is_file() {
        bail!(
            "{} is a file; expected a folder laid out as speaker/clip",
            root.display()
        );
    }
    let mut loose = Vec::new();
    let mut speakers: BTreeMap<String, (PathBuf, Vec<PathBuf>)> = BTreeMap::new();
    for path in sorted_entries(root)? {
        if path.is_dir() {
            let mut clips = Vec::new();
            collect(&path, &mut clips)?;
            if clips.is_empty() {
                tracing::warn!("{} holds no recordings", path.display());
                continue;
            }
            let name = speaker_name(&file_name(&path));
            if let Some((other, _)) = speakers.get(&name) {
                bail!(
                    "{} and {} both give the speaker name \"{name}\"; rename one",
                    other.display(),
                    path.display()
                );
            }
            speakers.insert(name, (path, clips));
        } else if is_audio_name(&path) {
            loose.push(path);
        }
    }
    if !loose.is_empty() && !speakers.is_empty() {
        bail!(
            "{} lies beside folders of speakers; put it into the folder of its speaker",
            loose[0].display()
        );
    }
    if !loose.is_empty() {
        let folder = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        speakers.insert(
            speaker_name(&file_name(&folder)),
            (root.to_path_buf(), loose),
        );
    }
    if speakers.is_empty() {
        bail!(
            "no recordings in {}; expected folders named after speakers with WAV, FLAC, OGG or MP3 files in them",
            root.display()
        );
    }
    if speakers.len() > MOST_SPEAKERS {
        bail!(
            "{} holds {} speakers; a training takes at most {MOST_SPEAKERS}",
            root.display(),
            speakers.len()
        );
    }
    if speakers.len() > MAX_SPEAKERS {
        tracing::warn!(
            "{} holds {} speakers, and a voice mixes at most {MAX_SPEAKERS}: choose them when it is exported, with --speakers",
            root.display(),
            speakers.len()
        );
    }
    speakers
        .into_iter()
        .map(|(name, (folder, clips))| {
            each_by_its_name(&folder, &clips)?;
            Ok(SpeakerClips {
                name,
                folder,
                clips,
            })
        })
        .collect()
}

/// Refuses two recordings of one name: what is made of them would be one file.
fn each_by_its_name(folder: &Path, clips: &[PathBuf]) -> Result<()> {
    let mut known: BTreeMap<String, &Path> = BTreeMap::new();
    for clip in clips {
        if let Some(other) = known.insert(clip_name(folder, clip), clip) {
            bail!(
                "{} and {} have one name but for the extension or other signs; rename or remove one",
                other.display(),
                clip.display()
            );
        }
    }
    Ok(())
}

/// Name of a clip within its speaker: the path below the speaker's folder, without the extension.
///
/// `/` becomes `+`, other characters than letters, digits and `_-.+` become `_`.
#[must_use]
pub fn clip_name(folder: &Path, path: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path).with_extension("");
    let parts: Vec<String> = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    parts
        .join("+")
        .chars()
        .map(|letter| {
            if letter.is_alphanumeric() || "_-.+".contains(letter) {
                letter
            } else {
                '_'
            }
        })
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn collect(folder: &Path, clips: &mut Vec<PathBuf>) -> Result<()> {
    for path in sorted_entries(folder)? {
        // A link to a parent folder would never end.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, clips)?;
        } else if is_audio_name(&path) {
            clips.push(path);
        }
    }
    Ok(())
}

fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        // Hidden files are other programs' (and our own half-written ones).
        if !file_name(&path).starts_with('.') {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_names_tell_takes_in_subfolders_apart() {
        let folder = Path::new("recordings/anna");
        assert_eq!(
            clip_name(folder, Path::new("recordings/anna/song 1/take.2.wav")),
            "song_1+take.2"
        );
    }

    #[test]
    fn recordings_of_one_name_are_refused() {
        let folder = Path::new("recordings/anna");
        let named = |names: [&str; 2]| {
            each_by_its_name(folder, &names.map(|name| folder.join(name)))
                .map_err(|e| e.to_string())
        };
        assert!(named(["a/01.wav", "b/01.wav"]).is_ok());
        for names in [["01.flac", "01.wav"], ["a b.wav", "a_b.wav"]] {
            let message = named(names).unwrap_err();
            assert!(names.iter().all(|name| message.contains(name)), "{message}");
        }
    }

    #[test]
    fn speaker_names_fit_the_command_line() {
        assert_eq!(speaker_name("Kathleen"), "kathleen");
        assert_eq!(speaker_name("Anna Maria, 2nd=take"), "anna-maria--2nd-take");
        assert_eq!(speaker_name("Łucja_1"), "łucja_1");
        assert_eq!(speaker_name(" - "), "speaker");
    }
}
