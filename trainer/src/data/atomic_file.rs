//! Files that are either whole or not there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// A partial file that nobody has written to for this long was left by a killed process.
const ABANDONED_AFTER: Duration = Duration::from_secs(600);

/// Removes what killed processes left beside `destination` while they wrote it.
///
/// Worth a look at the folder where the file may be gigabytes.
pub fn remove_abandoned(destination: &Path) {
    let (Some(name), Some(folder)) = (destination.file_name(), destination.parent()) else {
        return;
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let start = format!(".{}.", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let found = entry.file_name().to_string_lossy().into_owned();
        let serial = found
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(".partial"));
        let ours = serial.is_some_and(|serial| {
            !serial.is_empty()
                && serial
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-')
        });
        let idle = entry.metadata().and_then(|about| about.modified()).ok();
        if ours
            && idle
                .and_then(|at| at.elapsed().ok())
                .is_some_and(|idle| idle > ABANDONED_AFTER)
        {
            tracing::info!(
                "removing {}, left by a killed process",
                entry.path().display()
            );
            // What cannot be removed is hidden and of no consequence.
            let _ = fs::remove_file(entry.path());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn only_old_partial_files_of_the_same_name_are_removed() {
        let folder = std::env::temp_dir().join(format!("timbra-abandoned-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
        for (name, date) in [
            (".out.wav.12-0.partial", long_ago),
            (".out.wav.13-0.partial", SystemTime::now()),
            (".other.wav.12-0.partial", long_ago),
            (".out.wav.notes.partial", long_ago),
            ("out.wav", long_ago),
        ] {
            File::create(folder.join(name))
                .unwrap()
                .set_modified(date)
                .unwrap();
        }
        remove_abandoned(&folder.join("out.wav"));
        let mut left: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(
            left,
            [
                ".other.wav.12-0.partial",
                ".out.wav.13-0.partial",
                ".out.wav.notes.partial",
                "out.wav"
            ]
        );
    }

    #[test]
    fn an_unfinished_file_leaves_the_old_one() {
        let folder = std::env::temp_dir().join(format!("timbra-atomic-{}", std::process::id()));
        let path = folder.join("a.txt");
        write_atomically(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        io::Write::write_all(&mut file, b"new").unwrap();
        drop(file);
        let (kept, entries) = (
            fs::read(&path).unwrap(),
            fs::read_dir(&folder).unwrap().count(),
        );
        fs::remove_dir_all(folder).unwrap();
        assert_eq!((kept.as_slice(), entries), (&b"old"[..], 1));
    }
}
