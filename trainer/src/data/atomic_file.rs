//! Files that are either whole or not there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

/// A file written beside its destination and renamed over it by [`AtomicFile::commit`].
///
/// Dropping it without a commit removes what was written, so a killed or
/// failed command never leaves a half file under the final name.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    partial: PathBuf,
    destination: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Opens the partial file, creating missing parent folders.
    ///
    /// # Errors
    /// The folder cannot be made or is not writable; the message names it.
    pub fn create(destination: &Path) -> Result<Self> {
        // The counter keeps two threads of one process apart, the process id two processes.
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let name = destination
            .file_name()
            .with_context(|| format!("{} is not a file name", destination.display()))?;
        let folder = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut partial_name = OsString::from(".");
        partial_name.push(name);
        partial_name.push(format!(
            ".{}-{}.partial",
            std::process::id(),
            SERIAL.fetch_add(1, Ordering::Relaxed)
        ));
        let partial = folder.join(partial_name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)
            .with_context(|| format!("cannot write in {}", folder.display()))?;
        Ok(Self {
            file,
            partial,
            destination: destination.to_path_buf(),
            committed: false,
        })
    }

    /// The open partial file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where [`AtomicFile::commit`] will put the file.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Forces the content to disk and gives it its final name.
    ///
    /// # Errors
    /// The disk is full or the rename is refused; the old file is intact then.
    pub fn commit(mut self) -> Result<()> {
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.partial, &self.destination))
            .with_context(|| format!("cannot finish {}", self.destination.display()))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing can be done about a failure here, and the name says what it is.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

impl io::Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl io::Seek for AtomicFile {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Writes `bytes` to `destination`, whole or not at all.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_atomically(destination: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(destination)?;
    io::Write::write_all(&mut file, bytes)
        .with_context(|| format!("cannot write {}", destination.display()))?;
    file.commit()
}
