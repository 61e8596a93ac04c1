//! The two forms of a package, a stored zip and a folder, read the same way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::CompressionMethod;
use zip::read::ZipArchive;

use crate::check::{MAX_FILE_BYTES, MAX_FILES, clip, file_name};
use crate::error::VoiceError;

/// Files that systems leave in folders and that mean nothing.
const DROPPINGS: [&str; 2] = ["Thumbs.db", "desktop.ini"];

enum Form {
    Zip(Box<ZipArchive<BufReader<File>>>),
    Folder,
}

/// A package whose list of files is read and checked, but not their contents.
pub(crate) struct Container {
    path: PathBuf,
    form: Form,
    /// Length in bytes of every file, by name.
    lengths: BTreeMap<String, u64>,
}

impl Container {
    /// Opens the package at `path`; `manifest` is the file that makes it one.
    pub fn open(path: &Path, manifest: &'static str) -> Result<Self, VoiceError> {
        let metadata = std::fs::metadata(path).map_err(|error| io_error("read", path, &error))?;
        let container = if metadata.is_dir() {
            Self::open_folder(path)?
        } else if metadata.is_file() {
            Self::open_zip(path, manifest, metadata.len())?
        } else {
            // A pipe would never let go of who opens it.
            return Err(VoiceError::NotAPackage {
                path: path.to_path_buf(),
                manifest,
                found: "neither a file nor a folder".to_owned(),
            });
        };
        if !container.lengths.contains_key(manifest) {
            return Err(VoiceError::NotAPackage {
                path: path.to_path_buf(),
                manifest,
                found: format!("no {manifest} in it"),
            });
        }
        Ok(container)
    }

    fn open_folder(path: &Path) -> Result<Self, VoiceError> {
        let mut container = Self {
            path: path.to_path_buf(),
            form: Form::Folder,
            lengths: BTreeMap::new(),
        };
        for entry in std::fs::read_dir(path).map_err(|error| io_error("read", path, &error))? {
            let entry = entry.map_err(|error| io_error("read", path, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || DROPPINGS.contains(&name.as_str()) {
                continue;
            }
            let metadata = entry
                .metadata()
                .map_err(|error| io_error("read", &entry.path(), &error))?;
            if !metadata.is_file() {
                return Err(VoiceError::FileName {
                    path: path.to_path_buf(),
                    name: clip(&name),
                    reason: "it is a folder or a link",
                });
            }
            container.add(name, metadata.len())?;
        }
        Ok(container)
    }

    fn open_zip(path: &Path, manifest: &'static str, file_bytes: u64) -> Result<Self, VoiceError> {
        let not_a_package = |found: String| VoiceError::NotAPackage {
            path: path.to_path_buf(),
            manifest,
            found,
        };
        let file = File::open(path).map_err(|error| io_error("read", path, &error))?;
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            not_a_package(format!(
                "a file of {file_bytes} bytes that is not a whole zip ({error})"
            ))
        })?;
        if archive.has_duplicate_names() {
            return Err(not_a_package(
                "a zip with the same file name twice".to_owned(),
            ));
        }
        if archive.len() > MAX_FILES {
            return Err(VoiceError::TooLarge {
                path: path.to_path_buf(),
                what: "the number of files".to_owned(),
                found: archive.len() as u64,
                limit: MAX_FILES as u64,
            });
        }
        let mut entries = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            let entry = archive
                .by_index_raw(index)
                .map_err(|error| not_a_package(format!("a broken zip ({error})")))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
                return Err(not_a_package(format!(
                    "\"{}\" compressed or encrypted (files are stored)",
                    clip(&name)
                )));
            }
            if !entry.is_file()
                || entry.size() != entry.compressed_size()
                || entry.size() > file_bytes
            {
                return Err(not_a_package(format!(
                    "the entry \"{}\" with impossible sizes",
                    clip(&name)
                )));
            }
            entries.push((name, entry.size()));
        }
        let mut container = Self {
            path: path.to_path_buf(),
            form: Form::Zip(Box::new(archive)),
            lengths: BTreeMap::new(),
        };
        for (name, bytes) in entries {
            container.add(name, bytes)?;
        }
        Ok(container)
    }

    fn add(&mut self, name: String, bytes: u64) -> Result<(), VoiceError> {
        if let Err(reason) = file_name(&name) {
            return Err(VoiceError::FileName {
                path: self.path.clone(),
                name: clip(&name),
                reason,
            });
        }
        self.lengths.insert(name, bytes);
        if self.lengths.len() > MAX_FILES {
            return Err(VoiceError::TooLarge {
                path: self.path.clone(),
                what: "the number of files".to_owned(),
                found: self.lengths.len() as u64,
                limit: MAX_FILES as u64,
            });
        }
        Ok(())
    }

    /// Length in bytes of every file, by name.
    pub fn lengths(&self) -> &BTreeMap<String, u64> {
        &self.lengths
    }

    /// The contents of a file of at most `limit` bytes (and never more than [`MAX_FILE_BYTES`]).
    pub fn read(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, VoiceError> {
        let path = self.path.clone();
        let limit = limit.min(MAX_FILE_BYTES);
        let Some(&bytes) = self.lengths.get(name) else {
            return Err(VoiceError::MissingFile {
                path,
                file: name.to_owned(),
            });
        };
        if bytes > limit {
            return Err(VoiceError::TooLarge {
                path,
                what: name.to_owned(),
                found: bytes,
                limit,
            });
        }
        // `bytes` is at most the length of a file that exists.
        let mut contents = Vec::with_capacity(bytes as usize);
        let outcome = match &mut self.form {
            Form::Folder => File::open(path.join(name))
                .and_then(|file| file.take(limit + 1).read_to_end(&mut contents)),
            Form::Zip(archive) => match archive.by_name(name) {
                Ok(entry) => entry.take(limit + 1).read_to_end(&mut contents),
                Err(error) => Err(std::io::Error::other(error)),
            },
        };
        outcome.map_err(|error| VoiceError::Damaged {
            path: path.clone(),
            file: name.to_owned(),
            what: "length",
            expected: format!("{bytes} readable bytes"),
            found: error.to_string(),
        })?;
        if contents.len() as u64 != bytes {
            return Err(VoiceError::Damaged {
                path,
                file: name.to_owned(),
                what: "length",
                expected: bytes.to_string(),
                found: contents.len().to_string(),
            });
        }
        Ok(contents)
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path, error: &std::io::Error) -> VoiceError {
    VoiceError::Io {
        action,
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}
