//! Files that `torch.save` wrote: a zip since 1.6, one stream before.
//!
//! Source: torch's `torch/serialization.py` (`_save`, `_legacy_save` and their counterparts). Neither checksums nor the
//! places of devices are looked at; what a tensor keeps is read when it is asked for.

use std::path::Path;
use std::sync::Arc;

use super::error::ReadError;
use super::pickle::{Document, Value};
use super::source::{Source, describe};
use super::tensor::LazyTensor;

mod archive;
mod rebuild;
mod stream;

use rebuild::Storages;

/// A file of torch: its pickle is read, its tensors are not.
pub struct TorchFile {
    document: Document,
    storages: Storages,
}

impl TorchFile {
    /// Opens a file of either form.
    ///
    /// # Errors
    /// [`ReadError::NotRecognised`] for other files, [`ReadError::Program`] for those that want a program run, else why
    /// it cannot be read.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::read(&Source::open(path)?)
    }

    /// As [`TorchFile::open`], from bytes already found.
    ///
    /// # Errors
    /// As [`TorchFile::open`].
    pub fn read(source: &Arc<Source>) -> Result<Self, ReadError> {
        let head = source.head(512)?;
        let (document, storages) = if head.starts_with(b"PK\x03\x04") {
            archive::read(source)?
        } else if stream::is_stream(&head) {
            stream::read(source)?
        } else {
            return Err(ReadError::NotRecognised {
                path: source.path().to_path_buf(),
                expected: "a file of torch.save (.pth, .pt)",
                found: describe(&head).to_owned(),
                remedy: "Choose the voice's own file, downloaded whole and unpacked",
            });
        };
        Ok(Self { document, storages })
    }

    /// As [`TorchFile::read`], but a plain pickle without tensors is read too.
    pub(super) fn read_any(source: &Arc<Source>) -> Result<Self, ReadError> {
        let head = source.head(512)?;
        // Protocols 2 to 5 begin so; older ones are not told from text.
        if matches!(head.as_slice(), [0x80, 2..=5, ..]) && !stream::is_stream(&head) {
            return Ok(Self {
                document: Document::open(source)?,
                storages: Storages::new(),
            });
        }
        Self::read(source)
    }

    /// The file.
    pub fn source(&self) -> &Arc<Source> {
        self.document.source()
    }

    /// The value that was saved, most often a dictionary.
    pub fn root(&self) -> Value<'_> {
        self.document.root()
    }

    /// The tensor that a value of this file stands for, `None` where it is something else; `part` is its name in errors.
    ///
    /// # Errors
    /// [`ReadError::Unsupported`] for sparse, quantised, complex and other tensors, [`ReadError::Damaged`] for one that
    /// does not lie inside its storage.
    pub fn tensor(&self, value: Value<'_>, part: &str) -> Result<Option<LazyTensor>, ReadError> {
        rebuild::tensor(self.source(), &self.storages, value, part)
    }

    /// As [`TorchFile::tensor`], but arrays of NumPy count too.
    pub(super) fn tensor_or_array(
        &self,
        value: Value<'_>,
        part: &str,
    ) -> Result<Option<LazyTensor>, ReadError> {
        match self.tensor(value, part)? {
            Some(tensor) => Ok(Some(tensor)),
            None => super::numpy::array(self.source(), value, part),
        }
    }
}
