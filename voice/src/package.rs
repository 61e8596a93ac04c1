//! Voice and encoder packages: read whole and checked, written whole or not at all.
//!
//! A package is a zip whose files are stored uncompressed, or a folder with the same files: the manifest
//! (`voice.json` or `encoder.json`) and the files it lists with length and SHA-256. The identity of a package is the
//! SHA-256 of its manifest, which in turn hashes every other file: the zip and the folder form of a voice have the
//! same identity, and the identity is known without reading the weights.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::check::{self, MAX_MANIFEST_BYTES, clip};
use crate::container::{Container, io_error};
use crate::error::VoiceError;
use crate::manifest::{EncoderManifest, FileEntry, Manifest};
use crate::tables::{self, SpeakerTables};

/// Name of a voice's manifest.
pub const VOICE_MANIFEST: &str = "voice.json";
/// In place of an encoder's SHA-256 in an imported voice: any encoder of that name will do.
pub const ANY_ENCODER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Name of an encoder's manifest.
pub const ENCODER_MANIFEST: &str = "encoder.json";
/// Extension of a package in one file.
pub const EXTENSION: &str = "timbra";

/// A voice package in memory: everything in it agrees with its manifest.
#[derive(Debug)]
pub struct VoicePackage {
    /// Where it was read.
    pub path: PathBuf,
    /// Its identity: SHA-256 of `voice.json`, lower-case hex.
    pub sha256: String,
    /// What it says about itself.
    pub manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

impl VoicePackage {
    /// Reads a package and checks everything that can be checked without running its graphs.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(path: &Path) -> Result<Self, VoiceError> {
        let (mut container, bytes) = open(path, VOICE_MANIFEST)?;
        let manifest: Manifest = parse(path, VOICE_MANIFEST, &bytes)?;
        check::voice(&manifest, path)?;
        let files = read_files(&mut container, path, VOICE_MANIFEST, &manifest.files)?;
        let package = Self {
            path: path.to_path_buf(),
            sha256: sha256_hex(&bytes),
            manifest,
            files,
        };
        package.clusters()?;
        package.retrieval()?;
        Ok(package)
    }

    /// The synthesis graph.
    pub fn synthesis_graph(&self) -> &[u8] {
        self.files
            .get(&self.manifest.synthesis.file)
            .map_or(&[], Vec::as_slice)
    }

    /// The content encoder's graph, when it is embedded.
    pub fn encoder_graph(&self) -> Option<&[u8]> {
        self.file(&self.manifest.encoder.graph.file)
    }

    /// A file of the package.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The k-means tables, when there are any.
    ///
    /// # Errors
    /// The file is no table of this voice.
    pub fn clusters(&self) -> Result<Option<SpeakerTables>, VoiceError> {
        self.tables(self.manifest.clusters.as_deref())
    }

    /// The retrieval tables, when there are any.
    ///
    /// # Errors
    /// The file is no table of this voice.
    pub fn retrieval(&self) -> Result<Option<SpeakerTables>, VoiceError> {
        self.tables(self.manifest.retrieval.as_deref())
    }

    fn tables(&self, name: Option<&str>) -> Result<Option<SpeakerTables>, VoiceError> {
        let Some(name) = name else { return Ok(None) };
        let bytes = self.files.get(name).map_or(&[][..], Vec::as_slice);
        let speakers: Vec<_> = self
            .manifest
            .speakers
            .iter()
            .map(|speaker| speaker.name.as_str())
            .collect();
        tables::read(name, bytes, &speakers, self.manifest.encoder.channels).map(Some)
    }
}

/// An encoder package in memory: everything in it agrees with its manifest.
#[derive(Debug)]
pub struct EncoderPackage {
    /// Where it was read.
    pub path: PathBuf,
    /// What it says about itself.
    pub manifest: EncoderManifest,
    files: BTreeMap<String, Vec<u8>>,
}

impl EncoderPackage {
    /// Reads a package and checks everything that can be checked without running its graph.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(path: &Path) -> Result<Self, VoiceError> {
        let (mut container, bytes) = open(path, ENCODER_MANIFEST)?;
        let manifest: EncoderManifest = parse(path, ENCODER_MANIFEST, &bytes)?;
        check::encoder(&manifest, path)?;
        let files = read_files(&mut container, path, ENCODER_MANIFEST, &manifest.files)?;
        Ok(Self {
            path: path.to_path_buf(),
            manifest,
            files,
        })
    }

    /// The encoder's graph.
    pub fn graph(&self) -> &[u8] {
        self.files
            .get(&self.manifest.encoder.graph.file)
            .map_or(&[], Vec::as_slice)
    }

    /// A file of the package, e.g. the weights for going on with training.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }
}

/// Reads a voice's manifest only, with the voice's identity: for lists and latencies.
///
/// # Errors
/// It is no package, or the manifest cannot be true.
pub fn read_manifest(path: &Path) -> Result<(Manifest, String), VoiceError> {
    let (_, bytes) = open(path, VOICE_MANIFEST)?;
    let manifest: Manifest = parse(path, VOICE_MANIFEST, &bytes)?;
    check::voice(&manifest, path)?;
    Ok((manifest, sha256_hex(&bytes)))
}

/// Reads an encoder's manifest only.
///
/// # Errors
/// It is no package, or the manifest cannot be true.
pub fn read_encoder_manifest(path: &Path) -> Result<EncoderManifest, VoiceError> {
    let (_, bytes) = open(path, ENCODER_MANIFEST)?;
    let manifest: EncoderManifest = parse(path, ENCODER_MANIFEST, &bytes)?;
    check::encoder(&manifest, path)?;
    Ok(manifest)
}

/// Which form of a package to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// One `.timbra` file.
    #[default]
    File,
    /// A folder.
    Folder,
}

/// Writes a voice: `manifest.files` is filled from `files` (names and contents), everything is checked, and the
/// package appears at `path` whole or not at all. Returns its identity.
///
/// # Errors
/// The manifest cannot be true, or the system refused to write; what was at `path` is still there.
pub fn write_voice(
    path: &Path,
    manifest: &Manifest,
    files: &BTreeMap<String, Vec<u8>>,
    form: Form,
) -> Result<String, VoiceError> {
    let mut manifest = manifest.clone();
    manifest.files = entries(files);
    check::voice(&manifest, path)?;
    write(path, VOICE_MANIFEST, &manifest, files, form)
}

/// Writes an encoder, as [`write_voice`] does a voice.
///
/// # Errors
/// The manifest cannot be true, or the system refused to write; what was at `path` is still there.
pub fn write_encoder(
    path: &Path,
    manifest: &EncoderManifest,
    files: &BTreeMap<String, Vec<u8>>,
    form: Form,
) -> Result<String, VoiceError> {
    let mut manifest = manifest.clone();
    manifest.files = entries(files);
    check::encoder(&manifest, path)?;
    write(path, ENCODER_MANIFEST, &manifest, files, form)
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(64);
    for byte in digest {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

fn open(path: &Path, manifest: &'static str) -> Result<(Container, Vec<u8>), VoiceError> {
    let mut container = Container::open(path, manifest)?;
    let bytes = container.read(manifest, MAX_MANIFEST_BYTES)?;
    Ok((container, bytes))
}

fn parse<T: DeserializeOwned>(
    path: &Path,
    file: &'static str,
    bytes: &[u8],
) -> Result<T, VoiceError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // A newer format may have another shape; say so instead of naming a field.
        let version = serde_json::from_slice::<serde_json::Value>(bytes)
            .ok()
            .and_then(|json| json.get("format_version")?.as_u64());
        match version {
            Some(found) if found > u64::from(crate::manifest::FORMAT_VERSION) => {
                VoiceError::NewerFormat {
                    path: path.to_path_buf(),
                    found: u32::try_from(found).unwrap_or(u32::MAX),
                    supported: crate::manifest::FORMAT_VERSION,
                }
            }
            _ => VoiceError::Json {
                path: path.to_path_buf(),
                file,
                reason: clip(&error.to_string()),
            },
        }
    })
}

fn read_files(
    container: &mut Container,
    path: &Path,
    manifest: &str,
    listed: &BTreeMap<String, FileEntry>,
) -> Result<BTreeMap<String, Vec<u8>>, VoiceError> {
    if let Some(unlisted) = container
        .lengths()
        .keys()
        .find(|&name| name != manifest && !listed.contains_key(name))
    {
        return Err(VoiceError::UnlistedFile {
            path: path.to_path_buf(),
            file: unlisted.clone(),
        });
    }
    let mut files = BTreeMap::new();
    for (name, entry) in listed {
        let damaged = |what, expected: String, found: String| VoiceError::Damaged {
            path: path.to_path_buf(),
            file: name.clone(),
            what,
            expected,
            found,
        };
        if let Some(&bytes) = container.lengths().get(name)
            && bytes != entry.bytes
        {
            return Err(damaged(
                "length",
                entry.bytes.to_string(),
                bytes.to_string(),
            ));
        }
        let contents = container.read(name, entry.bytes)?;
        let found = sha256_hex(&contents);
        if found != entry.sha256 {
            return Err(damaged("SHA-256", entry.sha256.clone(), found));
        }
        files.insert(name.clone(), contents);
    }
    Ok(files)
}

fn entries(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, FileEntry> {
    files
        .iter()
        .map(|(name, contents)| {
            (
                name.clone(),
                FileEntry {
                    sha256: sha256_hex(contents),
                    bytes: contents.len() as u64,
                },
            )
        })
        .collect()
}

fn write<T: Serialize>(
    path: &Path,
    manifest_name: &'static str,
    manifest: &T,
    files: &BTreeMap<String, Vec<u8>>,
    form: Form,
) -> Result<String, VoiceError> {
    let mut json = serde_json::to_vec_pretty(manifest).map_err(|error| VoiceError::Json {
        path: path.to_path_buf(),
        file: manifest_name,
        reason: error.to_string(),
    })?;
    json.push(b'\n');
    let all = || {
        std::iter::once((manifest_name, json.as_slice()))
            .chain(files.iter().map(|(n, c)| (n.as_str(), c.as_slice())))
    };
    check_place(path, manifest_name).map_err(|error| io_error("write", path, &error))?;
    let beside = beside(path, "new");
    let outcome = match form {
        Form::File => write_zip(&beside, all()),
        Form::Folder => write_folder(&beside, all()),
    }
    .and_then(|()| replace(&beside, path));
    if let Err(error) = outcome {
        remove(&beside);
        return Err(io_error("write", path, &error));
    }
    Ok(sha256_hex(&json))
}

/// Refuses a folder that is not such a package and nothing else: it would be replaced. Makes the folder that `path` is in.
fn check_place(path: &Path, manifest_name: &str) -> std::io::Result<()> {
    if !path.is_dir() {
        return match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => fs::create_dir_all(folder),
            _ => Ok(()),
        };
    }
    let listed: Option<serde_json::Value> = fs::read(path.join(manifest_name))
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    let known = |name: &std::ffi::OsStr| {
        let files = listed.as_ref().map(|manifest| &manifest["files"]);
        name == manifest_name
            || files
                .zip(name.to_str())
                .is_some_and(|(files, name)| files.get(name).is_some())
    };
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if listed.is_none() || !known(&name) {
            return Err(std::io::Error::other(format!(
                "it is a folder with {} in it, and would be replaced; give the name of a file in it",
                name.display()
            )));
        }
    }
    Ok(())
}

fn write_zip<'f>(
    path: &Path,
    files: impl Iterator<Item = (&'f str, &'f [u8])>,
) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(BufWriter::new(File::create(path)?));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        // The same voice gives the same bytes.
        .last_modified_time(zip::DateTime::default());
    for (name, contents) in files {
        archive
            .start_file(name, options)
            .map_err(std::io::Error::other)?;
        archive.write_all(contents)?;
    }
    let mut writer = archive.finish().map_err(std::io::Error::other)?;
    writer.flush()?;
    writer.get_ref().sync_all()
}

fn write_folder<'f>(
    path: &Path,
    files: impl Iterator<Item = (&'f str, &'f [u8])>,
) -> std::io::Result<()> {
    remove(path);
    fs::create_dir(path)?;
    for (name, contents) in files {
        let mut file = File::create(path.join(name))?;
        file.write_all(contents)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Puts `new` where `path` is; a file is replaced in one step, a folder by way of a second name.
fn replace(new: &Path, path: &Path) -> std::io::Result<()> {
    let old = beside(path, "old");
    let set_aside = path.is_dir() || (new.is_dir() && path.exists());
    if set_aside {
        remove(&old);
        fs::rename(path, &old)?;
    }
    if let Err(error) = fs::rename(new, path) {
        if set_aside {
            // Best effort: the error that is reported is the first one.
            let _ = fs::rename(&old, path);
        }
        return Err(error);
    }
    if set_aside {
        remove(&old);
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        // Makes the rename itself durable where the system can; it is done either way.
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
    }
    Ok(())
}

/// A hidden name in the same folder, of this process.
fn beside(path: &Path, purpose: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{purpose}", std::process::id()))
}

fn remove(path: &Path) {
    // What cannot be removed is left: it is hidden and of no consequence.
    let _ = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}
