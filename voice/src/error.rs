//! Why a package is refused.

use std::path::PathBuf;

/// Why a voice or encoder package is refused, with what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VoiceError {
    /// The system refused to read or write.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// "read", "write", …
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Neither a package nor a folder with a manifest.
    #[error(
        "{} is not a voice package: expected a .timbra file (a stored zip) or a folder with {manifest}, found {found}. \
         If it was copied or downloaded, do so again", .path.display()
    )]
    NotAPackage {
        /// File or folder.
        path: PathBuf,
        /// `voice.json` or `encoder.json`.
        manifest: &'static str,
        /// What is there.
        found: String,
    },
    /// A number of bytes or files above what is ever needed.
    #[error("{}: {what} is {found}, at most {limit} is accepted. This is not a usable package", .path.display())]
    TooLarge {
        /// Package.
        path: PathBuf,
        /// The thing measured.
        what: String,
        /// Its measure.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A file name that no package has.
    #[error(
        "{}: the file name \"{name}\" is refused ({reason}); names have letters, digits, '.', '_' and '-' only and lie \
         at the top. Export the voice again", .path.display()
    )]
    FileName {
        /// Package.
        path: PathBuf,
        /// The name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// A listed file is not there.
    #[error("{}: {file} is listed in the manifest but missing. The copy is incomplete: copy it again", .path.display())]
    MissingFile {
        /// Package.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// A file that the manifest does not list.
    #[error("{}: {file} is not listed in the manifest. Remove it or export the voice again", .path.display())]
    UnlistedFile {
        /// Package.
        path: PathBuf,
        /// The file.
        file: String,
    },
    /// Size or hash of a file differs from the manifest.
    #[error(
        "{}: {file} should have {what} {expected}, found {found}. The file is damaged or was changed: get the voice \
         again", .path.display()
    )]
    Damaged {
        /// Package.
        path: PathBuf,
        /// The file.
        file: String,
        /// "SHA-256" or "length".
        what: &'static str,
        /// From the manifest.
        expected: String,
        /// From the file.
        found: String,
    },
    /// The manifest is not readable JSON of the right shape.
    #[error("{}: {file} cannot be understood: {reason}. Export the voice again", .path.display())]
    Json {
        /// Package.
        path: PathBuf,
        /// `voice.json` or `encoder.json`.
        file: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Written by a newer version.
    #[error(
        "{}: package format {found} is newer than {supported}, the newest this version reads. Update Timbra",
        .path.display()
    )]
    NewerFormat {
        /// Package.
        path: PathBuf,
        /// In the manifest.
        found: u32,
        /// [`crate::manifest::FORMAT_VERSION`].
        supported: u32,
    },
    /// A value in the manifest that cannot be true.
    #[error("{}: {field} should be {expected}, found {found}. Export the voice again", .path.display())]
    Manifest {
        /// Package.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A table that cannot be used.
    #[error("{file}: {what} should be {expected}, found {found}. Build the table again")]
    Table {
        /// File of the table.
        file: String,
        /// The thing checked.
        what: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}
