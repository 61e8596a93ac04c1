//! The bytes of a file, read in pieces and never beyond its end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ReadError;

mod cursor;

pub(super) use cursor::Cursor;

enum Backing {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

/// A file (or bytes in memory under its name) whose length is known.
///
/// Nothing is mapped: a file that shrinks while it is read is an error, not a crash.
pub struct Source {
    path: PathBuf,
    backing: Backing,
    length: u64,
}

/// A part of a [`Source`], in bytes. One made by [`Source::span`] lies inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
}

impl Span {
    /// One past the last byte.
    pub fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError::Io`] where it cannot be opened; folders and pipes are refused.
    pub fn open(path: &Path) -> Result<Arc<Self>, ReadError> {
        let fail = |reason: String| ReadError::Io {
            action: "open",
            path: path.to_path_buf(),
            reason,
        };
        let metadata = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
        if !metadata.is_file() {
            // A pipe would never let go of who opens it.
            return Err(fail("it is not a file".to_owned()));
        }
        let file = File::open(path).map_err(|error| fail(error.to_string()))?;
        Ok(Arc::new(Self {
            path: path.to_path_buf(),
            backing: Backing::File(Mutex::new(file)),
            length: metadata.len(),
        }))
    }

    /// Bytes already in memory; `path` is what errors call them.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_path_buf(),
            length: bytes.len() as u64,
            backing: Backing::Memory(bytes),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// All of it.
    pub fn whole(&self) -> Span {
        Span {
            start: 0,
            length: self.length,
        }
    }

    /// The part of `length` bytes from `start`, called `part` in errors.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] where it does not lie inside the file.
    pub fn span(&self, start: u64, length: u64, part: &str) -> Result<Span, ReadError> {
        match start.checked_add(length) {
            Some(end) if end <= self.length => Ok(Span { start, length }),
            _ => Err(self.damaged(
                part,
                format!("{length} bytes from byte {start}"),
                format!("a file of {} bytes", self.length),
            )),
        }
    }

    /// Fills `buffer` with the bytes from `offset`, called `part` in errors.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] past the end, [`ReadError::Io`] where the system refuses.
    pub fn read_exact_at(
        &self,
        offset: u64,
        buffer: &mut [u8],
        part: &str,
    ) -> Result<(), ReadError> {
        let span = self.span(offset, buffer.len() as u64, part)?;
        match &self.backing {
            Backing::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))
                    .and_then(|_| file.read_exact(buffer))
                    .map_err(|error| ReadError::Io {
                        action: "read",
                        path: self.path.clone(),
                        reason: error.to_string(),
                    })
            }
            Backing::Memory(bytes) => {
                // `span` has checked both ends.
                buffer.copy_from_slice(&bytes[span.start as usize..span.end() as usize]);
                Ok(())
            }
        }
    }

    /// The first bytes, at most `limit`: what tells kinds of files apart.
    ///
    /// # Errors
    /// [`ReadError::Io`] where the system refuses.
    pub fn head(&self, limit: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; self.length.min(limit as u64) as usize];
        self.read_exact_at(0, &mut bytes, "the beginning")?;
        Ok(bytes)
    }

    /// All bytes of a part.
    ///
    /// # Errors
    /// As [`Source::read_exact_at`].
    pub fn read(&self, span: Span, part: &str) -> Result<Vec<u8>, ReadError> {
        let span = self.span(span.start, span.length, part)?;
        let mut bytes = vec![0; span.length as usize];
        self.read_exact_at(span.start, &mut bytes, part)?;
        Ok(bytes)
    }

    pub(super) fn damaged(
        &self,
        part: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            part: part.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn too_large(
        &self,
        part: impl Into<String>,
        found: u64,
        limit: u64,
    ) -> Result<(), ReadError> {
        if found <= limit {
            return Ok(());
        }
        Err(ReadError::TooLarge {
            path: self.path.clone(),
            part: part.into(),
            found,
            limit,
        })
    }
}

/// Where a string of bytes is kept.
#[derive(Clone)]
pub(super) enum Stored {
    /// As it is in the file.
    Raw(Span),
    /// In the file as UTF-8 text whose characters are the bytes, which is how pickles of protocol 2 write bytes.
    Latin1(Span),
    /// In memory.
    Held(Arc<[u8]>),
}

impl Stored {
    /// Length in bytes; for text no more than that.
    pub fn at_most(&self) -> u64 {
        match self {
            Self::Raw(span) | Self::Latin1(span) => span.length,
            Self::Held(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes.
    pub fn read(&self, source: &Source, part: &str) -> Result<Vec<u8>, ReadError> {
        match self {
            Self::Raw(span) => source.read(*span, part),
            Self::Latin1(span) => latin1(source.read(*span, part)?).ok_or_else(|| {
                source.damaged(part, "bytes written as text", "text of another kind")
            }),
            Self::Held(bytes) => Ok(bytes.to_vec()),
        }
    }
}

/// The bytes that a text stands for when each character is one, in place; `None` where a character is above 255.
pub(super) fn latin1(mut text: Vec<u8>) -> Option<Vec<u8>> {
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        let first = text[from];
        let byte = match first {
            0..=0x7f => first,
            0xc2 | 0xc3 => {
                from += 1;
                let second = *text.get(from)?;
                if second & 0xc0 != 0x80 {
                    return None;
                }
                ((first & 3) << 6) | (second & 0x3f)
            }
            _ => return None,
        };
        text[to] = byte;
        from += 1;
        to += 1;
    }
    text.truncate(to);
    Some(text)
}

/// What a file seems to be, for those who picked the wrong one.
pub(super) fn describe(head: &[u8]) -> &'static str {
    let text = head.trim_ascii_start();
    let has = |tag: &[u8]| head.starts_with(tag);
    if head.is_empty() {
        "an empty file"
    } else if has(b"PK\x03\x04") {
        "a zip (as torch.save writes, or another)"
    } else if has(b"version https://git-lfs") {
        "a Git LFS pointer, the label of a file that was not downloaded"
    } else if text.starts_with(b"<!") || text.starts_with(b"<html") || text.starts_with(b"<HTML") {
        "a web page, the answer to a download that did not work"
    } else if has(b"\x93NUMPY") {
        "a NumPy array (.npy)"
    } else if head.get(257..262) == Some(b"ustar") {
        "a tar archive, as torch wrote before 2018 and packed downloads are"
    } else if has(b"\x80") {
        "a pickle of another kind"
    } else if head.get(8) == Some(&b'{') {
        "a .safetensors file"
    } else if text.starts_with(b"{") {
        "JSON"
    } else if has(b"\x1f\x8b") || has(b"7z\xbc\xaf") || has(b"Rar!") {
        "a packed file: unpack it first"
    } else if has(b"Ix") || has(b"Iv") || has(b"Iw") {
        "a faiss index"
    } else {
        "a file of an unknown kind"
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err wants"
)]
pub(super) fn io_error(error: ReadError) -> io::Error {
    io::Error::other(error.to_string())
}
